"""Planned restarts: a node is drained from another one, resumed, and stopped."""

import json
import signal
import time

import pytest
from harness.clients import V1Client
from harness.cluster import closed_with, clusters, nodes_of
from harness.gateway import wait_for
from harness.wire import Wire, upgrade_request


@pytest.fixture(scope="module")
def cluster(request, tmp_path_factory, module_brokers):
    with clusters(request, tmp_path_factory.mktemp("drain"), module_brokers) as make:
        yield make(count=2)


@pytest.fixture
def pair(cluster):
    return cluster.nodes[:2]


def order(gateway, node, verb="drain", body=None):
    return gateway.api("POST", f"/v1/nodes/{node}:{verb}", body)


def refusal(gateway):
    """What a connect is answered: (status, code, Retry-After)."""
    with Wire(gateway.client_port) as wire:
        answer = wire.request(upgrade_request())
    return answer.status, json.loads(answer.body)["code"], answer.header("Retry-After")


def state_of(gateway, name):
    return next(node["state"] for node in nodes_of(gateway)["nodes"] if node["node"] == name)


def test_a_node_is_drained_from_another_and_resumed(pair):
    near, far = pair
    with V1Client(far, user="ada") as old:
        status, _, answer = order(near, "node-1", body={"window_ms": 60_000})
        assert (status, answer["state"], answer["sessions"]) == (202, "draining", 1)
        assert 0 < answer["left_ms"] <= 60_000
        goaway = old.read("goaway")
        assert goaway["why"] == "drain"
        assert 0 <= goaway["slot_ms"] <= goaway["window_ms"] == 60_000
        assert far.admin("GET", "/readyz")[::2] == (503, b"not ready: draining\n")
        status, code, retry = refusal(far)
        assert (status, code) == (503, "draining")
        assert int(retry) > 0
        wait_for(lambda: state_of(near, "node-1") == "draining", 5, "the other node knows")
        # Make before break: both connections are open for a moment, and each gets what comes then.
        with V1Client(near, user="ada", hello=old.resume()) as new:
            assert new.welcome["resumed"] == "full"
            far.push({"users": ["ada"]}, "by the API of the node that drains")
            assert new.read_data() == old.read_data() == ["by the API of the node that drains"]
        # Again, with less time: who is left is told again, and closed.
        assert order(near, "node-1", body={"window_ms": 100})[0] == 202
        assert old.read("goaway")["window_ms"] == 100
        assert closed_with(old) == 4200
    status, _, answer = order(near, "node-1", "resume")
    assert (status, answer) == (200, {"state": "ready", "sessions": 0})
    assert far.is_ready()
    wait_for(lambda: state_of(near, "node-1") == "ready", 5, "the other node knows")
    with V1Client(far, user="ada") as back:
        near.push({"users": ["ada"]}, "back")
        assert back.read_data() == ["back"]


def test_an_order_that_cannot_be_given_says_why_and_changes_nothing(pair):
    near, far = pair
    for node, body, expected in (
        ("node-7", None, (404, "node_not_found")),
        ("node-1", {"window_ms": -1}, (422, "invalid_window_ms")),
        ("node-1", {"window": 1}, (422, "invalid_body")),
    ):
        status, _, problem = order(near, node, body=body)
        assert (status, problem["code"]) == expected
    assert far.is_ready()
    far.process.send_signal(signal.SIGSTOP)
    status, headers, problem = order(near, "node-1")
    far.process.send_signal(signal.SIGCONT)
    assert (status, problem["code"]) == (503, "node_silent")
    assert int(headers["retry-after"]) > 0
    # Maybe it obeyed when it went on; asking again does no harm.
    wait_for(lambda: order(near, "node-1", "resume")[0] == 200, 10, "it answers again")
    wait_for(far.is_ready, 10, "it serves")


def test_a_second_node_of_a_name_is_meant_by_its_boot_and_a_node_that_ends_does_not_resume(cluster):
    near, twin = cluster.nodes[0], cluster.make()
    twin.config["cluster"]["node"] = "node-0"
    twin.config["drain"]["window"] = "60s"
    twin.start()
    cluster.wait_until_all_know()
    status, _, problem = order(near, "node-0")
    assert (status, problem["code"]) == (409, "node_ambiguous")
    boot = nodes_of(twin)["nodes"][0]["boot"]
    with V1Client(twin, user="ada") as client:
        twin.process.send_signal(signal.SIGTERM)
        assert client.read("goaway")["window_ms"] == 60_000
        status, _, problem = order(near, boot, "resume")
        assert (status, problem["code"]) == (409, "node_stopping")
        start = time.monotonic()
        assert order(near, boot, body={"window_ms": 0})[0] == 202
        assert closed_with(client) == 4200
    assert twin.process.wait(10) == 0
    assert time.monotonic() - start < 2 * twin.slowness
    assert near.is_ready()


def test_who_was_told_to_go_and_comes_back_after_a_resume_does_not_meet_itself(make_gateway):
    """Of a user that may have one session, the old one must not keep the new one out."""
    gateway = make_gateway(app={"sessions": {"per_user": 1}})
    node = nodes_of(gateway)["nodes"][0]["boot"]
    with V1Client(gateway, user="ada") as old:
        assert order(gateway, node, body={"window_ms": 60_000})[0] == 202
        old.read("goaway")
        assert order(gateway, node, "resume")[0] == 200
        with V1Client(gateway, user="ada", hello=old.resume()) as new:
            old.close()
            gateway.push({"users": ["ada"]}, "here")
            assert new.read_data() == ["here"]
