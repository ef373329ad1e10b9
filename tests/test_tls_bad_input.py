"""Bad input to a listener that speaks TLS: A17 and R11. A bystander's session goes over TLS, too."""

import contextlib
import hmac
import itertools
import select
import socket
import ssl
import struct
import subprocess
import time
import warnings

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from harness.certificates import Authority
from harness.gateway import wait_for
from harness.harmless import check_harmless
from harness.wire import TlsWire, Wire, get

HALF_OPEN = 2000


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def make_tls_gateway(make_gateway, authority):
    def make(changes=None):
        gateway = make_gateway(
            {"tls": {"client": {"certificates": [authority.sign("server").files]}}, **(changes or {})}
        )
        gateway.tls_ca = authority.file
        return gateway

    return make


def client_hello(context=None):
    """The first bytes of an honest client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = context or ssl.create_default_context()
    session = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


def old_context(version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1], ids=lambda v: v.name)
def test_a17_an_old_version_is_refused(make_tls_gateway, version):
    gateway = make_tls_gateway()

    def attack():
        with pytest.raises(ssl.SSLError):
            TlsWire(gateway.client_port, old_context(version))

    check_harmless(gateway, attack, reason="tls_version")


@pytest.mark.parametrize(
    "suites", ["ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "AECDH-AES256-SHA"]
)
def test_a17_a_weak_suite_is_refused(make_tls_gateway, suites):
    gateway = make_tls_gateway()
    context = old_context(ssl.TLSVersion.TLSv1_2)
    context.set_ciphers(suites + ":@SECLEVEL=0")

    def attack():
        with pytest.raises(ssl.SSLError):
            TlsWire(gateway.client_port, context)

    check_harmless(gateway, attack, reason="tls_cipher")


@contextlib.contextmanager
def s_client(gateway, *options, say):
    """OpenSSL's own client with commands on its stdin, one a line: R renegotiates, k updates keys."""
    address = f"127.0.0.1:{gateway.client_port}"
    command = ["openssl", "s_client", "-connect", address, *options]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
    )
    try:
        with contextlib.suppress(BrokenPipeError):
            for line in say:  # a command is what it reads at once
                process.stdin.write(line)
                time.sleep(0.002)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a17_renegotiation_is_refused(make_tls_gateway):
    gateway = make_tls_gateway()

    def attack():
        with s_client(gateway, "-tls1_2", say=[b"R\n"]) as process:
            text = process.stdout.read().decode(errors="replace")
            assert "RENEGOTIATING" in text
            assert "no renegotiation" in text

    check_harmless(gateway, attack)


class Renegotiator:
    """A client of TLS 1.2 that asks for another handshake as often as it likes, which no honest library does:
    behind the first handshake it writes its own records."""

    def __init__(self, wire, authority, keylog):
        self.wire, self.sequence = wire, 1  # the handshake's Finished was record 0
        context = authority.trust(ssl.TLSVersion.TLSv1_2)
        context.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        context.keylog_filename = str(keylog)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        received = self.shake_hands(session)
        server_random = received[11:43]  # record, handshake and version come before it
        client_random, secret = keylog.read_text().split("CLIENT_RANDOM ")[1].split()[:2]
        block = key_block(bytes.fromhex(secret), server_random + bytes.fromhex(client_random))
        self.cipher, self.salt = AESGCM(block[:16]), block[32:36]

    def shake_hands(self, session):
        received = b""
        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                hello = self.outgoing.read()
                self.hello = getattr(self, "hello", hello[5:])
                self.wire.send(hello)
                data = self.wire.socket.recv(65536)
                received += data
                self.incoming.write(data)
        self.wire.send(self.outgoing.read())
        return received

    def ask(self):
        number = struct.pack(">Q", self.sequence)
        header = struct.pack(">BHH", 22, 0x303, len(self.hello))
        sealed = self.cipher.encrypt(self.salt + number, self.hello, number + header)
        self.wire.send(struct.pack(">BHH", 22, 0x303, 8 + len(sealed)) + number + sealed)
        self.sequence += 1


def key_block(secret, randoms):
    """RFC 5246 5 and 6.3, with SHA-256: 40 bytes."""
    seed = a = b"key expansion" + randoms
    block = b""
    while len(block) < 40:
        a = hmac.digest(secret, a, "sha256")
        block += hmac.digest(secret, a + seed, "sha256")
    return block[:40]


def test_a17_a_flood_of_renegotiation_ends_the_connection(make_tls_gateway, authority, tmp_path):
    gateway = make_tls_gateway()
    rounds = itertools.count()

    def attack():
        with Wire(gateway.client_port) as wire:
            client = Renegotiator(wire, authority, tmp_path / f"keys{next(rounds)}")
            for _ in range(200):
                client.ask()
            assert not wire_has_ended(wire)
            for _ in range(200):
                client.ask()
            wire.read_to_end()

    check_harmless(gateway, attack, reason="tls_renegotiation")


