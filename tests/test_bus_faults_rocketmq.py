"""Section B of the list of bad input: what only RocketMQ can do to a cluster."""

import pytest
from chaos.cases import cluster_of, dropped_from_bus, is_live_again, poison, push_numbers
from harness.clients import V1Client
from harness.gateway import wait_for
from harness.remoting import Remoting

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(100)]

TOPIC, QUEUES = "tidegate", 4
FOUR_MIB = 4 << 20  # what a broker takes at most


def broker_of(cluster):
    """A connection of the test's own, which no proxy cuts."""
    return Remoting(cluster.servers.bound("broker-a"))


def largest(broker):
    """(queue, body, properties) of the largest record that there is."""
    found = [(queue, *record) for queue in range(QUEUES) for record in broker.records(TOPIC, queue)]
    return max(found, key=lambda record: len(record[1]))


def test_b5_a_broker_that_was_set_up_anew_is_another_epoch_and_then_live():
    with cluster_of("rocketmq") as cluster, V1Client(cluster.nodes[0], user="anew") as client:
        push_numbers(cluster.nodes[1], "anew", range(50))
        assert client.read_data(50) == list(range(50))
        cluster.servers.kill("broker-a")
        cluster.servers.forget("broker-a")
        cluster.servers.start("broker-a")
        assert client.read("gap", timeout=20)["why"] == "epoch"
        cluster.wait_until_ready()
        wait_for(lambda: is_accepted(cluster.nodes[1]), 15, "a push is accepted", 0.2)
        is_live_again(client, cluster.nodes[1], "anew")
        client.assert_silent()


def is_accepted(node):
    return node.api("POST", "/v1/messages", {"to": {"users": ["nobody"]}, "data": 0})[0] == 202


def test_b11_poison_in_a_queue_is_skipped_and_counted_and_the_next_message_arrives():
    with cluster_of("rocketmq") as cluster, V1Client(cluster.nodes[0], user="well") as client:
        node, text = cluster.nodes[0], "x" * 1000
        node.push({"users": ["well"]}, text)
        assert client.read_data() == [text]
        before = node.metrics()
        with broker_of(cluster) as broker:
            queue, record, properties = largest(broker)
            bad = poison(record, b"x" * FOUR_MIB, b"x")
            for number, body in enumerate(bad):
                assert broker.send(TOPIC, queue, body, properties if number % 2 else "") == 0
                push_numbers(cluster.nodes[1], "well", [number])
                assert client.read_data() == [number]
        assert dropped_from_bus(node, before) >= len(bad) - 1


def test_b12_a_record_that_is_there_a_hundred_times_is_shown_once():
    with cluster_of("rocketmq") as cluster, V1Client(cluster.nodes[0], user="again") as client:
        far, text = cluster.nodes[1], "once " + "x" * 1000
        far.push({"users": ["again"]}, text)
        with broker_of(cluster) as broker:
            queue, record, properties = largest(broker)
            for _ in range(100):
                assert broker.send(TOPIC, queue, record, properties) == 0
        push_numbers(far, "again", ["next"])
        assert client.read_data(2) == [text, "next"]
