"""Sessions over an event stream: the same frames, resume and limits as over a WebSocket."""

import functools
import json
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
import schemathesis
import yaml
from harness import tokens
from harness.certificates import Authority
from harness.clients import V1Client
from harness.cluster import clusters
from harness.faults import cut, mend
from harness.gateway import ROOT, wait_for
from harness.harmless import check_harmless
from harness.sse import open_stream
from harness.wire import Wire

pytestmark = pytest.mark.smoke


def test_a_raw_stream_gets_payloads_alone(gateway):
    with open_stream(gateway, user="raw") as stream:
        assert stream.response.headers["content-type"] == "text/event-stream"
        gateway.push({"users": ["raw"]}, {"a": [1, 2]})
        gateway.push({"users": ["raw"]}, data_base64="AAH/")
        assert json.loads(stream.payloads(1)[0]) == {"a": [1, 2]}
        event = stream.next()
        assert (event.event, event.data) == ("binary", "AAH/")


def test_a_stream_that_says_hello_gets_the_frames_of_the_protocol(gateway):
    with open_stream(gateway, user="v1", hello={"groups": ["room:sse"]}) as stream:
        welcome = stream.read("welcome")
        assert (welcome["user"], welcome["resumed"]) == ("v1", "none")
        answer = gateway.push({"groups": ["room:sse"]}, "hi")
        message = stream.read("msg")
        assert (message["id"], message["data"], message["g"]) == (answer["id"], "hi", "room:sse")


def test_it_resumes_by_the_last_id(gateway):
    with open_stream(gateway, user="back", hello={}) as stream:
        stream.read("welcome")
        gateway.push({"users": ["back"]}, "seen")
        assert stream.read_data(1) == ["seen"]
    for i in range(50):
        gateway.push({"users": ["back"]}, i)
    with open_stream(gateway, user="back", hello={}, last_id=stream.last_id) as again:
        assert again.read("welcome")["resumed"] == "full"
        gateway.push({"users": ["back"]}, "live")
        assert again.read_data(51) == [*range(50), "live"]


def test_a_client_speaks_by_requests_of_their_own(gateway):
    with open_stream(gateway, user="speaker", hello={}) as stream:
        stream.read("welcome")
        assert stream.ask(gateway, {"t": "join", "g": "room:up"})["t"] == "ok"
        gateway.push({"groups": ["room:up"]}, "to the group")
        assert stream.read_data(1) == ["to the group"]
        assert stream.ask(gateway, {"t": "join", "g": "closed"})["code"] == "forbidden"
        answer = stream.say(gateway, [{"t": "leave", "re": 7, "g": "room:up"}, {"t": "ack", "ids": ["x"]}])
        assert (answer.status_code, answer.json()) == (202, {})
        assert stream.read("ok")["re"] == 7


def test_nobody_speaks_for_the_session_of_another(gateway):
    with open_stream(gateway, user="mine", hello={}) as stream:
        stream.read("welcome")

        def refused(**options):
            answer = stream.say(gateway, {"t": "join", "re": 1, "g": "room:up"}, **options)
            return answer.status_code, answer.json()["code"]

        assert refused(user="other") == (403, "not_your_session")
        assert refused(user="") == (403, "not_your_session")
        assert refused(sid="s_" + "A" * 28) == (404, "session_not_found")
        assert refused(sid=stream.sid[:-1] + ("A" if stream.sid[-1] != "A" else "B"))[0] == 404
        assert refused(headers={"Authorization": "Bearer a.b.c"}) == (401, "unauthorized")
        assert refused(headers={"Origin": "https://evil.example"}) == (403, "origin_refused")
        assert stream.ask(gateway, {"t": "leave", "g": "room:up"})["code"] == "not_found"
    assert wait_for(lambda: refused() == (404, "session_not_found"), 5, "the session is gone")


