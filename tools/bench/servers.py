"""Starts and stops what is measured: the gateway and the two floors, each on ports of its own."""

import contextlib
import hashlib
import json
import random
import secrets
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

CONFIG = """\
listen: {{client: "127.0.0.1:{client}", api: "127.0.0.1:{api}", admin: "127.0.0.1:{admin}"}}
bus: {{engine: memory, queues: 8}}
drain: {{window: 1s}}
apps:
  - name: demo
    api_keys: [{{name: bench, hash: "sha256:{key_hash}", scopes: [push]}}]
    auth:
      trusted_header: {{name: X-User-Id, from: [127.0.0.0/8]}}
    groups: {{join: ["room:*"]}}
"""


class BenchError(Exception):
    """Something that leaves no figures: a program that does not start or dies."""


@dataclass
class Server:
    """A running server; load_args tell the load generator how to reach it."""

    process: subprocess.Popen
    load_args: list[str]

    def load(self, build: Path, args: list[str]) -> dict:
        """Runs the load generator against this server and returns its figures."""
        command = [build / "bench/load", "--pid", str(self.process.pid), *self.load_args, *args]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchError(f"load {' '.join(args)}: {done.stderr.strip()}")
        if self.process.poll() is not None:
            raise BenchError(f"the server ended with {self.process.returncode} under load")
        return json.loads(done.stdout)


def free_port() -> int:
    """A port below the ephemeral range, so that no client socket is sitting on it."""
    while True:
        port = random.randrange(20000, 30000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def wait_until(is_ready, process: subprocess.Popen, what: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BenchError(f"{what} ended with {process.returncode}:\n{log.read_text()[-2000:]}")
        if is_ready():
            return
        time.sleep(0.02)
    raise BenchError(f"{what} is not ready after 60 s:\n{log.read_text()[-2000:]}")


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def answers_200(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def stop(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def gateway(binary: Path, folder: Path, under: tuple[str, ...] = ()):
    """The gateway with default settings, one app and one key; under is a command to run it beneath."""
    ports = {name: free_port() for name in ("client", "api", "admin")}
    key = secrets.token_urlsafe(24)
    config, key_file, log = folder / "bench.yaml", folder / "key", folder / "gateway.log"
    config.write_text(CONFIG.format(**ports, key_hash=hashlib.sha256(key.encode()).hexdigest()))
    key_file.touch(mode=0o600)
    key_file.write_text(key + "\n")
    with log.open("w") as sink:
        process = subprocess.Popen([*under, binary, "serve", "--config", config], stdout=sink, stderr=sink)
    try:
        ready = f"http://127.0.0.1:{ports['admin']}/readyz"
        wait_until(lambda: answers_200(ready), process, "the gateway", log)
        reach = ["--port", str(ports["client"]), "--api-port", str(ports["api"]), "--key-file", str(key_file)]
        yield Server(process, reach)
    finally:
        stop(process)


@contextlib.contextmanager
def floor(build: Path, folder: Path, command: str):
    """A bare loop: command is "floor_push" or "floor_fanout", perhaps with --deflate."""
    name, *options = command.split()
    port, log = free_port(), folder / f"{name}.log"
    with log.open("w") as sink:
        process = subprocess.Popen([build / "bench" / name, str(port), *options], stdout=sink, stderr=sink)
    try:
        wait_until(lambda: accepts(port), process, name, log)
        yield Server(process, ["--port", str(port)])
    finally:
        stop(process)
