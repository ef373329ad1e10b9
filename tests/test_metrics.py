"""What /metrics says of a cluster, and of what happens to messages."""

import contextlib
import signal
import time

import pytest
from harness.clients import V1Client
from harness.gateway import USER_HEADER, wait_for
from harness.wire import Wire, upgrade_request

BIG = "x" * 60_000


@pytest.fixture
def enter():
    """A function that opens a raw session of a user on a node; they end with the test."""
    with contextlib.ExitStack() as ends:

        def open_session(gateway, user):
            wire = ends.enter_context(Wire(gateway.client_port, timeout=10 * gateway.slowness))
            assert wire.request(upgrade_request("/v1/ws", [(USER_HEADER, user)])).status == 101
            return wire

        yield open_session


def users_of(cluster, name="tidegate_cluster_users"):
    return [node.metrics().get(name, app="demo") for node in cluster.nodes]


def test_a_user_with_sessions_on_several_nodes_counts_once_on_all_of_them(make_cluster, enter):
    cluster = make_cluster("redis", count=3)
    first, second, third = cluster.nodes
    for gateway in cluster.nodes:
        enter(gateway, "everywhere")
    both = [enter(first, "of two"), enter(second, "of two")]
    enter(third, "of one")
    wait_for(lambda: users_of(cluster) == [3, 3, 3], 20, lambda: users_of(cluster))
    assert users_of(cluster, "tidegate_users") == [2, 2, 2]
    for wire in both:
        wire.close()
    wait_for(lambda: users_of(cluster) == [2, 2, 2], 20, lambda: users_of(cluster))


# What happens to messages


def observed(gateway, stage):
    return gateway.metrics().get("tidegate_delivery_seconds_count", stage=stage)


def test_each_stage_of_a_delivery_is_timed(make_gateway):
    gateway = make_gateway()
    with V1Client(gateway, "timed") as first, V1Client(gateway, "timed") as second:
        answer = gateway.push({"users": ["timed"]}, 1, wait="acked", wait_ms=0)
        for client in (first, second):
            assert client.read("msg")["id"] == answer["id"]
            client.send({"t": "ack", "ids": [answer["id"]]})
        wait_for(lambda: observed(gateway, "write_to_ack") == 2, 5, "both acks")
    metrics = gateway.metrics()
    for stage in ("api_to_bus", "bus", "bus_to_write", "total"):
        assert observed(gateway, stage) >= 1, stage
    seconds = [
        metrics.get("tidegate_delivery_seconds_sum", stage=stage) for stage in ("bus_to_write", "total")
    ]
    assert 0 < seconds[0] < seconds[1] < 10
    assert observed(gateway, "other_node") == 0
    assert metrics.get("tidegate_message_fan_out_sessions_count") == 1
    assert metrics.get("tidegate_message_fan_out_sessions_sum") == 2  # on however many workers


def test_a_session_that_does_not_read_is_slow_until_it_does(make_gateway):
    gateway = make_gateway({"limits": {"session_queue": "8MiB"}})
    with Wire(gateway.client_port, timeout=10 * gateway.slowness, receive_buffer=4096) as wire:
        assert wire.request(upgrade_request("/v1/ws", [(USER_HEADER, "slow")])).status == 101
        assert gateway.metrics().get("tidegate_slow_sessions", app="demo") == 0
        sent = 0
        while gateway.metrics().get("tidegate_slow_sessions", app="demo") == 0:
            gateway.push({"users": ["slow"]}, BIG)
            sent += 1
            assert sent < 100
        queued = gateway.metrics().get("tidegate_queued_bytes")
        assert 0 < queued <= sent * (len(BIG) + 100)
        for _ in range(sent):
            assert wire.read_frame().payload.decode() == f'"{BIG}"'
        wait_for(lambda: gateway.metrics().get("tidegate_slow_sessions", app="demo") == 0, 5, "it has room")
        assert gateway.metrics().get("tidegate_queued_bytes") == 0


def test_a_slow_session_that_ends_is_slow_no_more(make_gateway):
    gateway = make_gateway({"limits": {"session_queue": "8MiB"}})
    with Wire(gateway.client_port, timeout=10 * gateway.slowness, receive_buffer=4096) as wire:
        assert wire.request(upgrade_request("/v1/ws", [(USER_HEADER, "slow")])).status == 101
        while gateway.metrics().get("tidegate_slow_sessions", app="demo") == 0:
            gateway.push({"users": ["slow"]}, BIG)
    wait_for(lambda: gateway.metrics().get("tidegate_connections", app="demo") == 0, 5, "the end")
    assert gateway.metrics().get("tidegate_slow_sessions", app="demo") == 0
    assert gateway.metrics().get("tidegate_queued_bytes") == 0


