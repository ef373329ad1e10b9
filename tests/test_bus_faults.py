"""Section B of the list of bad input: what the bus does to a cluster, on the real servers of each engine.

B16 (quotas of a tenant) needs no bus: test_operations.py. What only one engine can suffer is in
test_bus_faults_redis.py, test_bus_faults_rocketmq.py and test_bus_faults_zookeeper.py.
"""

import contextlib
import pathlib
import socket
import tempfile
import threading
import time

import pytest
from chaos.cases import cluster_of, moment, must_hold
from chaos.checker import outages
from chaos.cluster import ports_of
from chaos.engines import ENGINES
from chaos.links import Links
from harness.brokers import Brokers
from harness.clients import V1Client
from harness.gateway import Gateway, wait_for
from websockets.exceptions import WebSocketException

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(150)]

LOSSLESS = ["rocketmq", "redis", "zookeeper"]
EVERY = pytest.mark.parametrize("name", LOSSLESS)
# The longest ones: ./dev test runs them on RocketMQ alone, ./dev faults on all.
LONG = [name if name == "rocketmq" else pytest.param(name, marks=pytest.mark.long) for name in LOSSLESS]
EVERY_LONG = pytest.mark.parametrize("name", LONG)

READY_SECONDS = 5  # after the broker is up
WATCHED_SECONDS = 4  # for attempts to connect
ATTEMPTS_A_SECOND = 1
FAILOVER_SECONDS = 5  # bus.failover_after
SLACK_SECONDS = 0.5  # of a machine that is busy with other things, at most


# B1: no broker yet


class Impostor:
    """Stands where a broker should: says what it was told to, or nothing, and counts who comes."""

    def __init__(self, port, words):
        self.words, self.visits, self.kept = words, [], []
        self.socket = socket.create_server(("127.0.0.1", port), reuse_port=False)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                visitor, _ = self.socket.accept()
                self.visits.append(time.monotonic())
                self.kept.append(visitor)  # stays open: silence is no end
                if self.words:
                    visitor.sendall(self.words)

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for visitor in self.kept:
            visitor.close()


IMPOSTORS = {"absent": None, "garbage": b"\x00\xff GET / HTTP/1.1\r\n\r\n" * 50, "silent": b""}


@EVERY
@pytest.mark.release  # it measures, so it runs alone
@pytest.mark.parametrize("words", IMPOSTORS.values(), ids=IMPOSTORS)
def test_b1_a_bus_that_is_not_there_keeps_the_node_unready_until_it_is(name, words):
    engine = ENGINES[name]
    with tempfile.TemporaryDirectory(prefix="bus-faults") as folder, contextlib.ExitStack() as ends:
        servers = Brokers(engine.server, pathlib.Path(folder) / "servers", apart=True, **engine.options)
        ends.callback(servers.clean)
        servers.start()
        impostors = [] if words is None else [Impostor(port, words) for port in ports_of(servers)]
        changes = {
            "bus": servers.bus(**engine.bus),
            "cluster": {"secrets": [{"id": "a", "secret": "a" * 32}]},
        }
        gateway = Gateway("release", folder, changes)
        gateway.start(ready=False)
        ends.callback(gateway.kill)
        watch_unready(gateway, impostors)
        for impostor in impostors:
            impostor.close()
        links = Links(ports_of(servers))
        links.name("it", gateway.process.pid)
        ends.callback(links.close)
        wait_for(gateway.is_ready, READY_SECONDS, lambda: f"ready; it said {gateway.stderr()[-3000:]}")
        with V1Client(gateway, user="after") as client:
            gateway.push({"users": ["after"]}, "all is well")
            assert client.read_data() == ["all is well"]
        gateway.stop()


def watch_unready(gateway, impostors):
    """It says why, everywhere, and is in no hurry."""
    began = time.monotonic()
    while time.monotonic() - began < WATCHED_SECONDS:
        status, _, body = gateway.admin("GET", "/readyz")
        assert status == 503
        assert b"bus" in body, body
        time.sleep(0.2)
    assert gateway.metrics().get("tidegate_bus_up") == 0
    gateway.wait_for_line("bus.down")
    assert gateway.admin("GET", "/livez")[0] == 200
    status, headers, problem = gateway.api("POST", "/v1/messages", {"to": {"users": ["x"]}, "data": 1})
    assert (status, problem["code"]) == (503, "bus_unavailable")
    assert "retry-after" in headers
    assert not impostors or any(impostor.visits for impostor in impostors)
    for impostor in impostors:
        # The first one is no retry, and one more may fall into the time of watching.
        assert len(impostor.visits) <= WATCHED_SECONDS * ATTEMPTS_A_SECOND + 2, impostor.visits


# B2: a broker that dies


@pytest.mark.long
@EVERY
def test_b2_a_broker_killed_under_load_costs_503s_and_nothing_that_was_accepted(name):
    broker = ENGINES[name].brokers[0]
    events = must_hold(name, f"2 kill {broker} 8", seconds=13, users=40, rate=1000)
    down, ends, up = (moment(events, f"{broker} 8.0 {word}") for word in ("holds", "ends", "is over"))
    answers = [event for event in events if event["e"] == "answer"]
    away = [answer for answer in answers if down + 1 < answer["t"] < ends]
    assert away
    assert {(answer["status"], answer["code"]) for answer in away} <= {
        (503, "bus_unavailable"),
        (503, "bus_partial"),
        (503, "overloaded"),
    }
    back = next(answer["t"] for answer in answers if answer["t"] > ends and answer["status"] == 202)
    assert back - up <= READY_SECONDS


