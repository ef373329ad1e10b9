"""What a run must know of each engine: its servers, how a node is pointed at them, what it promises."""

from dataclasses import dataclass, field

from chaos.checker import Promise


@dataclass(frozen=True)
class Engine:
    name: str
    server: str = ""  # as tools/broker calls it; "": it needs none
    brokers: tuple = ()  # those of the server's nodes that faults may hit
    options: dict = field(default_factory=dict)  # of tools/broker
    bus: dict = field(default_factory=dict)  # in a node's configuration, besides the addresses
    nodes: int = 3
    promise: Promise = field(default_factory=Promise)


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("memory", nodes=1, bus={"engine": "memory"}),
        Engine("rocketmq", "rocketmq", ("broker-a",)),
        Engine(
            "rocketmq-two",
            "rocketmq",
            ("broker-a", "broker-b"),
            options={"masters": 2},
            promise=Promise(failover=True),
        ),
        Engine("redis", "redis", ("main",), bus={"mode": "streams"}),
        Engine("redis-pubsub", "redis", ("main",), bus={"mode": "pubsub"}, promise=Promise(gaps=True)),
        Engine("zookeeper", "zookeeper", ("server",), bus={"session_timeout": "4s"}),
    )
}
