"""Logs as their reference page has them: events, keys, request ids, the audit log, recent errors."""

import collections
import json
import re
import signal

import pytest
import yaml
from harness.gateway import ROOT, wait_for

LEVELS = ("debug", "info", "warn", "error")
CALL = re.compile(r'\blog_(debug|info|warn|error|write|lines)(?:_of)?\(((?:[^;"]|"(?:[^"\\]|\\.)*")*);')
EVENT = re.compile(r'"([a-z_]+\.[a-z_]+)"')
PAGE = (ROOT / "docs/logs.md").read_text()
SOURCES = [
    path
    for path in sorted(ROOT.glob("src/*/*.c"))
    if not re.search(r"_(test|fuzz)\.c$|/base/log\.c$", str(path))
]


def spoken():
    """{event: (levels, keys)} of all lines that the source can write."""
    events = collections.defaultdict(lambda: (set(), set()))
    for path in SOURCES:
        for verb, arguments in CALL.findall(path.read_text()):
            levels = [verb] if verb in LEVELS else re.findall(r"LOG_LEVEL_([A-Z]+)", arguments)
            for event in EVENT.findall(arguments):
                events[event][0].update(level.lower() for level in levels or ["warn"])
                events[event][1].update(re.findall(r"\.(app|sid|code) =", arguments))
    return dict(events)


def rows(heading, columns):
    part = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| (`[a-z_]+\.[a-z_]+`.*) \|$", part, re.MULTILINE)
    return [[cell.strip() for cell in row.split(" | ")] for row in found if len(row.split(" | ")) == columns]


def names(cell):
    return set(re.findall(r"`([^`]+)`", cell))


def test_every_event_is_on_the_page_with_its_level_and_keys():
    events = spoken()
    events["log.suppressed"] = (None, {"code"})  # of the log itself, at the level of what it is about
    documented = rows("Events", 4)
    assert [row[0] for row in documented] == sorted(f"`{event}`" for event in events)
    for event, levels, keys, meaning in documented:
        expected = events[event.strip("`")]
        assert expected[0] is None or set(levels.split(", ")) == expected[0], event
        assert names(keys) == expected[1], event
        assert meaning


def test_every_act_of_the_audit_log_is_on_the_page():
    code = "".join(path.read_text() for path in SOURCES)
    acts = set(
        re.findall(
            r'(?:\{\w+, |audit_signal\(|begin_act\(call, |tell_act\(exchange, |\.action = )"(\w+\.\w+)"', code
        )
    )
    assert len(acts) > 8
    documented = [name for row in rows("Audit log", 2) for name in names(row[0])]
    assert sorted(documented) == sorted(acts)


# Request ids


