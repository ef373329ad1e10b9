"""Tokens that are good no longer: their sessions end, and nobody comes in with them again."""

import time

import pytest
from harness.clients import V1Client
from harness.cluster import closed_with, clusters
from harness.gateway import wait_for
from harness.sse import open_stream
from harness.tokens import claims, mint
from harness.wire import V1, Wire, upgrade_request
from websockets.exceptions import ConnectionClosed, InvalidStatus

TOKEN_INVALID, REVOKED, FORBIDDEN, RATE_LIMITED = 4004, 4301, 4003, 4103


def token(user="42", **changes):
    return mint(claims(user, **changes))


def come(gateway, text, **options):
    return V1Client(gateway, hello={"token": text}, **options)


def refused_in_hello(gateway, text):
    with pytest.raises(ConnectionClosed) as closed:
        come(gateway, text)
    return closed.value.rcvd.code


def refused_at_the_door(gateway, text):
    """Status and code of the answer to an upgrade that shows the token."""
    with Wire(gateway.client_port, timeout=10 * gateway.slowness) as wire:
        headers = [("Authorization", f"Bearer {text}"), ("Sec-WebSocket-Protocol", V1)]
        response = wire.request(upgrade_request(headers=headers))
        return response.status, response.body


def refused_upgrade(come_in, *args):
    with pytest.raises(InvalidStatus) as refused:
        come_in(*args)
    return refused.value.response.status_code


def revoke(gateway, **what):
    status, _, answer = gateway.api("POST", "/v1/revocations", what)
    assert status == 202, (status, answer)
    return answer


def ago(seconds):
    return int(time.time()) - seconds


def newer(user):
    """A token of after all that was revoked so far: they count in whole seconds."""
    now = int(time.time())
    wait_for(lambda: int(time.time()) > now, 2, "the next second")
    return token(user)


# ---- one node ----


def test_a_users_sessions_end_and_old_tokens_are_refused_everywhere(gateway):
    old, other = token("ada", iat=ago(60)), token("bob", iat=ago(60))
    with come(gateway, old) as first, come(gateway, old) as second, come(gateway, other) as bystander:
        answer = revoke(gateway, user="ada", reason="the password was changed")
        assert answer["expires_at"] / 1000 - time.time() == pytest.approx(30 * 24 * 3600, abs=300)
        assert closed_with(first) == closed_with(second) == REVOKED
        bystander.assert_silent(0.1)
        assert refused_in_hello(gateway, old) == REVOKED
        status, body = refused_at_the_door(gateway, old)
        assert status == 401
        assert b'"unauthorized"' in body
        assert b"revoked" not in body  # why is nobody's business
        answer = bystander.ask({"t": "join", "g": "vip", "token": old})
        assert answer["code"] == "forbidden"
    come(gateway, newer("ada")).close()
    assert gateway.metrics().get("tidegate_auth_results_total", result="revoked") >= 2
    assert gateway.metrics().get("tidegate_sessions_closed_total", reason="revoked") >= 2
    assert gateway.metrics().get("tidegate_kept_entries", kind="revocation") >= 1


def test_only_tokens_of_before_a_moment_are_revoked(gateway):
    with come(gateway, token("eve", iat=ago(60))) as old, come(gateway, token("eve", iat=ago(20))) as young:
        revoke(gateway, user="eve", issued_before=ago(30))
        assert closed_with(old) == REVOKED
        young.assert_silent(0.1)
    come(gateway, token("eve", iat=ago(20))).close()


def test_a_single_token_is_revoked_by_its_id(gateway):
    lost, kept = token("dan", jti="t-1"), token("dan", jti="t-2")
    with come(gateway, lost) as first, come(gateway, kept) as second:
        revoke(gateway, token_id="t-1")
        assert closed_with(first) == REVOKED
        second.assert_silent(0.1)
    assert refused_in_hello(gateway, lost) == REVOKED
    come(gateway, kept).close()


def test_all_tokens_of_before_a_moment_are_revoked_when_a_key_is_lost(make_gateway):
    gateway = make_gateway()
    with (
        come(gateway, token("a", iat=ago(60))) as first,
        come(gateway, token("b", iat=ago(60))) as second,
        come(gateway, token("c", iat=ago(10))) as young,
        V1Client(gateway, "d") as proxied,
        V1Client(gateway) as anonymous,
    ):
        revoke(gateway, issued_before=ago(30))
        assert closed_with(first) == closed_with(second) == REVOKED
        for client in (young, proxied, anonymous):
            client.assert_silent(0.05)
    assert refused_in_hello(gateway, token("z", iat=ago(40))) == REVOKED


