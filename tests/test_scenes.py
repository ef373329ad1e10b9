"""The three scenes of examples/ in a real Chromium, each against its own business system and a gateway."""

import os
import re
import shutil
import signal
import subprocess
import urllib.request

import pytest
from harness.gateway import HMAC_SECRET, ROOT, free_ports, wait_for
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

        opens.gateway = gateway
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


def test_dev_run_shows_everything_from_its_first_page(request):
    """tools/demo, which `./dev run` ends with, up to Ctrl-C."""
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
        finally:
            demo.send_signal(signal.SIGINT)
        assert demo.wait(PATIENCE) == 0
    assert not is_there(int(first.rsplit(":", 1)[1].strip("/")))


def fetch(address):
    with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
        return answer.read().decode()
