"""Bytes on a socket, as right or as wrong as a test wants them: HTTP requests and WebSocket frames."""

import base64
import contextlib
import os
import socket
import struct
import time
from dataclasses import dataclass, field

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
FIN, RSV1, RSV2, RSV3 = 0x80, 0x40, 0x20, 0x10
WS_KEY = base64.b64encode(bytes(range(16))).decode()
V1 = "tidegate.v1.json"


@dataclass
class Response:
    status: int
    reason: str
    headers: list = field(default_factory=list)
    body: bytes = b""

    def header(self, name):
        """The value of a header, or None; several lines joined by a comma."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None


@dataclass
class Frame:
    fin: bool
    rsv: int
    opcode: int
    payload: bytes

    @property
    def close_code(self):
        assert self.opcode == CLOSE, self
        return struct.unpack(">H", self.payload[:2])[0] if self.payload else None


class Closed(Exception):
    """The peer ended the connection; .data has what came before."""

    def __init__(self, data=b""):
        super().__init__(f"closed by the peer after {data[:200]!r}")
        self.data = data


def frame(opcode, payload=b"", *, fin=True, rsv=0, mask=b"\x11\x22\x33\x44", length=None, form=None):
    """One frame. length: what it claims instead of the truth; form: 7, 16 or 64 bits for the length;
    mask=None leaves it unmasked."""
    claimed = len(payload) if length is None else length
    form = form or (7 if claimed < 126 else 16 if claimed < 65536 else 64)
    first = (FIN if fin else 0) | rsv | opcode
    bit = 0x80 if mask else 0
    if form == 7:
        head = struct.pack(">BB", first, bit | claimed)
    elif form == 16:
        head = struct.pack(">BBH", first, bit | 126, claimed)
    else:
        head = struct.pack(">BBQ", first, bit | 127, claimed)
    if not mask:
        return head + payload
    return head + mask + xor(payload, mask)


def xor(payload, mask):
    repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
    number = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return number.to_bytes(len(payload), "big")


def upgrade_request(path="/v1/ws", headers=(), drop=(), host="127.0.0.1"):
    """A right opening handshake, with header lines added, and with those named in drop left out."""
    lines = [
        ("Host", host),
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", WS_KEY),
    ]
    lines = [(name, value) for name, value in lines if name not in drop] + list(headers)
    text = f"GET {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines) + "\r\n"
    return text.encode("latin-1")


class Wire:
    """A TCP connection that reads with a deadline. Use it in a `with`."""

    def __init__(self, port, timeout=10, receive_buffer=None):
        self.timeout = timeout
        self.buffer = b""
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Ends the connection with an RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, data):
        """Sends all of it. A peer that has gone is no error here: what it said first is read later."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)

    def send_slowly(self, data, step=1, pause=0.0):
        for start in range(0, len(data), step):
            self.send(data[start : start + step])
            if pause:
                time.sleep(pause)

    def _more(self):
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Closed(self.buffer)
        self.buffer += data

    def read_exactly(self, count):
        while len(self.buffer) < count:
            self._more()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def read_until(self, mark):
        while mark not in self.buffer:
            self._more()
        data, self.buffer = self.buffer.split(mark, 1)
        return data + mark

    def read_to_end(self):
        """Everything until the peer closes. Times out when it doesn't."""
        try:
            while True:
                self._more()
        except Closed as closed:
            self.buffer = b""
            return closed.data

    def assert_closed(self):
        """The peer must close, and say nothing more."""
        rest = self.read_to_end()
        assert rest == b"", f"more came before the end: {rest[:300]!r}"

    # HTTP

    def read_response(self, to_head=False):
        head = self.read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status, reason = (head[0] + " ").split(" ", 2)
        assert version == "HTTP/1.1", head[0]
        headers = [(k, v.strip()) for k, v in (line.split(":", 1) for line in head[1:] if line)]
        response = Response(int(status), reason.strip(), headers)
        if response.status not in (101, 100, 204, 304) and not to_head:
            response.body = self._read_body(response)
        return response

    def _read_body(self, response):
        if (response.header("Transfer-Encoding") or "").lower() == "chunked":
            body = b""
            while size := int(self.read_until(b"\r\n").split(b";")[0], 16):
                body += self.read_exactly(size)
                self.read_exactly(2)
            self.read_until(b"\r\n")
            return body
        return self.read_exactly(int(response.header("Content-Length") or 0))

    def request(self, data):
        """Sends a whole request as it is and reads the answer."""
        self.send(data)
        return self.read_response()

    # WebSocket

    def upgrade(self, path="/v1/ws", headers=(), **options):
        response = self.request(upgrade_request(path, headers, **options))
        assert response.status == 101, response
        return response

    def send_frame(self, opcode, payload=b"", **options):
        self.send(frame(opcode, payload, **options))

    def read_frame(self):
        first, second = self.read_exactly(2)
        assert not second & 0x80, "a server must not mask"
        length = second & 0x7F
        if length == 126:
            length = struct.unpack(">H", self.read_exactly(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", self.read_exactly(8))[0]
        return Frame(bool(first & FIN), first & 0x70, first & 0x0F, self.read_exactly(length))

    def read_close(self):
        """Reads frames up to the close frame, answers it, and waits for the end of the connection.
        Returns the close frame."""
        while (got := self.read_frame()).opcode != CLOSE:
            pass
        self.send_frame(CLOSE, got.payload[:2])
        self.assert_closed()
        return got

    def expect_close(self, *codes):
        got = self.read_close()
        assert got.close_code in codes, f"closed with {got.close_code} {got.payload[2:]!r}, not {codes}"
        return got

    def is_alive(self):
        """A ping gets its pong; other frames in between are skipped."""
        token = os.urandom(4)
        self.send_frame(PING, token)
        while True:
            got = self.read_frame()
            if got.opcode == PONG and got.payload == token:
                return True
            assert got.opcode != CLOSE, f"closed with {got.close_code}"


class TlsWire(Wire):
    """The same over TLS. name: the host that is asked for, and looked for in the certificate."""

    def __init__(self, port, context, name="localhost", **options):
        super().__init__(port, **options)
        try:
            self.socket = context.wrap_socket(self.socket, server_hostname=name)
        except BaseException:
            self.socket.close()
            raise


def get(path="/", headers=(), host="127.0.0.1", method="GET", body=b""):
    """A plain request."""
    lines = [f"{method} {path} HTTP/1.1"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body
