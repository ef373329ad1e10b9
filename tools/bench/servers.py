"""Starts and stops what is measured: the gateway and the two floors, each on ports of its own."""

import contextlib
import hashlib
import json
import os
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
tls: {tls}
bus: {bus}
cluster: {{node: "{node}", secrets: [{{id: bench, secret: "{secret}"}}]}}
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


NODES = 3  # of a gateway on a bus that several can share

# The bus as the configuration says it; {main}, {names} and {server} are addresses that tools/broker gives.
BUSES = {
    "memory": ("", "{{engine: memory, queues: 8}}"),
    "redis": ("redis", '{{engine: redis, url: "redis://{MAIN}/0", queues: 8}}'),
    "redis_pubsub": ("redis", '{{engine: redis, url: "redis://{MAIN}/0", mode: pubsub}}'),
    "zookeeper": ("zookeeper", '{{engine: zookeeper, servers: ["{SERVER}"], queues: 8}}'),
    "rocketmq": (
        "rocketmq",
        '{{engine: rocketmq, name_servers: ["{NAMES}"], brokers: [broker-a], queues: 8}}',
    ),
}

# What is measured must not be short of memory, nor run on the compiler that only starts quickly.
BROKER_OPTIONS = {"rocketmq": ["--heap=512m"], "zookeeper": ["--heap=512m"], "redis": []}


@dataclass
class Server:
    """A running server, of one process or several; load_args tell the load generator how to reach it."""

    processes: list[subprocess.Popen]
    load_args: list[str]
    admin_url: str = ""  # of a single gateway

    def load(self, build: Path, args: list[str]) -> dict:
        """Runs the load generator against this server and returns its figures."""
        pids = [word for process in self.processes for word in ("--pid", str(process.pid))]
        command = [build / "bench/load", *pids, *self.load_args, *args]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchError(f"load {' '.join(args)}: {done.stderr.strip()}")
        for process in self.processes:
            if process.poll() is not None:
                raise BenchError(f"the server ended with {process.returncode} under load")
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


@dataclass
class Keys:
    """What all nodes and the load generator share."""

    file: Path
    hash: str
    cluster: str


def make_keys(folder: Path) -> Keys:
    key = secrets.token_urlsafe(24)
    file = folder / "key"
    file.touch(mode=0o600)
    file.write_text(key + "\n")
    return Keys(file, hashlib.sha256(key.encode()).hexdigest(), secrets.token_hex(32))


def make_certificate(folder: Path) -> str:
    """Signed by itself; returns the configuration of a client listener that shows it."""
    key, certificate = folder / "tls.key", folder / "tls.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", certificate]
    subprocess.run(command, capture_output=True, check=True)
    return f'{{client: {{certificates: [{{certificate: "{certificate}", key: "{key}"}}]}}}}'


@contextlib.contextmanager
def node(
    binary: Path, folder: Path, keys: Keys, name: str, bus: str, under: tuple[str, ...] = (), tls: str = "{}"
):
    """A gateway with default settings, one app and one key; under is a command to run it beneath."""
    ports = {role: free_port() for role in ("client", "api", "admin")}
    config, log = folder / f"{name}.yaml", folder / f"{name}.log"
    config.touch(mode=0o600)
    words = CONFIG.format(**ports, node=name, bus=bus, tls=tls, secret=keys.cluster, key_hash=keys.hash)
    config.write_text(words)
    with log.open("w") as sink:
        process = subprocess.Popen([*under, binary, "serve", "--config", config], stdout=sink, stderr=sink)
    try:
        ready = f"http://127.0.0.1:{ports['admin']}/readyz"
        wait_until(lambda: answers_200(ready), process, "the gateway", log)
        yield Server(
            [process],
            ["--port", str(ports["client"]), "--api-port", str(ports["api"])],
            f"http://127.0.0.1:{ports['admin']}",
        )
    finally:
        stop(process)


@contextlib.contextmanager
def gateway(binary: Path, folder: Path, under: tuple[str, ...] = (), tls: bool = False):
    """One node, with the bus memory."""
    keys = make_keys(folder)
    words = make_certificate(folder) if tls else "{}"
    with node(binary, folder, keys, "gateway", BUSES["memory"][1].format(), under, words) as server:
        server.load_args += ["--key-file", str(keys.file)]
        yield server


def run_broker(folder: Path, *words: str) -> str:
    """tools/broker, whose data live in folder."""
    command = [ROOT / "tools/broker", *words]
    environment = os.environ | {"BROKER_DIR": str(folder / "broker")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"broker {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


@contextlib.contextmanager
def broker(folder: Path, engine: str):
    """A real server of the bus; yields its addresses."""
    try:
        run_broker(folder, "start", engine, *BROKER_OPTIONS[engine])
        found = json.loads(run_broker(folder, "env", "--json", engine))
        yield {key.removeprefix(f"{engine.upper()}_"): value for key, value in found.items()}
    finally:
        run_broker(folder, "clean", engine)


@contextlib.contextmanager
def cluster(binary: Path, folder: Path, bus: str, measures_others: bool = False):
    """Three nodes on a real broker. measures_others: pushes go to the first, CPU is that of the others."""
    engine, words = BUSES[bus]
    keys = make_keys(folder)
    with contextlib.ExitStack() as ends:
        addresses = ends.enter_context(broker(folder, engine))
        nodes = [
            ends.enter_context(node(binary, folder, keys, f"n{i}", words.format(**addresses)))
            for i in range(NODES)
        ]
        measured = nodes[1:] if measures_others else nodes
        reached = nodes[:1] if measures_others else nodes
        reach = [word for each in reached for word in each.load_args]
        yield Server([each.processes[0] for each in measured], [*reach, "--key-file", str(keys.file)])


def broker_version(folder: Path, engine: str) -> str:
    return run_broker(folder, "version", engine).strip()


@contextlib.contextmanager
def floor(build: Path, folder: Path, command: str):
    """A bare loop: command is "floor_push" or "floor_fanout", perhaps with --deflate."""
    name, *options = command.split()
    port, log = free_port(), folder / f"{name}.log"
    with log.open("w") as sink:
        process = subprocess.Popen([build / "bench" / name, str(port), *options], stdout=sink, stderr=sink)
    try:
        wait_until(lambda: accepts(port), process, name, log)
        yield Server([process], ["--port", str(port)])
    finally:
        stop(process)
