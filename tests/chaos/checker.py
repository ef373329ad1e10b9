"""Reads a history and says whether the gateway kept its word. Knows nothing of how the run was made.

It doesn't believe the clients: repeats, order and holes are judged by what came over the wire, by the number
in each payload, and by positions, which must be the same wherever a message is seen.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

# Close codes that a client which keeps the rules never sees.
WRONG_CLOSES = {1002, 1007, 1008, 1009, *range(4000, 4100), 4103, 4104}
SHOWN_PROBLEMS = 12  # of each kind

TOLD = ["pushed", "accepted", "unknown", "received", "reconnects", "repeats dropped", "gaps announced"]
MUST_BE_ZERO = ["accepted and lost", "gaps not announced", "duplicates", "out of order"]


@dataclass(frozen=True)
class Promise:
    """What the engine of the run can promise."""

    # It may lose what passed while a link was down, and then says so. A node that lost a record sees its
    # repeat at another place.
    gaps: bool = False
    failover: bool = False  # a lost broker's keys may move to another queue: the exception to order by key


@dataclass
class Push:
    number: int
    id: str
    targets: list
    began: float
    start: int  # the event that began it, and the one that accepted it
    end: int | None = None
    outcome: str = "unknown"
    answered: list = field(default_factory=list)  # positions: [(queue, position)]
    seen_at: dict = field(default_factory=dict)  # queue → {position}
    seen_by: set = field(default_factory=set)

    @property
    def positions(self):
        seen = {(queue, position) for queue, places in self.seen_at.items() for position in places}
        return seen | set(self.answered)


@dataclass
class Session:
    name: str
    targets: set
    shown: dict = field(default_factory=dict)  # number → position where it was shown
    last_shown: dict = field(default_factory=dict)  # queue → position
    gaps: list = field(default_factory=list)  # (queue or "*", from, to, time)
    reached: dict = field(default_factory=dict)  # queue → the furthest position it was told of
    cursors: dict = field(default_factory=dict)  # connection → {queue: position}
    opened: int = 0
    unexplained: list = field(default_factory=list)  # resumes that weren't full and no gap has followed yet


def position(text):
    """`81723.0` as something that can be compared."""
    high, low = text.split(".")
    return int(high), int(low)


def place(text):
    """`2:81723.0` as (queue, position)."""
    queue, where = text.split(":", 1)
    return queue, position(where)


def outages(events):
    """How long each session was without any connection, at the longest: {name: seconds}. From its first
    connection on, and to the end of the history when it never came back."""
    connected, since, longest = defaultdict(set), {}, Counter()
    for event in events:
        name = event.get("s")
        if event["e"] == "open":
            if name in since:
                longest[name] = max(longest[name], event["t"] - since.pop(name))
            connected[name].add(event["c"])
        elif event["e"] == "close" and event["c"] in connected[name]:
            connected[name].discard(event["c"])
            if not connected[name]:
                since[name] = event["t"]
        elif event["e"] == "fault" and event["what"] == "parting":
            break
    for name, began in since.items():
        longest[name] = max(longest[name], event["t"] - began)
    return longest


class Checker:
    def __init__(self, promise=None):
        self.promise = promise or Promise()
        self.pushes = {}
        self.sessions = {}
        self.audience = defaultdict(set)  # target → session names
        self.count = Counter()
        self.problems = defaultdict(list)  # kind → words
        self.at = 0  # the event that is being read
        self.longest_outage = 0

    # Reading

    def read(self, events):
        self.longest_outage = max(outages(events).values(), default=0)
        for self.at, event in enumerate(events):
            reader = getattr(self, "on_" + event["e"], None)
            if reader:
                reader(event)
        self.finish()
        return self

    def complain(self, kind, words):
        self.count[kind] += 1
        if len(self.problems[kind]) < SHOWN_PROBLEMS:
            self.problems[kind].append(words)

    def on_session(self, event):
        self.sessions[event["s"]] = Session(event["s"], set(event["targets"]))
        for target in event["targets"]:
            self.audience[target].add(event["s"])

    def on_push(self, event):
        self.count["pushed"] += 1
        self.pushes[event["n"]] = Push(event["n"], event["id"], event["targets"], event["t"], self.at)

    def on_answer(self, event):
        if 200 <= event["status"] < 300:
            push = self.pushes[event["n"]]
            push.end = push.end or self.at
            push.answered += [place(text) for text in event["pos"]]

    def on_pushed(self, event):
        self.pushes[event["n"]].outcome = event["outcome"]
        self.count[event["outcome"]] += 1
        if event["outcome"] == "refused":
            self.complain("wrong answers", f"push {event['n']} was refused at {event['t']}")

    def on_open(self, event):
        session = self.sessions[event["s"]]
        session.opened += 1
        self.count["reconnects"] += session.opened > 1
        cursor = {queue: position(text) for queue, text in event["pos"].items()}
        session.cursors[event["c"]] = cursor
        if not event["asked"]:
            return
        self.count[f"resumed {event['resumed']}"] += 1
        if event["resumed"] != "full":
            session.unexplained.append((event["c"], event["t"], event["resumed"]))

    def on_msg(self, event):
        session, push = self.sessions[event["s"]], self.pushes.get(event["n"])
        where = f"{event['s']} at {event['t']}, message {event['n']}"
        if push is None or push.id != event["id"] or not session.targets & set(push.targets):
            self.complain("foreign", f"{where}: not for this session, or not what was pushed")
            return
        queue, pos = place(event["pos"])
        push.seen_at.setdefault(queue, set()).add(pos)
        push.seen_by.add(session.name)
        self.move(session, event, queue, pos, True)
        if event["shown"]:
            self.show(session, push, queue, pos, where)
        else:
            self.count["repeats dropped"] += 1

    def show(self, session, push, queue, pos, where):
        self.count["received"] += 1
        if push.number in session.shown:
            self.complain("duplicates", f"{where}: shown before, at {session.shown[push.number]}")
            return
        session.shown[push.number] = (queue, pos)
        # A message with several targets keeps the order of one of them, and comes by another's queue maybe.
        if len(push.targets) > 1:
            return
        if pos <= session.last_shown.get(queue, (-1, 0)):
            last = session.last_shown[queue]
            self.complain("out of order", f"{where}: {queue}:{pos} is shown behind {last}")
        session.last_shown[queue] = max(pos, session.last_shown.get(queue, pos))

    def where(self, event):
        return f"{event['s']} at {event['t']}, connection {event['c']}"

    def move(self, session, event, queue, pos, is_message):
        """Positions of a queue ascend on a connection; a message is never behind a position told before."""
        cursor = session.cursors[event["c"]]
        last = cursor.get(queue, (-1, 0))
        if pos < last or (is_message and pos == last):
            self.complain(
                "out of order",
                f"{self.where(event)}: {event['e']} at {queue}:{pos} behind {last}",
            )
        cursor[queue] = max(pos, last)
        session.reached[queue] = max(pos, session.reached.get(queue, (-1, 0)))

    def on_pos(self, event):
        session = self.sessions[event["s"]]
        for queue, text in event["pos"].items():
            self.move(session, event, queue, position(text), False)

    def on_gap(self, event):
        session = self.sessions[event["s"]]
        self.count["gaps announced"] += 1
        session.unexplained = [entry for entry in session.unexplained if entry[0] != event["c"]]
        if not self.promise.gaps:
            self.complain("gaps that must not be", f"{event['s']} at {event['t']}: {event}")
        if event["q"] == "*":
            session.gaps.append(("*", None, None, event["t"]))
            return
        low, high = position(event["from"]), position(event["to"])
        session.gaps.append((event["q"], low, high, event["t"]))
        cursor = session.cursors[event["c"]]
        cursor[event["q"]] = max(high, cursor.get(event["q"], high))

    def on_close(self, event):
        if event["code"] in WRONG_CLOSES:
            self.complain("wrong closes", f"{event['s']} at {event['t']}: closed with {event['code']}")

    # Judging, when all is read

    def finish(self):
        for session in self.sessions.values():
            for connection, when, resumed in session.unexplained:
                self.complain(
                    "gaps not announced",
                    f"{session.name} at {when}, connection {connection}: {resumed} resumed, no gap followed",
                )
        for push in self.pushes.values():
            self.judge_reach(push)
            self.judge_positions(push)
        self.judge_keys()

    def judge_reach(self, push):
        """Who should have got it and didn't? It was on the bus if a 2xx says so, or somebody has it."""
        for target in push.targets:
            audience = self.audience[target]
            if push.outcome != "accepted" and not self.only_by(target, push) & push.seen_by:
                continue
            for name in audience - push.seen_by:
                self.judge_missing(push, self.sessions[name])

    def only_by(self, target, push):
        """The sessions that this push reaches by this target alone."""
        others = [self.audience[other] for other in push.targets if other != target]
        return self.audience[target].difference(*others)

    def judge_missing(self, push, session):
        if self.promise.gaps and any(self.covers(gap, push) for gap in session.gaps):
            self.count["inside announced gaps"] += 1
            return
        where = f"of {push.began} at {sorted(push.positions)}"
        words = f"{session.name}: message {push.number} ({push.outcome}) {where}"
        if push.outcome == "accepted":
            self.complain("accepted and lost", words)
        if any(pos <= session.reached.get(queue, (-1, 0)) for queue, pos in push.positions):
            self.complain("gaps not announced", f"{words}; it went on to {session.reached}")

    def covers(self, gap, push):
        queue, low, high, when = gap
        if queue == "*":
            return push.began <= when
        return any(queue == q and low < pos <= high for q, pos in push.positions)

    def judge_positions(self, push):
        """The same everywhere: on every node, and in what the pusher was answered."""
        for queue, places in push.seen_at.items():
            told = {pos for q, pos in push.answered if q == queue}
            if len(places | told) > 1 and not (self.promise.failover or self.promise.gaps):
                self.complain(
                    "out of order",
                    f"message {push.number} has several places in queue {queue}: {places}, answered {told}",
                )

    def judge_keys(self):
        """By key: one queue, and what was accepted before a push began lies before it. Where a lost broker's
        keys may move, that holds in each queue for itself."""
        by_key = defaultdict(list)
        for push in self.pushes.values():
            is_told = len(push.positions) == 1 if self.promise.gaps else push.positions
            if len(push.targets) == 1 and is_told:
                by_key[push.targets[0]].append(push)
        for key, pushes in by_key.items():
            queues = {queue for push in pushes for queue, _ in push.positions}
            if len(queues) > 1 and not self.promise.failover:
                self.complain("out of order", f"{key} has messages in queues {sorted(queues)}")
            for queue in queues:
                self.judge_key(key, [push for push in pushes if {q for q, _ in push.positions} == {queue}])

    def judge_key(self, key, pushes):
        moments = {push.start: push for push in pushes}
        moments |= {push.end: push for push in pushes if push.end}
        highest, before = None, {}
        for at, push in sorted(moments.items()):
            if at == push.start:
                before[push.number] = highest
                continue
            first = min(push.positions)
            if before[push.number] and first <= before[push.number]:
                self.complain(
                    "out of order",
                    f"{key}: message {push.number} at {first}, accepted after {before[push.number]} was",
                )
            highest = max(highest or first, first)

    # Telling

    @property
    def wrong(self):
        return {kind: self.count[kind] for kind in self.problems}

    def summary(self):
        more = [kind for kind in self.problems if kind not in MUST_BE_ZERO]
        told, zero = (
            ", ".join(f"{self.count[kind]} {kind}" for kind in kinds) for kinds in (TOLD, MUST_BE_ZERO + more)
        )
        return f"{told}, {self.longest_outage:.1f} s longest outage of a client\n{zero}"

    def details(self):
        return "\n".join(f"{kind}: {words}" for kind, found in self.problems.items() for words in found)


def check(events, promise=None):
    return Checker(promise).read(events)
