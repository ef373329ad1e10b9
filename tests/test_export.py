"""Metrics and spans go to those who don't scrape: OTLP, read with the official messages, and StatsD."""

import math
import ssl
import time

import pytest
from harness.certificates import Authority
from harness.clients import V1Client
from harness.collector import Collector, StatsD, attributes_of
from harness.gateway import wait_for

SECRET = "Bearer a-secret-of-the-collector"


@pytest.fixture
def collector():
    with Collector() as collector:
        yield collector


def otlp(collector, **changes):
    return {"metrics": {"otlp": {"url": collector.url, "interval": "1s", **changes}}}


def push(gateway, client, count=1):
    for number in range(count):
        gateway.push({"users": ["42"]}, number)
        client.read("msg")


def requests_of(gateway, exporter, result):
    return gateway.metrics().get("tidegate_export_requests_total", exporter=exporter, result=result)


def test_metrics_reach_a_collector_as_prometheus_sees_them(make_gateway, collector, tmp_path):
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text(SECRET + "\n")
    headers = [{"name": "Authorization", "file": str(key)}, {"name": "X-Tenant", "value": "seven"}]
    gateway = make_gateway({"cluster": {"node": "n1", "name": "eu"}, **otlp(collector, headers=headers)})
    began = time.time_ns()
    with V1Client(gateway, "42") as client:
        push(gateway, client, 3)
        seen = len(collector.of("/v1/metrics"))
        first = collector.wait_for_metrics(seen + 2)  # the last of these began behind the pushes
        metrics = gateway.metrics()
    assert first.resource == {
        "service.name": "tidegate",
        "service.namespace": "eu",
        "service.instance.id": "n1",
        "service.version": "0.1.0",
    }
    accepted = first.metrics["tidegate_messages_accepted_total"]
    assert accepted.sum.is_monotonic and accepted.sum.aggregation_temporality == 2 and not accepted.unit
    point = first.point("tidegate_messages_accepted_total", app="demo", target="user")
    assert point.as_double == 3 and attributes_of(point) == {"app": "demo", "target": "user", "type": "none"}
    assert point.start_time_unix_nano < began < point.time_unix_nano < time.time_ns()
    valueless = {name for (name, _), value in metrics.series.items() if math.isnan(value)}
    assert set(first.metrics) <= set(metrics.types) <= set(first.metrics) | valueless, "the same families"
    sessions = first.point("tidegate_connections", app="demo", transport="v1")
    assert sessions.as_double == 1 and sessions.start_time_unix_nano == 0
    assert first.metrics["tidegate_connections"].WhichOneof("data") == "gauge"
    latency = first.metrics["tidegate_delivery_seconds"]
    assert latency.unit == "s" and latency.histogram.aggregation_temporality == 2
    point = first.point("tidegate_delivery_seconds", stage="api_to_bus")
    assert point.count == 3 == sum(point.bucket_counts) and point.sum > 0
    assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
    assert point.explicit_bounds[0] == 1e-5 and point.explicit_bounds[-1] == 10
    assert first.metrics["tidegate_memory_bytes"].unit == "By"
    sent = collector.requests[-1][2]
    assert (sent["authorization"], sent["x-tenant"]) == (SECRET, "seven")
    assert sent["content-encoding"] == "gzip"
    second = collector.wait_for_metrics(seen + 3)
    again = second.point("tidegate_messages_accepted_total", app="demo", target="user")
    assert again.as_double == 3 and again.start_time_unix_nano == point.start_time_unix_nano
    assert (
        gateway.metrics().get("tidegate_export_last_success_timestamp_seconds", exporter="otlp_metrics")
        > began / 1e9
    )
    assert requests_of(gateway, "otlp_metrics", "ok") >= 2
    assert SECRET not in gateway.stderr() and SECRET not in gateway.metrics().text


def test_a_collector_that_is_busy_is_asked_again_when_it_says_and_never_in_vain(make_gateway, collector):
    collector.answers.extend([(503, {"retry-after": "2"}, b""), (429, {}, b""), (400, {}, b"")])
    gateway = make_gateway(otlp(collector, gzip=False))
    collector.wait_for_metrics()
    times = [at for _, at, _ in collector.requests]
    assert times[1] - times[0] >= 2 and 0.4 < times[2] - times[1] < 1.5 + gateway.slowness
    assert requests_of(gateway, "otlp_metrics", "retry") == 2
    assert requests_of(gateway, "otlp_metrics", "rejected") == 1
    gateway.wait_for_line("export.failed", "answered with 503")
    gateway.wait_for_line("export.recovered")
    partial = b'{"partialSuccess":{"rejectedDataPoints":"5","errorMessage":"no"}}'
    collector.answers.append((200, {}, partial))
    gateway.wait_for_line("export.partial", "refused 5")
    assert requests_of(gateway, "otlp_metrics", "partial") == 1


