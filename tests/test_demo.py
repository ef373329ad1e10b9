"""The demo page: what its server part refuses, and what a person in a real browser sees."""

import functools
import json
import pathlib
import subprocess

import pytest
from harness.gateway import ROOT, Gateway, wait_for
from harness.wire import Wire, get
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

PATIENCE = 15
FILES = {
    "/demo/": "text/html",
    "/demo/app.js": "text/javascript",
    "/demo/session.js": "text/javascript",
    "/demo/style.css": "text/css",
    "/demo/icon.svg": "image/svg+xml",
}
LOST = ("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE", "WebSocket connection to")


@pytest.fixture(scope="module")
def demo(request, tmp_path_factory):
    """A gateway with the demo page. Its own origin isn't known before its port is, so all are allowed."""
    changes = {"debug": {"demo": True}, "heartbeat": {"interval": "1s"}}
    folder = tmp_path_factory.mktemp("demo")
    gateway = Gateway(request.config.getoption("preset"), folder, changes, app={"origins": ["*"]}).start()
    yield gateway
    gateway.stop()


def host_of(gateway):
    return f"127.0.0.1:{gateway.client_port}"


def fetch(gateway, path, *, method="GET", host=None, headers=(), body=b""):
    if body:
        headers = [*headers, ("Content-Length", str(len(body))), ("Content-Type", "application/json")]
    with Wire(gateway.client_port, timeout=10 * gateway.slowness) as wire:
        wire.send(get(path, headers, host or host_of(gateway), method, body))
        return wire.read_response(to_head=method == "HEAD")


# The server part


@pytest.mark.smoke
@pytest.mark.parametrize(("path", "kind"), FILES.items(), ids=FILES)
def test_a_file_comes_with_what_keeps_others_out(demo, path, kind):
    answer = fetch(demo, path)
    assert answer.status == 200
    assert answer.header("Content-Type").startswith(kind)
    assert answer.header("X-Content-Type-Options") == "nosniff"
    assert answer.header("Cache-Control") == "no-cache"
    policy = answer.header("Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.body == (ROOT / "web" / (path[1:] + "index.html" * path.endswith("/"))).read_bytes()
    head = fetch(demo, path, method="HEAD")
    assert (head.status, head.header("Content-Length")) == (200, str(len(answer.body)))


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere():
    for file in (ROOT / "web" / "demo").iterdir():
        text = file.read_text()
        assert " style=" not in text
        assert " onclick=" not in text
        assert "//" not in text.replace("http://www.w3.org/2000/svg", "").replace("\n//", "").replace(
            " // ", ""
        )


def test_the_bare_name_leads_to_the_page(demo):
    answer = fetch(demo, "/demo")
    assert (answer.status, answer.header("Location")) == (308, "/demo/")


@pytest.mark.parametrize(
    "path",
    [
        "/demo/../demo/app.js",
        "/demo/..%2f..%2fetc/passwd",
        "/demo/%2e%2e/%2e%2e/etc/passwd",
        "/demo/%252e%252e/etc/passwd",
        "/demo/app.js%00",
        "/demo/app.js%00.css",
        "/demo//app.js",
        "//demo/app.js",
        "/demo/app.js/",
        "/demo/./app.js",
        "/demo/APP.JS",
        "/demo/index.html",
        "/demo/\\..\\app.js",
        "/demo/app%2ejs",
        "/demonstration",
    ],
)
def test_h19_no_path_but_those_of_the_files_has_anything(demo, path):
    assert fetch(demo, path).status in (400, 404)


@pytest.mark.parametrize(
    ("path", "method", "allow"),
    [
        ("/demo/", "POST", "GET, HEAD"),
        ("/demo/app.js", "DELETE", "GET, HEAD"),
        ("/demo", "PUT", "GET, HEAD"),
        ("/demo/token", "GET", "POST"),
        ("/demo/push", "GET", "POST"),
        ("/demo/push", "OPTIONS", "POST"),
    ],
)
def test_another_method_is_405(demo, path, method, allow):
    answer = fetch(demo, path, method=method)
    assert (answer.status, answer.header("Allow")) == (405, allow)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost", "http://127.0.0.1:1"])
@pytest.mark.parametrize("path", ["/demo/token", "/demo/push"])
def test_a_foreign_page_gets_403(demo, path, origin):
    body = json.dumps({"user": "ada", "to": {"all": True}, "data": "forged"}).encode()
    assert fetch(demo, path, method="POST", headers=[("Origin", origin)], body=body).status == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1"]
)
@pytest.mark.parametrize(
    ("path", "method"), [("/demo/", "GET"), ("/demo/token", "POST"), ("/demo/push", "POST")]
)
def test_a_rebound_name_is_421(demo, path, method, host):
    origin = [("Origin", f"http://{host}")]
    assert fetch(demo, path, method=method, host=host, headers=origin, body=b"{}").status == 421


