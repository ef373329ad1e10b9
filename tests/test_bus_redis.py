"""The bus `redis` where its server changes: another master, users, TLS. What every engine must do is in the
contract suite (tests/bus)."""

import re
import subprocess

import pytest
from harness.gateway import ROOT, wait_for

SECRETS = {"secrets": [{"id": "a", "secret": "0123456789abcdef0123456789abcdef"}]}
MODES = ["streams", "pubsub"]
WAIT_S = 30


@pytest.fixture(params=MODES)
def mode(request):
    return request.param


def start(make_gateway, bus, **options):
    return make_gateway({"bus": bus, "cluster": SECRETS}, **options)


def push(gateway, name):
    """Its status: 202 means that the record came back from the bus as well, as for every push with an id."""
    message = {"to": {"users": ["u"]}, "data": 1, "id": name}
    return gateway.api("POST", "/v1/messages", message)[0]


def wait_until_accepted(gateway, name):
    wait_for(lambda: push(gateway, name) in (200, 202), WAIT_S * gateway.slowness, "a push is accepted")


def redis_says(address, *words):
    host, port = address.split(":")
    command = ["redis-cli", "-h", host, "-p", port, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def links_lost(gateway):
    return [line["msg"] for line in gateway.log() if line["event"] == "bus.link_lost"]


def test_a_failover_by_sentinel_is_followed(make_brokers, make_gateway, mode):
    brokers = make_brokers("redis", sentinel=True)
    sentinel = brokers.address("sentinel")
    bus = brokers.bus(mode=mode, sentinels=[sentinel], sentinel_master="tidegate")
    gateway = start(make_gateway, bus)
    assert push(gateway, "before") == 202
    brokers.kill("main")
    wait_until_accepted(gateway, "after")
    assert any(brokers.address("main") in line for line in links_lost(gateway))
    assert gateway.metrics().get("tidegate_bus_reconnects_total", bus="redis") >= 1


def test_a_master_that_was_demoted_by_hand_is_left_for_the_new_one(make_brokers, make_gateway, mode):
    brokers = make_brokers("redis", replica=True)
    main, replica = brokers.address("main"), brokers.address("replica")
    gateway = start(make_gateway, brokers.bus(mode=mode, replicas=[replica]))
    assert push(gateway, "before") == 202
    redis_says(brokers.bound("replica"), "REPLICAOF", "NO", "ONE")
    redis_says(brokers.bound("main"), "REPLICAOF", *brokers.bound("replica").split(":"))
    wait_for(lambda: links_lost(gateway), WAIT_S * gateway.slowness, "the link is lost")
    assert f"{main}: it is no master any more" in links_lost(gateway)
    wait_until_accepted(gateway, "after")


def test_a_user_with_a_password_over_tls(make_brokers, make_gateway, mode):
    brokers = make_brokers("redis", auth="gateway:swordfish", tls=True)
    url = f"rediss://gateway:swordfish@{brokers.address('main-tls')}/0"
    ca = brokers.address("ca")
    gateway = start(make_gateway, {"engine": "redis", "url": url, "mode": mode, "tls_ca": ca})
    assert push(gateway, "one") == 202
    said = gateway.stderr() + gateway.metrics().text
    assert "swordfish" not in said


def documented_user():
    """The line for users.acl, as it stands in the documentation."""
    page = (ROOT / "docs" / "bus-redis.md").read_text()
    return re.search(r"^```\n(user tidegate .*)\n```$", page, re.MULTILINE)[1]


def test_the_documented_rights_are_enough_and_no_more(make_brokers, make_gateway, mode, tmp_path):
    users = tmp_path / "users.acl"
    users.write_text(documented_user() + "\n")
    brokers = make_brokers("redis", set=[f"aclfile={users}"])
    main = brokers.address("main")
    bus = {"engine": "redis", "url": f"redis://tidegate:secret@{main}/0", "name": "prod", "mode": mode}
    gateway = start(make_gateway, bus)
    assert push(gateway, "one") == 202
    redis_says(main, "CLIENT", "KILL", "USER", "tidegate")
    wait_for(lambda: links_lost(gateway), WAIT_S * gateway.slowness, "the link is lost")
    wait_until_accepted(gateway, "two")

    def roles():
        """How often a server was asked for its role: by each of two links at its start, then each second."""
        found = re.search(r"cmdstat_role:calls=(\d+)", redis_says(main, "INFO", "commandstats"))
        return int(found[1])

    wait_for(lambda: roles() >= 2 * 2 + 3, WAIT_S * gateway.slowness, "what is done each second was done")
    assert redis_says(main, "ACL", "LOG") == ""  # nothing was refused
    login = ["--no-auth-warning", "--user", "tidegate", "--pass", "secret"]
    for words in (["GET", "other:key"], ["FLUSHALL"], ["CONFIG", "GET", "*"], ["KEYS", "*"]):
        assert "NOPERM" in redis_says(main, *login, *words)


@pytest.mark.parametrize(
    ("login", "reason"),
    [("gateway:wrong@", "user name or password is wrong"), ("", "it wants a password")],
)
def test_a_wrong_password_is_said_and_not_shown(make_brokers, make_gateway, login, reason):
    brokers = make_brokers("redis", auth="gateway:swordfish")
    url = f"redis://{login}{brokers.address('main')}/0"
    gateway = start(make_gateway, {"engine": "redis", "url": url}, ready=False)

    def readyz():
        return gateway.admin("GET", "/readyz")[2].decode()

    wait_for(lambda: reason in readyz(), WAIT_S * gateway.slowness, readyz)
    assert "wrong@" not in gateway.stderr() + readyz()


def test_a_certificate_that_nobody_signed_is_refused(make_brokers, make_gateway):
    brokers = make_brokers("redis", tls=True)
    url = f"rediss://{brokers.address('main-tls')}/0"
    gateway = start(make_gateway, {"engine": "redis", "url": url}, ready=False)

    def readyz():
        return gateway.admin("GET", "/readyz")[2].decode()

    wait_for(lambda: "certificate" in readyz(), WAIT_S * gateway.slowness, readyz)