def test_a_collector_that_hangs_or_is_away_disturbs_nobody_and_a_reload_finds_another(
    make_gateway, collector
):
    collector.answers.append(None)
    gateway = make_gateway(otlp(collector, timeout="300ms"))
    with V1Client(gateway, "42") as client:
        wait_for(lambda: requests_of(gateway, "otlp_metrics", "timeout"), 5, "a time-out")
        push(gateway, client)
        gateway.config["metrics"]["otlp"]["url"] = "http://127.0.0.1:1"
        gateway.reload()
        wait_for(lambda: requests_of(gateway, "otlp_metrics", "unreachable"), 5, "nobody there")
        with Collector() as other:
            gateway.config["metrics"]["otlp"]["url"] = other.url + "/base/"
            gateway.reload()
            wait_for(lambda: other.requests, 5, "a request")
            assert other.requests[0][0] == "/base/v1/metrics"
            other.wrong.clear()  # of that path
            gateway.config["metrics"]["otlp"]["url"] = ""
            gateway.reload()
            count = requests_of(gateway, "otlp_metrics", "rejected")
            push(gateway, client)
            assert requests_of(gateway, "otlp_metrics", "rejected") == count


def test_a_collector_must_show_a_certificate_of_its_authority(make_gateway, tmp_path):
    authority = Authority(tmp_path)
    certificate = authority.sign("collector")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate_file, certificate.key_file)
    with Collector(tls=context) as collector:
        gateway = make_gateway(otlp(collector))
        wait_for(lambda: requests_of(gateway, "otlp_metrics", "certificate"), 5, "a refusal")
        assert not collector.requests
        gateway.config["metrics"]["otlp"]["ca"] = str(authority.file)
        gateway.reload()
        collector.wait_for_metrics()


def test_statsd_gets_what_was_added_and_what_is(make_gateway):
    with StatsD() as statsd, StatsD() as tagged:
        settings = {"address": statsd.address, "interval": "1s", "prefix": "eu."}
        gateway = make_gateway({"cluster": {"node": "n.1"}, "metrics": {"statsd": settings}})
        accepted = "eu.tidegate_messages_accepted_total.node.n_1.app.demo.target.user.type.none"
        with V1Client(gateway, "42") as client:
            push(gateway, client, 1)
            wait_for(lambda: statsd.counters[accepted] == 1, 5, lambda: statsd.counters)
            push(gateway, client, 2)
            wait_for(lambda: statsd.counters[accepted] == 3, 5, lambda: statsd.counters)
            latency = "eu.tidegate_delivery_seconds{}.node.n_1.stage.api_to_bus"
            assert statsd.counters[latency.format("_count")] == 3
            assert 0 < statsd.counters[latency.format("_sum")] < 10
            assert 0 < statsd.gauges[latency.format("_p50")] <= statsd.gauges[latency.format("_p99")] < 10
            assert statsd.gauges["eu.tidegate_connections.node.n_1.app.demo.transport.v1"] == 1
            assert all(len(datagram) <= 1432 for datagram in statsd.datagrams)
            assert max(len(datagram) for datagram in statsd.datagrams) > 1200, "packed"
            settings.update(address=tagged.address, prefix="", tags="dogstatsd")
            gateway.config["metrics"]["statsd"] = settings
            gateway.reload()
            gateway.push({"users": ["42"]}, 1)
            name = "tidegate_messages_accepted_total" + "".join(
                sorted(["node:n.1", "app:demo", "target:user", "type:none"])
            )
            wait_for(lambda: tagged.counters[name] == 1, 5, lambda: tagged.counters)
        assert statsd.counters[accepted] == 3
    wait_for(lambda: requests_of(gateway, "statsd", "unreachable"), 5, "nobody listens any more")
    gateway.wait_for_line("export.failed", "StatsD")


TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def parent(trace=TRACE, flags="01"):
    return {"traceparent": f"00-{trace}-{CALLER}-{flags}", "tracestate": "congo=t61rcWkgMzE"}


def of_trace(trace):
    return lambda span: span.trace_id.hex() == trace


def named(spans, name):
    found = [span for span in spans if span.name == name]
    assert len(found) == 1, (name, found)
    return found[0]


