"""The network between a page and a gateway, which can be cut, closed, or go silent."""

import contextlib
import select
import socket
import threading
import time


class Lines:
    """Passes connections on to a port. cut() ends those that are there; close() refuses new ones too, until
    open(); freeze() passes nothing more of those that are there, and lets them stand. blocks_upgrades:
    answers 403 to a WebSocket. slow: bytes a second that reach the page. `accepted` counts the connections
    since the last cut; lead_to() says where new ones go."""

    def __init__(self, port, blocks_upgrades=False, slow=None):
        self.blocks_upgrades, self.slow = blocks_upgrades, slow
        self.lead_to(port)
        self.accepted = 0
        self.lines = []  # (client, server), living
        self.frozen = set()
        self.is_open = True
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.is_open = False
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut()

    def lead_to(self, port):
        self.target = ("127.0.0.1", port)

    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def cut(self):
        self.accepted = 0
        for line in list(self.lines):
            for end in line:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.is_open = False
        self.cut()

    def open(self):
        self.is_open = True

    def freeze(self):
        self.frozen = set(self.lines)

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if not self.is_open:
                client.close()
                continue
            self.accepted += 1
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with client, contextlib.suppress(OSError), socket.create_connection(self.target) as server:
            line = (client, server)
            self.lines.append(line)
            try:
                self.relay(line)
            finally:
                self.lines.remove(line)

    def relay(self, line):
        client, server = line
        while True:
            for end in select.select([client, server], [], [])[0]:
                data = end.recv(4096 if self.slow else 65536)
                if not data:
                    return
                if self.blocks_upgrades and end is client and b"upgrade: websocket" in data.lower():
                    client.sendall(
                        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    )
                    return
                if line in self.frozen:
                    continue
                if self.slow and end is server:
                    time.sleep(len(data) / self.slow)
                (server if end is client else client).sendall(data)
