"""Clients of the event stream, on `httpx-sse`: raw ones, and ones that speak tidegate.v1.json."""

import base64
import contextlib
import json
import queue
import socket
import threading
import time

import httpx
from httpx_sse import EventSource

from harness.gateway import USER_HEADER


def encode_hello(hello):
    """The frame as ?hello= wants it."""
    text = json.dumps({"t": "hello", "v": 1, **hello}).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


class Stream:
    """One response of /v1/sse. Its events are read by a thread, so that a test can wait with a limit."""

    def __init__(
        self,
        url,
        user=None,
        params=None,
        headers=None,
        last_id=None,
        timeout=5,
        ready=True,
        read_timeout=30,
        verify=True,
    ):
        """ready: wait until the session has begun, so that what is pushed from here on reaches it."""
        sent = {**({USER_HEADER: user} if user else {}), **(headers or {})}
        if last_id:
            sent["Last-Event-ID"] = last_id
        self.user, self.sid = user, None
        self.timeout, self.verify = timeout, verify
        self.last_id = last_id
        self.events = queue.Queue()
        self.pending = []  # taken while waiting for the session's begin
        self.client = httpx.Client(timeout=httpx.Timeout(read_timeout), trust_env=False, verify=verify)
        request = self.client.build_request("GET", url, params=params, headers=sent)
        self.response = self.client.send(request, stream=True)
        self.status = self.response.status_code
        self.socket = self.response.extensions["network_stream"].get_extra_info("socket")
        self.thread = None
        if self.status == 200:
            self.thread = threading.Thread(target=self._read, daemon=True)
            self.thread.start()
            if ready:
                self._wait_for_first_id()
        else:
            self.response.read()

    def _read(self):
        with contextlib.suppress(httpx.HTTPError, httpx.StreamError, RuntimeError):
            for event in EventSource(self.response).iter_sse():
                self.events.put(event)
        self.events.put(None)

    def _wait_for_first_id(self):
        while (event := self._take(self.timeout)) and event.event != "close":
            self.pending.append(event)
            if event.id:
                return
        self.pending.append(event)

    def _take(self, timeout):
        """Whatever comes next; None at the end. Raises queue.Empty in time."""
        event = self.events.get(timeout=timeout)
        self.last_id = event.id or self.last_id if event else self.last_id
        return event

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.thread:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.thread.join()
        self.response.close()
        self.client.close()

    def next(self, timeout=None):
        """The next event that has data or a name, None at the end; raises queue.Empty in time."""
        while True:
            event = self.pending.pop(0) if self.pending else self._take(timeout or self.timeout)
            if event is None:
                return None
            if event.data or event.event not in ("", "message"):
                return event

    def payloads(self, count):
        """The data of the next messages of a raw session."""
        return [self._message().data for _ in range(count)]

    def _message(self):
        event = self.next()
        while event and event.event == "ping":
            event = self.next()
        assert event and event.event in ("message", "binary"), event
        return event

    def read(self, *kinds):
        """The next frame of these kinds; `pos` and pings are skipped, anything else is a failure."""
        while (frame := json.loads(self._message().data))["t"] not in kinds:
            assert frame["t"] == "pos", f"expected {kinds}, got {frame}"
        self.sid = frame.get("sid", self.sid)
        return frame

    def read_data(self, count):
        return [self.read("msg")["data"] for _ in range(count)]

    def end(self):
        """What the last event says, and that the response ends behind it."""
        event = self.next()
        while event and event.event == "ping":
            event = self.next()
        assert event and event.event == "close", event
        assert self.next() is None
        return json.loads(event.data)

    def ask(self, gateway, frame, **options):
        """Says a frame with a number of its own, and returns the ok or err that the stream answers with."""
        number = time.monotonic_ns() % 1_000_000_007
        assert self.say(gateway, {**frame, "re": number}, **options).status_code == 202
        answer = self.read("ok", "err")
        assert answer["re"] == number, answer
        return answer

    def say(self, gateway, frames, user=None, sid=None, headers=None, params=None):
        """POST /v1/up to any node; `user` is this stream's where it is not named."""
        user = self.user if user is None else user
        sent = {
            **({USER_HEADER: user} if user else {}),
            "Tidegate-Session": sid or self.sid,
            **(headers or {}),
        }
        body = frames if isinstance(frames, bytes) else json.dumps(frames).encode()
        return httpx.post(
            self.base_of(gateway) + "/v1/up",
            content=body,
            params=params,
            headers=sent,
            timeout=10,
            trust_env=False,
            verify=self.verify,
        )

    def base_of(self, gateway):
        return (
            gateway.http_url("")
            if str(self.response.url).startswith("http:")
            else f"https://localhost:{gateway.client_port}"
        )


def open_stream(gateway, user=None, hello=None, base=None, **options):
    """A session of the gateway; with a hello (perhaps {}) one of tidegate.v1.json. base: of a proxy's URL."""
    params = dict(options.pop("params", {}))
    if hello is not None:
        params["hello"] = encode_hello(hello)
    timeout = options.pop("timeout", 5) * gateway.slowness
    return Stream((base or gateway.http_url("")) + "/v1/sse", user, params, timeout=timeout, **options)