def wire_has_ended(wire):
    """Refusals come as warnings, a record each."""
    return wire.socket.recv(65536) == b""


def refused(gateway):
    return gateway.metrics().get("tidegate_http_refused_total", reason="tls_renegotiation")


def test_a17_a_flood_of_key_updates_ends_the_connection(make_tls_gateway):
    gateway = make_tls_gateway()

    def attack():
        before = refused(gateway)
        with s_client(gateway, "-tls1_3", say=[b"k\n"] * 600):
            wait_for(lambda: refused(gateway) > before, 10, "the refusal")

    check_harmless(gateway, attack, reason="tls_renegotiation")


@pytest.mark.parametrize("missing", [1, 0], ids=["half_a_hello", "a_hello_and_no_more"])
def test_a17_half_handshakes_end_at_their_deadline(make_tls_gateway, missing):
    gateway = make_tls_gateway({"limits": {"header_timeout": "3s"}})
    hello = client_hello()

    def attack():
        with contextlib.ExitStack() as stack:
            wires = [stack.enter_context(Wire(gateway.client_port)) for _ in range(HALF_OPEN)]
            for wire in wires:
                with contextlib.suppress(OSError):  # on a busy machine the first may be over already
                    wire.send(hello[: len(hello) - missing])
            for wire in wires:
                wire.read_to_end()

    check_harmless(gateway, attack, reason="tls_timeout", settle=15)


def test_a17_one_byte_a_time_has_the_same_deadline(make_tls_gateway):
    gateway = make_tls_gateway({"limits": {"header_timeout": "1s"}})
    hello = client_hello()

    def attack():
        with Wire(gateway.client_port) as wire:
            start = time.monotonic()
            for byte in hello:
                wire.send(bytes([byte]))
                if select.select([wire.socket], [], [], 0.05)[0]:
                    break
            wire.read_to_end()
            assert 0.9 <= time.monotonic() - start <= 2.0 * gateway.slowness

    check_harmless(gateway, attack, reason="tls_timeout")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x16\x03\x01\xff\xff" + b"x" * 100, "tls_protocol"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "tls_alert"),
        (b"\x80\x2e\x01\x00\x02" + bytes(43), "tls_version"),
        (bytes(range(256)), "tls_protocol"),
        (client_hello()[:20] + b"\xff" * 400, "tls_protocol"),
    ],
    ids=["too_long", "alert", "sslv2", "bytes", "broken_hello"],
)
def test_a17_what_is_no_handshake_is_refused(make_tls_gateway, data, reason):
    gateway = make_tls_gateway()

    def attack():
        with Wire(gateway.client_port) as wire:
            wire.send(data)
            with contextlib.suppress(OSError):  # it may be closed already
                wire.socket.shutdown(socket.SHUT_WR)
            wire.read_to_end()

    check_harmless(gateway, attack, reason={reason, "tls_protocol", "tls_closed"})


def test_plain_http_is_told_to_speak_tls(make_tls_gateway):
    gateway = make_tls_gateway()

    def attack():
        with Wire(gateway.client_port) as wire:
            answer = wire.request(get("/v1/ws"))
            assert (answer.status, b"tls_required" in answer.body) == (400, True)
            wire.assert_closed()

    check_harmless(gateway, attack, reason="tls_required")


def test_r11_ends_in_the_handshake_leave_nothing(make_tls_gateway):
    gateway = make_tls_gateway()
    hello = client_hello()

    def attack():
        for number in range(600):
            with Wire(gateway.client_port) as wire:
                wire.send(hello[: number % len(hello)] if number % 3 else hello)
                if number % 2:
                    wire.reset()
                else:
                    wire.socket.shutdown(socket.SHUT_WR)
        wait_for(lambda: gateway.metrics().get("tidegate_memory_bytes", owner="http") < 20_000, 10, "no slot")

    check_harmless(gateway, attack, reason="tls_closed")


def test_an_end_in_the_middle_of_a_record_ends_the_session(make_tls_gateway, authority):
    gateway = make_tls_gateway()

    def attack():
        with TlsWire(gateway.client_port, authority.trust()) as wire:
            wire.upgrade()
            raw = wire.socket.detach()
            with socket.socket(fileno=raw) as plain:
                plain.sendall(b"\x17\x03\x03\x40\x00half a record")

    check_harmless(gateway, attack)


def test_a_record_that_was_changed_on_the_way_ends_the_session(make_tls_gateway, authority):
    gateway = make_tls_gateway()

    def attack():
        with TlsWire(gateway.client_port, authority.trust()) as wire:
            wire.upgrade()
            raw = wire.socket.detach()
            with socket.socket(fileno=raw) as plain:
                plain.settimeout(5)
                plain.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
                while plain.recv(4096):
                    pass

    check_harmless(gateway, attack, reason="tls_protocol")
