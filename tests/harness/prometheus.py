"""A real Prometheus and Alertmanager from Debian, with the configurations of deploy/prometheus, but quick:
other ports, seconds instead of minutes, and a receiver of the test's own."""

import contextlib
import http.server
import json
import re
import subprocess
import threading
import urllib.request

import yaml

from harness.gateway import ROOT, free_ports, wait_for

DEPLOY = ROOT / "deploy" / "prometheus"
START_SECONDS = 30


class Receiver:
    """The end of Alertmanager's webhooks, and of the gateway's own: keeps what it is told of each alert."""

    def __init__(self):
        self.notices, self.lock = [], threading.Lock()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def url(self, path):
        return f"http://127.0.0.1:{self.port}/{path}"

    def alerts(self, path, status, **labels):
        """What came to this path with this status and at least these labels."""
        with self.lock:
            return [
                alert
                for where, notice in self.notices
                for alert in notice["alerts"]
                if where == path and alert["status"] == status and labels.items() <= alert["labels"].items()
            ]

    def wait_for(self, path, status, seconds=30, **labels):
        def said():
            return f"{path} heard of {labels} {status}: {self.notices}"

        return wait_for(lambda: self.alerts(path, status, **labels), seconds, said, 0.05)[-1]

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def _handler(receiver):  # noqa: N805
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                notice = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with receiver.lock:
                    receiver.notices.append((self.path.lstrip("/"), notice))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        return Handler


def _answers(url):
    with contextlib.suppress(OSError):
        return urllib.request.urlopen(url, timeout=5).status == 200
    return False


@contextlib.contextmanager
def _running(folder, name, command, url):
    log = folder / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=folder)
        try:
            wait_for(
                lambda: _answers(url),
                START_SECONDS,
                lambda: f"{name} answers: {log.read_text()[-2000:]}",
                0.05,
            )
            yield process
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def alertmanager(folder, receiver):
    """Yields its URL. Notices go to the receiver's paths `on-call` and `office`."""
    config = yaml.safe_load((DEPLOY / "alertmanager.yml").read_text())
    for route in [config["route"], *config["route"]["routes"]]:
        route |= {"group_wait": "0s", "group_interval": "1s"}
    for entry in config["receivers"]:
        for hook in entry["webhook_configs"]:
            hook["url"] = receiver.url(hook["url"].rsplit("/", 1)[1])
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config))
    (port,) = free_ports(1)
    command = [
        "prometheus-alertmanager",
        "--config.file=alertmanager.yml",
        "--storage.path=alertmanager",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    url = f"http://127.0.0.1:{port}"
    with _running(folder, "alertmanager", command, f"{url}/-/ready"):
        yield url


@contextlib.contextmanager
def prometheus(folder, admin_ports, alertmanager_url):
    """Scrapes these admin listeners each 500 ms, and needs a condition to hold for a second at most."""
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
    config["scrape_configs"][0]["static_configs"] = [
        {"targets": [f"127.0.0.1:{port}" for port in admin_ports]}
    ]
    config["alerting"]["alertmanagers"][0]["static_configs"] = [
        {"targets": [alertmanager_url.split("//")[1]]}
    ]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    rules = re.sub(r"\n( +)for: (?!0s)\w+", r"\n\1for: 1s", (DEPLOY / "alerts.yaml").read_text())
    (folder / "alerts.yaml").write_text(rules)
    (port,) = free_ports(1)
    command = [
        "prometheus",
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=prometheus",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    url = f"http://127.0.0.1:{port}"
    with _running(folder, "prometheus", command, f"{url}/-/ready"):
        yield url
