"""Receivers of metrics and spans: an OTLP collector that reads with the official protobuf messages, and a
StatsD server."""

import base64
import collections
import gzip
import http.server
import json
import socket
import threading
import time

from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from harness.gateway import wait_for

MESSAGES = {"/v1/metrics": ExportMetricsServiceRequest, "/v1/traces": ExportTraceServiceRequest}


def ids_as_bytes(node):
    """OTLP has trace and span ids in hex, where proto3's JSON has bytes in Base64."""
    if isinstance(node, list):
        return [ids_as_bytes(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        key: base64.b64encode(bytes.fromhex(value)).decode()
        if key in ("traceId", "spanId", "parentSpanId")
        else ids_as_bytes(value)
        for key, value in node.items()
    }


def value_of(value):
    return getattr(value, value.WhichOneof("value"))


def attributes_of(thing):
    return {attribute.key: value_of(attribute.value) for attribute in thing.attributes}


class Collector:
    """exports: (path, message, headers, time) of all that was taken. answers: (status, headers, body) of the
    next requests; 200 once none is left; None lets a request hang until the end."""

    def __init__(self, tls=None):
        """tls: an ssl.SSLContext."""
        self.exports, self.requests, self.wrong = [], [], []
        self.answers = collections.deque()
        self.ends = threading.Event()
        self.lock = threading.Lock()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ends.set()
        self.server.shutdown()
        self.server.server_close()
        assert not self.wrong, self.wrong

    def _handler(collector):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                answer = collector._take(self, body)
                if answer is None:
                    collector.ends.wait(30)
                    self.close_connection = True
                    return
                status, headers, text = answer
                self.send_response(status)
                for name, value in {"content-type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        return Handler

    def _take(self, request, body):
        headers = {name.lower(): value for name, value in request.headers.items()}
        with self.lock:
            self.requests.append((request.path, time.monotonic(), headers))
            answer = self.answers.popleft() if self.answers else (200, {}, b"{}")
            try:
                message = self._read(request.path, headers, body)
            except Exception as problem:  # whatever is wrong with it, the test should say so
                self.wrong.append(repr(problem))
                return 400, {}, b"{}"
            if answer and answer[0] < 300:
                self.exports.append((request.path, message))
            return answer

    def _read(self, path, headers, body):
        assert headers["content-type"] == "application/json", headers
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        return json_format.ParseDict(ids_as_bytes(json.loads(body)), MESSAGES[path]())

    def of(self, path):
        with self.lock:
            return [message for taken, message in self.exports if taken == path]

    def wait_for_metrics(self, count=1, seconds=10):
        """The last of count or more."""
        return wait_for(
            lambda: len(self.of("/v1/metrics")) >= count, seconds, lambda: self.requests
        ) and Points(self.of("/v1/metrics")[-1])

    def spans(self):
        return [
            span
            for message in self.of("/v1/traces")
            for resource in message.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def wait_for_spans(self, condition, seconds=10):
        """Those for which condition(span) holds, once there is one."""
        return wait_for(lambda: [span for span in self.spans() if condition(span)], seconds, self.spans)


class Points:
    """The metrics of one export."""

    def __init__(self, message):
        assert len(message.resource_metrics) == 1
        resource = message.resource_metrics[0]
        self.resource = attributes_of(resource.resource)
        self.metrics = {metric.name: metric for metric in resource.scope_metrics[0].metrics}

    def points(self, name):
        metric = self.metrics[name]
        return list(getattr(metric, metric.WhichOneof("data")).data_points)

    def point(self, name, **labels):
        """The only one with these labels."""
        found = [at for at in self.points(name) if labels.items() <= attributes_of(at).items()]
        assert len(found) == 1, (name, labels, found)
        return found[0]


class StatsD:
    """A server of StatsD as Etsy's is one: counters add up, a signed gauge would move the last value."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.datagrams = []
        self.counters, self.gauges = collections.Counter(), {}
        threading.Thread(target=self._run, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def _run(self):
        while True:
            try:
                datagram = self.socket.recv(65536)
            except OSError:
                return
            for line in datagram.decode().split("\n"):
                self._take(line)
            self.datagrams.append(datagram)

    def _take(self, line):
        name, _, rest = line.partition(":")
        value, kind, *more = rest.split("|")
        if more:
            name += "".join(sorted(more[0].removeprefix("#").split(",")))
        if kind == "c":
            self.counters[name] += float(value)
        else:
            assert kind == "g", line
            is_move = value[0] in "+-"
            self.gauges[name] = float(value) + (self.gauges.get(name, 0) if is_move else 0)
