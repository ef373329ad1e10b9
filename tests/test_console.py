"""The console: what its server part refuses, and what an operator in a real browser sees and does."""

import json
import re

import pytest
from harness.clients import V1Client
from harness.console import MONITOR_KEY, Console, hash_of, monitor_key
from harness.gateway import ROOT, Gateway, wait_for
from harness.wire import Wire, get
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

VIEWS = re.findall(r"^import \* as (\w+)", (ROOT / "web/console/views/index.js").read_text(), re.MULTILINE)
PUSH_KEY = "test-a-key-that-only-pushes"
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


@pytest.fixture(scope="module")
def gateway(request, tmp_path_factory):
    gateway = Gateway(request.config.getoption("preset"), tmp_path_factory.mktemp("console"))
    pusher = {"name": "pusher", "scopes": ["push"], "hash": hash_of(PUSH_KEY)}
    gateway.config["apps"][0]["api_keys"] += [monitor_key(), pusher]
    gateway.start()
    yield gateway
    gateway.stop()


@pytest.fixture
def console(browser, gateway):
    """A window with the console, not signed in; at the end the browser has nothing against the page."""
    browser.switch_to.new_window("window")
    browser.set_window_size(*SIZES["desktop"])
    console = Console(browser, gateway)
    console.expected = ()
    console.open()
    browser.get_log("browser")
    yield console
    complaints = [word for word in console.complaints() if not any(part in word for part in console.expected)]
    browser.delete_all_cookies()
    browser.execute_script("localStorage.clear()")
    browser.close()
    browser.switch_to.window(browser.window_handles[0])
    assert complaints == []


@pytest.fixture
def operator(console, gateway):
    console.sign_in(gateway.api_key)
    console.until("nav.side")
    return console


# The server part


def ask(gateway, path, *, method="GET", host=None, headers=(), body=b""):
    if body:
        headers = [*headers, ("Content-Length", str(len(body)))]
    with Wire(gateway.admin_port, timeout=10 * gateway.slowness) as wire:
        wire.send(get(path, headers, host or f"127.0.0.1:{gateway.admin_port}", method, body))
        answer = wire.read_response()
        return answer.status, answer


def sign_in_by(gateway, key, *headers):
    origin = ("Origin", f"http://127.0.0.1:{gateway.admin_port}")
    headers = [("Content-Type", "application/json"), *(headers or (origin, ("X-Tidegate-Console", "1")))]
    return ask(
        gateway, "/console/session", method="POST", headers=headers, body=json.dumps({"key": key}).encode()
    )


@pytest.mark.smoke
def test_a15_the_admin_port_keeps_out_who_has_no_business_there(gateway):
    key = gateway.api_key
    assert ask(gateway, "/console/api/v1/nodes")[0] == 401
    assert sign_in_by(gateway, "tg_nobodys")[0] == 401
    assert sign_in_by(gateway, PUSH_KEY)[0] == 403
    form = [("Origin", "https://evil.example"), ("Content-Type", "application/x-www-form-urlencoded")]
    assert ask(gateway, "/console/session", method="POST", headers=form, body=b"key=x")[0] == 403
    assert sign_in_by(gateway, key, ("Origin", "https://evil.example"), ("X-Tidegate-Console", "1"))[0] == 403
    assert ask(gateway, "/console/", host="rebound.example")[0] == 421
    assert ask(gateway, "/console/session", host="127.0.0.1.evil.example:80")[0] == 421


def test_a15_a_cookie_alone_changes_nothing(gateway):
    answer = sign_in_by(gateway, gateway.api_key)[1]
    cookie = ("Cookie", answer.header("Set-Cookie").split(";")[0])
    node = "/console/api/v1/nodes/nobody:drain"
    own = ("Origin", f"http://127.0.0.1:{gateway.admin_port}")
    ours = ("X-Tidegate-Console", "1")
    assert ask(gateway, "/console/api/v1/nodes", headers=[cookie])[0] == 200
    for headers in ([cookie], [cookie, own], [cookie, ours], [cookie, ours, ("Origin", "null")]):
        assert ask(gateway, node, method="POST", headers=headers)[0] == 403
    assert ask(gateway, node, method="POST", headers=[cookie, own, ours])[0] == 404


