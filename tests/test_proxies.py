"""Proxies in front: the PROXY protocol before everything else, and headers that name the client."""

import contextlib
import json
import socket
import struct
import time

import pytest
from harness.certificates import Authority
from harness.gateway import USER_HEADER, wait_for
from harness.harmless import check_harmless
from harness.wire import Wire, get, upgrade_request

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL = SIGNATURE + b"\x20\0\0\0"
FROM_HERE = ["127.0.0.0/8"]


def version_1(source, port=4711):
    return f"PROXY TCP4 {source} 10.0.0.1 {port} 443\r\n".encode()


def version_2(source, port=4711, tlvs=b""):
    body = socket.inet_aton(source) + socket.inet_aton("10.0.0.1") + struct.pack(">HH", port, 443) + tlvs
    return SIGNATURE + b"\x21\x11" + struct.pack(">H", len(body)) + body


def proxied(changes=None):
    return {
        "proxy_protocol": {"client": list(FROM_HERE)},
        "limits": {"sessions_per_ip": 1, "header_timeout": "1s"},
        **(changes or {}),
    }


def connect(gateway, header, headers=(), user="u"):
    """The status of an upgrade behind a header, and the connection."""
    wire = Wire(gateway.client_port)
    wire.send(header)
    return wire.request(upgrade_request(headers=[*headers])).status, wire


@pytest.mark.parametrize("write", [version_1, version_2], ids=["v1", "v2"])
def test_the_limit_of_an_address_counts_the_clients_own(make_gateway, write):
    gateway = make_gateway(proxied())
    with contextlib.ExitStack() as stack:
        for source, expected in (("192.0.2.7", 101), ("192.0.2.8", 101), ("192.0.2.7", 429)):
            status, wire = connect(gateway, write(source))
            stack.enter_context(wire)
            assert status == expected
    wait_for(lambda: "192.0.2.7:4711: ip_session_limit" in gateway.stderr(), 3, "the client in the log")


def test_what_a_balancer_tells_beside_the_addresses_is_passed_over(make_gateway):
    gateway = make_gateway(proxied())
    tlvs = b"\x04\0\x10" + bytes(16) + b"\xea\0\x17\x01vpce-08d2bf15fac5001c9"
    status, wire = connect(gateway, version_2("192.0.2.7", tlvs=tlvs))
    with wire:
        assert status == 101


def test_the_balancers_own_checks_need_no_more_than_the_header(make_gateway):
    gateway = make_gateway(proxied())
    status, wire = connect(gateway, LOCAL)
    with wire:
        assert status == 101
    before = gateway.metrics().get("tidegate_http_refused_total")
    for _ in range(20):  # connects and goes
        Wire(gateway.client_port).close()
    with Wire(gateway.client_port) as wire:
        wire.send(LOCAL)
        wire.socket.shutdown(socket.SHUT_WR)
        wire.assert_closed()
    assert gateway.metrics().get("tidegate_http_refused_total") == before


def test_the_header_comes_before_tls(make_gateway, tmp_path):
    authority = Authority(tmp_path)
    tls = {"client": {"certificates": [authority.sign("server").files]}}
    gateway = make_gateway(proxied({"tls": tls}))
    context = authority.trust()
    with contextlib.ExitStack() as stack:
        for write, step, expected in ((version_1, 1, 101), (version_2, 5, 429)):
            plain = stack.enter_context(Wire(gateway.client_port))
            header = write("192.0.2.7")
            plain.send_slowly(header, step=step)
            plain.socket = context.wrap_socket(plain.socket, server_hostname="localhost")
            assert plain.request(upgrade_request()).status == expected


@pytest.mark.parametrize(
    "data",
    [
        get("/v1/ws"),
        b"PROXY TCP4 192.0.2.7 10.0.0.1 04711 443\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\n",
        b"PROXY TCP4 " + b"9" * 200,
        SIGNATURE + b"\x21\x11\xff\xff",
        SIGNATURE + b"\x21\x11\0\x0b" + bytes(11),
        SIGNATURE + b"\x31\x11\0\x0c" + bytes(12),
        b"\x16\x03\x01\x02\0",
    ],
    ids=["none", "leading_zero", "bare_lf", "long", "huge", "short", "version", "tls"],
)
def test_without_a_right_header_the_connection_ends(make_gateway, data):
    gateway = make_gateway({"proxy_protocol": {"client": ["127.0.0.2/32"]}})

    def attack():
        with socket.socket() as sock:
            sock.bind(("127.0.0.2", 0))
            sock.settimeout(10)
            sock.connect(("127.0.0.1", gateway.client_port))
            sock.sendall(data)
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(100) == b""

    check_harmless(gateway, attack, reason="proxy_header")


