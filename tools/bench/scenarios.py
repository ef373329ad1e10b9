"""What is measured: each scenario is one run of the load generator and the rows read out of it."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Scale:
    """How much of everything: the full size gives figures, the quick one only shows that all of it runs."""

    secs: float  # of a phase
    deliveries: int  # of a fan-out
    most_sessions: int
    warm: int  # sessions opened before the others are measured
    settle_ms: int  # rest before memory is read, and before a storm

    def sessions(self, wanted: int) -> int:
        return min(wanted, self.most_sessions)


FULL = Scale(secs=2.5, deliveries=400_000, most_sessions=19_000, warm=200, settle_ms=1000)
QUICK = Scale(secs=0.2, deliveries=2_000, most_sessions=200, warm=20, settle_ms=50)


@dataclass(frozen=True)
class Row:
    """One figure. at_most and at_least are for the gateway's own value, the ratios for gateway ÷ floor."""

    metric: str
    unit: str
    read: Callable[[dict], float]
    at_most: float | None = None
    at_least: float | None = None
    ratio_at_most: float | None = None
    ratio_at_least: float | None = None

    def target(self) -> str:
        """The target in words, empty when the row only informs."""
        parts = []
        for sign, limit, suffix in (
            ("≤", self.at_most, ""),
            ("≥", self.at_least, ""),
            ("≤", self.ratio_at_most, " × floor"),
            ("≥", self.ratio_at_least, " × floor"),
        ):
            if limit is not None:
                number = f"{limit:.2f}" if suffix else f"{limit:,g}"
                parts.append(f"{sign} {number}{suffix}")
        return ", ".join(parts)

    def is_met(self, value: float, ratio: float | None) -> bool:
        return (
            (self.at_most is None or value <= self.at_most)
            and (self.at_least is None or value >= self.at_least)
            and (self.ratio_at_most is None or ratio is None or ratio <= self.ratio_at_most)
            and (self.ratio_at_least is None or ratio is None or ratio >= self.ratio_at_least)
        )


@dataclass(frozen=True)
class Scenario:
    name: str
    floor: str
    load_args: list[str]
    rows: list[Row]
    gateway_args: list[str] = field(default_factory=list)  # for the gateway alone
    bus: str = ""  # of the gateway: a name in servers.BUSES, with three nodes; else it has the bus memory
    tls: bool = False  # of the gateway: its client listener
    measures_others: bool = False  # pushes go to the first node, CPU is that of the others
    counts: bool = False  # instructions, under callgrind: see monitoring.py. There is no floor


GROUP = ["--json", "--group", "room:bench"]


def opening(key: str) -> Callable[[dict], float]:
    return lambda figures: figures["open"][key]


def memory(*keys: str) -> Callable[[dict], float]:
    return lambda figures: sum(figures["memory"][key] for key in keys)


def phase(name: str, key: str, inner: str | None = None) -> Callable[[dict], float]:
    def read(figures: dict) -> float:
        value = next(each for each in figures["phases"] if each["name"] == name)[key]
        return value[inner] if inner else value

    return read


def settle(scale: Scale) -> list[str]:
    return ["--settle", str(scale.settle_ms)]


def phases(*specs: str) -> list[str]:
    return [word for spec in specs for word in ("--phase", spec)]


def idle(scale: Scale) -> Scenario:
    """Memory of sessions that have a user and a group and do nothing; and what it took to open them."""
    return Scenario(
        "idle",
        "floor_push",
        ["--sessions", str(scale.sessions(15_000)), "--warm", str(scale.warm), *settle(scale)],
        [
            Row("user space a session (PSS)", "B", memory("pss"), at_most=256),
            Row("user space a session (RSS)", "B", memory("rss")),
            Row("kernel a session, both ends: slab", "B", memory("slab")),
            Row("kernel a session, both ends: TCP buffers", "B", memory("tcp")),
            Row("connects with hello and group", "/s", opening("per_s")),
            Row("CPU a connect with hello and group", "µs", opening("cpu_us")),
        ],
        GROUP,
    )


def idle_tls(scale: Scale) -> Scenario:
    """The same over TLS; beside it the gateway without."""
    return Scenario(
        "idle_tls",
        "memory",
        ["--sessions", str(scale.sessions(3_000)), "--warm", str(scale.warm), *settle(scale), *GROUP],
        [
            Row("user space a session over TLS (PSS)", "B", memory("pss"), at_most=15_000),
            Row("connects over TLS with hello and group", "/s", opening("per_s")),
            Row("CPU a connect over TLS with hello and group", "µs", opening("cpu_us")),
        ],
        ["--tls"],
        tls=True,
    )


