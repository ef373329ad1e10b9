"""Starts a tidegate of its own for a test, watches it, and checks when it ends that it ended well."""

import contextlib
import copy
import hashlib
import http.client
import json
import os
import pathlib
import re
import secrets
import signal
import socket
import subprocess
import time

import yaml

from harness.control import Control
from harness.metrics import Metrics

ROOT = pathlib.Path(__file__).resolve().parents[2]
SANITIZER = re.compile(
    r"(ERROR|WARNING|SUMMARY): (Address|Leak|Thread|UndefinedBehavior)Sanitizer|runtime error:"
)
USER_HEADER = "X-User-Id"
ISSUER, AUDIENCE = "https://issuer.test", "tidegate-tests"
HMAC_SECRET = "0123456789abcdef0123456789abcdef-tests-only"

# How much slower than release a preset may answer where a test measures.
SLOWNESS = {"release": 1, "asan": 5, "tsan": 12}

EXIT_SECONDS = 20
READY_SECONDS = 20


def default_config(key_hash):
    """Open to every way in that the tests use: header, token, anonymous; one app named `demo`."""
    return {
        "workers": 2,
        "drain": {"window": "200ms"},
        "debug": {"echo": True},
        "apps": [
            {
                "name": "demo",
                "api_keys": [
                    {"name": "tests", "hash": key_hash, "scopes": ["push", "read", "kick", "ticket", "admin"]}
                ],
                "auth": {
                    "jwt": {
                        "issuer": ISSUER,
                        "audience": AUDIENCE,
                        "keys": [{"alg": "HS256", "kid": "tests", "secret": HMAC_SECRET}],
                    },
                    "trusted_header": {"name": USER_HEADER, "from": ["127.0.0.0/8"]},
                    "anonymous": True,
                },
                "origins": ["https://www.example.com"],
                "groups": {"join": ["room:*"]},
            }
        ],
    }


def merge(base, changes):
    """A copy of base with changes laid over it, mapping by mapping; a list replaces the old one."""
    merged = copy.deepcopy(base)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def free_ports(count):
    """Ports that nobody has right now. Another process may take one; start() then tries again."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def wait_for(condition, seconds, what, interval=0.01):
    """Polls until condition() is true and returns it; fails with `what` when time runs out."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds} s still not: {what() if callable(what) else what}")
        time.sleep(interval)