def test_what_is_wrong_changes_nothing(gateway):
    with open_stream(gateway, user="wrong", hello={}) as stream, open_stream(gateway, user="wrong") as raw:
        stream.read("welcome")

        def refused(frames, **options):
            answer = stream.say(gateway, frames, **options)
            return answer.status_code, answer.json()["code"]

        join = {"t": "join", "re": 1, "g": "room:up"}
        for bad in (
            b"",
            b"[]",
            b"{",
            b"7",
            b'{"t":1}',
            b'{"t":"ack","t":"ack"}',
            [join, 7],
            [join, {"t": "hello", "v": 1}],
        ):
            assert refused(bad) == (422, "invalid_frame"), bad
        assert refused(b'{"t":"x","d":"' + b"x" * 65536 + b'"}') == (413, "message_too_large")
        assert refused([{"t": "x"}] * 1000) == (413, "too_many_frames")
        assert refused(join, headers={"Content-Encoding": "gzip"}) == (415, "unsupported_encoding")
        assert refused(join, headers={"Tidegate-Session": ""}) == (404, "session_not_found")
        raw.sid = gateway.api("GET", "/v1/users/wrong")[2]["sessions"][0]["sid"]
        sessions = {s["protocol"]: s["sid"] for s in gateway.api("GET", "/v1/users/wrong")[2]["sessions"]}
        assert refused(join, sid=sessions["raw"]) == (409, "no_upstream")
        assert stream.ask(gateway, {"t": "leave", "g": "room:up"})["code"] == "not_found"


def test_more_than_the_rate_is_429_and_the_session_stays(make_gateway):
    gateway = make_gateway({"limits": {"messages_per_second": 1, "message_burst": 3}})
    with open_stream(gateway, user="fast", hello={}) as stream:
        stream.read("welcome")
        assert stream.say(gateway, [{"t": "ack", "ids": []}] * 3).status_code == 202
        answer = stream.say(gateway, [{"t": "ack", "ids": []}] * 2)
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        assert answer.headers["retry-after"] == "1"
        gateway.push({"users": ["fast"]}, "still here")
        assert stream.read_data(1) == ["still here"]
        results = gateway.metrics()
        assert results.get("tidegate_ups_total", result="accepted") == 1
        assert results.get("tidegate_ups_total", result="rate_limited") == 1
        assert results.get("tidegate_connections", app="demo", transport="sse") == 1


def test_a_hello_that_comes_later_may_bring_a_token(gateway):
    token = tokens.mint(tokens.claims("late"))
    with open_stream(gateway, params={"hello": ""}, ready=False) as stream:
        event = stream.next()
        assert event.event == "session"
        stream.sid = json.loads(event.data)["sid"]
        early = stream.say(gateway, {"t": "join", "re": 1, "g": "room:up"})
        assert (early.status_code, early.json()["code"]) == (409, "hello_first")
        assert stream.say(gateway, {"t": "hello", "v": 1, "token": token}).status_code == 202
        assert stream.read("welcome")["user"] == "late"
        gateway.push({"users": ["late"]}, "seen")
        assert stream.read_data(1) == ["seen"]
        stream.user = None
        again = stream.say(gateway, {"t": "hello", "v": 1}, headers={"Authorization": f"Bearer {token}"})
        assert (again.status_code, again.json()["code"]) == (422, "invalid_frame")
        last_id = stream.last_id
    gateway.push({"users": ["late"]}, "missed")
    with open_stream(gateway, params={"hello": ""}, ready=False, last_id=last_id) as stream:
        stream.sid = json.loads(stream.next().data)["sid"]
        assert stream.say(gateway, {"t": "hello", "v": 1, "token": token}).status_code == 202
        assert stream.read("welcome")["resumed"] == "full"
        assert stream.read_data(1) == ["missed"]


def test_the_credential_of_a_later_hello_is_the_sessions(gateway):
    groups = {"groups": ["room:*"], "exp": int(time.time()) + 20}
    token = tokens.mint({**tokens.claims("beside"), **groups})
    headers = {"Authorization": f"Bearer {token}"}
    with open_stream(gateway, params={"hello": ""}, ready=False) as stream:
        stream.sid = json.loads(stream.next().data)["sid"]
        early = stream.say(gateway, {"t": "join", "g": "room:up"}, headers=headers)
        assert (early.status_code, early.json()["code"]) == (409, "hello_first")
        assert stream.say(gateway, {"t": "hello", "v": 1}, headers=headers).status_code == 202
        welcome = stream.read("welcome")
        assert (welcome["user"], "exp" in welcome) == ("beside", True)
        stream.read("expiring")  # it is as old as the token, not only of its user
        alone = stream.say(gateway, {"t": "ack", "ids": []})
        assert (alone.status_code, alone.json()["code"]) == (403, "not_your_session")
        assert stream.ask(gateway, {"t": "join", "g": "room:up"}, headers=headers)["t"] == "ok"
    with open_stream(gateway, params={"hello": ""}, ready=False) as stream:
        stream.sid = json.loads(stream.next().data)["sid"]
        assert stream.say(gateway, {"t": "hello", "v": 1}, user="by-header").status_code == 202
        assert stream.read("welcome")["user"] == "by-header"


