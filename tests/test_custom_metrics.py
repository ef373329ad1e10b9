"""What an app counts of its own pushes: message types, and metrics that its configuration defines."""

import json
import random
import subprocess

from harness.gateway import ROOT

COMMENTS = {
    "name": "comments_total",
    "kind": "counter",
    "help": "Comments that were published.",
    "types": ["comment.created"],
    "labels": [{"name": "channel", "field": "/channel", "values": ["news", "sports"]}],
}
TOOK = {
    "name": "verification_seconds",
    "kind": "histogram",
    "help": "From the QR code to the result.",
    "types": ["verification.done"],
    "value": "/duration_ms",
    "scale": 0.001,
    "buckets": [1, 5, 60],
}
WAITING = {"name": "waiting", "kind": "gauge", "help": "Who waits.", "value": "/queue/waiting"}
METRICS = {"types": ["comment.created", "verification.done"], "custom": [COMMENTS, TOOK, WAITING]}
PREFIX = "tidegate_app_"
TO = {"users": ["42"]}


def check_format(text):
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False, timeout=20
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def errors(gateway, metric, reason):
    return gateway.metrics().get("tidegate_custom_metric_errors_total", metric=metric, reason=reason)


def test_pushes_are_counted_by_what_they_say(make_gateway):
    gateway = make_gateway(app={"metrics": METRICS})
    before = gateway.metrics()
    assert before.types[PREFIX + "verification_seconds"] == "histogram"
    assert PREFIX + "waiting" not in before.types  # nothing was set
    gateway.push(TO, {"channel": "news"}, type="comment.created")
    gateway.push(TO, {"channel": "weather"}, type="comment.created", id="c-2")
    gateway.push(TO, {"channel": "weather"}, type="comment.created", id="c-2")  # the same again: counted once
    gateway.push({"all": True}, {"duration_ms": 2500}, type="verification.done", wait="routed")
    messages = [{"to": TO, "data": {"queue": {"waiting": n}}, "type": "queue"} for n in (9, 4)]
    status, _, answer = gateway.api("POST", "/v1/messages:batch", {"messages": messages})
    assert (status, [result["status"] for result in answer["results"]]) == (200, [202, 202])
    after = gateway.metrics()
    check_format(after.text)
    assert after.get(PREFIX + "comments_total", channel="news") == 1
    assert after.get(PREFIX + "comments_total", channel="other") == 1
    assert after.get(PREFIX + "verification_seconds_sum") == 2.5
    assert after.get(PREFIX + "verification_seconds_bucket", le="5") == 1
    assert after.get(PREFIX + "waiting") == 4
    assert after.get(PREFIX + "waiting_timestamp_seconds") > 1.7e9
    assert after.get("tidegate_messages_accepted_total", type="comment.created", target="user") == 2
    assert after.get("tidegate_messages_accepted_total", type="verification.done", target="all") == 1
    assert after.get("tidegate_messages_accepted_total", type="other") == 2


def test_what_a_metric_does_not_find_refuses_no_push(make_gateway):
    gateway = make_gateway(app={"metrics": METRICS})
    gateway.push(TO, {"channel": 5}, type="comment.created")
    gateway.push(TO, {}, type="comment.created")
    gateway.push(TO, {"duration_ms": "long"}, type="verification.done")
    gateway.push(TO, data_base64="AAEC", type="verification.done")
    status, _, _ = gateway.api(
        "POST", "/v1/users/42/messages?type=verification.done", "no JSON", {"Content-Type": "text/plain"}
    )
    assert status == 202
    assert errors(gateway, "comments_total", "label") == 1
    assert errors(gateway, "verification_seconds", "not_a_number") == 1
    assert errors(gateway, "verification_seconds", "no_json") == 2
    assert gateway.metrics().get(PREFIX + "comments_total", channel="other") == 2
    assert gateway.metrics().get("tidegate_messages_accepted_total") == 5


