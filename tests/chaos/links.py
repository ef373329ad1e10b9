"""The links between nodes and servers: a proxy, in a process of its own, that can cut those of one node.

Servers listen on 127.0.0.2 (`tools/broker --apart`), and clients are sent to the same port of 127.0.0.1.
Whose connection one is, its socket tells: the process at its other end.

A cut link is a network that carries nothing, in one direction or both: what was sent waits, as TCP waits for
its acknowledgements, and arrives when the link is healed, unless the healing resets the connections, as
peers do that gave up meanwhile.

The process (`python links.py`) reads orders from stdin, one JSON object a line, and answers `done` to each.
"""

import asyncio
import contextlib
import glob
import json
import os
import re
import socket
import struct
import subprocess
import sys

ANNOUNCED, APART = "127.0.0.1", "127.0.0.2"
CHUNK = 65536
UP, DOWN = "up", "down"  # towards the server, towards the node


class Links:
    """What a test holds: the proxies of some ports."""

    def __init__(self, ports):
        self.ports = ports
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._order(ports=ports)

    def name(self, node, pid):
        """Connections of this process are the node's."""
        self._order(name=node, pid=pid)

    def cut(self, node, directions=(UP, DOWN), port=None):
        """Its links to all servers, or to the one of this port."""
        self._order(cut=node, directions=directions, ports_cut=[port] if port else self.ports)

    def heal(self, node, reset=False):
        self._order(heal=node, reset=reset)

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    def _order(self, **order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer == "done\n", f"the proxy of the links said {answer!r}"


def socket_owner(port, peer_port, pids):
    """Which of the processes holds the connection from port to peer_port; None when none does."""
    inode = socket_inode(port, peer_port)
    for pid in pids:
        for path in glob.glob(f"/proc/{pid}/fd/*"):
            with contextlib.suppress(OSError):
                if os.readlink(path) == f"socket:[{inode}]":
                    return pid
    return None


def socket_inode(port, peer_port):
    pattern = re.compile(rf"^ *\d+: 0100007F:{port:04X} 0100007F:{peer_port:04X} ", re.MULTILINE)
    with open("/proc/net/tcp") as file:
        table = file.read()
    match = pattern.search(table)
    return table[match.start() :].split("\n", 1)[0].split()[9] if match else None


def reset_connection(writer):
    """Ends it with an RST, not with an orderly end; one that has ended already stays as it is."""
    if writer.transport.is_closing():
        writer.transport.abort()
        return
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Gates:
    """Of one node's links to one server: open, or shut in a direction."""

    def __init__(self):
        self.open = {UP: asyncio.Event(), DOWN: asyncio.Event()}
        for event in self.open.values():
            event.set()
        self.writers = set()

    def are_open(self):
        return all(event.is_set() for event in self.open.values())


class Proxy:
    def __init__(self):
        self.gates = {}  # node, port → Gates
        self.nodes = {}  # pid → node

    def gates_of(self, node, port):
        return self.gates.setdefault((node, port), Gates())

    async def obey(self, order):
        if "ports" in order:
            for port in order["ports"]:
                await asyncio.start_server(
                    lambda reader, writer, port=port: self.serve(reader, writer, port), ANNOUNCED, port
                )
        elif "name" in order:
            self.nodes[order["pid"]] = order["name"]
        elif "cut" in order:
            for port in order["ports_cut"]:
                for direction in order["directions"]:
                    self.gates_of(order["cut"], port).open[direction].clear()
        else:
            for (node, _), gates in self.gates.items():
                if node == order["heal"] and not gates.are_open():
                    self.heal(gates, order["reset"])

    def heal(self, gates, reset):
        if reset:
            for writer in gates.writers:
                reset_connection(writer)
        for event in gates.open.values():
            event.set()

    async def serve(self, reader, writer, port):
        gates = await self.find_gates(writer, port)
        gates.writers.add(writer)
        try:
            # A cut network carries no handshake either. This one has happened: silence is as near as it gets.
            await gates.open[UP].wait()
            await gates.open[DOWN].wait()
            far_reader, far_writer = await asyncio.open_connection(APART, port)
        except OSError:
            gates.writers.discard(writer)
            reset_connection(writer)
            return
        gates.writers.add(far_writer)
        await asyncio.gather(
            self.pump(reader, far_writer, gates, UP), self.pump(far_reader, writer, gates, DOWN)
        )
        gates.writers -= {writer, far_writer}

    async def find_gates(self, writer, port):
        """A process is named right after it was started; it may have connected before that."""
        peer_port = writer.get_extra_info("peername")[1]
        for _ in range(100):
            pid = socket_owner(peer_port, port, list(self.nodes))
            if pid:
                return self.gates_of(self.nodes[pid], port)
            await asyncio.sleep(0.01)
        return Gates()

    async def pump(self, reader, writer, gates, direction):
        try:
            while data := await reader.read(CHUNK):
                await gates.open[direction].wait()
                writer.write(data)
                await writer.drain()
            await gates.open[direction].wait()
            writer.close()
        except OSError:
            reset_connection(writer)


async def main():
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    proxy = Proxy()
    while line := await lines.readline():
        await proxy.obey(json.loads(line))
        print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
