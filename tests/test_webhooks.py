"""Webhooks: the app is told what happens, signed, until it has taken it, and led nowhere that it must not."""

import base64
import contextlib
import hashlib
import hmac
import json
import re
import signal
import subprocess
import time

import pytest
from harness.clients import V1Client, connect_raw
from harness.cluster import clusters
from harness.gateway import ROOT, Gateway, wait_for
from harness.sse import open_stream
from harness.webhooks import SECRET, Receiver, signature

SESSIONS = ["session.opened", "session.closed"]
RFC3339 = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")


@pytest.fixture
def receiver():
    with Receiver() as receiver:
        yield receiver


def dead_letters(gateway, reason):
    return gateway.metrics().get("tidegate_webhook_dead_letters_total", app="demo", reason=reason)


def ids_of(receiver):
    return [event["id"] for event in receiver.events]


def test_a_session_is_told_when_it_opens_and_when_it_ends(make_gateway, receiver):
    gateway = make_gateway(app={"webhooks": [receiver.config(*SESSIONS)]})
    with V1Client(gateway, "user 42/x", {"device": "d1", "attrs": {"platform": "web"}}) as client:
        opened = receiver.wait_for("session.opened", sid=client.sid)
        assert not receiver.of_type("session.closed")
    closed = receiver.wait_for("session.closed", sid=client.sid)
    assert opened["data"]["user"] == closed["data"]["user"] == "user 42/x"
    assert (opened["data"]["device"], opened["data"]["attrs"]) == ("d1", {"platform": "web"})
    assert opened["data"]["protocol"] == "tidegate.v1.json" and "reason" not in opened["data"]
    assert closed["data"]["reason"] == "client"
    assert opened["id"] != closed["id"] and opened["subject"] == closed["subject"] == f"sessions/{client.sid}"
    for event in (opened, closed):
        assert event["specversion"] == "1.0" and event["source"] == "/tidegate/tidegate/demo"
        assert event["datacontenttype"] == "application/json" and RFC3339.match(event["time"])


def test_the_reason_of_an_end_is_told_and_raw_sessions_too(make_gateway, receiver):
    gateway = make_gateway(app={"webhooks": [receiver.config("session.closed")]})
    with connect_raw(gateway, "raw"), V1Client(gateway) as anonymous:
        anonymous.send({"t": "hello", "v": 1})
        bad = receiver.wait_for("session.closed", sid=anonymous.sid)
        assert bad["data"]["reason"] == "bad_frame" and "user" not in bad["data"]
        assert gateway.api("DELETE", "/v1/users/raw/sessions")[2]["closed"] == 1
        kicked = receiver.wait_for("session.closed", user="raw")
    assert kicked["data"]["reason"] == "kicked" and kicked["data"]["protocol"] == "raw"
    assert not receiver.of_type("session.opened")


def test_what_no_webhook_asks_for_is_not_told(make_gateway, receiver):
    gateway = make_gateway(app={"webhooks": [receiver.config("client.message")]})
    with V1Client(gateway, "42") as client:
        client.send({"t": "send", "re": 1, "type": "typing", "data": 1})
        assert client.read("ok")["re"] == 1
    receiver.wait_for("client.message", type="typing")
    assert gateway.metrics().get("tidegate_webhook_events_total", app="demo") == 1


