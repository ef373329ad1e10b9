"""The dashboards of deploy/grafana: sound, about metrics that exist, and good for a real Prometheus."""

import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import pytest
import yaml
from harness.clients import V1Client
from harness.gateway import ROOT, wait_for
from harness.prometheus import prometheus
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

FOLDER = ROOT / "deploy/grafana"
PAGES = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("dashboards/*.json"))}
UNITS = {"short", "ops", "reqps", "s", "bytes", "Bps", "percentunit"}
OTHER_LABELS = {"job", "instance", "le"}
OF_PROMETHEUS = {"scrape_duration_seconds"}

# Series that are made when the thing happens, which it does not in the test below; all others give data.
RARE = {
    "session_policy_unsure_total",
    "tickets_refused_total",
    "tls_certificate_expiry_timestamp_seconds",
    "tls_handshakes_total",
    "webhook_dead_letters_total",
    "webhook_queued_bytes",
    "webhook_request_seconds_bucket",
    "webhook_requests_total",
}


def panels(page):
    return [panel for panel in page["panels"] if panel["type"] != "row"]


def expressions():
    for name, page in PAGES.items():
        for panel in panels(page):
            for target in panel["targets"]:
                yield name, panel["title"], target["expr"]


def test_the_files_are_what_the_tool_writes(tmp_path):
    subprocess.run([ROOT / "tools/dashboards", tmp_path], check=True)
    assert (
        {path.stem for path in tmp_path.iterdir()} == set(PAGES) == {"overview", "cluster", "app", "capacity"}
    )
    for name in PAGES:
        written = (tmp_path / f"{name}.json").read_text()
        assert written == (FOLDER / f"dashboards/{name}.json").read_text(), "write them with tools/dashboards"


