"""The proxies of deploy/ with their configurations there: the real nginx and HAProxy before two gateways."""

import contextlib
import http.server
import re
import socket
import ssl
import subprocess
import threading
import types
import urllib.error
import urllib.request

import pytest
from harness import certificates
from harness.gateway import ROOT, free_ports, wait_for
from harness.sse import Stream
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect


class Front:
    """A proxy as clients see it, and the two gateways behind it."""

    def __init__(self, folder, gateways):
        self.folder, self.gateways = folder, gateways
        self.port = free_ports(1)[0]
        authority = certificates.Authority(folder)
        self.certificate = authority.sign("push")
        self.context = ssl.create_default_context(cafile=authority.file)
        self.process = None

    def start(self, command):
        with (self.folder / "stderr").open("wb") as words:
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=words, stderr=words)
        wait_for(self.is_there, 10, lambda: f"{command} to answer")
        return self

    def is_there(self):
        assert self.process.poll() is None, (self.folder / "stderr").read_text()
        with contextlib.suppress(OSError, InvalidStatus), self.connect():
            return True
        return False

    def connect(self, source="127.0.0.1"):
        url = f"wss://localhost:{self.port}/v1/ws?group=room:1"
        return connect(
            url, ssl=self.context, source_address=(source, 0), open_timeout=10, compression=None, proxy=None
        )

    def stop(self):
        self.process.terminate()
        self.process.wait(10)

    def sessions(self):
        return [gateway.api("GET", "/v1/groups/room:1")[2]["sessions"] for gateway in self.gateways]


def start_nginx(front):
    text = (ROOT / "deploy/nginx/tidegate.conf").read_text()
    for i, gateway in enumerate(front.gateways):
        text = text.replace(f"10.0.0.{i + 1}:8080", f"127.0.0.1:{gateway.client_port}")
    text = text.replace("listen 443", f"listen 127.0.0.1:{front.port}")
    text = text.replace("server_name push.example.com", "server_name localhost")
    text = text.replace("/etc/ssl/push.example.com.pem", str(front.certificate.certificate_file))
    text = text.replace("/etc/ssl/push.example.com.key", str(front.certificate.key_file))
    text = text.replace("/var/log/nginx", str(front.folder))
    (front.folder / "tidegate.conf").write_text(text)
    return front.start(nginx(front.folder, "include tidegate.conf;"))


