"""What an operator does: limits, a reload by SIGHUP, a second gateway on the same ports."""

import contextlib
import copy
import hashlib
import json
import signal
import subprocess
import time
from collections import Counter

import pytest
import yaml
from harness.clients import V1Client, connect_raw
from harness.control import Control
from harness.gateway import ROOT, Gateway, wait_for
from harness.wire import Wire, get
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect


def refusal_of(gateway, user):
    with pytest.raises(InvalidStatus) as caught, connect_raw(gateway, user):
        pass
    return caught.value.response


def test_over_the_limit_of_sessions_a_connect_is_503_until_one_leaves(make_gateway):
    gateway = make_gateway({"limits": {"sessions": 2}})
    first = connect_raw(gateway, "a", legacy=True)
    second = connect_raw(gateway, "b", legacy=True)
    before = gateway.metrics()
    response = refusal_of(gateway, "c")
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) > 0
    counted = gateway.metrics().get("tidegate_handshakes_refused_total", reason="session_limit")
    assert counted == (before.get("tidegate_handshakes_refused_total", reason="session_limit") or 0) + 1
    first.close()

    def one_more():
        try:
            with connect_raw(gateway, "c"):
                return True
        except InvalidStatus:
            return False

    wait_for(one_more, 5 * gateway.slowness, "a place is free again")
    second.close()


def test_over_the_limit_of_an_address_a_connect_is_429(make_gateway):
    gateway = make_gateway({"limits": {"sessions_per_ip": 1}})
    with connect_raw(gateway, "a"):
        response = refusal_of(gateway, "b")
        assert response.status_code == 429
        assert int(response.headers["Retry-After"]) > 0


def test_over_the_limit_of_a_user_a_session_is_closed_with_4005(make_gateway):
    gateway = make_gateway({"limits": {"sessions_per_user": 1}})
    with V1Client(gateway, user="u"):
        for connect_again in (
            lambda: V1Client(gateway, user="u"),
            lambda: connect_raw(gateway, "u", legacy=True).recv(5),
        ):
            with pytest.raises(ConnectionClosed) as caught:
                connect_again()
            assert caught.value.rcvd.code == 4005
        with V1Client(gateway, user="other") as other:
            assert other.welcome["user"] == "other"


def test_groups_over_the_limit_are_refused_and_the_session_starts(make_gateway):
    gateway = make_gateway({"limits": {"groups_per_session": 3}})
    names = [f"room:{i}" for i in range(200)]
    with V1Client(gateway, user="u", hello={"groups": names}) as client:
        assert {refused["code"] for refused in client.refused} == {"group_limit"}
        answer = gateway.api("GET", f"/v1/sessions/{client.sid}")
        assert answer[0] == 200
        groups = answer[-1]["groups"]
        assert sorted(groups) == names[:3]


def reload(gateway, changes):
    gateway.config.update(changes)
    gateway.config_path.write_text(yaml.safe_dump(gateway.config))
    before = len(gateway.log())
    gateway.process.send_signal(signal.SIGHUP)

    def told():
        return [line for line in gateway.log()[before:] if line["event"] in ("reload.done", "reload.refused")]

    return wait_for(told, 10 * gateway.slowness, "the reload is over")


def test_a_reload_takes_effect_and_sessions_stay(make_gateway):
    gateway = make_gateway()
    with V1Client(gateway, user="stays") as client:
        assert reload(gateway, {"limits": {"sessions_per_ip": 1}})[-1]["event"] == "reload.done"
        with connect_raw(gateway, "first"):
            assert refusal_of(gateway, "second").status_code == 429
        gateway.push({"users": ["stays"]}, "still here")
        assert client.read_data() == ["still here"]


def connect_to_second(gateway):
    return connect(gateway.ws_url("/v1/ws?app=second"), compression=None, legacy=True)


def test_a_reload_adds_an_app_and_takes_one_away(make_gateway):
    gateway = make_gateway()
    added = {"name": "second", "auth": {"anonymous": True}}
    assert reload(gateway, {"apps": [*gateway.config["apps"], added]})[-1]["event"] == "reload.done"
    with connect_to_second(gateway):
        pass
    assert reload(gateway, {"apps": gateway.config["apps"][:1]})[-1]["event"] == "reload.done"
    with pytest.raises(InvalidStatus) as caught:
        connect_to_second(gateway).close()
    assert caught.value.response.status_code == 404


@pytest.mark.parametrize(
    "changes", [{"workers": 1}, {"limits": {"no_such_limit": 1}}, {"limits": {"message": "much"}}]
)
def test_a_reload_that_can_not_be_done_changes_nothing(make_gateway, changes):
    gateway = make_gateway()
    with V1Client(gateway, user="stays") as client:
        assert reload(gateway, changes)[-1]["event"] == "reload.refused"
        gateway.push({"users": ["stays"]}, 1)
        assert client.read_data() == [1]


