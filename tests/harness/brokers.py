"""Real bus servers for a test: what tools/broker does, as an object, and as fixtures (conftest.py).

    def test_x(make_brokers, make_gateway):
        brokers = make_brokers("redis")
        gateway = make_gateway({"bus": brokers.bus(mode="streams")})
        brokers.kill()
        brokers.start()

With `apart=True` the servers listen on 127.0.0.2 while gateways are told 127.0.0.1: links() says between
which addresses a proxy has to carry, and nothing works until it does.
"""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BROKER = ROOT / "tools" / "broker"
ENGINES = ["rocketmq", "redis", "zookeeper"]


class Brokers:
    """The servers of one engine; options are those of `tools/broker start`, `set` and flags too."""

    def __init__(self, engine, folder, **options):
        self.engine = engine
        self.folder = pathlib.Path(folder)
        self.options = options
        self._addresses = {}

    def start(self, *nodes):
        """All, or those that are named (a killed one comes back with its data and its address)."""
        self._run("start", *self._flags(), *nodes)
        found = json.loads(self._run("env", "--json"))
        self._addresses = {key.removeprefix(f"{self.engine.upper()}_"): found[key] for key in found}
        return self

    def stop(self, *nodes):
        self._run("stop", *nodes)

    def kill(self, *nodes):
        """Without a name: all but RocketMQ's name server."""
        self._run("kill", *(nodes or self.data_nodes()))

    def pause(self, *nodes):
        self._run("pause", *(nodes or self.data_nodes()))

    def resume(self, *nodes):
        self._run("resume", *(nodes or self.data_nodes()))

    def restart(self, *nodes):
        """A crash, and back."""
        self.kill(*nodes)
        self.start(*(nodes or self.data_nodes()))

    def forget(self, *nodes):
        """What killed nodes have kept is gone; they keep their addresses."""
        for node in nodes:
            shutil.rmtree(self.folder / self.engine / node)

    def clean(self):
        self._run("clean")

    def client(self, *arguments):
        """What the server's own client prints (redis-cli, zkCli, mqadmin)."""
        return self._run("client", *arguments)

    # ---- addresses ----

    def nodes(self):
        keys = [
            key for key in self._addresses if f"{key}_BOUND" in self._addresses and not key.endswith("_TLS")
        ]
        return [key.lower().replace("_", "-") for key in keys]

    def data_nodes(self):
        """Those that hold messages."""
        return [node for node in self.nodes() if node not in ("names", "sentinel")]

    def address(self, node):
        """host:port for clients; node as `main`, `main-tls`, `broker-a`, …"""
        return self._addresses[node.upper().replace("-", "_")]

    def bound(self, node):
        """host:port where it listens."""
        return self.address(f"{node}-bound")

    def links(self):
        """{node: (address for clients, address of the server)}: what a proxy has to carry, TLS ports too."""
        keys = [key for key in self._addresses if f"{key}_BOUND" in self._addresses]
        nodes = [key.lower().replace("_", "-") for key in keys]
        return {node: (self.address(node), self.bound(node)) for node in nodes}

    def bus(self, **changes):
        """The part `bus:` of a gateway's configuration. Queues: few, so that each has traffic."""
        return {"engine": self.engine, "queues": 4} | getattr(self, f"_{self.engine}_bus")() | changes

    def _rocketmq_bus(self):
        found = {"name_servers": [self.address("names")], "topic": "tidegate", "brokers": self.data_nodes()}
        if self.options.get("auth"):
            user, _, secret = self.options["auth"].partition(":")
            found |= {"access_key": user, "secret_key": secret}
        return found

    def _redis_bus(self):
        login = f"{self.options['auth']}@" if self.options.get("auth") else ""
        return {"url": f"redis://{login}{self.address('main')}/0", "name": "tests"}

    def _zookeeper_bus(self):
        return {"servers": [self.address("server")], "path": "/tidegate"}

    # ---- the tool ----

    def _flags(self):
        flags = []
        for key, value in self.options.items():
            if value is True:
                flags.append(f"--{key}")
            elif isinstance(value, list):
                flags += [f"--{key}={item}" for item in value]
            elif value is not False:
                flags.append(f"--{key}={value}")
        return flags

    def _run(self, verb, *arguments):
        done = subprocess.run(
            [BROKER, verb, self.engine, *arguments],
            env=os.environ | {"BROKER_DIR": str(self.folder)},
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == 0, f"broker {verb} {self.engine} {arguments}:\n{done.stderr}{done.stdout}"
        return done.stdout


@contextlib.contextmanager
def running(engine, **options):
    """Servers that are gone behind the block, with all that they wrote."""
    with tempfile.TemporaryDirectory(prefix="brokers") as folder:
        brokers = Brokers(engine, folder, **options)
        try:
            yield brokers.start()
        finally:
            brokers.clean()