def test_a_long_poll_waits_over_the_bridge(gateway):
    answer = sign_in_by(gateway, gateway.api_key)[1]
    cookie = ("Cookie", answer.header("Set-Cookie").split(";")[0])
    path = "/console/api/v1/users/polled/messages"
    first = json.loads(ask(gateway, path, headers=[cookie])[1].body)
    with Wire(gateway.admin_port, timeout=10 * gateway.slowness) as wire:
        host = f"127.0.0.1:{gateway.admin_port}"
        wire.send(get(f"{path}?after={first['after']}&wait_ms=9000", [cookie], host))
        gateway.push({"users": ["polled"]}, {"n": 1}, id="polled-1")
        news = json.loads(wire.read_response().body)
    assert [message["id"] for message in news["messages"]] == ["polled-1"]


def test_a12_the_key_that_signs_in_is_in_no_log(gateway):
    sign_in_by(gateway, gateway.api_key)
    sign_in_by(gateway, "tg_a-key-that-somebody-mistyped")
    wait_for(lambda: "operator.refused" in gateway.stderr(), 5, "the line")
    assert gateway.api_key not in gateway.stderr()
    assert "mistyped" not in gateway.stderr()


# The page


def test_who_has_a_key_signs_in_and_out(console, gateway):
    console.expected = ("401",)  # the browser tells of the refused key
    console.sign_in("tg_nobodys")
    console.until(".notice.bad", "not one of this gateway")
    console.sign_in(gateway.api_key)
    console.until("nav.side a[aria-current=page]", "Overview")
    assert gateway.api_key not in console.browser.page_source
    assert console.browser.execute_script("return document.cookie + JSON.stringify(localStorage)") == "{}"
    console.browser.refresh()
    console.until("nav.side")
    console.find("button[aria-label='Sign out']").click()
    console.until("#key")
    console.browser.refresh()
    console.until("#key")


def test_who_only_looks_is_offered_nothing_to_change(console):
    console.sign_in(MONITOR_KEY)
    console.until(".top .badge", "Read only")
    console.go("nodes")
    console.until("tbody th", "answers here")
    assert console.all("[data-act]") == []
    script = """const done = arguments[0];
        fetch("api/v1/nodes/x:drain", {method: "POST", headers: {"X-Tidegate-Console": "1"}})
            .then((answer) => done(answer.status))"""
    console.expected = ("403",)
    assert console.browser.execute_async_script(script) == 403


def test_charts_are_drawn_of_what_happens(operator, gateway):
    with V1Client(gateway, user="42", timeout=10 * gateway.slowness) as _:
        gateway.push({"users": ["42"]}, 1)
        operator.until(".figure:has(dt) .value", "1")
        operator.until(".view[data-loaded=true] .plot canvas[aria-label*='Connections: now 1']")
        script = """return [...document.querySelectorAll(".plot canvas")].map((canvas) => {
            const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            return data.some((value) => value !== 0); })"""
        assert operator.browser.execute_script(script) == [True, True, True]
    operator.find("details.data summary").click()
    operator.until("details.data[open] tbody th", ":")


JOIN = """const {join, secondsOf} = await import("/console/views/overview.js");
    const keys = ["connections", "users", "accepted", "written", "dropped", "p50_ms", "p90_ms", "p99_ms"];
    const of = (from, values) => ({from, step_ms: 5000,
        ...Object.fromEntries(keys.map((key) => [key, values]))});"""


def test_what_fewer_nodes_say_takes_the_place_of_nothing(operator):
    script = (
        JOIN
        + """const whole = join(null, of(0, [9, 9, 9]), true);
        const less = join(whole, of(5000, [4, 4, 4]), false);
        const again = join(less, of(5000, [9, 9, 9, 9]), true);
        return [less.times, less.users, less.wholeTo, again.users]"""
    )
    times = [0, 5000, 10000, 15000]
    assert operator.run(script) == [times, [9, 9, 9, 4], 10000, [9, 9, 9, 9, 9]]
    operator.alter(
        "/v1/overview",
        "answer.complete = false; answer.nodes.push({...answer.nodes[0], boot: 'x', answered: false})",
    )
    operator.go("nodes")
    operator.go("overview")
    operator.until(".notice.warn", "1 of 2 nodes answered")
    assert operator.barriers() == []


def test_a_chart_has_no_hidden_hole_after_a_pause(operator):
    script = (
        JOIN
        + """const before = join(null, of(0, Array(180).fill(1)), true);
        const later = join(before, of(1200000, [2, 2]), true);
        const even = later.times.every((at, index) => index === 0 || at - later.times[index - 1] === 5000);
        const holes = later.users.filter((value) => value === null).length;
        return [later.times[0], later.times.at(-1), even, holes,
            secondsOf(5000), secondsOf(600000), secondsOf(Infinity)]"""
    )
    assert operator.run(script) == [310000, 1205000, True, 60, 35, 630, 900]


