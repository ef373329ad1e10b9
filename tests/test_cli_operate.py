"""The verbs of who operates a gateway, against a real one: nodes, users, drain, and tail by an API key."""

import json
import subprocess

import pytest
from harness.clients import V1Client
from test_cli import CONNECT, REFUSED, USAGE, binary, environment
from websockets.exceptions import ConnectionClosed


def run(gateway, verb, *words, key=True, url=None):
    key = gateway.api_key if key is True else key
    return subprocess.run(
        [binary(gateway), verb, "--url", url or gateway.api_url("").rstrip("/"), *words],
        stdin=subprocess.DEVNULL,
        env=environment(TIDEGATE_API_KEY=key),
        capture_output=True,
        text=True,
        timeout=20 * gateway.slowness,
    )


def lines(result):
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def push(gateway, to, id, data=1, **more):
    gateway.push(to, data, id=id, **more)


# ---- nodes, users ----


def test_nodes_are_a_table_or_json(gateway):
    shown = run(gateway, "nodes")
    assert shown.returncode == 0, shown.stderr
    heading, row = shown.stdout.splitlines()
    assert heading.split()[:4] == ["NODE", "BOOT", "STATE", "VERSION"]
    assert "ready" in row.split()
    assert "\x1b" not in shown.stdout
    (answer,) = lines(run(gateway, "nodes", "--json"))
    assert answer["nodes"][0]["boot"] in row


def test_users_are_listed_by_prefix_and_one_is_shown(gateway):
    with (
        V1Client(gateway, user="cli-an"),
        V1Client(gateway, user="cli-bob"),
        V1Client(gateway, user="cli-bob"),
    ):
        rows = run(gateway, "users", "cli-").stdout.splitlines()
        assert [row.split() for row in rows] == [["USER", "SESSIONS"], ["cli-an", "1"], ["cli-bob", "2"]]
        assert lines(run(gateway, "users", "cli-b", "--json")) == [{"user": "cli-bob", "sessions": 2}]
        cut = run(gateway, "users", "cli-", "--limit", "1")
        assert len(cut.stdout.splitlines()) == 2
        assert "there are more" in cut.stderr
        shown = run(gateway, "users", "--user", "cli-bob").stdout.splitlines()
        assert shown[0] == "online, 2 sessions"
        assert len(shown) == 4
        assert shown[2].startswith("s_")
        (answer,) = lines(run(gateway, "users", "--user", "cli-an", "--json"))
        assert answer["session_count"] == 1
    assert run(gateway, "users", "--user", "cli-nobody").stdout == "offline, 0 sessions\n"


def test_what_goes_wrong_is_said_with_what_to_do(gateway):
    refused = run(gateway, "nodes", key="wrong")
    assert (refused.returncode, refused.stdout) == (REFUSED, "")
    assert "401 unauthorized" in refused.stderr
    assert "TIDEGATE_API_KEY" in refused.stderr
    assert json.loads(run(gateway, "nodes", "--json", key="wrong").stdout)["code"] == "unauthorized"
    gone = run(gateway, "users", url="http://127.0.0.1:1")
    assert gone.returncode == CONNECT
    assert "nothing listens there" in gone.stderr
    for words in (["nodes", "x"], ["drain"], ["users", "a", "--user", "b"], ["drain", "x", "--window", "1"]):
        assert run(gateway, *words).returncode == USAGE, words


# ---- drain ----


