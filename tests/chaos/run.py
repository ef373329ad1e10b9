"""One run: a cluster, its clients and pushers, a plan of faults, and the verdict."""

import asyncio
import os
import pathlib
import random
import shutil
import tempfile
import time
from dataclasses import dataclass, field

from harness.gateway import ROOT

from chaos import faults
from chaos.checker import check
from chaos.clients import make_sessions
from chaos.cluster import Cluster
from chaos.history import History
from chaos.pushers import Pushers

USERS, GROUPS, RATE = 300, 20, 200
CONNECT_SECONDS = 30
SETTLE_SECONDS = 25  # after the last fault, for everything to arrive
KEPT = ROOT / "build" / "chaos"  # histories and logs of runs that failed


@dataclass
class Scenario:
    engine: object
    seed: int
    seconds: float
    plan: list
    users: int = USERS
    rate: float = RATE
    changes: dict = field(default_factory=dict)  # to the nodes' configuration

    def __str__(self):
        plan = "; ".join(str(fault) for fault in self.plan)
        return f"engine {self.engine.name}, seed {self.seed}, {self.seconds:.0f} s: {plan}"


def drawn(engine, seed, seconds):
    """What a seed stands for."""
    return Scenario(engine, seed, seconds, faults.draw(engine, seed, seconds))


def told(engine, seed=1):
    """The story of ./dev test."""
    return Scenario(engine, seed, faults.story_seconds(engine), faults.story(engine))


class Verdict:
    def __init__(self, scenario):
        self.scenario = scenario
        self.failures = []  # words about the run itself: a node that ended badly
        self.checker = None
        self.events = []
        self.kept = None

    @property
    def is_good(self):
        return not self.failures and not self.checker.wrong

    def __str__(self):
        lines = [str(self.scenario), self.checker.summary() if self.checker else "no history"]
        if not self.is_good:
            lines += [*self.failures, self.checker.details() if self.checker else "", f"kept: {self.kept}"]
        return "\n".join(lines)


class Run:
    def __init__(self, scenario, folder):
        self.scenario, self.folder = scenario, folder
        self.verdict = Verdict(scenario)
        self.chance = random.Random(scenario.seed)

    def go(self):
        cluster = Cluster(self.scenario.engine, self.folder, self.scenario.changes)
        try:
            self.history = History()
            asyncio.run(self.drive(cluster))
            self.attempt("a node did not end well", cluster.stop)
        finally:
            cluster.close()
        self.verdict.events = self.history.events
        self.verdict.checker = check(self.history.events, self.scenario.engine.promise)
        return self.verdict

    def attempt(self, words, what, *arguments):
        try:
            what(*arguments)
        except Exception as error:
            self.verdict.failures.append(f"{words}: {error}")

    async def drive(self, cluster):
        scenario, history = self.scenario, self.history
        self.sessions = make_sessions(history, cluster, scenario.users, GROUPS, self.chance)
        lives = [asyncio.create_task(session.live()) for session in self.sessions]
        await self.until(lambda: all(s.is_connected for s in self.sessions), CONNECT_SECONDS)
        self.pushers = Pushers(history, cluster, scenario.users, GROUPS, scenario.rate, self.chance)
        pushing = asyncio.create_task(self.pushers.run(scenario.seconds))
        failed = await faults.Doer(cluster, self.sessions, history).run(scenario.plan)
        self.verdict.failures += [f"a fault could not be done: {error}" for error in failed]
        await pushing
        history.note("fault", what="the last push has its outcome")
        await asyncio.to_thread(self.attempt, "not ready again", cluster.wait_until_ready)
        await self.settle()
        self.pushers.close()
        await self.part(lives)

    async def settle(self):
        """Until all that was accepted is with everybody, or the time for it is over."""
        reach = {}
        for session in self.sessions:
            for target in session.targets:
                reach.setdefault(target, []).append(session)

        def everything_came():
            return all(
                number in session.shown or session.has_gaps
                for number, targets in self.pushers.accepted.items()
                for target in targets
                for session in reach[target]
            )

        await self.until(everything_came, SETTLE_SECONDS, 0.2)
        self.history.note("fault", what="settled")

    async def part(self, lives):
        self.history.note("fault", what="parting")
        for session in self.sessions:
            session.stopping = True
        await asyncio.gather(*(session.stop() for session in self.sessions))
        for task in lives:
            task.cancel()
        done = await asyncio.gather(*lives, return_exceptions=True)
        broken = [repr(result) for result in done if isinstance(result, Exception)]
        self.verdict.failures += [f"a client broke: {words}" for words in sorted(set(broken))]

    async def until(self, condition, seconds, interval=0.05):
        """Polls; when the time is over, goes on: the checker will say what is missing."""
        deadline = time.monotonic() + seconds
        while not condition() and time.monotonic() < deadline:
            await asyncio.sleep(interval)

    def keep(self, name):
        """The history and all logs, for whoever looks for the cause."""
        kept = KEPT / name
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        self.history.write(kept / "history.jsonl")
        for log in self.folder.glob("n*/stderr.*"):
            shutil.copy(log, kept / f"{log.parent.name}.{log.name}")
        (kept / "verdict").write_text(f"{self.verdict}\n")
        self.verdict.kept = os.path.relpath(kept, ROOT)


def run(scenario):
    """Returns the verdict. What a failed run leaves is kept under build/chaos."""
    with tempfile.TemporaryDirectory(prefix="chaos") as folder:
        one = Run(scenario, pathlib.Path(folder))
        verdict = one.go()
        if not verdict.is_good:
            one.keep(f"{scenario.engine.name}-{scenario.seed}-{time.strftime('%H%M%S')}")
        return verdict