def test_a_request_is_found_in_the_log_by_the_callers_id(gateway):
    sent = {
        "X-Request-Id": "caller-7:1",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    }
    status, headers, problem = gateway.api("POST", "/v1/messages", {"to": {}, "data": 1}, sent)
    assert status == 422
    assert headers["x-request-id"] == problem["request_id"] == "caller-7:1"
    line = gateway.wait_for_line("api.refused", "422 to /v1/messages")
    assert (line["request_id"], line["app"], line["code"]) == ("caller-7:1", "demo", problem["code"])
    assert line["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"


def test_an_answer_that_comes_later_is_in_the_log_with_the_callers_trace_too(gateway):
    sent = {"X-Request-Id": "later-1", "traceparent": f"00-{'5' * 32}-00f067aa0ba902b7-01"}
    assert gateway.api("DELETE", "/v1/messages/nothing", None, sent)[0] == 404
    line = gateway.wait_for_line("api.refused", "404 to /v1/messages/{}")
    assert (line["request_id"], line["trace_id"]) == ("later-1", "5" * 32)


@pytest.mark.parametrize("wrong", ["", "a b", 'x"y', "x" * 65])
def test_an_id_that_is_none_is_replaced(gateway, wrong):
    _, headers, _ = gateway.api("GET", "/v1/users/42", headers={"X-Request-Id": wrong})
    assert re.fullmatch("[0-9a-f]{16}", headers["x-request-id"])


def test_what_was_held_back_is_told_though_nothing_follows(make_gateway):
    gateway = make_gateway()
    for _ in range(30):
        gateway.api("POST", "/v1/messages", {"to": {}, "data": 1})
    line = gateway.wait_for_line("log.suppressed", "api.refused", seconds=10)
    assert (line["code"], line["level"]) == ("api.refused", "info")
    told = sum(line.get("suppressed", 0) for line in gateway.log())
    assert told + sum(line["event"] == "api.refused" for line in gateway.log()) == 30


# The audit log


def acts(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_an_operator_does_is_in_the_audit_log_and_survives_its_rotation(make_gateway, tmp_path):
    path = tmp_path / "audit.log"
    gateway = make_gateway({"log": {"audit": str(path), "level": "error"}})
    gateway.api("DELETE", "/v1/users/ada/sessions", headers={"X-Request-Id": "r-1"})
    wait_for(lambda: acts(path), 10, "the first act")
    assert path.stat().st_mode & 0o777 == 0o600
    moved = path.rename(tmp_path / "audit.log.1")
    gateway.process.send_signal(signal.SIGHUP)
    wait_for(lambda: path.exists() and acts(path), 10, "the new file")
    gateway.api("POST", "/v1/messages", {"to": {"users": ["ada"]}, "data": "not an act"})
    gateway.api("DELETE", "/v1/sessions/nobody", headers={"Authorization": "Bearer wrong-key"})
    gateway.stop()
    (kick,) = acts(moved)
    assert (kick["event"], kick["result"], kick["target"]) == ("user.kick", "done", "users/ada/sessions")
    assert (kick["key"], kick["role"], kick["via"], kick["request_id"]) == ("tests", "admin", "api", "r-1")
    told = [(act["event"], act["result"], act["via"]) for act in acts(path)]
    assert told == [
        ("config.reload", "done", "signal"),
        ("key.refused", "refused", "api"),
        ("node.drain", "done", "signal"),
    ]
    assert "wrong-key" not in path.read_text() and gateway.api_key not in path.read_text()
    assert not [line for line in gateway.log() if line["level"] == "audit"]


def test_an_audit_log_that_can_not_be_opened_changes_nothing(make_gateway):
    gateway = make_gateway()
    gateway.config["log"] = {"audit": "/nowhere/audit.log"}
    gateway.config_path.write_text(yaml.safe_dump(gateway.config))
    gateway.process.send_signal(signal.SIGHUP)
    gateway.wait_for_line("reload.refused", "log.audit")
    gateway.api("DELETE", "/v1/users/ada/sessions")
    gateway.wait_for_line("user.kick", "users/ada/sessions: done")


def test_r5_an_audit_log_on_a_full_disk_stops_no_act_and_goes_to_the_log(make_gateway):
    gateway = make_gateway({"log": {"audit": "/dev/full"}})
    assert gateway.api("DELETE", "/v1/users/ada/sessions")[0] == 200
    line = gateway.wait_for_line("user.kick", "users/ada/sessions")
    assert (line["level"], line["target"], line["status"]) == ("audit", "users/ada/sessions", 200)
    gateway.wait_for_line("audit.lost")
    assert gateway.metrics().get("tidegate_audit_lines_lost_total") == 1


# Recent errors


def test_the_last_errors_of_all_nodes_come_together(make_cluster):
    cluster = make_cluster(count=2)
    for node in cluster.nodes:
        node.api("POST", "/v1/messages", {}, {"Authorization": "Bearer wrong"})
        node.wait_for_line("api.unauthorized")
    status, _, answer = cluster.nodes[0].api("GET", "/v1/errors?limit=1000")
    assert status == 200 and answer["complete"]
    seen = [line for line in answer["errors"] if line["event"] == "api.unauthorized"]
    assert len({line["node"] for line in seen}) == len(cluster.nodes)
    times = [line["ts"] for line in answer["errors"]]
    assert times == sorted(times, reverse=True)
