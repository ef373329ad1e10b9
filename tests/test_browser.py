"""A real browser: its WebSocket, its compression, its Origin."""

import functools

import pytest
from harness.browser import serving
from harness.gateway import wait_for

PAGE = """<!doctype html><title>page</title><script>
"use strict";
window.frames_seen = [];
window.ended = null;
window.open_socket = (url) => {
  const socket = new WebSocket(url, "tidegate.v1.json");
  socket.onopen = () => socket.send(JSON.stringify({t: "hello", v: 1, groups: ["room:browser"]}));
  socket.onmessage = (event) => window.frames_seen.push(...[JSON.parse(event.data)].flat());
  socket.onclose = (event) => { window.ended = event.code; };
};
</script>"""


@pytest.fixture
def page_origin():
    """A web server of the application: the origin its pages have."""
    with serving(PAGE) as origin:
        yield origin


def open_page(browser, origin, url):
    browser.switch_to.new_window("window")
    browser.get(origin + "/")
    browser.execute_script("window.open_socket(arguments[0])", url)
    return browser.current_window_handle


def frames_of(browser, window, kind):
    browser.switch_to.window(window)
    return [frame for frame in browser.execute_script("return window.frames_seen") if frame["t"] == kind]


@pytest.mark.smoke
def test_two_windows_of_a_browser_both_get_a_push(make_gateway, browser, page_origin):
    gateway = make_gateway(app={"origins": [page_origin]})
    windows = [open_page(browser, page_origin, gateway.ws_url()) for _ in range(2)]
    for window in windows:
        wait_for(functools.partial(frames_of, browser, window, "welcome"), 10, "the welcome")
    text = "grüße aus dem gateway " * 40
    gateway.push({"groups": ["room:browser"]}, {"text": text})
    for window in windows:
        (frame,) = wait_for(functools.partial(frames_of, browser, window, "msg"), 10, "the message")
        assert frame["data"] == {"text": text}
        assert frame["g"] == "room:browser"


def test_a_page_of_another_origin_gets_no_socket(make_gateway, browser, page_origin):
    gateway = make_gateway(app={"origins": ["https://www.example.com"]})
    window = open_page(browser, page_origin, gateway.ws_url())
    browser.switch_to.window(window)
    assert wait_for(lambda: browser.execute_script("return window.ended"), 10, "the close") == 1006
    assert frames_of(browser, window, "welcome") == []
