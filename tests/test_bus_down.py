"""A bus that is away when a node starts: the node runs, says why it isn't ready, and accepts nothing."""

import re

import pytest
from harness.gateway import ROOT, free_ports, wait_for

PASSWORD = "swordfish-of-the-broker"


def configurations(port):
    """For each engine that has a broker, one where nobody listens on this port."""
    address = f"127.0.0.1:{port}"
    return {
        "redis": {"url": f"redis://user:{PASSWORD}@{address}/0"},
        "rocketmq": {
            "name_servers": [address],
            "brokers": ["broker-a"],
            "access_key": "user",
            "secret_key": PASSWORD,
        },
        "zookeeper": {"servers": [address], "auth": f"digest:user:{PASSWORD}"},
    }


def built_in():
    page = (ROOT / "docs" / "configuration.md").read_text()
    return set(re.search(r"an engine that is built in: ([\w, ]+) \|", page)[1].split(", "))


@pytest.fixture(params=sorted(configurations(0).keys() & built_in()))
def lonely(request, make_gateway):
    """A gateway whose broker isn't there: (engine, gateway, the broker's port)."""
    port = free_ports(1)[0]
    changes = {
        "bus": {"engine": request.param, **configurations(port)[request.param]},
        "cluster": {"secrets": [{"id": "a", "secret": "0123456789abcdef0123456789abcdef"}]},
    }
    return request.param, make_gateway(changes, ready=False), port


def test_a_node_without_its_broker_runs_and_says_why_it_is_not_ready(lonely):
    engine, gateway, port = lonely

    def readyz():
        status, _, body = gateway.admin("GET", "/readyz")
        assert status == 503
        return body.decode()

    wait_for(lambda: f"127.0.0.1:{port}" in readyz(), 20 * gateway.slowness, readyz)
    assert readyz().startswith("not ready: the bus is not up: ")
    assert gateway.admin("GET", "/livez")[0] == 200
    assert gateway.metrics().get("tidegate_bus_up", bus=engine) == 0
    downs = [line["msg"] for line in gateway.log() if line["event"] == "bus.down"]
    assert any(f"127.0.0.1:{port}" in line for line in downs), downs


def test_a_push_to_it_is_refused_and_the_password_shown_nowhere(lonely):
    _, gateway, _ = lonely
    status, headers, answer = gateway.api("POST", "/v1/messages", {"to": {"all": True}, "data": 1})
    assert (status, answer["code"]) == (503, "bus_unavailable")
    assert int(headers["retry-after"]) >= 1
    said = gateway.stderr() + gateway.metrics().text + gateway.admin("GET", "/readyz")[2].decode()
    assert PASSWORD not in said