def test_a_ticket_may_say_its_hello_later(gateway):
    def ticket_of(user):
        return {"ticket": gateway.api("POST", "/v1/tickets", {"user": user})[2]["ticket"]}

    own, other = ticket_of("waits"), ticket_of("other")
    with open_stream(gateway, params={"hello": "", **own}, ready=False) as stream:
        stream.sid = json.loads(stream.next().data)["sid"]
        hello = {"t": "hello", "v": 1}
        assert stream.say(gateway, hello, params=other).status_code == 403
        assert stream.say(gateway, hello, params=own).status_code == 202
        assert stream.read("welcome")["user"] == "waits"
    with open_stream(gateway, params={"hello": ""}, ready=False) as stream:  # a ticket is for its own page
        stream.sid = json.loads(stream.next().data)["sid"]
        assert stream.say(gateway, hello, params=own).status_code == 403


def test_a_hello_that_never_comes_is_4104(make_gateway):
    gateway = make_gateway({"limits": {"hello_timeout": "100ms"}})
    with open_stream(gateway, params={"hello": ""}, ready=False) as stream:
        assert stream.next().event == "session"
        assert stream.end() == {"code": 4104, "reason": "hello_timeout"}


def test_a_token_is_shown_and_refreshed(gateway):
    headers = {"Authorization": f"Bearer {tokens.mint(tokens.claims('aging', lifetime=20))}"}
    with open_stream(gateway, hello={}, headers=headers) as stream:
        stream.read("welcome")
        stream.read("expiring")
        fresh = {"t": "refresh", "token": tokens.mint(tokens.claims("aging"))}
        assert stream.ask(gateway, fresh, headers=headers)["t"] == "ok"
        other = {"t": "refresh", "token": tokens.mint(tokens.claims("other"))}
        assert stream.say(gateway, other, headers=headers).status_code == 202
        assert stream.end()["code"] == 4003


def test_what_is_acked_over_an_event_stream_counts(gateway):
    with open_stream(gateway, user="acks", hello={}) as stream, ThreadPoolExecutor(1) as pool:
        stream.read("welcome")
        message = {"to": {"users": ["acks"]}, "data": 1, "wait": "acked", "wait_ms": 5000}
        pushed = pool.submit(gateway.api, "POST", "/v1/messages", message)
        frame = stream.read("msg")
        assert frame["ack"] == 1
        assert stream.say(gateway, {"t": "ack", "ids": [frame["id"]]}).status_code == 202
        status, _, answer = pushed.result(10)
        assert (status, answer["receipt"]["sessions"]["acked"]) == (200, 1)


def test_a_node_that_goes_says_when_and_then_ends_the_stream(make_gateway):
    gateway = make_gateway({"drain": {"window": "300ms"}})
    with open_stream(gateway, user="staying", hello={}) as stream, open_stream(gateway) as raw:
        stream.read("welcome")
        gateway.process.send_signal(signal.SIGTERM)
        assert stream.read("goaway")["window_ms"] == 300
        assert stream.end() == {"code": 4200, "reason": "drain"}
        assert raw.end() == {"code": 4200, "reason": "drain"}


LIMITED = {"limits": {"session_queue_age": "1s"}, "heartbeat": {"interval": "500ms"}}


def closed_for(gateway, reason):
    return gateway.metrics().get("tidegate_sessions_closed_total", app="demo", reason=reason)


