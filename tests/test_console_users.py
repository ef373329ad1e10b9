"""What the console shows of users, sessions, pushes and tickets, in a real browser."""

import pytest
from harness.clients import V1Client
from harness.cluster import closed_with
from harness.console import MONITOR_KEY, Console, monitor_key
from harness.gateway import Gateway, wait_for
from harness.storm import Storm
from selenium.webdriver.support.select import Select

HOSTILE = "<img src=x onerror=\"document.title='owned'\">"
KICKED = 4000


@pytest.fixture(scope="module")
def gateway(request, tmp_path_factory):
    gateway = Gateway(request.config.getoption("preset"), tmp_path_factory.mktemp("console"), {})
    gateway.config["apps"][0]["api_keys"].append(monitor_key())
    gateway.start()
    yield gateway
    gateway.stop()


def sign_in(browser, gateway, key):
    """A window of its own, with the console of this gateway."""
    browser.switch_to.new_window("window")
    browser.set_window_size(1280, 900)
    browser.execute_cdp_cmd("Network.clearBrowserCookies", {})
    console = Console(browser, gateway)
    console.open()
    console.sign_in(key)
    console.until("nav.side")
    return console


def leave(browser):
    browser.close()
    browser.switch_to.window(browser.window_handles[0])


@pytest.fixture
def console(browser, gateway):
    yield sign_in(browser, gateway, gateway.api_key)
    leave(browser)


def texts(console, selector):
    """At one moment: what is shown may be replaced in the next."""
    script = "return [...document.querySelectorAll(arguments[0])].map((element) => element.textContent)"
    return console.browser.execute_script(script, selector)


def visit(console, address):
    console.browser.execute_script("location.hash = arguments[0]", address)


def test_a_user_is_found_opened_and_kicked(console, gateway):
    with V1Client(gateway, "anna", hello={"device": "phone-1"}) as anna, V1Client(gateway, "bert"):
        console.go("users")
        console.until("tbody a", "bert")
        console.find("#user-search").send_keys("an")
        wait_for(lambda: texts(console, "tbody a") == ["anna"], console.patience, lambda: console.text)
        console.find("tbody a").click()
        console.until("td", "phone-1")
        gateway.push({"users": ["anna"]}, {"text": "left the house"}, type="order.shipped")
        console.until("td", "order.shipped")
        console.until("summary", "left the house")
        assert console.barriers() == []
        console.find("[data-act=kick-user]").click()
        assert console.browser.switch_to.active_element.text == "Cancel"
        console.find("dialog .danger").click()
        assert anna.read_data() == [{"text": "left the house"}]
        assert closed_with(anna) == KICKED
        console.until(".badge", "Offline")


@pytest.mark.release
def test_one_of_ten_thousand_users_is_found_and_all_are_paged_through(tmp_path, browser):
    gateway = Gateway("release", tmp_path, {"limits": {"accept_rate": 0}})
    gateway.start()
    storm = Storm(gateway, 10_000)
    try:
        storm.run_until_all_are_in(60)
        console = sign_in(browser, gateway, gateway.api_key)
        console.go("users")
        console.until("p.help", "1 to 100 online")
        console.until("button", "Next").click()
        console.until("p.help", "101 to 200 online")
        assert len(console.all("tbody tr")) == 100
        console.find("#user-search").send_keys("s7777")
        wait_for(lambda: texts(console, "tbody a") == ["s7777"], console.patience, lambda: console.text)
        after, seen = "", []
        while after is not None:
            page = gateway.api("GET", f"/v1/users?limit=1000&after={after}")[2]
            seen += [one["user"] for one in page["users"]]
            after = page.get("next")
        assert seen == sorted(f"s{number}" for number in range(10_000))
    finally:
        storm.close()
        gateway.stop()
        leave(browser)


def test_frames_come_live_and_are_filtered_and_paused(console, gateway):
    with V1Client(gateway, "anna") as anna:
        visit(console, f"#/users?sid={anna.sid}")
        console.until(".badge", "Live")
        gateway.push({"users": ["anna"]}, {"text": HOSTILE}, type="chat")
        console.until(".frame .kind", "msg")
        assert anna.read_data() == [{"text": HOSTILE}]
        anna.ask({"t": "join", "g": "room:1", "token": "eyJ.a.secret"})
        console.until(".frame.in .kind", "join")
        console.until(".frame.out .kind", "ok")
        assert "secret" not in console.browser.page_source.replace("secrets hidden", "")
        assert console.barriers() == []
        console.find("#frame-filter").send_keys("onerror")
        wait_for(lambda: texts(console, ".frame .kind") == ["msg"], console.patience, lambda: console.text)
        console.until("button", "Pause").click()
        gateway.push({"users": ["anna"]}, "after the pause")
        console.until("p.help", "1 came since")
        assert not [one for one in texts(console, ".frame") if "after the pause" in one]
        gateway.api("DELETE", f"/v1/sessions/{anna.sid}")
        console.until("p.help", "by the gateway, 4000: kicked")


def test_what_is_read_of_the_frames_stays_as_it_is(console, gateway):
    with V1Client(gateway, "anna") as anna:
        visit(console, f"#/users?sid={anna.sid}")
        console.until(".badge", "Live")
        gateway.push({"users": ["anna"]}, {"text": "the first"}, type="chat")
        summary = console.until(".frame summary", "the first")
        assert summary.text.startswith('chat {"text":"the first"}')
        console.browser.execute_script("arguments[0].focus()", summary)
        gateway.push({"users": ["anna"]}, {"text": "the second"}, type="chat")
        console.until(".frame summary", "the second")
        assert "the first" in console.focus()


