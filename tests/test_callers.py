"""Callers in seven languages (examples/push): each pushes once, though it is asked to come later."""

import http.server
import os
import shutil
import subprocess
import threading

import pytest
from harness.clients import V1Client
from harness.gateway import ROOT

FOLDER = ROOT / "examples/push"


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """How each is run; those that must be built are."""
    built = tmp_path_factory.mktemp("callers")
    subprocess.run(
        ["cc", "-Wall", "-Werror", FOLDER / "push.c", "-o", built / "c", "-lcurl", "-ljansson"], check=True
    )
    subprocess.run([shutil.which("go"), "build", "-o", built / "go", FOLDER / "push.go"], check=True)
    return {
        "curl": [FOLDER / "push.sh"],
        "python": ["/usr/bin/python3", FOLDER / "push.py"],
        "node": ["node", FOLDER / "push.mjs"],
        "java": ["java", FOLDER / "Push.java"],
        "php": ["php", FOLDER / "push.php"],
        "go": [built / "go"],
        "c": [built / "c"],
    }


@pytest.fixture
def busy(gateway):
    """A gateway's API that answers 503 first, and passes on from then: its address, and what it was sent."""

    class Handler(http.server.BaseHTTPRequestHandler):
        seen, retry_after = [], "1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.seen.append((self.headers.get("Idempotency-Key"), body))
            if len(self.seen) == 1:
                self.send_response(503)
                self.send_header("Retry-After", Handler.retry_after)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            kept = ("Authorization", "Content-Type", "Idempotency-Key")
            headers = {name: self.headers[name] for name in kept if self.headers[name]}
            status, _, text = gateway._request(gateway.api_port, "POST", self.path, headers, body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", Handler
    server.shutdown()
    server.server_close()


LANGUAGES = ["curl", "python", "node", "java", "php", "go", "c"]


QUICK = ["curl", "go", "c"]  # to start


@pytest.mark.parametrize(
    ("language", "retry_after"), [(name, "1") for name in LANGUAGES] + [(name, "0") for name in QUICK]
)
def test_a_caller_pushes_once_though_it_was_asked_to_come_later(
    commands, busy, gateway, language, retry_after
):
    address, handler = busy
    handler.retry_after = retry_after
    user = f"{language} 100%/r?e#a+der"
    with V1Client(gateway, user=user) as client:
        done = subprocess.run(
            [*map(str, commands[language]), user, 'say "hi" \\ grüße'],
            env={**os.environ, "TIDEGATE_API": address, "TIDEGATE_API_KEY": gateway.api_key},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        message = client.read("msg")
    assert message["type"] == "note"
    data = message["data"]
    assert (data if language == "curl" else data["text"]) == 'say "hi" \\ grüße'
    assert len(handler.seen) == 2
    assert handler.seen[0] == handler.seen[1], "the same id again"


@pytest.mark.parametrize("language", QUICK)
def test_a_caller_gives_up_when_it_is_refused(commands, busy, language):
    address, handler = busy
    done = subprocess.run(
        [*map(str, commands[language]), "reader", "hi"],
        env={**os.environ, "TIDEGATE_API": address, "TIDEGATE_API_KEY": "wrong"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert len(handler.seen) == 2, "503, then 401"
