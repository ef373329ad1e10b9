"""What /metrics says of a cluster, and of what happens to messages."""

import contextlib

import pytest
from harness.gateway import USER_HEADER, wait_for
from harness.wire import Wire, upgrade_request


@pytest.fixture
def enter():
    """A function that opens a raw session of a user on a node; they end with the test."""
    with contextlib.ExitStack() as ends:

        def open_session(gateway, user):
            wire = ends.enter_context(Wire(gateway.client_port, timeout=10 * gateway.slowness))
            assert wire.request(upgrade_request("/v1/ws", [(USER_HEADER, user)])).status == 101
            return wire

        yield open_session


def users_of(cluster, name="tidegate_cluster_users"):
    return [node.metrics().get(name, app="demo") for node in cluster.nodes]


def test_a_user_with_sessions_on_several_nodes_counts_once_on_all_of_them(make_cluster, enter):
    cluster = make_cluster("redis", count=3)
    first, second, third = cluster.nodes
    for gateway in cluster.nodes:
        enter(gateway, "everywhere")
    both = [enter(first, "of two"), enter(second, "of two")]
    enter(third, "of one")
    wait_for(lambda: users_of(cluster) == [3, 3, 3], 20, lambda: users_of(cluster))
    assert users_of(cluster, "tidegate_users") == [2, 2, 2]
    for wire in both:
        wire.close()
    wait_for(lambda: users_of(cluster) == [2, 2, 2], 20, lambda: users_of(cluster))