@pytest.mark.parametrize("host", ["localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}"])
def test_every_name_of_this_machine_will_do(demo, host):
    host = host.format(port=demo.client_port)
    answer = fetch(
        demo,
        "/demo/token",
        method="POST",
        host=host,
        headers=[("Origin", f"http://{host}")],
        body=b'{"user":"a\\u0064a"}',
    )
    assert answer.status == 200
    assert set(json.loads(answer.body)) == {"token", "app"}


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"nonsense",
        b'{"user":""}',
        b'{"user":7}',
        b'{"user":"a\\u0000b"}',
        b'{"user":"%s"}' % (b"x" * 300),
    ],
)
def test_a_user_that_is_no_name_gets_no_token(demo, body):
    answer = fetch(demo, "/demo/token", method="POST", body=body)
    assert (answer.status, answer.header("Content-Type")) == (422, "application/problem+json")


@pytest.mark.parametrize(
    ("body", "statuses"),
    [(b"nonsense", (400,)), (b'{"data":1}', (400, 422)), (b'{"to":{"users":7},"data":1}', (400, 422))],
)
def test_a_wrong_push_is_refused_as_the_api_does(demo, body, statuses):
    answer = fetch(demo, "/demo/push", method="POST", body=body)
    assert answer.status in statuses
    assert answer.header("Content-Type") == "application/problem+json"
    assert demo.api("POST", "/v1/messages", body, {"Content-Type": "application/json"})[0] == answer.status


@pytest.mark.parametrize("path", ["/demo", "/demo/", "/demo/app.js", "/demo/token", "/demo/push"])
def test_without_the_setting_there_is_no_demo(gateway, path):
    for method in ("GET", "POST"):
        assert fetch(gateway, path, method=method).status == 404


def test_the_session_of_the_page_obeys_the_protocol():
    """What a browser can't be made to show: each close code, repeats, back-off, goaway."""
    done = subprocess.run(
        ["node", "--test", str(pathlib.Path(__file__).parent / "node" / "demo_session_test.mjs")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:]


# The page


class Tab:
    """One tab with the page. Every look at it brings it to the front."""

    def __init__(self, browser, gateway, query=""):
        self.browser, self.gateway = browser, gateway
        self.patience = PATIENCE * gateway.slowness
        browser.switch_to.new_window("tab")
        self.handle = browser.current_window_handle
        browser.get(gateway.http_url(f"/demo/{query}"))
        self.wait_until("on")

    def front(self):
        if self.browser.current_window_handle != self.handle:
            self.browser.switch_to.window(self.handle)
        return self.browser

    def find(self, name):
        return self.front().find_element(By.ID, name)

    def text(self, name):
        return self.find(name).text

    @property
    def state(self):
        return self.find("state").get_attribute("data-state")

    def wait_until(self, state):
        wait_for(lambda: self.state == state, self.patience, lambda: f"{state}: {self.text('state-text')}")

    @property
    def user(self):
        return self.find("user").get_attribute("value")

    def messages(self, kind=""):
        script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)"
        return self.front().execute_script(script, f"#log li{kind} .text")

    def wait_for_message(self, text, count=1):
        wait_for(lambda: self.messages().count(text) == count, self.patience, lambda: self.messages())

    def fill(self, name, text):
        field = self.find(name)
        field.clear()
        field.send_keys(text, Keys.ENTER)

    def push(self, text, to="user"):
        self.find("push").find_element(By.CSS_SELECTOR, f"[value={to}]").click()
        self.fill("text", text)
        wait_for(lambda: not self.find("text").get_attribute("value"), self.patience, "the push")
        assert self.text("push-result").startswith("Accepted")

    def result(self, name, start):
        wait_for(lambda: self.text(name).startswith(start), self.patience, lambda: self.text(name))


@pytest.fixture
def open_tab(browser, demo):
    """Opens tabs; at the end none may have complained, but of what the test names in .expected."""
    tabs = []
    browser.get_log("browser")
    browser.switch_to.new_window("window")
    base = browser.current_window_handle

    def open_one(query=""):
        tabs.append(Tab(browser, demo, query))
        return tabs[-1]

    open_one.expected = ()
    yield open_one
    words = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    for tab in tabs:
        tab.front().execute_script("localStorage.clear()")
        browser.close()
        browser.switch_to.window(base)
    complaints = [word for word in words if not any(part in word for part in open_one.expected)]
    assert complaints == []


