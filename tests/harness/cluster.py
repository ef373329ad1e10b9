"""Several gateways on one bus, and what the API says of them."""

import contextlib
import pathlib
import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.gateway import Gateway, merge, wait_for

SECRET = "one secret for all nodes of the cluster"


class Cluster:
    """Nodes by number; each has the same app and key."""

    def __init__(self, preset, folder, brokers, mode, ends, changes):
        self.preset, self.folder, self.brokers, self.ends = preset, folder, brokers, ends
        self.changes = changes
        self.bus = brokers.bus(**({"mode": mode} if brokers.engine == "redis" else {}))
        self.nodes = []

    def make(self, **bus):
        """A node that is not started yet."""
        number = len(self.nodes)
        folder = self.folder / f"node-{number}"
        folder.mkdir()
        cluster = {"name": "tests", "node": f"node-{number}", "secrets": [{"id": "a", "secret": SECRET}]}
        changes = merge(self.changes.get("changes", {}), {"bus": {**self.bus, **bus}, "cluster": cluster})
        gateway = Gateway(self.preset, folder, changes, app=self.changes.get("app"))
        if self.nodes:
            gateway.api_key = self.nodes[0].api_key
            gateway.config["apps"] = self.nodes[0].config["apps"]
        self.nodes.append(gateway)
        self.ends.callback(self._end, gateway)
        return gateway

    def start(self, count):
        """All at once: each takes some seconds to know the others."""
        nodes = [self.make() for _ in range(count)]
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(Gateway.start, nodes))
        self.wait_until_all_know()
        return self

    @staticmethod
    def _end(gateway):
        if gateway.process and gateway.is_alive():
            gateway.process.send_signal(signal.SIGCONT)
            gateway.stop()

    def wait_until_all_know(self):
        """Each node knows that there are those that live, and no others."""
        living = [node for node in self.nodes if node.is_alive()]
        for node in living:
            wait_for(lambda node=node: sees(node) == (len(living), True), 30, lambda node=node: sees(node))


def nodes_of(gateway):
    status, _, answer = gateway.api("GET", "/v1/nodes")
    assert status == 200
    return answer


def sees(gateway):
    answer = nodes_of(gateway)
    return len(answer["nodes"]), answer["complete"]


@contextlib.contextmanager
def clusters(request, folder, make_brokers):
    with contextlib.ExitStack() as ends:

        def make(engine="redis", count=3, mode="streams", **changes):
            """changes: `changes` and `app` as Gateway takes them."""
            place = pathlib.Path(tempfile.mkdtemp(prefix="cluster", dir=folder))
            preset = request.config.getoption("preset")
            return Cluster(preset, place, make_brokers(engine), mode, ends, changes).start(count)

        yield make


def closed_with(client):
    with pytest.raises(Exception) as closed:  # noqa: PT011
        while True:
            client.read_any(5)
    return closed.value.rcvd.code