def test_a_client_sends_to_the_app(make_gateway, receiver):
    gateway = make_gateway(app={"webhooks": [receiver.config("client.message")]})
    data = {"text": "hi \u2028 there", "n": [1, 2.50, None]}
    with V1Client(gateway, "42") as client:
        client.send({"t": "send", "re": 4, "type": "chat.said", "data": data})
        assert client.read("ok")["re"] == 4
        told = receiver.wait_for("client.message", type="chat.said")
        assert (
            told["data"]["data"] == data
            and told["data"]["user"] == "42"
            and told["data"]["sid"] == client.sid
        )
        for number in range(20):
            client.send({"t": "send", "type": "count", "data": number})
        wait_for(lambda: len(receiver.events) == 21, 10, lambda: receiver.events)
    said = [event["data"]["data"] for event in receiver.events]
    assert said == [data, *range(20)], "in the order that the session sent them"
    assert len(set(ids_of(receiver))) == 21


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"data": 1}, "invalid_type"),
        ({"type": 7, "data": 1}, "invalid_type"),
        ({"type": "", "data": 1}, "invalid_type"),
        ({"type": "a\x00b", "data": 1}, "invalid_type"),
        ({"type": "x" * 257, "data": 1}, "invalid_type"),
        ({"type": "typing"}, "invalid_frame"),
    ],
)
def test_a_send_that_is_not_right_gets_an_error_and_goes_nowhere(frame, code, send_gateway):
    gateway, receiver = send_gateway
    before = gateway.metrics().get("tidegate_webhook_events_total")
    with V1Client(gateway, "42") as client:
        client.send({"t": "send", "re": 9, **frame})
        answer = client.read("err")
        assert (answer["re"], answer["code"]) == (9, code) and answer["title"]
    assert gateway.metrics().get("tidegate_webhook_events_total") == before
    assert not receiver.requests


@pytest.fixture(scope="module")
def send_gateway(request, tmp_path_factory):
    with Receiver() as receiver:
        gateway = Gateway(
            request.config.getoption("preset"),
            tmp_path_factory.mktemp("gateway"),
            app={"webhooks": [receiver.config("client.message")]},
        ).start()
        yield gateway, receiver
        gateway.stop()


def test_without_a_webhook_a_send_is_unsupported(make_gateway):
    gateway = make_gateway()
    with V1Client(gateway, "42") as client:
        client.send({"t": "send", "re": 1, "type": "typing", "data": {}})
        assert client.read("err")["code"] == "unsupported"


def test_a_receiver_that_fails_is_asked_again_and_others_do_not_wait(make_gateway, receiver):
    with Receiver() as other:
        hooks = [receiver.config("session.opened"), other.config("session.opened")]
        gateway = make_gateway(app={"webhooks": hooks})
        receiver.answers.extend([(500, {}), (302, {"location": f"http://127.0.0.1:{other.port}/"})])
        with V1Client(gateway) as client:
            assert other.wait_for("session.opened", sid=client.sid)
            assert receiver.wait_for("session.opened", seconds=10, sid=client.sid)
        assert len({request[1] for request in receiver.requests}) == 1 and len(receiver.requests) == 3
        first, second, third = (request[0] for request in receiver.requests)
        assert second - first > 0.5 and third - second > 0.9, "it waits longer each time"
        assert len(other.requests) == 1, "the redirect was not followed"
    assert dead_letters(gateway, "given_up") == 0


def test_what_is_refused_for_good_is_a_dead_letter(make_gateway, receiver):
    gateway = make_gateway(app={"webhooks": [receiver.config("session.opened")]})
    receiver.answers.extend([(410, {}), (422, {})])
    with V1Client(gateway), V1Client(gateway), V1Client(gateway):
        receiver.wait_for("session.opened")
        wait_for(lambda: dead_letters(gateway, "rejected") == 2, 10, "both are dead letters")
    assert len(receiver.requests) == 3
    results = [
        gateway.metrics().get("tidegate_webhook_requests_total", result=result) for result in ("4xx", "2xx")
    ]
    assert results == [2, 1]


def test_an_event_that_is_too_old_is_given_up(make_gateway, receiver):
    gateway = make_gateway(
        app={"webhooks": [receiver.config("session.opened", give_up="1s", timeout="200ms")]}
    )
    receiver.answers.append(None)
    with V1Client(gateway):
        wait_for(lambda: dead_letters(gateway, "given_up") == 1, 10, "given up")
    assert gateway.metrics().get("tidegate_webhook_requests_total", result="timeout") == 1


def test_a_queue_that_is_full_refuses_and_a_client_is_told(make_gateway, receiver):
    gateway = make_gateway(
        {"limits": {"webhook_queue": "64KiB", "message": "32KiB"}},
        app={"webhooks": [receiver.config("client.message")]},
    )
    receiver.answers.extend([None] * 9)
    with V1Client(gateway, "42") as client:
        answers = []
        for number in range(1, 6):
            client.send({"t": "send", "re": number, "type": "big", "data": "x" * 20000})
            answers.append(client.read("ok", "err"))
        assert [answer["t"] for answer in answers] == ["ok"] * 3 + ["err"] * 2
        assert answers[-1]["code"] == "overloaded"
    assert dead_letters(gateway, "queue_full") == 2
    queued = gateway.metrics().get("tidegate_webhook_queued_bytes", app="demo")
    assert 60000 < queued <= 64 * 1024
    receiver.ends.set()


