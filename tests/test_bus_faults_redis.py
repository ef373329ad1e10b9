"""Section B of the list of bad input: what only Redis can do to a cluster."""

import threading

import pytest
import redis
from chaos.cases import cluster_of, dropped_from_bus, gap_of, is_live_again, poison, push_numbers
from harness.brokers import running
from harness.clients import V1Client
from harness.gateway import wait_for

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(100)]

FOUR_MIB = 4 << 20


def server_of(brokers):
    """A connection of the test's own, which no proxy cuts."""
    host, port = brokers.bound("main").split(":")
    return redis.Redis(host, int(port))


def streams(server):
    return [key for key in server.keys("*") if server.type(key) == b"stream"]


# B5: positions that the server doesn't have


def test_b5_what_was_trimmed_before_a_node_could_read_it_is_a_gap_and_then_live():
    with cluster_of("redis") as cluster, V1Client(cluster.nodes[0], user="late") as client:
        far, server = cluster.nodes[1], server_of(cluster.servers)
        push_numbers(far, "late", [0])
        assert client.read_data() == [0]
        cluster.links.cut("n0")
        missed = push_numbers(far, "late", range(1, 20))
        for key in streams(server):
            server.xtrim(key, maxlen=0, approximate=False)
        cluster.links.heal("n0", reset=True)
        queue, low, high, why = gap_of(client)
        assert why in ("expired", "bus")
        assert all(q == queue and low < pos <= high for q, pos in missed.values())
        is_live_again(client, far, "late")


def test_b5_a_server_that_was_set_up_anew_is_another_epoch_and_then_live():
    with cluster_of("redis") as cluster, V1Client(cluster.nodes[0], user="anew") as client:
        push_numbers(cluster.nodes[1], "anew", range(5))
        assert client.read_data(5) == list(range(5))
        server_of(cluster.servers).flushall()
        assert client.read("gap", timeout=10)["why"] == "epoch"
        cluster.wait_until_ready()
        is_live_again(client, cluster.nodes[1], "anew")
        client.assert_silent()
        with V1Client(cluster.nodes[2], user="anew", hello=client.resume()) as other:
            # Each node begins the new history where it had read to: the other one may have read further.
            if other.welcome["resumed"] != "full":
                assert other.read("gap")["why"] in ("epoch", "expired")
            is_live_again(other, cluster.nodes[0], "anew", "live on another node")


# B8: our own connections are ended


@pytest.mark.long
def test_b8_connections_killed_by_the_server_lose_nothing_from_streams():
    with cluster_of("redis") as cluster, V1Client(cluster.nodes[0], user="cut") as client:
        server, count = server_of(cluster.servers), 60
        for number in range(count):
            if number % 3 == 0:
                server.client_kill_filter(_type="normal", skipme=True)
            push_until_accepted(cluster.nodes[number % 3], "cut", number)
        assert client.read_data(count) == list(range(count))


def push_until_accepted(gateway, user, number):
    body = {"to": {"users": [user]}, "id": f"number-{number}", "data": number}
    wait_for(
        lambda: gateway.api("POST", "/v1/messages", body)[0] == 202, 10, f"push {number} is accepted", 0.05
    )


def test_b8_what_passed_while_a_subscription_was_away_is_a_gap_that_covers_just_that():
    with cluster_of("redis-pubsub") as cluster, V1Client(cluster.nodes[0], user="sub") as client:
        far = cluster.nodes[1]
        seen = push_numbers(far, "sub", range(5))
        assert client.read_data(5) == list(range(5))
        cluster.links.cut("n0")
        server_of(cluster.servers).client_kill_filter(_type="pubsub")
        missed = push_numbers(far, "sub", range(5, 15))
        cluster.links.heal("n0", reset=True)
        queue, low, high, why = gap_of(client)
        assert why == "bus"
        inside = {number for number, (q, pos) in (seen | missed).items() if q == queue and low < pos <= high}
        assert inside == set(missed)
        is_live_again(client, far, "sub")


