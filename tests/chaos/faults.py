"""What goes wrong in a run, and when: drawn from a seed, or written down.

A plan is a list of faults, and a fault is a line of words, the same that regressions.py keeps:

    SECONDS KIND [TARGET] [DURATION]      at so many seconds into the run

    3.0 kill n1 2.0             kill -9 a node (n0…) or a server; it is started again after the duration
    3.0 pause main 2.0          SIGSTOP, then SIGCONT
    3.0 cut n1 2.0              the node's links to all servers carry nothing, either way
    3.0 cut n1/broker-a 2.0     … to this one
    3.0 cut-up n1 2.0           nothing towards the servers …
    3.0 cut-down n1 2.0         … or nothing towards the node
    3.0 reset n1 2.0            as cut, and then the connections are reset instead of going on
    3.0 drop all                every client's connection breaks
    3.0 add                     one more node
    3.0 roll                    each node in turn: SIGTERM, its end, a new life, ready
"""

import asyncio
import random
from collections import defaultdict
from dataclasses import dataclass

SETTLE_SECONDS = 6  # no fault begins so near to the end of a drawn plan
CUTS = {"cut": ("up", "down"), "cut-up": ("up",), "cut-down": ("down",), "reset": ("up", "down")}
ROLL_SECONDS = 12


@dataclass(frozen=True)
class Fault:
    at: float
    kind: str
    target: str = ""
    lasts: float = 0

    def __str__(self):
        words = [f"{self.at:.1f}", self.kind]
        words += [self.target] if self.target else []
        words += [f"{self.lasts:.1f}"] if self.lasts else []
        return " ".join(words)


def parse(line):
    at, kind, *rest = line.split()
    lasts = float(rest.pop()) if len(rest) > 1 else 0
    return Fault(float(at), kind, rest[0] if rest else "", lasts)


def story(engine):
    """The run of ./dev test: each kind of fault once, one after the other."""
    if not engine.server:
        return [Fault(1, "drop", "all"), Fault(3, "drop", "all"), Fault(5, "drop", "all")]
    faults = [Fault(1, "kill", "n1", 1.5), Fault(4, "kill", engine.brokers[-1], 1.5)]
    faults += [Fault(9, "cut", "n0", 2), Fault(10, "pause", "n2", 2), Fault(12, "cut-down", "n1", 2)]
    return [*faults, Fault(14, "add"), Fault(15, "roll")]


def story_seconds(engine):
    return 24 if engine.server else 7


class Plan:
    """Draws faults that may overlap, but never two at a time on one target."""

    def __init__(self, engine, seed, seconds):
        self.engine, self.chance = engine, random.Random(seed)
        self.last = max(2.0, seconds - SETTLE_SECONDS)
        self.free_from = {}  # target → second
        self.faults = []

    def draw(self):
        at = 1.0
        once = {"add", "roll"}
        while at < self.last:
            kind = self.chance.choice(self.kinds())
            if kind not in once or kind not in {fault.kind for fault in self.faults}:
                self.put(at, kind)
            at += self.chance.choice((0.2, 0.7, 1.5, 2.5, 4.0))
        return self.faults

    def kinds(self):
        if not self.engine.server:
            return ["drop"]
        return ["kill", "kill", "pause", *CUTS, "kill-server", "pause-server", "drop", "add", "roll"]

    def put(self, at, kind):
        nodes = [f"n{number}" for number in range(self.engine.nodes)]
        if kind in ("drop", "add"):
            self.faults.append(Fault(at, kind, "all" if kind == "drop" else ""))
            return
        if kind == "roll":
            if all(self.free_from.get(node, 0) <= at for node in nodes):
                self.faults.append(Fault(at, kind))
                self.free_from.update(dict.fromkeys(nodes, at + ROLL_SECONDS))
            return
        candidates = self.engine.brokers if kind.endswith("-server") else nodes
        target, server = self.chance.choice(candidates), ""
        if kind in CUTS and len(self.engine.brokers) > 1 and self.chance.random() < 0.5:
            server = "/" + self.chance.choice(self.engine.brokers)
        lasts = round(self.chance.choice((0.3, 1.0, 2.0, 3.5, 5.0)) * self.chance.uniform(0.7, 1.3), 1)
        if self.free_from.get(target, 0) <= at:
            self.faults.append(Fault(at, kind.removesuffix("-server"), target + server, lasts))
            self.free_from[target] = at + lasts + 1.5


def draw(engine, seed, seconds):
    return Plan(engine, seed, seconds).draw()


class Doer:
    """Carries a plan out. What blocks (a start, an exit) does so in a thread of its own."""

    def __init__(self, cluster, sessions, history):
        self.cluster, self.sessions, self.history = cluster, sessions, history
        self.turns = defaultdict(asyncio.Lock)  # target → its faults wait for each other on a slow machine

    async def run(self, plan):
        """Returns what could not be done: one that fails leaves the others their way, and their end."""
        done = await asyncio.gather(*(self.do(fault) for fault in plan), return_exceptions=True)
        return [result for result in done if isinstance(result, Exception)]

    async def do(self, fault):
        await asyncio.sleep(fault.at)
        self.history.note("fault", what=f"{fault} begins")
        handler = getattr(self, "do_" + ("cut" if fault.kind in CUTS else fault.kind))
        async with self.turns[fault.target]:
            await handler(fault)
        self.history.note("fault", what=f"{fault} is over")

    def node(self, name):
        return next((node for node in self.cluster.nodes if node.name == name), None)

    async def do_kill(self, fault):
        node, servers = self.node(fault.target), self.cluster.servers
        await self.for_a_while(
            fault,
            node.kill if node else lambda: servers.kill(fault.target),
            node.live_again if node else lambda: servers.start(fault.target),
        )

    async def do_pause(self, fault):
        node, servers = self.node(fault.target), self.cluster.servers
        await self.for_a_while(
            fault,
            node.pause if node else lambda: servers.pause(fault.target),
            node.go_on if node else lambda: servers.resume(fault.target),
        )

    async def do_cut(self, fault):
        links, (node, _, server) = self.cluster.links, fault.target.partition("/")
        port = self.cluster.port_of(server) if server else None
        await self.for_a_while(
            fault,
            lambda: links.cut(node, CUTS[fault.kind], port),
            lambda: links.heal(node, fault.kind == "reset"),
        )

    async def for_a_while(self, fault, begin, end):
        await asyncio.to_thread(begin)
        self.history.note("fault", what=f"{fault} holds")
        await asyncio.sleep(fault.lasts)
        self.history.note("fault", what=f"{fault} ends")
        await asyncio.to_thread(end)

    async def do_drop(self, fault):
        for session in self.sessions:
            session.drop()

    async def do_add(self, fault):
        await asyncio.to_thread(self.cluster.add_node)

    async def do_roll(self, fault):
        for node in list(self.cluster.nodes):
            await asyncio.to_thread(self.roll_one, node)
            self.history.note("fault", what=f"{node.name} has been rolled")

    def roll_one(self, node):
        node.stop()
        node.live_again()
        node.wait_until_ready()
