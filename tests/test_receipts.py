"""What became of a message: confirmed, counted, asked about later."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.clients import V1Client, connect_raw
from harness.cluster import clusters
from harness.gateway import wait_for

pytestmark = pytest.mark.smoke


@pytest.fixture(scope="module")
def cluster(request, tmp_path_factory, module_brokers):
    """Three nodes that stay as they are."""
    with clusters(request, tmp_path_factory.mktemp("receipts"), module_brokers) as make:
        yield make("redis")


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as pool:
        yield pool


def sessions_of(answer):
    return answer["receipt"]["sessions"]


def push(gateway, user, **options):
    """Status and answer of a message to the user."""
    message = {"to": {"users": [user]}, "data": 1, **options}
    status, _, answer = gateway.api("POST", "/v1/messages", message)
    return status, answer


def ack_next(client):
    """Confirms the next message, which must have asked for it; returns it."""
    message = client.read("msg")
    assert message["ack"] == 1
    client.send({"t": "ack", "ids": [message["id"]]})
    return message


def push_acked(pool, gateway, user, **options):
    """The same in the background, waiting for confirmations."""
    return pool.submit(push, gateway, user, **{"wait": "acked", "wait_ms": 10_000, **options})


def test_acked_waits_until_each_client_has_confirmed(gateway, pool):
    with V1Client(gateway, "acks") as one, V1Client(gateway, "acks") as two:
        pushed = push_acked(pool, gateway, "acks")
        ack_next(one)
        assert not pushed.done()
        ack_next(two)
        status, answer = pushed.result(10)
    assert (status, answer["receipt"]["complete"]) == (200, True)
    assert sessions_of(answer) == {"matched": 2, "written": 2, "acked": 2, "dropped": 0}


def test_only_a_push_that_waits_for_it_asks_to_confirm(gateway):
    with V1Client(gateway, "unasked") as client:
        push(gateway, "unasked", wait="written")
        assert "ack" not in client.read("msg")


def test_a_session_that_leaves_without_confirming_is_dropped(gateway, pool):
    with V1Client(gateway, "leaves") as stays:
        with V1Client(gateway, "leaves") as leaves:
            pushed = push_acked(pool, gateway, "leaves")
            leaves.read("msg")
            ack_next(stays)
        status, answer = pushed.result(10)
    assert (status, answer["receipt"]["complete"]) == (200, True)
    assert sessions_of(answer) == {"matched": 2, "written": 2, "acked": 1, "dropped": 1}


def test_not_confirmed_in_time_is_202_with_what_is_known(gateway):
    with V1Client(gateway, "silent"):
        status, answer = push(gateway, "silent", wait="acked", wait_ms=200)
    assert (status, answer["receipt"]["complete"]) == (202, False)
    assert sessions_of(answer) == {"matched": 1, "written": 1, "acked": 0, "dropped": 0}


def test_for_a_raw_session_written_counts_as_acked(gateway):
    with connect_raw(gateway, "raw-acks") as raw:
        status, answer = push(gateway, "raw-acks", wait="acked")
        assert raw.recv(timeout=5) == "1"
    assert status == 200
    assert sessions_of(answer) == {"matched": 1, "written": 1, "acked": 1, "dropped": 0}


def test_an_ack_counts_once_and_for_what_was_sent_here_alone(gateway, pool):
    with V1Client(gateway, "once") as one, V1Client(gateway, "once") as two:
        pushed = push_acked(pool, gateway, "once", id="once-1")
        message = ack_next(one)
        for ids in ([message["id"]], ["once-2", "", "x" * 300], []):
            one.send({"t": "ack", "ids": ids})
        one.ask({"t": "leave", "g": "room:none"})  # it has read all that
        assert not pushed.done()
        ack_next(two)
        status, answer = pushed.result(10)
    assert (status, sessions_of(answer)["acked"]) == (200, 2)


def test_over_the_limit_the_oldest_is_given_up(make_gateway):
    gateway = make_gateway({"limits": {"session_acks": 2}})
    with V1Client(gateway, "owes") as client:
        first = push(gateway, "owes", wait="acked", wait_ms=0)[1]["id"]
        before = gateway.metrics().get("tidegate_acks_given_up_total", app="demo") or 0
        for _ in range(2):
            push(gateway, "owes", wait="acked", wait_ms=0)
        assert [client.read("msg")["id"] for _ in range(3)][0] == first
        assert gateway.metrics().get("tidegate_acks_given_up_total", app="demo") == before + 1


def test_confirmations_come_from_all_nodes(cluster, pool):
    with contextlib.ExitStack() as ends:
        clients = [ends.enter_context(V1Client(node, "far")) for node in cluster.nodes]
        pushed = push_acked(pool, cluster.nodes[0], "far")
        for client in clients:
            ack_next(client)
        status, answer = pushed.result(10)
    assert status == 200
    assert answer["receipt"]["nodes"] == {"expected": 3, "reported": 3}
    assert sessions_of(answer) == {"matched": 3, "written": 3, "acked": 3, "dropped": 0}


def test_who_confirmed_on_another_node_is_known_before_all_have(cluster, pool):
    """The node tells of it while others there have not."""
    with contextlib.ExitStack() as ends:
        clients = [ends.enter_context(V1Client(cluster.nodes[1], "some")) for _ in range(3)]
        pushed = push_acked(pool, cluster.nodes[0], "some", wait_ms=1500)
        ack_next(clients[0])
        ack_next(clients[1])
        status, answer = pushed.result(10)
    assert (status, answer["receipt"]["complete"]) == (202, False)
    assert sessions_of(answer) == {"matched": 3, "written": 3, "acked": 2, "dropped": 0}


def ask_about(gateway, message_id):
    status, _, answer = gateway.api("GET", f"/v1/messages/{message_id}")
    return status, answer


def test_a_message_with_an_id_can_be_asked_about(gateway):
    with V1Client(gateway, "asked") as client, connect_raw(gateway, "asked"):
        pushed = push(gateway, "asked", id="asked-1")[1]
        client.read("msg")
        status, answer = ask_about(gateway, "asked-1")
    assert status == 200
    assert (answer["id"], answer["pos"], answer["state"]) == ("asked-1", pushed["pos"], "accepted")
    assert answer["receipt"] == {
        "complete": True,
        "nodes": {"expected": 1, "reported": 1},
        "sessions": {"matched": 2, "written": 2, "acked": 0, "replayed": 0, "dropped": 0, "dropped_by": {}},
    }


def test_so_can_one_that_was_waited_for_by_the_id_made_for_it(gateway):
    made = push(gateway, "nobody", wait="routed")[1]["id"]
    assert ask_about(gateway, made)[1]["receipt"]["sessions"]["matched"] == 0


def test_of_a_message_without_id_or_wait_nothing_is_kept(gateway):
    for message_id in (push(gateway, "nobody")[1]["id"], "never-pushed", "%2F", "x" * 256):
        status, answer = ask_about(gateway, message_id)
        assert (status, answer["code"]) == (404, "message_unknown")


def test_what_was_replayed_and_confirmed_later_is_counted(gateway):
    with V1Client(gateway, "later") as client:
        back = client.resume()
    status, answer = push(gateway, "later", wait="acked", id="later-1")
    assert (status, sessions_of(answer)["matched"]) == (200, 0)
    with V1Client(gateway, "later", hello=back) as client:
        ack_next(client)
        client.ask({"t": "leave", "g": "room:none"})  # it has read that
        sessions = sessions_of(ask_about(gateway, "later-1")[1])
    assert (sessions["matched"], sessions["replayed"], sessions["acked"]) == (0, 1, 1)


def test_an_expired_message_says_so(gateway):
    push(gateway, "expires", id="expires-1", ttl_ms=1)
    wait_for(lambda: ask_about(gateway, "expires-1")[1]["state"] == "expired", 5, "its end")


def test_an_id_is_known_as_long_as_the_window_has_its_message(make_gateway):
    gateway = make_gateway({"window": {"max_bytes": "1MiB"}})
    push(gateway, "evicted", id="evicted-1")
    assert ask_about(gateway, "evicted-1")[0] == 200
    assert gateway.metrics().get("tidegate_receipts") == 1
    for _ in range(40):
        push(gateway, "evicted", data="x" * 60_000)
    assert ask_about(gateway, "evicted-1")[0] == 404
    assert gateway.metrics().get("tidegate_receipts") == 0


def test_a_node_adds_up_what_all_have_counted(cluster):
    to = {"users": ["all-1", "all-2", "all-3"], "groups": ["room:none"]}
    with contextlib.ExitStack() as ends:
        clients = [ends.enter_context(V1Client(node, f"all-{i}")) for i in (1, 2) for node in cluster.nodes]
        status, _, pushed = cluster.nodes[0].api(
            "POST",
            "/v1/messages",
            {"to": to, "data": 1, "id": "all-nodes", "wait": "written", "wait_ms": 5000},
        )
        assert status == 200
        for client in clients:
            client.read("msg")
        for node in cluster.nodes:
            status, answer = ask_about(node, "all-nodes")
            assert (status, answer["pos"]) == (200, pushed["pos"])
            assert answer["receipt"]["complete"] is True
            assert answer["receipt"]["nodes"] == {"expected": 3, "reported": 3}
            assert (sessions_of(answer)["matched"], sessions_of(answer)["written"]) == (6, 6)
