"""What tests of faults share: a run that must hold, a cluster without clients, a few words of both."""

import contextlib
import tempfile

from chaos.checker import place, position
from chaos.cluster import Cluster
from chaos.engines import ENGINES
from chaos.faults import parse
from chaos.run import Scenario, run


def must_hold(name, *plan, seconds, users=60, rate=200, changes=None):
    """Runs the faults; nothing may be lost, doubled or out of order. Returns the history."""
    faults = [parse(line) for line in plan]
    scenario = Scenario(ENGINES[name], 1, seconds, faults, users, rate, changes or {})
    verdict = run(scenario)
    assert verdict.is_good, str(verdict)
    return verdict.events


def moment(events, words):
    """When a fault began or was over."""
    return next(event["t"] for event in events if event["e"] == "fault" and words in event["what"])


@contextlib.contextmanager
def cluster_of(name):
    """A cluster without clients, for tests that do one thing after another."""
    with tempfile.TemporaryDirectory(prefix="bus-faults") as folder:
        cluster = Cluster(ENGINES[name], folder)
        try:
            yield cluster
            cluster.stop()
        finally:
            cluster.close()


def push_numbers(gateway, user, numbers):
    """Pushes them one by one; returns {number: place}."""
    return {number: place(gateway.push({"users": [user]}, number)["pos"]) for number in numbers}


def gap_of(client):
    """The next frame must be a gap; (queue, from, to, why)."""
    frame = client.read("gap")
    return frame["q"], position(frame["from"]), position(frame["to"]), frame["why"]


def is_live_again(client, gateway, user, told="live"):
    """The next message is what is pushed now; gaps of further queues may come before it."""
    gateway.push({"users": [user]}, told)
    while (frame := client.read("msg", "gap"))["t"] == "gap":
        pass
    assert frame["data"] == told


def poison(record, *more):
    """What one record becomes when bytes are lost, added or changed; and what a bus can bear besides."""
    return [
        record[: len(record) // 2],
        record[:3],
        record + b"\0",
        b"\xff" + record[1:],
        record[:-40] + b"\xff" * 40,
        b"\xff" * len(record),
        b"\0" * 32,
        *more,
    ]


def dropped_from_bus(node, before):
    """How much a node has found on the bus since `before` and kept from everybody: no record, no event, or
    one that came before."""
    moved = node.metrics().moved(before)
    counters = ("skipped", "events_bad", "events_repeated")
    return sum(by for name, _, by in moved if name in {f"tidegate_bus_{what}_total" for what in counters})
