"""Section B of the list of bad input: what only ZooKeeper can do to a cluster."""

import contextlib

import pytest
from chaos.cases import (
    cluster_of,
    dropped_from_bus,
    gap_of,
    is_live_again,
    must_hold,
    poison,
    push_numbers,
)
from harness.clients import V1Client
from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError, NotEmptyError

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(100)]

SESSION_SECONDS = 4  # of a node at the server, as chaos/engines.py configures it
HALF_MIB = 1 << 19


@contextlib.contextmanager
def server_of(brokers):
    """A session of the test's own, which no proxy cuts."""
    client = KazooClient(brokers.bound("server"), timeout=10)
    client.start()
    try:
        yield client
    finally:
        client.stop()
        client.close()


def records(server, root="/tidegate"):
    """{path: data} of all records of all queues, in order."""
    found = {}
    for queue in sorted(server.get_children(root)):
        if not queue.startswith("q"):
            continue
        for bucket in sorted(server.get_children(f"{root}/{queue}")):
            for name in sorted(server.get_children(f"{root}/{queue}/{bucket}")):
                path = f"{root}/{queue}/{bucket}/{name}"
                found[path] = server.get(path)[0]
    return found


# B5


def test_b5_records_removed_before_a_node_could_read_them_are_a_gap_and_then_live():
    with cluster_of("zookeeper") as cluster, V1Client(cluster.nodes[0], user="late") as client:
        far = cluster.nodes[1]
        with server_of(cluster.servers) as server:
            push_numbers(far, "late", [0])
            assert client.read_data() == [0]
            cluster.links.cut("n0")
            missed = push_numbers(far, "late", range(1, 20))
            for path in records(server):
                server.delete(path)
        cluster.links.heal("n0", reset=True)
        queue, low, high, why = gap_of(client)
        assert why in ("expired", "bus")
        assert all(q == queue and low < pos <= high for q, pos in missed.values())
        is_live_again(client, far, "late")


def delete_all(server, path):
    """Nodes make new records meanwhile."""
    while server.exists(path):
        with contextlib.suppress(NotEmptyError, NoNodeError):
            server.delete(path, recursive=True)


def test_b5_a_path_that_was_made_anew_is_another_epoch_and_then_live():
    with cluster_of("zookeeper") as cluster, V1Client(cluster.nodes[0], user="anew") as client:
        push_numbers(cluster.nodes[1], "anew", range(5))
        assert client.read_data(5) == list(range(5))
        with server_of(cluster.servers) as server:
            delete_all(server, "/tidegate")
        assert client.read("gap", timeout=20)["why"] == "epoch"
        cluster.wait_until_ready()
        is_live_again(client, cluster.nodes[1], "anew")
        client.assert_silent()


# B9


def test_b9_a_node_that_was_stopped_for_longer_than_its_session_comes_back_with_a_new_one():
    events = must_hold("zookeeper", f"2 pause n1 {SESSION_SECONDS + 3}", seconds=14)
    assert len({event["epoch"] for event in events if event["e"] == "open"}) == 1


@pytest.mark.long
def test_b9_creates_whose_answers_are_lost_are_unknown_and_nothing_is_there_twice():
    cuts = [f"{1 + 2 * number} cut-down n{number % 3} 1" for number in range(5)]
    must_hold("zookeeper", *cuts, f"12 cut-down n0 {SESSION_SECONDS + 3}", "20 reset n1 1", seconds=23)


# B11, B12


def bucket_of(server, data_size):
    """The bucket of the largest record, and the record."""
    path, record = max(records(server).items(), key=lambda item: len(item[1]))
    assert len(record) >= data_size
    return path.rsplit("/", 1)[0], record


def test_b11_poison_in_a_bucket_is_skipped_and_counted_and_the_next_message_arrives():
    with cluster_of("zookeeper") as cluster, V1Client(cluster.nodes[0], user="well") as client:
        node = cluster.nodes[0]
        node.push({"users": ["well"]}, "x" * 1000)
        assert client.read_data() == ["x" * 1000]
        before = node.metrics()
        with server_of(cluster.servers) as server:
            bucket, record = bucket_of(server, 1000)
            bad = poison(record, b"x" * HALF_MIB, b"")
            for number, data in enumerate(bad):
                server.create(f"{bucket}/e", data, sequence=True)
                push_numbers(cluster.nodes[1], "well", [number])
                assert client.read_data() == [number]
            server.create(f"{bucket}/not-ours", b"x")
            server.create(f"{bucket}/not-ours-", b"x", sequence=True)
            push_numbers(cluster.nodes[1], "well", ["the last"])
            assert client.read_data() == ["the last"]
        assert dropped_from_bus(node, before) >= len(bad) - 1


def test_b12_a_record_that_is_there_a_hundred_times_is_shown_once():
    with cluster_of("zookeeper") as cluster, V1Client(cluster.nodes[0], user="again") as client:
        far, text = cluster.nodes[1], "once " + "x" * 1000
        far.push({"users": ["again"]}, text)
        with server_of(cluster.servers) as server:
            bucket, record = bucket_of(server, 1000)
            for _ in range(100):
                server.create(f"{bucket}/e", record, sequence=True)
        push_numbers(far, "again", ["next"])
        assert client.read_data(2) == [text, "next"]
