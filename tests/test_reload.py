"""A new configuration on SIGHUP, while other things happen."""

import contextlib
import http.client
import json
import signal
import threading

from harness.clients import connect_raw
from harness.gateway import wait_for

BUSY = {"messages": [{"to": {"users": ["u"] * 1000}, "data": 1}] * 200}


def push_much(gateway, connection):
    """Keeps a worker busy for a while; the gateway may be gone before it answers."""
    headers = {"Authorization": f"Bearer {gateway.api_key}", "Content-Type": "application/json"}
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("POST", "/v1/messages:batch", body=json.dumps(BUSY), headers=headers)
        connection.getresponse().read()


def test_a_reload_that_is_not_done_at_the_end_is_no_trouble(make_gateway):
    gateway = make_gateway({"workers": 1, "drain": {"window": "100ms"}})
    sessions = [connect_raw(gateway, "u", legacy=True) for _ in range(200)]
    connection = http.client.HTTPConnection("127.0.0.1", gateway.api_port, timeout=60)
    caller = threading.Thread(target=push_much, args=(gateway, connection))
    idle = gateway.cpu_seconds()
    caller.start()
    wait_for(lambda: gateway.cpu_seconds() > idle + 0.01, 20, "the load")
    gateway.process.send_signal(signal.SIGHUP)
    for _ in range(3):
        assert gateway.is_ready()  # the main thread goes on, and hands the reload to the worker
    gateway.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "drain.started" in gateway.stderr(), 20, "the drain")
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(60) == 0
    caller.join()
    for session in sessions:
        session.close()


def test_what_only_a_restart_can_change_is_refused_by_name(make_gateway):
    gateway = make_gateway()
    text = gateway.config_path.read_text()
    gateway.config_path.write_text(text + "compression: {level: 9}\n")
    gateway.process.send_signal(signal.SIGHUP)
    gateway.wait_for_line("reload.refused", "compression.level")
