"""A headless Chromium, Debian's own, driven by Selenium."""

import contextlib
import tempfile

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

SWITCHES = [
    "--headless=new",
    "--no-sandbox",  # the tests may run as root
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--window-size=1280,900",
]


@contextlib.contextmanager
def open_browser(*switches):
    """A browser with a fresh profile; it is gone at the end of the `with`."""
    with tempfile.TemporaryDirectory(prefix="chromium") as profile:
        options = Options()
        options.binary_location = "/usr/bin/chromium"
        for switch in [*SWITCHES, f"--user-data-dir={profile}", *switches]:
            options.add_argument(switch)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        driver.set_page_load_timeout(30)
        try:
            yield driver
        finally:
            driver.quit()
