"""The description of the client protocol (docs/asyncapi.yaml): whole, and what a gateway really says."""

import json
import re

import pytest
import yaml
from harness import tokens
from harness.clients import V1Client
from harness.gateway import ROOT, wait_for
from jsonschema import Draft202012Validator

SPEC = yaml.safe_load((ROOT / "docs/asyncapi.yaml").read_text())
MESSAGES = SPEC["components"]["messages"]


def validator(name):
    """Strict where the protocol is not: a key that the description doesn't know is a gap in it."""
    schema = {**MESSAGES[name]["payload"], "additionalProperties": False, "components": SPEC["components"]}
    return Draft202012Validator(schema)


def sent_by(operation):
    return {item["$ref"].rsplit("/", 1)[1] for item in SPEC["operations"][operation]["messages"]}


def test_every_reference_leads_somewhere():
    for path in re.findall(r'\$ref: "#/([^"]+)"', (ROOT / "docs/asyncapi.yaml").read_text()):
        found = SPEC
        for part in path.split("/"):
            found = found[part]


@pytest.mark.parametrize("name", MESSAGES)
def test_a_frame_is_what_its_example_says(name):
    for example in MESSAGES[name]["examples"]:
        validator(name).validate(example["payload"])


def test_the_frames_of_the_page_and_of_the_source_are_all_there():
    page = (ROOT / "docs/protocol.md").read_text()
    from_client, from_gateway = page.split("### From the client")[1].split("### From the gateway")
    named = re.compile(r"^#### (.+)$", re.MULTILINE)

    def names(text):
        return {name for line in named.findall(text) for name in re.findall(r"`(\w+)`", line)}

    assert names(from_client) == sent_by("fromClient")
    assert names(from_gateway) == sent_by("fromGateway")
    source = (ROOT / "src/server/ws_protocol.c").read_text()
    table = source[source.index("frame_types[] = {") :]
    assert set(re.findall(r'\{\{"(\w+)", \d', table)) == sent_by("fromClient")


def test_the_examples_of_the_page_fit():
    for block in re.findall(r"^```json\n(.*?)^```", (ROOT / "docs/protocol.md").read_text(), re.M | re.S):
        for text in re.split(r"\n(?=\{)", block.strip()):
            frame = json.loads(text)
            validator(frame["t"]).validate(frame)


def test_what_a_gateway_says_fits(make_gateway):
    """A session that makes it say all that can be brought about in moments."""
    seen = {}
    gateway = make_gateway(
        {"window": {"max_age": "1s"}, "drain": {"window": "1s"}}, app={"auth": {"anonymous": False}}
    )

    def read(client, *kinds):
        frame = client.read(*kinds)
        validator(frame["t"]).validate(frame)
        seen[frame["t"]] = frame
        return frame

    token = tokens.mint(tokens.claims("ann", lifetime=20))
    with V1Client(gateway, hello={"token": token, "groups": ["secret", "room:1"]}) as client:
        for frame in [client.welcome, *client.refused]:
            validator(frame["t"]).validate(frame)
            seen[frame["t"]] = frame
        read(client, "expiring")
        client.send({"t": "join", "re": 1, "g": "room:2"})
        read(client, "ok")
        client.send({"t": "leave", "re": 2, "g": "nowhere"})
        read(client, "err")
        gateway.push({"groups": ["room:1"]}, {"n": 1}, type="note", id="note-1", wait="acked", wait_ms=1)
        assert read(client, "msg")["ack"] == 1
        assert gateway.api("DELETE", "/v1/messages/note-1")[0] // 100 == 2
        read(client, "revoke")
        assert gateway.api("PUT", "/v1/groups/room:9/users/ann")[0] // 100 == 2
        read(client, "joined")
        assert gateway.api("DELETE", "/v1/groups/room:9/users/ann")[0] // 100 == 2
        read(client, "left")
        read(client, "pos")
        node = gateway.api("GET", "/v1/nodes")[2]["nodes"][0]["node"]
        assert gateway.api("POST", f"/v1/nodes/{node}:drain")[0] // 100 == 2
        read(client, "goaway")
    assert gateway.api("POST", f"/v1/nodes/{node}:resume")[0] // 100 == 2
    wait_for(gateway.is_ready, 5, "it is back")
    resume = {"epoch": "another", "pos": {"0": "1.0"}}
    with V1Client(gateway, hello={"token": token, "resume": resume}) as client:
        read(client, "gap")
    assert set(seen) == sent_by("fromGateway")
