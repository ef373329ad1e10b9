"""Section R: descriptors, memory, disk, network and clock run out or misbehave."""

import contextlib
import errno
import http.client
import itertools
import json
import os
import random
import selectors
import signal
import socket
import string
import threading
import time
import zlib

import pytest
from harness import faults
from harness.clients import V1Client, connect_raw
from harness.control import Control
from harness.gateway import SANITIZER, USER_HEADER, wait_for
from harness.harmless import check_harmless
from harness.storm import Storm
from harness.tokens import claims, mint
from harness.wire import TEXT, V1, Closed, Wire, frame, get, upgrade_request
from websockets.exceptions import ConnectionClosed

V1_HEADER = ("Sec-WebSocket-Protocol", V1)
FAKETIME = "/usr/$LIB/faketime/libfaketime.so.1"  # the loader knows the machine's folder


def moved(gateway, before, **labels):
    """By how much the counters with these labels moved."""
    return sum(by for _, has, by in gateway.metrics().moved(before) if labels.items() <= has.items())


def upgraded(gateway, user="crowd", **options):
    """A raw session on a plain socket."""
    wire = Wire(gateway.client_port, **options)
    wire.upgrade("/v1/ws", [(USER_HEADER, user)])
    return wire


# R1


@pytest.mark.release
def test_r1_waiting_for_descriptors_costs_no_cpu(make_gateway):
    gateway = make_gateway(prefix=["prlimit", "--nofile=256"])
    crowd = [socket.create_connection(("127.0.0.1", gateway.client_port)) for _ in range(300)]
    wait_for(lambda: gateway.metrics().get("tidegate_accept_shortages_total") > 0, 5, "a shortage is counted")
    used = gateway.cpu_seconds()
    time.sleep(2)  # a figure over time needs its time
    assert (gateway.cpu_seconds() - used) / 2 < 0.05
    for sock in crowd:
        sock.close()


@pytest.mark.release
def test_r1_without_descriptors_it_serves_on_and_comes_back(make_gateway):
    gateway = make_gateway(prefix=["prlimit", "--nofile=256"])
    before, fds = gateway.metrics(), gateway.fds()
    with V1Client(gateway, user="old") as old, gateway.bystander():
        crowd = [socket.create_connection(("127.0.0.1", gateway.client_port)) for _ in range(300)]
        wait_for(
            lambda: gateway.metrics().get("tidegate_accept_shortages_total") > 0, 5, "a shortage is counted"
        )
        assert gateway.admin("GET", "/livez")[0] == 200
        gateway.push({"users": ["old"]}, "still served")
        assert old.read_data() == ["still served"]
        crowd += [socket.create_connection(("127.0.0.1", gateway.client_port)) for _ in range(50)]
        for sock in crowd:
            sock.close()
        start = time.monotonic()
        wait_for(lambda: connects(gateway), 5, "a new session")
        assert time.monotonic() - start <= 1
    wait_for(lambda: gateway.fds() <= fds + 2, 10, "the descriptors back")
    assert gateway.metrics().moved(before)


def connects(gateway):
    try:
        with Wire(gateway.client_port, timeout=1) as wire:
            return wire.request(upgrade_request("/v1/ws", [(USER_HEADER, "new")])).status == 101
    except (Closed, OSError):
        return False


# R3


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_r3_each_allocation_may_fail(make_gateway, tmp_path):
    """From the connect to the close, on a fresh gateway each time, so that the cold paths are in it."""
    orders = faults.Faults(tmp_path)
    wrong = []
    for nth in itertools.count(1):
        gateway = make_gateway({"drain": {"window": "0s"}}, env=orders.env)
        try:
            reached = torture(gateway, orders, nth)
        except AssertionError as failure:
            wrong.append(f"allocation {nth}: {failure}")
            reached = True
        if not reached:
            break
    assert not wrong, "\n".join(wrong)
    assert nth > 10, "hardly any allocation was seen"


