"""Pushes: who gets what, and what the caller is told."""

import base64
import json
import subprocess
import time

import pytest
from harness.clients import V1Client, connect_raw
from harness.gateway import USER_HEADER
from harness.wire import Wire

pytestmark = pytest.mark.smoke


def unique(word):
    return f"{word}-{time.monotonic_ns()}"


def test_a_curl_push_reaches_a_raw_session(gateway, tmp_path):
    header = tmp_path / "auth"
    header.write_text(f"Authorization: Bearer {gateway.api_key}\n")
    with connect_raw(gateway, "curl") as session:
        command = ["curl", "-fsS", "-H", f"@{header}", "-d", '{"text":"hi"}']
        answer = subprocess.run(
            [*command, gateway.api_url("/v1/users/curl/messages")],
            check=True,
            capture_output=True,
            timeout=20,
        )
        assert session.recv(timeout=5) == '{"text":"hi"}'
        assert json.loads(answer.stdout)["id"]


def test_a_raw_session_gets_what_is_pushed_right_after_its_connect(gateway):
    """It has no welcome, so the 101 itself must say that it is in place."""
    for i in range(300):
        with connect_raw(gateway, f"prompt-{i}") as session:
            gateway.push({"users": [f"prompt-{i}"]}, i)
            assert session.recv(timeout=10) == str(i)


def test_a_raw_session_that_is_refused_a_group_is_upgraded_before_it_is_closed(gateway):
    with Wire(gateway.client_port, timeout=10 * gateway.slowness) as wire:
        wire.upgrade("/v1/ws?group=secret", [(USER_HEADER, "refused")])
        wire.expect_close(4003)


def test_a_v1_session_is_told_everything_about_a_message(gateway):
    with V1Client(gateway, user="told") as client:
        assert client.welcome["user"] == "told"
        assert client.welcome["resumed"] == "none"
        assert client.welcome["limits"]["msg"] == 65536
        answer = gateway.push({"users": ["told"]}, {"n": 1}, type="comment.created", id=unique("told"))
        got = client.read("msg")
        assert got["id"] == answer["id"]
        assert got["type"] == "comment.created"
        assert got["data"] == {"n": 1}
        assert got["pos"] == answer["pos"]
        assert abs(got["ts"] - time.time() * 1000) < 60_000


def test_data_arrives_byte_for_byte(gateway):
    data = b'{ "big": 123456789012345678901234567890, "e": 1.0e+2, "u": "\\u00e9\xc3\xa9" , "a":[ ] }'
    body = b'{"to":{"users":["bytes"]},"data":' + data + b"}"
    with connect_raw(gateway, "bytes") as session:
        status, _, answer = gateway.api("POST", "/v1/messages", body, {"Content-Type": "application/json"})
        assert status == 202, answer
        assert session.recv(timeout=5).encode() == data


def test_binary_data_reaches_a_raw_session_as_binary(gateway):
    data = bytes(range(256))
    with connect_raw(gateway, "binary") as session:
        gateway.push({"users": ["binary"]}, data_base64=base64.b64encode(data).decode())
        assert session.recv(timeout=5) == data


def test_two_tabs_of_one_user_both_get_it_under_one_receipt(gateway):
    with V1Client(gateway, user="tabs") as one, V1Client(gateway, user="tabs") as two:
        answer = gateway.push({"users": ["tabs"]}, "both", wait="written")
        assert one.read_data() == two.read_data() == ["both"]
        assert answer["receipt"]["sessions"]["matched"] == 2
        assert answer["receipt"]["sessions"]["written"] == 2
        assert answer["receipt"]["users_online"] == 1
        assert answer["receipt"]["complete"] is True


@pytest.mark.parametrize("wait", ["routed", "written"])
def test_waiting_for_nobody_is_complete_with_zero(gateway, wait):
    status, _, answer = gateway.api(
        "POST", "/v1/messages", {"to": {"users": [unique("nobody")]}, "data": 1, "wait": wait}
    )
    assert status == 200
    assert answer["receipt"]["sessions"]["matched"] == 0
    assert answer["receipt"]["complete"] is True


def test_accepted_alone_is_202(gateway):
    status, _, answer = gateway.api("POST", "/v1/messages", {"to": {"users": ["x"]}, "data": 1})
    assert status == 202
    assert answer["id"]
    assert answer["pos"]


def test_a_group_gets_it_while_joined_and_not_after(gateway):
    group = "room:" + unique("group")
    with V1Client(gateway, user="member") as member, V1Client(gateway, user="stranger") as stranger:
        member.join(group)
        gateway.push({"groups": [group]}, "in")
        got = member.read("msg")
        assert (got["data"], got["g"]) == ("in", group)
        assert member.ask({"t": "leave", "g": group})["t"] == "ok"
        gateway.push({"groups": [group]}, "out", wait="routed")
        gateway.push({"users": ["member", "stranger"]}, "the end")
        assert member.read_data() == stranger.read_data() == ["the end"]


