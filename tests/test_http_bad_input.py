"""Section H: what HTTP peers get wrong, and what the gateway must make of it."""

import base64
import concurrent.futures
import contextlib
import hashlib
import json
import selectors
import socket
import time

import pytest
from harness.clients import V1Client, connect_raw
from harness.gateway import wait_for
from harness.harmless import check_harmless
from harness.wire import TEXT, WS_KEY, Wire, frame, get, upgrade_request

ALL_PORTS = ["client_port", "api_port", "admin_port"]
PUSH_BODY = json.dumps({"to": {"users": ["canary"]}, "data": "smuggled"}).encode()


def refused(gateway, port, request, status):
    """Sends a request that must be answered with this status, and the connection closed after it."""
    with Wire(getattr(gateway, port)) as wire:
        response = wire.request(request)
        assert response.status == status, (request[:200], response)
        assert (response.header("Connection") or "").lower() == "close", response
        wire.assert_closed()
        return response


def push_request(gateway, body=PUSH_BODY, headers=(), length=True, path="/v1/messages"):
    lines = [("Authorization", f"Bearer {gateway.api_key}"), ("Content-Type", "application/json")]
    if length:
        lines.append(("Content-Length", str(len(body))))
    return get(path, [*lines, *headers], method="POST", body=body)


@pytest.fixture
def canary(gateway):
    """A session that a smuggled push would reach."""
    with V1Client(gateway, user="canary") as client:
        yield client


def assert_canary_saw_nothing(gateway, canary):
    gateway.push({"users": ["canary"]}, "the end")
    assert canary.read("msg")["data"] == "the end"


# H1 to H3: the opening handshake

BAD_KEYS = {
    "missing": [],
    "empty": [("Sec-WebSocket-Key", "")],
    "fifteen_bytes": [("Sec-WebSocket-Key", "AAECAwQFBgcICQoLDA0O")],
    "seventeen_bytes": [("Sec-WebSocket-Key", "AAECAwQFBgcICQoLDA0ODxA=")],
    "not_base64": [("Sec-WebSocket-Key", "!!ECAwQFBgcICQoLDA0ODw==")],
    "two": [("Sec-WebSocket-Key", WS_KEY), ("Sec-WebSocket-Key", WS_KEY)],
}


@pytest.mark.parametrize("lines", BAD_KEYS.values(), ids=BAD_KEYS)
def test_h1_upgrade_without_one_right_key_is_400(gateway, lines):
    request = upgrade_request(headers=lines, drop=["Sec-WebSocket-Key"])
    check_harmless(gateway, lambda: refused(gateway, "client_port", request, 400), reason="ws_key")


SPELLINGS = {
    "list": [("Connection", "keep-alive, Upgrade"), ("Upgrade", "websocket")],
    "odd_case": [("cOnNeCtIoN", "uPGRADE"), ("UPGRADE", "WebSocket")],
    "two_lines": [("Connection", "keep-alive"), ("Connection", "Upgrade"), ("Upgrade", "websocket")],
    "second_protocol": [("Connection", "Upgrade"), ("Upgrade", "h2c, websocket")],
}


def accept_of(key):
    """RFC 6455 4.2.2."""
    digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    return base64.b64encode(digest).decode()


@pytest.mark.smoke
@pytest.mark.parametrize("lines", SPELLINGS.values(), ids=SPELLINGS)
def test_h2_every_spelling_of_upgrade_is_101(gateway, lines):
    request = upgrade_request("/v1/echo", lines, drop=["Connection", "Upgrade"])
    with Wire(gateway.client_port) as wire:
        response = wire.request(request)
        assert response.status == 101
        assert response.header("Sec-WebSocket-Accept") == accept_of(WS_KEY)
        assert wire.is_alive()