def torture(gateway, orders, nth):
    """A conversation whose nth allocation fails, and one after it. False when there are not so many."""
    fds = gateway.fds()
    orders.fail_allocation(nth)
    what = converse_carefully(gateway)
    failed = orders.get("failed") > 0
    orders.fail_allocation(0)
    assert gateway.is_alive(), "it died"
    assert failed or what == "delivered", what
    assert converse(gateway, "after") == "delivered"
    wait_for(lambda: gateway.fds() <= fds + 1, 5, "the descriptors back")
    wait_for(lambda: gateway.metrics().get("tidegate_connections") == 0, 5, "no slot in use")
    gateway.stop()
    return failed


def converse(gateway, user):
    """connect → hello → push → deliver → close; how far it came."""
    with Wire(gateway.client_port, timeout=5) as wire:
        answer = wire.request(upgrade_request("/v1/ws", [V1_HEADER, (USER_HEADER, user)]))
        if answer.status != 101:
            assert answer.status == 503, answer
            return "refused"
        wire.send(frame(TEXT, json.dumps({"t": "hello", "v": 1, "groups": ["room:1"]}).encode()))
        while (json.loads(wire.read_frame().payload))["t"] != "welcome":
            pass
        status, _, _ = gateway.api("POST", "/v1/messages", {"to": {"users": [user]}, "data": "x" * 500})
        if status != 202:
            assert status in (500, 503), status
            return "not accepted"
        while (kind := json.loads(wire.read_frame().payload)["t"]) != "msg":
            if kind == "gap":
                return "a loss was announced"
        wire.send(frame(8, b"\x03\xe8"))
        wire.read_to_end()
        return "delivered"


def converse_carefully(gateway):
    """An end by the peer is a clean error; silence is not."""
    try:
        return converse(gateway, "torture")
    except TimeoutError:
        raise AssertionError("the peer was told nothing") from None
    except (Closed, ConnectionError, http.client.HTTPException, ValueError, KeyError):
        return "closed"


# R4


