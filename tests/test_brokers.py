"""The servers that other tests run against: they start, die and come back with what they had."""

import socket
import subprocess

import pytest
from harness.brokers import BROKER, ENGINES, Brokers

OPTIONS = {"rocketmq": {"masters": 2}, "redis": {}, "zookeeper": {}}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_killed_server_comes_back_at_its_address(make_brokers, engine):
    brokers = make_brokers(engine, **OPTIONS[engine])
    node = brokers.data_nodes()[0]
    address = brokers.address(node)
    brokers.restart(node)
    assert brokers.address(node) == address
    host, port = address.split(":")
    socket.create_connection((host, int(port)), 2).close()


def test_redis_keeps_what_it_acknowledged(make_brokers):
    brokers = make_brokers("redis")
    assert brokers.client("SET", "key", "value").strip() == "OK"
    brokers.restart()
    assert brokers.client("GET", "key").strip() == "value"


def test_apart_leaves_the_address_of_clients_to_a_proxy(make_brokers):
    brokers = make_brokers("redis", apart=True)
    told, bound = brokers.links()["main"]
    assert told.split(":")[1] == bound.split(":")[1]
    host, port = told.split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), 2)


def test_other_options_need_a_clean_first(tmp_path):
    brokers = Brokers("redis", tmp_path).start()
    try:
        brokers.options = {"auth": "user:secret"}
        with pytest.raises(AssertionError, match="clean"):
            brokers.start()
    finally:
        brokers.clean()


def test_it_says_how_it_is_used():
    done = subprocess.run([BROKER, "--help"], capture_output=True, text=True, check=True)
    assert "rocketmq" in done.stdout and "--apart" in done.stdout
