"""Several gateways on one bus act as one: who is there, what is counted, asked and closed on all of them."""

import contextlib
import os
import pathlib
import signal
import time

import pytest
from harness.brokers import ENGINES
from harness.clients import V1Client
from harness.cluster import closed_with, clusters, nodes_of, sees
from harness.gateway import wait_for

SILENCE_SECONDS = 5


def with_sessions(gateway, name, count):
    """The nodes, once the one of that name has said that it has so many sessions."""
    answer = nodes_of(gateway)
    has = {node["node"]: node["sessions"] for node in answer["nodes"]}
    return answer if has.get(name) == count else None


@pytest.fixture(scope="module", params=ENGINES)
def cluster(request, tmp_path_factory, module_brokers):
    """Three nodes that stay as they are."""
    with clusters(request, tmp_path_factory.mktemp("cluster"), module_brokers) as make:
        yield make(request.param)


def test_nodes_know_each_other_and_each_says_what_it_has(cluster):
    with V1Client(cluster.nodes[1], "42"), V1Client(cluster.nodes[1], "42"):
        answer = wait_for(
            lambda: with_sessions(cluster.nodes[0], "node-1", 2), 5, "two sessions in its beacon"
        )
    assert [node["node"] for node in answer["nodes"]][0] == "node-0"
    assert {node["node"] for node in answer["nodes"]} == {"node-0", "node-1", "node-2"}
    by_name = {node["node"]: node for node in answer["nodes"]}
    assert by_name["node-1"]["users"] == 1
    assert len({node["boot"] for node in answer["nodes"]}) == 3
    for node in answer["nodes"]:
        assert node["state"] == "ready"
        assert node["self"] == (node["node"] == "node-0")
        assert abs(node["started_at"] / 1000 - time.time()) < 120
        assert 0 < node["bus_lag_ms"] < 2000
    metrics = cluster.nodes[0].metrics()
    assert metrics.get("tidegate_cluster_nodes", state="ready") == 3
    assert metrics.get("tidegate_cluster_known") == 1
    assert 0 < metrics.get("tidegate_bus_lag_seconds") < 2


def messages(gateway, path):
    status, _, answer = gateway.api("GET", path)
    assert status == 200, answer
    return answer


def test_what_a_user_is_sent_is_seen_at_any_node_and_a_cursor_is_good_at_all(cluster):
    first, second, third = cluster.nodes
    path = "/v1/users/seen/messages?groups=true"
    with V1Client(second, "seen", hello={"groups": ["room:seen"]}) as client:
        first.push({"groups": ["room:seen"]}, 1, id="seen-1")
        assert client.read_data() == [1]
        answer = wait_for(lambda: found(messages(third, path), "seen-1"), 5, "the first message")
        assert answer["complete"] is True
        assert answer["messages"][-1]["to"] == {"groups": ["room:seen"]}
        second.push({"users": ["seen"]}, 2, id="seen-2")
        news = messages(first, f"{path}&after={answer['after']}&wait_ms=5000")
        assert [message["id"] for message in news["messages"]] == ["seen-2"]
        assert "gap" not in news


def found(answer, wanted):
    return answer if any(message["id"] == wanted for message in answer["messages"]) else None


def overview(gateway, query=""):
    status, _, answer = gateway.api("GET", f"/v1/overview{query}")
    assert status == 200, answer
    return answer


@pytest.mark.parametrize("cluster", ["redis"], indirect=True)
def test_the_overview_adds_up_what_all_nodes_have_and_counts_a_user_once(cluster):
    with contextlib.ExitStack() as ends:
        for number, user in enumerate(["both", "both", "one"]):
            ends.enter_context(V1Client(cluster.nodes[number], user))
        cluster.nodes[0].push({"users": ["both"]}, 1)

        def seen():
            answer = overview(cluster.nodes[2], "?history=60")
            total = answer["total"]
            return answer if (total["connections"]["v1"], total["users"]) == (3, 2) else None

        answer = wait_for(seen, 15, lambda: overview(cluster.nodes[2]))
    assert answer["complete"]
    assert {node["node"]: node["now"]["connections"]["total"] for node in answer["nodes"]} == {
        "node-0": 1,
        "node-1": 1,
        "node-2": 1,
    }
    assert all(node["answered"] and node["bus_up"] for node in answer["nodes"])
    assert [app["connections"]["total"] for app in answer["apps"]] == [3]
    assert len(answer["history"]["connections"]) == 12
    alone = overview(cluster.nodes[2], "?node=node-1")
    assert [node["node"] for node in alone["nodes"]] == ["node-1"]


