"""Coming back: what was missed arrives, in order, or the loss is announced."""

import pytest
from harness.clients import V1Client

pytestmark = pytest.mark.smoke


def test_what_was_missed_arrives_in_order_then_what_is_live(gateway):
    with V1Client(gateway, user="back") as client:
        gateway.push({"users": ["back"]}, "seen")
        assert client.read_data() == ["seen"]
        back = client.resume()
    for i in range(50):
        gateway.push({"users": ["back"]}, i)
    with V1Client(gateway, user="back", hello=back) as client:
        assert client.welcome["resumed"] == "full"
        gateway.push({"users": ["back"]}, "live")
        assert client.read_data(51) == [*range(50), "live"]


def test_what_a_group_missed_arrives_too(gateway):
    groups = {"groups": ["room:resume"]}
    with V1Client(gateway, user="in-group", hello=groups) as client:
        gateway.push({"groups": ["room:resume"]}, "seen")
        assert client.read_data() == ["seen"]
        back = client.resume()
    gateway.push({"groups": ["room:resume"]}, "missed")
    gateway.push({"groups": ["room:other"]}, "not mine")
    with V1Client(gateway, user="in-group", hello={**groups, **back}) as client:
        assert client.read_data() == ["missed"]
        client.assert_silent()


def test_nothing_missed_is_nothing_replayed(gateway):
    with V1Client(gateway, user="quiet") as client:
        gateway.push({"users": ["quiet"]}, "seen")
        assert client.read_data() == ["seen"]
        back = client.resume()
    with V1Client(gateway, user="quiet", hello=back) as client:
        assert client.welcome["resumed"] == "full"
        client.assert_silent()


def test_a_repeat_carries_the_same_id(gateway):
    with V1Client(gateway, user="repeat") as client:
        back = client.resume()
        answer = gateway.push({"users": ["repeat"]}, "twice")
        first = client.read("msg")
    with V1Client(gateway, user="repeat", hello=back) as client:
        again = client.read("msg")
    assert first == again
    assert first["id"] == answer["id"]


def test_another_epoch_is_a_gap(gateway):
    with V1Client(gateway, user="epoch") as client:
        back = client.resume()
    back["resume"]["epoch"] = "another"
    with V1Client(gateway, user="epoch", hello=back) as client:
        assert client.welcome["resumed"] == "none"
        assert client.read("gap")["why"] == "epoch"
        gateway.push({"users": ["epoch"]}, "live")
        assert client.read("msg", "gap")


def test_positions_past_the_window_are_a_gap(make_gateway):
    gateway = make_gateway({"window": {"max_bytes": "1MiB"}})
    with V1Client(gateway, user="late") as client:
        gateway.push({"users": ["late"]}, "seen")
        assert client.read_data() == ["seen"]
        back = client.resume()
    for _ in range(100):
        gateway.push({"users": ["late"]}, "x" * 30000)
    with V1Client(gateway, user="late", hello=back) as client:
        assert client.welcome["resumed"] == "partial"
        assert client.read("gap")["why"] == "expired"
        got = client.read_data()
        assert got == ["x" * 30000]


def test_a_restart_is_another_epoch(make_gateway):
    first = make_gateway()
    with V1Client(first, user="restart") as client:
        back = client.resume()
    second = make_gateway()
    with V1Client(second, user="restart", hello=back) as client:
        assert client.read("gap")["why"] == "epoch"


POSITIONS = {
    "garbage": {"0": "x"},
    "no_such_queue": {"99": "1.0"},
    "future": {"0": "99999999.0"},
    "huge": {"0": "9" * 40 + ".0"},
    "negative": {"0": "-1.0"},
}


@pytest.mark.parametrize("positions", POSITIONS.values(), ids=POSITIONS)
def test_wrong_positions_are_a_gap_or_refused_and_the_gateway_lives(gateway, positions):
    with V1Client(gateway, user="wrong") as client:
        epoch = client.welcome["epoch"]
    try:
        with V1Client(gateway, user="wrong", hello={"resume": {"epoch": epoch, "pos": positions}}) as client:
            assert client.welcome["resumed"] in ("none", "partial", "full")
    except Exception as error:
        assert "4002" in str(error), error
    assert gateway.is_ready()


def test_resumes_while_pushes_flow_lose_nothing(gateway):
    """The fence: what is before it is replayed, what is after it is live, and nothing falls between."""
    got, pushed = [], 0
    back = {}
    for _ in range(20):
        with V1Client(gateway, user="fence", hello=back) as client:
            for _ in range(3):
                gateway.push({"users": ["fence"]}, pushed)
                pushed += 1
            got += client.read_data()
            back = client.resume()
        gateway.push({"users": ["fence"]}, pushed)
        pushed += 1
    with V1Client(gateway, user="fence", hello=back) as client:
        while got[-1] != pushed - 1:
            got += client.read_data()
    assert got == list(range(pushed))
