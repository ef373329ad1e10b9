"""The bus `rocketmq` over TLS. What every engine must do is in the contract suite (tests/bus)."""

import pytest
from harness.gateway import wait_for

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(100)]

SECRETS = {"secrets": [{"id": "a", "secret": "0123456789abcdef0123456789abcdef"}]}
WAIT_S = 30


def test_servers_are_spoken_to_when_their_certificate_is_known_and_only_then(make_brokers, make_gateway):
    brokers = make_brokers("rocketmq", tls=True)
    trusting = {"bus": brokers.bus(tls=True, tls_ca=brokers.address("ca")), "cluster": SECRETS}
    message = {"to": {"users": ["u"]}, "data": 1}
    assert make_gateway(trusting).api("POST", "/v1/messages", message)[0] == 202
    doubtful = make_gateway({"bus": brokers.bus(tls=True), "cluster": SECRETS}, ready=False)

    def readyz():
        return doubtful.admin("GET", "/readyz")[2].decode()

    wait_for(lambda: "the server's certificate" in readyz(), WAIT_S, readyz)
    assert doubtful.api("POST", "/v1/messages", message)[0] == 503
