"""The client verbs of the binary against a real gateway: push, tail, and what they end with."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess

import pytest
from harness.gateway import ROOT, free_ports, wait_for
from harness.tokens import claims, mint

REFUSED, USAGE, CONNECT = 1, 2, 3


def environment(**ours):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
    return {**clean, **{name: value for name, value in ours.items() if value is not None}}


def binary(gateway):
    return str(ROOT / "build" / gateway.preset / "tidegate")


def run_push(gateway, *words, key=True, data=None):
    key = gateway.api_key if key is True else key
    return subprocess.run(
        [binary(gateway), "push", "--url", gateway.api_url("").rstrip("/"), *words],
        input=data,
        stdin=None if data else subprocess.DEVNULL,
        env=environment(TIDEGATE_API_KEY=key),
        capture_output=True,
        text=True,
        timeout=20 * gateway.slowness,
    )


@contextlib.contextmanager
def tail(gateway, *words, token=None, user="cli"):
    """A running tail, connected (raw ones don't say when)."""
    process = subprocess.Popen(
        [binary(gateway), "tail", "--url", gateway.ws_url(), *words],
        env=environment(TIDEGATE_TOKEN=token or mint(claims(user))),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        if "--raw" not in words and "--json" not in words:
            assert "connected: session s" in process.stderr.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def finish(gateway, process):
    out, words = process.communicate(timeout=20 * gateway.slowness)
    return process.returncode, out, words


def test_a_push_reaches_the_tail_byte_for_byte(gateway):
    data = '{"n": 123456789012345678901234567890, "x": 1.0, "s": "\\u00e9\\/"}'
    with tail(gateway, "--count", "1", user="bytes") as process:
        pushed = run_push(gateway, "--user", "bytes", "--type", "t", "--id", "bytes-1", "--data", data)
        assert (pushed.returncode, pushed.stdout) == (0, "bytes-1\n"), pushed.stderr
        assert finish(gateway, process)[:2] == (0, f"bytes-1\tt\t-\t{data}\n")


def test_a_group_is_joined_and_the_receipt_counts_it(gateway):
    with tail(gateway, "--group", "room:cli", "--count", "1") as process:
        pushed = run_push(gateway, "--group", "room:cli", "--id", "g-1", "--wait", "written", data='["in"]\n')
        assert pushed.returncode == 0, pushed.stderr
        assert re.fullmatch(r"g-1 matched 1 written 1 acked 0 dropped 0\n", pushed.stdout), pushed.stdout
        code, out, _ = finish(gateway, process)
        assert code == 0
        assert out.startswith("g-1\t-\t") and out.endswith('\t["in"]\n'), out


def test_json_prints_the_answer_and_the_frames(gateway):
    with tail(gateway, "--json", "--count", "1", user="json") as process:
        assert json.loads(process.stdout.readline())["t"] == "welcome"
        pushed = run_push(gateway, "--user", "json", "--data", "null", "--json")
        answer = json.loads(pushed.stdout)
        code, out, words = finish(gateway, process)
        frames = [json.loads(line) for line in out.splitlines()]
        assert code == 0 and words == ""
        assert [frame["id"] for frame in frames if frame["t"] == "msg"] == [answer["id"]]


def test_a_raw_tail_prints_payloads_alone(gateway):
    def push():
        answer = run_push(gateway, "--group", "room:raw", "--data", '{"a":1}', "--wait", "routed", "--json")
        return json.loads(answer.stdout)["receipt"]["sessions"]["matched"]

    with tail(gateway, "--raw", "--group", "room:raw", "--count", "1") as process:
        wait_for(push, 5 * gateway.slowness, "the raw session is there")
        assert finish(gateway, process)[:2] == (0, '{"a":1}\n')


def test_a_wrong_or_missing_key_is_refused_in_words_and_json(gateway):
    for key in ("tg_wrong", None):
        pushed = run_push(gateway, "--all", "--data", "1", "--json", key=key)
        assert pushed.returncode == REFUSED
        assert json.loads(pushed.stdout)["status"] == 401
        assert "TIDEGATE_API_KEY" in pushed.stderr and pushed.stderr.count("\n") == 1
        assert "tg_wrong" not in pushed.stdout + pushed.stderr


def test_a_token_that_is_not_valid_ends_the_tail(gateway):
    with tail(gateway, "--json", token=mint(claims("x", lifetime=-60))) as process:
        code, _, words = finish(gateway, process)
        assert code == REFUSED
        assert "TIDEGATE_TOKEN" in words


def test_a_kick_ends_the_tail(gateway):
    with tail(gateway, user="kicked") as process:
        assert gateway.api("DELETE", "/v1/users/kicked/sessions")[0] in (200, 202, 204)
        code, out, words = finish(gateway, process)
        assert (code, out) == (REFUSED, "")
        assert "kicked" in words


def test_ctrl_c_ends_the_tail_well(gateway):
    with tail(gateway) as process:
        process.send_signal(signal.SIGINT)
        assert finish(gateway, process)[:2] == (0, "")


def test_a_gateway_that_comes_back_is_found_again(make_gateway):
    gateway = make_gateway()
    with tail(gateway, "--count", "1", user="again") as process:
        gateway.stop()
        gateway._spawn()
        assert gateway._becomes_ready()
        words = process.stderr.readline()
        while "connected: session" not in words:
            words = process.stderr.readline()
            assert words
        assert run_push(gateway, "--user", "again", "--data", "7").returncode == 0
        code, out, _ = finish(gateway, process)
        assert code == 0 and out.endswith("\t7\n")


def test_nobody_there_is_told_apart_from_a_refusal(gateway):
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    words = [binary(gateway), "push", "--all", "--data", "1", "--url", url]
    nobody = subprocess.run(words, env=environment(), capture_output=True, text=True)
    assert nobody.returncode == CONNECT
    assert "is the gateway running" in nobody.stderr


def test_a_client_listener_is_not_taken_for_the_api(gateway):
    words = [binary(gateway), "push", "--all", "--data", "1", "--url", gateway.http_url("").rstrip("/")]
    wrong = subprocess.run(words, env=environment(), capture_output=True, text=True)
    assert wrong.returncode not in (0, USAGE)
    assert "API listener" in wrong.stderr


def check(gateway, path, *words, **variables):
    command = [binary(gateway), "check", *words, str(path)]
    return subprocess.run(command, env=environment(**variables), capture_output=True, text=True)


def test_check_says_what_is_wrong_with_the_bus(gateway, tmp_path):
    path = tmp_path / "tidegate.yaml"
    path.write_text("bus:\n  queues: 4\n  quues: 8\n")
    told = check(gateway, path)
    assert told.returncode == REFUSED
    assert told.stderr.startswith(f'{path}:3:3: bus: unknown key "quues"; the engine memory knows engine, ')
    assert told.stderr.endswith('; did you mean "queues"?\n')
    remark = json.loads(check(gateway, path, "--json").stdout)["mistakes"][0]
    assert (remark["line"], remark["column"], remark["key"]) == (3, 3, "bus")

    path.write_text("bus: {engine: pigeons, coop: 7}\n")
    told = check(gateway, path)
    assert told.returncode == REFUSED
    assert told.stderr.count("\n") == 1 and "bus.engine: expected an engine that is built in: " in told.stderr


def test_check_hears_of_the_bus_from_the_environment(gateway, tmp_path):
    path = tmp_path / "tidegate.yaml"
    path.write_text("bus: {queues: 4}\n")
    assert check(gateway, path, TIDEGATE_BUS_QUEUES="8").returncode == 0
    told = check(gateway, path, TIDEGATE_BUS_COOP="hush")
    assert told.returncode == REFUSED
    assert 'environment: unknown variable "TIDEGATE_BUS_COOP"' in told.stderr
    assert "hush" not in told.stderr


@pytest.mark.parametrize("verb", ["serve", "check", "key", "token", "push", "tail"])
def test_help_and_the_man_page_know_the_same_options(gateway, verb):
    told = subprocess.run(
        [binary(gateway), verb, "--help"], env=environment(), capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    page = pathlib.Path(ROOT / "docs" / "man" / "tidegate.1").read_text().replace("\\-", "-")
    section = page.split(f".SS {verb}\n", 1)[1].split("\n.S", 1)[0]
    options = set(re.findall(r"^  --([a-z-]+)", told.stdout, re.MULTILINE)) - {"help"}
    assert options <= set(re.findall(r"^\.B[IR]? --([a-z-]+)", section, re.MULTILINE)), verb
