"""The three scenes of examples/ in a real Chromium, each against its own business system and a gateway."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request

import pytest
import yaml
from harness.gateway import HMAC_SECRET, ROOT, free_ports, wait_for
from harness.wire import Wire
from selenium.webdriver.common.by import By

PATIENCE = 15
SCENES = ROOT / "examples"


class Window:
    """A window of the browser at a scene's page. Its methods bring it to the front."""

    def __init__(self, driver, address):
        self.driver = driver
        driver.switch_to.new_window("window")
        self.handle = driver.current_window_handle
        driver.get(address)

    def find(self, selector):
        self.driver.switch_to.window(self.handle)
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def click(self, selector):
        self.shows(selector)
        self.find(selector).click()

    def shows(self, selector, words=""):
        def texts():
            self.driver.switch_to.window(self.handle)
            script = "return [...document.querySelectorAll(arguments[0])].filter((e) => e.checkVisibility())"
            return self.driver.execute_script(script + ".map((e) => e.innerText)", selector)

        wait_for(
            lambda: any(words in text for text in texts()),
            PATIENCE,
            lambda: f"{selector} shows {texts()}, not {words!r}",
        )

    def is_live(self):
        wait_for(lambda: self.find("body").get_attribute("data-state") == "open", PATIENCE, "a live page")
        return self

    def reload(self):
        self.driver.switch_to.window(self.handle)
        self.driver.refresh()


@pytest.fixture
def scene(make_gateway, browser):
    """A function that starts a scene; what it returns opens windows at it."""
    processes, windows = [], []
    first = browser.current_window_handle

    def start(command, **variables):
        port = free_ports(1)[0]
        origin = f"http://127.0.0.1:{port}"
        app = {
            "origins": [origin],
            "groups": {"join": ["article:*"]},
            "auth": {"jwt": {"issuer": "", "audience": ""}},
        }
        gateway = make_gateway(app=app)
        environment = {
            **os.environ,
            "TIDEGATE_API": gateway.api_url("").rstrip("/"),
            "TIDEGATE_API_KEY": gateway.api_key,
            "TIDEGATE_CLIENT": gateway.http_url("").rstrip("/"),
            "LISTEN": f"127.0.0.1:{port}",
            **variables,
        }
        processes.append(subprocess.Popen(command, cwd=ROOT, env=environment))
        wait_for(lambda: is_there(port), 30, lambda: f"{command} to answer")

        def opens(path="/"):
            windows.append(Window(browser, origin + path))
            return windows[-1]

        opens.gateway, opens.origin = gateway, origin
        return opens

    yield start
    for window in windows:
        browser.switch_to.window(window.handle)
        browser.delete_all_cookies()
        browser.close()
    browser.switch_to.window(first)
    for process in processes:
        process.kill()
        process.wait()


def is_there(port):
    done = subprocess.run(
        ["curl", "-fs", "-o", "/dev/null", f"http://127.0.0.1:{port}/settings"], check=False
    )
    return done.returncode == 0


@pytest.fixture
def comments(scene):
    secret = HMAC_SECRET if isinstance(HMAC_SECRET, str) else HMAC_SECRET.decode()
    return scene(["/usr/bin/python3", str(SCENES / "comments/server.py")], TIDEGATE_JWT_SECRET=secret)


def test_comments_reach_every_reader_and_a_mention_all_tabs_of_who_is_named(comments):
    ann = comments("/?user=ann").is_live()
    bobs = [comments("/?user=bob").is_live() for _ in range(2)]
    bobs[0].find("#text").send_keys("first <b>words</b>")
    bobs[0].click("#form button")
    ann.shows("#comments", "bob first <b>words</b>")
    bobs[1].shows("#comments", "bob first")
    # The cookie of the last page that was opened says who writes.
    bobs[1].find("#text").send_keys("look, @ann")
    bobs[1].click("#form button")
    ann.shows("#mention", "bob mentioned you: look, @ann")
    bobs[0].shows("#comments", "look, @ann")
    assert len(bobs[0].find("#comments").find_elements(By.TAG_NAME, "li")) == 2
    late = comments("/?user=eve")
    late.shows("#comments", "look, @ann")


BAD_GATEWAY_FIRST = """
const really = window.fetch, seen = new Set();
window.fetch = (path, ...rest) => {
  const isFirst = ["/push-token", "/comments"].includes(path) && !seen.has(path);
  seen.add(path);
  return isFirst ? Promise.resolve(new Response("bad gateway", { status: 502 })) : really(path, ...rest);
};
"""


