"""TLS on the listeners: clients of all kinds, several names, reloads, clients that show certificates."""

import contextlib
import json
import signal
import socket
import ssl
import subprocess
import urllib.request

import pytest
from harness.certificates import Authority
from harness.clients import V1Client, connect_raw
from harness.gateway import ROOT, USER_HEADER, wait_for
from harness.wire import Closed, TlsWire, get

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
IDLE_BYTES = 15 * 1024  # of user-space memory an idle session over TLS may cost


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def server(authority):
    return authority.sign("server")


@pytest.fixture
def make_tls_gateway(make_gateway, authority, server):
    """A gateway whose client listener speaks TLS, or with what else the test wants."""

    def make(tls=None, **options):
        tls = tls or {"client": {"certificates": [server.files]}}
        gateway = make_gateway({"tls": tls}, **options)
        gateway.tls_ca = authority.file if "client" in tls else None
        return gateway

    return make


def reload(gateway, event="reload.done"):
    before = gateway.stderr().count(event)
    gateway.process.send_signal(signal.SIGHUP)
    wait_for(lambda: gateway.stderr().count(event) > before, 10, event)


def shown_certificate(port, context, name="localhost"):
    """The common name of the certificate that the gateway shows."""
    with TlsWire(port, context, name) as wire:
        return dict(pair[0] for pair in wire.socket.getpeercert()["subject"])["commonName"]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_a_session_over_tls_gets_what_is_pushed(make_tls_gateway, authority, version):
    gateway = make_tls_gateway()
    large = "x" * 50_000
    with V1Client(gateway, "u", ssl=authority.trust(version)) as client:
        for data in ({"n": 1}, large, {"n": 2}):
            gateway.push({"users": ["u"]}, data, wait="written")
        assert client.read_data(3) == [{"n": 1}, large, {"n": 2}]
        client.join("room:1")
        gateway.push({"groups": ["room:1"]}, "to the room")
        assert client.read_data() == ["to the room"]
    assert f"client 127.0.0.1:{gateway.client_port} (TLS), api" in gateway.stderr()
    metrics = gateway.metrics()
    assert metrics.get("tidegate_tls_handshakes_total", listener="client", result="full") == 1
    assert metrics.get("tidegate_memory_bytes", owner="tls") >= 0


def test_many_small_pushes_and_a_slow_reader_lose_nothing(make_tls_gateway, authority):
    gateway = make_tls_gateway({"client": {"certificates": [authority.sign("one").files]}})
    count = 400
    with TlsWire(gateway.client_port, authority.trust(), receive_buffer=4096, timeout=20) as wire:
        wire.upgrade(headers=[(USER_HEADER, "slow")])
        body = [{"to": {"users": ["slow"]}, "data": f"{number}:" + "x" * 500} for number in range(count)]
        status, _, answer = gateway.api("POST", "/v1/messages:batch", {"messages": body})
        assert status in (200, 207), answer
        for number in range(count):
            assert wire.read_frame().payload.startswith(f'"{number}:'.encode())
        assert wire.is_alive()


def test_an_event_stream_over_tls(make_tls_gateway, authority):
    gateway = make_tls_gateway()
    with TlsWire(gateway.client_port, authority.trust()) as wire:
        wire.send(get("/v1/sse", [(USER_HEADER, "s")]))
        assert b" 200 " in wire.read_until(b"\r\n")
        wire.read_until(b"\n\n")
        gateway.push({"users": ["s"]}, {"n": 7}, wait="routed")
        wire.read_until(b'{"n": 7}')


def test_compressed_and_large_frames_over_tls(make_tls_gateway, authority):
    gateway = make_tls_gateway()
    options = {"ssl": authority.trust(), "compression": "deflate"}
    with connect_raw(gateway, "u", **options) as session:
        text = "tide" * 10_000
        gateway.push({"users": ["u"]}, text, wait="routed")
        assert json.loads(session.recv(5)) == text


def test_the_good_bye_comes_before_the_end(make_tls_gateway, authority):
    gateway = make_tls_gateway()
    context = authority.trust()
    with TlsWire(gateway.client_port, context) as wire:
        wire.socket.suppress_ragged_eofs = False  # an end without close_notify would raise
        answer = wire.request(get("/nothing", [("Connection", "close")]))
        assert answer.status == 404
        wire.assert_closed()


