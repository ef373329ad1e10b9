"""`tidegate doctor` against real proxies in front of a real gateway: which step does not work, and why."""

import json
import signal
import subprocess

import pytest
from harness.certificates import Authority
from harness.front import haproxy, nginx, program, running
from harness.gateway import ROOT
from harness.tokens import claims, mint
from test_cli import REFUSED, USAGE, binary, environment

CONFIG = {"heartbeat": {"interval": "1s"}}


def doctor(gateway, *words, token=True, code=0):
    """The checks by id; each stands there once."""
    run = subprocess.run(
        [binary(gateway), "doctor", "--json", "--timeout", "2s", *words],
        env=environment(TIDEGATE_TOKEN=mint(claims("doctor")) if token is True else token),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30 * gateway.slowness,
    )
    found = [json.loads(line) for line in run.stdout.splitlines()]
    checks = {check["check"]: check for check in found}
    assert len(checks) == len(found), found
    assert run.returncode == code, (run.stdout, run.stderr)
    return checks


def statuses(checks):
    return {name.removeprefix("front."): check["status"] for name, check in checks.items()}


STEPS = [
    "dns",
    "tcp",
    "tls",
    "http",
    "headers",
    "compression",
    "sse",
    "upgrade",
    "subprotocol",
    "hello",
    "frame",
]
GOOD = dict.fromkeys([*STEPS, "idle"], "ok")


def without(checks, *names):
    return {name: status for name, status in statuses(checks).items() if name not in names}


# ---- all is well ----


def test_a_gateway_without_anything_in_front_is_good(gateway):
    checks = doctor(gateway, gateway.ws_url(""), "--idle", "2s")
    assert statuses(checks) == GOOD
    assert "pings came through" in checks["front.idle"]["what"]
    assert " 0 pings" not in checks["front.idle"]["what"]


def test_through_nginx_as_it_should_be(gateway, tmp_path):
    with nginx(gateway.client_port, tmp_path, "proxy_read_timeout 3s; proxy_buffering off;") as url:
        checks = doctor(gateway, url, "--idle", "3500ms")
    assert without(checks, "clock") == GOOD
    assert checks["front.clock"]["status"] == "ok"
    assert "tidegate, Server: nginx" in checks["front.http"]["what"]


def test_through_haproxy_as_it_should_be(gateway, tmp_path):
    with haproxy(gateway.client_port, tmp_path, quiet="3s") as url:
        assert statuses(doctor(gateway, url + "/v1/ws", "--idle", "3500ms")) == GOOD


# ---- who cuts ----


@pytest.mark.parametrize("proxy", ["nginx", "haproxy"])
def test_a_proxy_that_cuts_quiet_connections_is_found_with_its_time(make_gateway, tmp_path, proxy):
    gateway = make_gateway()  # pings each 25 s
    front = (
        nginx(gateway.client_port, tmp_path, "proxy_read_timeout 1s;")
        if proxy == "nginx"
        else haproxy(gateway.client_port, tmp_path, quiet="1s")
    )
    with front as url:
        checks = doctor(gateway, url, "--idle", "10s", code=REFUSED)
    idle = checks["front.idle"]
    assert idle["status"] == "fail"
    seconds = float(idle["what"].split()[2])
    assert 0.8 < seconds < 4, idle
    assert "not the gateway" in idle["what"]
    assert "proxy_read_timeout" in idle["fix"]
    assert "timeout tunnel" in idle["fix"]
    assert statuses(checks)["hello"] == "ok"


