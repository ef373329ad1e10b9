"""A cluster to break: gateway processes, the servers of their bus, and the links between them."""

import hashlib
import pathlib
import secrets
import signal
import time

from harness.brokers import Brokers
from harness.gateway import Gateway, merge, wait_for

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


def make_secret():
    """An API key that all nodes know."""
    key = "chaos-" + secrets.token_urlsafe(24)
    digest = "sha256:" + hashlib.sha256(key.encode()).hexdigest()
    return {"name": "chaos", "key": key, "hash": digest, "scopes": ["push", "read", "kick", "admin"]}


def ports_of(servers):
    """Where clients look for them, which is where the links begin."""
    return [int(announced.rsplit(":", 1)[1]) for announced, _ in servers.links().values()]


class Cluster:
    def __init__(self, engine, folder, changes=None):
        """Everything is up and ready."""
        self.engine, self.folder, self.changes = engine, pathlib.Path(folder), changes or {}
        self.servers = self.links = None
        self.nodes, self.secret = [], make_secret()
        self.cluster_secret = {"id": "a", "secret": secrets.token_urlsafe(32)}
        try:
            if engine.server:
                options = {"apart": True, **engine.options}
                self.servers = Brokers(engine.server, self.folder / "servers", **options).start()
                self.links = Links(ports_of(self.servers))
            self.start_nodes(engine.nodes)
        except BaseException:
            self.close()
            raise

    def start_nodes(self, count):
        for _ in range(count):
            self.nodes.append(self.make_node(len(self.nodes)))
            self.nodes[-1].start()

    def make_node(self, number):
        bus = self.servers.bus(**self.engine.bus) if self.servers else self.engine.bus
        changes = {
            "workers": 1,
            "bus": {**bus, "publish_timeout": "3s"},
            "cluster": {"name": "chaos", "node": f"n{number}", "secrets": [self.cluster_secret]},
            "drain": {"window": DRAIN},
            "heartbeat": {"interval": "2s"},
        }
        name = f"n{number}"
        changes = merge(changes, self.changes)
        return Node(name, self.folder / name, changes, dict(self.secret), self.links)

    def known_nodes(self):
        """What clients may try: the dead ones too, as after a crash."""
        return list(self.nodes)

    def add_node(self):
        """A further one, which clients know of from now on; it is ready when the bus lets it."""
        node = self.make_node(len(self.nodes))
        node.start(ready=False)
        self.nodes.append(node)
        return node

    def port_of(self, server):
        return int(self.servers.address(server).rsplit(":", 1)[1])

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
            self.servers.clean()
