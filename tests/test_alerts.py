"""Alerts arrive where they should: through a real Prometheus and Alertmanager, and from the gateway."""

import contextlib
import re
import subprocess

import pytest
import yaml
from harness.cluster import clusters
from harness.gateway import wait_for
from harness.prometheus import DEPLOY, Receiver, alertmanager, prometheus
from harness.webhooks import SECRET

BUS_DOWN = {"alertname": "TidegateBusDown", "severity": "critical"}
QUICK = [{"name": "TidegateBusDown", "for": "500ms"}]


class Scene:
    """Three gateways, each with an alerter, on a Redis; a Prometheus that scrapes them, and an Alertmanager
    that both tell. `direct` is where the gateways' own webhooks go, `on-call` where Alertmanager's do."""

    def __init__(self, cluster, receiver):
        self.cluster, self.receiver = cluster, receiver
        self.first = cluster.nodes[0]

    def firing(self, name):
        status, _, answer = self.first.api("GET", "/v1/alerts")
        assert status == 200, answer
        return [alert for alert in answer["alerts"] if (alert["alert"], alert["state"]) == (name, "firing")]


@pytest.fixture(scope="module")
def scene(request, tmp_path_factory, module_brokers):
    folder = tmp_path_factory.mktemp("alerts")
    with contextlib.ExitStack() as ends:
        receiver = Receiver()
        ends.callback(receiver.close)
        manager = ends.enter_context(alertmanager(folder, receiver))
        alerts = {
            "interval": "200ms",
            "labels": [{"name": "site", "value": "tests"}],
            "receivers": [{"url": manager}, {"url": receiver.url("direct"), "kind": "webhook"}],
            "rules": QUICK,
        }
        make = ends.enter_context(clusters(request, folder, module_brokers))
        cluster = make("redis", changes={"alerts": alerts})
        ports = [node.admin_port for node in cluster.nodes]
        ends.enter_context(prometheus(folder, ports, manager))
        yield Scene(cluster, receiver)


def test_a_bus_that_stops_is_told_by_prometheus_and_by_each_gateway_and_resolves(scene):
    scene.cluster.brokers.kill()
    heard = scene.receiver
    of_prometheus = heard.wait_for("on-call", "firing", job="tidegate", **BUS_DOWN)
    assert of_prometheus["annotations"]["runbook_url"] == "docs/runbooks/bus-down.md"
    for node in ("node-0", "node-1", "node-2"):
        own = {"node": node, "cluster": "tests", "site": "tests", "bus": "redis", **BUS_DOWN}
        through_manager = heard.wait_for("on-call", "firing", **own)
        assert through_manager["annotations"] == of_prometheus["annotations"]
        assert heard.wait_for("direct", "firing", **own)["annotations"] == of_prometheus["annotations"]
    listed = scene.firing("TidegateBusDown")
    assert [alert["node"] for alert in listed] == ["node-0"]  # the others can't be asked without a bus
    assert [e["event"] for e in scene.first.log()].count("alert.firing") == 1

    scene.cluster.brokers.start("main")
    heard.wait_for("on-call", "resolved", job="tidegate", **BUS_DOWN)
    for node in ("node-0", "node-1", "node-2"):
        heard.wait_for("on-call", "resolved", node=node, **BUS_DOWN)
        heard.wait_for("direct", "resolved", node=node, **BUS_DOWN)
    wait_for(lambda: not scene.firing("TidegateBusDown"), 10, "nothing fires")
    metrics = scene.first.metrics()
    assert metrics.get("tidegate_alerts_firing", alert="TidegateBusDown", severity="critical") == 0
    assert metrics.get("tidegate_alert_notices_total", result="2xx") >= 4


def test_a_node_that_is_killed_is_missed_by_the_others(scene):
    scene.cluster.wait_until_all_know()
    scene.cluster.nodes[2].kill()
    for node in ("node-0", "node-1"):
        scene.receiver.wait_for("direct", "firing", alertname="TidegateClusterNodeLost", node=node)
    nodes = wait_for(
        lambda: (found := [alert["node"] for alert in scene.firing("TidegateClusterNodeLost")])[1:] and found,
        10,
        "both nodes list it",
    )
    assert sorted(nodes) == ["node-0", "node-1"]


def awaited():
    """(metric, (label, operator, pattern) or None) of each rule that waits for a counter to grow."""
    for rule in yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"][0]["rules"]:
        if " / " not in rule["expr"] or rule["alert"] == "TidegateExporterFailing":
            found = re.search(
                r"(?:increase|rate)\((tidegate_\w+_total)(?:\{(\w+)(\W+)\"(.*?)\"\})?\[", rule["expr"]
            )
            if found:
                yield found[1], found.groups()[1:] if found[2] else None


def test_what_rules_wait_for_is_there_at_0(make_gateway):
    """Prometheus sees no increase in a series that comes with its first count."""
    nowhere = "http://127.0.0.1:1/"
    gateway = make_gateway(
        changes={
            "alerts": {"receivers": [{"url": nowhere, "kind": "webhook"}]},
            "metrics": {"statsd": {"address": "127.0.0.1:9"}},
        },
        app={"webhooks": [{"url": nowhere, "events": ["session.opened"], "secrets": [{"secret": SECRET}]}]},
    )
    series = gateway.metrics().series
    wanted = list(awaited())
    assert len(wanted) > 10
    for name, condition in wanted:
        labels = [dict(has) for found, has in series if found == name]
        assert labels, name
        if condition:
            label, operator, pattern = condition
            there = {has[label] for has in labels}
            values = set(pattern.split("|"))
            assert there > values if operator.startswith("!") else there >= values, name


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_the_files_for_prometheus_and_alertmanager_are_right():
    for command in (
        ("promtool", "check", "config", DEPLOY / "prometheus.yml"),
        ("promtool", "check", "rules", DEPLOY / "alerts.yaml"),
        ("amtool", "check-config", DEPLOY / "alertmanager.yml"),
    ):
        done = run(*command)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_fires_after_its_time_resolves_and_does_not_fire_just_below():
    """What each rule must do is in the file; promtool evaluates it as Prometheus would."""
    done = run("promtool", "test", "rules", DEPLOY / "alerts_test.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    rules = {
        rule["alert"] for rule in yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"][0]["rules"]
    }
    tests = [
        test["alert_rule_test"] for test in yaml.safe_load((DEPLOY / "alerts_test.yaml").read_text())["tests"]
    ]
    firing = {case["alertname"] for cases in tests for case in cases if case.get("exp_alerts")}
    quiet = {cases[0]["alertname"] for cases in tests if not any(case.get("exp_alerts") for case in cases)}
    assert rules == firing == quiet
