"""Delivery that can be relied on: what became of a message, taking it back, coming back to another node."""

import contextlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness import faults
from harness.clients import V1Client, connect_raw
from harness.cluster import clusters
from harness.gateway import USER_HEADER, Gateway, wait_for
from harness.wire import TEXT, V1, Wire

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


def test_what_left_the_window_need_not_be_confirmed(make_gateway):
    """The client never confirms: what its session owes goes with the messages."""
    gateway = make_gateway({"window": {"max_bytes": "1MiB"}, "heartbeat": {"interval": "200ms"}})
    with V1Client(gateway, "forgets") as client:
        for _ in range(50):
            push(gateway, "forgets", wait="acked", wait_ms=0)
        assert len([client.read("msg") for _ in range(50)]) == 50
        assert gateway.metrics().get("tidegate_receipts") == 50
        for _ in range(40):
            push(gateway, "forgets", data="x" * 60_000)
        wait_for(lambda: gateway.metrics().get("tidegate_receipts") == 0, 5, "nothing is kept")


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


# Cancelling


def cancel(gateway, message_id):
    status, _, answer = gateway.api("DELETE", f"/v1/messages/{message_id}")
    return status, answer


def test_who_has_it_is_told_to_take_it_back(gateway):
    with V1Client(gateway, "told") as client, connect_raw(gateway, "told"):
        push(gateway, "told", id="told-1")
        assert client.read("msg")["id"] == "told-1"
        status, answer = cancel(gateway, "told-1")
        assert (status, answer["state"], answer["complete"]) == (200, "cancelled", True)
        assert answer["sessions"] == {"told": 1, "spared": 0}  # a raw session can't be told
        assert client.read("revoke")["id"] == "told-1"
        push(gateway, "told", data="the end")
        assert client.read_data() == ["the end"]
    assert ask_about(gateway, "told-1")[1]["state"] == "cancelled"


def test_who_was_away_does_not_get_it_and_who_had_it_is_told_when_it_comes_back(gateway):
    with V1Client(gateway, "away") as client:
        before = client.resume()
        push(gateway, "away", id="away-1")
        client.read("msg")
        has_it = client.resume()
    assert cancel(gateway, "away-1")[0] == 200
    push(gateway, "away", data="the end")
    for back in (before, has_it):
        with V1Client(gateway, "away", hello=back) as client:
            assert client.read("revoke")["id"] == "away-1"
            assert client.read_data() == ["the end"]
            then = client.resume()
        with V1Client(gateway, "away", hello=then) as client:  # the revoke has a position of its own
            client.assert_silent(0.1)


def test_a_cancelled_id_stays_taken_and_to_cancel_it_again_tells_nobody(gateway):
    with V1Client(gateway, "taken") as client:
        push(gateway, "taken", id="taken-1")
        assert cancel(gateway, "taken-1")[1]["sessions"] == {"told": 1, "spared": 0}
        assert [client.read("msg", "revoke")["t"] for _ in range(2)] == ["msg", "revoke"]
        assert push(gateway, "taken", id="taken-1")[1]["replayed"] is True
        status, answer = cancel(gateway, "taken-1")
        assert (status, answer["state"], answer["complete"]) == (200, "cancelled", True)
        assert answer["sessions"] == {"told": 0, "spared": 0}
        client.assert_silent(0.1)


def test_what_is_not_remembered_cannot_be_cancelled(gateway):
    for message_id in ("never", push(gateway, "nobody")[1]["id"]):
        status, answer = cancel(gateway, message_id)
        assert (status, answer["code"]) == (404, "message_unknown")


def test_a_message_is_cancelled_on_all_nodes_from_any(cluster):
    users = [f"cancel-{i}" for i in range(6)]
    with contextlib.ExitStack() as ends:
        clients = [ends.enter_context(V1Client(cluster.nodes[i % 3], user)) for i, user in enumerate(users)]
        message = {"to": {"users": users, "all": True}, "data": 1, "id": "far-cancel"}
        assert cluster.nodes[0].api("POST", "/v1/messages", message)[0] == 202
        for client in clients:  # a cancel that overtakes it would spare them
            assert client.read("msg", "revoke")["t"] == "msg"
        status, answer = cancel(cluster.nodes[1], "far-cancel")
        assert (status, answer["complete"], answer["sessions"]) == (200, True, {"told": 6, "spared": 0})
        for client in clients:
            assert client.read("msg", "revoke")["t"] == "revoke"
        for node in cluster.nodes:
            assert ask_about(node, "far-cancel")[1]["state"] == "cancelled"
            assert cancel(node, "never-pushed")[0] == 404


# What waits for a client that does not read


