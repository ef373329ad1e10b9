"""The proxy that other tests break links with: each verb does what it says, to the bytes."""

import contextlib
import socket
import threading
import time

import pytest
from harness.proxy import Proxy

SILENCE = 0.15  # how long nothing must come
PATIENCE = 10


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(PATIENCE)
        yield listening


@pytest.fixture
def proxy(server):
    with Proxy(server.getsockname()) as proxy:
        yield proxy


def connect(proxy):
    return socket.create_connection((proxy.host, proxy.port), PATIENCE)


@pytest.fixture
def ends(proxy, server):
    """A connection: the client's end and the server's."""
    with connect(proxy) as near, server.accept()[0] as far:
        far.settimeout(PATIENCE)
        yield near, far


def hears(receiver):
    receiver.settimeout(SILENCE)
    try:
        return receiver.recv(100)
    except TimeoutError:
        return None
    finally:
        receiver.settimeout(PATIENCE)


def read(receiver, count):
    data = b""
    while len(data) < count and (more := receiver.recv(65536)):
        data += more
    return data


def test_it_carries_both_ways_and_the_end_too(ends):
    near, far = ends
    near.sendall(b"there")
    assert read(far, 5) == b"there"
    far.sendall(b"back")
    assert read(near, 4) == b"back"
    near.shutdown(socket.SHUT_WR)
    assert far.recv(1) == b""
    far.sendall(b"last")
    assert read(near, 4) == b"last"
    far.close()
    assert near.recv(1) == b""


@pytest.mark.parametrize("to_server, to_client", [(True, False), (False, True), (True, True)])
def test_what_is_dropped_comes_when_it_heals(proxy, ends, to_server, to_client):
    near, far = ends
    proxy.drop(to_server, to_client)
    near.sendall(b"up")
    far.sendall(b"down")
    assert hears(far) == (None if to_server else b"up")
    assert hears(near) == (None if to_client else b"down")
    proxy.heal()
    assert read(far, 2) == b"up" if to_server else hears(far) is None
    assert read(near, 4) == b"down" if to_client else hears(near) is None


def test_refused_are_new_connections_alone(proxy, ends):
    near, far = ends
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    near.sendall(b"still")
    assert read(far, 5) == b"still"
    port = proxy.port
    proxy.heal()
    assert proxy.port == port
    connect(proxy).close()


def test_silent_are_new_connections_until_it_heals(proxy, ends, server):
    near, far = ends
    proxy.silence()
    with connect(proxy) as late:
        late.sendall(b"hello")
        assert hears(late) is None
        near.sendall(b"still")
        assert read(far, 5) == b"still"
        proxy.heal()
        with server.accept()[0] as late_far:
            late_far.settimeout(PATIENCE)
            assert read(late_far, 5) == b"hello"


def test_a_reset_ends_all_connections_on_both_sides(proxy, ends, server):
    proxy.silence()
    with connect(proxy) as waiting:
        proxy.reset()
        for end in (*ends, waiting):
            with pytest.raises(ConnectionResetError):
                end.recv(1)
    proxy.heal()
    with connect(proxy) as near, server.accept()[0] as far:
        near.sendall(b"new")
        assert read(far, 3) == b"new"


def test_a_delay_keeps_the_order(proxy, ends):
    near, far = ends
    proxy.delay(200)
    start = time.monotonic()
    for number in range(10):
        near.sendall(bytes([number]))
    assert read(far, 10) == bytes(range(10))
    assert time.monotonic() - start >= 0.2
    proxy.delay(1000 * PATIENCE * 10)
    proxy.heal()
    far.sendall(b"quick")
    assert read(near, 5) == b"quick"


def test_a_reset_of_the_server_is_passed_on(ends):
    near, far = ends
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
    far.close()
    with pytest.raises(ConnectionResetError):
        near.recv(1)


def test_an_end_waits_behind_a_fault_too(proxy, ends):
    near, far = ends
    proxy.drop(to_server=False)
    far.sendall(b"last")
    far.close()
    assert hears(near) is None
    proxy.heal()
    assert read(near, 5) == b"last"


def test_without_a_server_the_client_is_reset(proxy, server):
    server.close()
    with pytest.raises(ConnectionResetError), connect(proxy) as near:
        near.recv(1)


def test_a_port_that_is_taken_is_told(server):
    with pytest.raises(OSError):
        Proxy(("127.0.0.1", 1), port=server.getsockname()[1])


def test_several_carry_thousands_of_messages_a_second(server):
    """Questions and answers, one at a time, through four proxies at once."""
    rounds, size = 1000, 200

    def echo(far):
        with far, contextlib.suppress(OSError):
            while data := far.recv(65536):
                far.sendall(data)

    def ask(near):
        for _ in range(rounds):
            near.sendall(bytes(size))
            assert len(read(near, size)) == size

    with contextlib.ExitStack() as ends:
        proxies = [ends.enter_context(Proxy(server.getsockname())) for _ in range(4)]
        clients = [ends.enter_context(connect(proxy)) for proxy in proxies]
        threads = [threading.Thread(target=echo, args=(server.accept()[0],)) for _ in clients]
        threads += [threading.Thread(target=ask, args=(client,)) for client in clients]
        start = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads[len(clients) :]:
            thread.join()
        took = time.monotonic() - start
    print(f"{len(clients) * rounds / took:.0f} round trips/s through {len(clients)} proxies")
    assert took < 60
