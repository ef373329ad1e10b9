"""The description of the push API is right, complete, and what the gateway really does."""

import hashlib
import json
import re
import subprocess
import sys
import time

import pytest
import schemathesis
import yaml
from harness.clients import V1Client
from harness.gateway import ROOT
from harness.wire import Wire, get
from jsonschema import Draft202012Validator

OTHER_KEY = "test-a-key-without-any-scope-that-is-asked-for"
PUSH_KEY = "test-a-key-that-may-push-and-nothing-else"  # where that key would do
CONFIG = {
    "limits": {"header_timeout": "500ms", "message": "2MiB", "body": "4MiB", "session_queue": "4MiB"},
    "bus": {"backlog": "1MiB"},
}
SPEC = yaml.safe_load((ROOT / "docs/openapi.yaml").read_text())


def resolve(node):
    """What a $ref of the description points to."""
    while isinstance(node, dict) and "$ref" in node:
        found = SPEC
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part.replace("~1", "/").replace("~0", "~")]
        node = found
    return node


def operations():
    for path, item in SPEC["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


OPERATIONS = {operation["operationId"]: (method, path, operation) for method, path, operation in operations()}
DOCUMENTED = [
    (name, int(status)) for name, (_, _, operation) in OPERATIONS.items() for status in operation["responses"]
]
HAS_BODY = {name for name, (_, _, operation) in OPERATIONS.items() if "requestBody" in operation}
IS_JSON = {"pushMessage", "pushBatch", "queryUsers", "createRevocation", "createTicket"}

# A right request of each operation: path (with the sid of a living session) and body.
RIGHT = {
    "pushMessage": ("/v1/messages", b'{"to":{"users":["42"]},"data":1}'),
    "pushBatch": ("/v1/messages:batch", b'[{"to":{"users":["42"]},"data":1},{"to":{},"data":2}]'),
    "getMessage": ("/v1/messages/known-1", b""),
    "cancelMessage": ("/v1/messages/known-1", b""),
    "pushToUser": ("/v1/users/42/messages", b'{"n":1}'),
    "pushToGroup": ("/v1/groups/room:1/messages", b'{"n":1}'),
    "pushToSession": ("/v1/sessions/SID/messages", b'{"n":1}'),
    "broadcast": ("/v1/broadcast", b'{"n":1}'),
    "listUserMessages": ("/v1/users/42/messages", b""),
    "listGroupMessages": ("/v1/groups/room:1/messages", b""),
    "listTicketMessages": ("/v1/tickets/TICKET/messages", b""),
    "listTickets": ("/v1/tickets", b""),
    "createTicket": ("/v1/tickets", b'{"scene":"real-name","ttl_ms":60000}'),
    "getTicket": ("/v1/tickets/TICKET", b""),
    "endTicket": ("/v1/tickets/TICKET", b""),
    "pushToTicket": ("/v1/tickets/TICKET/messages", b'{"n":1}'),
    "listUsers": ("/v1/users", b""),
    "getUser": ("/v1/users/42", b""),
    "queryUsers": ("/v1/users:query", b'{"users":["42","nobody"]}'),
    "kickUser": ("/v1/users/somebody/sessions", b""),
    "getSession": ("/v1/sessions/SID", b""),
    "watchSession": ("/v1/sessions/SID/frames", b""),
    "kickSession": ("/v1/sessions/SID", b""),
    "getGroup": ("/v1/groups/room:1", b""),
    "joinUser": ("/v1/groups/room:1/users/42", b""),
    "partUser": ("/v1/groups/room:1/users/42", b""),
    "createRevocation": ("/v1/revocations", b'{"user":"nobody"}'),
    "getOverview": ("/v1/overview?history=30", b""),
    "listNodes": ("/v1/nodes", b""),
    "listAlerts": ("/v1/alerts", b""),
    "listErrors": ("/v1/errors", b""),
    "drainNode": ("/v1/nodes/NODE:drain", b"{}"),
    "resumeNode": ("/v1/nodes/NODE:resume", b""),
    "getDescription": ("/v1/openapi.json", b""),
}


def request_bytes(
    name, gateway, *, path=None, body=None, key=None, lines=(), version="HTTP/1.1", length=None
):
    """The right request of an operation, with changes."""
    right_path, right_body = RIGHT[name]
    body = right_body if body is None else body
    head = [f"{OPERATIONS[name][0]} {path or right_path} {version}", "Host: gateway.test", *lines]
    if key != "":
        head.append(f"Authorization: Bearer {key or gateway.api_key}")
    if name in HAS_BODY:
        head.append("Content-Type: application/json")
    if (name in HAS_BODY or length is not None) and not any("Transfer" in line for line in lines):
        head.append(f"Content-Length: {len(body) if length is None else length}")
    return ("\r\n".join(head) + "\r\n\r\n").encode() + body


def spoilt_path(name):
    """A path with a name in it that no name may be."""
    for wrong, right in (
        ("%01", "42"),
        ("%01", "room:1"),
        ("%01", "somebody"),
        ("x" * 257, "SID"),
        ("x" * 257, "TICKET"),
        ("%01", "NODE"),
        ("%01", "known-1"),
    ):
        if f"/{right}" in RIGHT[name][0]:
            return RIGHT[name][0].replace(f"/{right}", f"/{wrong}", 1)
    return None


def unprocessable(name, gateway):
    bodies = {
        "pushMessage": b'{"to":{},"data":1}',
        "pushBatch": b'{"messages":7}',
        "queryUsers": b'{"users":[""]}',
        "createRevocation": b'{"user":""}',
        "createTicket": b'{"ttl_ms":0}',
    }
    if name in bodies:
        return request_bytes(name, gateway, body=bodies[name])
    options = {
        "listUsers": "/v1/users?limit=0",
        "listTickets": "/v1/tickets?limit=0",
        "getOverview": "/v1/overview?history=901",
        "listErrors": "/v1/errors?limit=0",
    }
    return request_bytes(
        name, gateway, path=options.get(name) or spoilt_path(name) or "/v1/broadcast?ttl_ms=0"
    )


def counted(name, gateway):
    if name == "pushMessage":
        return request_bytes(name, gateway, body=b'{"to":{"users":["42"]},"data":1,"wait":"written"}')
    return request_bytes(name, gateway, path=RIGHT[name][0] + "?wait=written&wait_ms=5000")


def nowhere(name, gateway):
    if name == "pushMessage":
        return request_bytes(name, gateway, body=b'{"to":{"tickets":["t_gone"]},"data":1}')
    return request_bytes(name, gateway, path=gone_path(name))


def make_ticket(gateway):
    return gateway.api("POST", "/v1/tickets", {"ttl_ms": 60000})[2]["id"]


def over(name, gateway):
    """To a ticket that has its final message, or whose time is over; a watch that is none any more."""
    if name == "watchSession":
        return request_bytes(name, gateway, path=RIGHT[name][0] + "?after=1.1")
    ticket = make_ticket(gateway)
    if name == "endTicket":
        ticket = gateway.api("POST", "/v1/tickets", {"ttl_ms": 1})[2]["id"]
        time.sleep(0.002)  # its whole life
    else:
        gateway.push({"tickets": [ticket]}, 1, final=True)
    if name == "pushMessage":
        return request_bytes(name, gateway, body=b'{"to":{"tickets":["%s"]},"data":1}' % ticket.encode())
    return request_bytes(name, gateway, path=RIGHT[name][0].replace("TICKET", ticket))


def needs_ticket(name):
    return {"apiKey": ["ticket"]} in OPERATIONS[name][2]["security"]


def gone_path(name):
    return (
        RIGHT[name][0]
        .replace("SID", "s_gone")
        .replace("NODE", "gw-gone")
        .replace("known-1", "gone")
        .replace("TICKET", "t_gone")
    )


def fill_in(request, client, gateway):
    """The living session, and the node, of which a right request speaks."""
    _, _, answer = gateway.api("GET", "/v1/nodes")
    request = request.replace(b"SID", client.sid.encode()).replace(
        b"NODE", answer["nodes"][0]["boot"].encode()
    )
    return request.replace(b"TICKET", make_ticket(gateway).encode()) if b"TICKET" in request else request


# How each documented status comes about, whatever the operation; 503 has a test of its own.
PROVOKED = {
    200: lambda name, gateway: (counted if 202 in statuses(name) else request_bytes)(name, gateway),
    201: request_bytes,
    202: request_bytes,
    400: lambda name, gateway: request_bytes(name, gateway, lines=["Host: another.test"]),
    401: lambda name, gateway: request_bytes(name, gateway, key="wrong"),
    403: lambda name, gateway: request_bytes(
        name, gateway, key=PUSH_KEY if needs_ticket(name) else OTHER_KEY
    ),
    404: nowhere,
    408: lambda name, gateway: request_bytes(name, gateway)[:20],
    410: over,
    413: lambda name, gateway: request_bytes(name, gateway, length=5 << 20, body=b""),
    414: lambda name, gateway: request_bytes(name, gateway, path=RIGHT[name][0] + "?" + "x" * 9000),
    415: lambda name, gateway: request_bytes(name, gateway, lines=["Content-Encoding: gzip"]),
    417: lambda name, gateway: request_bytes(name, gateway, lines=["Expect: a miracle"]),
    422: unprocessable,
    431: lambda name, gateway: request_bytes(name, gateway, lines=["X-Long: " + "x" * 9000]),
    501: lambda name, gateway: request_bytes(name, gateway, lines=["Transfer-Encoding: gzip, chunked"]),
    505: lambda name, gateway: request_bytes(name, gateway, version="HTTP/2.0"),
}


# 409 is about two nodes of one name, and one that stops: tests/test_drain.py.
# Their 503 needs a node that is silent: tests/test_cluster.py.
NEEDS_NODES = {"getSession", "watchSession", "getMessage", "drainNode", "resumeNode"}

# Of who looks into the window: a node that has just started, and many waits, in api.messages.
LOOKS = {"listUserMessages", "listGroupMessages", "listTicketMessages"}

# Statuses of the HTTP layer, which have many codes.
UNNAMED = (400, 408, 431, 501)


def statuses(name):
    return {int(status) for status in OPERATIONS[name][2]["responses"]}


def check_against_description(name, response):
    """Status, headers, content type and body are as documented."""
    documented = resolve(OPERATIONS[name][2]["responses"][str(response.status)])
    for header, described in documented.get("headers", {}).items():
        value = response.header(header)
        assert value is not None, f"{header} is missing"
        schema = resolve(described)["schema"]
        Draft202012Validator(schema).validate(int(value) if schema.get("type") == "integer" else value)
    content_type = response.header("Content-Type")
    assert content_type in documented["content"], content_type
    body = json.loads(response.body)
    Draft202012Validator({**SPEC, **documented["content"][content_type]["schema"]}).validate(body)
    if response.status >= 400:
        assert body["status"] == response.status
        assert body["code"] in SPEC_CODES or body["code"].startswith("invalid_") or response.status in UNNAMED
    return body


SPEC_CODES = set(re.findall(r"`(\w+)`", (ROOT / "docs/openapi.yaml").read_text()))


@pytest.fixture(scope="module")
def api(request, tmp_path_factory):
    """A gateway with a second key that lacks every scope asked for, and short deadlines."""
    from harness.gateway import Gateway

    gateway = Gateway(request.config.getoption("preset"), tmp_path_factory.mktemp("api"), CONFIG)
    other = {"name": "other", "scopes": ["ticket"]}
    other["hash"] = "sha256:" + hashlib.sha256(OTHER_KEY.encode()).hexdigest()
    pusher = {"name": "pusher", "scopes": ["push"]}
    pusher["hash"] = "sha256:" + hashlib.sha256(PUSH_KEY.encode()).hexdigest()
    gateway.config["apps"][0]["api_keys"] += [other, pusher]
    gateway.start()
    gateway.push({"users": ["42"]}, 1, id="known-1")
    yield gateway
    gateway.stop()


def test_the_description_is_valid_openapi_3_1():
    assert SPEC["openapi"] == "3.1.0"
    schemathesis.openapi.from_dict(SPEC).validate()


def test_every_reference_and_component_is_used():
    text = json.dumps(SPEC)
    for kind, components in SPEC["components"].items():
        if kind == "securitySchemes":
            continue
        for name in components:
            assert f'"#/components/{kind}/{name}"' in text, f"nothing refers to {kind}/{name}"


# Not of the API listener: other pages describe these (bridge: what the console answers itself).
ELSEWHERE = {"admin", "bridge", "console", "demo", "up"}


def codes_of(path):
    return set(re.findall(r'\b[45]\d\d,\s*"([a-z_]+)"', path.read_text()))


def test_every_code_of_the_source_is_described():
    codes = set()
    for path in (ROOT / "src/api").glob("*.c"):
        if path.stem.removesuffix("_test") not in ELSEWHERE:
            codes |= codes_of(path)
    assert len(codes) > 15
    assert {code for code in codes if not code.startswith("invalid_")} <= SPEC_CODES
    described = (ROOT / "docs/sse.md").read_text()
    assert all(f"`{code}`" in described for code in codes_of(ROOT / "src/api/up.c"))


def test_the_gateway_serves_the_description_to_everybody(api):
    status, headers, served = api.api("GET", "/v1/openapi.json", headers={"Authorization": ""})
    assert (status, headers["content-type"]) == (200, "application/json")
    assert served == SPEC


def filler():
    """A batch that leaves less room in the bus's backlog than any event needs."""
    small = [{"to": {"users": ["x"]}, "data": 1}] * 20
    large = {"to": {"users": ["x"]}, "data": "x" * ((1 << 20) - 600)}
    return json.dumps([large, *small]).encode()


@pytest.mark.parametrize(
    "name", sorted({name for name, status in DOCUMENTED if status == 503} - NEEDS_NODES - LOOKS)
)
def test_what_the_bus_has_no_room_for_is_503(api, name):
    with V1Client(api, user="42") as client, Wire(api.api_port, timeout=10 * api.slowness) as wire:
        requests = request_bytes("pushBatch", api, body=filler()) + request_bytes(name, api)
        wire.send(fill_in(requests, client, api))
        results = json.loads(wire.read_response().body)["results"]
        assert (results[0]["status"], results[-1]["status"]) == (202, 503)
        response = wire.read_response()
        assert response.status == 503, response
        assert check_against_description(name, response)["code"] == "bus_unavailable"
        check_against_description(name, wire.request(request_bytes(name, api, key="wrong")))


@pytest.mark.parametrize(
    ("name", "status"), [(name, status) for name, status in DOCUMENTED if status not in (409, 429, 503)]
)
def test_every_documented_response_is_given(api, name, status):
    with V1Client(api, user="42") as client, Wire(api.api_port, timeout=10 * api.slowness) as wire:
        response = wire.request(fill_in(PROVOKED[status](name, api), client, api))
        assert response.status == status, response
        check_against_description(name, response)
    if name == "drainNode":
        assert api.api("POST", fill_in(b"/v1/nodes/NODE:resume", client, api).decode())[0] == 200


# What has no room at all: tests/test_revocations.py, tests/test_tickets.py, src/api/frames_test.c.
OF_BUDGETS = {"createRevocation", "endTicket", "watchSession"} | LOOKS


@pytest.mark.parametrize("name", sorted({name for name, status in DOCUMENTED if status == 429} - OF_BUDGETS))
def test_what_is_over_the_quota_of_its_app_is_429(make_gateway, name):
    gateway = make_gateway(app={"quotas": {"pushes_per_second": 1}})
    with (
        V1Client(gateway, user="42") as client,
        Wire(gateway.api_port, timeout=10 * gateway.slowness) as wire,
    ):
        request = fill_in(request_bytes(name, gateway), client, gateway)
        wire.send(request * 20)
        responses = [wire.read_response() for _ in range(20)]
        assert responses[0].status in (200, 202, 404)  # whoever it was meant for is not there
        assert check_against_description(name, responses[-1])["code"] == "quota_exceeded"


# Every code that the description names, with a request that gets it: (operation, changes, status, code).
WRONG_BODIES = [
    (b"", 400, "bad_json"),
    (b"{", 400, "bad_json"),
    (b'{"to":{"users":["x"]},"data":1,"data":1}', 422, "repeated_field"),
    (b'{"to":{"users":["x"]},"data":' + b"[" * 33 + b"]" * 33 + b"}", 400, "bad_json"),
    (b"[]", 422, "invalid_message"),
    (b"7", 422, "invalid_message"),
    (b'{"data":1}', 422, "invalid_to"),
    (b'{"to":{},"data":1}', 422, "invalid_to"),
    (b'{"to":{"all":false},"data":1}', 422, "invalid_to"),
    (b'{"to":{"users":"x"},"data":1}', 422, "invalid_to"),
    (b'{"to":{"users":["x\\u0001"]},"data":1}', 422, "invalid_to"),
    (b'{"to":{"tickets":["x"]},"data":1}', 404, "ticket_not_found"),
    (b'{"to":{"users":["x"],"planets":["y"]},"data":1}', 422, "invalid_to"),
    (b'{"to":{"users":[' + b'"x",' * 1000 + b'"x"]},"data":1}', 422, "too_many_targets"),
    (b'{"to":{"users":["x"]}}', 422, "invalid_data"),
    (b'{"to":{"users":["x"]},"data":1,"data_base64":""}', 422, "invalid_data"),
    (b'{"to":{"users":["x"]},"data_base64":"!"}', 422, "invalid_data_base64"),
    (b'{"to":{"users":["x"]},"data":1,"type":""}', 422, "invalid_type"),
    (b'{"to":{"users":["x"]},"data":1,"id":7}', 422, "invalid_id"),
    (b'{"to":{"users":["x"]},"data":1,"ttl_ms":0}', 422, "invalid_ttl_ms"),
    (b'{"to":{"users":["x"]},"data":1,"wait":"long"}', 422, "invalid_wait"),
    (b'{"to":{"users":["x"]},"data":1,"wait":"Acked"}', 422, "invalid_wait"),
    (b'{"to":{"users":["x"]},"data":1,"wait":"routed","wait_ms":99999}', 422, "invalid_wait_ms"),
    (b'{"to":{"users":["x"]},"data":1,"except":{"sessions":7}}', 422, "invalid_except"),
    (b'{"to":{"users":["x"]},"data":1,"collapse":""}', 422, "invalid_collapse"),
    (b'{"to":{"users":["x"]},"data":1,"final":true}', 422, "invalid_final"),
    (b'{"to":{"users":["x"]},"data":1,"tll_ms":1}', 422, "unknown_field"),
    (b'{"to":{"users":["x"]},"data":"' + b"x" * (2 << 20) + b'"}', 413, "message_too_large"),
]


@pytest.mark.parametrize(("body", "status", "code"), WRONG_BODIES, ids=lambda value: str(value)[:60])
def test_a_wrong_message_has_its_code(api, body, status, code):
    with Wire(api.api_port, timeout=10 * api.slowness) as wire:
        response = wire.request(request_bytes("pushMessage", api, body=body))
        answer = check_against_description("pushMessage", response)
        assert (response.status, answer["code"]) == (status, code), answer


WRONG_PATHS = [
    ("/v1/users/%zz/messages", 400, "bad_path"),
    ("/v1/users//messages", 400, "bad_path"),
    ("/v1/users/%01/messages", 422, "invalid_name"),
    ("/v1/users/%ff/messages", 422, "invalid_name"),
    ("/v1/users/42/messages?ttl_ms=x", 422, "invalid_ttl_ms"),
    ("/v1/users/42/messages?tll_ms=1", 422, "unknown_option"),
    ("/v1/users/42/messages?type=%z", 400, "bad_query"),
    ("/v1/users/42/messages?collapse=", 422, "invalid_collapse"),
    ("/v1/users/42/messages?wait=soon", 422, "invalid_wait"),
]


@pytest.mark.parametrize(("path", "status", "code"), WRONG_PATHS)
def test_a_wrong_path_or_query_has_its_code(api, path, status, code):
    with Wire(api.api_port, timeout=10 * api.slowness) as wire:
        response = wire.request(request_bytes("pushToUser", api, path=path))
        answer = check_against_description("pushToUser", response)
        assert (response.status, answer["code"]) == (status, code), answer


def test_an_unknown_path_is_404_and_a_wrong_method_405(api):
    status, headers, answer = api.api("GET", "/v1/nothing")
    assert (status, answer["code"]) == (404, "not_found")
    status, headers, answer = api.api("PATCH", "/v1/messages")
    assert (status, answer["code"], headers["allow"]) == (405, "method_not_allowed", "POST")
    status, headers, answer = api.api("POST", "/v1/users/42")
    assert status == 405
    assert "GET" in headers["allow"]


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/v1/messages:batch", {"messages": [], "more": 1}, "invalid_messages"),
        ("/v1/messages:batch", {"messages": 7}, "invalid_messages"),
        ("/v1/messages:batch", [7] * 1001, "too_many_messages"),
        ("/v1/users:query", {"users": [], "more": 1}, "invalid_users"),
        ("/v1/users:query", {"users": ["x"] * 1001}, "invalid_users"),
        ("/v1/users:query", {"users": [7]}, "invalid_users"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_list_has_its_code(api, path, body, code):
    status, _, answer = api.api("POST", path, body)
    assert (status, answer["code"]) == (422, code)


def test_a_head_is_a_get_without_the_body(api):
    for path in ("/v1/openapi.json", "/v1/users/42"):
        with Wire(api.api_port, timeout=10 * api.slowness) as wire:
            lines = [("Authorization", f"Bearer {api.api_key}")]
            wire.send(get(path, lines, method="HEAD") + get(path, lines))
            head, whole = wire.read_response(to_head=True), wire.read_response()
            assert (head.status, whole.status) == (200, 200)
            assert int(head.header("Content-Length")) == len(whole.body)


def test_text_that_is_no_utf_8_has_its_code(api):
    for content_type in ("application/json", "text/plain"):
        status, _, answer = api.api("POST", "/v1/broadcast", b"\xff", {"Content-Type": content_type})
        assert status == 400
        assert answer["code"] in ("bad_json", "bad_text")


def test_one_id_for_two_bodies_is_a_conflict(api):
    message = {"to": {"users": ["x"]}, "data": 1, "id": f"conflict-{time.monotonic_ns()}"}
    assert api.api("POST", "/v1/messages", message)[0] == 202
    status, _, answer = api.api("POST", "/v1/messages", {**message, "data": 2})
    assert (status, answer["code"]) == (422, "id_conflict")


def test_without_keys_only_this_machine_may_call(make_gateway):
    gateway = make_gateway(app={"api_keys": []})
    message = {"to": {"users": ["x"]}, "data": 1}
    own = f"127.0.0.1:{gateway.api_port}"
    for headers in ({}, {"Origin": f"http://{own}"}, {"Host": "localhost"}):
        assert gateway.api("POST", "/v1/messages", message, headers)[0] == 202
    for headers in ({"Origin": "https://evil.test"}, {"Origin": "null"}, {"Host": "evil.test"}):
        status, _, answer = gateway.api("POST", "/v1/messages", message, headers)
        assert (status, answer["code"]) == (403, "foreign_origin")


@pytest.mark.heavy
def test_schemathesis_finds_no_answer_that_is_not_described(make_gateway, tmp_path):
    gateway = make_gateway({"limits": {"header_timeout": "5s"}})
    config = tmp_path / "schemathesis.toml"
    config.write_text(f'headers = {{ Authorization = "Bearer {gateway.api_key}" }}\n')
    checks = [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "response_headers_conformance",
        "unsupported_method",
        "allow_header_conformance",
    ]
    command = [
        *(sys.executable, "-m", "schemathesis.cli", f"--config-file={config}", "run"),
        *(
            gateway.api_url("/v1/openapi.json"),
            "--checks",
            ",".join(checks),
            "--phases",
            "examples,coverage,fuzzing",
        ),
        *("--max-time", "30", "--max-examples", "40", "--seed", "7", "--no-shrink", "--continue-on-failure"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout[-12000:] + done.stderr[-2000:]