def test_a_sampled_push_is_three_spans_and_the_client_can_go_on(make_gateway, collector):
    gateway = make_gateway(otlp(collector, traces=True, metrics=False))
    began = time.time_ns()
    with V1Client(gateway, "42") as client, V1Client(gateway, "42"):
        body = {"to": {"users": ["42"]}, "data": {"secret": "of the payload"}, "id": "order-81"}
        assert gateway.api("POST", "/v1/messages", body, parent())[0] == 202
        told = client.read("msg")["tp"]
        wait_for(lambda: len(collector.spans()) == 3, 10, collector.spans)
        spans = collector.spans()
        push, publish, deliver = (named(spans, name) for name in ("push", "bus publish", "deliver"))
        assert all(span.trace_id.hex() == TRACE for span in spans)
        assert all(span.trace_state == "congo=t61rcWkgMzE" for span in spans)
        assert push.parent_span_id.hex() == CALLER and push.kind == push.SPAN_KIND_SERVER
        assert publish.parent_span_id == push.span_id and publish.kind == push.SPAN_KIND_PRODUCER
        assert deliver.parent_span_id == publish.span_id and deliver.kind == push.SPAN_KIND_CONSUMER
        assert told == f"00-{TRACE}-{publish.span_id.hex()}-01"
        for span in spans:
            assert began - 10**9 < span.start_time_unix_nano <= span.end_time_unix_nano < time.time_ns()
            assert attributes_of(span)["messaging.message.id"] == "order-81"
            assert span.status.code == 0
        request = attributes_of(push)
        assert (request["http.route"], request["http.response.status_code"]) == ("/v1/messages", 202)
        assert request["tidegate.app"] == "demo" and attributes_of(publish)["tidegate.bus"] == "memory"
        counts = attributes_of(deliver)
        assert counts["tidegate.sessions.matched"] == counts["tidegate.sessions.written"] == 2
        assert "of the payload" not in str(spans) + gateway.stderr()

        assert gateway.api("POST", "/v1/users/42/messages", b"1", parent(flags="00"))[0] == 202
        assert client.read("msg")["tp"] == parent(flags="00")["traceparent"], "as it came"
        own, other = "1" * 32, "2" * 32
        batch = [
            {"to": {"users": ["42"]}, "data": 1, "traceparent": parent(own)["traceparent"]},
            {"to": {"users": ["nobody"]}, "data": 2},
        ]
        assert gateway.api("POST", "/v1/messages:batch", batch, parent(other))[0] == 200
        wait_for(lambda: len(collector.spans()) == 9, 10, collector.spans)
        assert named(filter(of_trace(own), collector.spans()), "push").trace_state == ""
        nobody = named(filter(of_trace(other), collector.spans()), "deliver")
        assert attributes_of(nobody)["tidegate.sessions.matched"] == 0
    assert gateway.metrics().get("tidegate_export_spans_total", result="ok") == 9
    assert gateway.metrics().get("tidegate_export_spans_waiting") == 0
    assert gateway.api("POST", "/v1/users/42/messages", b"1", {"traceparent": "00-1-2-3"})[0] == 202
    assert gateway.metrics().get("tidegate_trace_contexts_ignored_total") == 1


def test_a_caller_that_samples_all_is_told_of_within_the_limit(make_gateway, collector):
    gateway = make_gateway(otlp(collector, traces=True, metrics=False, max_traces=1))
    with V1Client(gateway, "42") as client:
        for number in range(20):
            headers = parent(f"{number + 1:032x}")
            assert gateway.api("POST", "/v1/users/42/messages", b"1", headers)[0] == 202
            assert client.read("msg")["tp"][-2:] == "01"

    def count(result):
        return gateway.metrics().get("tidegate_export_spans_total", result=result)

    wait_for(lambda: count("ok") + count("limited") == 3 * 20, 10, "each span is sent or was not made")
    assert count("ok") >= 3 and count("limited") > 0


def test_every_node_tells_of_its_own_delivery(make_cluster, collector):
    changes = otlp(collector, traces=True, metrics=False)
    first, second = make_cluster("redis", 2, changes=changes).nodes
    with V1Client(second, "42") as client:
        assert first.api("POST", "/v1/users/42/messages", b"1", parent())[0] == 202
        told = client.read("msg")["tp"]
    wait_for(lambda: len(collector.spans()) == 4, 10, collector.spans)
    publish = named(collector.spans(), "bus publish")
    assert told == f"00-{TRACE}-{publish.span_id.hex()}-01"
    written = [
        attributes_of(span)["tidegate.sessions.written"]
        for span in collector.spans()
        if span.name == "deliver" and span.parent_span_id == publish.span_id
    ]
    assert sorted(written) == [0, 1], "one node had the session"