def test_two_tabs_show_each_message(open_tab, demo, tmp_path):
    first, second = open_tab(), open_tab()
    assert first.user == second.user != ""
    assert first.text("sid") != second.text("sid")
    first.push("from the first tab")
    second.push("from the second tab")
    push_by_curl(demo, tmp_path, {"to": {"users": [first.user]}, "data": {"text": "from curl"}})
    for tab in (first, second):
        for text in ("from the first tab", "from the second tab", "from curl"):
            tab.wait_for_message(text)
        assert tab.text("count") == "3"


def push_by_curl(gateway, folder, message):
    """The key in a file: arguments are for everybody to read."""
    header = folder / "header"
    header.write_text(f"Authorization: Bearer {gateway.api_key}\n")
    done = subprocess.run(
        ["curl", "-sS", "--fail-with-body", "-H", f"@{header}", "-H", "Content-Type: application/json"]
        + ["-d", json.dumps(message), gateway.api_url("/v1/messages")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done


def test_a_message_is_shown_with_its_type_position_and_latency(open_tab, demo):
    tab = open_tab("?user=grace")
    answer = demo.push({"users": ["grace"]}, {"deep": ["<b>&"]}, type="order.paid", id="order-7")
    wait_for(tab.messages, tab.patience, "the message")
    assert json.loads(tab.messages()[0]) == {"deep": ["<b>&"]}
    meta = tab.front().find_element(By.CSS_SELECTOR, "#log .meta").text
    assert "order.paid" in meta
    assert "id order-7" in meta
    assert f"pos {answer['pos']}" in meta
    assert " ms" in meta


def test_a_cancelled_message_is_taken_off_the_page(open_tab, demo):
    tab = open_tab("?user=grace")
    for number in (1, 2):
        demo.push({"users": ["grace"]}, f"number {number}", id=f"cancel-{number}")
    wait_for(lambda: len(tab.messages()) == 2, tab.patience, "two messages")
    assert demo.api("DELETE", "/v1/messages/cancel-1")[0] == 200
    wait_for(lambda: tab.messages() == ["number 2"], tab.patience, "the other one alone")


def test_everybody_is_everybody(open_tab):
    first, second = open_tab("?user=ada"), open_tab("?user=grace")
    first.push("to all", to="all")
    for tab in (first, second):
        tab.wait_for_message("to all")


def test_a_group_is_joined_and_left(open_tab, demo):
    member, other = open_tab("?user=ada"), open_tab("?user=grace")
    member.fill("join-group", "room:7")
    member.result("join-result", "Joined room:7")
    assert member.text("groups").startswith("room:7")
    other.find("push").find_element(By.CSS_SELECTOR, "[value=group]").click()
    other.fill("push-group", "room:7")
    other.push("to the room", to="group")
    member.wait_for_message("to the room")
    member.find("groups").find_element(By.TAG_NAME, "button").click()
    member.result("join-result", "Left room:7")
    assert member.text("groups") == ""
    other.push("to the empty room", to="group")
    demo.push({"users": ["ada", "grace"]}, {"text": "last"})
    for tab in (member, other):
        tab.wait_for_message("last")
    assert member.messages() == ["to the room", "last"]
    assert other.messages() == ["last"]


def test_a_group_that_is_not_allowed_is_told(open_tab):
    tab = open_tab()
    tab.fill("join-group", "board:secret")
    tab.result("join-result", "Not joined")
    assert tab.text("groups") == ""


def test_a_lost_line_comes_back_to_what_it_missed(open_tab, demo):
    tab = open_tab("?user=ada")
    tab.fill("join-group", "room:1")
    tab.result("join-result", "Joined")
    tab.push("before")
    tab.wait_for_message("before")
    old = tab.text("sid")
    tab.find("drop").click()
    tab.wait_until("wait")
    demo.push({"users": ["ada"]}, {"text": "missed"})
    demo.push({"groups": ["room:1"]}, {"text": "missed in the room"})
    tab.wait_until("on")
    assert tab.text("sid") != old
    assert tab.text("resumed") == "full"
    tab.wait_for_message("missed")
    tab.wait_for_message("missed in the room")
    demo.push({"groups": ["room:1"]}, {"text": "after"})
    tab.wait_for_message("after")
    assert sorted(tab.messages()) == ["after", "before", "missed", "missed in the room"]


def test_a_restarted_gateway_is_found_again(open_tab, demo):
    open_tab.expected = LOST
    tab = open_tab("?user=ada")
    tab.push("before")
    epoch = tab.text("epoch")
    demo.restart()
    tab.wait_until("on")
    wait_for(lambda: tab.text("epoch") not in (epoch, ""), tab.patience, "another epoch")
    wait_for(lambda: tab.messages(".note"), tab.patience, "the note about a gap")
    tab.push("after")
    tab.wait_for_message("after")


def test_a_kicked_session_stays_away_until_asked(open_tab, demo):
    tab = open_tab("?user=ada")
    assert demo.api("DELETE", "/v1/users/ada/sessions")[0] in (200, 202, 204)
    tab.wait_until("stop")
    assert "kicked" in tab.text("state-text")
    tab.find("toggle").click()
    tab.wait_until("on")


def test_another_user_starts_afresh(open_tab, demo):
    tab = open_tab("?user=ada")
    tab.fill("user", "grace")
    wait_for(lambda: tab.state == "on" and tab.user == "grace", tab.patience, "the other user")
    wait_for(lambda: demo.api("GET", "/v1/users/grace")[2].get("online"), tab.patience, "grace online")
    demo.push({"users": ["ada"]}, {"text": "not for grace"})
    tab.push("for grace")
    tab.wait_for_message("for grace")
    assert tab.messages() == ["for grace"]


def test_a_user_that_is_refused_is_told(open_tab):
    open_tab.expected = ("422",)  # Chromium logs each answer that is an error
    tab = open_tab()
    tab.front().execute_script("document.getElementById('user').removeAttribute('maxlength')")
    tab.fill("user", "x" * 300)
    tab.wait_until("stop")


# Looks


def focus_of(tab):
    return tab.front().execute_script(
        "return document.activeElement.id || document.activeElement.textContent"
    )


def press(tab, *keys):
    ActionChains(tab.front()).send_keys(*keys).perform()


def tab_to(tab, name):
    """Presses Tab until this has the focus, which must be seen."""
    for _ in range(30):
        if focus_of(tab) == name:
            script = "return getComputedStyle(document.activeElement).outlineStyle"
            assert tab.front().execute_script(script) == "solid", f"{name} doesn't show its focus"
            return
        press(tab, Keys.TAB)
    raise AssertionError(f"Tab never reaches {name}")


def test_the_keyboard_is_enough(open_tab):
    tab = open_tab()
    tab.find("state").click()
    tab_to(tab, "text")
    press(tab, "by keys", Keys.ENTER)
    tab.wait_for_message("by keys")
    assert focus_of(tab) == "text"
    tab_to(tab, "join-group")
    press(tab, Keys.ENTER)
    tab.result("join-result", "Joined room:1")
    ActionChains(tab.front()).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()
    assert focus_of(tab) == "Leave"
    press(tab, Keys.ENTER)
    tab.result("join-result", "Left room:1")
    assert focus_of(tab) == "join-group"
    tab_to(tab, "drop")
    press(tab, Keys.SPACE)
    tab.wait_until("wait")
    tab.wait_until("on")
    tab_to(tab, "log")


WIDTHS = {"phone": 320, "tablet": 768, "desktop": 1280}


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_nothing_is_wider_than_the_screen(open_tab, width):
    tab = open_tab("?user=" + "w" * 100)
    tab.push("w" * 500)
    tab.wait_for_message("w" * 500)
    screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    tab.front().execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        seen = tab.front().execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert seen[0] <= seen[1] <= width
    finally:
        tab.front().execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


# WCAG 2.1, 1.4.3: the contrast of each element that has text of its own.
CONTRASTS = """
const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
const luminance = (color) => {
  const [r, g, b] = numbers(color).map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const color = getComputedStyle(at).backgroundColor;
    if (numbers(color)[3] !== 0) return color;
  }
  return "rgb(255, 255, 255)";
};
return [...document.querySelectorAll("body *")]
  .filter((e) => e.offsetParent && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
  .map((e) => {
    const [a, b] = [luminance(getComputedStyle(e).color), luminance(ground(e))];
    return [e.tagName + "#" + e.id, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  });
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(open_tab, scheme):
    tab = open_tab()
    tab.push("hello")
    tab.fill("join-group", "room:1")
    tab.result("join-result", "Joined")
    tab.fill("join-group", "board:secret")
    tab.result("join-result", "Not joined")
    feature = {"name": "prefers-color-scheme", "value": scheme}
    tab.front().execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    try:
        look = functools.partial(tab.front().execute_script, CONTRASTS)
        assert len(look()) > 20
        wait_for(
            lambda: all(ratio >= 4.5 for _, ratio in look()),
            5,
            lambda: sorted(look(), key=lambda r: r[1])[:5],
        )
    finally:
        tab.front().execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
