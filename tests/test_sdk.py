"""The browser's library in a real Chromium: what a page is shown, over lines that break in every way."""

import contextlib
import gzip
import itertools
import shutil
import subprocess

import pytest
from harness.browser import open_browser
from harness.gateway import ROOT, wait_for
from harness.lines import Lines
from harness.proxies import Proxy
from harness.site import serving_site

PAGE = ROOT / "tests/sdk/page.html"


@pytest.fixture(scope="module")
def site():
    with serving_site({"/page.html": PAGE, "/sdk/": ROOT / "sdk/js"}) as origin:
        yield origin


class Page:
    """A tab. Its methods bring it to the front."""

    def __init__(self, driver, site):
        self.driver = driver
        driver.switch_to.new_window("tab")
        self.handle = driver.current_window_handle
        driver.get(site + "/page.html")
        self.wait_for("window.isLoaded", bool)

    def run(self, script, *values):
        self.driver.switch_to.window(self.handle)
        return self.driver.execute_script(script, *values)

    def ask(self, expression, *values):
        """What a promise comes to: {"ok": value} or {"code": …}."""
        self.driver.switch_to.window(self.handle)
        return self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            f"({expression}).then((ok) => done({{ ok: ok ?? null }}),"
            " ({ code, message }) => done({ code, message }));",
            *values,
        )

    def start(self, url, **options):
        self.run("page.start(arguments[0], arguments[1])", url, options)
        return self

    def get(self, expression):
        return self.run(f"return {expression}")

    def wait_for(self, expression, condition, seconds=15):
        def look():
            value = self.get(expression)
            return [value] if condition(value) else None

        def words():
            states = self.get("window.page && page.seen.states")
            return f"{expression} is {self.get(expression)}; states {states}"

        return wait_for(look, seconds, words)[0]

    def is_open(self):
        self.wait_for("page.state()", lambda state: state == "open")
        return self

    def shows(self, data, seconds=15):
        assert self.wait_for("page.data()", lambda seen: len(seen) >= len(data), seconds) == data

    def close(self):
        with contextlib.suppress(Exception):
            self.driver.switch_to.window(self.handle)
            self.driver.close()


@pytest.fixture
def open_page(browser, site):
    pages = []

    def opens(driver=browser):
        pages.append(Page(driver, site))
        return pages[-1]

    first = browser.current_window_handle
    yield opens
    for page in pages:
        page.close()
    browser.switch_to.window(first)


@pytest.fixture
def gate(make_gateway, site):
    """A gateway whose pages those of the site are."""
    return lambda changes=None, **app: make_gateway(changes, app={"origins": [site], **app})


def push_all(gateway, to, count):
    for i in range(count):
        gateway.push(to, i)


def test_a_page_is_shown_what_is_pushed_by_type_and_by_group(gate, open_page):
    gateway = gate()
    page = open_page().start(gateway.http_url(), user="ann", groups=["room:1"]).is_open()
    page.run(
        "page.named = []; page.gate.onMessage('note', (data, { group }) => page.named.push([data, group]))"
    )
    gateway.push({"groups": ["room:1"]}, {"n": 1}, type="note")
    gateway.push({"users": ["ann"]}, {"n": 2})
    page.shows([{"n": 1}, {"n": 2}])
    assert page.get("page.named") == [[{"n": 1}, "room:1"]]
    assert page.ask("page.gate.leave('room:1')") == {"ok": None}
    gateway.push({"groups": ["room:1"]}, {"n": 3})
    assert page.ask("page.gate.join('room:2')") == {"ok": None}
    gateway.push({"groups": ["room:2"]}, {"n": 4})
    page.shows([{"n": 1}, {"n": 2}, {"n": 4}])
    assert page.ask("page.gate.join('secret')")["code"] == "forbidden"
    assert page.get("page.gate.groups") == ["room:2"]


def test_nothing_is_lost_doubled_or_out_of_order_over_twenty_reconnects(gate, open_page):
    gateway = gate()
    with Lines(gateway.client_port) as lines:
        page = open_page().start(lines.url(), user="ann").is_open()
        for i in range(1000):
            gateway.push({"users": ["ann"]}, i)
            if i % 50 == 25:
                lines.cut()
                page.run(
                    "setTimeout(() => dispatchEvent(new Event('online')), 50)"
                )  # no longer wait than that
                wait_for(lambda: lines.accepted, 15, "it comes back")
        page.shows(list(range(1000)), 30)
        assert page.get("page.seen.gaps") == []
        assert page.get("page.seen.states").count({"state": "connecting"}) >= 20


def test_a_message_that_asks_is_confirmed_when_its_handler_is_done(gate, open_page):
    gateway = gate()
    page = open_page().start(gateway.http_url(), user="ann").is_open()
    page.run("page.gate.onMessage('job', () => new Promise((done) => { page.finish = done; }))")
    gateway.push({"users": ["ann"]}, 1, type="job", id="job-1", wait="acked", wait_ms=1)
    page.wait_for("!!page.finish", bool)
    assert gateway.api("GET", "/v1/messages/job-1")[2]["receipt"]["sessions"]["acked"] == 0
    page.run("page.finish()")
    wait_for(
        lambda: gateway.api("GET", "/v1/messages/job-1")[2]["receipt"]["sessions"]["acked"] == 1, 5, "the ack"
    )


def test_a_waiting_page_gets_its_result_also_after_a_reload(gate, open_page, browser):
    gateway = gate(auth={"anonymous": False})
    made = gateway.api("POST", "/v1/tickets", {"scene": "id"})[2]
    page = open_page().start(gateway.http_url(), ticket=made["ticket"]).is_open()
    gateway.push({"tickets": [made["id"]]}, "scanned")
    page.shows(["scanned"])
    browser.refresh()
    page.wait_for("window.isLoaded", bool)
    page.start(gateway.http_url(), ticket=made["ticket"]).shows(["scanned"])
    gateway.push({"tickets": [made["id"]]}, "done", final=True)
    page.shows(["scanned", "done"])
    page.wait_for("page.gate.state", lambda state: state["state"] == "closed" and state["code"] == 4006)


def test_what_is_said_without_a_line_waits_for_the_next_one(gate, open_page):
    gateway = gate()
    with Lines(gateway.client_port) as lines:
        page = open_page().start(lines.url(), user="ann").is_open()
        lines.close()
        page.wait_for("page.state()", lambda state: state != "open")
        page.run("page.said = ['a', 'b'].map((x) => page.gate.send(x, 1).catch(({code}) => code))")
        page.run("page.joined = page.gate.join('room:later')")
        lines.open()
        page.is_open()
        # No webhook of the app takes them here: that answer shows that both arrived.
        assert page.ask("Promise.all(page.said)") == {"ok": ["unsupported", "unsupported"]}
        gateway.push({"groups": ["room:later"]}, "later")
        page.shows(["later"])


def test_where_websockets_are_blocked_an_event_stream_carries_all(gate, open_page):
    gateway = gate()
    with Lines(gateway.client_port, blocks_upgrades=True) as lines:
        page = open_page().start(lines.url(), user="ann", groups=["room:1"]).is_open()
        assert page.get("page.gate.state.transport") == "sse"
        gateway.push({"users": ["ann"]}, 1)
        assert page.ask("page.gate.join('room:2')") == {"ok": None}
        gateway.push({"groups": ["room:2"]}, 2)
        page.shows([1, 2])
        lines.cut()
        gateway.push({"groups": ["room:1"]}, 3)
        page.shows([1, 2, 3])
        assert page.get("page.seen.gaps") == []


def test_a_proxy_that_holds_answers_back_is_met_by_polling(gate, open_page):
    gateway = gate()
    with Proxy(gateway.client_port, holds_back=True) as proxy:
        options = {"transports": ["poll"], "groups": ["room:1"]}
        page = open_page().start(proxy.url(), **options).is_open()
        for i in range(5):
            gateway.push({"groups": ["room:1"]}, i)
        page.shows(list(range(5)))
        assert page.get("page.seen.gaps") == []


def test_a_slow_network_delays_and_loses_nothing(gate, open_page):
    gateway = gate()
    with Lines(gateway.client_port, slow=20000) as lines:
        page = open_page().start(lines.url(), user="ann").is_open()
        sent = [f"{i:03}" + "x" * 997 for i in range(40)]  # two seconds of that line
        for data in sent:
            gateway.push({"users": ["ann"]}, data)
        page.shows(sent, 30)


@pytest.fixture
def nodes(make_cluster, site):
    return make_cluster("redis", 2, app={"origins": [site]}).nodes


def test_a_node_that_is_killed_costs_one_reconnect(nodes, open_page):
    with Lines(nodes[0].client_port) as lines:
        page = open_page().start(lines.url(), user="ann").is_open()
        for i in range(10):
            nodes[1].push({"users": ["ann"]}, i)
        lines.lead_to(nodes[1].client_port)
        nodes[0].kill()
        for i in range(10, 20):
            nodes[1].push({"users": ["ann"]}, i)
        page.shows(list(range(20)), 20)
        assert page.get("page.seen.gaps") == []


def test_it_moves_before_a_node_goes_away(nodes, open_page):
    """The old line stands until the new one is welcomed, on the other node: it is never without one."""
    with Lines(nodes[0].client_port) as lines:
        page = open_page().start(lines.url(), user="ann").is_open()
        lines.lead_to(nodes[1].client_port)
        assert nodes[1].api("POST", "/v1/nodes/node-0:drain", {"window_ms": 1000})[0] // 100 == 2
        for i in range(50):
            nodes[1].push({"users": ["ann"]}, i)
        page.wait_for("page.seen.states.filter(({state}) => state === 'open').length", lambda n: n == 2)
        nodes[1].push({"users": ["ann"]}, 50)
        page.shows(list(range(51)))
        assert {state["state"] for state in page.get("page.seen.states")[1:]} == {"open"}