class Gateway:
    """A tidegate process. start() returns when it is ready; stop() checks its end."""

    def __init__(self, preset, folder, changes=None, *, app=None, prefix=(), env=None):
        """changes: laid over the default configuration; app: over that of its one app. prefix: words before
        the binary (strace, prlimit)."""
        self.preset = preset
        self.folder = pathlib.Path(folder)
        self.prefix = list(prefix)
        self.env = env or {}
        self.api_key = "test-" + secrets.token_urlsafe(24)
        key_hash = "sha256:" + hashlib.sha256(self.api_key.encode()).hexdigest()
        self.config = merge(default_config(key_hash), changes or {})
        self.config["apps"][0] = merge(self.config["apps"][0], app or {})
        self.config_path = self.folder / "tidegate.yaml"
        self.stderr_path = self.folder / "stderr"
        self.tls_ca = None  # the file that clients trust, where the client listener speaks TLS
        self.process = None
        self.control = None

    @property
    def slowness(self):
        return SLOWNESS[self.preset]

    # Life

    def start(self, ready=True):
        """ready False: one that can't become ready, since its bus is away; returns when it answers."""
        for _ in range(5):
            self.client_port, self.api_port, self.admin_port = free_ports(3)
            self.config["listen"] = {
                "client": f"127.0.0.1:{self.client_port}",
                "api": f"127.0.0.1:{self.api_port}",
                "admin": f"127.0.0.1:{self.admin_port}",
            }
            self.config_path.touch(mode=0o600)  # it holds secrets; the gateway would warn
            self.config_path.write_text(yaml.safe_dump(self.config))
            self._spawn()
            if self._becomes_ready("/readyz" if ready else "/livez"):
                return self
            if "in use" not in self.stderr():
                break
        raise AssertionError(f"the gateway did not become ready; it said:\n{self.stderr()[-4000:]}")

    def _spawn(self):
        binary = ROOT / "build" / self.preset / "tidegate"
        # The gateway refuses TIDEGATE_ variables that it doesn't know, such as the tests' own.
        ours = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
        environment = {**ours, "ASAN_OPTIONS": "detect_stack_use_after_return=0", **self.env}
        with self.stderr_path.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*self.prefix, str(binary), "serve", "--config", str(self.config_path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=environment,
                cwd=self.folder,
            )

    def _becomes_ready(self, path="/readyz"):
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            if self.is_ready(path):
                return True
            time.sleep(0.01)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        return False

    def is_ready(self, path="/readyz"):
        try:
            return self.admin("GET", path)[0] == 200
        except OSError:
            return False

    def stop(self):
        """Ends it as an operator would, and checks the end. Also checks one that has ended already."""
        self._dismiss()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait()
            raise AssertionError(f"no exit {EXIT_SECONDS} s after SIGTERM\n{self.stderr()[-4000:]}") from None
        self.check_words()
        assert code == 0, f"exit code {code}\n{self.stderr()[-4000:]}"

    def restart(self):
        """Ends it as stop() does and starts it again, on the same ports."""
        self.stop()
        self.revive()

    def revive(self):
        """Starts one that has ended, on the same ports."""
        self._spawn()
        assert self._becomes_ready(), f"it did not come back; it said:\n{self.stderr()[-4000:]}"

    def reload(self):
        """Takes what is in `config` now; returns once the workers have it."""
        before = self.stderr().count('"reload.done"')
        self.config_path.write_text(yaml.safe_dump(self.config))
        self.process.send_signal(signal.SIGHUP)
        wait_for(lambda: self.stderr().count('"reload.done"') > before, 10, "a reload")

    def kill(self):
        self._dismiss()
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()

    def is_alive(self):
        return self.process.poll() is None

    def _dismiss(self):
        if self.control:
            self.control.close()
            self.control = None

    @contextlib.contextmanager
    def bystander(self):
        """While this lasts a client pushes to itself; all of it must arrive in time, or it fails."""
        self.control = self.control or Control(self)
        self.control.begin()
        try:
            yield
        except BaseException:
            self._dismiss()
            raise
        self.control.end()

    # Words

    def stderr(self):
        return self.stderr_path.read_text(errors="surrogateescape")

    def log(self):
        """The log lines so far; the last one only when it is complete."""
        text = self.stderr()
        lines = text[: text.rfind("\n") + 1].splitlines()
        return [json.loads(line) for line in lines if not self._is_about_config(line)]

    def wait_for_line(self, event, *words, seconds=5):
        """Returns the first log line of that event that has all the words: they come a little later."""

        def line():
            told = (line for line in self.log() if line["event"] == event)
            return next((line for line in told if all(word in line["msg"] for word in words)), None)

        return wait_for(line, seconds, lambda: f"a line of {event} with {words} in {self.log()[-5:]}")

    def _is_about_config(self, line):
        """A warning about the configuration, told in plain words before anything is served."""
        return line.startswith(f"{self.config_path}:")

    def check_words(self):
        """Everything on stderr must be JSON lines, which also rules out a sanitizer's report."""
        text = self.stderr_path.read_bytes().decode()
        assert not SANITIZER.search(text), f"a sanitizer spoke:\n{text[-8000:]}"
        for line in text.split("\n")[:-1]:
            if self._is_about_config(line):
                continue
            try:
                entry = json.loads(line)
            except ValueError:
                raise AssertionError(f"not a JSON log line: {line!r}") from None
            assert {"ts", "level", "event", "msg"} <= entry.keys(), line

    # The outside

    def metrics(self):
        status, _, body = self.admin("GET", "/metrics")
        assert status == 200
        return Metrics(body.decode())

    def rss(self):
        """Resident bytes."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", text).group(1)) * 1024

    def fds(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def cpu_seconds(self):
        """Of all living threads, to the nanosecond."""
        stats = pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(stat.read_text().split()[0]) for stat in stats) / 1e9

    def admin(self, method, path, headers=None, body=None):
        return self._request(self.admin_port, method, path, headers or {}, body)

    def api(self, method, path, body=None, headers=None):
        """One call with the API key. body: bytes as they are, anything else as JSON. Returns
        (status, headers, parsed JSON or bytes)."""
        sent = {"Authorization": f"Bearer {self.api_key}", **(headers or {})}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        status, got, answer = self._request(self.api_port, method, path, sent, body)
        if "json" in got.get("content-type", ""):
            answer = json.loads(answer)
        return status, got, answer

    def push(self, to, data=None, **options):
        """POST /v1/messages that must be accepted; returns the answer."""
        message = {"to": to, **options}
        if "data_base64" not in options:
            message["data"] = data
        status, _, answer = self.api("POST", "/v1/messages", message)
        assert status in (200, 202), (status, answer)
        return answer

    def _request(self, port, method, path, headers, body):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10 * self.slowness)
        try:
            connection.request(method, path, body=body, headers=headers)
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()

    def ws_url(self, path="/v1/ws"):
        return f"{'wss' if self.tls_ca else 'ws'}://127.0.0.1:{self.client_port}{path}"

    def http_url(self, path="/"):
        return f"http://127.0.0.1:{self.client_port}{path}"

    def api_url(self, path="/"):
        return f"http://127.0.0.1:{self.api_port}{path}"
