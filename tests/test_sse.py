"""Sessions over an event stream: the same frames, resume and limits as over a WebSocket."""

import json

import pytest
from harness.sse import open_stream

pytestmark = pytest.mark.smoke


def test_a_raw_stream_gets_payloads_alone(gateway):
    with open_stream(gateway, user="raw") as stream:
        assert stream.response.headers["content-type"] == "text/event-stream"
        gateway.push({"users": ["raw"]}, {"a": [1, 2]})
        gateway.push({"users": ["raw"]}, data_base64="AAH/")
        assert json.loads(stream.payloads(1)[0]) == {"a": [1, 2]}
        event = stream.next()
        assert (event.event, event.data) == ("binary", "AAH/")


def test_a_stream_that_says_hello_gets_the_frames_of_the_protocol(gateway):
    with open_stream(gateway, user="v1", hello={"groups": ["room:sse"]}) as stream:
        welcome = stream.read("welcome")
        assert (welcome["user"], welcome["resumed"]) == ("v1", "none")
        answer = gateway.push({"groups": ["room:sse"]}, "hi")
        message = stream.read("msg")
        assert (message["id"], message["data"], message["g"]) == (answer["id"], "hi", "room:sse")


def test_it_resumes_by_the_last_id(gateway):
    with open_stream(gateway, user="back", hello={}) as stream:
        stream.read("welcome")
        gateway.push({"users": ["back"]}, "seen")
        assert stream.read_data(1) == ["seen"]
    for i in range(50):
        gateway.push({"users": ["back"]}, i)
    with open_stream(gateway, user="back", hello={}, last_id=stream.last_id) as again:
        assert again.read("welcome")["resumed"] == "full"
        gateway.push({"users": ["back"]}, "live")
        assert again.read_data(51) == [*range(50), "live"]