@pytest.mark.release
def test_r4_near_the_memory_limit_new_sessions_are_refused(make_gateway):
    limit = 48 << 20
    gateway = make_gateway(
        {"limits": {"memory": limit}, "window": {"max_bytes": "44MiB", "max_age": "4s"}, "bus": {"queues": 1}}
    )
    body = "x" * 60_000
    before = gateway.metrics()
    with V1Client(gateway, user="old") as old, gateway.bystander():
        for _ in range(4 * limit // len(body)):
            gateway.push({"users": ["nobody"]}, body)
            with Wire(gateway.client_port) as wire:
                answer = wire.request(upgrade_request("/v1/ws", [(USER_HEADER, "new")]))
            if answer.status == 503:
                break
        assert answer.status == 503
        assert int(answer.header("Retry-After")) > 0
        assert moved(gateway, before, reason="memory") > 0
        assert gateway.rss() < limit * 2
        gateway.push({"users": ["old"]}, "still served")
        assert old.read_data() == ["still served"]
        wait_for(lambda: connects(gateway), 15, "room again, when the window has aged")


# R5


def test_r5_a_log_that_takes_nothing_stops_nothing(make_gateway):
    gateway = make_gateway(prefix=["sh", "-c", 'exec "$@" 2>/dev/full', "sh"])
    before = gateway.metrics()
    with gateway.bystander():
        for _ in range(100):
            assert provoke_line(gateway)
    assert lost_lines(gateway, before) > 0


def test_r5_without_a_stderr_no_client_gets_the_log(make_gateway):
    """Its number would be the first socket's, if nobody held it."""
    gateway = make_gateway(prefix=["sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh"])
    assert [os.readlink(f"/proc/{gateway.process.pid}/fd/{fd}") for fd in range(3)] == ["/dev/null"] * 3
    with gateway.bystander():
        for _ in range(100):
            assert provoke_line(gateway)


def test_r5_a_full_disk_costs_lines_and_no_more(make_gateway, tmp_path):
    """On a file system of 64 KiB, where there may be one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or os.system(f"mount -t tmpfs -o size=64k none {disk} 2>{os.devnull}") != 0:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        gateway = make_gateway(prefix=["sh", "-c", f'exec "$@" 2>{disk}/log', "sh"])
        filler = disk / "filler"
        before = gateway.metrics()
        fill(filler)
        with gateway.bystander():
            wait_for(lambda: lost_lines(gateway, before) > 0, 10, "lost lines are counted")
        filler.unlink()
        lost = lost_lines(gateway, before)
        size = (disk / "log").stat().st_size
        wait_for(lambda: provoke_line(gateway) and (disk / "log").stat().st_size > size, 10, "lines again")
        assert lost_lines(gateway, before) <= lost + 1
        gateway.process.send_signal(signal.SIGTERM)
        gateway.process.wait(20)
        text = (disk / "log").read_text()
        assert not SANITIZER.search(text), text[-8000:]
        cut = [line for line in text.splitlines() if not line.endswith("}")]
        assert len(cut) <= 1, "only the line that found the disk full may be cut"
        assert all(json.loads(line) for line in text.splitlines() if line not in cut)
    finally:
        os.system(f"umount {disk}")


def fill(path):
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 512)
        except OSError as full:
            assert full.errno == errno.ENOSPC


def provoke_line(gateway):
    with Wire(gateway.client_port, timeout=10 * gateway.slowness) as wire:
        return wire.request(b"nonsense\r\n\r\n").status == 400


def lost_lines(gateway, before):
    provoke_line(gateway)
    return gateway.metrics().get("tidegate_log_lines_lost_total") - before.get(
        "tidegate_log_lines_lost_total"
    )


@pytest.mark.heavy
def test_r5_a_write_that_fails_once_or_is_short_garbles_no_line(make_gateway, tmp_path):
    orders = faults.Faults(tmp_path)
    gateway = make_gateway(env=orders.env)
    before = gateway.metrics()
    for error in (errno.EIO, errno.EINTR, errno.EAGAIN, errno.ENOSPC):
        orders.fail_writes(1, error)
        wait_for(lambda: provoke_line(gateway) and orders.get("write_errors") == 0, 10, "the failing write")
    orders.set("short_writes", 3)
    wait_for(lambda: provoke_line(gateway) and orders.get("short_writes") == 0, 10, "the short writes")
    assert 1 <= lost_lines(gateway, before) <= 4
    gateway.stop()  # checks that every line is whole
    assert gateway.log()


# R7, R8


class Crowd:
    """Clients that read all they get, in a thread; each counts its bytes."""

    def __init__(self, gateway, count):
        self.wires = [upgraded(gateway, f"crowd-{i}") for i in range(count)]
        self.bytes = [len(wire.buffer) for wire in self.wires]
        self.selector = selectors.DefaultSelector()
        for i, wire in enumerate(self.wires):
            wire.socket.setblocking(False)
            self.selector.register(wire.socket, selectors.EVENT_READ, i)
        self.running = True
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self):
        while self.running:
            for key, _ in self.selector.select(0.05):
                data = key.fileobj.recv(1 << 20)
                assert data, "the gateway closed a session that reads"
                self.bytes[key.data] += len(data)

    def wait_for_bytes(self, count, seconds):
        wait_for(
            lambda: min(self.bytes) == count, seconds, lambda: f"{count} bytes each; {sorted(self.bytes)[:5]}"
        )

    def close(self):
        self.running = False
        self.thread.join()
        for wire in self.wires:
            wire.close()


@pytest.mark.release
@pytest.mark.timeout(180)
def test_r7_who_never_reads_is_closed_and_nobody_else_notices(make_gateway):
    gateway = make_gateway({"limits": {"session_queue_age": "2s"}, "window": {"max_bytes": "4MiB"}})
    count, size = 1000, 4096
    payload = json.dumps("x" * (size - 2))

    def attack():
        before = gateway.metrics()
        crowd = Crowd(gateway, 99)
        sleeper = upgraded(gateway, "sleeper", receive_buffer=4096)
        base = gateway.rss()
        try:
            for _ in range(count):
                gateway.push({"all": True}, json.loads(payload))
            crowd.wait_for_bytes(count * (4 + size), 60)
            wait_for(lambda: moved(gateway, before, reason="slow_consumer") == 1, 15, "4101 for the sleeper")
            assert gateway.rss() < base + (4 << 20) + (1 << 20) + (256 << 10)
        finally:
            crowd.close()
            sleeper.close()

    check_harmless(gateway, attack, reason="slow_consumer")


@pytest.mark.release
def test_r8_a_window_that_trickles_is_caught_by_the_age_of_the_queue(make_gateway):
    gateway = make_gateway({"limits": {"session_queue_age": "1s"}, "window": {"max_bytes": "4MiB"}})

    def attack():
        before = gateway.metrics()
        with upgraded(gateway, "trickle", receive_buffer=1024) as wire:
            for _ in range(400):
                gateway.push({"users": ["trickle"]}, "x" * 16_000)
            wait_for(
                lambda: wire.socket.recv(1) and moved(gateway, before, reason="slow_consumer") == 1,
                20,
                "4101 while it reads ten bytes a second",
                interval=0.1,
            )

    check_harmless(gateway, attack, reason="slow_consumer")


def test_r7_a_slow_client_that_catches_up_loses_nothing(gateway):
    with V1Client(gateway, user="napper") as client:
        for i in range(50):
            gateway.push({"users": ["napper"]}, [i, "x" * 4000])
        assert [data[0] for data in client.read_data(50)] == list(range(50))


# R9, R18: the network


def is_online(gateway, user):
    status, _, answer = gateway.api("GET", f"/v1/users/{user}")
    assert status == 200, answer
    return answer["online"]


def test_r9_a_client_that_vanishes_is_offline_in_time(make_gateway):
    gateway = make_gateway({"heartbeat": {"interval": "500ms", "missed": 2}})

    def attack():
        before = gateway.metrics()
        ghost = V1Client(gateway, user="ghost")
        assert is_online(gateway, "ghost")
        faults.cut(ghost.socket.socket)
        start = time.monotonic()
        wait_for(lambda: not is_online(gateway, "ghost"), 10 * gateway.slowness, "the ghost is gone")
        assert time.monotonic() - start <= 2.5 * gateway.slowness
        assert moved(gateway, before, reason="no_pong") == 1
        ghost.socket.socket.close()

    check_harmless(gateway, attack, reason="no_pong")


def test_r9_a_client_that_answers_pings_stays(make_gateway):
    gateway = make_gateway({"heartbeat": {"interval": "500ms", "missed": 1}})
    with V1Client(gateway, user="alive") as client:
        before = gateway.metrics()
        sent = before.get("tidegate_sent_bytes_total")
        wait_for(lambda: gateway.metrics().get("tidegate_sent_bytes_total") >= sent + 50, 20, "five pings")
        assert is_online(gateway, "alive")
        client.assert_silent(0.1)


def test_r18_what_is_sent_while_the_link_is_down_arrives_after_it(gateway):
    with V1Client(gateway, user="tunnel") as client:
        faults.cut(client.socket.socket)
        for i in range(20):
            gateway.push({"users": ["tunnel"]}, i)
        client.assert_silent(0.5)
        faults.mend(client.socket.socket)
        assert client.read_data(20, timeout=20) == list(range(20))


def test_r18_a_link_that_is_down_for_too_long_costs_a_resume_and_no_message(make_gateway):
    gateway = make_gateway({"heartbeat": {"interval": "200ms", "missed": 2}})
    client = V1Client(gateway, user="tunnel", hello={"groups": ["room:1"]})
    for i in range(5):
        gateway.push({"users": ["tunnel"]}, i)
    assert client.read_data(5) == list(range(5))
    faults.cut(client.socket.socket)
    wait_for(lambda: not is_online(gateway, "tunnel"), 20, "the gateway gives it up")
    for i in range(5, 10):
        gateway.push({"users": ["tunnel"]}, i)
    again = V1Client(gateway, user="tunnel", hello={"groups": ["room:1"], **client.resume()})
    client.socket.socket.close()
    assert again.welcome["resumed"] == "full"
    assert again.read_data(5) == list(range(5, 10))
    again.assert_silent()
    again.close()


def test_r18_a_third_of_all_packets_lost_loses_no_message(gateway):
    with V1Client(gateway, user="radio") as client:
        faults.lose(client.socket.socket, 0.3)
        for i in range(300):
            gateway.push({"users": ["radio"]}, [i, "x" * 1000])
        assert [data[0] for data in client.read_data(300, timeout=60)] == list(range(300))
        faults.mend(client.socket.socket)


# R10


def djb2_names(count):
    """ "Ez" and "FY" count the same in h * 33 + c, so all of these collide."""
    return ["".join(parts) for parts in itertools.islice(itertools.product(("Ez", "FY"), repeat=17), count)]


def crc_names(count):
    """Two blocks of one CRC-32 can stand for one another anywhere."""
    seen, rng = {}, random.Random(10)
    while True:
        block = "".join(rng.choices(string.ascii_letters + string.digits, k=8))
        other = seen.setdefault(zlib.crc32(block.encode()), block)
        if other != block:
            break
    return ["".join(parts) for parts in itertools.islice(itertools.product((block, other), repeat=17), count)]


def random_names(like):
    rng = random.Random(11)
    return ["".join(rng.choices(string.ascii_letters, k=len(name))) for name in like]


def cost_of_targets(gateway, names):
    """The gateway's CPU seconds for a push to each."""
    start = gateway.cpu_seconds()
    for at in range(0, len(names), 1000):
        gateway.push({"users": names[at : at + 1000]}, 1)
    return gateway.cpu_seconds() - start


def cost_of_members(gateway, names):
    """The same for groups that sessions are in: the tables hold all names at once."""
    start = gateway.cpu_seconds()
    clients = [V1Client(gateway, hello={"groups": names[at : at + 100]}) for at in range(0, len(names), 100)]
    spent = gateway.cpu_seconds() - start
    for client in clients:
        client.close()
    return spent


def cost_of_headers(gateway, names):
    start = gateway.cpu_seconds()
    request = get("/", [(name, "x") for name in names[:95]])
    with Wire(gateway.api_port) as wire:
        for _ in range(len(names) // 95):
            wire.request(request)
    return gateway.cpu_seconds() - start


@pytest.mark.release
@pytest.mark.parametrize("family", [djb2_names, crc_names])
@pytest.mark.parametrize(
    ("cost", "count"), [(cost_of_targets, 100_000), (cost_of_members, 10_000), (cost_of_headers, 10_000)]
)
def test_r10_names_that_collide_cost_what_others_do(make_gateway, family, cost, count):
    gateway = make_gateway(
        {"window": {"max_bytes": "4MiB"}, "limits": {"header": "64KiB"}}, app={"groups": {"join": ["*"]}}
    )
    hostile = family(count)
    assert len(set(hostile)) == count
    plain = random_names(hostile)
    cost(gateway, plain[: count // 10])  # warms the tables up
    usual = cost(gateway, plain)
    assert cost(gateway, hostile) <= 2 * usual + 0.02


# R11


def reset_at(gateway, data, count, answer=False):
    for _ in range(count):
        wire = Wire(gateway.client_port)
        if data:
            wire.send(data)
        if answer:
            wire.read_until(b"\r\n\r\n")
        wire.reset()


HELLO = frame(TEXT, b'{"t":"hello","v":1,"groups":["room:1"]}')
MOMENTS = {
    "connect": (b"", False),
    "half_a_request": (upgrade_request()[:60], False),
    "request": (upgrade_request(headers=[(USER_HEADER, "rst")]), False),
    "upgraded": (upgrade_request(headers=[V1_HEADER, (USER_HEADER, "rst")]), True),
    "hello": (upgrade_request(headers=[V1_HEADER, (USER_HEADER, "rst")]) + HELLO, False),
}


@pytest.mark.parametrize(("data", "answer"), MOMENTS.values(), ids=MOMENTS)
def test_r11_connections_that_are_reset_leave_nothing(gateway, data, answer):
    count = 3000 // gateway.slowness
    before = gateway.metrics().get("tidegate_connections")

    def attack():
        reset_at(gateway, data, count, answer)
        wait_for(
            lambda: gateway.metrics().get("tidegate_connections") - before <= 1,  # the bystander's
            20,
            lambda: f"{gateway.metrics().get('tidegate_connections')} connections are still counted",
        )

    check_harmless(gateway, attack, settle=20)
    wait_for(lambda: not is_online(gateway, "rst"), 10, "no slot is left")


# R12


JUMPS = {"hour_on": "+3600", "hour_back": "-3600", "ten_years_on": "+315360000", "leap_second": "+1"}


@pytest.mark.release
@pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)
def test_r12_only_tokens_follow_the_wall_clock(make_gateway, tmp_path, jump):
    clock = tmp_path / "clock"
    clock.write_text("+0\n")
    environment = {
        "LD_PRELOAD": FAKETIME,
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }
    gateway = make_gateway({"heartbeat": {"interval": "300ms", "missed": 2}}, env=environment)
    plain = [V1Client(gateway, user=f"plain-{i}") for i in range(20)]
    signed = V1Client(gateway, hello={"token": mint(claims("ada", lifetime=600))})
    before, start = gateway.metrics(), time.monotonic()
    clock.write_text(jump + "\n")
    if int(jump) > 600:
        with pytest.raises(ConnectionClosed) as end:
            while True:
                signed.read_any(timeout=5)
        assert end.value.rcvd.code == 4300
    # Several heartbeats later everybody is still there, and nobody was pinged more than usual.
    pinged = wait_for(
        lambda: pings(gateway, before) >= 20 * 3 and pings(gateway, before), 10, "three rounds of pings"
    )
    rounds = (time.monotonic() - start) / 0.27 + 1
    assert pinged <= 21 * rounds
    assert moved(gateway, before, reason="no_pong") == 0
    gateway.push({"all": True}, "everybody")
    for client in plain:
        assert client.read_data() == ["everybody"]
        client.close()
    if int(jump) <= 600:
        assert signed.read_data() == ["everybody"]
        signed.close()


def pings(gateway, before):
    """By the bytes sent: a ping has ten; whatever else is sent only raises the figure."""
    return (gateway.metrics().get("tidegate_sent_bytes_total") - before.get("tidegate_sent_bytes_total")) / 10


# R13


def told(control, what):
    """What a bystander tells of it: at how many ms the slowest hundredth of its pushes began."""
    control.begin()
    what()
    return control.end()["p99_ms"]


@pytest.mark.release
def test_r13_clients_that_lose_their_node_come_back_at_the_rate_and_nobody_else_notices(make_gateway):
    rate, count = 2000, 4000
    gateway = make_gateway({"limits": {"accept_rate": rate}})
    with contextlib.closing(Control(gateway)) as control, contextlib.closing(Storm(gateway, count)) as storm:
        storm.run_until_all_are_in(30)
        assert storm.most_in_a_second() <= 2 * rate  # a burst, and what comes within the second
        quiet = told(control, lambda: storm.run(1))
        before = gateway.metrics()
        storm.drop()
        noisy = told(control, lambda: storm.run_until_all_are_in(15))
        assert storm.counts()[101] == count
        assert storm.most_in_a_second() <= 2 * rate
        assert moved(gateway, before, reason="accept_rate") < count, "hardly anybody has to ask twice"
        assert noisy <= max(2 * quiet, 10), (quiet, noisy)


@pytest.mark.release
def test_r13_clients_that_never_wait_are_held_to_the_rate_and_cost_little(make_gateway):
    rate, seconds = 200, 1.5
    gateway = make_gateway({"limits": {"accept_rate": rate}})

    def attack():
        before, used = gateway.metrics(), gateway.cpu_seconds()
        with contextlib.closing(Storm(gateway, 300, hostile=True)) as storm:
            storm.run(seconds)
        spent = (gateway.cpu_seconds() - used) / seconds
        counts = storm.counts()
        assert 0 < counts[101] <= rate * (seconds + 1), counts
        assert counts[503] > 0, counts
        # A second's worth of twice the rate is accepted at once, then twice the rate; the others wait.
        assert counts[101] + counts[503] <= 2 * rate * (seconds + 1) + 64 * 2, counts
        paced = "tidegate_accepts_paced_total"
        assert gateway.metrics().get(paced) > before.get(paced)
        assert spent < 0.9, f"{spent:.2f} cores"

    check_harmless(gateway, attack, reason="accept_rate")


@pytest.mark.release
def test_r13_a_thousand_clients_dropped_at_once_are_back_in_time(make_gateway):
    gateway = make_gateway()
    count = 1000
    resume = []
    clients = [V1Client(gateway, user=f"back-{i}") for i in range(count)]
    for client in clients:
        resume.append(client.resume())
        client.socket.socket.close()
    gateway.push({"all": True}, "missed")
    start = time.monotonic()
    back = []
    with gateway.bystander():
        for i, hello in enumerate(resume):
            back.append(V1Client(gateway, user=f"back-{i}", hello=hello))
    for client in back:
        assert client.read_data() == ["missed"]
    assert time.monotonic() - start <= 15
    for client in back:
        client.close()


# R14


def push_on(gateway, done, statuses):
    """One caller that pushes over a kept connection until the gateway is gone."""
    api = http.client.HTTPConnection("127.0.0.1", gateway.api_port, timeout=10)
    headers = {"Authorization": f"Bearer {gateway.api_key}", "Content-Type": "application/json"}
    body = json.dumps({"to": {"users": ["0"]}, "data": "load"})
    while not done.is_set():
        is_new = api.sock is None
        try:
            api.request("POST", "/v1/messages", body=body, headers=headers)
        except OSError:
            return  # there is nobody to send it to: no answer is owed
        try:
            answer = api.getresponse()
            answer.read()
            statuses.append(answer.status)
        except http.client.RemoteDisconnected:
            return  # closed while idle, before it read the request
        except OSError as error:
            if not is_new:  # a new connection may have waited to be accepted when the listener went
                statuses.append(repr(error))
            return


@pytest.mark.smoke
def test_r14_a_drain_tells_everybody_in_order(make_gateway):
    window = 2
    gateway = make_gateway({"drain": {"window": f"{window}s"}})
    clients = [V1Client(gateway, user=str(i)) for i in range(40)]
    raw = connect_raw(gateway, "raw")
    done, statuses = threading.Event(), []
    callers = [threading.Thread(target=push_on, args=(gateway, done, statuses)) for _ in range(4)]
    for caller in callers:
        caller.start()
    wait_for(lambda: len(statuses) > 20, 10, "the load")
    start = time.monotonic()
    gateway.process.send_signal(signal.SIGTERM)
    slots, ready = [], None
    for client in clients:
        value = client.read("goaway", "msg")
        while value["t"] == "msg":
            value = client.read("goaway", "msg")
        ready = gateway.admin("GET", "/readyz")[0] if ready is None else ready
        assert value["why"] == "drain"
        assert 0 <= value["slot_ms"] <= value["window_ms"] == window * 1000
        slots.append(value["slot_ms"])
    assert ready == 503
    assert max(slots) - min(slots) >= window * 500, "the slots are not spread"
    for client in clients:
        with pytest.raises(ConnectionClosed) as end:
            while True:
                client.read_any(timeout=10 * gateway.slowness)
        assert end.value.rcvd.code == 4200
    with pytest.raises(ConnectionClosed) as end:
        raw.recv(timeout=10)
    assert end.value.rcvd.code == 4200
    code = gateway.process.wait(20)
    took = time.monotonic() - start
    done.set()
    for caller in callers:
        caller.join()
    assert code == 0
    assert took <= window + 5
    assert set(statuses) <= {200, 202, 503}, set(statuses)


def test_r14_a_second_sigterm_is_quicker(make_gateway):
    gateway = make_gateway({"drain": {"window": "60s"}})
    client = V1Client(gateway, user="patient")
    gateway.process.send_signal(signal.SIGTERM)
    assert client.read("goaway")["window_ms"] == 60_000
    start = time.monotonic()
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(20) == 0
    assert time.monotonic() - start <= 5
    client.close()


def test_r14_nobody_new_comes_in_while_it_drains(make_gateway):
    gateway = make_gateway({"drain": {"window": "60s"}})
    with V1Client(gateway, user="patient") as client:
        gateway.process.send_signal(signal.SIGTERM)
        client.read("goaway")
        try:
            with Wire(gateway.client_port) as wire:
                answer = wire.request(upgrade_request())
            assert answer.status == 503
            assert int(answer.header("Retry-After")) > 0
        except (Closed, ConnectionError):
            pass  # not listening any more is as good
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(20) == 0
