"""Section W: what WebSocket peers get wrong, and what the gateway must make of it. W1 is tests/autobahn."""

import json
import os
import select
import struct
import threading
import time
import zlib

import pytest
from harness.clients import V1Client, connect_raw
from harness.gateway import USER_HEADER, wait_for
from harness.harmless import check_harmless
from harness.wire import (
    BINARY,
    CLOSE,
    CONT,
    PING,
    PONG,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    V1,
    Closed,
    Wire,
    frame,
    upgrade_request,
)

ECHO = "/v1/echo"
LIMIT = 65536  # limits.message
FRAGMENTS = 1024  # limits.fragments
DEFLATE = [("Sec-WebSocket-Extensions", "permessage-deflate")]
USER = [(USER_HEADER, "attacker")]


def deflated(data):
    """As RFC 7692 7.2.1 has it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def closes_with(gateway, data, *codes, path=ECHO, headers=()):
    """Sends these bytes on a fresh connection, which must end with one of these close codes."""
    with Wire(gateway.client_port, timeout=10 * gateway.slowness) as wire:
        wire.upgrade(path, headers)
        wire.send(data)
        return wire.expect_close(*codes)


def hello(**more):
    return frame(TEXT, json.dumps({"t": "hello", "v": 1, **more}).encode())


def speak_v1(gateway, user="attacker"):
    """A raw socket on which the hello has been welcomed."""
    wire = Wire(gateway.client_port, timeout=10 * gateway.slowness)
    wire.upgrade("/v1/ws", [("Sec-WebSocket-Protocol", V1), (USER_HEADER, user)])
    wire.send(hello())
    assert json.loads(wire.read_frame().payload)["t"] == "welcome"
    return wire


# W2, W4: headers that no frame may have

BAD_FRAMES = {
    "unmasked": frame(TEXT, b"hello", mask=None),
    "unmasked_empty": frame(TEXT, b"", mask=None),
    "unmasked_ping": frame(PING, b"", mask=None),
    "rsv1_without_deflate": frame(TEXT, b"hello", rsv=RSV1),
    "rsv2": frame(TEXT, b"hello", rsv=RSV2),
    "rsv3": frame(TEXT, b"hello", rsv=RSV3),
    "rsv1_on_ping": frame(PING, b"", rsv=RSV1),
    **{f"opcode_{opcode}": frame(opcode, b"x") for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "length_7_as_16": frame(TEXT, b"hello", form=16),
    "length_7_as_64": frame(TEXT, b"hello", form=64),
    "length_16_as_64": frame(TEXT, b"h" * 200, form=64),
    "length_top_bit": frame(TEXT, length=1 << 63),
    "length_minus_four": frame(TEXT, length=0xFFFFFFFFFFFFFFFC),
    "length_all_ones": frame(TEXT, length=0xFFFFFFFFFFFFFFFF),
    # W6
    "ping_of_126": frame(PING, b"p" * 126),
    "close_of_126": frame(CLOSE, b"\x03\xe8" + b"p" * 124),
    "ping_fragmented": frame(PING, b"p", fin=False),
    "close_fragmented": frame(CLOSE, b"\x03\xe8", fin=False),
    # W12
    "data_inside_a_message": frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"),
    "continuation_of_nothing": frame(CONT, b"a"),
    "continuation_after_the_end": frame(TEXT, b"a", fin=False) + frame(CONT, b"b") + frame(CONT, b"c"),
}


@pytest.mark.parametrize("path", [ECHO, "/v1/ws"])
@pytest.mark.parametrize("data", BAD_FRAMES.values(), ids=BAD_FRAMES)
def test_w2_w4_w6_w12_a_wrong_frame_is_1002(gateway, data, path):
    check_harmless(
        gateway, lambda: closes_with(gateway, data, 1002, path=path, headers=USER), reason="protocol_error"
    )


@pytest.mark.parametrize("length", [LIMIT + 1, 1 << 30, 1 << 32, (1 << 63) - 1])
def test_w4_w5_too_long_a_frame_is_1009_at_its_header(gateway, length):
    data = frame(BINARY, length=length)
    check_harmless(gateway, lambda: closes_with(gateway, data, 1009), reason="too_large")


@pytest.mark.release
def test_w5_announced_gigabytes_cost_no_memory(make_gateway):
    gateway = make_gateway()
    count, data = 1000, frame(BINARY, length=1 << 30)

    def attack():
        wires = [Wire(gateway.client_port) for _ in range(count)]
        for wire in wires:
            wire.upgrade(ECHO)
        before = gateway.rss()
        for wire in wires:
            wire.send(data)
        for wire in wires:
            assert wire.read_frame().close_code == 1009
        assert gateway.rss() <= before + 4096 * count
        for wire in wires:
            wire.close()

    check_harmless(gateway, attack, reason="too_large")


# W7: borders

CONVERSATION = (
    frame(TEXT, "grüße €".encode())
    + frame(BINARY, bytes(range(200)))
    + frame(PING, b"are you there")
    + frame(TEXT, b"in ", fin=False)
    + frame(CONT, b"pieces")
    + frame(BINARY, b"b" * 300)
)
ANSWERS = [
    (TEXT, "grüße €".encode()),
    (BINARY, bytes(range(200))),
    (PONG, b"are you there"),
    (TEXT, b"in pieces"),
    (BINARY, b"b" * 300),
]


@pytest.mark.smoke
def test_w7_frames_cut_at_every_byte_mean_the_same(gateway):
    with Wire(gateway.client_port) as wire:
        wire.upgrade(ECHO)
        for cut in range(1, len(CONVERSATION)):
            wire.send(CONVERSATION[:cut])
            wire.send(CONVERSATION[cut:])
            assert [(got.opcode, got.payload) for got in (wire.read_frame() for _ in ANSWERS)] == ANSWERS


def test_w7_single_bytes_mean_the_same(gateway):
    with Wire(gateway.client_port) as wire:
        wire.upgrade(ECHO)
        wire.send_slowly(CONVERSATION, pause=0.0005)
        assert [(got.opcode, got.payload) for got in (wire.read_frame() for _ in ANSWERS)] == ANSWERS


@pytest.mark.smoke
def test_w7_twenty_frames_in_a_packet_are_twenty_messages(gateway):
    with Wire(gateway.client_port) as wire:
        wire.upgrade(ECHO)
        wire.send(b"".join(frame(TEXT, str(i).encode()) for i in range(20)))
        assert [wire.read_frame().payload for _ in range(20)] == [str(i).encode() for i in range(20)]


# W8: text

BAD_TEXT = {
    "lone_continuation": b"\x80",
    "overlong_slash": b"\xc0\xaf",
    "overlong_three": b"\xe0\x80\xaf",
    "surrogate": b"\xed\xa0\x80",
    "above_unicode": b"\xf4\x90\x80\x80",
    "cut": b"\xe2\x82",
    "latin_1": "grüße".encode("latin-1"),
}


@pytest.mark.parametrize("text", BAD_TEXT.values(), ids=BAD_TEXT)
def test_w8_text_that_is_not_utf_8_is_1007(gateway, text):
    whole = frame(TEXT, b"good " + text)
    later = frame(TEXT, b"good", fin=False) + frame(CONT, text)
    packed = frame(TEXT, deflated(b"good " + text), rsv=RSV1)
    closing = frame(CLOSE, struct.pack(">H", 1000) + text)

    def attack():
        closes_with(gateway, whole, 1007)
        closes_with(gateway, later, 1007)
        closes_with(gateway, packed, 1007, headers=DEFLATE)
        closes_with(gateway, closing, 1007)

    check_harmless(gateway, attack, reason="bad_data")


def test_w8_a_bad_byte_is_refused_before_the_message_ends(gateway):
    closes_with(gateway, frame(TEXT, b"good \xff", fin=False), 1007)


def test_w8_a_code_point_may_be_split_between_fragments(gateway):
    with Wire(gateway.client_port) as wire:
        wire.upgrade(ECHO)
        wire.send(frame(TEXT, b"\xe2", fin=False) + frame(CONT, b"\x82", fin=False) + frame(CONT, b"\xac"))
        assert wire.read_frame().payload == "€".encode()


# W9, W10: sizes


def pieces(data, size):
    cut = [data[start : start + size] for start in range(0, len(data), size)]
    last = len(cut) - 1
    return b"".join(frame(CONT if i else BINARY, part, fin=i == last) for i, part in enumerate(cut))


SHAPES = {
    "whole": (lambda data: frame(BINARY, data), ()),
    "fragments": (lambda data: pieces(data, 1000), ()),
    "deflated": (lambda data: frame(BINARY, deflated(data), rsv=RSV1), DEFLATE),
}


@pytest.mark.parametrize(("shape", "headers"), SHAPES.values(), ids=SHAPES)
def test_w9_a_message_at_the_limit_passes_and_one_byte_more_is_1009(gateway, shape, headers):
    data = os.urandom(LIMIT // 2) + b"z" * (LIMIT // 2)

    def attack():
        closes_with(gateway, shape(data + b"z"), 1009, headers=headers)

    with Wire(gateway.client_port, timeout=10 * gateway.slowness) as wire:
        wire.upgrade(ECHO, headers)
        wire.send(shape(data))
        got = wire.read_frame()
        payload = got.payload
        if got.rsv & RSV1:
            payload = zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")
        assert payload == data
    check_harmless(gateway, attack, reason="too_large")


@pytest.mark.parametrize("piece", [b"x", b""], ids=["one_byte", "empty"])
def test_w10_a_message_of_endless_fragments_is_1009_at_their_limit(gateway, piece):
    some = frame(TEXT, piece, fin=False) + frame(CONT, piece, fin=False) * (FRAGMENTS - 2)

    def attack():
        with Wire(gateway.client_port, timeout=10 * gateway.slowness) as wire:
            wire.upgrade(ECHO)
            wire.send(some)
            assert wire.is_alive()
            wire.send(frame(CONT, piece, fin=False) * 2)
            wire.expect_close(1009)

    check_harmless(gateway, attack, reason="too_large")


@pytest.mark.release
def test_w10_single_byte_fragments_cost_little_memory(make_gateway):
    gateway = make_gateway()
    count = 200
    some = frame(TEXT, b"x", fin=False) + frame(CONT, b"x", fin=False) * 1000

    def attack():
        wires = [Wire(gateway.client_port) for _ in range(count)]
        for wire in wires:
            wire.upgrade(ECHO)
        before = gateway.rss()
        for wire in wires:
            wire.send(some)
            assert wire.is_alive()
        assert gateway.rss() <= before + count * (2 * 1001 + 4096)
        for wire in wires:
            wire.close()

    check_harmless(gateway, attack)


# W12, W13: order, closing


@pytest.mark.smoke
def test_w12_a_ping_between_fragments_is_answered_at_once(gateway):
    with Wire(gateway.client_port) as wire:
        wire.upgrade(ECHO)
        wire.send(frame(TEXT, b"a", fin=False) + frame(PING, b"now"))
        assert wire.read_frame().payload == b"now"
        wire.send(frame(CONT, b"b"))
        assert wire.read_frame().payload == b"ab"


@pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_w13_a_close_code_that_nobody_may_send_is_1002(gateway, code):
    data = frame(CLOSE, struct.pack(">H", code))
    check_harmless(gateway, lambda: closes_with(gateway, data, 1002), reason="protocol_error")


def test_w13_a_close_of_one_byte_is_1002(gateway):
    check_harmless(
        gateway, lambda: closes_with(gateway, frame(CLOSE, b"\x03"), 1002), reason="protocol_error"
    )


@pytest.mark.smoke
@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1011, 3000, 3999, 4000, 4999])
def test_w13_a_right_close_code_is_echoed(gateway, code):
    got = closes_with(gateway, frame(CLOSE, struct.pack(">H", code) + b"bye"), code)
    assert got.payload[:2] == struct.pack(">H", code)


def test_w13_a_close_without_a_code_is_answered_in_kind(gateway):
    closes_with(gateway, frame(CLOSE), None, 1000)


# W15, W16: floods


def flood(gateway, wire, data, seconds):
    """Writes data again and again and reads nothing, until the peer ends it. Returns the seconds it took;
    a peer that stops reading is waited for."""
    start = time.monotonic()
    wire.socket.setblocking(False)
    offset = 0
    while time.monotonic() - start < seconds:
        if not select.select([], [wire.socket], [], 0.1)[1]:
            continue
        try:
            offset = (offset + wire.socket.send(data[offset:])) % len(data)
        except BlockingIOError:
            continue
        except OSError:
            return time.monotonic() - start
    raise AssertionError(f"still open after {seconds} s")


@pytest.mark.timeout(180)
def test_w15_a_flood_of_pings_is_4103(make_gateway):
    gateway = make_gateway()
    data = frame(PING, b"p" * 125) * 500

    def attack():
        before = gateway.rss()
        with Wire(gateway.client_port, timeout=20 * gateway.slowness) as wire:
            wire.upgrade("/v1/ws", USER)
            start = time.monotonic()
            wire.send(data)
            while (got := wire.read_frame()).opcode == PONG:
                if time.monotonic() - start > 30:
                    raise AssertionError("still open after 30 s")
                wire.send(data)
            assert got.close_code == 4103
        if gateway.preset == "release":
            assert gateway.rss() <= before + 65536 + (1 << 20)

    check_harmless(gateway, attack, reason="rate_limited", once=True)


@pytest.mark.timeout(180)
def test_w15_pongs_that_nobody_reads_are_not_piled_up(make_gateway):
    gateway = make_gateway()
    data = frame(PING, b"p" * 125) * 500

    def attack():
        before = gateway.rss()
        with Wire(gateway.client_port, receive_buffer=4096) as wire:
            wire.upgrade("/v1/ws", USER)
            took = flood(gateway, wire, data, 60)
            assert took < 40
        if gateway.preset == "release":
            assert gateway.rss() <= before + 65536 + (1 << 20)

    check_harmless(gateway, attack, reason=("rate_limited", "slow_consumer"), once=True)


def test_w16_a_flood_of_messages_is_4103(gateway):
    data = frame(TEXT, b'{"t":"nothing"}') * 1000

    def attack():
        with speak_v1(gateway) as wire:
            for _ in range(20):
                wire.send(data)
            wire.expect_close(4103)

    check_harmless(gateway, attack, reason="rate_limited")


# W17: the protocol


def test_w17_no_hello_in_time_is_4104(make_gateway):
    gateway = make_gateway({"limits": {"hello_timeout": "500ms"}})

    def attack():
        with Wire(gateway.client_port) as wire:
            wire.upgrade("/v1/ws", [("Sec-WebSocket-Protocol", V1)])
            start = time.monotonic()
            wire.expect_close(4104)
            assert 0.4 <= time.monotonic() - start <= 1 + 0.5 * gateway.slowness

    check_harmless(gateway, attack, reason="hello_timeout")


FIRST_WORDS = {
    "not_json": frame(TEXT, b"hello"),
    "cut_json": frame(TEXT, b'{"t":"hello"'),
    "a_number": frame(TEXT, b"7"),
    "binary": frame(BINARY, b'{"t":"hello","v":1}'),
    "another_version": frame(TEXT, b'{"t":"hello","v":99}'),
    "t_is_a_number": frame(TEXT, b'{"t":1}'),
    "no_t": frame(TEXT, b"{}"),
    "deep": frame(TEXT, b'{"t":"hello","v":1,"attrs":' + b"[" * 5000 + b"]" * 5000 + b"}"),
    "twice": hello() + hello(),
}


@pytest.mark.parametrize("data", FIRST_WORDS.values(), ids=FIRST_WORDS)
def test_w17_what_is_no_hello_is_4002(gateway, data):
    headers = [("Sec-WebSocket-Protocol", V1), *USER]
    check_harmless(
        gateway, lambda: closes_with(gateway, data, 4002, path="/v1/ws", headers=headers), reason="bad_frame"
    )


LATER_WORDS = {
    "not_json": frame(TEXT, b"nonsense"),
    "binary": frame(BINARY, b"{}"),
    "hello_again": hello(),
    "array_of_numbers": frame(TEXT, b"[1,2]"),
    "deep": frame(TEXT, b"[" * 30000),
    "duplicate_keys": frame(TEXT, b'{"t":"join","t":"leave","g":"room:1"}'),
}


@pytest.mark.parametrize("data", LATER_WORDS.values(), ids=LATER_WORDS)
def test_w17_a_wrong_frame_after_the_hello_is_4002(gateway, data):
    def attack():
        with speak_v1(gateway) as wire:
            wire.send(data)
            wire.expect_close(4002)

    check_harmless(gateway, attack, reason="bad_frame")


@pytest.mark.smoke
def test_w17_an_unknown_t_and_unknown_keys_are_ignored(gateway):
    with V1Client(gateway, user="w17") as client:
        client.send({"t": "from-the-future", "x": [1, {"y": None}]})
        client.send([{"t": "another"}, {"t": "join", "re": 9, "g": "room:1", "later": True}])
        assert client.read("ok")["re"] == 9


# W18, W19: compression


def test_w18_an_inflate_bomb_is_1009_at_the_limit(gateway):
    count = 200 if gateway.preset == "release" else 50
    bomb = frame(BINARY, deflated(b"\0" * (60 << 20)), rsv=RSV1)
    assert len(bomb) < LIMIT

    def attack():
        wires = []
        for _ in range(count):
            wire = Wire(gateway.client_port, timeout=20 * gateway.slowness)
            wire.upgrade(ECHO, DEFLATE)
            wires.append(wire)
        start = gateway.cpu_seconds()
        for wire in wires:
            wire.send(bomb)
        for wire in wires:
            wire.expect_close(1009)
            wire.close()
        # Inflating it all would take 60 MiB each; the limit is a thousandth of that.
        assert gateway.cpu_seconds() - start < count * 0.005 * gateway.slowness

    check_harmless(gateway, attack, reason="too_large")


BAD_DEFLATE = {
    "reserved_block": b"\x07\xff\xff",
    "stored_length": b"\x01\x05\x00\x00\x00hello",
    "preset_dictionary": b"\x78\xbb\x00\x00\x00\x01" + b"\x01\x02\x03",
    "before_the_start": bytes.fromhex("4b04a20000"),
    "noise": bytes(range(255, 0, -1)),
}


@pytest.mark.parametrize("data", BAD_DEFLATE.values(), ids=BAD_DEFLATE)
def test_w19_bad_deflate_data_is_1007(gateway, data):
    wrong = frame(BINARY, data, rsv=RSV1)
    check_harmless(
        gateway,
        lambda: closes_with(gateway, wrong, 1007, 1002, headers=DEFLATE),
        reason=("bad_data", "protocol_error"),
    )


# W22: both directions at once


@pytest.mark.timeout(240)
def test_w22_a_flood_up_and_pushes_down_both_progress(make_gateway):
    """The peer reads nothing while it writes, and a large push waits: neither may wait for the other."""
    gateway = make_gateway({"limits": {"messages_per_second": 0}})
    total = (200 if gateway.preset == "release" else 20) << 20
    message = frame(TEXT, ("ä" * 15000).encode())
    pushed = "p" * 60000
    with Wire(gateway.client_port, timeout=60) as wire:
        wire.upgrade("/v1/ws", [(USER_HEADER, "w22")])
        writer = threading.Thread(target=lambda: [wire.send(message) for _ in range(total // len(message))])
        writer.start()
        for _ in range(20):
            gateway.push({"users": ["w22"]}, pushed)
            assert json.loads(wire.read_frame().payload) == pushed
        writer.join(180)
        assert not writer.is_alive()
        assert wire.is_alive()


# W24: joins


def test_w24_a_thousand_joins_in_a_frame_stop_at_the_limit(gateway):
    joins = [{"t": "join", "re": i, "g": f"room:{i}"} for i in range(1000)]

    def attack():
        with speak_v1(gateway) as wire:
            wire.send(frame(TEXT, json.dumps(joins).encode()))
            answers = read_answers(wire, 1000)
            assert sum(answer["t"] == "ok" for answer in answers) <= 100
            assert {answer.get("code") for answer in answers if answer["t"] == "err"} <= {"group_limit"}

    check_harmless(gateway, attack)


def read_answers(wire, count):
    """Up to count ok and err objects; fewer when the peer closes first, which it may by 4103."""
    answers = []
    try:
        while len(answers) < count:
            got = wire.read_frame()
            if got.opcode == CLOSE:
                assert got.close_code == 4103
                break
            value = json.loads(got.payload)
            answers += [v for v in (value if isinstance(value, list) else [value]) if v["t"] in ("ok", "err")]
    except Closed:
        pass
    return answers


def test_w24_endless_joins_are_4103(gateway):
    def attack():
        with speak_v1(gateway) as wire:
            for start in range(0, 100_000, 1000):
                join = [
                    frame(TEXT, json.dumps({"t": "join", "re": i, "g": f"room:{i}"}).encode())
                    for i in range(start, start + 1000)
                ]
                wire.send(b"".join(join))
            wire.expect_close(4103)

    check_harmless(gateway, attack, reason="rate_limited")


NAMES = {
    "long": "room:" + "a" * 50000,
    "just_too_long": "room:" + "a" * 252,
    "empty": "",
    "control": "room:\u0001",
    "newline": "room:a\nb",
    "nul": "room:\u0000",
    "separator": "room:\u001fother",
    "homograph_colon": "room\uff1a1",
    "not_allowed": "secret:1",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_w24_a_wrong_group_name_is_an_err(gateway, name):
    with V1Client(gateway, user="w24") as client:
        answer = client.ask({"t": "join", "g": name})
        assert answer["t"] == "err"
        assert answer["code"]
        client.join("room:fine")


@pytest.mark.parametrize(
    "name", [name for key, name in NAMES.items() if key not in ("homograph_colon", "not_allowed")]
)
def test_w24_a_wrong_name_in_a_push_is_422(gateway, name):
    status, headers, problem = gateway.api("POST", "/v1/messages", {"to": {"groups": [name]}, "data": 1})
    assert status == 422
    assert headers["content-type"] == "application/problem+json"
    assert problem["code"]


def test_w_an_abrupt_end_at_any_moment_costs_nothing(gateway):
    """The connection ends by RST in the handshake, in a frame, in a message, in a close."""
    moments = [b"", upgrade_request(ECHO)[:50], upgrade_request(ECHO)]
    moments += [upgrade_request(ECHO) + data for data in (b"\x81", frame(TEXT, b"a" * 500)[:300])]
    moments += [
        upgrade_request(ECHO) + data for data in (frame(TEXT, b"a", fin=False), frame(CLOSE, b"\x03\xe8"))
    ]

    def attack():
        for data in moments * 20:
            with Wire(gateway.client_port) as wire:
                wire.send(data)
                wire.reset()

    check_harmless(gateway, attack)


def test_w_sessions_of_one_user_are_all_counted_out(gateway):
    with connect_raw(gateway, "w-count"), connect_raw(gateway, "w-count"):
        wait_for(lambda: gateway.api("GET", "/v1/users/w-count")[2]["sessions"], 5, "the user's sessions")
    wait_for(lambda: gateway.api("GET", "/v1/users/w-count")[2]["online"] is False, 5, "the user's end")
