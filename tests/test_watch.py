"""Users, and a session's frames, as the API shows them over two nodes and for every kind of session."""

import json

from harness.clients import V1Client, connect_raw
from harness.cluster import closed_with
from harness.gateway import wait_for
from harness.sse import open_stream

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
KICKED = 4000


def watch(gateway, sid, query=""):
    status, _, answer = gateway.api("GET", f"/v1/sessions/{sid}/frames{query}")
    assert status == 200, answer
    return answer


def frames_until(gateway, sid, wanted, start):
    """All frames since the start of the watch, once one of them is as wanted."""
    seen = []
    cursor = start["next"]

    def look():
        nonlocal cursor
        answer = watch(gateway, sid, f"?after={cursor}&wait_ms=1000")
        cursor = answer["next"]
        seen.extend(answer["frames"])
        return any(wanted(frame) for frame in seen)

    wait_for(look, 10 * gateway.slowness, lambda: seen)
    return seen


def says(text):
    return lambda frame: text in frame.get("text", "")


def test_users_and_frames_of_another_node_are_seen_and_kicked_from_here(make_cluster):
    here, there = make_cluster("redis", 2).nodes
    with V1Client(here, "anna") as near, V1Client(there, "anna") as far, V1Client(there, "bert"):
        listed = {"anna": 2, "bert": 1}

        def users(query=""):
            answer = here.api("GET", f"/v1/users{query}")[2]
            return (
                {one["user"]: one["sessions"] for one in answer["users"]},
                answer.get("next"),
                answer["complete"],
            )

        wait_for(lambda: users() == (listed, None, True), 10 * here.slowness, users)
        assert users("?limit=1") == ({"anna": 2}, "anna", True)
        assert users("?after=anna") == ({"bert": 1}, None, True)
        sessions = here.api("GET", "/v1/users/anna")[2]["sessions"]
        assert {one["node"] for one in sessions} == {"node-0", "node-1"}
        assert all(one["peer"].startswith("127.0.0.1:") for one in sessions)

        begun = watch(here, far.sid)
        assert (begun["node"], begun["frames"]) == ("node-1", [])
        far.ask({"t": "join", "g": "room:1", "token": "eyJ.a.secret"})
        here.push({"users": ["anna"]}, {"text": HOSTILE}, type="chat")
        assert far.read_data() == near.read_data() == [{"text": HOSTILE}]
        frames = frames_until(here, far.sid, says(json.dumps(HOSTILE)[1:-1]), begun)
        told = [(one["direction"], json.loads(one["text"])["t"]) for one in frames if "text" in one]
        assert [one for one in told if one[1] != "pos"] == [("in", "join"), ("out", "ok"), ("out", "msg")]
        assert "secret" not in json.dumps(frames)

        assert here.api("DELETE", f"/v1/sessions/{far.sid}")[0] == 200
        assert closed_with(far) == KICKED
        end = wait_for(lambda: watch(here, far.sid).get("closed"), 5 * here.slowness, "the end")
        assert end == {"by": "gateway", "code": KICKED, "reason": "kicked"}


def test_compressed_raw_and_streamed_sessions_show_their_plain_text(make_gateway):
    gateway = make_gateway()
    text = "the same again and again " * 40
    raw = connect_raw(gateway, "anna", compression="deflate", legacy=True)
    stream = open_stream(gateway, "bert")
    sids = {}

    def find():
        for user in ("anna", "bert"):
            for one in gateway.api("GET", f"/v1/users/{user}")[2]["sessions"]:
                sids[user] = one["sid"]
        return len(sids) == 2

    wait_for(find, 5 * gateway.slowness, lambda: sids)
    starts = {user: watch(gateway, sid) for user, sid in sids.items()}
    gateway.push({"users": ["anna", "bert"]}, text)
    assert json.loads(raw.recv(timeout=5 * gateway.slowness)) == text
    shown = [frames_until(gateway, sids[user], says("again and again"), starts[user])[-1] for user in sids]
    assert [(one["op"], one["direction"]) for one in shown] == [("text", "out")] * 2
    assert all(one["bytes"] >= len(text) and "cut" not in one for one in shown)
    raw.close()
    stream.close()
