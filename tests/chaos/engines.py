"""What a run must know of each engine: its servers, how a node is pointed at them, what it promises."""

from dataclasses import dataclass

from chaos.checker import Promise


@dataclass(frozen=True)
class Engine:
    name: str
    server: str = ""  # as tools/broker calls it; "": it needs none
    options: tuple = ()  # of tools/broker
    brokers: tuple = ()  # the server's nodes that faults may hit
    nodes: int = 3
    promise: Promise = Promise()

    def bus(self, addresses):
        """The `bus:` section, from what `tools/broker env --json` says."""
        return {"engine": "memory", "queues": 8}


class RocketMQ(Engine):
    def bus(self, addresses):
        return {
            "engine": "rocketmq",
            "name_servers": [addresses["ROCKETMQ_NAMES"]],
            "topic": "chaos",
            "brokers": list(self.brokers),
            "queues": 8,
        }


class Redis(Engine):
    def bus(self, addresses):
        mode = "pubsub" if self.promise.gaps else "streams"
        url = f"redis://{addresses['REDIS_MAIN']}/0"
        return {"engine": "redis", "url": url, "mode": mode, "name": "chaos", "queues": 8}


class ZooKeeper(Engine):
    def bus(self, addresses):
        servers = [addresses["ZOOKEEPER_SERVER"]]
        return {"engine": "zookeeper", "servers": servers, "path": "/chaos", "queues": 8}


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("memory", nodes=1),
        RocketMQ("rocketmq", "rocketmq", (), ("broker-a",)),
        RocketMQ(
            "rocketmq-two",
            "rocketmq",
            ("--masters", "2"),
            ("broker-a", "broker-b"),
            promise=Promise(failover=True),
        ),
        Redis("redis", "redis", (), ("main",)),
        Redis("redis-pubsub", "redis", (), ("main",), promise=Promise(gaps=True)),
        ZooKeeper("zookeeper", "zookeeper", (), ("server",)),
    )
}