class Sleeper:
    """A session that reads nothing until it is told to; what is pushed to it waits in the gateway."""

    def __init__(self, gateway, user):
        self.gateway, self.user = gateway, user
        self.wire = Wire(gateway.client_port, timeout=10 * gateway.slowness, receive_buffer=4096)
        self.wire.upgrade(headers=[("Sec-WebSocket-Protocol", V1), (USER_HEADER, user)])
        self.wire.send_frame(TEXT, b'{"t":"hello","v":1}')
        self.sid = self.next("welcome")["sid"]
        while not gateway.api("GET", f"/v1/sessions/{self.sid}")[2]["queued_bytes"]:
            push(gateway, user, data="x" * 50_000, type="filler")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wire.close()

    def next(self, *kinds):
        while (value := json.loads(self.wire.read_frame().payload))["t"] not in kinds:
            assert value["t"] == "pos"
        return value

    def wake(self):
        """All it gets now but the fillers: type and id of each."""
        push(self.gateway, self.user, data="the end", id=f"end-of-{self.user}")
        got = []
        while not got or got[-1] != ("msg", f"end-of-{self.user}"):
            value = self.next("msg", "revoke")
            if value.get("type") != "filler":
                got.append((value["t"], value["id"]))
        return got[:-1]


@pytest.fixture(scope="module")
def patient(request, tmp_path_factory):
    """A gateway that keeps much for a slow client."""
    limits = {"session_queue": "64MiB", "session_queue_age": "60s", "message": "1MiB"}
    gateway = Gateway(
        request.config.getoption("preset"), tmp_path_factory.mktemp("patient"), {"limits": limits}
    )
    gateway.start()
    yield gateway
    gateway.stop()


def dropped(gateway, reason):
    return gateway.metrics().get("tidegate_messages_dropped_total", app="demo", reason=reason) or 0


def test_of_one_collapse_key_only_the_newest_waits(patient):
    before = dropped(patient, "collapsed")
    with Sleeper(patient, "collapses") as sleeper:
        for message_id, key in (("c-1", "k"), ("c-2", "other"), ("c-3", None), ("c-4", "k"), ("c-5", None)):
            push(patient, "collapses", id=message_id, **({"collapse": key} if key else {}))
        assert sleeper.wake() == [("msg", "c-2"), ("msg", "c-3"), ("msg", "c-4"), ("msg", "c-5")]
    assert sessions_of(ask_about(patient, "c-1")[1])["dropped_by"] == {"collapsed": 1}
    assert dropped(patient, "collapsed") == before + 1


def test_who_reads_gets_each_of_one_collapse_key(gateway):
    with V1Client(gateway, "fast") as client:
        body = json.dumps(
            [{"to": {"users": ["fast"]}, "data": i, "collapse": "k"} for i in range(20)]
        ).encode()
        assert gateway.api("POST", "/v1/messages:batch", body)[0] == 200
        assert client.read_data(20) == list(range(20))


def test_a_key_is_of_the_same_targets_alone(gateway):
    with V1Client(gateway, "apart", hello={"groups": ["room:apart"]}) as client:
        back = client.resume()
    for to in ({"users": ["apart"]}, {"groups": ["room:apart"]}, {"users": ["apart"]}):
        gateway.push(to, to, collapse="k")
    with V1Client(gateway, "apart", hello={**back, "groups": ["room:apart"]}) as client:
        got = [client.read_data()[0] for _ in range(2)]
        assert sorted(got, key=str) == [{"groups": ["room:apart"]}, {"users": ["apart"]}]
        client.assert_silent(0.1)


def test_a_replay_has_only_the_newest_of_a_key(gateway):
    with V1Client(gateway, "replays") as client:
        back = client.resume()
    for i in range(5):
        push(gateway, "replays", data=i, collapse="k")
        push(gateway, "replays", data=f"plain {i}")
    with V1Client(gateway, "replays", hello=back) as client:
        assert client.read_data(6) == [*(f"plain {i}" for i in range(4)), 4, "plain 4"]
        client.assert_silent(0.1)


def test_what_waits_past_its_ttl_is_dropped_when_its_turn_comes(patient):
    before = dropped(patient, "expired")
    with Sleeper(patient, "expires") as sleeper:
        push(patient, "expires", id="e-1", ttl_ms=30)
        push(patient, "expires", id="e-2", ttl_ms=60_000)
        pushed = push(patient, "expires", id="e-3", ttl_ms=30, wait="acked", wait_ms=0)[1]
        assert sessions_of(pushed)["matched"] == 1
        for message_id in ("e-1", "e-3"):
            wait_for(lambda i=message_id: ask_about(patient, i)[1]["state"] == "expired", 5, "its end")
        assert sleeper.wake() == [("msg", "e-2")]
    for message_id in ("e-1", "e-3"):
        assert sessions_of(ask_about(patient, message_id)[1])["dropped_by"] == {"expired": 1}
    assert dropped(patient, "expired") == before + 2


