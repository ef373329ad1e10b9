"""A cluster to break: gateway processes, the servers of their bus, and the links between them."""

import hashlib
import json
import os
import pathlib
import secrets
import signal
import subprocess
import sys
import time

from harness.gateway import ROOT, Gateway, wait_for

from chaos.links import Links

READY_SECONDS = 20
DRAIN = "1s"


class Node(Gateway):
    """A gateway that may be killed and live again, on the same ports. Each life has a log of its own."""

    def __init__(self, name, folder, changes, secret, links):
        folder.mkdir(parents=True)
        super().__init__("release", folder, changes, app={"api_keys": [secret]})
        self.name, self.links, self.lives = name, links, 0
        self.api_key = secret["key"]
        del self.config["apps"][0]["api_keys"][0]["key"]

    def _spawn(self):
        self.lives += 1
        self.stderr_path = self.folder / f"stderr.{self.lives}"
        super()._spawn()
        if self.links:
            self.links.name(self.name, self.process.pid)

    def live_again(self):
        """Returns at once; it becomes ready when it can."""
        self._spawn()

    def wait_until_ready(self, seconds=READY_SECONDS):
        def unready():
            return f"{self.name} is ready; it said:\n{self.stderr()[-2000:]}"

        wait_for(self.is_ready, seconds, unready, 0.05)

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)


class Servers:
    """The bus's own servers, by tools/broker, in a folder of their own."""

    def __init__(self, engine, folder):
        self.engine, self.folder = engine, folder
        self.run("start", "--apart", *engine.options)
        addresses = self.run("env", "--json")
        self.addresses = json.loads(addresses)

    def run(self, verb, *arguments):
        command = [sys.executable, ROOT / "tools/broker", verb, self.engine.server, *arguments]
        environment = {**os.environ, "BROKER_DIR": str(self.folder)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{verb} {arguments}: {done.stderr or done.stdout}"
        return done.stdout

    def ports(self):
        """Those where clients look for them."""
        told = [value for name, value in self.addresses.items() if not name.endswith("_BOUND")]
        return sorted({int(value.rsplit(":", 1)[1]) for value in told})


def make_secret():
    """An API key that all nodes know."""
    key = "chaos-" + secrets.token_urlsafe(24)
    digest = "sha256:" + hashlib.sha256(key.encode()).hexdigest()
    return {"name": "chaos", "key": key, "hash": digest, "scopes": ["push", "read", "kick", "admin"]}


class Cluster:
    def __init__(self, engine, folder, changes=None):
        """Everything is up and ready. changes: to the configuration of every node."""
        self.engine, self.folder = engine, pathlib.Path(folder)
        self.servers = self.links = None
        self.nodes, self.secret = [], make_secret()
        self.cluster_secret = secrets.token_urlsafe(32)
        self.changes = changes or {}
        try:
            if engine.server:
                self.servers = Servers(engine, self.folder / "servers")
                self.links = Links(self.servers.ports())
            self.start_nodes(engine.nodes)
        except BaseException:
            self.close()
            raise

    def start_nodes(self, count):
        for _ in range(count):
            self.nodes.append(self.make_node(len(self.nodes)))
            self.nodes[-1].start()

    def make_node(self, number):
        addresses = self.servers.addresses if self.servers else {}
        changes = {
            "workers": 1,
            "bus": {**self.engine.bus(addresses), "publish_timeout": "3s", **self.changes.get("bus", {})},
            "cluster": {"name": "chaos", "secrets": [{"id": "a", "secret": self.cluster_secret}]},
            "drain": {"window": DRAIN},
            "heartbeat": {"interval": "2s"},
        }
        rest = {key: value for key, value in self.changes.items() if key != "bus"}
        name = f"n{number}"
        return Node(name, self.folder / name, {**changes, **rest}, dict(self.secret), self.links)

    def known_nodes(self):
        """What clients may try: the dead ones too, as after a crash."""
        return list(self.nodes)

    def add_node(self):
        """A further one, which clients know of once it is ready."""
        node = self.make_node(len(self.nodes))
        node.start()
        self.nodes.append(node)
        return node

    # Servers

    def kill_server(self, name):
        self.servers.run("kill", name)

    def start_server(self, name):
        self.servers.run("start", name)

    def pause_server(self, name):
        self.servers.run("pause", name)

    def go_on_server(self, name):
        self.servers.run("resume", name)

    # Ends

    def wait_until_ready(self, seconds=READY_SECONDS):
        deadline = time.monotonic() + seconds
        for node in self.nodes:
            node.wait_until_ready(max(0.1, deadline - time.monotonic()))

    def stop(self):
        """In order; each node must end well."""
        for node in self.nodes:
            node.process.send_signal(signal.SIGTERM)
        for node in self.nodes:
            node.stop()

    def close(self):
        """Whatever still runs ends now."""
        for node in self.nodes:
            if node.process and node.is_alive():
                node.kill()
        if self.links:
            self.links.close()
        if self.servers:
            self.servers.run("clean")