def test_a_user_without_a_token_is_closed_once(gateway):
    with V1Client(gateway, "carl") as client:
        revoke(gateway, user="carl")
        assert closed_with(client) == REVOKED
    with V1Client(gateway, "carl") as client:  # the proxy vouches for him again
        client.assert_silent(0.1)


def test_a_ticket_of_a_user_is_revoked_like_the_users_tokens(gateway):
    def make_ticket(**wish):
        status, _, answer = gateway.api("POST", "/v1/tickets", wish)
        assert status == 201, answer
        return {"ticket": answer["ticket"]}

    def wait_page(ticket):
        path = f"/v1/ws?ticket={ticket['ticket']}"
        return V1Client(gateway, path=path, hello={"claim": "tab"})

    toms, tims, nobodys = make_ticket(user="tom"), make_ticket(user="tim"), make_ticket()
    with wait_page(toms) as page, open_stream(gateway, hello={"claim": "tab"}, params=tims) as stream:
        stream.read("welcome")
        revoke(gateway, user="tom")
        assert closed_with(page) == REVOKED
        assert stream.say(gateway, {"t": "ack", "ids": []}, params=toms).status_code == 401
        assert stream.say(gateway, {"t": "ack", "ids": []}, params=tims).status_code == 202
    for refused in (
        lambda: open_stream(gateway, hello={"claim": "tab"}, params=toms, ready=False).status,
        lambda: refused_upgrade(wait_page, toms),
    ):
        assert refused() == 401
    wait_page(tims).close()
    wait_page(nobodys).close()


def test_a_token_of_a_clock_that_is_ahead_is_revoked_too(make_gateway):
    gateway = make_gateway()
    gateway.config["apps"][0]["auth"]["jwt"]["leeway"] = "2m"
    gateway.reload()
    ahead, further = token("fay", iat=ago(-20)), token("fay", iat=ago(-90))
    with come(gateway, ahead) as client, come(gateway, further) as other:
        revoke(gateway, user="fay", issued_before=ago(-60))
        assert closed_with(client) == REVOKED
        other.assert_silent(0.1)
        revoke(gateway, user="fay")
        assert closed_with(other) == REVOKED
    assert refused_in_hello(gateway, further) == REVOKED
    come(gateway, token("guy", iat=ago(-20))).close()


def test_a_token_that_does_not_say_when_it_was_issued_may_be_of_before(gateway):
    text = token("ida", iat=None)
    with come(gateway, text) as client:
        revoke(gateway, user="ida")
        assert closed_with(client) == REVOKED
    assert refused_in_hello(gateway, text) == REVOKED


def test_a_refresh_brings_a_new_token_and_no_revoked_one(gateway):
    with come(gateway, token("max", jti="m-1", iat=ago(60))) as client:
        assert client.ask({"t": "refresh", "token": token("max", jti="m-2", iat=ago(10))})["t"] == "ok"
        revoke(gateway, token_id="m-1")
        revoke(gateway, user="max", issued_before=ago(30))
        client.assert_silent(0.1)  # it has another one by now
        client.send({"t": "refresh", "token": token("max", jti="m-1", iat=ago(60))})
        assert closed_with(client) == REVOKED
    with come(gateway, token("max", jti="m-3", iat=ago(10))) as client:
        client.ask({"t": "refresh", "token": token("max", jti="m-4", iat=ago(10))})
        revoke(gateway, token_id="m-4")
        assert closed_with(client) == REVOKED


def test_a6_a_refresh_under_a_policy_stays_one_session(make_gateway):
    gateway = make_gateway(app={"sessions": {"per_user": 1}})
    ends = int(time.time()) + 2
    with come(gateway, token("ada", exp=ends)) as client:
        assert client.read("expiring")["in_ms"] <= 2000
        assert client.ask({"t": "refresh", "token": token("ada", lifetime=600)})["t"] == "ok"
        wait_for(lambda: time.time() > ends + 0.2, 5, "the first token's end")
        client.assert_silent(0.1)  # and one session to the policy, too
        assert gateway.api("GET", "/v1/users/ada")[2]["session_count"] == 1
        client.send({"t": "refresh", "token": token("bob")})
        assert closed_with(client) == FORBIDDEN


def test_refreshes_are_limited_like_frames_and_cost_more(make_gateway):
    gateway = make_gateway({"limits": {"messages_per_second": 1, "message_burst": 50}})
    text = token("ada")
    with come(gateway, text) as client:
        for _ in range(4):
            assert client.ask({"t": "refresh", "token": text})["t"] == "ok"
        client.send([{"t": "refresh", "token": text}] * 3)
        assert closed_with(client) == RATE_LIMITED