def waits_of(events):
    """(when a push began, how long it took until its 2xx) of all that were accepted."""
    began = {event["n"]: event["t"] for event in events if event["e"] == "push"}
    return [
        (began[event["n"]], event["t"] - began[event["n"]])
        for event in events
        if event["e"] == "answer" and event["status"] == 202
    ]


@pytest.mark.release  # it measures, so it runs alone
def test_b2_with_two_masters_a_killed_one_costs_pushes_to_its_keys_six_seconds_at_most():
    events = must_hold("rocketmq-two", "4 kill broker-a 12", seconds=18)
    down = moment(events, "broker-a 12.0 holds")
    waits = waits_of(events)
    longest = max(wait for _, wait in waits)
    # What a push takes here at most while nothing is broken.
    slack = min(max(wait for began, wait in waits if began + wait < down), SLACK_SECONDS)
    assert longest > FAILOVER_SECONDS - 1, "no push had a key of the killed one"
    assert longest <= FAILOVER_SECONDS + 1 + slack, (slack, sorted(wait for _, wait in waits)[-10:])


# B3: the start window


@EVERY_LONG
def test_b3_what_is_pushed_right_behind_the_first_welcome_arrives(name):
    with cluster_of(name) as cluster:
        fresh, other = cluster.nodes[0], cluster.nodes[1]
        for turn in range(6):
            fresh.kill()
            fresh.live_again()
            with connect_as_early_as_possible(fresh, "early") as client:
                other.push({"users": ["early"]}, f"by another node, {turn}")
                fresh.push({"users": ["early"]}, f"by itself, {turn}")
                assert client.read_data(2) == [f"by another node, {turn}", f"by itself, {turn}"]
            fresh.wait_until_ready()


def connect_as_early_as_possible(gateway, user):
    """What a client sees before it may be served: no listener yet, or a 503."""

    def connect():
        with contextlib.suppress(OSError, WebSocketException, EOFError):
            return V1Client(gateway, user=user)
        return None

    return wait_for(connect, 15, "a welcome", interval=0.002)


# B7, B13, B14: under load


def longest_outage(events):
    """Of any client; 0 when nobody was ever without a connection."""
    return max(outages(events).values(), default=0)


@EVERY_LONG
def test_b7_a_broker_that_hangs_makes_outcomes_unknown_and_nothing_twice(name):
    must_hold(name, f"2 pause {ENGINES[name].brokers[0]} 7", seconds=12)


@pytest.mark.long
@EVERY
def test_b13_nodes_killed_in_turn_lose_nothing_and_clients_are_back_within_ten_seconds(name):
    kills = [f"{1 + 2 * number} kill n{number % 3} 0.6" for number in range(20)]
    events = must_hold(name, *kills, seconds=42)
    assert longest_outage(events) <= 10


# Planned restarts are the nodes' matter, not the bus's: the quickest one shows them.
PLANNED = [name if name == "redis" else pytest.param(name, marks=pytest.mark.long) for name in LOSSLESS]
DRAIN_RATE = 60


@pytest.mark.release  # it measures, so it runs alone
@pytest.mark.parametrize("name", PLANNED)
def test_b14_a_rolling_restart_costs_no_client_its_connection_and_nodes_no_more_than_the_rate(name):
    """Clients open the new connection first; on a busy machine one may be late."""
    changes = {"drain": {"window": "4s", "rate": DRAIN_RATE}}  # who is late by a second is still in time
    events = must_hold(name, "1 roll", seconds=8, users=100, rate=100, changes=changes)
    assert longest_outage(events) <= 2
    without = [name for name, seconds in outages(events).items() if seconds > 0]
    assert len(without) <= 10, f"{len(without)} of 200 clients were without a connection"
    began, ended = moment(events, "1.0 roll begins"), moment(events, "n2 has been rolled")
    opened = [event["t"] for event in events if event["e"] == "open" and began < event["t"] < ended]
    assert len(opened) >= 200
    assert most_within(opened, 2) <= 2 * DRAIN_RATE


def most_within(times, seconds):
    """How many there are in the fullest stretch of so many seconds."""
    return max(sum(start <= when < start + seconds for when in times) for start in times)


# B12: the same again


@EVERY
def test_b12_an_id_that_is_pushed_again_on_every_node_is_shown_once(name):
    with cluster_of(name) as cluster, V1Client(cluster.nodes[0], user="once") as client:
        answers = push_in_parallel(cluster, 30, {"to": {"users": ["once"]}, "id": "same", "data": "same"})
        assert {status for status, _ in answers} == {202}
        assert len({answer["pos"] for _, answer in answers}) == 1
        assert sum("replayed" not in answer for _, answer in answers) == 1
        cluster.nodes[1].push({"users": ["once"]}, "next")
        assert client.read_data(2) == ["same", "next"]
        status, _, problem = cluster.nodes[2].api(
            "POST", "/v1/messages", {"to": {"users": ["once"]}, "id": "same", "data": "other"}
        )
        assert (status, problem["code"]) == (422, "id_conflict")
        client.assert_silent()


def push_in_parallel(cluster, count, body):
    """The same push, to the nodes in turn; (status, answer) of each."""
    answers = []

    def push(node):
        status, _, answer = node.api("POST", "/v1/messages", body)
        answers.append((status, answer))

    threads = [
        threading.Thread(target=push, args=(cluster.nodes[number % len(cluster.nodes)],))
        for number in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers
