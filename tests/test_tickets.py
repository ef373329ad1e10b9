"""Tickets: an anonymous page waits for one result, whenever it comes, and nobody else gets it."""

import json
import queue
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from harness.clients import V1Client, connect_raw
from harness.cluster import closed_with, clusters
from harness.gateway import wait_for
from harness.sse import Stream, encode_hello
from websockets.exceptions import ConnectionClosed, InvalidStatus

# More than the sockets between a gateway and a page that does not read hold.
BULK = 130
FILL = "x" * 60000

CONFIG = {"limits": {"hello_timeout": "2s"}}


def make_ticket(gateway, **wish):
    status, _, answer = gateway.api("POST", "/v1/tickets", wish)
    assert status == 201, answer
    return answer


def path_of(ticket):
    return f"/v1/ws?ticket={ticket['ticket']}"


def wait_page(gateway, ticket, claim="page-1"):
    """A page that shows the ticket; its claim is what it keeps over a reload."""
    return V1Client(gateway, path=path_of(ticket), hello={"claim": claim})


def slow_options(gateway):
    """A page that takes what it is asked for, and little more."""
    taker = socket.socket()
    taker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
    taker.connect(("127.0.0.1", gateway.client_port))
    return {"sock": taker, "max_queue": 1}


def wait_page_slowly(gateway, ticket):
    return V1Client(gateway, path=path_of(ticket), hello={"claim": "page-1"}, **slow_options(gateway))


def push(gateway, ticket, data, **options):
    return gateway.push({"tickets": [ticket["id"]]}, data, **options)


def refusal(gateway, path):
    with pytest.raises(InvalidStatus) as refused:
        V1Client(gateway, path=path)
    body = json.loads(refused.value.response.body)
    return refused.value.response.status_code, body["code"]


def close_code(call):
    with pytest.raises(ConnectionClosed) as closed:
        call()
    return closed.value.rcvd.code


def state_of(gateway, ticket):
    status, _, answer = gateway.api("GET", f"/v1/tickets/{ticket['id']}")
    assert status == 200, answer
    return answer


def becomes(gateway, ticket, state):
    return wait_for(lambda: state_of(gateway, ticket)["state"] == state, 5, state)


def confirm(page, message):
    page.send({"t": "ack", "ids": [message["id"]]})


def finish(page):
    """Confirms the final message; the ticket is over then."""
    message = page.read("msg")
    assert message["final"] is True
    assert message["ack"] == 1
    confirm(page, message)
    assert closed_with(page) == 4006
    return message["data"]


def test_a_result_that_comes_while_the_page_waits(gateway):
    ticket = make_ticket(gateway, scene="real-name", ttl_ms=60000)
    assert abs(ticket["expires_at"] - time.time() * 1000 - 60000) < 5000
    with wait_page(gateway, ticket) as page:
        assert "user" not in page.welcome
        assert page.welcome["exp"] == ticket["expires_at"] // 1000
        assert state_of(gateway, ticket)["state"] == "claimed"
        push(gateway, ticket, {"step": 1}, type="progress")
        got = page.read("msg")
        assert got["data"] == {"step": 1}
        assert got["type"] == "progress"
        assert "pos" not in got
        assert "final" not in got
        push(gateway, ticket, {"ok": True}, final=True)
        assert finish(page) == {"ok": True}
    assert becomes(gateway, ticket, "done")
    assert state_of(gateway, ticket)["messages"] == 0


def test_a_result_that_came_before_the_page(gateway):
    ticket = make_ticket(gateway)
    push(gateway, ticket, 1)
    push(gateway, ticket, 2, final=True)
    assert state_of(gateway, ticket) == {
        "id": ticket["id"],
        "state": "waiting",
        "messages": 2,
        "expires_at": ticket["expires_at"],
    }
    with wait_page(gateway, ticket) as page:
        assert page.read_data() == [1]
        assert finish(page) == 2


def test_a_page_that_reloads_takes_the_place_of_the_older_and_gets_everything_again(gateway):
    ticket = make_ticket(gateway)
    with wait_page(gateway, ticket) as older:
        push(gateway, ticket, 1)
        assert older.read_data() == [1]
        with wait_page(gateway, ticket) as newer:
            assert newer.read_data() == [1]
            assert closed_with(older) == 4001
            push(gateway, ticket, 2, final=True)
            message = newer.read("msg")
            assert message["data"] == 2
    # It was not confirmed: it came while the page reloaded.
    with wait_page(gateway, ticket) as last:
        assert last.read_data() == [1]
        assert finish(last) == 2