def test_the_close_codes_are_obeyed(gate, open_page):
    gateway = gate()
    page = open_page().start(gateway.http_url(), user="ann").is_open()
    assert gateway.api("DELETE", "/v1/users/ann/sessions")[2]["closed"] == 1
    page.wait_for("page.gate.state", lambda state: state["state"] == "closed" and state["code"] == 4000)


def test_a_revoked_token_is_replaced_by_a_new_one(gate, open_page):
    gateway = gate()
    page = open_page().start(gateway.http_url(), user="ann").is_open()
    before = page.get("page.gate.state.sid")
    assert gateway.api("POST", "/v1/revocations", {"user": "ann"})[0] // 100 == 2
    page.wait_for("page.gate.state.sid", lambda sid: sid != before)


def test_a_group_that_is_refused_is_told(gate, open_page):
    gateway = gate()
    page = open_page().start(gateway.http_url(), user="ann", groups=["secret", "room:1"]).is_open()
    assert page.wait_for("page.seen.refused", len)[0]["code"] == "forbidden"
    assert page.get("page.gate.groups") == ["room:1"]


def test_the_panel_for_developers_shows_what_happens(gate, open_page):
    gateway = gate()
    page = open_page().start(gateway.http_url(), user="ann").is_open()
    page.ask(
        "import('/sdk/devtools.js').then(({ showDevtools }) => { page.hide = showDevtools(page.gate); })"
    )
    gateway.push({"users": ["ann"]}, "<b>shown</b>")
    text = "[...document.body.children].at(-1)?.shadowRoot?.textContent ?? ''"
    page.wait_for(text, lambda words: "<b>shown</b>" in words and "open" in words)
    page.run("page.hide()")
    assert "shown" not in page.get(text)