def test_the_name_chooses_the_certificate(make_tls_gateway, authority, server):
    other = authority.sign("other", ["other.test", "*.wild.test"])
    gateway = make_tls_gateway({"client": {"certificates": [server.files, other.files]}})
    context = authority.trust()
    assert shown_certificate(gateway.client_port, context) == "server"
    for name in ("other.test", "a.wild.test"):
        assert shown_certificate(gateway.client_port, context, name) == "other"
    context.check_hostname = False
    assert shown_certificate(gateway.client_port, context, "nobody.test") == "server"
    assert shown_certificate(gateway.client_port, context, None) == "server"


def test_api_and_admin_speak_tls(make_tls_gateway, authority, server):
    listener = {"certificates": [server.files]}
    gateway = make_tls_gateway({"api": listener})
    with urllib.request.urlopen(
        urllib.request.Request(
            f"https://localhost:{gateway.api_port}/v1/broadcast",
            b"1",
            {"Authorization": f"Bearer {gateway.api_key}", "Content-Type": "application/json"},
        ),
        context=authority.trust(),
        timeout=5,
    ) as answer:
        assert answer.status == 202
    gateway.config["tls"]["admin"] = {"certificates": [server.files], "min_version": "1.3"}
    assert gateway.metrics().get("tidegate_tls_handshakes_total", listener="api", result="full") == 1
    rewrite(gateway)
    reload(gateway)
    with TlsWire(gateway.admin_port, authority.trust()) as wire:
        assert wire.socket.version() == "TLSv1.3"
        answer = wire.request(get("/metrics"))
    assert b'certificate_expiry_timestamp_seconds{listener="admin"}' in answer.body
    with pytest.raises(ssl.SSLError):
        TlsWire(gateway.admin_port, authority.trust(ssl.TLSVersion.TLSv1_2))


def rewrite(gateway):
    gateway.config_path.write_text(json.dumps(gateway.config))  # JSON is YAML


def test_a_reload_shows_the_new_certificate_and_leaves_sessions_alone(make_tls_gateway, authority, server):
    gateway = make_tls_gateway()
    expires = "tidegate_tls_certificate_expiry_timestamp_seconds"
    until = server.certificate.not_valid_after_utc.timestamp()
    assert gateway.metrics().get(expires, listener="client") == until
    with V1Client(gateway, "u", ssl=authority.trust()) as client:
        renewed = authority.sign("renewed", days=365)
        gateway.config["tls"]["client"]["certificates"] = [renewed.files]
        rewrite(gateway)
        reload(gateway)
        assert shown_certificate(gateway.client_port, authority.trust()) == "renewed"
        assert gateway.metrics().get(expires, listener="client") > until
        gateway.push({"users": ["u"]}, "still here")
        assert client.read_data() == ["still here"]


def test_a_bad_certificate_changes_nothing(make_tls_gateway, authority, tmp_path):
    gateway = make_tls_gateway()
    one, two = authority.sign("one"), authority.sign("two")
    expired = authority.sign("expired", days=-1)
    bad = tmp_path / "bad.pem"
    bad.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    cases = [
        ({**one.files, "key": str(two.key_file)}, "the key is not the certificate's"),
        ({**one.files, "certificate": str(bad)}, "no certificate in PEM"),
        ({**one.files, "certificate": str(tmp_path / "none.pem")}, "No such file"),
        ({**one.files, "key": str(one.certificate_file)}, "no key in PEM"),
    ]
    for files, words in cases:
        gateway.config["tls"]["client"]["certificates"] = [files]
        rewrite(gateway)
        reload(gateway, "reload.refused")
        wait_for(lambda words=words: words in gateway.stderr(), 5, words)
        assert shown_certificate(gateway.client_port, authority.trust()) == "server"
        checked = check(gateway)
        assert checked.returncode == 1
        assert words in checked.stderr
        assert "tls.client.certificates[0]" in checked.stderr
    gateway.config["tls"]["client"]["certificates"] = [expired.files]
    expired.key_file.chmod(0o644)
    rewrite(gateway)
    checked = check(gateway)
    assert checked.returncode == 0, checked.stderr
    assert "expired" in checked.stderr
    assert "chmod 600" in checked.stderr