def test_h15_a_stream_that_nobody_reads_is_closed(make_gateway):
    gateway = make_gateway(LIMITED)

    def attack():
        with Wire(gateway.client_port, receive_buffer=2048) as wire:
            wire.send(b"GET /v1/sse?group=room:h15 HTTP/1.1\r\nHost: a\r\n\r\n")
            groups = functools.partial(gateway.api, "GET", "/v1/groups/room:h15")
            wait_for(lambda: groups()[2]["sessions"] == 1, 5, "the session")
            for _ in range(100):
                gateway.push({"groups": ["room:h15"]}, "x" * 60000)
            wait_for(lambda: groups()[2]["sessions"] == 0, 10 * gateway.slowness, "its end")

    check_harmless(gateway, attack, reason="slow_consumer", once=True)


def test_a_client_that_is_gone_without_a_word_is_noticed(make_gateway):
    gateway = make_gateway(LIMITED)
    with open_stream(gateway, user="gone") as stream:
        cut(stream.socket)
        wait_for(lambda: closed_for(gateway, "connection_lost") == 1, 9, "the end of the session", 0.1)
        mend(stream.socket)


def test_a_stream_over_tls(make_gateway, tmp_path):
    authority = Authority(tmp_path)
    gateway = make_gateway({"tls": {"client": {"certificates": [authority.sign("server").files]}}})
    base = f"https://localhost:{gateway.client_port}"
    with open_stream(gateway, user="tls", hello={}, base=base, verify=authority.trust()) as stream:
        stream.read("welcome")
        big = "x" * 60000
        for data in (1, big, 2):
            gateway.push({"users": ["tls"]}, data)
        assert stream.read_data(3) == [1, big, 2]
        assert stream.ask(gateway, {"t": "join", "g": "room:tls"})["t"] == "ok"
        gateway.push({"groups": ["room:tls"]}, "bye")
        assert stream.read_data(1) == ["bye"]
        gateway.api("DELETE", "/v1/users/tls/sessions")
        assert stream.end()["code"] == 4000


def test_a_policy_of_sessions_holds_for_streams_too(make_gateway):
    gateway = make_gateway(app={"sessions": {"per_user": 1, "on_excess": "oldest"}})
    with open_stream(gateway, user="one", hello={}) as old, V1Client(gateway, "one"):
        old.read("welcome")
        assert old.end() == {"code": 4001, "reason": "replaced"}
        with open_stream(gateway, user="one") as new:
            gateway.push({"users": ["one"]}, "here")
            assert new.payloads(1) == ['"here"']


def test_a_revoked_message_is_told_and_a_raw_stream_hears_nothing_of_it(gateway):
    with open_stream(gateway, user="undo", hello={}) as stream, open_stream(gateway, user="undo") as raw:
        stream.read("welcome")
        sent = gateway.push({"users": ["undo"]}, "oops", id=f"undo-{time.monotonic_ns()}")["id"]
        assert (stream.read_data(1), raw.payloads(1)) == (["oops"], ['"oops"'])
        assert gateway.api("DELETE", f"/v1/messages/{sent}")[0] in (200, 202)
        assert stream.read("revoke")["id"] == sent
        gateway.push({"users": ["undo"]}, "next")
        assert raw.payloads(1) == ['"next"']


SPEC = yaml.safe_load((ROOT / "docs/openapi-client.yaml").read_text())
OPERATIONS = [(path, method, item[method]) for path, item in SPEC["paths"].items() for method in item]
CODE = re.compile(r"`([a-z_]+)`")


def codes_of(page):
    """Those of its tables of statuses."""
    rows = re.findall(r"^\| [\d, ]{3,}\|([^|]*)\|", (ROOT / page).read_text(), re.MULTILINE)
    return {code for row in rows for code in CODE.findall(row)}


def test_the_description_is_right_and_names_every_code_that_the_page_names():
    schemathesis.openapi.from_dict(SPEC).validate()
    described = {
        code
        for _, _, operation in OPERATIONS
        for answer in operation["responses"].values()
        for code in CODE.findall(answer["description"])
    }
    named, of_websockets = codes_of("docs/sse.md"), codes_of("docs/protocol.md")
    assert named - described == {"method_not_allowed"}
    assert described - named <= of_websockets


@pytest.fixture(scope="module")
def cluster(request, tmp_path_factory, module_brokers):
    with clusters(request, tmp_path_factory.mktemp("cluster"), module_brokers) as make:
        yield make("redis")