def test_its_clockwork():
    """Waits, close codes, goaway, sleep: against a clock and sockets that do what the test says."""
    done = subprocess.run(
        ["node", "--test", ROOT / "tests/node/sdk_engine_test.mjs"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


# What a bundler makes of it


def test_it_is_small():
    """The promise: at most 8 KB compressed."""
    bundle = subprocess.run(
        ["esbuild", ROOT / "sdk/js/tidegate.js", "--bundle", "--minify", "--format=esm", "--target=es2022"],
        capture_output=True,
        check=True,
    ).stdout
    assert len(gzip.compress(bundle, 9)) <= 8000


def test_its_types_fit(tmp_path):
    """A program in TypeScript that uses all of it."""
    shutil.copy(ROOT / "tests/sdk/types.ts", tmp_path)
    shutil.copy(ROOT / "sdk/js/tidegate.d.ts", tmp_path)
    words = subprocess.run(
        ["tsc", "--strict", "--noEmit", "--target", "es2022", "--moduleResolution", "node", "types.ts"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert words.returncode == 0, words.stdout


def test_a_line_that_died_silently_is_found_after_a_sleep(gate, open_page):
    gateway = gate()
    with Lines(gateway.client_port) as lines:
        page = open_page().start(lines.url(), user="ann").is_open()
        lines.freeze()  # as a laptop that sleeps in one network and wakes in another
        gateway.push({"users": ["ann"]}, "while asleep")
        page.run("dispatchEvent(new Event('online'))")
        page.shows(["while asleep"], 30)


@pytest.mark.parametrize("sharing", ["worker", "locks"])
def test_tabs_share_one_session_and_survive_the_one_that_holds_it(gate, open_page, sharing):
    gateway = gate()
    first, second = open_page(), open_page()
    for page, group in ((first, "room:1"), (second, "room:2")):
        page.start(gateway.http_url(), user="ann", groups=[group], share="ann", sharing=sharing).is_open()

    def sessions():
        return gateway.api("GET", "/v1/users/ann")[2]["sessions"]

    assert len(sessions()) == 1
    gateway.push({"users": ["ann"]}, "both")
    gateway.push({"groups": ["room:1"]}, "first")
    gateway.push({"groups": ["room:2"]}, "second")
    first.shows(["both", "first"])
    second.shows(["both", "second"])
    first.close()
    gateway.push({"users": ["ann"]}, "one is gone")
    second.shows(["both", "second", "one is gone"])
    wait_for(lambda: "room:1" not in str(sessions()), 10, lambda: f"its group goes, too: {sessions()}")
    assert len(sessions()) == 1


@pytest.mark.parametrize("sharing", ["worker", "locks"])
def test_a_tab_that_crashes_takes_nothing_with_it(gate, site, sharing):
    gateway = gate()
    with open_browser("--site-per-process") as driver:
        first, second = Page(driver, site), Page(driver, site)
        for page in (first, second):
            page.start(gateway.http_url(), user="ann", share="ann", sharing=sharing).is_open()
        counter = itertools.count()
        gateway.push({"users": ["ann"]}, next(counter))
        second.shows([0])
        driver.switch_to.window(first.handle)
        with contextlib.suppress(Exception):
            driver.set_page_load_timeout(2)
            driver.get("chrome://crash")
        for _ in range(20):
            gateway.push({"users": ["ann"]}, next(counter))
        second.shows(list(range(21)), 20)
        assert second.get("page.seen.gaps") == []


@pytest.fixture
def shared(gate, open_page):
    """Opens pages that share the session of ann. Returns its gateway and what opens one."""
    gateway = gate()

    def opens(sharing, **options):
        return open_page().start(gateway.http_url(), user="ann", share="ann", sharing=sharing, **options)

    return gateway, opens


@pytest.mark.parametrize("sharing", ["worker", "locks"])
def test_each_tab_keeps_its_groups_when_another_one_takes_over(shared, sharing):
    gateway, opens = shared
    first = opens(sharing).is_open()
    names = ["room:1", "room:2", "room:3"]
    second, third = opens(sharing, groups=names).is_open(), opens(sharing, groups=["room:4"]).is_open()
    second.wait_for("page.gate.groups", lambda groups: groups == names)
    third.wait_for("page.gate.groups", lambda groups: groups == ["room:4"])
    first.close()
    for group in [*names, "room:4"]:
        third.is_open()
        gateway.push({"groups": [group]}, group)
    second.shows(names)
    third.shows(["room:4"])
    assert second.get("page.gate.groups") == names
    assert second.get("page.seen.errors") == third.get("page.seen.errors") == []


@pytest.mark.parametrize("sharing", ["worker", "locks"])
def test_a_page_that_is_opened_after_the_shared_session_was_stopped_begins_another(shared, sharing):
    gateway, opens = shared
    first = opens(sharing).is_open()
    gateway.api("DELETE", "/v1/users/ann/sessions")
    first.wait_for("page.state()", lambda state: state == "closed")
    assert first.ask("page.gate.join('room:1')")["code"] == "closed"
    opens(sharing).is_open()
    first.is_open()


def test_what_the_first_tab_asks_at_once_waits_for_the_lock(shared):
    _, opens = shared
    page = opens("locks", groups=["room:1"])
    page.run("page.said = page.gate.send('x', 1).catch(({ code }) => code)")
    assert page.ask("page.said") == {"ok": "unsupported"}  # no webhook here: that answer is the gateway's
    assert page.get("page.seen.errors") == []


def test_a_tab_that_is_frozen_gives_the_session_away(gate, site):
    gateway = gate()
    with open_browser() as driver:
        first, second = Page(driver, site), Page(driver, site)
        for page in (first, second):
            page.start(gateway.http_url(), user="ann", share="ann", sharing="locks").is_open()
        driver.switch_to.window(first.handle)
        driver.execute_cdp_cmd("Page.setWebLifecycleState", {"state": "frozen"})
        gateway.push({"users": ["ann"]}, 1)
        second.run("dispatchEvent(new Event('online'))")
        second.shows([1])


def test_where_a_worker_may_not_start_a_tab_holds_the_session(gate, tmp_path, browser):
    policy = '<meta http-equiv="Content-Security-Policy" content="worker-src \'none\'">'
    (tmp_path / "page.html").write_text(PAGE.read_text().replace("<title>", policy + "<title>"))
    with serving_site({"/page.html": tmp_path / "page.html", "/sdk/": ROOT / "sdk/js"}) as origin:
        gateway = gate(origins=[origin])
        first = browser.current_window_handle
        page = Page(browser, origin)
        page.start(gateway.http_url(), share="ann").is_open()
        page.close()
        browser.switch_to.window(first)


def test_a_message_that_no_tab_handles_is_not_confirmed(shared):
    gateway, opens = shared
    first, second = opens("worker").is_open(), opens("worker").is_open()
    second.run("page.gate.onMessage('job', () => new Promise((done) => { page.finish = done; }))")
    first.run("page.fails = page.gate.onMessage('job', () => Promise.reject(new Error('not here')))")
    gateway.push({"users": ["ann"]}, 1, type="job", id="job-1", wait="acked", wait_ms=1)
    second.wait_for("!!page.finish", bool)
    acked = lambda: gateway.api("GET", "/v1/messages/job-1")[2]["receipt"]["sessions"]["acked"]  # noqa: E731
    assert acked() == 0
    second.run("page.finish()")
    wait_for(lambda: acked() == 1, 5, "the ack")