@pytest.mark.parametrize("name", PAGES)
def test_a_dashboard_is_sound(name):
    page = PAGES[name]
    assert page["uid"] == f"tidegate-{name}" and page["title"] and page["schemaVersion"] >= 36
    assert "id" not in page, "an id belongs to one Grafana"
    ids = [panel["id"] for panel in page["panels"]]
    assert len(ids) == len(set(ids))
    taken = set()
    for panel in page["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] >= 0 and grid["x"] + grid["w"] <= 24
        cells = {
            (x, y)
            for x in range(grid["x"], grid["x"] + grid["w"])
            for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not taken & cells, f"{panel['title']} lies over another"
        taken |= cells
    for panel in panels(page):
        assert panel["title"] and panel["description"].endswith("."), panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        assert [target["refId"] for target in panel["targets"]] == list("ABCDEFGH"[: len(panel["targets"])])
        bounds = [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]
        assert bounds[0] is None and bounds[1:] == sorted(bounds[1:])


@pytest.mark.parametrize("name", PAGES)
def test_the_variables_that_are_used_are_there_and_no_other(name):
    page = PAGES[name]
    known = {variable["name"] for variable in page["templating"]["list"]}
    text = json.dumps(page["panels"]) + json.dumps(page["templating"])
    used = set(re.findall(r"\$\{?([a-z]\w*)", text)) - {"__all"}
    assert {name for name in used if not name.startswith("__")} | {"docs"} == known


def test_the_runbooks_that_are_linked_exist():
    for page in PAGES.values():
        for panel in panels(page):
            for link in panel["links"]:
                path = link["url"].replace("${docs}", "docs")
                assert (ROOT / path).exists(), f"{panel['title']}: {path}"


def test_what_is_provisioned_fits(tmp_path):
    source = yaml.safe_load((FOLDER / "provisioning/datasources/tidegate.yaml").read_text())
    assert [one["type"] for one in source["datasources"]] == ["prometheus"]
    provider = yaml.safe_load((FOLDER / "provisioning/dashboards/tidegate.yaml").read_text())
    (one,) = provider["providers"]
    assert one["type"] == "file"
    assert one["options"]["path"] in (ROOT / "docs/how-to/monitoring.md").read_text()


@pytest.fixture(scope="module")
def catalogue(request):
    """{name: (kind, labels)} of the gateway's metrics."""
    binary = ROOT / "build" / request.config.getoption("preset") / "tidegate"
    lines = subprocess.run([binary, "metrics", "--json"], capture_output=True, text=True, check=True).stdout
    families = [json.loads(line) for line in lines.splitlines()]
    return {family["name"]: (family["kind"], set(family["labels"])) for family in families}


def family_of(name, catalogue):
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    return base if base in catalogue and catalogue[base][0] == "histogram" else name


def test_every_query_names_metrics_and_labels_that_exist(catalogue):
    for name, title, expression in expressions():
        place = f"{name}, {title}: {expression}"
        metrics = re.findall(r"\b([a-z_]+)\{([^}]*)\}", expression)
        assert metrics, place
        labels = set()
        for metric, selectors in metrics:
            assert 'job="$job"' in selectors and 'instance=~"$instance"' in selectors, place
            family = family_of(metric, catalogue)
            assert family in catalogue or metric in OF_PROMETHEUS, place
            labels |= catalogue.get(family, (None, set()))[1] | OTHER_LABELS
            assert set(re.findall(r"(\w+)(?:=~|!=|=)", selectors)) <= labels, place
            if catalogue.get(family, ("gauge",))[0] == "counter":
                assert re.search(rf"(rate|increase)\({metric}\{{", expression), place
        for group in re.findall(r"by \(([^)]*)\)", expression):
            assert set(re.split(r",\s*", group)) <= labels, place
        for label in re.findall(
            r"\{\{(\w+)\}\}",
            next(
                target["legendFormat"]
                for panel in panels(PAGES[name])
                for target in panel["targets"]
                if target["expr"] == expression
            ),
        ):
            assert label in labels, place


def live_a_little(gateway):
    """A bit of everything, so that the series are there."""
    with V1Client(gateway, hello={"user": "ada", "groups": ["room:1"]}) as client:
        for _ in range(3):
            gateway.push({"groups": ["room:1"]}, 1, wait="acked", wait_ms=100)
        gateway.push({"all": True}, 1)
        client.send({"t": "join", "re": 1, "g": "not:allowed"})
        gateway.api("DELETE", f"/v1/sessions/{client.sid}")
        client.read("msg")
    with pytest.raises(InvalidStatus):
        connect(gateway.ws_url(), additional_headers={"Authorization": "Bearer nonsense"}, legacy=True)
    gateway.api("POST", "/v1/tickets", {"ttl_ms": 60000})
    gateway.api("POST", "/v1/messages", {"to": {}})
    gateway.api("POST", "/v1/messages", {}, {"Authorization": "Bearer wrong"})


def ask(url, expression):
    """What an instant query gives; one that Prometheus refuses fails with its words."""
    options = urllib.parse.urlencode({"query": expression})
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query?{options}", timeout=20) as answer:
            return json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as refused:
        raise AssertionError(f"{expression}: {refused.read().decode()}") from None


def concrete(expression):
    for name, value in {"job": "tidegate", "instance": ".*", "app": "demo", "__rate_interval": "10s"}.items():
        expression = expression.replace(f"${name}", value)
    return expression


def test_every_query_is_answered_by_a_prometheus_that_scrapes_a_gateway(make_gateway, tmp_path):
    gateway = make_gateway()
    live_a_little(gateway)
    with prometheus(tmp_path, [gateway.admin_port], "http://127.0.0.1:9") as url:
        first = concrete('rate(tidegate_bus_records_published_total{job="$job"}[$__rate_interval])')
        wait_for(lambda: ask(url, first), 20, "two scrapes", interval=0.1)
        present = {name for name, _ in gateway.metrics().series}
        empty, silent = set(), []
        for name, title, expression in expressions():
            found = ask(url, concrete(expression))
            metrics = set(re.findall(r"\btidegate_[a-z_]+", expression))
            if not found:
                silent += [(name, title, expression)] if metrics & present else []
                empty |= {metric.removeprefix("tidegate_") for metric in metrics - present}
        assert silent == []
        assert sorted(empty) == sorted(RARE)