def nginx(folder, parts):
    """The command that runs one with these parts of its http section."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log stderr; worker_processes 1;\n"
        f"events {{ worker_connections 500; }}\nhttp {{ {parts} access_log off;\n{paths}}}\n"
    )
    return ["/usr/sbin/nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def start_haproxy(front):
    both = front.folder / "both.pem"
    both.write_bytes(
        front.certificate.certificate_file.read_bytes() + front.certificate.key_file.read_bytes()
    )
    text = (ROOT / "deploy/haproxy/haproxy.cfg").read_text()
    text = re.sub(r"bind :443 ssl crt \S+", f"bind 127.0.0.1:{front.port} ssl crt {both}", text)
    text = text.replace(" check port 8082", " check").replace("maxconn 200000", "maxconn 500")
    for i, gateway in enumerate(front.gateways):
        wanted = f"127.0.0.1:{gateway.client_port} port {gateway.admin_port}"
        text = text.replace(f"10.0.0.{i + 1}:8080", wanted)
    # A check has no PROXY header: the admin listener, which it asks, expects none.
    (front.folder / "haproxy.cfg").write_text(text)
    return front.start(["/usr/sbin/haproxy", "-f", str(front.folder / "haproxy.cfg")])


PROXIES = {
    "nginx": (start_nginx, {"forwarded": {"from": ["127.0.0.0/8"], "header": "x-forwarded-for"}}),
    "haproxy": (start_haproxy, {"proxy_protocol": {"client": ["127.0.0.1"]}}),
}


@pytest.fixture(params=list(PROXIES))
def front(request, make_gateway, tmp_path):
    start, trust = PROXIES[request.param]
    changes = {**trust, "limits": {"sessions_per_ip": 3}}
    app = {"auth": {"anonymous": True}}
    front = Front(tmp_path, [make_gateway(changes, app=app) for _ in range(2)])
    yield start(front)
    front.stop()


def test_clients_come_through_with_their_own_addresses(front):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(front.connect(f"127.0.0.{i}")) for i in range(2, 10)]
        wait_for(lambda: sum(front.sessions()) == 8, 5, lambda: f"all sessions: {front.sessions()}")
        assert min(front.sessions()) >= 2, "they are spread"
        for gateway in front.gateways:
            gateway.push({"groups": ["room:1"]}, "hello")
        assert all(socket.recv(timeout=5) == '"hello"' for socket in sockets)
        with pytest.raises(InvalidStatus, match="429"):  # noqa: PT012
            for _ in range(8):
                stack.enter_context(front.connect("127.0.0.2"))


def test_events_of_a_stream_are_not_held_back(front):
    stream = Stream(f"https://localhost:{front.port}/v1/sse?group=room:1", verify=front.context, timeout=10)
    try:
        for gateway in front.gateways:
            gateway.push({"groups": ["room:1"]}, "now")
        assert stream.next().data == '"now"'
    finally:
        stream.close()


def test_a_node_that_drains_gets_nobody_new(front):
    first = front.gateways[0]
    node = first.api("GET", "/v1/nodes")[2]["nodes"][0]["node"]
    assert first.api("POST", f"/v1/nodes/{node}:drain")[0] in (200, 202)
    wait_for(lambda: not first.is_ready(), 5, "it drains")
    with contextlib.ExitStack() as stack:
        for i in range(2, 8):
            stack.enter_context(front.connect(f"127.0.0.{i}"))
        wait_for(lambda: front.sessions()[1] == 6, 5, lambda: f"all at the other: {front.sessions()}")
        assert front.sessions()[0] == 0


class Dumb(http.server.BaseHTTPRequestHandler):
    """A node that is ready, and goes without an answer whenever it is asked something else."""

    asked = []

    def handle(self):
        data = self.connection.recv(4096)
        if b"/readyz" in data:
            self.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        elif method := re.search(rb"(GET|POST) /v1/", data):
            self.asked.append(method[1])


@pytest.mark.parametrize(("method", "times"), [("GET", {2, 3}), ("POST", {1})])
def test_haproxy_repeats_no_post_whose_answer_is_lost(tmp_path, method, times):
    with contextlib.ExitStack() as stack:
        servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dumb) for _ in range(2)]
        for server in servers:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
        ports = [server.server_address[1] for server in servers]
        front = Front(tmp_path, [types.SimpleNamespace(client_port=port, admin_port=port) for port in ports])
        front.is_there = lambda: socket.socket().connect_ex(("127.0.0.1", front.port)) == 0
        start_haproxy(front)
        stack.callback(front.stop)
        Dumb.asked.clear()
        request = urllib.request.Request(f"https://localhost:{front.port}/v1/sse", method=method)
        with pytest.raises(urllib.error.HTTPError, match="502"):
            urllib.request.urlopen(request, context=front.context, timeout=10)
        assert len(Dumb.asked) in times, "as often as the check has not taken them off yet"


def test_tickets_are_in_no_log_also_when_every_node_is_away(front):
    for gateway in front.gateways:
        gateway.stop()
    with pytest.raises(urllib.error.HTTPError, match="50[23]"):
        urllib.request.urlopen(
            f"https://localhost:{front.port}/v1/ws?ticket=a-secret", context=front.context, timeout=10
        )
    front.stop()
    written = {path: path.read_bytes() for path in front.folder.iterdir() if path.is_file()}
    assert any(b"/v1/ws" in words for words in written.values()), "it is logged"
    assert not [path for path, words in written.items() if b"a-secret" in words]


@pytest.mark.parametrize("front", ["nginx"], indirect=True)
def test_nodes_that_all_ask_for_patience_are_heard(front):
    """As often as one asks: none is taken for dead, for which the answer would be 502 without Retry-After."""
    for gateway in front.gateways:
        node = gateway.api("GET", "/v1/nodes")[2]["nodes"][0]["node"]
        assert gateway.api("POST", f"/v1/nodes/{node}:drain")[0] in (200, 202)
    for gateway in front.gateways:
        wait_for(lambda gateway=gateway: not gateway.is_ready(), 5, "it drains")
    for _ in range(6):
        with pytest.raises(InvalidStatus) as refused:
            front.connect()
        answer = refused.value.response
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0


def test_nothing_but_the_clients_paths_is_reachable(front):
    for path in ("/metrics", "/console/", "/v1x"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"https://localhost:{front.port}{path}", context=front.context)


def test_the_unit_lets_the_audit_log_be_written_where_its_page_puts_it():
    folder = re.search(r"audit: (/var/log/\w+)/", (ROOT / "docs/logs.md").read_text())[1]
    unit = (ROOT / "deploy/systemd/tidegate.service").read_text()
    assert "ProtectSystem=strict" in unit
    assert f"LogsDirectory={folder.removeprefix('/var/log/')}\n" in unit


def test_the_proxy_that_the_consoles_page_shows_leads_to_it(gateway, tmp_path):
    page = (ROOT / "docs/how-to/console.md").read_text()
    part = re.search(r"^```nginx\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[1]
    port = free_ports(1)[0]
    part = part.replace("127.0.0.1:8082", f"127.0.0.1:{gateway.admin_port}")
    command = nginx(tmp_path, f"server {{ listen 127.0.0.1:{port}; {part} }}")
    with subprocess.Popen(command, cwd=tmp_path) as process:

        def title():
            with contextlib.suppress(OSError):
                text = urllib.request.urlopen(f"http://127.0.0.1:{port}/console/").read().decode()
                return re.findall(r"<title>(.*)</title>", text)
            return None

        assert "tidegate" in wait_for(title, 10, "the console")[0]
        process.terminate()