def test_a_drain_waits_until_the_node_is_empty_and_a_resume_takes_it_back(make_gateway):
    gateway = make_gateway({"cluster": {"node": "gw-1"}})
    with V1Client(gateway, user="d") as client:
        told = lines(run(gateway, "drain", "gw-1", "--window", "1s", "--json"))
        assert told[0] == {"node": "gw-1", "state": "draining", "sessions": 1}
        assert told[-1] == {"node": "gw-1", "state": "drained", "sessions": 0}
        with pytest.raises(ConnectionClosed) as closed:
            client.read("goaway")
            client.read_any()
        assert closed.value.rcvd.code == 4200
    assert run(gateway, "drain", "gw-1", "--no-wait").stdout == "gw-1: draining, 0 sessions\n"
    assert run(gateway, "drain", "gw-1", "--resume").stdout == "gw-1: ready, 0 sessions\n"
    with V1Client(gateway, user="d"):
        pass
    unknown = run(gateway, "drain", "gw-2")
    assert unknown.returncode == REFUSED
    assert "node_not_found" in unknown.stderr


# ---- tail, by a key ----


def tail(gateway, *words, key=True):
    return subprocess.Popen(
        [binary(gateway), "tail", "--url", gateway.api_url("").rstrip("/"), *words],
        env=environment(TIDEGATE_API_KEY=gateway.api_key if key is True else key),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(gateway, process):
    out, words = process.communicate(timeout=20 * gateway.slowness)
    assert process.returncode == 0, words
    return out


def test_tail_shows_what_a_user_was_sent_and_is_sent(gateway):
    push(gateway, {"users": ["cli-tail"]}, "tail-1", {"n": 1}, type="a.b")
    process = tail(gateway, "--user", "cli-tail", "--count", "2")
    assert process.stdout.readline() == 'tail-1\ta.b\t-\t{"n": 1}\n'
    push(gateway, {"users": ["cli-other"]}, "tail-2")
    push(gateway, {"users": ["cli-tail"]}, "tail-3", 3)
    assert finish(gateway, process) == "tail-3\t-\t-\t3\n"


def test_tail_shows_a_group_and_a_ticket_by_key(gateway):
    ticket = gateway.api("POST", "/v1/tickets", {"ttl_ms": 60000})[2]["id"]
    push(gateway, {"groups": ["cli-g"]}, "tail-g", 1)
    push(gateway, {"tickets": [ticket]}, "tail-t", 2)
    assert finish(gateway, tail(gateway, "--group", "cli-g", "--count", "1")) == "tail-g\t-\tcli-g\t1\n"
    shown = json.loads(finish(gateway, tail(gateway, "--ticket", ticket, "--count", "1", "--json")))
    assert (shown["id"], shown["to"], shown["data"]) == ("tail-t", {"tickets": [ticket]}, 2)


def test_tail_shows_a_users_groups_and_what_is_cancelled(gateway):
    with V1Client(gateway, user="cli-in", hello={"groups": ["room:in"]}):
        process = tail(gateway, "--user", "cli-in", "--with-groups", "--last", "1", "--count", "2")
        push(gateway, {"users": ["cli-in"]}, "tail-in", 0)
        assert process.stdout.readline() == "tail-in\t-\t-\t0\n"
        assert gateway.api("DELETE", "/v1/messages/tail-in")[0] == 200
        assert "the message tail-in was cancelled" in process.stderr.readline()
        push(gateway, {"groups": ["room:in"]}, "tail-room", 1)
        assert finish(gateway, process) == "tail-room\t-\troom:in\t1\n"


def test_tail_goes_on_when_the_gateway_is_back_and_says_that_messages_may_be_missing(make_gateway):
    gateway = make_gateway()
    process = tail(gateway, "--user", "u", "--count", "2")
    push(gateway, {"users": ["u"]}, "before")
    assert process.stdout.readline().startswith("before\t")
    gateway.restart()
    push(gateway, {"users": ["u"]}, "after")
    out, words = process.communicate(timeout=20 * gateway.slowness)
    assert (process.returncode, out) == (0, "after\t-\t-\t1\n"), words
    assert "messages may be missing (epoch)" in words


@pytest.mark.parametrize("words", [["--user", "u"], ["--ticket", "t_none"]])
def test_tail_without_the_right_to_read_ends(gateway, words):
    process = tail(gateway, *words, key="wrong")
    process.communicate(timeout=20 * gateway.slowness)
    assert process.returncode == REFUSED
