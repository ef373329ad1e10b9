"""A real browser's EventSource: its ids, its reconnects, its CORS and its cookies; and proxies in between."""

import contextlib
import itertools
import time

import pytest
from harness import tokens
from harness.browser import serving
from harness.gateway import wait_for
from harness.proxies import Proxy
from harness.sse import open_stream

PAGE = """<!doctype html><title>page</title><script>
"use strict";
window.seen = []; window.frames_seen = []; window.opened = 0; window.names = [];
window.listen = (url, options) => {
  const stream = window.stream = new EventSource(url, options);
  stream.onopen = () => { window.opened++; };
  stream.onmessage = (event) => {
    const value = JSON.parse(event.data);
    if (value && value.t) window.frames_seen.push(value); else window.seen.push(value);
  };
  for (const name of ["gap", "close", "ping", "session"]) {
    stream.addEventListener(name, (event) => window.names.push([name, event.data]));
  }
};
window.say = (url, sid, frame, done) =>
  fetch(url, {
    method: "POST", credentials: "include", headers: {"Tidegate-Session": sid}, body: JSON.stringify(frame)
  }).then((answer) => done(answer.status), (error) => done(String(error)));
</script>"""


class Page:
    def __init__(self, browser, origin):
        self.browser = browser
        browser.switch_to.new_window("window")
        self.window = browser.current_window_handle
        browser.get(origin + "/")

    def get(self, name):
        self.browser.switch_to.window(self.window)
        return self.browser.execute_script(f"return window.{name}")

    def listen(self, url, **options):
        self.browser.switch_to.window(self.window)
        self.browser.execute_script("window.listen(arguments[0], arguments[1])", url, options)
        return self

    def say(self, url, sid, frame):
        self.browser.switch_to.window(self.window)
        return self.browser.execute_async_script("window.say(...arguments)", url, sid, frame)

    def wait_for(self, name, condition):
        def look():
            value = self.get(name)
            return [value] if condition(value) else None

        return wait_for(look, 10, lambda: f"{name} is {self.get(name)}, {self.get('names')}")[0]

    def close(self):
        self.browser.switch_to.window(self.window)
        self.browser.execute_script("window.stream && window.stream.close()")


@pytest.fixture
def open_page(browser):
    with contextlib.ExitStack() as ends:

        def opens(origin):
            page = Page(browser, origin)
            ends.callback(page.close)
            return page

        yield opens


@pytest.fixture
def origin():
    with serving(PAGE) as address:
        yield address


@pytest.mark.smoke
def test_a_page_of_another_origin_listens_and_speaks_with_a_token(make_gateway, open_page, origin):
    gateway = make_gateway(app={"origins": [origin], "auth": {"anonymous": False}})
    page = open_page(origin).listen(gateway.http_url("/v1/sse?hello="))
    names = page.wait_for("names", len)
    assert names[0][0] == "session"
    sid = names[0][1].split('"')[3]
    up = gateway.http_url("/v1/up")
    hello = {"t": "hello", "v": 1, "token": tokens.mint(tokens.claims("ann"))}
    assert page.say(up, sid, hello) == 202
    assert page.wait_for("frames_seen", len)[0]["user"] == "ann"
    gateway.push({"users": ["ann"]}, {"text": "grüße"})
    assert page.wait_for("frames_seen", lambda seen: len(seen) == 2)[1]["data"] == {"text": "grüße"}
    assert page.say(up, "nobody", hello) == 404, "a refusal can be read, too"


def test_a_page_of_an_origin_that_is_not_listed_hears_nothing(make_gateway, open_page, origin):
    gateway = make_gateway(app={"origins": ["https://www.example.com"]})
    page = open_page(origin).listen(gateway.http_url("/v1/sse"))
    page.wait_for("stream.readyState", lambda state: state == 2)
    assert page.get("opened") == 0
    assert "Failed to fetch" in page.say(gateway.http_url("/v1/up"), "nobody", {})