def test_what_still_waits_when_it_is_cancelled_never_arrives(patient):
    before = dropped(patient, "revoked")
    with Sleeper(patient, "spared") as sleeper:
        push(patient, "spared", id="s-1", wait="acked", wait_ms=0)
        push(patient, "spared", id="s-2")
        assert cancel(patient, "s-1")[1]["sessions"] == {"told": 0, "spared": 1}
        assert sleeper.wake() == [("msg", "s-2")]
    answer = ask_about(patient, "s-1")[1]
    assert answer["receipt"]["complete"] is True
    assert sessions_of(answer)["dropped_by"] == {"revoked": 1}
    assert dropped(patient, "revoked") == before + 1


def test_a_slow_client_that_is_closed_has_dropped_what_waited_for_that_reason(make_gateway):
    gateway = make_gateway({"limits": {"session_queue_age": "300ms"}})
    with Sleeper(gateway, "slow"):
        push(gateway, "slow", id="slow-1", wait="acked", wait_ms=0)
        wait_for(lambda: sessions_of(ask_about(gateway, "slow-1")[1])["dropped"] == 1, 5, "its close")
    assert sessions_of(ask_about(gateway, "slow-1")[1])["dropped_by"] == {"slow_consumer": 1}


# Coming back to another node


def pushes_from(cluster, user, numbers):
    """One message for each number, through the nodes in turn."""
    for number in numbers:
        cluster.nodes[number % 3].push({"users": [user]}, number, wait="routed", wait_ms=5000)


def test_who_returns_to_another_node_gets_what_it_missed_in_order_and_once(cluster):
    got = []
    back = {}
    for round_ in range(6):
        pushes_from(cluster, "moves", range(4 * round_, 4 * round_ + 2))  # it is away
        with V1Client(cluster.nodes[round_ % 3], "moves", hello=back) as client:
            assert not back or client.welcome["resumed"] == "full"
            pushes_from(cluster, "moves", range(4 * round_ + 2, 4 * round_ + 4))
            got += client.read_data(4 if back else 2)
            client.assert_silent(0.05)
            back = client.resume()
    assert got == list(range(2, 24))


def test_one_whose_connection_hangs_half_open_goes_on_at_another_node(cluster):
    """The old session is still there for its node, which writes to it; the new one lacks nothing."""
    hangs = V1Client(cluster.nodes[0], "hangs")
    pushes_from(cluster, "hangs", range(3))
    assert hangs.read_data(3) == [0, 1, 2]
    faults.cut(hangs.socket.socket)
    pushes_from(cluster, "hangs", range(3, 6))
    with V1Client(cluster.nodes[1], "hangs", hello=hangs.resume()) as client:
        pushes_from(cluster, "hangs", range(6, 9))
        assert client.read_data(6) == [3, 4, 5, 6, 7, 8]
        answer = cluster.nodes[2].push({"users": ["hangs"]}, "both", wait="routed", wait_ms=5000)
        assert sessions_of(answer)["matched"] == 2
    hangs.socket.socket.close()


def test_a_new_connection_before_the_old_one_ends_loses_nothing(cluster):
    """Make before break, while pushes flow: both get what comes, and a client shows each id once."""
    shown, stop, pushed = {}, threading.Event(), []

    def push_on():
        while not stop.is_set():
            answer = cluster.nodes[len(pushed) % 3].push({"users": ["both"]}, len(pushed))
            pushed.append(answer["id"])

    old = V1Client(cluster.nodes[0], "both")
    pusher = threading.Thread(target=push_on)
    pusher.start()
    for round_ in range(8):
        for _ in range(10):
            take(shown, old)
        new = V1Client(cluster.nodes[(round_ + 1) % 3], "both", hello=old.resume())
        assert new.welcome["resumed"] == "full"
        take(shown, new)  # it is live, or replays
        take(shown, old)  # and so is the old one
        old.close()
        old = new
    stop.set()
    pusher.join()
    while len(shown) < len(pushed):
        take(shown, old)
    old.close()
    assert list(shown) == pushed  # in order, each once


def take(shown, client):
    message = client.read("msg")
    shown.setdefault(message["id"], message["data"])


def test_h23_one_key_on_three_nodes_in_parallel_delivers_once(cluster, pool):
    message = {"to": {"users": ["h23"]}, "data": "once"}

    def post(number):
        return cluster.nodes[number % 3].api("POST", "/v1/messages", message, {"Idempotency-Key": "h23-key"})

    with V1Client(cluster.nodes[2], "h23") as client:
        answers = list(pool.map(post, range(100)))
        assert {status for status, _, _ in answers} == {202}
        assert sum(not answer.get("replayed", False) for _, _, answer in answers) == 1
        assert len({answer["pos"] for _, _, answer in answers}) == 1
        for node in cluster.nodes:
            status, _, problem = node.api(
                "POST", "/v1/messages", {**message, "data": "other"}, {"Idempotency-Key": "h23-key"}
            )
            assert (status, problem["code"]) == (422, "id_conflict")
        cluster.nodes[0].push({"users": ["h23"]}, "the end")
        assert client.read_data(2) == ["once", "the end"]
