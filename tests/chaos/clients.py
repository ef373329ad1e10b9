"""A client that keeps the rules of docs/how-to/resume.md, and notes all that it sees.

Written on `websockets`, asyncio: hundreds of sessions in one thread. Every other one comes over an event
stream.
"""

import asyncio
import json
import random
from collections import OrderedDict

from harness.gateway import USER_HEADER
from harness.sse import encode_hello
from harness.wire import V1
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, WebSocketException

REMEMBERED_IDS = 2000
OPEN_SECONDS = 3  # for a handshake and a welcome each; a stopped node gives neither
SILENCE_SECONDS = 2.5  # without a pong a connection counts as dead
STREAM_SILENCE_SECONDS = 5  # without any event, a ping each 2 s among them
STABLE_SECONDS = 5  # a connection that lived so long starts the back-off over
LONGEST_WAIT = 2  # the rules allow 30 s, which is longer than a run
PLANNED = range(4200, 4300)
BROKEN = (OSError, WebSocketException, TimeoutError, EOFError)


class Line:
    """One connection, from its handshake to its end."""

    def __init__(self, session, node, number):
        self.session, self.node, self.number = session, node, number
        self.socket = None
        self.goaway = None  # seconds until its slot
        self.turned = asyncio.Event()  # it was sent away, or it ended
        self.ended = False
        self.code = 0
        self.reader = None

    async def open(self):
        """True when it is welcomed."""
        session = self.session
        try:
            self.socket = await connect(
                self.node.ws_url(),
                subprotocols=[V1],
                additional_headers={USER_HEADER: session.user},
                compression=None,
                open_timeout=OPEN_SECONDS,
                ping_interval=SILENCE_SECONDS,
                ping_timeout=SILENCE_SECONDS,
                close_timeout=1,
                max_queue=None,
                proxy=None,
            )
            await self.greet()
        except BROKEN as error:
            self.end(getattr(getattr(error, "rcvd", None), "code", 0), f"{self.node.name}: {error!r}"[:120])
            return False
        self.reader = asyncio.create_task(self.read())
        return True

    async def greet(self):
        hello = {"t": "hello", "v": 1, "groups": self.session.groups, **self.session.resume()}
        await self.socket.send(json.dumps(hello))
        async with asyncio.timeout(OPEN_SECONDS):
            frame = json.loads(await self.socket.recv())
            assert frame["t"] == "welcome", frame
        self.session.on_welcome(self, frame, "resume" in hello)

    async def read(self):
        try:
            while True:
                value = json.loads(await self.socket.recv())
                for frame in value if isinstance(value, list) else [value]:
                    self.session.on_frame(self, frame)
        except ConnectionClosed as closed:
            self.end(closed.rcvd.code if closed.rcvd else 1006)

    def end(self, code, why=""):
        if not self.ended:
            self.ended, self.code = True, code
            self.session.note("close", c=self.number, code=code, why=why)
            self.turned.set()
            self.abort()

    def abort(self):
        if self.socket:
            self.socket.transport.abort()

    async def close(self):
        """Closes it as a client that has another one does: what had been sent is still read."""
        await self.socket.close()
        await self.reader

    def drop(self):
        """What a lost network does."""
        if not self.ended:
            self.abort()


class Stream(Line):
    """The same over an event stream, resumed by the last id alone."""

    bytes = writer = last_id = None

    async def open(self):
        session, asked = self.session, self.session.last_id is not None
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await self.ask()
                frame = await self.next_frame()
        except (*BROKEN, ValueError) as error:
            self.end(0, f"{self.node.name}: {error!r}"[:120])
            return False
        session.on_welcome(self, frame, asked)
        session.last_id = self.last_id
        self.reader = asyncio.create_task(self.read())
        return True

    async def ask(self):
        session = self.session
        self.last_id = session.last_id
        hello = encode_hello({"groups": session.groups})
        head = [f"GET /v1/sse?hello={hello} HTTP/1.1", "Host: chaos", f"{USER_HEADER}: {session.user}"]
        head += [f"Last-Event-ID: {session.last_id}"] if session.last_id else []
        self.bytes, self.writer = await asyncio.open_connection("127.0.0.1", self.node.client_port)
        self.writer.write(("\r\n".join(head) + "\r\n\r\n").encode())
        answer = await self.bytes.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise OSError(answer[:40])

    async def next_frame(self):
        """Of the next event that has one. EOFError at the end; pings only show that it lives."""
        name, data = "", ""
        while True:
            async with asyncio.timeout(STREAM_SILENCE_SECONDS):
                line = (await self.bytes.readuntil(b"\n")).decode().rstrip("\n")
            field, _, value = line.partition(": ")
            if line == "" and data and name == "":
                return json.loads(data)
            if line == "" and name == "close":
                self.code = json.loads(data)["code"]
            if line == "":
                name, data = "", ""
            elif field == "event":
                name = value
            elif field == "data":
                data = value
            elif field == "id":
                self.last_id = value

    async def read(self):
        try:
            while True:
                frame = await self.next_frame()
                self.session.on_frame(self, frame)
                if self is self.session.line:
                    self.session.last_id = self.last_id
        except BROKEN as error:
            self.end(self.code or 1006, repr(error)[:60])

    def abort(self):
        if self.writer:
            self.writer.transport.abort()

    async def close(self):
        self.end(1000)
        await self.reader