@pytest.mark.parametrize("versions", [["8"], ["13, 8"], []], ids=["old", "list", "missing"])
def test_h3_another_version_is_426_and_nothing_after_it_is_parsed(gateway, versions):
    lines = [("Sec-WebSocket-Version", version) for version in versions]
    request = upgrade_request(headers=lines, drop=["Sec-WebSocket-Version"])

    def attack():
        response = refused(gateway, "client_port", request + frame(TEXT, b"x") + get("/"), 426)
        assert response.header("Sec-WebSocket-Version") == "13"

    check_harmless(gateway, attack, reason="ws_version")


# H5: sizes

TOO_LARGE = {
    "line": (get("/", [("X-Long", "a" * 8200)]), 431, "header_line_too_long"),
    "name": (get("/", [("X" * 8300, "a")]), 431, "header_line_too_long"),
    "total": (get("/", [(f"X-{i}", "a" * 4000) for i in range(5)]), 431, "head_too_large"),
    "count": (get("/", [(f"X-{i}", "a") for i in range(101)]), 431, "too_many_headers"),
    "uri": (get("/" + "a" * 8200), 414, "uri_too_long"),
}


@pytest.mark.parametrize("port", ALL_PORTS)
@pytest.mark.parametrize(("request_bytes", "status", "reason"), TOO_LARGE.values(), ids=TOO_LARGE)
def test_h5_too_large_a_head_is_refused(gateway, port, request_bytes, status, reason):
    check_harmless(gateway, lambda: refused(gateway, port, request_bytes, status), reason=reason)


@pytest.mark.parametrize("port", ALL_PORTS)
def test_h5_a_head_at_the_limits_is_read(gateway, port):
    lines = [(f"X-{i}", "a") for i in range(98)] + [("X-Long", "a" * 8000)]
    with Wire(getattr(gateway, port)) as wire:
        assert wire.request(get("/nothing-here", lines)).status in (401, 404)


