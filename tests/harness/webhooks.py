"""The app's end of webhooks: a server that keeps what it is told, checks it, and answers as bidden."""

import base64
import collections
import hashlib
import hmac
import http.server
import json
import threading
import time

import yaml
from jsonschema import Draft202012Validator

from harness.gateway import ROOT, wait_for

SECRET = "a webhook's secret, of tests alone"
LOOPBACK = ["127.0.0.0/8", "::1"]
SPEC = yaml.safe_load((ROOT / "docs/openapi.yaml").read_text())


def schema_of(what):
    """As docs/openapi.yaml describes an event: "session.opened"."""
    name = "".join(part.capitalize() for part in what.split("."))
    content = SPEC["components"]["requestBodies"][name]["content"]
    return {**SPEC, **content["application/cloudevents+json"]["schema"]}


def signature(secret, headers, body):
    """As the specification of Standard Webhooks says it."""
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.new(secret.encode(), content, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


class Receiver:
    """events: what was taken, as parsed JSON, in order. answers: (status, headers) of the next requests; 204
    once none is left; None lets a request hang until the end."""

    def __init__(self, secret=SECRET):
        self.secret = secret
        self.events, self.requests, self.wrong = [], [], []
        self.answers = collections.deque()
        self.ends = threading.Event()
        self.lock = threading.Lock()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ends.set()
        self.server.shutdown()
        self.server.server_close()

    def config(self, *events, **changes):
        """An entry of `webhooks` that leads here."""
        return {
            "url": f"http://127.0.0.1:{self.port}/hook?key=in-the-url",
            "events": list(events),
            "secrets": [{"secret": self.secret}],
            "allow": list(LOOPBACK),
            **changes,
        }

    def _handler(receiver):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                answer = receiver._take(self, body)
                if answer is None:
                    receiver.ends.wait(30)
                    self.close_connection = True
                    return
                status, headers = answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_):
                pass

        return Handler

    def _take(self, request, body):
        event = json.loads(body)
        with self.lock:
            self.requests.append((time.monotonic(), event["id"], request.path))
            complaint = self._complain(request.headers, event, body)
            if complaint:
                self.wrong.append(complaint)
            answer = self.answers.popleft() if self.answers else (204, {})
            if answer and answer[0] < 300:
                self.events.append(event)
            return answer

    def _complain(self, headers, event, body):
        if signature(self.secret, headers, body) not in headers["webhook-signature"].split(" "):
            return f"not signed by {self.secret}: {headers['webhook-signature']}"
        if headers["content-type"] != "application/cloudevents+json" or headers["webhook-id"] != event["id"]:
            return f"other headers: {headers.items()}"
        if abs(int(headers["webhook-timestamp"]) - time.time()) > 60:
            return f"another time: {headers['webhook-timestamp']}"
        errors = Draft202012Validator(schema_of(event["type"].removeprefix("tidegate."))).iter_errors(event)
        return next((f"not as described: {error.message}" for error in errors), None)

    def wait_for(self, what, seconds=10, **fields):
        """The first event of that type (without "tidegate.") whose data have these fields."""

        def find():
            with self.lock:
                return next((event for event in self.events if matches(event, what, fields)), None)

        found = wait_for(find, seconds, lambda: f"{what} {fields}, only {self.events}")
        assert not self.wrong, self.wrong
        return found

    def of_type(self, what):
        with self.lock:
            return [event for event in self.events if event["type"] == f"tidegate.{what}"]


def matches(event, what, fields):
    return event["type"] == f"tidegate.{what}" and fields.items() <= event["data"].items()
