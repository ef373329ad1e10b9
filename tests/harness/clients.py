"""Right clients, on Python's `websockets`: a raw session, and one that speaks tidegate.v1.json."""

import json
import time

from websockets.sync.client import connect

from harness.gateway import USER_HEADER
from harness.wire import V1

# No compression but where a test wants it; and no limit on what waits unread, which would hold up a close.
PLAIN = {"compression": None, "max_queue": None}


def connect_raw(gateway, user=None, path="/v1/ws", **options):
    """A session without a subprotocol: payloads alone."""
    headers = {USER_HEADER: user} if user else {}
    return connect(gateway.ws_url(path), additional_headers=headers, **{**PLAIN, **options})


class V1Client:
    """A session that says hello; `welcome` is what it was told. Use it in a `with`."""

    def __init__(self, gateway, user=None, hello=None, headers=None, timeout=5, path="/v1/ws", **options):
        sent = {**({USER_HEADER: user} if user else {}), **(headers or {})}
        self.timeout = timeout * gateway.slowness
        self.socket = connect(
            gateway.ws_url(path),
            subprotocols=[V1],
            additional_headers=sent,
            legacy=True,
            **{**PLAIN, **options},
        )
        self.pending = []
        self.positions = {}
        self.send({"t": "hello", "v": 1, **(hello or {})})
        self.refused = []  # groups of the hello that it may not be in, told before the welcome
        while (answer := self.read("welcome", "err"))["t"] == "err":
            self.refused.append(answer)
        self.welcome = answer
        self.sid = self.welcome["sid"]
        self.positions.update(self.welcome.get("pos", {}))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, value):
        self.socket.send(json.dumps(value))

    def read_any(self, timeout=None):
        """The next object; raises TimeoutError when none comes, ConnectionClosed at the end."""
        if not self.pending:
            text = self.socket.recv(timeout=self.timeout if timeout is None else timeout)
            value = json.loads(text)
            self.pending += value if isinstance(value, list) else [value]
        value = self.pending.pop(0)
        if value["t"] in ("msg", "revoke") and "pos" in value:
            queue, position = value["pos"].split(":", 1)
            self.positions[queue] = position
        if value["t"] == "pos":
            self.positions.update(value["pos"])
        if value["t"] == "gap":
            self.take_gap(value)
        return value

    def take_gap(self, gap):
        """What is told live goes on behind it; another history may begin with it."""
        self.welcome["epoch"] = gap.get("epoch", self.welcome["epoch"])
        if gap["q"] != "*":
            self.positions[gap["q"]] = gap["to"]

    def read(self, *kinds, timeout=None):
        """The next object of these kinds; `pos` is skipped, anything else is a failure."""
        while (value := self.read_any(timeout))["t"] not in kinds:
            assert value["t"] == "pos", f"expected {kinds}, got {value}"
        return value

    def read_data(self, count=1, timeout=None):
        """The data of the next `count` messages."""
        return [self.read("msg", timeout=timeout)["data"] for _ in range(count)]

    def ask(self, value):
        """Sends an object with a `re` of its own and returns the ok or err that answers it."""
        number = time.monotonic_ns() % 1_000_000_007
        self.send({**value, "re": number})
        answer = self.read("ok", "err")
        assert answer["re"] == number, answer
        return answer

    def join(self, group):
        answer = self.ask({"t": "join", "g": group})
        assert answer["t"] == "ok", answer

    def assert_silent(self, seconds=0.3):
        """Nothing but positions comes for so long: for what must not happen, when nothing else shows it."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                value = self.read_any(timeout=left)
            except TimeoutError:
                return
            assert value["t"] == "pos", f"unexpected: {value}"

    def resume(self):
        """What the next connection says to get what it missed."""
        return {"resume": {"epoch": self.welcome["epoch"], "pos": dict(self.positions)}}
