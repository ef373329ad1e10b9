"""What the gateway holds for callers is in its accounts, and gone when they are answered."""

import json
import threading

from harness.gateway import USER_HEADER, wait_for
from harness.wire import Wire, upgrade_request

LARGE = "x" * 60_000


def held(gateway, owner):
    return gateway.metrics().get("tidegate_memory_bytes", owner=owner)


def test_a_push_that_waits_holds_no_event_and_is_accounted(gateway):
    with Wire(gateway.client_port, receive_buffer=4096) as wire:
        assert wire.request(upgrade_request("/v1/ws", [(USER_HEADER, "deaf")])).status == 101
        for _ in range(300):  # until the socket is full
            gateway.push({"users": ["deaf"]}, LARGE, wait="routed")
            if held(gateway, "queues") > len(LARGE):
                break
        before = held(gateway, "bus")
        waiting = threading.Thread(
            target=gateway.push,
            args=({"users": ["deaf"]}, LARGE),
            kwargs={"wait": "written", "wait_ms": 5000},
        )
        waiting.start()
        wait_for(lambda: held(gateway, "bus") > before, 5, "the account of the push")
        wait_for(lambda: before < held(gateway, "bus") < before + len(LARGE), 5, "its event is gone")
        wire.reset()  # nobody is waited for any more
        waiting.join()
        assert held(gateway, "bus") == before


def test_batches_and_questions_leave_nothing_behind(gateway):
    before = held(gateway, "bus"), held(gateway, "http")
    messages = [{"to": {"users": ["nobody"]}, "data": LARGE[:100]}] * 500
    status, _, answer = gateway.api("POST", "/v1/messages:batch", {"messages": messages})
    assert (status, len(answer["results"])) == (200, 500), json.dumps(answer)[:200]
    assert gateway.api("GET", "/v1/groups/room:nobody")[0] == 200
    wait_for(lambda: (held(gateway, "bus"), held(gateway, "http")) == before, 5, "all is given back")