def times_used(gateway):
    return gateway.metrics().get("tidegate_tickets_refused_total", app="demo", reason="ticket_used") or 0


def test_a_ticket_that_is_used_opens_nothing(gateway):
    ticket = make_ticket(gateway)
    before = times_used(gateway)
    with wait_page(gateway, ticket) as page:
        assert close_code(lambda: wait_page(gateway, ticket, claim="page-2")) == 4006
        assert close_code(lambda: V1Client(gateway, path=path_of(ticket))) == 4006
        push(gateway, ticket, 1, final=True)
        finish(page)
    assert close_code(lambda: wait_page(gateway, ticket)) == 4006
    status, _, answer = gateway.api("POST", "/v1/messages", {"to": {"tickets": [ticket["id"]]}, "data": 1})
    assert (status, answer["code"]) == (410, "ticket_done")
    assert times_used(gateway) == before + 3


def test_a_final_push_is_the_last_and_may_be_repeated(gateway):
    ticket = make_ticket(gateway)
    push(gateway, ticket, 1, final=True, id="final-1")
    again = push(gateway, ticket, 1, final=True, id="final-1")
    assert again["replayed"] is True
    status, _, answer = gateway.api(
        "POST", f"/v1/tickets/{ticket['id']}/messages", b"more", {"Content-Type": "text/plain"}
    )
    assert (status, answer["code"]) == (410, "ticket_done")
    with wait_page(gateway, ticket) as page:
        assert finish(page) == 1


