"""The servers that `tools/broker` runs: instance.py has what all share, and each engine its file."""

from brokers.redis import Redis
from brokers.rocketmq import RocketMQ
from brokers.zookeeper import ZooKeeper

ENGINES = {engine.name: engine for engine in (RocketMQ, Redis, ZooKeeper)}