def check(gateway):
    binary = ROOT / "build" / gateway.preset / "tidegate"
    return subprocess.run(
        [str(binary), "check", str(gateway.config_path)], capture_output=True, text=True, check=False
    )


def test_callers_of_the_api_show_a_certificate_and_a_key(make_tls_gateway, authority, server, tmp_path):
    callers = Authority(tmp_path, "callers")
    caller, stranger = callers.sign("caller"), authority.sign("stranger")
    api = {"certificates": [server.files], "client_ca": str(callers.file)}
    gateway = make_tls_gateway({"api": api})
    push = get("/v1/broadcast", [("Content-Length", "1")], method="POST", body=b"1")
    key = ("Authorization", f"Bearer {gateway.api_key}")
    with TlsWire(gateway.api_port, authority.trust(own=caller)) as wire:
        assert wire.request(push).status == 401
    with TlsWire(gateway.api_port, authority.trust(own=caller)) as wire:
        with_key = get("/v1/broadcast", [key, ("Content-Length", "1")], method="POST", body=b"1")
        assert wire.request(with_key).status == 202
    for own in (None, stranger):
        for version in VERSIONS:
            context = authority.trust(version, own)
            with (
                pytest.raises((ssl.SSLError, Closed, ConnectionResetError)),
                TlsWire(gateway.api_port, context) as wire,
            ):
                wire.request(push)  # TLS 1.3 tells a client with its first read

    def refused():
        return gateway.metrics().get("tidegate_http_refused_total", reason="tls_client_certificate")

    wait_for(lambda: refused() == 4, 5, "four refusals are counted")


def test_a_ticket_spares_the_second_handshake(make_tls_gateway, authority):
    gateway = make_tls_gateway()
    context = authority.trust(ssl.TLSVersion.TLSv1_3)
    with TlsWire(gateway.client_port, context) as wire:
        assert wire.request(get("/nothing")).status == 404
        session = wire.socket.session
    with (
        socket.create_connection(("127.0.0.1", gateway.client_port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost", session=session) as again,
    ):
        again.sendall(get("/nothing"))
        assert again.recv(100).startswith(b"HTTP/1.1 404")
        assert again.session_reused
    assert gateway.metrics().get("tidegate_tls_handshakes_total", listener="client", result="resumed") == 1


def test_the_command_line_speaks_tls(make_tls_gateway, authority, server, tmp_path):
    listener = {"certificates": [server.files]}
    gateway = make_tls_gateway({"client": listener, "api": {"certificates": [dict(server.files)]}})
    binary = str(ROOT / "build" / gateway.preset / "tidegate")
    key_file = tmp_path / "key"
    key_file.write_text(gateway.api_key)
    tail = [binary, "tail", "--url", gateway.ws_url(), "--count", "1", "--group", "room:1"]
    push = [binary, "push", "--url", f"https://localhost:{gateway.api_port}", "--key-file", str(key_file)]
    push += ["--group", "room:1", "--data", '"over tls"', "--wait", "routed"]
    trust = ["--ca", str(authority.file)]
    with subprocess.Popen([*tail, *trust], stdout=subprocess.PIPE, text=True) as tailing:
        wait_for(lambda: gateway.metrics().get("tidegate_group_members") == 1, 10, "the member")
        assert subprocess.run([*push, *trust], check=False).returncode == 0
        assert '"over tls"' in tailing.stdout.read()
    for command, code in (
        (push, 3),
        ([*push, "--ca", str(key_file)], 2),
        ([*tail, "--ca", str(key_file)], 2),
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
        assert done.returncode == code, done
        assert "--ca" in done.stderr


@pytest.mark.release
def test_an_idle_session_over_tls_stays_in_its_budget(make_tls_gateway, authority):
    gateway = make_tls_gateway()
    context = authority.trust()
    with contextlib.ExitStack() as stack:

        def connect(count):
            for _ in range(count):
                wire = stack.enter_context(TlsWire(gateway.client_port, context))
                wire.upgrade(headers=[(USER_HEADER, "idle")])

        connect(300)  # slabs, pools and the library's caches
        before = gateway.rss()
        connect(1000)
        each = (gateway.rss() - before) / 1000
    print(f"{each:.0f} bytes an idle session")
    assert each <= IDLE_BYTES, f"an idle session costs {each:.0f} bytes"