def test_comments_survive_a_bad_gateway_before_the_business_system(comments):
    page = comments("/style.css")
    page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": BAD_GATEWAY_FIRST})
    page.driver.get(comments.origin + "/?user=dan")
    page.is_live()
    page.find("#text").send_keys("all is well")
    page.click("#form button")
    page.shows("#comments", "dan all is well")


def post_comment(origin, text, **headers):
    headers = {"Content-Type": "application/json", "Cookie": "user=ann", **headers}
    request = urllib.request.Request(origin + "/comments", json.dumps({"text": text}).encode(), headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return answer.status, json.load(answer)


def test_comments_are_kept_and_pushed_when_the_gateway_is_there_again(comments):
    gateway = comments.gateway
    gateway.stop()
    made = [post_comment(comments.origin, f"number {number}") for number in range(3)]
    assert [status for status, _ in made] == [201] * 3
    gateway.revive()

    def pushed():
        return [told["id"] for told in gateway.api("GET", "/v1/groups/article:7/messages")[2]["messages"]]

    wait_for(lambda: len(pushed()) == 3, PATIENCE, pushed)
    assert sorted(pushed()) == sorted(comment["id"] for _, comment in made)


@pytest.mark.parametrize("length", ["-1", "20000", "x", None])
def test_comments_take_no_body_without_a_right_length(comments, length):
    port = int(comments.origin.rsplit(":", 1)[1])
    with Wire(port) as wire:
        head = "POST /comments HTTP/1.1\r\nHost: x\r\n" + (f"Content-Length: {length}\r\n" if length else "")
        wire.send(f"{head}\r\nGET /settings HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert wire.read_response().status in (411, 413)
        wire.assert_closed()


@pytest.fixture(scope="module")
def real_name_program(tmp_path_factory):
    program = tmp_path_factory.mktemp("go") / "real-name"
    go = shutil.which("go")
    subprocess.run([go, "build", "-o", program, "."], cwd=SCENES / "real-name", check=True)
    return str(program)


@pytest.fixture
def real_name(scene, real_name_program):
    return scene([real_name_program], SCENE=str(SCENES / "real-name"))


def test_a_waiting_page_is_told_what_happened_on_the_phone(real_name):
    page = real_name()
    page.click("#begin")
    page.is_live().shows("#code")
    wait_for(lambda: page.find("#code").get_property("naturalWidth"), PATIENCE, "the QR code")
    address = page.find("#link").get_attribute("href")
    phone = real_name(address[address.index("/third-party") :])
    page.shows("#state", "scanned")
    page.reload()
    page.is_live()
    phone.find("[name=name]").send_keys("Ann <Lee>")
    phone.click("[name=ok]")
    phone.shows("#done")
    page.shows("#words", "Welcome, Ann <Lee>. You are verified.")
    page.reload()
    page.shows("#words", "Welcome, Ann <Lee>")


def test_the_result_may_come_before_the_page_looks(real_name):
    page = real_name()
    page.click("#begin")
    page.is_live()
    address = page.find("#link").get_attribute("href")
    begun = page.driver.execute_script("return sessionStorage.waiting")
    page.driver.get("about:blank")  # it is away
    phone = real_name(address[address.index("/third-party") :])
    phone.click("[name=no]")
    phone.shows("#done")
    page.driver.switch_to.window(page.handle)
    page.driver.back()
    assert begun == page.driver.execute_script("return sessionStorage.waiting")
    page.shows("#words", "could not be verified")


def test_a_signature_goes_to_no_address_out_of_a_request(real_name):
    with socket.create_server(("127.0.0.1", 0)) as trap, http_post(real_name) as call:
        trap.setblocking(False)
        host = f"127.0.0.1:{trap.getsockname()[1]}"
        status, page = call("/third-party", "case=x&ok=1&name=Eve", Host=host)
        assert (status, "can't be reached" in page) == (200, False), "the callback went to the right place"
        with pytest.raises(BlockingIOError):
            trap.accept()


def test_a_callback_is_signed_now(real_name):
    with http_post(real_name) as call:
        told = '{"case": "x", "state": "verified", "name": "Eve"}'
        for signed in ({}, {"Signed-At": "1"}, {"Signed-At": str(int(time.time())), "Signature": "00"}):
            assert call("/callback", told, **signed)[0] == 403


def test_a_third_party_is_not_asked_to_repeat_what_nobody_waits_for(real_name):
    page = real_name()
    page.click("#begin")
    page.is_live()
    gateway = real_name.gateway
    case = json.loads(page.driver.execute_script("return sessionStorage.waiting"))["id"]
    ticket = gateway.api("GET", "/v1/tickets")[2]["tickets"][0]
    assert gateway.api("DELETE", f"/v1/tickets/{ticket['id']}")[0] in (200, 202, 204)
    page.shows("#failure", "The time is over.")
    with http_post(real_name) as call:
        status, answer = call("/third-party", f"case={case}&ok=1&name=Ann")
        assert (status, "can't be reached" in answer) == (200, False)


def test_a_page_says_that_another_window_has_taken_over(real_name):
    page = real_name()
    page.click("#begin")
    page.is_live()
    kept = page.driver.execute_script("return Object.entries(sessionStorage)")
    other = real_name("/style.css")
    script = "for (const [name, value] of arguments[0]) sessionStorage[name] = value"
    other.driver.execute_script(script, kept)
    other.driver.get(real_name.origin)
    other.is_live()
    page.shows("#state", "This goes on in another window.")


@contextlib.contextmanager
def http_post(opens):
    connection = http.client.HTTPConnection(opens.origin.removeprefix("http://"), timeout=PATIENCE)

    def call(path, body, **headers):
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", path, body, {**form, **headers})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    yield call
    connection.close()


@pytest.fixture
def liveness(scene):
    def start(seconds=60):
        command = ["java", "-Xshare:auto", str(SCENES / "liveness/Liveness.java")]
        return scene(command, SCENE=str(SCENES / "liveness"), SECONDS=str(seconds))

    return start


def test_a_check_shows_its_progress_and_its_result(liveness):
    opens = liveness()
    page = opens()
    page.click("#begin")
    page.is_live()
    camera = opens(path_of(page))
    camera.click("#step")
    wait_for(lambda: page.find("#step-face").get_attribute("data-done") == "true", PATIENCE, "the first step")
    for _ in range(3):
        camera.find("#words")
        camera.click("#step")
        camera.shows("#words", "Done")
    page.shows("#words", "Passed")
    page.click("#again")
    page.click("#begin")
    page.is_live()
    opens(path_of(page)).click("#fail")
    page.shows("#words", "Not passed")


def test_a_check_that_takes_too_long_says_so(liveness):
    page = liveness(seconds=2)()
    page.click("#begin")
    page.shows("#words", "The time is over.")


def path_of(page):
    address = page.find("#link").get_attribute("href")
    return address[address.index("/phone") :]


@pytest.mark.parametrize("end", ["ctrl-c", "the gateway dies"])
def test_dev_run_shows_everything_from_its_first_page(request, end):
    """tools/demo, which `./dev run` ends with, up to Ctrl-C or until the gateway dies."""
    binary = ROOT / "build" / request.config.getoption("preset") / "tidegate"
    command = [str(ROOT / "tools/demo"), str(binary)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as demo:
        try:
            first = next(line for line in demo.stdout if "begin here" in line).split()[2]
            page = fetch(first)
            links = [link for link in re.findall(r'href="(http[^"]+)"', page) if "/console/" not in link]
            assert len(links) == 5
            for link in links:
                assert fetch(link)
            assert_scenes_have_a_key_of_their_own(demo)
            if end != "ctrl-c":
                os.kill(gateway_of(demo, binary), signal.SIGKILL)
                assert demo.wait(PATIENCE) != 0
        finally:
            demo.send_signal(signal.SIGINT)
        assert (demo.wait(PATIENCE) == 0) == (end == "ctrl-c")
    for link in [first, *links]:
        port = int(re.search(r":(\d+)", link)[1])
        wait_for(lambda port=port: is_free(port), PATIENCE, f"nobody at {port}")


def assert_scenes_have_a_key_of_their_own(demo):
    apps = yaml.safe_load((ROOT / "build/run/tidegate.yaml").read_text())["apps"]
    assert apps[0]["api_keys"][1]["scopes"] == ["push", "ticket"]
    operators = (ROOT / "build/run/auth-header").read_text().split()[-1].encode()
    scenes = [(child / "environ").read_bytes() for child in children_of(demo)]
    scenes = [words for words in scenes if b"TIDEGATE_API_KEY=" in words]
    assert len(scenes) == 3
    assert not [words for words in scenes if operators in words]


def children_of(demo):
    return [
        pathlib.Path("/proc", child)
        for child in pathlib.Path(f"/proc/{demo.pid}/task/{demo.pid}/children").read_text().split()
    ]


def gateway_of(demo, binary):
    return next(
        int(child.name) for child in children_of(demo) if (child / "exe").resolve() == binary.resolve()
    )


def is_free(port):
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0


def fetch(address):
    with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
        return answer.read().decode()
