"""The console in a browser: signing in, going from view to view, and what keeps nobody out of it."""

import hashlib

from axe_core_python.selenium import Axe
from selenium.webdriver.common.by import By

from harness.gateway import wait_for

PATIENCE = 15
MONITOR_KEY = "test-a-key-of-somebody-who-only-looks"


def hash_of(key):
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


def monitor_key():
    """For api_keys of a gateway's configuration."""
    return {"name": "watcher", "hash": hash_of(MONITOR_KEY), "scopes": ["monitor"]}


class Console:
    """A window with the console of one gateway."""

    def __init__(self, browser, gateway):
        self.browser, self.gateway = browser, gateway
        self.patience = PATIENCE * gateway.slowness
        self.url = f"http://127.0.0.1:{gateway.admin_port}/console/"

    def open(self, view=""):
        self.browser.get(f"{self.url}#/{view}" if view else self.url)

    def sign_in(self, key):
        self.until("#key")
        self.find("#key").clear()
        self.find("#key").send_keys(key)
        self.find("button[type=submit]").click()

    def go(self, view):
        """By the navigation; the view has been mounted then."""
        self.find(f"nav a[href='#/{view}']").click()
        self.until(f".view[data-view='{view}']")

    # Looking

    def all(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def find(self, selector):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def until(self, selector, text=""):
        """The first element of the selector that has the text, once there is one."""

        def look():
            script = """return [...document.querySelectorAll(arguments[0])]
                            .find((element) => element.textContent.includes(arguments[1])) ?? null"""
            return self.browser.execute_script(script, selector, text)

        return wait_for(look, self.patience, lambda: f"{selector} {text!r} in: {self.text}")

    def alter(self, path, script):
        """From now on the page gets answers of this path (its beginning) as the script changed `answer`."""
        wrap = """const path = arguments[0], ask = window.fetch, change = (answer) => { CHANGE };
                  window.fetch = async (url, options) => {
                      const response = await ask(url, options);
                      if (!String(url).startsWith(path)) { return response; }
                      const answer = await response.json();
                      change(answer);
                      return new Response(JSON.stringify(answer), { status: response.status });
                  }"""
        self.browser.execute_script(wrap.replace("CHANGE", script), f"api{path}")

    def run(self, script):
        """What the body of an async function gives; modules of the page by import("/console/…")."""
        body = f"(async () => {{ {script} }})()"
        return self.browser.execute_async_script(
            f"const [done] = arguments; {body}.then(done, (error) => done(String(error)))"
        )

    @property
    def text(self):
        return self.find("body").text

    def focus(self):
        """What has the focus, as people would call it."""
        script = """const element = document.activeElement;
                    return element.getAttribute("aria-label") || element.id || element.textContent"""
        return self.browser.execute_script(script)

    # What must hold of every view

    def set_theme(self, theme):
        self.browser.execute_script(
            "document.documentElement.dataset.theme = arguments[0];"
            "document.dispatchEvent(new Event('theme-changed'))",
            theme,
        )

    def barriers(self):
        """What axe-core finds in the way of people, one line each."""
        # Colours are looked at when no transition is under way.
        self.browser.execute_script("document.getAnimations().forEach((animation) => animation.finish())")
        found = Axe().run(self.browser)["violations"]
        return [f"{one['id']}: {node['html'][:160]}" for one in found for node in one["nodes"]]

    def complaints(self):
        """What the browser held against the page, its content policy among that."""
        return [
            one["message"] for one in self.browser.get_log("browser") if one["level"] in ("SEVERE", "WARNING")
        ]

    def is_too_wide(self):
        return self.browser.execute_script(
            "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
        )