def fanout_tls(scale: Scale) -> Scenario:
    count = scale.sessions(1_000)
    cpu, rate = phase("fan128", "cpu_us_per_delivery"), phase("fan128", "delivered_per_s")
    return Scenario(
        "fanout_tls",
        "memory",
        ["--sessions", str(count), *settle(scale), *fanout_phases(scale, count, "all", (128,))],
        [
            Row("CPU a delivery over TLS, to 1,000 × 128 B", "µs", cpu),
            Row("deliveries over TLS, to 1,000 × 128 B", "/s", rate),
        ],
        ["--tls"],
        tls=True,
    )


def connect(scale: Scale) -> Scenario:
    return Scenario(
        "connect",
        "floor_push",
        ["--sessions", str(scale.sessions(10_000)), "--warm", str(scale.warm), *settle(scale)],
        [
            Row("raw connects", "/s", opening("per_s")),
            Row("CPU a raw connect", "µs", opening("cpu_us")),
        ],
    )


def fanout_phases(scale: Scale, sessions: int, to: str, sizes: tuple[int, ...], extra: str = "") -> list[str]:
    """The next broadcast goes when everybody has the last one: so both servers do the same amount of work."""
    count = max(scale.deliveries // sessions, 3)
    base = f"to={to},window=1{extra}"
    return phases(
        f"name=warm,{base},count=3",
        *(f"name=fan{size},{base},count={count},size={size}" for size in sizes),
    )


def fanout(scale: Scale, sessions: int) -> Scenario:
    count, sizes = scale.sessions(sessions), (128, 1024)
    rows = []
    for size in sizes:
        words = f"to {sessions:,} × {size:,} B"
        cpu, rate = phase(f"fan{size}", "cpu_us_per_delivery"), phase(f"fan{size}", "delivered_per_s")
        rows.append(Row(f"CPU a delivery, {words}", "µs", cpu, ratio_at_most=1.10))
        rows.append(Row(f"deliveries, {words}", "/s", rate))
    args = ["--sessions", str(count), *settle(scale), *fanout_phases(scale, count, "all", sizes)]
    return Scenario(f"fanout_{sessions}", "floor_fanout", args, rows)


def fanout_group(scale: Scale) -> Scenario:
    """As fan-out to all, but to tidegate.v1.json sessions in a group: the envelope makes frames longer."""
    count = scale.sessions(1_000)
    cpu = phase("fan128", "cpu_us_per_delivery")
    return Scenario(
        "fanout_group",
        "floor_fanout",
        ["--sessions", str(count), *settle(scale), *fanout_phases(scale, count, "group", (128,))],
        [Row("CPU a delivery, group of 1,000 × 128 B, enveloped", "µs", cpu)],
        GROUP,
    )


def deflate(scale: Scale) -> Scenario:
    count = scale.sessions(1_000)
    cpu = phase("fan4096", "cpu_us_per_delivery")
    args = ["--sessions", str(count), "--deflate", *settle(scale)]
    args += [*fanout_phases(scale, count, "all", (4096,), ",text")]
    row = Row("CPU a delivery, 1,000 × 4 KiB JSON text, deflated", "µs", cpu, at_most=3.5)
    return Scenario("deflate", "floor_fanout --deflate", args, [row])


def push(scale: Scale) -> Scenario:
    """One user of 10,000 a request; an answer is awaited before the next request on its connection."""
    concurrencies = (1, 8, 32, 64)
    rows = [
        Row(f"pushes, {conns} in flight", "/s", phase(f"c{conns}", "messages_per_s"), ratio_at_least=0.8)
        for conns in concurrencies
    ]
    rows.append(Row("CPU a push, 32 in flight", "µs", phase("c32", "cpu_us_per_message")))
    specs = [f"name=c{conns},conns={conns},secs={scale.secs}" for conns in concurrencies]
    users = str(scale.sessions(10_000))
    args = ["--sessions", users, *settle(scale), *phases(f"name=warm,conns=8,secs={scale.secs / 5}", *specs)]
    return Scenario("push", "floor_push", args, rows)


def pipelined(scale: Scale) -> Scenario:
    args = ["--sessions", str(scale.sessions(10_000)), *settle(scale)]
    args += phases("name=warm,conns=8,depth=32,count=2000", f"name=pipe,conns=8,depth=32,secs={scale.secs}")
    return Scenario(
        "pipelined",
        "floor_push",
        args,
        [
            Row("pushes, pipelined 32 deep", "/s", phase("pipe", "messages_per_s"), at_least=60_000),
            Row("CPU a push, pipelined", "µs", phase("pipe", "cpu_us_per_message")),
        ],
    )


def batch(scale: Scale) -> Scenario:
    """Targets a second: 1,000 messages a request; one message that names many users; users who are away."""
    sessions = scale.sessions(10_000)
    fan = min(1000, sessions // 4)
    args = ["--sessions", str(sessions), *settle(scale)]
    args += phases(
        "name=warm,conns=2,batch=1000,count=4",
        f"name=batch,conns=2,batch=1000,secs={scale.secs}",
        f"name=many,conns=2,fan={fan},secs={scale.secs}",
        f"name=away,conns=2,batch=1000,offline,secs={scale.secs}",
    )
    return Scenario(
        "batch",
        "floor_push",
        args,
        [
            Row("targets by batch, delivered", "/s", phase("batch", "delivered_per_s"), at_least=500_000),
            Row("targets by batch, accepted", "/s", phase("batch", "messages_per_s")),
            Row("targets by 1,000 users a message, delivered", "/s", phase("many", "delivered_per_s")),
            Row("targets by batch, no session there, accepted", "/s", phase("away", "messages_per_s")),
        ],
    )


def latency(scale: Scale) -> Scenario:
    args = ["--sessions", str(scale.sessions(10_000)), *settle(scale)]
    args += phases(
        f"name=warm,conns=8,rate=2000,secs={scale.secs / 2}",
        f"name=r2000,conns=8,rate=2000,secs={scale.secs * 2}",
        f"name=r5000,conns=8,rate=5000,secs={scale.secs * 2}",
    )
    targets = {("r2000", "p50"): 100, ("r2000", "p99"): 250, ("r5000", "p99"): 1000}
    rows = [
        Row(
            f"push to delivery at {rate:,}/s, {quantile}",
            "µs",
            phase(f"r{rate}", "latency_us", quantile),
            at_most=targets.get((f"r{rate}", quantile)),
        )
        for rate in (2000, 5000)
        for quantile in ("p50", "p99", "p999")
    ]
    return Scenario("latency", "floor_push", args, rows)


def storm(scale: Scale) -> Scenario:
    """Everybody leaves, then all handshakes start in the same instant."""
    args = ["--sessions", str(scale.sessions(15_000)), *settle(scale), *phases("name=storm,storm")]
    return Scenario(
        "storm",
        "floor_push",
        args,
        [
            Row("15,000 sessions back after", "s", phase("storm", "secs"), at_most=2.0),
            Row("CPU a session that comes back", "µs", phase("storm", "cpu_us_per_session")),
        ],
        GROUP,
    )


# To reach, by bus: pushes/s; p50 and p99 at 2,000/s and p99 at 200/s, in µs; None: no promise.
BUS_TARGETS = {
    "rocketmq": (30_000, 2_000, 10_000, None),
    "redis": (40_000, None, 3_000, None),
    "redis_pubsub": (40_000, None, 3_000, None),
    "zookeeper": (5_000, None, None, 30_000),
}


def bus_rows(bus: str) -> list[Row]:
    most, p50, p99, p99_slow = BUS_TARGETS[bus]
    limits = {(200, "p99"): p99_slow, (2000, "p50"): p50, (2000, "p99"): p99}
    rates = (200, 2000, most)
    rows = [
        Row(f"{bus}: pushes, closed loop", "/s", phase("most", "messages_per_s"), at_least=most),
        Row(f"{bus}: CPU a push, three nodes", "µs", phase("most", "cpu_us_per_message")),
    ]
    return rows + [
        Row(
            f"{bus}: push to delivery at {rate:,}/s, {quantile}",
            "µs",
            phase(f"r{rate}", "latency_us", quantile),
            at_most=limits.get((rate, quantile)),
        )
        for rate in rates
        for quantile in ("p50", "p99")
    ]


def bus(scale: Scale, name: str) -> Scenario:
    """Three nodes and a real broker: 1,000 users with a session on two nodes each, pushes to all in turn."""
    users, rate = scale.sessions(2_000) // 2, BUS_TARGETS[name][0]
    args = ["--sessions", str(2 * users), "--users", str(users), *settle(scale)]
    args += phases(
        f"name=warm,conns=12,depth=4,secs={scale.secs}",
        f"name=r200,conns=6,rate=200,secs={scale.secs * 2}",
        f"name=r2000,conns=12,rate=2000,secs={scale.secs * 2}",
        f"name=r{rate},conns=48,rate={rate},secs={scale.secs * 2}",
        f"name=most,conns=48,depth=32,secs={scale.secs * 2}",
    )
    return Scenario(f"bus_{name}", "memory", args, bus_rows(name), bus=name)


def bus_foreign(scale: Scale, name: str) -> Scenario:
    """What an event costs a node that has no session for it: batches to users who are away, on one node."""
    args = ["--sessions", "2", *settle(scale)]
    args += phases(
        "name=warm,conns=2,batch=1000,offline,count=4",
        f"name=away,conns=2,batch=1000,offline,secs={scale.secs * 2}",
    )
    cpu = phase("away", "cpu_us_per_message")
    row = Row(f"{name}: CPU of a foreign event, a node", "µs", lambda figures: cpu(figures) / 2, at_most=0.3)
    rate = Row(f"{name}: events by batch", "/s", phase("away", "messages_per_s"))
    return Scenario(f"foreign_{name}", "memory", args, [row, rate], bus=name, measures_others=True)


def monitoring(scale: Scale, name: str, sessions: int, words: str, spec: str) -> Scenario:
    """What counts and observes, of all that the gateway does; it is scraped every second."""
    args = ["--sessions", str(sessions), *settle(scale), *phases(f"name=load,{spec},secs={scale.secs * 6}")]
    rows = [
        Row(f"monitoring's share of CPU, {words}", "%", lambda figures: figures["cpu_share"], at_most=2),
        Row(f"… of the gateway's own instructions, {words}", "%", lambda figures: figures["share"]),
    ]
    return Scenario(f"monitoring_{name}", "", args, rows, counts=True)


def all_scenarios(scale: Scale) -> list[Scenario]:
    buses = [bus(scale, name) for name in BUS_TARGETS]
    foreign = [bus_foreign(scale, "redis"), bus_foreign(scale, "rocketmq")]
    return [*one_node(scale), *watched(scale), *buses, *foreign]


def watched(scale: Scale) -> list[Scenario]:
    return [
        monitoring(scale, "push", 50, "pushes, pipelined", "conns=8,depth=32"),
        monitoring(scale, "fanout", 200, "broadcasts to 200", "to=all,window=1,size=128"),
    ]


def one_node(scale: Scale) -> list[Scenario]:
    return [
        idle(scale),
        idle_tls(scale),
        connect(scale),
        fanout(scale, 1_000),
        fanout(scale, 10_000),
        fanout_group(scale),
        fanout_tls(scale),
        deflate(scale),
        push(scale),
        pipelined(scale),
        batch(scale),
        latency(scale),
        storm(scale),
    ]


def faults_of(figures: dict) -> list[str]:
    """What makes the figures of a run worthless: anything lost, refused, repeated or misdirected."""
    faults = []
    if figures["ready"] != figures["sessions"]:
        faults.append(f"{figures['sessions'] - figures['ready']} sessions lost: {figures['first_loss']}")
    for each in figures["phases"]:
        where = f"phase {each['name']}:"
        if each["sessions_lost"]:
            faults.append(f"{where} {each['sessions_lost']} sessions lost: {figures['first_loss']}")
        if "back" in each:
            if each["back"] != figures["sessions"]:
                faults.append(f"{where} only {each['back']} came back")
            continue
        if each["refused"]:
            faults.append(f"{where} {each['refused']} requests refused: {each['first_refusal']}")
        if each["conns_lost"]:
            faults.append(f"{where} {each['conns_lost']} API connections ended by the server")
        if each["delivered"] != each["expected"]:
            faults.append(f"{where} {each['delivered']} deliveries, {each['expected']} expected")
        faults += [
            f"{where} {each[kind]} {kind}"
            for kind in ("out_of_order", "misrouted", "stray", "broken")
            if each[kind]
        ]
    return faults