def test_a_killed_node_is_gone_after_five_seconds_and_one_that_ends_in_order_at_once(make_cluster):
    cluster = make_cluster()
    started = time.monotonic()
    cluster.nodes[2].kill()
    assert sees(cluster.nodes[0])[0] == 3
    wait_for(lambda: sees(cluster.nodes[0])[0] == 2, 20, "two nodes")
    assert SILENCE_SECONDS - 1.5 < time.monotonic() - started < SILENCE_SECONDS + 3
    cluster.nodes[1].stop()
    assert sees(cluster.nodes[0]) == (1, True)
    events = [entry["event"] for entry in cluster.nodes[0].log()]
    assert events.count("node.silent") == 1
    assert events.count("node.left") == 1


def test_r17_a_node_that_stood_still_serves_on_and_tells_nothing_old(make_cluster):
    """Longer than it takes to count as gone. One of its clients moves meanwhile, another one waits."""
    cluster = make_cluster()
    first, _, third = cluster.nodes
    moving, waiting = V1Client(third, "moves"), V1Client(third, "waits")
    third.push({"users": ["moves", "waits"]}, "before")
    assert moving.read_data() == waiting.read_data() == ["before"]
    os.kill(third.process.pid, signal.SIGSTOP)
    for number in range(20):
        first.push({"users": ["moves", "waits"]}, number)
    with V1Client(first, "moves", hello=moving.resume()) as moved:
        assert moved.welcome["resumed"] == "full"
        assert moved.read_data(20) == list(range(20))
        moving.socket.socket.close()
        wait_for(lambda: sees(first)[0] == 2, 20, "two nodes")
        assert online(first, "moves") == (True, 1)
        assert online(first, "waits") == (False, 0)
    wait_for(lambda: online(first, "moves") == (False, 0), 5, "it has left")
    os.kill(third.process.pid, signal.SIGCONT)
    # It may not know yet who left, or who is there, but then it says so.
    assert wait_for(lambda: online(third, "moves"), 20, "it knows") == (False, 0)
    assert waiting.read_data(20) == list(range(20))
    cluster.wait_until_all_know()
    assert online(first, "waits") == (True, 1)
    waiting.close()


def online(gateway, user):
    """What is known for sure of a user: (online, sessions), or None."""
    status, _, answer = gateway.api("GET", f"/v1/users/{user}")
    assert status == 200
    return (answer["online"], answer["session_count"]) if answer["complete"] else None


def test_a_push_counts_all_nodes_and_a_user_once(cluster):
    with contextlib.ExitStack() as ends:
        clients = [ends.enter_context(V1Client(node, "42")) for node in cluster.nodes]
        clients.append(ends.enter_context(V1Client(cluster.nodes[2], "43")))
        for node in cluster.nodes:
            for wait in ("routed", "written"):
                answer = node.push({"users": ["42", "43", "44"]}, {"n": 1}, wait=wait, wait_ms=5000)
                receipt = answer["receipt"]
                assert receipt["complete"], receipt
                assert receipt["nodes"] == {"expected": 3, "reported": 3}
                assert receipt["users_online"] == 2
                assert receipt["sessions"]["matched"] == 4
                assert wait == "routed" or receipt["sessions"]["written"] == 4
        for client in clients:
            assert client.read_data(6) == [{"n": 1}] * 6


def test_a_node_that_does_not_report_makes_the_count_incomplete(make_cluster):
    cluster = make_cluster()
    first, second, third = cluster.nodes
    with V1Client(first, "42"), V1Client(second, "42"):
        os.kill(third.process.pid, signal.SIGSTOP)
        message = {"to": {"users": ["42"]}, "data": 1, "wait": "routed", "wait_ms": 1000}
        status, _, answer = first.api("POST", "/v1/messages", message)
        assert status == 202
        assert answer["receipt"]["complete"] is False
        assert answer["receipt"]["nodes"] == {"expected": 3, "reported": 2}
        assert answer["receipt"]["sessions"]["matched"] == 2
        started = time.monotonic()
        status, _, answer = first.api("GET", "/v1/users/42")
        assert (status, answer["complete"], answer["session_count"]) == (200, False, 2)
        assert 0.8 < time.monotonic() - started < 2 * first.slowness
        wait_for(lambda: sees(first)[0] == 2, 20, "two nodes")  # it is gone: two are all
        status, _, answer = first.api("POST", "/v1/messages", message)
        assert (status, answer["receipt"]["nodes"]) == (200, {"expected": 2, "reported": 2})
        os.kill(third.process.pid, signal.SIGCONT)