def test_a_header_that_does_not_come_in_time_ends_it(make_gateway):
    gateway = make_gateway(
        {"proxy_protocol": {"client": ["127.0.0.2/32"]}, "limits": {"header_timeout": "1s"}}
    )

    def attack():
        with socket.socket() as sock:
            sock.bind(("127.0.0.2", 0))
            sock.settimeout(10)
            sock.connect(("127.0.0.1", gateway.client_port))
            start = time.monotonic()
            sock.sendall(version_1("192.0.2.7")[:20])
            assert sock.recv(100) == b""
            assert time.monotonic() - start >= 0.9

    check_harmless(gateway, attack, reason="proxy_header")


def test_from_other_addresses_the_header_is_not_read(make_gateway):
    gateway = make_gateway({"proxy_protocol": {"client": ["192.0.2.0/24"]}})

    def attack():
        with Wire(gateway.client_port) as wire:
            assert wire.request(version_1("192.0.2.7") + get("/v1/ws")).status == 400

    check_harmless(gateway, attack, reason="bad_version")


def test_api_and_admin_have_lists_of_their_own(make_gateway):
    gateway = make_gateway({"proxy_protocol": {"api": list(FROM_HERE)}})
    key = ("Authorization", f"Bearer {gateway.api_key}")
    with Wire(gateway.api_port) as wire:
        wire.send(version_2("192.0.2.7"))
        assert wire.request(get("/v1/users/u", [key])).status == 200
    with Wire(gateway.api_port) as wire:
        wire.send(get("/v1/users/u", [key]))
        wire.assert_closed()


# ---- headers ----


def forwarded(header="x-forwarded-for"):
    return {
        "forwarded": {"from": ["127.0.0.0/8", "10.0.0.0/8"], "header": header},
        "limits": {"sessions_per_ip": 1},
    }


def statuses(gateway, *headers):
    with contextlib.ExitStack() as stack:
        found = []
        for header in headers:
            status, wire = connect(gateway, b"", header)
            stack.enter_context(wire)
            found.append(status)
        return found


def test_the_client_that_a_trusted_proxy_names_counts(make_gateway):
    gateway = make_gateway(forwarded())
    named = "X-Forwarded-For"
    assert statuses(
        gateway,
        [(named, "192.0.2.7")],
        [(named, "198.51.100.1, 192.0.2.8, 10.0.0.3")],
        [(named, "203.0.113.9, 192.0.2.7")],  # what a client wrote itself
        [(named, "192.0.2.8")],
        [("Forwarded", "for=192.0.2.9")],  # the header that is not asked for: the proxy's own address
        [],
    ) == [101, 101, 429, 429, 101, 429]
    wait_for(lambda: "to 192.0.2.7:0: ip_session_limit" in gateway.stderr(), 3, "the client in the log")


def test_the_standard_header_names_it_too(make_gateway):
    gateway = make_gateway(forwarded("forwarded"))
    assert statuses(
        gateway,
        [("Forwarded", 'for="[2001:db8::7]:4711";proto=https, for=10.0.0.3')],
        [("Forwarded", 'for="[2001:db8::7]"')],
        [("X-Forwarded-For", "192.0.2.9")],
    ) == [101, 429, 101]


def test_a_header_that_can_not_be_read_is_counted_and_the_proxy_counts(make_gateway):
    gateway = make_gateway(forwarded())
    named = "X-Forwarded-For"
    assert statuses(gateway, [(named, "192.0.2.7, <script>")], [(named, "")], [(named, "unknown")]) == [
        101,
        429,
        429,
    ]
    ignored = {
        reason: gateway.metrics().get("tidegate_forwarded_ignored_total", reason=reason)
        for reason in ("malformed", "hidden")
    }
    assert ignored == {"malformed": 2, "hidden": 1}
    wait_for(lambda: "forwarded.ignored" in gateway.stderr(), 3, "the log line")
    assert "script" not in gateway.stderr()


def test_the_user_of_a_trusted_header_is_still_the_connections(make_gateway):
    """auth.trusted_header.from means the proxy itself, whomever it names as its client."""
    gateway = make_gateway(forwarded())
    status, wire = connect(gateway, b"", [("X-Forwarded-For", "192.0.2.7"), (USER_HEADER, "u")])
    with wire:
        assert status == 101
        answer = gateway.push({"users": ["u"]}, 1, wait="routed")
        assert answer["receipt"]["sessions"]["matched"] == 1, json.dumps(answer)