def test_a_cookie_is_enough_for_a_page_of_the_gateways_own_origin(make_gateway, open_page, browser):
    gateway = make_gateway(app={"auth": {"anonymous": False, "cookie": "session"}})
    with Proxy(gateway.client_port, page=PAGE) as proxy:
        page = open_page(proxy.url())
        page.listen("/v1/sse")
        page.wait_for("stream.readyState", lambda state: state == 2)
        browser.add_cookie({"name": "session", "value": tokens.mint(tokens.claims("cookie"))})
        page.listen("/v1/sse")
        page.wait_for("opened", lambda count: count == 1)
        gateway.push({"users": ["cookie"]}, 1)
        page.wait_for("seen", lambda seen: seen == [1])
        browser.delete_all_cookies()


def test_a_page_loses_nothing_behind_a_proxy_that_cuts(make_gateway, open_page):
    gateway = make_gateway()
    with Proxy(gateway.client_port, cut_after=1, page=PAGE) as proxy:
        page = open_page(proxy.url()).listen("/v1/sse?group=room:cut")
        page.wait_for("opened", lambda count: count == 1)
        counter = itertools.count()
        while page.get("opened") < 2:  # before, while and after it is away
            gateway.push({"groups": ["room:cut"]}, next(counter))
            time.sleep(0.05)
        count = next(counter)
        got = page.wait_for("seen", lambda seen: len(seen) >= count)
        assert got == list(range(count))
        assert page.get("names") == []
        again = [head for head in proxy.requests if "Last-Event-ID:" in head]
        assert again


def test_what_comes_before_the_first_message_and_after_a_cut_is_not_lost(make_gateway, open_page):
    """An id without data: the browser dispatches nothing, but says it when it comes back."""
    gateway = make_gateway()
    with Proxy(gateway.client_port, cut_after=0.5, page=PAGE) as proxy:
        page = open_page(proxy.url()).listen("/v1/sse?group=room:quiet")
        page.wait_for("opened", lambda count: count == 1)
        wait_for(lambda: not gateway.api("GET", "/v1/groups/room:quiet")[2]["sessions"], 5, "the cut")
        gateway.push({"groups": ["room:quiet"]}, "while it was away")
        page.wait_for("seen", lambda seen: seen == ["while it was away"])


def test_a_page_gets_all_behind_a_proxy_that_holds_answers_back(make_gateway, open_page):
    gateway = make_gateway()
    with Proxy(gateway.client_port, holds_back=True, page=PAGE) as proxy:
        page = open_page(proxy.url()).listen("/v1/sse?group=room:held&poll_ms=400")
        page.wait_for("opened", lambda count: count >= 1)  # the first has ended
        for i in range(20):
            gateway.push({"groups": ["room:held"]}, i)
        assert page.wait_for("seen", lambda seen: len(seen) >= 20) == list(range(20))
        assert page.get("names") == []


def test_without_a_poll_such_a_proxy_shows_by_its_silence(make_gateway):
    gateway = make_gateway()
    with (
        Proxy(gateway.client_port, holds_back=True) as proxy,
        pytest.raises(Exception, match="timed out"),  # noqa: PT011
    ):
        open_stream(gateway, base=proxy.url(), read_timeout=0.3)


def test_the_last_event_says_why_and_when_to_come_back(make_gateway, open_page, origin):
    gateway = make_gateway(app={"origins": [origin], "auth": {"anonymous": False, "cookie": "session"}})
    page = open_page(origin)
    page.browser.add_cookie({"name": "session", "value": tokens.mint(tokens.claims("kicked"))})
    page.listen(gateway.http_url("/v1/sse"), withCredentials=True)
    page.wait_for("opened", lambda count: count == 1)
    assert gateway.api("DELETE", "/v1/users/kicked/sessions")[2]["closed"] == 1
    (name, data), *_ = page.wait_for("names", len)
    assert (name, data) == ("close", '{"code":4000,"reason":"kicked"}')
    page.wait_for("stream.readyState", lambda state: state == 0)  # it will come back, in an hour
    page.browser.delete_all_cookies()
