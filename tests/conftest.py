"""Fixtures: a gateway for a whole file, and gateways with a configuration of their own."""

import contextlib
import pathlib
import tempfile

import pytest
from harness import brokers
from harness.browser import open_browser
from harness.cluster import clusters
from harness.gateway import Gateway


def pytest_addoption(parser):
    parser.addoption("--preset", default="release", help="the build that tests run against")


@pytest.fixture(scope="module")
def shared_gateway(request, tmp_path_factory):
    """One gateway for all tests of a file; a file changes its configuration by a global CONFIG."""
    changes = getattr(request.module, "CONFIG", None)
    gateway = Gateway(request.config.getoption("preset"), tmp_path_factory.mktemp("gateway"), changes)
    gateway.start()
    yield gateway
    gateway.stop()


@pytest.fixture
def gateway(shared_gateway):
    """The file's gateway. Dead after a test means that this test killed it."""
    assert shared_gateway.is_alive(), "an earlier test ended the gateway"
    yield shared_gateway
    assert shared_gateway.is_alive(), f"it died:\n{shared_gateway.stderr()[-8000:]}"


@pytest.fixture
def make_gateway(request, tmp_path):
    """A function that starts a gateway with changes to the configuration; all are checked at the end."""
    preset = request.config.getoption("preset")
    if request.node.get_closest_marker("release") or request.node.get_closest_marker("heavy"):
        preset = "release"
    with contextlib.ExitStack() as ends:

        def make(changes=None, ready=True, **options):
            folder = pathlib.Path(tempfile.mkdtemp(prefix="gateway", dir=tmp_path))
            gateway = Gateway(preset, folder, changes, **options).start(ready)
            ends.callback(gateway.stop)
            return gateway

        yield make


@pytest.fixture
def make_brokers():
    """A function that starts the servers of an engine for this test; see harness/brokers.py."""
    with contextlib.ExitStack() as ends:
        yield lambda engine, **options: ends.enter_context(brokers.running(engine, **options))


@pytest.fixture
def make_cluster(request, tmp_path, make_brokers):
    """A function that starts nodes on servers of their own, for a test that breaks something."""
    with clusters(request, tmp_path, make_brokers) as make:
        yield make


@pytest.fixture(scope="module")
def module_brokers():
    """The same for a whole file: each engine once, with the options of whoever asks first."""
    with contextlib.ExitStack() as ends:
        started = {}

        def get(engine, **options):
            if engine not in started:
                started[engine] = ends.enter_context(brokers.running(engine, **options))
            return started[engine]

        yield get


@pytest.fixture(scope="session")
def browser():
    """One headless Chromium for all tests; each opens windows of its own."""
    with open_browser() as driver:
        yield driver