def test_a_token_that_lives_longer_than_revocations_is_refused(make_gateway):
    gateway = make_gateway(app={"auth": {"jwt": {"max_life": "1h"}}})
    assert refused_in_hello(gateway, token("ada", lifetime=3601)) == TOKEN_INVALID
    assert refused_in_hello(gateway, token("ada", iat=None, lifetime=3700)) == TOKEN_INVALID
    come(gateway, token("ada", lifetime=3600)).close()
    assert gateway.metrics().get("tidegate_auth_results_total", result="lives_too_long") == 2


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_revocation"),
        ({"reason": "none"}, "invalid_revocation"),
        ({"user": ""}, "invalid_user"),
        ({"user": 42}, "invalid_user"),
        ({"user": "x" * 257}, "invalid_user"),
        ({"user": "a\u0000b"}, "invalid_user"),
        ({"token_id": "\n"}, "invalid_token_id"),
        ({"token_id": "t", "user": "42"}, "invalid_revocation"),
        ({"token_id": "t", "issued_before": 1}, "invalid_revocation"),
        ({"issued_before": 0}, "invalid_issued_before"),
        ({"issued_before": -1}, "invalid_issued_before"),
        ({"issued_before": "1"}, "invalid_issued_before"),
        ({"issued_before": 99999999999}, "invalid_issued_before"),
        ({"user": "42", "reason": "x" * 257}, "invalid_reason"),
        ({"user": "42", "reason": 1}, "invalid_reason"),
        ({"user": "42", "usr": 1}, "unknown_field"),
    ],
)
def test_a_revocation_that_is_not_right_revokes_nothing(gateway, body, code):
    with come(gateway, token("42", iat=ago(5))) as client:
        status, _, answer = gateway.api("POST", "/v1/revocations", body)
        assert (status, answer["code"]) == (422, code)
        gateway.push({"users": ["42"]}, 1)
        assert client.read_data() == [1]


def test_what_is_no_json_is_400(gateway):
    for body in (b"", b"[]", b"{", b'{"user":"42","user":"43"}'):
        assert gateway.api("POST", "/v1/revocations", body)[0] == 400


def test_with_no_room_left_a_revocation_is_refused_and_said_so(make_gateway):
    gateway = make_gateway({"limits": {"kept": "64KiB"}})
    answers = []
    for number in range(1000):
        answers.append(gateway.api("POST", "/v1/revocations", {"token_id": f"t-{number}"}))
        if answers[-1][0] != 202:
            break
    status, headers, answer = answers[-1]
    assert (status, answer["code"]) == (429, "kept_budget")
    assert headers["retry-after"] == "1"
    assert len(answers) > 50
    assert gateway.metrics().get("tidegate_kept_refused_total", budget="others") == 1
    assert refused_in_hello(gateway, token("ada", jti="t-0")) == REVOKED  # nothing is forgotten
    come(gateway, token("ada", jti=f"t-{len(answers) - 1}")).close()  # and nothing half done


# ---- three nodes ----


@pytest.fixture(scope="module")
def cluster(request, tmp_path_factory, module_brokers):
    """Nodes whose window is so short that a revocation outlives it."""
    with clusters(request, tmp_path_factory.mktemp("cluster"), module_brokers) as make:
        yield make(changes={"window": {"max_age": "2s"}})


def test_a7_a_user_revoked_on_one_node_is_closed_on_another_and_comes_in_nowhere(cluster):
    first, second, third = cluster.nodes
    text = token("42", iat=ago(60))
    with come(third, text) as client, V1Client(second, "43") as bystander:
        started = time.monotonic()
        revoke(first, user="42")
        assert closed_with(client) == REVOKED
        assert time.monotonic() - started < 1
        for node in cluster.nodes:
            wait_for(lambda node=node: refused_at_the_door(node, text)[0] == 401, 1, "a refusal")
            assert refused_in_hello(node, text) == REVOKED
        bystander.assert_silent(0.05)
    text = newer("42")
    for node in cluster.nodes:
        come(node, text).close()


def test_a_node_that_starts_when_the_window_has_lost_it_knows_it_too(cluster):
    lost, old = token("7", jti="lost"), token("8", iat=ago(60))
    revoke(cluster.nodes[0], token_id="lost")
    revoke(cluster.nodes[1], user="8")
    again = [node.metrics().get("tidegate_kept_again_total") for node in cluster.nodes]
    revoked_at = time.monotonic()
    wait_for(
        lambda: (
            time.monotonic() - revoked_at > 3
            and sum(node.metrics().get("tidegate_kept_again_total") for node in cluster.nodes)
            >= sum(again) + 4
        ),
        8,
        "the window's end, and to be told again",
    )
    late = cluster.make()
    late.start()
    assert refused_in_hello(late, lost) == REVOKED
    assert refused_at_the_door(late, old)[0] == 401
    come(late, token("7", jti="other")).close()