def test_queries_gather_what_all_nodes_have(cluster):
    hello = {"groups": ["room:1"], "device": "d1"}
    with contextlib.ExitStack() as ends:
        clients = [
            ends.enter_context(V1Client(node, user, hello))
            for node, user in zip(cluster.nodes * 2, ["42", "42", "43", "44", "42", "44"], strict=True)
        ]
        sids = {client.sid for client, user in zip(clients, "aabcac", strict=True) if user == "a"}
        for node in cluster.nodes:
            status, _, answer = node.api("GET", "/v1/users/42")
            assert (status, answer["online"], answer["session_count"], answer["complete"]) == (
                200,
                True,
                3,
                True,
            )
            assert {session["sid"] for session in answer["sessions"]} == sids
            assert abs(answer["as_of"] / 1000 - time.time()) < 60
            status, _, answer = node.api("POST", "/v1/users:query", {"users": ["42", "43", "44", "45"]})
            assert status == 200
            assert [answer["users"][user]["sessions"] for user in ("42", "43", "44", "45")] == [3, 1, 2, 0]
            assert answer["complete"] is True
            status, _, answer = node.api("GET", "/v1/groups/room:1")
            assert (answer["sessions"], answer["users"], answer["complete"]) == (6, 3, True)
            for client in clients:
                status, _, answer = node.api("GET", f"/v1/sessions/{client.sid}")
                assert (status, answer["sid"], answer["complete"]) == (200, client.sid, True)
                assert answer["groups"] == ["room:1"]


def test_kicks_joins_and_pushes_to_a_session_reach_every_node(cluster):
    first, second, third = cluster.nodes
    with V1Client(second, "42") as one, V1Client(third, "42") as other:
        first.push({"sessions": [one.sid]}, "for one")
        assert one.read_data() == ["for one"]
        status, _, answer = first.api("PUT", "/v1/groups/vip/users/42")
        assert (status, answer["sessions"], answer["complete"]) == (200, 2, True)
        assert other.read("joined")["g"] == "vip"
        assert one.read("joined")["g"] == "vip"
        status, _, answer = third.api("DELETE", f"/v1/sessions/{one.sid}")
        assert (status, answer["closed"], answer["complete"]) == (200, 1, True)
        assert closed_with(one) == 4000
        assert third.api("DELETE", f"/v1/sessions/{one.sid}")[0] == 404
        assert third.api("GET", f"/v1/sessions/{one.sid}")[0] == 404
        status, _, answer = first.api("DELETE", "/v1/users/42/sessions")
        assert (status, answer["closed"], answer["complete"]) == (200, 1, True)
        assert closed_with(other) == 4000


def is_stopped(node):
    tasks = pathlib.Path(f"/proc/{node.process.pid}/task").iterdir()
    return all((task / "stat").read_text().rpartition(")")[2].split()[0] == "T" for task in tasks)


def test_a_session_of_a_node_that_is_gone_is_404_and_of_one_that_is_silent_503(make_cluster):
    cluster = make_cluster()
    first, second, _ = cluster.nodes
    client = V1Client(second, "42")
    os.kill(second.process.pid, signal.SIGSTOP)
    wait_for(lambda: is_stopped(second), 5, "all of its threads stand")
    status, headers, answer = first.api("GET", f"/v1/sessions/{client.sid}")
    assert (status, answer.get("code")) == (503, "node_silent"), answer
    assert headers["retry-after"] == "1"
    wait_for(lambda: sees(first)[0] == 2, 20, "two nodes")
    assert first.api("GET", f"/v1/sessions/{client.sid}")[0] == 404
    os.kill(second.process.pid, signal.SIGCONT)
    client.close()


def test_of_two_layouts_the_later_node_is_not_ready_and_says_why(make_cluster):
    cluster = make_cluster(count=1)
    other = cluster.make(queues=2).start(ready=False)
    why = wait_for(
        lambda: next((text for text in [other.admin("GET", "/readyz")[2]] if b"layout" in text), None),
        20,
        "a reason",
    )
    assert b"node-0" in why
    assert cluster.nodes[0].is_ready()
    assert [entry["event"] for entry in cluster.nodes[0].log()].count("node.conflict") == 1
    cluster.nodes[0].stop()
    wait_for(other.is_ready, 20, "to be ready once it is alone")


def test_a_broker_that_restarts_loses_nobody(make_cluster):
    cluster = make_cluster()
    cluster.brokers.kill()
    until = time.monotonic() + SILENCE_SECONDS + 2  # longer than a node may be silent
    for node in cluster.nodes:
        wait_for(lambda node=node: sees(node) == (3, False), 20, "not to know")
    wait_for(lambda: time.monotonic() > until, 20, "that time is over")
    for node in cluster.nodes:
        assert sees(node) == (3, False)
    cluster.brokers.start()
    cluster.wait_until_all_know()
    for node in cluster.nodes:
        events = [entry["event"] for entry in node.log()]
        assert "node.silent" not in events


def test_pubsub_carries_it_too(make_cluster):
    cluster = make_cluster(count=2, mode="pubsub")
    with V1Client(cluster.nodes[1], "42") as client:
        answer = cluster.nodes[0].push({"users": ["42"]}, 1, wait="written", wait_ms=5000)
        assert answer["receipt"]["nodes"] == {"expected": 2, "reported": 2}
        assert answer["receipt"]["sessions"]["written"] == 1
        assert client.read_data() == [1]
        assert cluster.nodes[0].api("GET", "/v1/users/42")[2]["session_count"] == 1