def test_the_way_of_pings_is_timed(make_gateway):
    gateway = make_gateway({"heartbeat": {"interval": "200ms"}})
    with V1Client(gateway, "pinged"):
        wait_for(lambda: gateway.metrics().get("tidegate_ping_seconds_count") >= 2, 10, "two pongs")
    assert gateway.metrics().get("tidegate_ping_seconds_sum") < 10


def test_a_pong_that_answers_no_ping_is_not_timed(make_gateway):
    gateway = make_gateway()
    with Wire(gateway.client_port, timeout=10 * gateway.slowness) as wire:
        assert wire.request(upgrade_request("/v1/ws", [(USER_HEADER, "forger")])).status == 101
        for payload in (b"", b"12345678", bytes(8), b"x" * 125):
            wire.send_frame(10, payload)
        wire.send_frame(9, b"alive?")
        assert wire.read_frame().payload == b"alive?"
    assert gateway.metrics().get("tidegate_ping_seconds_count") == 0


def test_pages_that_wait_with_a_ticket_are_counted(make_gateway):
    gateway = make_gateway()
    ticket = gateway.api("POST", "/v1/tickets", {})[2]["ticket"]
    assert gateway.metrics().get("tidegate_ticket_sessions", app="demo") == 0
    with V1Client(gateway, hello={"claim": "page-1"}, path=f"/v1/ws?ticket={ticket}"):
        assert gateway.metrics().get("tidegate_ticket_sessions", app="demo") == 1
    wait_for(lambda: gateway.metrics().get("tidegate_ticket_sessions", app="demo") == 0, 5, "the end")


# The configuration and the process


def config(gateway):
    metrics = gateway.metrics()
    return {
        "applied": metrics.get("tidegate_config_reloads_total", result="applied"),
        "refused": metrics.get("tidegate_config_reloads_total", result="refused"),
        "good": metrics.get("tidegate_config_last_reload_successful"),
        "loaded": metrics.get("tidegate_config_last_reload_success_timestamp_seconds"),
        "hash": metrics.get("tidegate_config_hash"),
    }


def test_reloads_are_counted_and_the_configuration_in_force_is_told(make_gateway):
    gateway = make_gateway()
    first = config(gateway)
    assert (first["applied"], first["refused"], first["good"]) == (0, 0, 1)
    assert time.time() - 60 < first["loaded"] <= time.time()
    text = gateway.config_path.read_text()
    gateway.config_path.write_text(text + "nonsense: 1\n")
    gateway.process.send_signal(signal.SIGHUP)
    wait_for(lambda: config(gateway)["refused"] == 1, 5, "the refusal")
    assert config(gateway) == {**first, "refused": 1, "good": 0}
    gateway.config_path.write_text(text + "# another text\n")
    gateway.process.send_signal(signal.SIGHUP)
    wait_for(lambda: config(gateway)["applied"] == 1, 5, "the reload")
    second = config(gateway)
    assert (second["refused"], second["good"]) == (1, 1)
    assert second["loaded"] > first["loaded"]
    assert second["hash"] != first["hash"]


def test_what_everybody_asks_of_a_process_is_told(make_gateway):
    gateway = make_gateway()
    metrics = gateway.metrics()
    assert abs(metrics.get("process_start_time_seconds") - time.time()) < 60
    assert metrics.get("process_cpu_seconds_total") == pytest.approx(gateway.cpu_seconds(), abs=2)
    assert metrics.get("process_resident_memory_bytes") == pytest.approx(gateway.rss(), rel=0.5)
    assert metrics.get("process_virtual_memory_bytes") > metrics.get("process_resident_memory_bytes")
    assert metrics.get("process_open_fds") == pytest.approx(gateway.fds(), abs=3)
    assert metrics.get("process_max_fds") >= 1024
    assert metrics.get("tidegate_build_info") == 1
    assert metrics.get("tidegate_kernel_tcp_memory_limit_bytes") > 1024 * 1024
    assert metrics.get("tidegate_kernel_tcp_sockets", state="inuse") >= 3