def test_an_operator_drains_a_node_after_a_second_thought_and_takes_it_back(operator, gateway):
    operator.go("nodes")
    operator.until("[data-act=drain]").click()
    operator.until("dialog[open] h2", "Drain")
    ActionChains(operator.browser).send_keys(Keys.ESCAPE).perform()
    wait_for(lambda: not operator.all("dialog"), operator.patience, "the dialog is gone")
    assert operator.focus().startswith("Drain ")
    operator.find("[data-act=drain]").click()
    operator.until("dialog[open] button.danger").click()
    operator.until(".badge.warn", "Draining")
    assert "drains" in operator.find("#announcer").get_attribute("textContent")
    operator.until("[data-act=resume]").click()
    operator.until(".badge.good", "Ready")


def test_while_the_bus_is_down_the_other_nodes_are_of_the_past(operator):
    operator.go("nodes")
    operator.until(".badge.good", "Ready")
    operator.alter(
        "/v1/nodes",
        """answer.complete = false;
           Object.assign(answer.nodes[0], {state: "starting", started_at: 1});
           const gone = {node: "gone-1", boot: "ffffffff", self: false, state: "ready"};
           answer.nodes.push({...answer.nodes[0], ...gone})""",
    )
    operator.until(".notice.warn", "Nothing comes back from the bus")
    operator.until(".badge.bad", "Bus down")
    operator.until("tr.past td", "last seen")
    assert not operator.find("[aria-label='Drain gone-1']").is_enabled()
    assert operator.find("tr:not(.past) [data-act=drain]").is_enabled()
    assert operator.barriers() == []


def test_what_an_operator_needs_is_on_a_phones_screen(operator):
    operator.browser.set_window_size(*SIZES["phone"])
    operator.go("nodes")
    button = operator.until("[data-act=drain]")
    width = operator.browser.execute_script("return document.documentElement.clientWidth")
    assert button.rect["x"] + button.rect["width"] <= width
    operator.open("errors")
    operator.until(".view[data-view=errors]")
    link = operator.find("nav a[aria-current=page]")
    assert operator.browser.execute_script("return arguments[0].getBoundingClientRect().right", link) <= width


def test_an_address_that_no_view_has_leads_to_the_first(operator):
    for odd in ("constructor", "__proto__", "nothing"):
        operator.open(odd)
        operator.until(".view[data-view=overview]")


def test_a_browser_that_keeps_nothing_shows_the_console(console, gateway):
    script = """Object.defineProperty(window, "localStorage",
        {get() { throw new DOMException("no", "SecurityError") }})"""
    added = console.browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
    console.browser.refresh()
    console.sign_in(gateway.api_key)
    console.until("nav.side")
    console.find("button[aria-label='Use the dark theme']").click()
    console.until("button[aria-label='Use the light theme']")
    console.browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
    console.browser.refresh()
    console.until("nav.side")


def test_the_keyboard_is_enough(operator):
    operator.until("nav.side")
    wait_for(lambda: operator.focus() == "Overview", operator.patience, operator.focus)
    operator.browser.refresh()
    operator.until("nav.side")
    keys = ActionChains(operator.browser)
    keys.send_keys(Keys.TAB).perform()
    assert operator.focus() == "Skip to content"
    keys.send_keys(Keys.ENTER).perform()
    assert operator.browser.execute_script("return document.activeElement.id") == "main"
    operator.find("nav a[href='#/nodes']").send_keys(Keys.ENTER)
    operator.until("h1", "Nodes")
    wait_for(lambda: operator.focus() == "Nodes", operator.patience, operator.focus)
    assert "Nodes" in operator.browser.title


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nobody_is_kept_out_by_how_it_looks(operator, theme, size):
    operator.browser.set_window_size(*SIZES[size])
    operator.set_theme(theme)
    for view in VIEWS:
        operator.open(view)
        operator.until(f".view[data-view={view}] *")
        assert operator.barriers() == [], view
        assert not operator.is_too_wide(), view


def test_the_theme_is_the_systems_until_one_is_chosen(operator):
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    ground = "return getComputedStyle(document.body).backgroundColor"
    light = operator.browser.execute_script(ground)
    operator.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [dark]})
    assert operator.browser.execute_script(ground) != light
    operator.find("button[aria-label='Use the light theme']").click()
    assert operator.browser.execute_script(ground) == light
    operator.browser.refresh()
    operator.until("nav.side")
    assert operator.browser.execute_script(ground) == light
    operator.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
