"""Clients that others wrote: Python's websockets, Node's ws, curl."""

import json
import re
import subprocess

import pytest
from harness.clients import connect_raw
from harness.gateway import ROOT, USER_HEADER
from websockets.sync.client import connect

pytestmark = pytest.mark.smoke


def run_node(gateway, script, *arguments, environment=None):
    """Starts a script of tests/node; its first line of words means that it is connected."""
    process = subprocess.Popen(
        ["node", str(ROOT / "tests" / "node" / script), gateway.ws_url(), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": "/usr/bin:/bin", "NODE_PATH": "/usr/share/nodejs", **(environment or {})},
    )
    assert process.stdout.readline() == "connected\n"
    return process


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
def test_python_websockets_gets_its_echo_at_every_size(gateway, compression, size):
    with connect(gateway.ws_url("/v1/echo"), compression=compression) as session:
        for message in ("x" * size, b"\x00" * size):
            session.send(message)
            assert session.recv(timeout=10) == message
        assert session.ping().wait(5)


def test_python_websockets_reads_a_deflated_push(gateway):
    data = {"text": "again and " * 500}
    with connect_raw(gateway, "deflate", compression="deflate") as session:
        assert "permessage-deflate" in session.response.headers["Sec-WebSocket-Extensions"]
        gateway.push({"users": ["deflate"]}, data)
        assert json.loads(session.recv(timeout=5)) == data


@pytest.mark.parametrize("compress", ["plain", "deflate"])
def test_node_ws_gets_a_push_raw_and_by_the_protocol(gateway, compress):
    for mode, user in (("raw", f"node-raw-{compress}"), ("v1", f"node-v1-{compress}")):
        process = run_node(gateway, "receive.js", mode, compress, USER_HEADER, user)
        gateway.push({"users": [user]}, {"text": "grüße " * 300})
        assert json.loads(process.stdout.readline()) == {"text": "grüße " * 300}
        assert process.wait(10) == 0


def test_curl_speaks_to_every_listener(gateway, tmp_path):
    def curl(url, *options):
        command = ["curl", "-sS", "-o", str(tmp_path / "body"), "-w", "%{http_code}", *options, url]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout

    header = tmp_path / "auth"
    header.write_text(f"Authorization: Bearer {gateway.api_key}\n")
    assert curl(gateway.api_url("/v1/broadcast"), "-H", f"@{header}", "-d", "{}") == "202"
    assert curl(gateway.api_url("/v1/broadcast"), "-d", "{}") == "401"
    assert curl(gateway.api_url("/v1/openapi.json"), "-H", f"@{header}") == "200"
    assert json.loads((tmp_path / "body").read_text())["openapi"].startswith("3.1")
    assert curl(f"http://127.0.0.1:{gateway.admin_port}/readyz") == "200"
    assert curl(gateway.http_url("/nothing")) == "404"
    large = tmp_path / "large"
    large.write_bytes(b"[" + b"1," * 30000 + b"1]")
    assert curl(gateway.api_url("/v1/broadcast"), "-H", f"@{header}", "-T", str(large), "-X", "POST") == "202"
    chunked = ["-H", "Transfer-Encoding: chunked", "--data-binary", f"@{large}"]
    assert curl(gateway.api_url("/v1/broadcast"), "-H", f"@{header}", *chunked) == "202"


def test_promtool_finds_nothing_wrong_with_the_metrics(gateway):
    text = gateway.metrics().text
    answer = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=20
    )
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_a_scrape_shows_what_the_catalogue_has_with_its_labels(gateway):
    binary = ROOT / "build" / gateway.preset / "tidegate"
    lines = subprocess.run([binary, "metrics", "--json"], capture_output=True, text=True, check=True).stdout
    catalogue = {row["name"]: row for row in map(json.loads, lines.splitlines())}
    text = gateway.metrics().text
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    assert "tidegate_bus_up" in kinds
    assert kinds == {name: catalogue[name]["kind"] for name in kinds}
    for series, labels in re.findall(r"^(\w+)(?:{(.*)})? \S+$", text, re.MULTILINE):
        name = series if series in kinds else series.rsplit("_", 1)[0]
        names = [label for label in re.findall(r'(\w+)="', labels) if label != "le"]
        assert names == catalogue[name]["labels"], series