def test_groups_of_the_hello_are_joined_before_the_welcome(gateway):
    group = "room:" + unique("hello")
    with V1Client(gateway, user="early", hello={"groups": [group]}) as client:
        gateway.push({"groups": [group]}, "early")
        assert client.read("msg")["data"] == "early"


def test_all_reaches_everybody_once(gateway):
    with (
        V1Client(gateway, user="all-1") as one,
        V1Client(gateway) as anonymous,
        connect_raw(gateway, "all-2") as raw,
    ):
        gateway.push({"all": True}, "everybody")
        assert one.read_data() == anonymous.read_data() == ["everybody"]
        assert json.loads(raw.recv(timeout=5)) == "everybody"


def test_several_targets_are_a_union_and_a_session_gets_it_once(gateway):
    group = "room:" + unique("union")
    with V1Client(gateway, user="union") as client:
        client.join(group)
        targets = {"users": ["union", unique("other")], "groups": [group], "sessions": [client.sid]}
        gateway.push(targets, "once")
        gateway.push({"users": ["union"]}, "the end")
        first = client.read("msg")
        rest = client.read("msg")
        assert (first["data"], rest["data"]) == ("once", "the end")


def test_one_session_can_be_meant(gateway):
    with V1Client(gateway, user="meant") as one, V1Client(gateway, user="meant") as two:
        gateway.push({"sessions": [one.sid]}, "you")
        gateway.push({"users": ["meant"]}, "the end")
        assert sorted(one.read_data(2)) == ["the end", "you"]
        assert two.read_data() == ["the end"]


def test_except_leaves_out_a_session_and_an_origin(gateway):
    with (
        V1Client(gateway, user="ex") as one,
        V1Client(gateway, user="ex", hello={"origin": "page-7f"}) as two,
        V1Client(gateway, user="ex") as three,
    ):
        left_out = {"sessions": [one.sid], "origin": "page-7f"}
        gateway.push({"users": ["ex"]}, "not all", **{"except": left_out})
        gateway.push({"users": ["ex"]}, "the end")
        assert one.read_data() == two.read_data() == ["the end"]
        assert three.read_data(2) == ["not all", "the end"]


def test_messages_of_one_key_keep_their_order(gateway):
    with V1Client(gateway, user="order") as client:
        for i in range(200):
            gateway.push({"users": ["order"]}, i)
        assert client.read_data(200) == list(range(200))


def test_the_same_id_and_body_give_the_first_answer_again(gateway):
    message = {"to": {"users": ["same"]}, "data": {"n": 1}, "id": unique("same")}
    with V1Client(gateway, user="same") as client:
        first = gateway.api("POST", "/v1/messages", message)[2]
        again = gateway.api("POST", "/v1/messages", message)[2]
        assert again["replayed"] is True
        assert (again["id"], again["pos"]) == (first["id"], first["pos"])
        other = gateway.api("POST", "/v1/messages", {**message, "data": {"n": 2}})
        assert other[0] == 422
        gateway.push({"users": ["same"]}, "the end")
        assert client.read_data(2) == [{"n": 1}, "the end"]


def test_a_message_past_its_ttl_is_not_replayed(gateway):
    with V1Client(gateway, user="ttl") as client:
        back = client.resume()
    gateway.push({"users": ["ttl"]}, "short", ttl_ms=1)
    gateway.push({"users": ["ttl"]}, "long", ttl_ms=60_000)
    time.sleep(0.05)  # what is waited for is the wall clock itself
    with V1Client(gateway, user="ttl", hello=back) as client:
        assert client.read_data() == ["long"]


def test_a_batch_has_one_result_for_each_in_order(gateway):
    messages = [{"to": {"users": ["batch"]}, "data": i} for i in range(50)]
    messages[7] = {"to": {}, "data": "nobody"}
    with V1Client(gateway, user="batch") as client:
        status, _, answer = gateway.api("POST", "/v1/messages:batch", {"messages": messages})
        assert status in (200, 202, 207), answer
        results = answer["results"]
        assert len(results) == 50
        assert "code" in json.dumps(results[7])
        assert client.read_data(49) == [i for i in range(50) if i != 7]


def test_a_batch_of_more_than_a_thousand_is_refused_whole(gateway):
    messages = [{"to": {"users": ["many"]}, "data": i} for i in range(1001)]
    status, _, problem = gateway.api("POST", "/v1/messages:batch", {"messages": messages})
    assert status in (413, 422)
    assert problem["code"]