class Session:
    kind = Line
    last_id = None  # of the event stream's last event

    def __init__(self, history, cluster, name, user, groups, start_at, chance):
        self.history, self.cluster = history, cluster
        self.name, self.user, self.groups = name, user, groups
        self.start_at = start_at  # the node of the first connection
        self.avoided = set()  # nodes that have failed it since the last welcome
        self.chance = chance
        self.line = None  # carries the session
        self.positions, self.epoch = {}, None
        self.seen = OrderedDict()  # ids shown lately
        self.shown = set()  # numbers
        self.has_gaps = False
        self.retry = {"base_ms": 500, "max_ms": 30000}
        self.lines = 0
        self.stopping = False
        self.targets = [f"u:{user}", *(f"g:{group}" for group in groups)]
        history.note("session", s=name, user=user, targets=self.targets)

    def note(self, kind, **fields):
        self.history.note(kind, s=self.name, **fields)

    # What comes

    def resume(self):
        if self.epoch is None:
            return {}
        return {"resume": {"epoch": self.epoch, "pos": dict(self.positions)}}

    def on_welcome(self, line, frame, asked):
        self.epoch, self.positions = frame["epoch"], dict(frame["pos"])
        self.retry = frame["retry"]
        self.line = line
        self.avoided.clear()
        self.note(
            "open", c=line.number, node=line.node.name, asked=asked,
            resumed=frame["resumed"], epoch=frame["epoch"], pos=frame["pos"],
        )  # fmt: skip

    def on_frame(self, line, frame):
        handler = getattr(self, "on_" + frame["t"], None)
        if handler:
            handler(line, frame)

    def on_msg(self, line, frame):
        shown = frame["id"] not in self.seen
        self.note(
            "msg", c=line.number, n=frame["data"]["n"], id=frame["id"], pos=frame["pos"], shown=shown
        )  # fmt: skip
        self.seen[frame["id"]] = True
        self.shown.add(frame["data"]["n"])
        if len(self.seen) > REMEMBERED_IDS:
            self.seen.popitem(last=False)
        queue, position = frame["pos"].split(":", 1)
        self.keep(line, {queue: position})

    def on_pos(self, line, frame):
        self.note("pos", c=line.number, pos=frame["pos"])
        if line is self.line and frame["epoch"] != self.epoch:
            self.epoch, self.positions = frame["epoch"], {}
        self.keep(line, frame["pos"])

    def keep(self, line, positions):
        """An old connection's late words don't turn the new one's positions back."""
        if line is self.line:
            self.positions.update(positions)

    def on_gap(self, line, frame):
        self.has_gaps = True
        self.epoch = frame.get("epoch", self.epoch)
        if frame["q"] != "*":
            self.keep(line, {frame["q"]: frame["to"]})
        fields = {key: frame[key] for key in ("q", "from", "to", "why", "epoch") if key in frame}
        self.note("gap", c=line.number, **fields)

    def on_goaway(self, line, frame):
        self.note("goaway", c=line.number)
        line.goaway = frame["slot_ms"] / 1000
        line.turned.set()

    # Coming and going

    async def live(self):
        """Connects, and again whenever it must, until stop()."""
        attempts, node = 0, self.start_at
        while not self.stopping:
            self.lines += 1
            line, old = self.kind(self, node, self.lines), self.line
            opened = asyncio.get_running_loop().time()
            if not await line.open():
                attempts += 1
                await self.back_off(attempts)
                node = self.another_node(node)
                continue
            if old and not old.ended:
                await old.close()
            await self.wait_for_turn(line)
            if asyncio.get_running_loop().time() - opened > STABLE_SECONDS:
                attempts = 0
            if line.ended and line.code not in PLANNED and not self.stopping:
                attempts += 1
                await self.back_off(attempts)
            node = self.another_node(node)

    async def wait_for_turn(self, line):
        """Until it has ended, or its slot of a goaway has come."""
        await line.turned.wait()
        if line.goaway is None or line.ended:
            return
        line.turned.clear()
        try:
            async with asyncio.timeout(line.goaway):
                await line.turned.wait()
        except TimeoutError:
            pass

    def another_node(self, node):
        """Any of those that one may know of, but not one that has failed since the last welcome, while there
        are others."""
        nodes = self.cluster.known_nodes()
        self.avoided.add(node)
        if self.avoided.issuperset(nodes):
            self.avoided = {node} if len(nodes) > 1 else set()
        return self.chance.choice([other for other in nodes if other not in self.avoided])

    async def back_off(self, attempts):
        longest = min(self.retry["max_ms"] / 1000, LONGEST_WAIT)
        wait = self.retry["base_ms"] / 1000 * 2 ** min(attempts - 1, 10)
        await asyncio.sleep(self.chance.uniform(0, min(wait, longest)))

    @property
    def is_connected(self):
        return self.line is not None and not self.line.ended

    def drop(self):
        if self.line:
            self.line.drop()

    async def stop(self):
        self.stopping = True
        if self.is_connected:
            await self.line.close()


def make_sessions(history, cluster, users, groups, chance):
    """Two sessions a user, on different nodes, in one of so many groups."""
    sessions = []
    nodes = cluster.known_nodes()
    for number in range(users):
        group = f"room:{number % groups}"
        for tab in range(2):
            start_at = nodes[(number + tab) % len(nodes)]
            seed = random.Random(chance.random())
            name, user = f"u{number}.{tab}", f"u{number}"
            session = Session(history, cluster, name, user, [group], start_at, seed)
            session.kind = (Line, Stream)[tab]
            sessions.append(session)
    return sessions
