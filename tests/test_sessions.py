"""How many sessions a user may have in the whole cluster, and who goes when there is one too many."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.clients import V1Client, connect_raw
from harness.cluster import closed_with, clusters
from harness.gateway import USER_HEADER, wait_for
from harness.webhooks import Receiver
from harness.wire import TEXT, V1, Wire
from websockets.exceptions import ConnectionClosed

KICKED, REPLACED, SESSION_LIMIT = 4000, 4001, 4005


def policy(**sessions):
    return {"app": {"sessions": sessions}}


def come(gateway, user="42", device=None, **options):
    return V1Client(gateway, user, hello={"device": device} if device else None, **options)


def refused(gateway, user="42", device=None):
    """The close code of one that is not welcomed."""
    with pytest.raises(ConnectionClosed) as closed:
        come(gateway, user, device)
    return closed.value.rcvd.code


def gets(gateway, client, user="42"):
    """It is there, and nothing was lost or repeated on the way."""
    gateway.push({"users": [user]}, "are you there?")
    return client.read_data() == ["are you there?"]


def closes(gateway, reason):
    return gateway.metrics().get("tidegate_sessions_closed_total", reason=reason)


# ---- one node, whose workers know nothing of each other ----


def test_without_a_policy_a_user_has_any_number(make_gateway):
    gateway = make_gateway()
    clients = [come(gateway, device="tv") for _ in range(10)]
    assert all(gets(gateway, client) for client in clients[:1])
    assert gateway.metrics().get("tidegate_session_policy_unsure_total") == 0
    for client in clients:
        client.close()


def test_the_one_that_is_too_many_is_refused_and_comes_in_when_there_is_room(make_gateway):
    gateway = make_gateway(**policy(per_user=2))
    with come(gateway) as first:
        with come(gateway):
            assert [refused(gateway) for _ in range(5)] == [SESSION_LIMIT] * 5
            with come(gateway, "43") as other:
                assert gets(gateway, other, "43")
        answer = wait_for(lambda: gateway.api("GET", "/v1/users/42")[2]["session_count"] == 1, 5, "one")
        assert answer
        with come(gateway) as second:
            assert gets(gateway, second)
            assert first.read_data() == ["are you there?"]
    assert closes(gateway, "session_limit") == 5


def test_a_device_has_a_limit_of_its_own_and_sessions_without_one_have_none(make_gateway):
    gateway = make_gateway(**policy(per_device=1))
    with come(gateway, device="tv"), come(gateway, device="phone"), come(gateway), come(gateway):
        assert refused(gateway, device="tv") == SESSION_LIMIT
        assert refused(gateway, device="phone") == SESSION_LIMIT
        come(gateway, "43", "tv").close()


def test_the_oldest_gives_way(make_gateway):
    gateway = make_gateway(**policy(per_user=3, on_excess="oldest"))
    clients = [come(gateway) for _ in range(8)]
    assert [closed_with(client) for client in clients[:5]] == [REPLACED] * 5
    gateway.push({"users": ["42"]}, 1)
    assert [client.read_data() for client in clients[5:]] == [[1]] * 3
    assert closes(gateway, "replaced") == 5
    for client in clients[5:]:
        client.close()


def test_sessions_that_came_and_went_cost_nobody_his_place(make_gateway):
    gateway = make_gateway(**policy(per_user=2, on_excess="oldest"))
    with come(gateway) as stays:
        for _ in range(10):
            come(gateway).close()
        assert gets(gateway, stays)
        with come(gateway) as second:
            assert gets(gateway, second)
            assert stays.read_data() == ["are you there?"]


def test_a_device_takes_its_own_place(make_gateway):
    gateway = make_gateway(**policy(per_user=2, on_excess="same_device"))
    tv = come(gateway, device="tv")
    phone = come(gateway, device="phone")
    assert refused(gateway, device="car") == SESSION_LIMIT
    assert refused(gateway) == SESSION_LIMIT
    again = come(gateway, device="tv")
    assert closed_with(tv) == REPLACED
    assert gets(gateway, again)
    assert phone.read_data() == ["are you there?"]
    again.close()
    phone.close()


def come_at_once(gateways):
    """Those that are let in; the others are told the limit."""

    def one(gateway):
        try:
            return come(gateway)
        except ConnectionClosed as closed:
            assert closed.rcvd.code == SESSION_LIMIT
            return None

    with ThreadPoolExecutor(len(gateways)) as pool:
        return [client for client in pool.map(one, gateways) if client]


def test_of_many_that_come_at_once_as_many_stay_as_may(make_gateway):
    gateway = make_gateway(**policy(per_user=3))
    clients = come_at_once([gateway] * 12)
    assert len(clients) == 3
    assert closes(gateway, "session_limit") == 9
    for client in clients:
        client.close()


def test_a_raw_session_is_under_the_policy_too(make_gateway):
    gateway = make_gateway(**policy(per_user=1))
    with connect_raw(gateway, "42") as raw:
        assert refused(gateway) == SESSION_LIMIT
        with connect_raw(gateway, "42") as other, pytest.raises(ConnectionClosed) as closed:
            other.recv(5)
        assert closed.value.rcvd.code == SESSION_LIMIT
        gateway.push({"users": ["42"]}, 1)
        assert raw.recv(5) == "1"


def test_anonymous_sessions_are_nobodys(make_gateway):
    gateway = make_gateway(**policy(per_user=1))
    with V1Client(gateway), V1Client(gateway) as second:
        gateway.push({"sessions": [second.sid]}, 1)
        assert second.read_data() == [1]


def test_what_a_client_asks_before_it_is_let_in_is_answered_behind_its_welcome(make_gateway):
    gateway = make_gateway(**policy(per_user=1))
    with Wire(gateway.client_port, timeout=10 * gateway.slowness) as wire:
        wire.upgrade(headers=[(USER_HEADER, "42"), ("Sec-WebSocket-Protocol", V1)])
        wire.send_frame(TEXT, b'[{"t":"hello","v":1},{"t":"join","re":7,"g":"room:1"}]')
        assert [json.loads(wire.read_frame().payload)["t"] for _ in range(2)] == ["welcome", "ok"]


def test_a_session_that_resumes_under_a_policy_misses_nothing(make_gateway):
    gateway = make_gateway(**policy(per_user=1, on_excess="same_device"))
    with come(gateway, device="tv") as first:
        gateway.push({"users": ["42"]}, 1)
        assert first.read_data() == [1]
        seen = first.resume()
    gateway.push({"users": ["42"]}, 2)
    with V1Client(gateway, "42", hello={"device": "tv", **seen}) as again:
        assert again.welcome["resumed"] == "full"
        assert again.read_data() == [2]
        # make before break: the old one is still there when the new one comes
        with V1Client(gateway, "42", hello={"device": "tv", **again.resume()}) as newest:
            assert closed_with(again) == REPLACED
            assert gets(gateway, newest)


def test_one_that_may_not_stay_is_not_told_to_the_app(make_gateway):
    with Receiver() as receiver:
        webhooks = [receiver.config("session.opened", "session.closed")]
        gateway = make_gateway(app={"sessions": {"per_user": 1}, "webhooks": webhooks})
        with come(gateway) as first:
            assert refused(gateway) == SESSION_LIMIT
            receiver.wait_for("session.opened", sid=first.sid)
        receiver.wait_for("session.closed", sid=first.sid)
        assert len(receiver.events) == 2


def test_a_policy_that_is_wrong_is_refused_and_the_old_one_goes_on(make_gateway):
    gateway = make_gateway(**policy(per_user=1))
    good = gateway.config_path.read_text()
    for number, bad in enumerate(("on_excess: newest", "per_user: -1", "per_user: 10001", "per_user: x"), 1):
        gateway.config_path.write_text(good.replace("per_user: 1", bad))
        gateway.process.send_signal(signal.SIGHUP)
        wait_for(lambda number=number: gateway.stderr().count("reload.refused") == number, 10, "a refusal")
    with come(gateway):
        assert refused(gateway) == SESSION_LIMIT


# ---- three nodes ----


@pytest.fixture(scope="module")
def cluster(request, tmp_path_factory, module_brokers):
    """Three nodes that stay as they are, but for their policy."""
    with clusters(request, tmp_path_factory.mktemp("cluster"), module_brokers) as make:
        yield make()


def use(cluster, **sessions):
    """From now on the policy is this one; returns the nodes."""
    for node in cluster.nodes:
        node.config["apps"][0]["sessions"] = sessions
        if node.is_alive():
            node.reload()
    return cluster.nodes


def test_a_cluster_counts_a_users_sessions_on_all_nodes(cluster):
    first, second, third = use(cluster, per_user=2)
    with come(first) as one, come(second) as two:
        assert refused(third) == SESSION_LIMIT
        assert refused(first) == SESSION_LIMIT
        assert gets(third, one)
        assert two.read_data() == ["are you there?"]


def test_of_many_that_come_at_once_to_all_nodes_as_many_stay_as_may(cluster):
    clients = come_at_once(use(cluster, per_user=2) * 3)
    assert len(clients) == 2
    for client in clients:
        client.close()


def test_a_cluster_sends_the_oldest_away_wherever_it_is(cluster):
    first, second, third = use(cluster, per_user=2, per_device=1, on_excess="oldest")
    clients = [come(node) for node in (first, second, third, first, second)]
    assert [closed_with(client) for client in clients[:3]] == [REPLACED] * 3
    assert gets(third, clients[3])
    tv = come(third, "7", "tv")
    phone = come(second, "7", "phone")
    again = come(first, "7", "tv")
    assert closed_with(tv) == REPLACED
    assert gets(first, phone, "7")
    assert again.read_data() == ["are you there?"]
    for client in [*clients[3:], phone, again]:
        client.close()


def test_in_a_cluster_a_device_takes_its_own_place(cluster):
    first, second, third = use(cluster, per_user=2, on_excess="same_device")
    tv, phone = come(first, device="tv"), come(second, device="phone")
    assert refused(third, device="car") == SESSION_LIMIT
    again = come(third, device="tv")
    assert closed_with(tv) == REPLACED
    assert gets(first, again)
    assert phone.read_data() == ["are you there?"]
    again.close()
    phone.close()


def test_a_silent_node_keeps_nobody_out_and_is_counted(cluster):
    first, second, third = use(cluster, per_user=2)
    with come(third):
        os.kill(third.process.pid, signal.SIGSTOP)
        with ThreadPoolExecutor(2) as pool:
            one, two = pool.map(come, (first, second))
        assert gets(first, one)
        assert two.read_data() == ["are you there?"]
        for node in (first, second):
            assert node.metrics().get("tidegate_session_policy_unsure_total", app="demo") == 1
        os.kill(third.process.pid, signal.SIGCONT)
        one.close()
        two.close()
    cluster.wait_until_all_know()


# From here on nodes end for good.


def test_a_dead_nodes_sessions_take_nobodys_place(cluster):
    first, second, third = use(cluster, per_user=2, on_excess="oldest")
    stays = come(first)
    lost = come(third)
    third.kill()
    with pytest.raises(ConnectionClosed):
        lost.read_any(5)
    back = come(second)  # while the others still wait for the dead one's word
    assert gets(second, back)
    assert stays.read_data() == ["are you there?"]
    newest = come(first)
    assert closed_with(stays) == REPLACED
    assert gets(second, newest)
    newest.close()
    back.close()


def test_a_client_that_a_leaving_node_sends_on_is_let_in_elsewhere(cluster):
    first, second, _ = use(cluster, per_user=1)
    old = come(first)
    first.process.send_signal(signal.SIGTERM)
    assert old.read("goaway")["why"] == "drain"
    with V1Client(second, "42", hello=old.resume()) as new:
        assert new.welcome["resumed"] == "full"
        assert gets(second, new)
        old.close()
