"""Pushes by HTTP at a steady rate, each to another node; what got no 2xx is tried again with the same id."""

import asyncio
import json

ATTEMPT_SECONDS = 8
UNDER_WAY = 300  # pushes that wait for their outcome; over it no further one begins, as callers do
GIVE_UP_SECONDS = 20  # from the first attempt; then the push counts as unknown
IDLE_CONNECTIONS = 16  # kept for each node
SHARE_NEVER_RETRIED = 0.05  # whose outcome may stay unknown
SHARE_TO_GROUP, SHARE_TO_TWO = 0.05, 0.1
BROKEN = (OSError, EOFError, asyncio.IncompleteReadError, TimeoutError, ValueError)


def names(targets, kind):
    return [target[2:] for target in targets if target.startswith(kind)]


class Http:
    """A few kept connections to one address. Speaks just enough HTTP/1.1 for the gateway's API."""

    def __init__(self, port, key):
        self.port, self.idle = port, []
        self.head = (
            f"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()

    async def post(self, body):
        """(status, parsed answer); raises one of BROKEN when none came."""
        async with asyncio.timeout(ATTEMPT_SECONDS):
            reader, writer = await self.connect()
            try:
                writer.write(self.head + str(len(body)).encode() + b"\r\n\r\n" + body)
                answer = await self.read(reader)
            except BaseException:
                writer.transport.abort()
                raise
        if len(self.idle) < IDLE_CONNECTIONS:
            self.idle.append((reader, writer))
        else:
            writer.close()
        return answer

    async def connect(self):
        while self.idle:
            reader, writer = self.idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def read(self, reader):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
        status = int(head[0].split(" ", 2)[1])
        length = next(int(line.split(":")[1]) for line in head if line.startswith("content-length:"))
        return status, json.loads(await reader.readexactly(length))

    def close(self):
        for _, writer in self.idle:
            writer.close()


class Pushers:
    def __init__(self, history, cluster, users, groups, rate, chance):
        self.history, self.cluster, self.chance = history, cluster, chance
        self.users, self.groups, self.rate = users, groups, rate
        self.count = 0
        self.under_way = set()
        self.links = {}  # port → Http
        self.accepted = {}  # number → targets

    def link_to(self, node):
        if node.api_port not in self.links:
            self.links[node.api_port] = Http(node.api_port, node.api_key)
        return self.links[node.api_port]

    async def run(self, seconds):
        """At the rate, while those before get on. Returns when each has its outcome."""
        loop = asyncio.get_running_loop()
        began, due = loop.time(), 0
        while (passed := loop.time() - began) < seconds:
            while due < passed * self.rate:
                due += 1
                if len(self.under_way) < UNDER_WAY:
                    self.start(self.draw_targets())
            await asyncio.sleep(0.5 / self.rate)
        await self.finish()

    def start(self, targets):
        self.count += 1
        task = asyncio.create_task(self.push(self.count, targets))
        self.under_way.add(task)
        task.add_done_callback(self.under_way.discard)

    async def finish(self):
        if self.under_way:
            await asyncio.gather(*self.under_way)

    def close(self):
        for link in self.links.values():
            link.close()

    def draw_targets(self):
        drawn = self.chance.random()
        if drawn < SHARE_TO_GROUP:
            return [f"g:room:{self.chance.randrange(self.groups)}"]
        count = 2 if drawn < SHARE_TO_GROUP + SHARE_TO_TWO else 1
        return [f"u:u{user}" for user in self.chance.sample(range(self.users), count)]

    async def push(self, number, targets):
        history = self.history
        name = f"m{number}"
        to = {"users": names(targets, "u:"), "groups": names(targets, "g:")}
        body = json.dumps({"to": to, "id": name, "data": {"n": number}}).encode()
        history.note("push", n=number, id=name, targets=targets)
        retries = self.chance.random() >= SHARE_NEVER_RETRIED
        outcome = await self.try_until(number, body, GIVE_UP_SECONDS if retries else 0)
        if outcome == "accepted":
            self.accepted[number] = targets
        history.note("pushed", n=number, outcome=outcome)

    async def try_until(self, number, body, seconds):
        loop = asyncio.get_running_loop()
        deadline, attempt = loop.time() + seconds, 0
        while True:
            nodes = self.cluster.known_nodes()
            status = await self.attempt(number, self.chance.choice(nodes), body)
            if 200 <= status < 300:
                return "accepted"
            if 400 <= status < 500 and status != 429:
                return "refused"
            attempt += 1
            if loop.time() > deadline:
                return "unknown"
            await asyncio.sleep(self.chance.uniform(0.05, min(0.1 * 2**attempt, 1)))

    async def attempt(self, number, node, body):
        status, answer = 0, {}
        try:
            status, answer = await self.link_to(node).post(body)
        except BROKEN as error:
            answer = {"code": type(error).__name__}
        pos = answer.get("pos", [])
        self.history.note(
            "answer", n=number, node=node.name, status=status,
            pos=[pos] if isinstance(pos, str) else pos, code=answer.get("code"),
        )  # fmt: skip
        return status