def test_a_stream_goes_on_at_any_node_and_loses_nothing(cluster):
    last_id, got = None, []
    for turn in range(6):
        with open_stream(cluster.nodes[turn % 3], user="mover", last_id=last_id) as stream:
            cluster.nodes[(turn + 1) % 3].push({"users": ["mover"]}, [turn, "here"])
            got += [json.loads(data) for data in stream.payloads(1 if turn == 0 else 2)]
            last_id = stream.last_id
        cluster.nodes[(turn + 2) % 3].push({"users": ["mover"]}, [turn, "away"])
    assert got == [
        [0, "here"],
        *([turn + step, word] for turn in range(5) for step, word in ((0, "away"), (1, "here"))),
    ]


def test_a_client_speaks_to_another_node_than_its_own(cluster):
    first, second, third = cluster.nodes
    with open_stream(first, user="remote", hello={}) as stream:
        stream.read("welcome")
        assert stream.ask(second, {"t": "join", "g": "room:far"})["t"] == "ok"
        third.push({"groups": ["room:far"]}, "there")
        assert stream.read_data(1) == ["there"]
        assert stream.say(third, {"t": "leave", "re": 1, "g": "room:far"}, user="other").status_code == 403
        assert stream.ask(third, {"t": "leave", "g": "room:far"})["t"] == "ok"
        big = {"t": "leave", "g": "x" * 60000}
        assert stream.ask(second, big)["code"] == "invalid_group"
    wait_for(
        lambda: stream.say(second, {"t": "ack", "ids": []}).status_code == 404, 10, "the session is gone"
    )


def test_a_token_does_not_travel_over_the_bus_in_the_clear(cluster):
    first, second, _ = cluster.nodes
    token = tokens.mint(tokens.claims("secret"))
    with open_stream(first, user="secret", hello={}) as stream:
        stream.read("welcome")
        assert stream.ask(second, {"t": "refresh", "token": token})["t"] == "ok"
        first.push({"users": ["secret"]}, "a payload is seen there")
    host, port = cluster.brokers.address("main").split(":")
    server = redis.Redis(host, int(port))
    streams = [key for key in server.scan_iter() if server.type(key) == b"stream"]
    kept = b"".join(value for key in streams for _, record in server.xrange(key) for value in record.values())
    assert b"a payload is seen there" in kept
    assert token.encode() not in kept


def test_a_page_that_waits_with_a_ticket_gets_its_result_over_a_stream(cluster):
    first, second, third = cluster.nodes
    status, _, ticket = first.api("POST", "/v1/tickets", {"user": "waiting"})
    assert status == 201
    params, hello = {"ticket": ticket["ticket"]}, {"claim": "page-1"}
    with open_stream(first, hello=hello, params=params) as stream:
        stream.read("welcome")
    second.push({"tickets": [ticket["id"]]}, "the result", final=True)
    with open_stream(third, hello=hello, params=params) as stream:
        stream.read("welcome")
        message = stream.read("msg")
        assert (message["data"], message["final"]) == ("the result", True)
        ack = {"t": "ack", "ids": [message["id"]]}
        assert stream.say(second, ack).status_code == 403
        assert stream.say(second, ack, params=params).status_code == 202
        assert stream.end()["code"] == 4006


def test_who_speaks_at_another_node_is_counted_before_the_bus_is_asked(cluster):
    first, second, _ = cluster.nodes
    with open_stream(first, user="flood", hello={}) as stream:
        stream.read("welcome")
    say = functools.partial(stream.say, second, {"t": "ack", "ids": []})
    wait_for(lambda: say().status_code == 404, 10, "the session is gone")
    limits = second.config.setdefault("limits", {})
    limits.update({"messages_per_second": 1, "message_burst": 1})
    second.reload()
    with ThreadPoolExecutor(10) as pool:
        codes = [answer.json()["code"] for answer in pool.map(lambda _: say(), range(20))]
    assert "rate_limited" in codes
    refused = second.metrics().get("tidegate_ups_total", result="rate_limited")
    assert refused == codes.count("rate_limited")
    assert first.metrics().get("tidegate_ups_total", result="rate_limited") == 0