@pytest.mark.parametrize("port", ["client", "api", "admin"])
def test_a_second_gateway_on_a_port_does_not_start(make_gateway, tmp_path, port):
    gateway = make_gateway()
    listen = {name: "127.0.0.1:0" for name in ("client", "api", "admin")}
    listen[port] = gateway.config["listen"][port]
    config = {**gateway.config, "listen": listen}
    path = tmp_path / "second.yaml"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config))
    binary = ROOT / "build" / gateway.preset / "tidegate"
    done = subprocess.run(
        [binary, "serve", "--config", path], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "somebody listens there already" in done.stderr or "can't be opened" in done.stderr
    assert f"listen.{port}" in done.stderr


# B16: one app of several uses too much


CALM_KEY = "test-key-of-the-app-that-is-calm-and-has-no-part-in-it"


@pytest.fixture
def gateway_of_two(tmp_path):
    """An app with quotas, the tests' own, and a calm one. Measured, so the release gateway."""
    gateway = Gateway("release", tmp_path, app={"quotas": {"pushes_per_second": 200, "sessions": 3}})
    digest = "sha256:" + hashlib.sha256(CALM_KEY.encode()).hexdigest()
    keys = [{"name": "calm", "hash": digest, "scopes": ["push"]}]
    auth = copy.deepcopy(gateway.config["apps"][0]["auth"])
    gateway.config["apps"].append({"name": "calm", "api_keys": keys, "auth": auth})
    gateway.start()
    yield gateway
    gateway.stop()


def flood(gateway, seconds, rate):
    """Pushes of the app with a quota, by one caller that waits for nothing. Returns the answers."""
    body = b'{"to":{"users":["x"]},"data":1}'
    headers = [("Authorization", f"Bearer {gateway.api_key}"), ("Content-Length", len(body))]
    request = get("/v1/messages", headers, method="POST", body=body)
    answers, start = [], time.monotonic()
    with Wire(gateway.api_port) as wire:
        while (passed := time.monotonic() - start) < seconds:
            due = int(rate * passed) + 1 - len(answers)
            wire.send(request * due)
            answers += [wire.read_response() for _ in range(due)]
            time.sleep(0.01)
    return answers


@pytest.mark.release
def test_b16_an_app_that_pushes_ten_times_its_quota_gets_429_and_the_others_do_not_notice(gateway_of_two):
    gateway, calm = gateway_of_two, copy.copy(gateway_of_two)
    calm.api_key = CALM_KEY
    seconds, quota = 2, 200
    with contextlib.closing(Control(calm, app="calm")) as control:
        control.begin()
        time.sleep(1)  # a figure over time needs its time
        quiet = control.end()["p99_ms"]
        control.begin()
        answers = flood(gateway, seconds, 10 * quota)
        noisy = control.end()["p99_ms"]
    counts = Counter(answer.status for answer in answers)
    assert set(counts) == {202, 429}
    assert quota * seconds <= counts[202] <= quota * (seconds + 1.5), counts
    refusal = next(answer for answer in answers if answer.status == 429)
    assert json.loads(refusal.body)["code"] == "quota_exceeded"
    assert int(refusal.header("Retry-After")) >= 1
    assert gateway.metrics().get("tidegate_quota_refused_total", app="demo", quota="pushes") == counts[429]
    gateway.wait_for_line("quota.exceeded")
    assert noisy <= max(1.5 * quiet, 5), (quiet, noisy)


def test_b16_an_app_with_all_its_sessions_gets_429_and_the_others_still_connect(gateway_of_two):
    gateway = gateway_of_two

    def connect_to(app):
        headers = {"X-User-Id": "ada"}
        return connect(gateway.ws_url(f"/v1/ws?app={app}"), additional_headers=headers, legacy=True)

    sessions = [connect_to("demo") for _ in range(3)]
    with pytest.raises(InvalidStatus) as caught:
        connect_to("demo")
    assert caught.value.response.status_code == 429
    assert int(caught.value.response.headers["Retry-After"]) > 0
    sessions += [connect_to("calm") for _ in range(10)]
    assert gateway.metrics().get("tidegate_quota_refused_total", app="demo", quota="sessions") == 1
    # A reload changes the limit, not the count.
    gateway.config["apps"][0]["quotas"]["sessions"] = 4
    assert reload(gateway, {})[-1]["event"] == "reload.done"
    sessions.append(connect_to("demo"))
    with pytest.raises(InvalidStatus):
        connect_to("demo")
    for session in sessions:
        session.close()