@pytest.mark.release
def test_h5_a_head_in_single_bytes_costs_linear_time(make_gateway):
    gateway = make_gateway()

    def cost(size):
        request = get("/", [("X-A", "a" * 7000)] * (size // 7000))[:-2]
        before = gateway.cpu_seconds()
        with Wire(gateway.client_port) as wire:
            wire.send_slowly(request)
            wire.send(b"\r\n")
            assert wire.read_response().status == 404
        return gateway.cpu_seconds() - before

    # A parser that starts over with each byte would read a hundred megabytes for this head; one that goes on
    # from where it was costs little more than the wake-ups, of which a busy machine saves some.
    assert min(cost(14000) for _ in range(3)) < 0.06


# H7: frames that don't wait for the 101


@pytest.mark.smoke
@pytest.mark.parametrize("count", [1, 3, 300])
def test_h7_frames_in_the_packet_of_the_request_are_all_answered(gateway, count):
    texts = [f"early {i}".encode() for i in range(count)]
    with Wire(gateway.client_port) as wire:
        wire.send(upgrade_request("/v1/echo") + b"".join(frame(TEXT, text) for text in texts))
        assert wire.read_response().status == 101
        assert [wire.read_frame().payload for _ in texts] == texts


# H8: two readers must not disagree about where a request ends

LENGTHS = {
    "length_and_chunked": (
        [("Content-Length", "5"), ("Transfer-Encoding", "chunked")],
        "length_and_encoding",
    ),
    "chunked_and_length": (
        [("Transfer-Encoding", "chunked"), ("Content-Length", "5")],
        "length_and_encoding",
    ),
    "two_lengths": ([("Content-Length", "5"), ("Content-Length", "6")], "content_length_repeated"),
    "plus": ([("Content-Length", "+5")], "bad_content_length"),
    "list": ([("Content-Length", "5,5")], "bad_content_length"),
    "hex": ([("Content-Length", "0x5")], "bad_content_length"),
    "empty": ([("Content-Length", "")], "bad_content_length"),
    "negative": ([("Content-Length", "-1")], "bad_content_length"),
    "two_to_the_64": ([("Content-Length", "18446744073709551616")], "bad_content_length"),
    "space_inside": ([("Content-Length", "5 5")], "bad_content_length"),
    "chunked_twice": ([("Transfer-Encoding", "chunked, chunked")], "transfer_encoding"),
    "chunked_not_last": ([("Transfer-Encoding", "chunked, gzip")], "transfer_encoding"),
    "chunked_misspelt": ([("Transfer-Encoding", "xchunked")], "transfer_encoding"),
    "chunked_vertical_tab": ([("Transfer-Encoding", "\x0bchunked")], "bad_header_value"),
}


@pytest.mark.parametrize("port", ["api_port", "client_port"])
@pytest.mark.parametrize(("lines", "reason"), LENGTHS.values(), ids=LENGTHS)
def test_h8_an_unclear_length_is_refused_and_what_follows_is_not_executed(
    gateway, canary, lines, reason, port
):
    request = push_request(gateway, b"0\r\n\r\n" + push_request(gateway), lines, length=False)
    status = 501 if reason == "transfer_encoding" else 400
    check_harmless(gateway, lambda: refused(gateway, port, request, status), reason=reason)
    assert_canary_saw_nothing(gateway, canary)


BAD_CHUNKS = {
    "not_hex": b"g\r\nhello\r\n0\r\n\r\n",
    "minus": b"-5\r\nhello\r\n0\r\n\r\n",
    "hex_prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "wraps": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "empty_size": b"\r\nhello\r\n0\r\n\r\n",
    "too_short": b"3\r\nhello\r\n0\r\n\r\n",
    "bare_lf": b"5\nhello\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("body", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
def test_h8_a_bad_chunk_is_400_and_what_follows_is_not_executed(gateway, canary, body):
    request = push_request(
        gateway, body + push_request(gateway), [("Transfer-Encoding", "chunked")], length=False
    )
    check_harmless(gateway, lambda: refused(gateway, "api_port", request, 400), reason="bad_chunk")
    assert_canary_saw_nothing(gateway, canary)


# H10, H12: the lines of a head

BAD_LINES = {
    "bare_lf": (b"GET / HTTP/1.1\nHost: a\n\n", "bare_lf"),
    "bare_lf_in_headers": (b"GET / HTTP/1.1\r\nHost: a\nX-B: b\r\n\r\n", "bare_lf"),
    "bare_cr": (b"GET / HTTP/1.1\r\nHost: a\rX-B: b\r\n\r\n", "bare_cr"),
    "obs_fold": (b"GET / HTTP/1.1\r\nHost: a\r\nX-B: b\r\n c\r\n\r\n", "obs_fold"),
    "space_before_colon": (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", "space_before_colon"),
    "empty_name": (b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", "bad_header_name"),
    "no_colon": (b"GET / HTTP/1.1\r\nHost: a\r\nnothing\r\n\r\n", "bad_header_name"),
    "nul_in_value": (b"GET / HTTP/1.1\r\nHost: a\r\nX-B: b\0c\r\n\r\n", "bad_header_value"),
    "control_in_value": (b"GET / HTTP/1.1\r\nHost: a\r\nX-B: b\x01c\r\n\r\n", "bad_header_value"),
    "delete_in_value": (b"GET / HTTP/1.1\r\nHost: a\r\nX-B: b\x7fc\r\n\r\n", "bad_header_value"),
    "nul_in_name": (b"GET / HTTP/1.1\r\nHost: a\r\nX\0B: b\r\n\r\n", "bad_header_name"),
    "control_in_target": (b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target"),
    "space_in_target": (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "bad_version"),
    "two_spaces": (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "bad_version"),
    "tab_for_space": (b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", "bad_method"),
    "first_line_folded": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", "obs_fold"),
    "no_version": (b"GET /\r\nHost: a\r\n\r\n", "bad_version"),
    "no_host": (b"GET / HTTP/1.1\r\n\r\n", "host_missing"),
    "two_hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "host_repeated"),
    "control_in_host": (b"GET / HTTP/1.1\r\nHost: a\x02b\r\n\r\n", "bad_header_value"),
    "space_in_host": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "bad_host"),
    "tls_hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "bad_method"),
}


@pytest.mark.parametrize("port", ALL_PORTS)
@pytest.mark.parametrize(("request_bytes", "reason"), BAD_LINES.values(), ids=BAD_LINES)
def test_h10_h12_a_malformed_head_is_400(gateway, request_bytes, reason, port):
    check_harmless(gateway, lambda: refused(gateway, port, request_bytes, 400), reason=reason)


def test_h12_absolute_form_is_accepted_and_host_ignored(gateway):
    target = f"http://gateway.test:{gateway.client_port}/v1/echo"
    with Wire(gateway.client_port) as wire:
        wire.upgrade(target, host="another.test")
        assert wire.is_alive()


# H13 to H16: time


def open_many(port, count):
    sockets = []
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setblocking(False)
        sockets.append(sock)
    return sockets


def trickle(sockets, data, pause, seconds):
    """Sends one byte of data on each socket each `pause`; returns {socket: (seconds it lived, bytes)}."""
    selector = selectors.DefaultSelector()
    got, ends, sent, start = {sock: b"" for sock in sockets}, {}, 0, time.monotonic()
    for sock in sockets:
        selector.register(sock, selectors.EVENT_READ)
    while len(ends) < len(sockets) and time.monotonic() - start < seconds:
        if data and time.monotonic() - start >= sent * pause:
            for sock in sockets:
                with contextlib.suppress(OSError):
                    if sock not in ends:
                        sock.send(data[sent : sent + 1])
            sent += 1
        for key, _ in selector.select(pause / 4):
            try:
                more = key.fileobj.recv(4096)
            except ConnectionResetError:
                more = b""
            got[key.fileobj] += more
            if not more:
                ends[key.fileobj] = time.monotonic() - start
                selector.unregister(key.fileobj)
                key.fileobj.close()
    return {sock: (end, got[sock]) for sock, end in ends.items()}


SLOW = {"limits": {"header_timeout": "2s"}}


@pytest.mark.parametrize("data", [upgrade_request(), b""], ids=["one_byte_a_time", "no_byte"])
def test_h13_a_slow_head_is_408_at_the_total_time(make_gateway, data):
    gateway = make_gateway(SLOW)
    count = 1000 if gateway.preset == "release" else 200

    def attack():
        sockets = open_many(gateway.client_port, count)
        ends = trickle(sockets, data, 0.4, 8)
        assert len(ends) == count, f"{count - len(ends)} still open after four times the limit"
        for end, answer in ends.values():
            assert 1.5 <= end <= 2 + 1.5 * gateway.slowness, f"closed after {end:.2f} s"
            assert not data or answer.startswith(b"HTTP/1.1 408 "), answer

    check_harmless(gateway, attack, reason="header_timeout" if data else "no_request")


@pytest.mark.parametrize("port", ["api_port", "admin_port"])
def test_h13_a_slow_head_is_408_on_the_other_listeners(make_gateway, port):
    gateway = make_gateway(SLOW)

    def attack():
        ends = trickle(open_many(getattr(gateway, port), 20), get("/"), 0.4, 8)
        assert [answer[:13] for _, answer in ends.values()] == [b"HTTP/1.1 408 "] * 20

    check_harmless(gateway, attack, reason="header_timeout")


def test_h14_a_slow_body_is_408(gateway):
    def attack():
        head = push_request(gateway, b"", [("Content-Length", "100000")], length=False)
        sock = open_many(gateway.api_port, 1)[0]
        sock.send(head)
        ((end, answer),) = trickle([sock], b" " * 60, 0.5, 30).values()
        assert answer.startswith(b"HTTP/1.1 408 "), answer
        assert 4 <= end <= 8 + gateway.slowness, f"after {end:.1f} s"

    check_harmless(gateway, attack, reason=("body_timeout", "body_rate"), once=True)


def test_h14_a_body_that_never_ends_is_408_at_the_total_time(make_gateway):
    gateway = make_gateway({"limits": {"body_timeout": "2s", "body_rate": 0}})
    head = push_request(gateway, b"", [("Content-Length", "100000")], length=False)
    sock = open_many(gateway.api_port, 1)[0]
    sock.send(head)
    ((end, answer),) = trickle([sock], b" " * 60, 0.2, 10).values()
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert 1.9 <= end <= 3 + gateway.slowness


def test_h15_answers_that_nobody_reads_end_the_connection(make_gateway):
    gateway = make_gateway({"limits": {"write_stall": "1s"}})

    def stalled():
        return gateway.metrics().get("tidegate_http_refused_total", reason="write_stall")

    def attack():
        before = stalled()
        with Wire(gateway.admin_port, receive_buffer=2048) as wire:
            wire.socket.settimeout(0.2)
            with contextlib.suppress(OSError):
                wire.send(get("/metrics") * 2000)
            wait_for(lambda: stalled() > before, 10 * gateway.slowness, "the stalled connection's end", 0.1)

    check_harmless(gateway, attack, reason="write_stall")


def test_h16_pipelined_requests_are_answered_in_order(gateway):
    def attack():
        with Wire(gateway.api_port, timeout=10 * gateway.slowness) as wire:
            body = [json.dumps({"to": {"users": ["none"]}, "data": i}).encode() for i in range(1000)]
            ids = [f"h16-{time.monotonic_ns()}-{i}" for i in range(1000)]
            wire.send(
                b"".join(
                    push_request(gateway, b, [("Idempotency-Key", i)]) for b, i in zip(body, ids, strict=True)
                )
            )
            answers = [wire.read_response() for _ in ids]
            assert {answer.status for answer in answers} == {202}
            assert [json.loads(answer.body)["id"] for answer in answers] == ids

    check_harmless(gateway, attack)


def test_h16_parsing_stops_while_answers_are_not_read(make_gateway):
    gateway = make_gateway()
    count = 1000

    def answered():
        return gateway.metrics().get("tidegate_http_requests_total", route="/v1/openapi.json")

    with Wire(gateway.api_port, receive_buffer=4096, timeout=20 * gateway.slowness) as wire:
        wire.send(get("/v1/openapi.json", [("Authorization", f"Bearer {gateway.api_key}")]) * count)
        served = settled(answered)
        assert served < count / 2, f"{served} of {count} answered, though none was read"
        assert {wire.read_response().status for _ in range(count)} == {200}
    assert answered() == count


def settled(value):
    """value(), when two looks 300 ms apart agree."""
    last = value()
    while (now := (time.sleep(0.3), value())[1]) != last:
        last = now
    return last


# H17 to H21: bodies, paths, methods


def test_h17_an_announced_body_over_the_limit_is_413_before_it_is_read(gateway):
    head = push_request(gateway, b"", [("Content-Length", str(1 << 40))], length=False)
    check_harmless(gateway, lambda: refused(gateway, "api_port", head, 413), reason="body_too_large")


def test_h17_a_chunked_body_is_413_at_the_limit(gateway):
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"

    def send_too_much():
        with Wire(gateway.api_port, timeout=10 * gateway.slowness) as wire:
            wire.send(push_request(gateway, b"", [("Transfer-Encoding", "chunked")], length=False))
            wire.send(chunk * 17)
            assert wire.read_response().status == 413
            wire.assert_closed()

    def attack():
        for _ in range(10):  # so that each worker has met it in the first round
            send_too_much()

    check_harmless(gateway, attack, reason="body_too_large")


PATHS = [
    "/..%2f..%2fetc/passwd",
    "/%00",
    "//",
    "//etc/passwd",
    "/%252e%252e/",
    "/../../etc/passwd",
    "/./.",
    "/%2e%2e/",
]


@pytest.mark.parametrize("prefix", ["", "/console", "/demo", "/v1"])
@pytest.mark.parametrize("path", PATHS)
def test_h19_no_path_leaves_what_is_served(gateway, prefix, path):
    key = [("Authorization", f"Bearer {gateway.api_key}")]
    for port in ALL_PORTS:
        with Wire(getattr(gateway, port)) as wire:
            response = wire.request(get(prefix + path, key))
            assert response.status in (400, 404), response
            assert b"root:" not in response.body


def bytes_of_pushes(gateway):
    return gateway.metrics().get("tidegate_memory_bytes", owner="bus")


@pytest.mark.smoke
@pytest.mark.parametrize("wait", ["written", "acked"])
def test_h20_callers_that_vanish_before_their_answer_cost_nothing(gateway, wait):
    rounds = 1000 if gateway.preset == "release" else 100

    def attack():
        before = bytes_of_pushes(gateway)
        with V1Client(gateway, user="h20") as client:
            body = json.dumps({"to": {"users": ["h20"]}, "data": 1, "wait": wait}).encode()
            for _ in range(rounds):
                with Wire(gateway.api_port) as wire:
                    wire.send(push_request(gateway, body))
                    wire.reset()
            gateway.push({"users": ["h20"]}, "the end")
            got = []
            while not got or got[-1]["data"] != "the end":
                got.append(client.read("msg"))
            assert len(got) <= rounds + 1
            assert len({message["id"] for message in got}) == len(got)
            if wait == "acked":  # those whose caller nobody can answer any more
                client.send({"t": "ack", "ids": [message["id"] for message in got]})
            wait_for(lambda: bytes_of_pushes(gateway) <= before, 10, "no request is kept")

    check_harmless(gateway, attack)


def test_h21_expect_100_continue_gets_its_100(gateway):
    with Wire(gateway.api_port) as wire:
        wire.send(
            push_request(
                gateway,
                b"",
                [("Expect", "100-continue"), ("Content-Length", str(len(PUSH_BODY)))],
                length=False,
            )
        )
        assert wire.read_response().status == 100
        wire.send(PUSH_BODY)
        assert wire.read_response().status == 202


def test_h21_another_expectation_is_417(gateway):
    request = push_request(gateway, headers=[("Expect", "the-unexpected")])
    with Wire(gateway.api_port) as wire:
        assert wire.request(request).status == 417


@pytest.mark.parametrize("method", ["BREW", "TRACE", "CONNECT", "get", "PATCH"])
@pytest.mark.parametrize("port", ALL_PORTS)
def test_h21_another_method_is_405(gateway, method, port):
    path = {"client_port": "/v1/ws", "api_port": "/v1/messages", "admin_port": "/metrics"}[port]
    key = [("Authorization", f"Bearer {gateway.api_key}")]
    with Wire(getattr(gateway, port)) as wire:
        response = wire.request(get(path, key, method=method))
        assert response.status == 405
        assert response.header("Allow") is not None


# H23: idempotency on one node


@pytest.mark.smoke
def test_h23_one_key_in_parallel_delivers_once(gateway):
    count, key = 100, f"h23-{time.monotonic_ns()}"
    message = {"to": {"users": ["h23"]}, "data": key}

    def post(_):
        return gateway.api("POST", "/v1/messages", message, {"Idempotency-Key": key})

    with connect_raw(gateway, "h23") as session:
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(post, range(count)))
        assert {status for status, _, _ in answers} <= {200, 202}
        assert sum(not answer.get("replayed", False) for _, _, answer in answers) == 1
        assert len({(answer["id"], json.dumps(answer["pos"])) for _, _, answer in answers}) == 1
        gateway.push({"users": ["h23"]}, "the end")
        assert json.loads(session.recv(5)) == key
        assert json.loads(session.recv(5)) == "the end"
    status, headers, problem = gateway.api(
        "POST", "/v1/messages", {**message, "data": "other"}, {"Idempotency-Key": key}
    )
    assert status == 422
    assert headers["content-type"] == "application/problem+json"
    assert problem["code"]


def test_h_a_connection_that_says_nothing_after_a_request_is_kept_for_the_next(gateway):
    with Wire(gateway.admin_port) as wire:
        assert wire.request(get("/livez")).status == 200
        assert wire.request(get("/livez")).status == 200
        wire.send(get("/livez", [("Connection", "close")]))
        assert wire.read_response().status == 200
        wire.assert_closed()
