"""W1: the Autobahn suite finds nothing to complain about."""

import pytest

from autobahn import runners

SLOW = ["9.*", "12.*", "13.*"]
CONFIG = {
    "debug": {"echo": True},
    "limits": {"message": "16MiB", "fragments": 65536, "session_queue": "64MiB", "session_queue_age": "60s"},
    "drain": {"window": "0s"},
}


def assert_clean(results, cases):
    assert not runners.not_ok(results), f"not OK: {runners.not_ok(results)}"
    assert len(results) == cases


@pytest.mark.timeout(300)
def test_w1_autobahn_without_the_slow_sections(make_gateway):
    gateway = make_gateway(CONFIG)
    assert_clean(runners.run_kosoku(gateway.ws_url("/v1/echo"), exclude=SLOW), 247)


@pytest.mark.long
@pytest.mark.conformance
@pytest.mark.timeout(3600)
def test_w1_autobahn_whole(make_gateway):
    gateway = make_gateway(CONFIG)
    assert_clean(runners.run_kosoku(gateway.ws_url("/v1/echo"), timeout=1800), 517)


@pytest.mark.long
@pytest.mark.conformance
@pytest.mark.timeout(7200)
def test_w1_autobahn_whole_by_the_original(make_gateway):
    python2 = runners.find_python2()
    if not python2:
        pytest.skip("the original needs a CPython 2.7")
    runners.install_original(python2)
    gateway = make_gateway(CONFIG)
    assert_clean(runners.run_original(gateway.ws_url("/v1/echo")), 517)