def test_a13_what_callers_put_into_fields_makes_no_series(make_gateway):
    gateway = make_gateway(app={"metrics": METRICS})
    rng = random.Random(13)

    def push_anything(count):
        values = [
            rng.random(),
            "x" * rng.randrange(300),
            None,
            True,
            [],
            {},
            rng.getrandbits(200),
            -1e300,
            "news\n",
        ]
        messages = [
            {
                "to": TO,
                "type": kind,
                "data": {"channel": value, "duration_ms": value, "queue": {"waiting": value}},
            }
            for value in values * count
            for kind in ("comment.created", "verification.done", f"t{rng.getrandbits(40)}")
        ]
        status, _, answer = gateway.api("POST", "/v1/messages:batch", {"messages": messages})
        assert (status, {result["status"] for result in answer["results"]}) == (200, {202})

    push_anything(1)
    gateway.metrics()  # makes the series of its own request
    before = gateway.metrics()
    push_anything(30)
    after = gateway.metrics()
    assert after.series.keys() == before.series.keys()
    check_format(after.text)


def test_definitions_come_and_go_with_a_reload(make_gateway):
    gateway = make_gateway(app={"metrics": {"custom": [COMMENTS, WAITING]}})
    gateway.push(TO, {"channel": "news", "queue": {"waiting": 3}}, type="comment.created")
    as_counter = {**WAITING, "name": "waited_total", "kind": "counter"}
    as_histogram = {**WAITING, "kind": "histogram", "buckets": [1, 10]}
    gateway.config["apps"][0]["metrics"]["custom"] = [as_counter, as_histogram]
    gateway.reload()
    gateway.push(TO, {"channel": "news", "queue": {"waiting": 5}}, type="comment.created")
    changed = gateway.metrics()
    check_format(changed.text)
    assert PREFIX + "comments_total" not in changed.types
    assert changed.types[PREFIX + "waiting"] == "histogram"
    assert changed.get(PREFIX + "waiting_sum") == 5
    assert changed.get(PREFIX + "waited_total") == 5
    gateway.config["apps"][0]["metrics"]["custom"] = [COMMENTS]
    gateway.reload()
    gateway.push(TO, {"channel": "news"}, type="comment.created")
    back = gateway.metrics()
    assert back.get(PREFIX + "comments_total", channel="news") == 2
    assert PREFIX + "waiting" not in back.types
    gateway.config["apps"][0]["metrics"]["custom"] = [{**COMMENTS, "name": "comments"}]
    gateway.config_path.write_text(json.dumps(gateway.config))
    gateway.process.send_signal(1)
    gateway.wait_for_line("reload.refused", "_total")


def test_a_push_is_counted_on_the_node_that_took_it(make_cluster):
    cluster = make_cluster(count=2, app={"metrics": METRICS})
    for node, count in zip(cluster.nodes, (1, 2), strict=True):
        for _ in range(count):
            node.push(TO, {"channel": "news"}, type="comment.created", wait="routed")
    counts = [node.metrics().get(PREFIX + "comments_total", channel="news") for node in cluster.nodes]
    assert counts == [1, 2]


def test_the_binary_lists_what_a_configuration_adds(make_gateway):
    gateway = make_gateway(app={"metrics": METRICS})
    gateway.push(TO, {"channel": "news", "queue": {"waiting": 3}}, type="comment.created")
    binary = ROOT / "build" / gateway.preset / "tidegate"
    command = [binary, "metrics", "--json", "--config", gateway.config_path]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    custom = {row["name"]: row for row in map(json.loads, lines) if row["name"].startswith(PREFIX)}
    shown = {name: kind for name, kind in gateway.metrics().types.items() if name.startswith(PREFIX)}
    assert shown == {name: row["kind"] for name, row in custom.items()}
    assert custom[PREFIX + "comments_total"]["labels"] == ["app", "channel"]
    assert custom[PREFIX + "comments_total"]["app"] == "demo"
