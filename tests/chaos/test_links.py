"""The proxy between nodes and servers: what is cut carries nothing, and loses nothing when it is healed."""

import os
import socket

import pytest

from chaos.links import ANNOUNCED, APART, DOWN, UP, Links

SILENCE = 0.15


@pytest.fixture
def server():
    with socket.socket() as listening:
        listening.bind((APART, 0))
        listening.listen()
        listening.settimeout(5)
        yield listening


@pytest.fixture
def links(server):
    links = Links([server.getsockname()[1]])
    links.name("me", os.getpid())
    yield links
    links.close()


@pytest.fixture
def ends(links, server):
    """A connection: the node's end and the server's."""
    with socket.create_connection((ANNOUNCED, server.getsockname()[1]), 5) as near:
        far, _ = server.accept()
        far.settimeout(5)
        with far:
            yield near, far


def carries(sender, receiver):
    sender.sendall(b"x")
    receiver.settimeout(SILENCE)
    try:
        return receiver.recv(10) == b"x"
    except TimeoutError:
        return False
    finally:
        receiver.settimeout(5)


def test_both_ways_are_open_at_first(ends):
    near, far = ends
    assert carries(near, far)
    assert carries(far, near)


@pytest.mark.parametrize(
    "directions, up, down", [([UP, DOWN], False, False), ([UP], False, True), ([DOWN], True, False)]
)
def test_a_cut_link_carries_nothing_that_way_and_all_of_it_when_healed(links, ends, directions, up, down):
    near, far = ends
    links.cut("me", directions)
    assert carries(near, far) == up
    assert carries(far, near) == down
    links.heal("me")
    for is_through, end in ((up, far), (down, near)):
        if not is_through:
            assert end.recv(10) == b"x"


def test_links_of_another_node_stay(links, ends):
    links.cut("other")
    near, far = ends
    assert carries(near, far)


def test_links_to_another_server_stay(links, ends):
    links.cut("me", port=1)
    near, far = ends
    assert carries(near, far)


def test_a_healing_may_reset_what_was_open(links, ends):
    near, far = ends
    links.cut("me")
    links.heal("me", reset=True)
    for end in ends:
        with pytest.raises(ConnectionResetError):
            end.recv(1)


def test_who_connects_while_it_is_cut_waits(links, server):
    links.cut("me")
    with socket.create_connection((ANNOUNCED, server.getsockname()[1]), 5) as near:
        server.settimeout(SILENCE)
        with pytest.raises(TimeoutError):
            server.accept()
        links.heal("me")
        server.settimeout(5)
        far, _ = server.accept()
        with far:
            assert carries(near, far)


def test_a_server_that_is_away_resets(links, server):
    server.close()
    near = socket.create_connection((ANNOUNCED, links.ports[0]), 5)
    with near, pytest.raises(ConnectionResetError):
        near.recv(1)
