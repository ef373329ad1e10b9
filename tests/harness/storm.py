"""Many clients that connect at once, and again: non-blocking sockets in one thread, which thousands need.

`patient` ones keep the rules of docs/how-to/resume.md: a wait that is drawn, growing, and at least as long as
Retry-After says. `hostile` ones come back at once, whatever they are told, and leave when they are let in.
"""

import heapq
import random
import re
import selectors
import socket
import struct
import time
from collections import Counter

from harness.gateway import USER_HEADER
from harness.wire import TEXT, V1, frame, upgrade_request

BASE = re.compile(rb'"base_ms":(\d+)')
RETRY_AFTER = re.compile(rb"retry-after: (\d+)", re.IGNORECASE)
HELLO = frame(TEXT, b'{"t":"hello","v":1}')
LONGEST_WAIT = 30


class Client:
    def __init__(self, number):
        self.request = upgrade_request(
            "/v1/ws", [("Sec-WebSocket-Protocol", V1), (USER_HEADER, f"s{number}")]
        )
        self.socket = None
        self.buffer = b""
        self.attempts = 0
        self.base = 0.5  # seconds; then as welcome says
        self.is_in = False


class Storm:
    def __init__(self, gateway, count, hostile=False, seed=13):
        self.address = ("127.0.0.1", gateway.client_port)
        self.hostile = hostile
        self.chance = random.Random(seed)
        self.selector = selectors.DefaultSelector()
        self.clients = [Client(number) for number in range(count)]
        self.answers = []  # (when, status), 0: no answer
        self.due = []  # (when, number)
        self.ready = 0  # clients that are in
        for number in range(count):
            self.plan(number, 0)

    # Coming

    def plan(self, number, wait):
        heapq.heappush(self.due, (time.monotonic() + wait, number))

    def connect(self, number):
        client = self.clients[number]
        client.buffer = b""
        client.socket = socket.socket()
        client.socket.setblocking(False)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.socket.connect_ex(self.address)
        self.selector.register(client.socket, selectors.EVENT_WRITE, number)

    def leave(self, client):
        """With a reset, so that no port is kept for it."""
        self.selector.unregister(client.socket)
        client.socket.close()
        self.ready -= client.is_in
        client.is_in = False

    def on_event(self, number, events):
        client = self.clients[number]
        try:
            if events & selectors.EVENT_WRITE:
                client.socket.sendall(client.request + HELLO)
                self.selector.modify(client.socket, selectors.EVENT_READ, number)
            else:
                data = client.socket.recv(4096)
                client.buffer += data
                self.on_data(number, client, not data)
        except OSError:
            self.on_answer(number, client, 0)

    def on_data(self, number, client, is_over):
        end = client.buffer.find(b"\r\n\r\n")
        status = int(client.buffer[9:12]) if end > 0 else 0
        base = BASE.search(client.buffer, end) if status == 101 else None
        if client.is_in:
            client.buffer = b""
            if is_over:
                self.on_answer(number, client, 0)
        elif base:
            client.base = int(base.group(1)) / 1000
            self.on_answer(number, client, status)
        elif is_over or (status and status != 101):
            self.on_answer(number, client, status)

    def on_answer(self, number, client, status):
        self.answers.append((time.monotonic(), status))
        if status == 101 and not self.hostile:
            client.is_in, client.attempts = True, 0
            self.ready += 1
            return
        told = RETRY_AFTER.search(client.buffer)
        client.attempts += 1
        self.leave(client)
        self.plan(number, 0 if self.hostile else self.patience(client, told))

    def patience(self, client, told):
        longest = min(client.base * 2 ** max(client.attempts - 1, 0), LONGEST_WAIT)
        return (int(told.group(1)) if told else 0) + self.chance.uniform(0, longest)

    # Time

    def turn(self):
        now = time.monotonic()
        while self.due and self.due[0][0] <= now:
            self.connect(heapq.heappop(self.due)[1])
        wait = max(self.due[0][0] - now, 0) if self.due else 0.05
        for key, events in self.selector.select(min(wait, 0.05)):
            self.on_event(key.data, events)

    def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.turn()

    def run_until_all_are_in(self, seconds):
        """Returns the seconds that it took."""
        start = time.monotonic()
        while self.ready < len(self.clients):
            self.turn()
            took = time.monotonic() - start
            assert took < seconds, (
                f"{self.ready} of {len(self.clients)} are in after {seconds} s: {self.counts()}"
            )
        return time.monotonic() - start

    def drop(self):
        """All connections break at one time, as when their node dies, and all want back in."""
        self.answers.clear()
        for number, client in enumerate(self.clients):
            self.leave(client)
            self.plan(number, self.patience(client, None))

    def close(self):
        for client in self.clients:
            if client.socket and client.socket.fileno() >= 0:
                client.socket.close()
        self.selector.close()

    # What came of it

    def counts(self):
        return Counter(status for _, status in self.answers)

    def most_in_a_second(self, status=101):
        """Answers of this status in the fullest second."""
        times = [when for when, has in self.answers if has == status]
        most = begin = 0
        for end, when in enumerate(times):
            while times[begin] < when - 1:
                begin += 1
            most = max(most, end - begin + 1)
        return most
