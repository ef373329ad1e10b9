"""Proxies as clients meet them in front of a gateway: they cut, hold back, and serve the page."""

import contextlib
import select
import socket
import socketserver
import threading
import time


class Proxy:
    """Passes connections on to a port, one request on each. `cut_after` seconds after its request it ends
    one, whatever passes; with `holds_back` no byte of an answer passes before its end. It answers `/` itself
    with `page`."""

    def __init__(self, port, cut_after=None, holds_back=False, page=None):
        self.target, self.cut_after, self.holds_back = ("127.0.0.1", port), cut_after, holds_back
        self.page = page
        self.requests = []  # the heads
        owner = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                with contextlib.suppress(OSError):
                    owner.serve(self.request)

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def url(self, path=""):
        return f"http://127.0.0.1:{self.port}{path}"

    def serve(self, client):
        head = b""
        while b"\r\n\r\n" not in head:
            piece = client.recv(65536)
            if not piece:
                return
            head += piece
        self.requests.append(head.decode(errors="replace"))
        if self.page and head.startswith(b"GET / "):
            body = self.page.encode()
            client.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            )
            return
        with socket.create_connection(self.target) as server:
            server.sendall(head)
            self.relay(client, server)

    def relay(self, client, server):
        held, ends = b"", time.monotonic() + (self.cut_after or 3600)
        while (left := ends - time.monotonic()) > 0:
            for sock in select.select([client, server], [], [], left)[0]:
                data = sock.recv(65536)
                if sock is client and data:
                    server.sendall(data)
                elif sock is client:
                    return
                elif not self.holds_back:
                    client.sendall(data)
                else:
                    held += data
                if sock is server and not data:
                    client.sendall(held)
                    return