def test_forged_expired_and_foreign_tickets_are_refused_each_in_its_way(gateway):
    ticket = make_ticket(gateway)
    text = ticket["ticket"]
    for i in (0, 10, len(text) // 2, len(text) - 1):
        forged = text[:i] + ("A" if text[i] != "A" else "B") + text[i + 1 :]
        assert refusal(gateway, f"/v1/ws?ticket={forged}") == (401, "ticket_invalid")
    assert refusal(gateway, "/v1/ws?ticket=") == (401, "ticket_invalid")
    assert refusal(gateway, f"/v1/ws?ticket={ticket['id']}") == (401, "ticket_invalid")
    assert refusal(gateway, "/v1/ws?ticket=" + "A" * 5000) == (401, "ticket_invalid")
    short = make_ticket(gateway, ttl_ms=1)
    wait_for(lambda: time.time() * 1000 > short["expires_at"], 5, "its end")
    assert refusal(gateway, path_of(short)) == (410, "ticket_expired")
    assert state_of(gateway, short)["state"] == "expired"
    assert "ticket=" not in gateway.stderr()
    assert text not in gateway.stderr()


def test_a_page_is_told_when_its_ticket_expires(gateway):
    ticket = make_ticket(gateway, ttl_ms=700)
    with wait_page(gateway, ticket) as page:
        push(gateway, ticket, 1, final=True)
        page.read("msg")  # and confirms nothing
        assert closed_with(page) == 4006
    assert time.time() * 1000 >= ticket["expires_at"]
    assert state_of(gateway, ticket)["state"] == "expired"
    wait_for(lambda: gateway.metrics().get("tidegate_kept_bytes", budget="results") == 0, 5, "freed")


def test_a_ticket_is_ended_by_the_api(gateway):
    ticket = make_ticket(gateway)
    with wait_page(gateway, ticket) as page:
        status, _, answer = gateway.api("DELETE", f"/v1/tickets/{ticket['id']}")
        assert (status, answer) == (200, {"state": "done"})
        assert closed_with(page) == 4006
    assert state_of(gateway, ticket)["state"] == "done"
    assert close_code(lambda: wait_page(gateway, ticket)) == 4006
    status, _, answer = gateway.api("DELETE", f"/v1/tickets/{ticket['id']}")
    assert (status, answer) == (200, {"state": "done"})


def test_what_is_no_ticket_is_not_pushed_to(gateway):
    ticket = make_ticket(gateway)
    unknown = {"id": ticket["id"][:-1] + ("A" if ticket["id"][-1] != "A" else "B")}
    for to, options, status, code in (
        ({"tickets": ["x"]}, {}, 404, "ticket_not_found"),
        ({"tickets": [unknown["id"]]}, {}, 404, "ticket_not_found"),
        ({"tickets": [ticket["id"], "x"]}, {}, 404, "ticket_not_found"),
        ({"tickets": [ticket["ticket"]]}, {}, 404, "ticket_not_found"),
        ({"tickets": [ticket["id"]], "users": ["42"]}, {"final": True}, 422, "invalid_final"),
        ({"users": ["42"]}, {"final": True}, 422, "invalid_final"),
        ({"tickets": [ticket["id"]]}, {"final": 1}, 422, "invalid_final"),
    ):
        got, _, answer = gateway.api("POST", "/v1/messages", {"to": to, "data": 1, **options})
        assert (got, answer["code"]) == (status, code), to
    assert state_of(gateway, ticket)["messages"] == 0
    for method in ("GET", "DELETE"):
        got, _, answer = gateway.api(method, "/v1/tickets/x")
        assert (got, answer["code"]) == (404, "ticket_not_found")


def test_what_a_ticket_may_not_be_made_of(gateway):
    for wish, status, code in (
        (b"", 400, "bad_json"),
        ([], 422, "invalid_ticket"),
        ({"x": 1}, 422, "invalid_ticket"),
        ({"scene": ""}, 422, "invalid_scene"),
        ({"scene": "a" * 300}, 422, "invalid_scene"),
        ({"user": "a\u0001"}, 422, "invalid_user"),
        ({"user": 5}, 422, "invalid_user"),
        ({"ttl_ms": 0}, 422, "invalid_ttl_ms"),
        ({"ttl_ms": 3_600_001}, 422, "invalid_ttl_ms"),
        ({"ttl_ms": "5"}, 422, "invalid_ttl_ms"),
    ):
        got, _, answer = gateway.api("POST", "/v1/tickets", wish)
        assert (got, answer["code"]) == (status, code), wish
    make_ticket(gateway, ttl_ms=3_600_000)


def test_a_ticket_of_a_user_makes_the_session_that_users(gateway):
    ticket = make_ticket(gateway, user="of-ticket")
    with wait_page(gateway, ticket) as page:
        assert page.welcome["user"] == "of-ticket"
        gateway.push({"users": ["of-ticket"]}, "both", id="both")
        assert page.read_data() == ["both"]


def test_a_ticket_among_other_targets_gets_it_too(gateway):
    ticket, other = make_ticket(gateway), make_ticket(gateway)
    with wait_page(gateway, ticket) as page, V1Client(gateway, user="beside") as user:
        gateway.push({"tickets": [ticket["id"], other["id"]], "users": ["beside"]}, "for all")
        assert page.read_data() == ["for all"]
        assert user.read_data() == ["for all"]
    assert state_of(gateway, other)["messages"] == 1


def test_a_raw_page_has_what_was_written_to_it(gateway):
    ticket = make_ticket(gateway)
    push(gateway, ticket, 1)
    with connect_raw(gateway, path=path_of(ticket)) as page:
        assert page.recv(timeout=5) == "1"
        assert close_code(lambda: wait_page(gateway, ticket)) == 4006
        push(gateway, ticket, {"ok": 1}, final=True)
        assert page.recv(timeout=5) == '{"ok": 1}'
        assert close_code(lambda: page.recv(timeout=5)) == 4006
    becomes(gateway, ticket, "done")
    with connect_raw(gateway, path=path_of(ticket)) as page:
        assert close_code(lambda: page.recv(timeout=5)) == 4006


def test_a_push_that_waits_is_told_whether_a_page_got_it(gateway):
    ticket = make_ticket(gateway)
    answer = push(gateway, ticket, 1, wait="written", wait_ms=5000)
    assert answer["receipt"]["complete"] is True
    assert answer["receipt"]["sessions"]["matched"] == 0
    with wait_page(gateway, ticket) as page:
        answer = push(gateway, ticket, 2, wait="written", wait_ms=5000)
        assert answer["receipt"]["complete"] is True
        assert answer["receipt"]["sessions"]["written"] == 1
        assert page.read_data(2) == [1, 2]
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(push, gateway, ticket, 3, wait="acked", wait_ms=5000)
            confirm(page, page.read("msg"))
            assert waiting.result()["receipt"]["sessions"]["acked"] == 1


def test_a_page_that_speaks_before_its_welcome_or_says_too_long_a_claim_is_4002(gateway):
    ticket = make_ticket(gateway)
    assert close_code(lambda: wait_page(gateway, ticket, claim="c" * 257)) == 4002
    assert close_code(lambda: wait_page(gateway, ticket, claim=5)) == 4002
    with wait_page(gateway, ticket, claim="c" * 256) as page:
        assert page.welcome["sid"]


def test_an_app_has_its_budget_for_what_waits(make_gateway):
    gateway = make_gateway({"limits": {"ticket_results": "64KiB", "message": "32KiB"}})
    ticket = make_ticket(gateway)
    data = "x" * 20000
    push(gateway, ticket, data)
    push(gateway, ticket, data)
    push(gateway, ticket, data)
    message = {"to": {"tickets": [ticket["id"]]}, "data": data}
    status, headers, answer = gateway.api("POST", "/v1/messages", message)
    assert (status, answer["code"]) == (429, "ticket_budget")
    assert int(headers["retry-after"]) >= 1
    assert gateway.metrics().get("tidegate_kept_refused_total", budget="results") == 1
    assert state_of(gateway, ticket)["messages"] == 3
    gateway.api("DELETE", f"/v1/tickets/{ticket['id']}")
    other = make_ticket(gateway)
    push(gateway, other, data, final=True)
    with wait_page(gateway, other) as page:
        assert finish(page) == data
    assert gateway.metrics().get("tidegate_kept_lost_total") == 0


def test_a_ticket_has_so_many_messages_and_its_final_one(make_gateway):
    gateway = make_gateway({"limits": {"ticket_messages": 2}})
    ticket = make_ticket(gateway)
    push(gateway, ticket, 1)
    push(gateway, ticket, 2, id="limit-2")
    message = {"to": {"tickets": [ticket["id"]]}, "data": 3}
    status, headers, answer = gateway.api("POST", "/v1/messages", message)
    assert (status, answer["code"]) == (429, "ticket_budget")
    assert int(headers["retry-after"]) >= 1
    push(gateway, ticket, 2, id="limit-2")
    push(gateway, ticket, 4, final=True)
    with wait_page(gateway, ticket) as page:
        assert page.read_data(2) == [1, 2]
        assert finish(page) == 4


def test_what_waits_is_sent_as_fast_as_the_page_takes_it(make_gateway):
    gateway = make_gateway({"limits": {"session_queue": "128KiB"}})
    ticket = make_ticket(gateway)
    for i in range(BULK):
        push(gateway, ticket, f"{i:03}" + FILL)
    for again in range(2):  # all of it, for who comes again
        with wait_page_slowly(gateway, ticket) as page:
            push(gateway, ticket, "live")
            assert [data[:3] for data in page.read_data(BULK)] == [f"{i:03}" for i in range(BULK)]
            assert page.read_data(again + 1)[-1] == "live"
    with wait_page_slowly(gateway, ticket) as page:
        push(gateway, ticket, "end", final=True)
        page.read_data(BULK + 2)
        assert finish(page) == "end"


def test_a_final_message_that_a_raw_page_never_got_does_not_end_the_ticket(make_gateway):
    gateway = make_gateway({"limits": {"session_queue": "64MiB"}})
    ticket = make_ticket(gateway)
    with connect_raw(gateway, path=path_of(ticket), **slow_options(gateway)) as page:
        for i in range(BULK):
            push(gateway, ticket, f"{i:03}" + FILL)
        push(gateway, ticket, "wrong", final=True, id="never-got")
        gateway.api("DELETE", "/v1/messages/never-got")
        wait_for(
            lambda: gateway.metrics().get("tidegate_messages_dropped_total", reason="revoked") == 1, 5, "drop"
        )
        for i in range(BULK):
            assert page.recv(timeout=5)[1:4] == f"{i:03}"
        with pytest.raises(TimeoutError):
            page.recv(timeout=0.3)  # the queue is empty
        push(gateway, ticket, "right", final=True)
        assert page.recv(timeout=5) == '"right"'
        assert close_code(lambda: page.recv(timeout=5)) == 4006


def test_a_final_message_that_is_cancelled_ends_nothing_though_it_is_confirmed(gateway):
    ticket = make_ticket(gateway)
    with wait_page(gateway, ticket) as page:
        push(gateway, ticket, "wrong", final=True, id="taken-back")
        wrong = page.read("msg")
        gateway.api("DELETE", "/v1/messages/taken-back")
        assert page.read("revoke")["id"] == "taken-back"
        confirm(page, wrong)
        push(gateway, ticket, "right", final=True)
        assert finish(page) == "right"


def test_what_is_cancelled_does_not_wait_any_more(gateway):
    ticket = make_ticket(gateway)
    push(gateway, ticket, "wrong", id="cancel-1")
    push(gateway, ticket, "right")
    status, _, answer = gateway.api("DELETE", "/v1/messages/cancel-1")
    assert status in (200, 202), answer
    with wait_page(gateway, ticket) as page:
        assert page.read_data() == ["right"]
        push(gateway, ticket, "wrong again", id="cancel-2")
        assert page.read_data() == ["wrong again"]
        gateway.api("DELETE", "/v1/messages/cancel-2")
        revoked = page.read("revoke")
        assert revoked["id"] == "cancel-2"
        assert "pos" not in revoked
    assert state_of(gateway, ticket)["messages"] == 1


def test_a_page_of_a_signed_in_user_may_have_a_ticket_too(gateway):
    ticket = make_ticket(gateway, user="of-ticket")
    with V1Client(gateway, user="signed-in", path=path_of(ticket)) as page:
        assert page.welcome["user"] == "signed-in"
        push(gateway, ticket, 1, final=True)
        assert finish(page) == 1


def test_a_ticket_goes_where_an_app_lets_nobody_in_without_a_credential(make_gateway):
    gateway = make_gateway(app={"auth": {"anonymous": False}})
    with pytest.raises(InvalidStatus):
        connect_raw(gateway)
    ticket = make_ticket(gateway)
    with connect_raw(gateway, path=path_of(ticket)) as page:
        push(gateway, ticket, 1)
        assert page.recv(timeout=5) == "1"


def test_an_event_stream_may_have_a_ticket(gateway):
    ticket = make_ticket(gateway)
    push(gateway, ticket, 1)
    params = {"ticket": ticket["ticket"], "hello": encode_hello({"claim": "page-1"})}
    with Stream(gateway.http_url("/v1/sse"), params=params, ready=False) as stream:
        stream.read("welcome")
        assert stream.read_data(1) == [1]
        assert close_code(lambda: wait_page(gateway, ticket, claim="page-2")) == 4006
        push(gateway, ticket, 2, final=True)
        message = stream.read("msg")
        assert message["final"] is True
        assert stream.say(gateway, {"t": "ack", "ids": [message["id"]]}).status_code == 202
        assert stream.end()["code"] == 4006
    becomes(gateway, ticket, "done")


def test_a_poll_ends_with_the_final_message_of_its_ticket_and_not_with_what_comes_again(gateway):
    ticket = make_ticket(gateway)
    push(gateway, ticket, 1)
    params = {"ticket": ticket["ticket"], "hello": encode_hello({"claim": "page-1"}), "poll_ms": 300000}
    with Stream(gateway.http_url("/v1/sse"), params=params, ready=False) as stream:
        stream.read("welcome")
        assert stream.read_data(1) == [1]
        with pytest.raises(queue.Empty):
            stream.next(timeout=0.4)
        push(gateway, ticket, 2)
        push(gateway, ticket, 3, final=True)
        assert stream.read_data(2) == [2, 3]
        while stream.next():
            pass  # it ends, long before its time


def test_what_must_outlive_the_window_has_its_budgets(make_gateway):
    """Tickets that are used up leave revocations their room, and the other way round."""
    gateway = make_gateway({"limits": {"kept": "64KiB", "ticket_claims": "64KiB"}})
    reloading, late = make_ticket(gateway), make_ticket(gateway)
    wait_page(gateway, reloading).close()
    for _ in range(400):
        status, _, answer = gateway.api("DELETE", f"/v1/tickets/{make_ticket(gateway)['id']}")
        if status == 429:
            break
    assert (status, answer["code"]) == (429, "kept_budget")
    assert close_code(lambda: wait_page(gateway, late)) == 4100
    status, _, answer = gateway.api("DELETE", f"/v1/tickets/{late['id']}")
    assert (status, answer["code"]) == (429, "kept_budget")
    assert state_of(gateway, late)["state"] == "waiting"
    wait_page(gateway, reloading).close()
    answers = []
    for i in range(300):
        answers.append(gateway.api("DELETE", f"/v1/groups/room:1/users/{i}"))
        if answers[-1][0] != 200:
            break
    status, headers, answer = answers[-1]
    assert (status, answer["code"]) == (429, "kept_budget")
    assert int(headers["retry-after"]) >= 1
    assert len(answers) > 50


# ---- three nodes ----

WINDOW = {"changes": {"window": {"max_age": "3s"}, "limits": {"hello_timeout": "5s"}}}


@pytest.fixture(scope="module")
def cluster(request, tmp_path_factory, module_brokers):
    """Three nodes that forget in three seconds."""
    with clusters(request, tmp_path_factory.mktemp("tickets"), module_brokers) as make:
        yield make(**WINDOW)


def try_page(node, ticket, claim, start):
    """The page, once it is welcomed; or the code that it is closed with."""
    start.wait()
    try:
        return V1Client(node, path=path_of(ticket), hello={"claim": claim})
    except ConnectionClosed as closed:
        return closed.rcvd.code


def test_of_fifty_pages_at_once_on_three_nodes_one_gets_the_ticket(cluster):
    ticket = make_ticket(cluster.nodes[0])
    push(cluster.nodes[1], ticket, "result", final=True)
    start = threading.Barrier(50)
    with ThreadPoolExecutor(50) as pool:
        tries = [pool.submit(try_page, cluster.nodes[i % 3], ticket, f"page-{i}", start) for i in range(50)]
        outcomes = [one.result() for one in tries]
    winners = [outcome for outcome in outcomes if isinstance(outcome, V1Client)]
    assert len(winners) == 1
    assert [outcome for outcome in outcomes if outcome not in winners] == [4006] * 49
    with winners[0] as page:
        assert finish(page) == "result"


def test_a_result_pushed_on_another_node_before_the_page_and_a_reload_on_a_third(cluster):
    ticket = make_ticket(cluster.nodes[0])
    push(cluster.nodes[1], ticket, 1)
    with wait_page(cluster.nodes[0], ticket) as older:
        assert older.read_data() == [1]
        push(cluster.nodes[0], ticket, 2)
        with wait_page(cluster.nodes[2], ticket) as newer:
            assert newer.read_data(2) == [1, 2]
            assert older.read_data() == [2]
            assert closed_with(older) == 4001
            assert close_code(lambda: wait_page(cluster.nodes[1], ticket, claim="page-2")) == 4006
            push(cluster.nodes[1], ticket, 3, final=True)
            assert finish(newer) == 3
    for node in cluster.nodes:
        becomes(node, ticket, "done")


def told_again(cluster):
    return sum(node.metrics().get("tidegate_kept_again_total") for node in cluster.nodes)


def test_a_node_that_starts_later_than_the_window_knows_what_is_used_and_what_waits(cluster):
    first, second = cluster.nodes[:2]
    used, bound, waiting = (make_ticket(first) for _ in range(3))
    with wait_page(first, used) as page:
        push(second, used, 1, final=True)
        finish(page)
    push(second, waiting, "progress")
    push(second, waiting, "result", final=True)
    with wait_page(first, bound) as page:
        before = told_again(cluster)
        wait_for(
            lambda: told_again(cluster) >= before + 4 * 3,
            20,
            "an end, a claim and two messages, some times: their first copies have left the window",
        )
        late = cluster.make().start()
        assert close_code(lambda: wait_page(late, used)) == 4006
        assert close_code(lambda: wait_page(late, bound, claim="page-2")) == 4006
        assert state_of(late, waiting)["messages"] == 2
        push(late, bound, "from the late one", final=True)
        assert finish(page) == "from the late one"
    with wait_page(late, waiting) as page:
        assert page.read_data() == ["progress"]
        assert finish(page) == "result"
    for node in cluster.nodes:
        becomes(node, waiting, "done")