def test_what_waits_leaves_before_the_gateway_ends(make_gateway, receiver):
    gateway = make_gateway(app={"webhooks": [receiver.config(*SESSIONS)]})
    with contextlib.ExitStack() as ends:
        clients = [ends.enter_context(V1Client(gateway)) for _ in range(20)]
        gateway.stop()
    closed = receiver.of_type("session.closed")
    assert {event["data"]["sid"] for event in closed} == {client.sid for client in clients}
    assert {event["data"]["reason"] for event in closed} <= {"drain", "client"}


def test_a_reload_changes_secrets_and_endpoints(make_gateway, receiver):
    gateway = make_gateway(app={"webhooks": [receiver.config("session.opened")]})
    with V1Client(gateway) as client:
        receiver.wait_for("session.opened", sid=client.sid)
    hook = gateway.config["apps"][0]["webhooks"][0]
    hook["secrets"] = [{"secret": "another secret, of 32 bytes or more"}, {"secret": SECRET}]
    with Receiver("another secret, of 32 bytes or more") as other:
        gateway.config["apps"][0]["webhooks"].append(other.config("session.opened"))
        reload(gateway, 1)
        with V1Client(gateway) as client:
            receiver.wait_for("session.opened", sid=client.sid)
            other.wait_for("session.opened", sid=client.sid)


def test_no_secret_is_in_the_log(make_gateway, receiver):
    gateway = make_gateway(app={"webhooks": [receiver.config("session.opened", give_up="1s")]})
    receiver.answers.extend([(500, {})] * 2)
    with V1Client(gateway):
        wait_for(lambda: dead_letters(gateway, "given_up") == 1, 10, "given up")
    gateway.wait_for_line("webhook.failed")
    gateway.wait_for_line("webhook.dead_letter")
    assert SECRET not in gateway.stderr() and "in-the-url" not in gateway.stderr()


def test_a_session_over_an_event_stream_is_told_and_may_send(make_gateway, receiver):
    gateway = make_gateway(app={"webhooks": [receiver.config(*SESSIONS, "client.message")]})
    with open_stream(gateway, user="42", hello={"device": "d2"}) as stream:
        sid = stream.read("welcome")["sid"]
        opened = receiver.wait_for("session.opened", sid=sid)
        assert (opened["data"]["transport"], opened["data"]["device"]) == ("sse", "d2")
        assert stream.ask(gateway, {"t": "send", "type": "typing", "data": {"n": 1}})["t"] == "ok"
        told = receiver.wait_for("client.message", sid=sid)
        assert (told["data"]["type"], told["data"]["data"], told["data"]["user"]) == (
            "typing",
            {"n": 1},
            "42",
        )
    assert receiver.wait_for("session.closed", sid=sid)["data"]["reason"]


# Users


def is_online(gateway, user):
    answer = gateway.api("GET", f"/v1/users/{user}")[2]
    many = gateway.api("POST", "/v1/users:query", {"users": [user, "nobody"]})[2]["users"]
    assert many[user]["online"] == answer["online"] and not many["nobody"]["online"]
    assert many[user].get("last_seen_ms") == answer.get("last_seen_ms")
    return answer


def test_a_user_is_online_until_the_grace_time_is_over(make_gateway, receiver):
    gateway = make_gateway(
        app={"webhooks": [receiver.config("user.online", "user.offline")], "presence": {"grace": "500ms"}}
    )
    assert not is_online(gateway, "42")["online"]
    with V1Client(gateway, "42"):
        online = receiver.wait_for("user.online", user="42")
        with V1Client(gateway, "42"):  # a second device
            assert is_online(gateway, "42")["since_ms"] == online["data"]["since_ms"]
    state = is_online(gateway, "42")
    assert (state["online"], state["session_count"]) == (True, 0) and state["last_seen_ms"] >= state[
        "since_ms"
    ]
    with V1Client(gateway, "42"):  # a reload
        assert "last_seen_ms" not in is_online(gateway, "42")
    offline = receiver.wait_for("user.offline", user="42")
    assert offline["data"]["since_ms"] == online["data"]["since_ms"]
    assert online["subject"] == offline["subject"] == "users/42"
    assert not is_online(gateway, "42")["online"]
    assert len(receiver.events) == 2
    assert gateway.metrics().get("tidegate_presence_users") == 0