@pytest.mark.parametrize(
    "path", ["/v1/users/path/messages", "/v1/groups/room:path/messages", "/v1/broadcast"]
)
def test_a_raw_body_is_the_payload(gateway, path):
    with V1Client(gateway, user="path", hello={"groups": ["room:path"]}) as client:
        status, _, answer = gateway.api("POST", path + "?type=note", b'{"raw":true}')
        assert status == 202, answer
        got = client.read("msg")
        assert (got["data"], got["type"]) == ({"raw": True}, "note")


def test_the_api_joins_and_parts_the_sessions_of_a_user(gateway):
    group = "room:" + unique("api")
    with V1Client(gateway, user="joined") as client:
        assert gateway.api("PUT", f"/v1/groups/{group}/users/joined")[0] in (200, 202, 204)
        joined = client.read("joined")
        assert joined["g"] == group
        gateway.push({"groups": [group]}, "in")
        assert client.read_data() == ["in"]
        assert gateway.api("DELETE", f"/v1/groups/{group}/users/joined")[0] in (200, 202, 204)
        assert client.read("left")["g"] == group
        gateway.push({"groups": [group]}, "out", wait="routed")
        gateway.push({"users": ["joined"]}, "the end")
        assert client.read_data() == ["the end"]


def test_a_grant_shown_again_brings_a_member_back_and_nobody_else(gateway):
    group = unique("granted")  # not a group that a client may join by itself
    with V1Client(gateway, user="granted") as client:
        assert client.ask({"t": "join", "g": group})["t"] == "err"
        gateway.api("PUT", f"/v1/groups/{group}/users/granted")
        grant = client.read("joined")["grant"]
    shown = {"grants": [grant]}
    with (
        V1Client(gateway, user="granted", hello=shown) as member,
        V1Client(gateway, user="another", hello=shown) as thief,
        V1Client(gateway, user="granted", hello={"grants": [grant[:-2] + "AA"]}) as forger,
    ):
        assert member.refused == []
        assert [thief.refused[0]["code"], forger.refused[0]["code"]] == ["forbidden", "forbidden"]
        gateway.push({"groups": [group]}, "for members")
        gateway.push({"users": ["granted", "another"]}, "the end")
        assert member.read_data(2) == ["for members", "the end"]
        assert thief.read_data() == forger.read_data() == ["the end"]


def test_a_kicked_user_is_closed_with_4000(gateway):
    with V1Client(gateway, user="kicked") as one, V1Client(gateway, user="kicked") as two:
        assert gateway.api("DELETE", "/v1/users/kicked/sessions")[0] in (200, 202, 204)
        for client in (one, two):
            with pytest.raises(Exception, match="4000"):
                client.read("msg")


WRONG = {
    "no_target": {"to": {}, "data": 1},
    "no_to": {"data": 1},
    "no_data": {"to": {"users": ["x"]}},
    "two_data": {"to": {"users": ["x"]}, "data": 1, "data_base64": "AA=="},
    "bad_base64": {"to": {"users": ["x"]}, "data_base64": "!"},
    "users_no_list": {"to": {"users": "x"}, "data": 1},
    "user_number": {"to": {"users": [1]}, "data": 1},
    "empty_user": {"to": {"users": [""]}, "data": 1},
    "long_user": {"to": {"users": ["x" * 257]}, "data": 1},
    "bad_wait": {"to": {"users": ["x"]}, "data": 1, "wait": "forever"},
    "negative_ttl": {"to": {"users": ["x"]}, "data": 1, "ttl_ms": -1},
    "long_id": {"to": {"users": ["x"]}, "data": 1, "id": "x" * 257},
}


@pytest.mark.parametrize("message", WRONG.values(), ids=WRONG)
def test_a_wrong_message_is_422_with_a_problem(gateway, message):
    status, headers, problem = gateway.api("POST", "/v1/messages", message)
    assert status in (400, 422), problem
    assert headers["content-type"] == "application/problem+json"
    assert problem["code"]
    assert problem["status"] == status


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"to":{"users":["x"]},"data":1}x', b"\xff"])
def test_a_body_that_is_no_object_is_400(gateway, body):
    status, _, problem = gateway.api("POST", "/v1/messages", body, {"Content-Type": "application/json"})
    assert status in (400, 422)
    assert problem["code"]


def test_without_a_key_or_with_a_wrong_one_it_is_401(gateway):
    for header in ("", "Bearer wrong", "Basic eDp5", f"Bearer {gateway.api_key}x"):
        status, headers, problem = gateway.api(
            "POST", "/v1/messages", {"to": {"users": ["x"]}, "data": 1}, {"Authorization": header}
        )
        assert status == 401
        assert "www-authenticate" in headers
        assert problem["code"]


def test_a_message_over_the_limit_is_413(gateway):
    status, _, problem = gateway.api("POST", "/v1/messages", {"to": {"users": ["x"]}, "data": "x" * 65536})
    assert status in (413, 422)
    assert problem["code"]
