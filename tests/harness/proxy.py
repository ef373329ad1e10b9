"""A link that fails when a test says so: a proxy in front of a server, in a thread of its own.

    with Proxy(("127.0.0.1", 6379)) as proxy:
        connect(proxy.port)
        proxy.drop(to_client=False)  # an asymmetric partition
        proxy.heal()

Bytes in front of a fault are held, not lost: behind a broken network TCP would send them again. Every verb
has taken effect when it returns.
"""

import asyncio
import contextlib
import socket
import struct
import threading

UP, DOWN, SERVER = "to the server", "to the client", "new connections to the server"
RESETS, ENDS_IN_ORDER = struct.pack("ii", 1, 0), struct.pack("ii", 0, 0)  # SO_LINGER
CHUNK = 65536
HELD = 64  # chunks that wait in a lane; then its source is not read, and TCP holds it up


class Proxy:
    def __init__(self, server, host="127.0.0.1", port=0):
        """server: (host, port), both ends IPv4. port 0: a free one, see .port."""
        self.server, self.host, self.port = server, host, port
        self.accepted = 0  # connections ever
        self._delay = 0.0
        self._connections = set()  # tasks
        self._listening = None
        self._loop = asyncio.new_event_loop()
        self._carries = {UP: asyncio.Event(), DOWN: asyncio.Event(), SERVER: asyncio.Event()}
        for event in self._carries.values():
            event.set()
        self._listen()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def refuse(self):
        """Nobody listens; connections that stand are left alone."""
        self._run(self._stop_listening)

    def silence(self):
        """New connections are accepted and hear nothing until it heals; those that stand are left alone."""
        self._run(self._carries[SERVER].clear)

    def drop(self, to_server=True, to_client=True):
        """Nothing is carried in the directions given, on all connections; the other one is open again."""
        self._run(self._drop, to_server, to_client)

    def reset(self):
        """All connections end with an RST, now."""
        self._run(self._reset_all)

    def delay(self, ms):
        """What comes from now on arrives so much later, in order, both ways."""
        self._run(setattr, self, "_delay", ms / 1000)

    def heal(self):
        """All is carried again, without delay, what was held first. OSError: the port can't be had again."""
        self._run(self._heal)

    def close(self):
        """Connections end with an RST."""
        self._run(self._stop_listening)
        self._run(self._reset_all)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, function, *arguments):
        async def call():
            result = function(*arguments)
            if asyncio.iscoroutine(result):
                await result

        asyncio.run_coroutine_threadsafe(call(), self._loop).result(10)

    # On the thread of the loop from here on.

    def _listen(self):
        if self._listening is None:
            listening = socket.create_server((self.host, self.port), backlog=512)
            listening.setblocking(False)
            self.port = listening.getsockname()[1]
            self._listening = listening
            self._loop.add_reader(listening, self._accept_all)

    def _stop_listening(self):
        if self._listening is not None:
            self._accept_all()
            self._loop.remove_reader(self._listening)
            self._listening.close()
            self._listening = None

    def _drop(self, to_server, to_client):
        for lane, dropped in ((UP, to_server), (DOWN, to_client)):
            (self._carries[lane].clear if dropped else self._carries[lane].set)()

    def _heal(self):
        self._listen()
        self._delay = 0.0
        self._carries[SERVER].set()
        self._drop(False, False)

    async def _reset_all(self):
        if self._listening is not None:
            self._accept_all()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept_all(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                near, _ = self._listening.accept()
                self.accepted += 1
                prepare(near)
                connection = self._loop.create_task(self._serve(near))
                self._connections.add(connection)
                connection.add_done_callback(self._connections.discard)
                # Here, because a task that is canceled before its first step runs none of its own code.
                connection.add_done_callback(lambda _, near=near: near.close())

    async def _serve(self, near):
        with socket.socket() as far, contextlib.suppress(OSError):
            prepare(far)
            await self._carries[SERVER].wait()
            await self._loop.sock_connect(far, self.server)
            await self._carry_both(near, far)

    async def _carry_both(self, near, far):
        held = {UP: asyncio.Queue(HELD), DOWN: asyncio.Queue(HELD)}
        halves = [
            self._take(near, held[UP]),
            self._give(held[UP], far, UP),
            self._take(far, held[DOWN]),
            self._give(held[DOWN], near, DOWN),
        ]
        tasks = [self._loop.create_task(half) for half in halves]
        try:
            await asyncio.gather(*tasks)
            for each in (near, far):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ENDS_IN_ORDER)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, source, held):
        """An end waits in line as bytes do: "" is an orderly one, None a reset."""
        data = True
        while data:
            try:
                data = await self._loop.sock_recv(source, CHUNK)
            except OSError:
                data = None
            await held.put((self._loop.time() + self._delay, data))

    async def _give(self, held, to, lane):
        data = True
        while data:
            due, data = await held.get()
            await asyncio.sleep(max(0, due - self._loop.time()))
            await self._carries[lane].wait()
            if data is None:
                raise ConnectionResetError
            await self._loop.sock_sendall(to, data)
        to.shutdown(socket.SHUT_WR)


def prepare(end):
    """Whatever ends a connection early, ends it with an RST on both sides."""
    end.setblocking(False)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESETS)