def test_b8_a_node_that_reads_too_slowly_for_its_subscription_tells_of_the_gap():
    with cluster_of("redis-pubsub") as cluster, V1Client(cluster.nodes[0], user="slow") as client:
        server, far = server_of(cluster.servers), cluster.nodes[1]
        server.config_set("client-output-buffer-limit", "pubsub 65536 0 0")
        cluster.nodes[0].pause()
        for _ in range(400):  # kernels hold some megabytes before the server's own limit counts
            far.push({"users": ["nobody"]}, "x" * 60000)
        missed = push_numbers(far, "slow", range(3))
        cluster.nodes[0].go_on()
        queue, low, high, _ = gap_of(client)
        assert all(q == queue and low < pos <= high for q, pos in missed.values())
        is_live_again(client, far, "slow")


@pytest.mark.parametrize("promote", ["sentinel", "by hand"])
def test_b8_after_a_failover_to_a_replica_it_goes_on_there(make_gateway, promote):
    with_sentinel = promote == "sentinel"
    with running("redis", replica=True, sentinel=with_sentinel) as brokers:
        bus = brokers.bus(replicas=[brokers.address("replica")])
        if with_sentinel:
            bus = brokers.bus(sentinels=[brokers.address("sentinel")], sentinel_master="tidegate")
        secrets = [{"id": "a", "secret": "for this test only, 32 bytes or more"}]
        gateway = make_gateway({"bus": bus, "cluster": {"secrets": secrets}})
        host, port = brokers.address("replica").split(":")
        replica = redis.Redis(host, int(port))
        with V1Client(gateway, user="over") as client:
            push_numbers(gateway, "over", range(10))
            assert client.read_data(10) == list(range(10))
            wait_for(lambda: is_in_step(brokers, replica), 5, "the replica is in step")
            brokers.kill("main")
            if not with_sentinel:
                replica.replicaof("NO", "ONE")
            push_until_accepted(gateway, "over", 10)
            assert client.read_data() == [10]


def is_in_step(brokers, replica):
    main = server_of(brokers).info("replication")
    return main["master_repl_offset"] == replica.info("replication")["slave_repl_offset"]


# B11, B12: what others put on the bus


def not_entries(entry):
    """Entries that are none, made of a right one: {field: value}."""
    (field, record), *_ = entry.items()
    return [
        *({field: value} for value in poison(record, b"x" * FOUR_MIB, b"")),
        {b"another": record},
        {field: record, b"another": b"x"},
    ]


def test_b11_poison_on_a_stream_is_skipped_and_counted_and_the_next_message_arrives():
    with cluster_of("redis") as cluster, V1Client(cluster.nodes[0], user="well") as client:
        server, node = server_of(cluster.servers), cluster.nodes[0]
        node.push({"users": ["well"]}, "x" * 1000)
        assert client.read_data() == ["x" * 1000]
        key, entry = largest_entry(server)
        before, bad = node.metrics(), not_entries(entry)
        for number, fields in enumerate(bad, 1):
            server.xadd(key, fields)
            push_numbers(cluster.nodes[1], "well", [number])
            assert client.read_data() == [number]
        assert dropped_from_bus(node, before) >= len(bad) - 1


def largest_entry(server):
    """(key, fields) of the largest record of all streams. Beacons are small."""
    found = []
    for key in streams(server):
        found += [(len(max(fields.values(), key=len)), key, fields) for _, fields in server.xrevrange(key)]
    _, key, fields = max(found, key=lambda entry: entry[0])
    return key, fields


def test_b12_a_record_that_is_delivered_a_hundred_times_is_shown_once():
    with cluster_of("redis") as cluster, V1Client(cluster.nodes[0], user="again") as client:
        server = server_of(cluster.servers)
        push_numbers(cluster.nodes[1], "again", ["once " + "x" * 300])
        key, entry = largest_entry(server)
        threads = [threading.Thread(target=server.xadd, args=(key, entry)) for _ in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        push_numbers(cluster.nodes[1], "again", ["next"])
        assert client.read_data(2) == ["once " + "x" * 300, "next"]