def test_an_address_names_the_app_that_was_chosen(request, browser, tmp_path):
    gateway = Gateway(request.config.getoption("preset"), tmp_path, {})
    gateway.config["apps"].append({"name": "other", "auth": {"anonymous": True}})
    gateway.start()
    console = sign_in(browser, gateway, gateway.api_key)
    try:
        Select(console.find("#app-choice")).select_by_value("other")
        console.go("users")
        wait_for(lambda: "app=other" in browser.current_url, console.patience, lambda: browser.current_url)
        browser.refresh()
        console.until("p.help", "in other")
        assert console.find("#app-choice").get_attribute("value") == "other"
    finally:
        leave(browser)
        gateway.stop()


def test_a_test_push_shows_what_became_of_it(console, gateway):
    with V1Client(gateway, "anna") as anna:
        visit(console, "#/send?to=users&name=anna")
        data = console.until("#send-data")
        data.clear()
        data.send_keys('{"n": 1')
        console.until("#send-data-wrong", "Not JSON")
        console.find("form .primary").click()
        data.send_keys("}")
        wait_for(lambda: not console.find("#send-data-wrong").text, console.patience, lambda: console.text)
        Select(console.find("#send-wait")).select_by_value("acked")
        assert console.barriers() == []
        console.find("form .primary").click()
        message = anna.read("msg")
        assert (message["data"], message["type"]) == ({"n": 1}, "console.test")
        anna.send({"t": "ack", "ids": [message["id"]]})
        counts = ".bar[data-count='{}'] strong"
        console.until(counts.format("written"), "1")
        console.until(counts.format("acked"), "1")
        anna.assert_silent(0.1)  # what was no JSON was not sent


def test_tickets_are_listed_made_and_ended(console, gateway):
    ticket = gateway.api("POST", "/v1/tickets", {"ttl_ms": 60000})[2]["id"]
    gateway.push({"tickets": [ticket]}, {"state": HOSTILE})
    console.go("tickets")
    console.until("tbody a", ticket).click()
    console.until("summary", "onerror")
    console.until("dd", "1")
    console.find("[data-act=end-ticket]").click()
    console.find("dialog .danger").click()
    console.until(".badge", "Done")
    console.go("tickets")
    console.until("td", "No ticket is claimed")
    console.find("[data-act=make-ticket]").click()
    made = console.until(".view h2 ~ dl a.mono").text
    assert gateway.api("GET", f"/v1/tickets/{made}")[2]["state"] == "waiting"
    assert console.barriers() == []


def test_what_users_choose_never_becomes_markup(console, gateway):
    hello = {"device": HOSTILE, "attrs": {HOSTILE: HOSTILE}, "groups": [f"room:{HOSTILE}"]}
    with V1Client(gateway, HOSTILE, hello=hello) as mallory:
        gateway.push({"users": [HOSTILE]}, {HOSTILE: HOSTILE}, type=HOSTILE, id=HOSTILE)
        console.go("users")
        console.until("tbody a", HOSTILE).click()
        console.until("h2", HOSTILE)
        console.until("td", HOSTILE)
        visit(console, f"#/users?sid={mallory.sid}")
        console.until("code", "onerror")
        console.until(".badge", "Live")
        mallory.send({"t": "leave", "re": 1, "g": f"room:{HOSTILE}"})
        console.until(".frame.in", HOSTILE.replace('"', '\\"'))
        visit(console, "#/errors")
        visit(console, f"#/send?to=users&name={HOSTILE}")
        console.until("#send-name")
        assert console.find("#send-name").get_attribute("value") == HOSTILE
        assert not console.all("img[src=x]")
        assert "owned" not in console.browser.title


def test_who_only_looks_is_offered_nothing_and_refused(browser, gateway):
    console = sign_in(browser, gateway, MONITOR_KEY)
    with V1Client(gateway, "anna") as anna:
        visit(console, "#/users?user=anna")
        console.until("tbody a", anna.sid)
        assert not console.all("[data-act]")
        visit(console, f"#/users?sid={anna.sid}")
        console.until(".notice", "may not read frames")
        visit(console, "#/send")
        console.until(".notice", "changes nothing")
        refused = browser.execute_async_script(
            """const [path, done] = arguments;
               const headers = {"X-Tidegate-Console": "1"};
               fetch(path, {method: "DELETE", headers}).then((answer) => done(answer.status))""",
            f"/console/api/v1/sessions/{anna.sid}",
        )
        assert refused == 403
        anna.assert_silent(0.1)
    leave(browser)


def test_rules_of_alerts_and_recent_errors_are_shown(console, gateway):
    gateway.api("GET", "/v1/nodes", headers={"Authorization": f"Bearer {HOSTILE}"})
    console.go("alerts")
    console.until(".badge", "0 firing")
    console.until("summary", "Rules").click()
    console.until("tbody .soft", "TidegateBusDown")
    console.until("tbody a[href='runbooks/bus-down.md']")
    assert console.barriers() == []
    console.go("errors")
    console.until("tbody code", "api.unauthorized")
    console.find("#error-filter").send_keys("nothing says this")
    console.until("td.empty", "Nothing went wrong")
    assert console.barriers() == []


def test_every_view_of_users_fits_a_phone(console, gateway):
    with V1Client(
        gateway, "a-user-with-quite-a-long-id-as-some-systems-have-them", hello={"device": "d" * 60}
    ) as client:
        console.browser.set_window_size(400, 850)
        for address, mark in [
            ("#/users", "tbody a"),
            ("#/users?user=a-user-with-quite-a-long-id-as-some-systems-have-them", "tbody .mono"),
            (f"#/users?sid={client.sid}", ".badge.good"),
            ("#/send", "#send-data"),
            ("#/tickets", "tbody"),
        ]:
            visit(console, address)
            console.until(mark)
            assert not console.is_too_wide(), address