def test_presence_comes_and_goes_with_the_configuration(make_gateway, receiver):
    gateway = make_gateway()
    with V1Client(gateway, "42") as client:
        assert "since_ms" not in is_online(gateway, "42")
        gateway.config["apps"][0]["webhooks"] = [receiver.config("user.online", "user.offline")]
        gateway.config["apps"][0]["presence"] = {"grace": "0"}
        reload(gateway, 1)
        receiver.wait_for("user.online", user="42")
        client.close()
        receiver.wait_for("user.offline", user="42")
    with V1Client(gateway, "43"):
        receiver.wait_for("user.online", user="43")
        del gateway.config["apps"][0]["webhooks"]
        reload(gateway, 2)
        assert "since_ms" not in is_online(gateway, "43")
    assert gateway.metrics().get("tidegate_presence_users") == 0


def reload(gateway, count):
    """Reads the configuration anew, for the count-th time."""
    gateway.config_path.write_text(json.dumps(gateway.config))
    gateway.process.send_signal(signal.SIGHUP)
    wait_for(lambda: gateway.stderr().count("reload.done") == count, 10, "the reload")


# Messages


def test_a_message_to_users_that_nobody_gets_is_told(make_gateway, receiver):
    gateway = make_gateway(app={"webhooks": [receiver.config("message.undelivered")]})
    with V1Client(gateway, "here") as client:
        gateway.push({"users": ["here"]}, 1, id="got")
        gateway.push({"users": ["here", "away"]}, 2, id="got-by-one")
        assert gateway.push({"users": ["here"]}, 3, wait="routed")["receipt"]["sessions"]["matched"] == 1
        gateway.push({"groups": ["room:empty"]}, 4)
        assert "receipt" not in gateway.push({"users": ["away", 'q"']}, 5, id="lost")
        told = receiver.wait_for("message.undelivered", message="lost")
        assert told["data"]["users"] == ["away", 'q"'] and told["subject"] == "messages/lost"
        assert gateway.push({"users": ["away"]}, 6, wait="routed", id="asked")["receipt"]["complete"]
        receiver.wait_for("message.undelivered", message="asked")
        status, _, answer = gateway.api(
            "POST", "/v1/messages:batch", [{"to": {"users": ["away"]}, "data": 7}] * 3
        )
        ids = [result["id"] for result in answer["results"]]
        assert status == 200 and len(set(ids)) == 3
        for message in ids:
            receiver.wait_for("message.undelivered", message=message)
        assert [client.read("msg")["data"] for _ in range(3)] == [1, 2, 3]
    assert len(receiver.events) == 5
    assert gateway.metrics().get("tidegate_messages_accepted_total") == 9


# A16: where a webhook may lead


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0x7f.1", "0177.0.0.1"]
)
def test_a16_a_webhook_does_not_lead_to_this_machine(host, make_gateway, receiver):
    hook = {**receiver.config("session.opened"), "url": f"http://{host}:{receiver.port}/", "allow": []}
    gateway = make_gateway(app={"webhooks": [hook]})

    def refused():
        return gateway.metrics().get("tidegate_webhook_requests_total", app="demo", result="address_refused")

    with V1Client(gateway):
        wait_for(refused, 10, "it was refused")
    assert not receiver.requests
    gateway.wait_for_line("webhook.failed", "not one that")


def test_a16_a_redirect_is_not_followed(make_gateway, receiver):
    with Receiver() as inside:
        gateway = make_gateway(app={"webhooks": [receiver.config("session.opened")]})
        for status in (301, 302, 303, 307, 308):
            receiver.answers.append(
                (status, {"location": f"http://127.0.0.1:{inside.port}/", "retry-after": "0"})
            )
        with V1Client(gateway):
            wait_for(
                lambda: gateway.metrics().get("tidegate_webhook_requests_total", result="3xx"), 10, "3xx"
            )
        assert not inside.requests