def idling(gateway):
    """A doctor that idles by now."""
    process = subprocess.Popen(
        [binary(gateway), "doctor", gateway.ws_url(), "--json", "--idle", "60s"],
        env=environment(TIDEGATE_TOKEN=mint(claims("doctor"))),
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if json.loads(line)["check"] == "front.frame":
            break
    return process


def test_what_the_user_interrupts_has_not_failed(gateway):
    process = idling(gateway)
    process.send_signal(signal.SIGINT)
    idle = json.loads(process.stdout.readline())
    assert process.wait(10 * gateway.slowness) == 0
    assert (idle["check"], idle["status"]) == ("front.idle", "skip")
    assert process.stdout.read() == ""


def test_a_close_of_the_gateways_own_is_told_from_a_cut(make_gateway):
    gateway = make_gateway({"cluster": {"node": "gw"}})
    process = idling(gateway)
    assert gateway.api("POST", "/v1/nodes/gw:drain", {"window_ms": 0})[0] == 202
    idle = json.loads(process.stdout.readline())
    process.wait(10 * gateway.slowness)
    assert (idle["check"], idle["status"]) == ("front.idle", "warn")
    assert "the gateway itself closed" in idle["what"]
    assert "4200" in idle["what"]


# ---- what is lost on the way ----


def test_a_proxy_that_strips_the_upgrade_is_found(gateway, tmp_path):
    with nginx(gateway.client_port, tmp_path, upgrade=False) as url:
        checks = doctor(gateway, url, "--idle", "0", code=REFUSED)
    assert checks["front.upgrade"]["status"] == "fail"
    assert "takes the headers Upgrade and Connection away" in checks["front.upgrade"]["what"]
    assert "proxy_set_header Upgrade" in checks["front.upgrade"]["fix"]
    assert checks["front.http"]["status"] == "ok"


def test_a_lost_subprotocol_is_found(gateway, tmp_path):
    with nginx(gateway.client_port, tmp_path, "proxy_hide_header Sec-WebSocket-Protocol;") as url:
        checks = doctor(gateway, url, "--idle", "0", code=REFUSED)
    assert checks["front.upgrade"]["status"] == "ok"
    assert checks["front.subprotocol"]["status"] == "fail"


def test_a_proxy_that_holds_events_back_is_found(gateway, tmp_path):
    lines = "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;"
    with nginx(gateway.client_port, tmp_path, lines) as url:
        checks = doctor(gateway, url, "--idle", "0", code=REFUSED)
    assert checks["front.sse"]["status"] == "fail"
    assert "holds the" in checks["front.sse"]["what"]
    assert "proxy_buffering off" in checks["front.sse"]["fix"]


def test_small_header_buffers_are_found(gateway, tmp_path):
    with haproxy(gateway.client_port, tmp_path) as url:
        config = tmp_path / "haproxy.cfg"
        assert doctor(gateway, url, "--idle", "0")["front.headers"]["status"] == "ok"
    config.write_text("global\n    tune.bufsize 4096\n" + config.read_text())
    port = int(url.rsplit(":", 1)[1])
    with running([program("haproxy"), "-db", "-f", str(config)], port, tmp_path):
        checks = doctor(gateway, url, "--idle", "0")
    assert checks["front.headers"]["status"] == "warn"
    assert "something else than tidegate; one of 2000 comes" in checks["front.headers"]["what"]


# ---- what is not there ----


def test_a_proxy_without_a_gateway_is_told_from_one_with_a_wrong_path(gateway, tmp_path):
    with nginx(1, tmp_path) as url:
        checks = doctor(gateway, url, "--idle", "0", code=REFUSED)
    assert "502 by something else than tidegate, Server: nginx" in checks["front.http"]["what"]
    assert "no gateway" in checks["front.http"]["what"]
    with nginx(gateway.client_port, tmp_path, "rewrite ^ /other break;") as url:
        checks = doctor(gateway, url, "--idle", "0", code=REFUSED)
    assert checks["front.http"]["status"] == "fail"
    assert "404 by tidegate" in checks["front.http"]["what"]


def test_a_certificate_that_is_not_trusted_or_of_another_name_is_told(make_gateway, tmp_path):
    authority = Authority(tmp_path)
    listener = {"certificates": [authority.sign("server", names=["localhost"]).files]}
    gateway = make_gateway({"tls": {"client": listener}})
    gateway.tls_ca = authority.file
    trust = ["--ca", str(authority.file), "--idle", "0"]
    good = doctor(gateway, f"wss://localhost:{gateway.client_port}", *trust)
    assert good["front.tls"]["what"].startswith("TLSv1.3 in ")
    unknown = doctor(gateway, f"wss://localhost:{gateway.client_port}", code=REFUSED)
    assert "the certificate is refused: unable to get local issuer" in unknown["front.tls"]["what"]
    other = doctor(gateway, f"wss://127.0.0.1:{gateway.client_port}", *trust, code=REFUSED)
    assert "IP address mismatch" in other["front.tls"]["what"]


def test_nobody_there_is_a_failed_step_of_its_own(gateway):
    assert statuses(doctor(gateway, "ws://127.0.0.1:1", code=REFUSED)) == {"dns": "ok", "tcp": "fail"}
    assert statuses(doctor(gateway, "ws://doctor.invalid", code=REFUSED)) == {"dns": "fail"}
    assert statuses(doctor(gateway, f"wss://127.0.0.1:{gateway.client_port}", code=REFUSED)) == {
        "dns": "ok",
        "tcp": "ok",
        "tls": "fail",
    }


def test_without_a_token_it_says_that_the_gateway_is_there(make_gateway):
    gateway = make_gateway(app={"auth": {"anonymous": False}})
    checks = doctor(gateway, gateway.ws_url(), "--idle", "1s", token=None)
    assert "the gateway is there" in checks["front.sse"]["what"] + checks.get("front.hello", {}).get(
        "what", ""
    )
    assert all(check["status"] != "fail" for check in checks.values())
    wrong = doctor(gateway, gateway.ws_url(), "--idle", "1s", token="wrong")
    assert "the gateway is there" in wrong["front.upgrade"]["what"]


# ---- here ----


def test_this_machine_is_looked_at(gateway):
    run = subprocess.run(
        [binary(gateway), "doctor", "--sessions", "10", "--config", str(ROOT / "config/tidegate.yaml")],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert run.returncode in (0, REFUSED), run.stderr
    assert "local.descriptors" in run.stdout
    assert "ok    local.config" in run.stdout
    assert run.stdout.splitlines()[-1].endswith("not looked at")
    assert "\x1b" not in run.stdout


def test_a_running_gateways_own_limits_are_looked_at(gateway):
    checks = doctor(gateway, "--pid", str(gateway.process.pid), "--sessions", "99000000", code=REFUSED)
    assert checks["local.descriptors"]["status"] == "fail"
    assert "99000000 sessions need" in checks["local.descriptors"]["what"]


@pytest.mark.parametrize(
    "words", [["http://a?b=c"], ["nothing"], ["ws://a", "--idle", "1"], ["--sessions", "0"]]
)
def test_what_makes_no_sense_is_a_usage_error(gateway, words):
    doctor(gateway, *words, code=USAGE)
