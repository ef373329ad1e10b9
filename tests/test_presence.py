"""Who is there: what the API says of users and groups."""

import contextlib
import resource

import pytest
from harness.gateway import USER_HEADER
from harness.wire import Wire, upgrade_request

LISTED = 1000  # sessions of one user, at most


@pytest.fixture
def enter(gateway):
    """A function that opens raw sessions; they end with the test."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    with contextlib.ExitStack() as ends:

        def open_session(user, path="/v1/ws"):
            wire = ends.enter_context(Wire(gateway.client_port, timeout=10 * gateway.slowness))
            assert wire.request(upgrade_request(path, [(USER_HEADER, user)])).status == 101

        yield open_session
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_user_with_very_many_sessions_is_counted_in_full_and_listed_in_part(gateway, enter):
    for _ in range(LISTED + 1):
        enter("many")
    status, _, answer = gateway.api("GET", "/v1/users/many")
    assert (status, answer["online"], answer["complete"]) == (200, True, True)
    assert answer["session_count"] == LISTED + 1
    assert len({session["sid"] for session in answer["sessions"]}) == LISTED


def test_a_user_is_listed_with_all_sessions_of_all_workers(gateway, enter):
    for _ in range(20):
        enter("some")
    answer = gateway.api("GET", "/v1/users/some")[2]
    assert answer["session_count"] == len({session["sid"] for session in answer["sessions"]}) == 20


def test_a_user_with_sessions_on_several_workers_counts_once_in_a_group(gateway, enter):
    for number in range(60):
        enter(f"member-{number % 7}", "/v1/ws?group=room:counted")
    answer = gateway.api("GET", "/v1/groups/room:counted")[2]
    assert (answer["sessions"], answer["users"]) == (60, 7)
    assert gateway.api("GET", "/v1/groups/room:empty")[2]["users"] == 0