def test_a_webhook_must_be_right_before_the_gateway_starts(make_gateway, receiver, tmp_path):
    gateway = make_gateway()
    wrong = [
        ({"events": []}, "expected a list of session.opened"),
        ({"events": ["session.lost"]}, "expected one of session.opened"),
        ({"events": ["session.opened", "session.opened"]}, "is there twice"),
        ({"url": "ftp://example.com/"}, "expected a URL with https or http"),
        ({"url": "http://user:pass@example.com/"}, "expected a URL with https or http"),
        ({"secrets": []}, "secrets"),
        ({"secrets": [{"secret": "short"}]}, "32 bytes or more"),
        ({"secrets": [{"secret": "whsec_" + "!" * 40}]}, "Base64"),
        ({"allow": ["10.0.0.1/8"]}, "expected a prefix"),
        ({"timeout": "1ms"}, "expected a time"),
        ({"give_up": "100d"}, "expected a time"),
    ]
    for changes, words in wrong:
        hook = {**receiver.config("session.opened"), **changes}
        config = {**gateway.config, "apps": [{**gateway.config["apps"][0], "webhooks": [hook]}]}
        path = tmp_path / "wrong.yaml"
        path.touch(mode=0o600)
        path.write_text(json.dumps(config))
        binary = ROOT / "build" / gateway.preset / "tidegate"
        done = subprocess.run([binary, "check", path], capture_output=True, text=True)
        assert done.returncode != 0 and words in done.stdout + done.stderr, (changes, done)


# The cluster


@pytest.fixture
def cluster(request, tmp_path, make_brokers, receiver):
    app = {
        "webhooks": [receiver.config("user.online", "user.offline", "session.opened")],
        "presence": {"grace": "500ms"},
    }
    with clusters(request, tmp_path, make_brokers) as make:
        yield make(app=app)


def test_a_cluster_tells_once_who_comes_and_who_goes(cluster, receiver):
    first, second, third = cluster.nodes

    def told(user):
        events = [event for event in receiver.events if event["data"].get("user") == user]
        return [event["type"].split(".")[-1] for event in events if event["subject"].startswith("users/")]

    with V1Client(first, "moves"):
        receiver.wait_for("user.online", user="moves")
        with V1Client(second, "moves"), V1Client(third, "moves"):
            receiver.wait_for("session.opened", user="moves")
    assert is_online(first, "moves")["online"] and is_online(third, "moves")["online"]
    # A node dies: one of its users comes back elsewhere, the other does not.
    clients = [V1Client(third, name) for name in ("back", "lost")]
    for name in ("back", "lost"):
        receiver.wait_for("user.online", user=name)
    third.kill()
    for client in clients:
        with contextlib.suppress(Exception):
            client.close()
    with V1Client(first, "back"):
        receiver.wait_for("user.offline", seconds=20, user="lost")
        assert is_online(second, "back")["online"] and not is_online(second, "lost")["online"]
        receiver.wait_for("user.offline", seconds=20, user="moves")
        assert told("moves") == ["online", "offline"] and told("lost")[-1] == "offline"
        assert "offline" not in told("back")


def test_the_check_that_the_page_shows_takes_what_is_signed_now_and_nothing_else():
    page = (ROOT / "docs/how-to/webhooks.md").read_text()
    names = {"base64": base64, "hashlib": hashlib, "hmac": hmac, "time": time}
    exec(re.search(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[1], names)  # noqa: S102
    is_ours = names["is_ours"]

    def signed(at, body):
        headers = {"webhook-id": "e1", "webhook-timestamp": str(int(at))}
        return {**headers, "webhook-signature": "v1,b3RoZXI= " + signature(SECRET, headers, body)}

    now = time.time()
    assert is_ours(SECRET.encode(), signed(now, b"{}"), b"{}")
    assert not is_ours(SECRET.encode(), signed(now, b"{}"), b"[]")
    assert not is_ours(b"another", signed(now, b"{}"), b"{}")
    assert not is_ours(SECRET.encode(), signed(now - 400, b"{}"), b"{}")
