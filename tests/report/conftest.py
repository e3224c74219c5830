"""A real browser without a window, for the tests that look at pages."""

from __future__ import annotations

import json
import os
import shutil
from base64 import b64decode

import pytest

CHROMIUM = shutil.which(os.environ.get("CHROMIUM", "chromium")) or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")

HOW_TO = "no browser here: install chromium and chromedriver (Debian: apt-get install chromium chromium-driver)"

ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--disable-dev-shm-usage",
    # Nothing of its own goes out: what is looked at are files.
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
)

LOGS = ("browser", "performance")
SECONDS = 60


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Chromium with its driver; where it is not installed, the test is skipped and says how to have it run."""
    # The driver is named below; Selenium's own manager would ask the network for one, and send statistics.
    os.environ |= {"SE_OFFLINE": "true", "SE_AVOID_STATS": "true"}
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if not (CHROMIUM and CHROMEDRIVER):
        pytest.skip(HOW_TO)
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ARGUMENTS:
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('browser')}")
    options.set_capability("goog:loggingPrefs", dict.fromkeys(LOGS, "ALL"))
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER))
    driver.set_script_timeout(SECONDS)
    yield driver
    driver.quit()


@pytest.fixture
def visit(browser):
    """Open a page in a window of its own size and theme, with nothing in the logs of what was before."""

    def show(path, width=1280, height=900, theme="light", media="", fragment=""):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        features = [{"name": "prefers-color-scheme", "value": theme}]
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
        for log in LOGS:
            browser.get_log(log)
        browser.get("about:blank")
        browser.get(f"{path.as_uri()}{fragment}")
        return browser

    return show


@pytest.fixture
def asked_for(browser):
    """The schemes of all that a page has asked for since it was opened."""

    def schemes():
        events = [json.loads(one["message"])["message"] for one in browser.get_log("performance")]
        sent = [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]
        return {url.split(":")[0] for url in sent}

    return schemes


@pytest.fixture
def fits(browser, tmp_path):
    """The page is as wide as its window, dark only where it should be, and a picture of it can be taken."""

    def check(name):
        width, inner = browser.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert width <= inner
        paper = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        dark = sum(map(int, paper.removeprefix("rgb(").removesuffix(")").split(","))) < 3 * 128
        assert dark == (name == "dark")
        picture = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
        (tmp_path / f"{name}.png").write_bytes(b64decode(picture["data"]))
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000

    return check
