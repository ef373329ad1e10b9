"""./dev soak: hours in minutes. Sessions come and go, are pushed to, misbehave; memory stays where it was."""

import os
import time

import pytest
from harness.clients import V1Client
from harness.gateway import wait_for
from harness.wire import BINARY, TEXT, Wire, frame, get, upgrade_request

SECONDS = int(os.environ.get("TIDEGATE_SOAK_SECONDS", "600"))
CONFIG = {"window": {"max_bytes": "4MiB", "max_age": "10s"}}
WARM_UP_SECONDS = 30  # in which slabs, pools, the allocator and the window reach their size
ALLOWED_GROWTH = 1 << 20

MISDEEDS = [
    b"GET / HTTP/1.1\nHost: a\n\n",
    get("/", [("X-Long", "a" * 9000)]),
    upgrade_request("/v1/echo") + frame(TEXT, b"\xff"),
    upgrade_request("/v1/echo") + frame(BINARY, length=1 << 40),
    upgrade_request("/v1/echo") + frame(TEXT, b"half", fin=False),
    upgrade_request("/v1/echo")[:70],
]


def misbehave(gateway):
    for data in MISDEEDS * 10:
        with Wire(gateway.client_port) as wire:
            wire.send(data)
            wire.reset()


def live(gateway, number):
    """Sessions connect, join, are pushed to, lose their connection and come back to what they missed."""
    group = f"room:{number % 7}"
    clients = [V1Client(gateway, user=f"soak-{i}", hello={"groups": [group]}) for i in range(50)]
    for i in range(20):
        gateway.push({"groups": [group]}, {"n": i, "text": "x" * (i * 200)})
    for client in clients:
        assert [data["n"] for data in client.read_data(20)] == list(range(20))
    back = [client.resume() for client in clients]
    for client in clients:
        client.close()
    gateway.push({"groups": [group]}, "missed")
    for i, resume in enumerate(back[:10]):
        hello = {"groups": [group], **resume}
        with V1Client(gateway, user=f"soak-{i}", hello=hello) as client:
            assert client.read_data() == ["missed"]


@pytest.mark.long
@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 300)
def test_memory_and_descriptors_stay_where_they_were(make_gateway):
    gateway = make_gateway(CONFIG)
    start, number, first, fds = time.monotonic(), 0, None, gateway.fds()
    while (passed := time.monotonic() - start) < max(SECONDS, 2 * WARM_UP_SECONDS):
        live(gateway, number)
        misbehave(gateway)
        wait_for(lambda: gateway.fds() <= fds, 20, "all descriptors back")
        number += 1
        if first is None and passed > WARM_UP_SECONDS:
            first = gateway.rss()
        if number % 20 == 0:
            print(f"{passed:.0f} s, {number} rounds, RSS {gateway.rss() / 1048576:.1f} MiB")
    assert gateway.rss() <= first + ALLOWED_GROWTH, f"from {first} to {gateway.rss()} in {number} rounds"
