"""Driving the pages in a real browser, as their users do."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests import oddities
from tests.installation import App
from tests.packs import CACHE
from tests.patience import PATIENCE
from tests.photos import astronaut
from tests.ui.network import see_no_network_change

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver (tests/services/prepare installs them)"
)

WAIT_SECONDS = 30 * PATIENCE
NPM_SECONDS = 240
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--no-first-run",
    # What fades in has no text for the driver yet.
    "--force-prefers-reduced-motion",
    "--window-size=1280,1000",
)  # fmt: skip
AXE = Path(__file__).with_name("axe")
# What WCAG 2.2 AA asks for, and what axe's authors hold for good practice.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@contextmanager
def started(profile: Path, *more: str) -> Iterator[webdriver.Chrome]:
    """A browser of its own, that asks no other host for anything; `more` options of Chromium."""
    os.environ.update(SE_OFFLINE="true", SE_AVOID_STATS="true")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for option in (*OPTIONS, *more, f"--user-data-dir={profile}"):
        options.add_argument(option)
    service = Service(str(DRIVER), env=dict(os.environ), popen_kw={"preexec_fn": see_no_network_change})
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield driver
    finally:
        driver.quit()


def forget(browser: webdriver.Chrome) -> None:
    """Leave one new, empty tab of a browser that knows nothing of where it has been."""
    used = browser.window_handles
    for handle in used:
        browser.switch_to.window(handle)
        for origin in {browser.execute_script("return location.origin")} - {"null"}:
            everything = {"origin": origin, "storageTypes": "all"}
            browser.execute_cdp_cmd("Storage.clearDataForOrigin", everything)
    browser.execute_cdp_cmd("Network.clearBrowserCookies", {})
    browser.execute_cdp_cmd("Network.clearBrowserCache", {})
    browser.execute_cdp_cmd("Browser.resetPermissions", {})
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "default"})
    # What was set for a tab (its size, its network, its storage for one session) goes with it.
    browser.switch_to.new_window("window")
    kept = browser.current_window_handle
    for handle in used:
        browser.switch_to.window(handle)
        browser.close()
    browser.switch_to.window(kept)
    for log in ("browser", "performance"):
        browser.get_log(log)


def wait(browser: webdriver.Chrome, condition: Callable[[webdriver.Chrome], Any], what: str) -> Any:
    # The page may load anew between finding an element and reading it: the next poll sees the new one.
    patient = WebDriverWait(browser, WAIT_SECONDS, 0.1, ignored_exceptions=[StaleElementReferenceException])
    return patient.until(condition, f"waited for {what}")


def text(browser: webdriver.Chrome) -> str:
    return str(browser.find_element(By.TAG_NAME, "body").text)


def sign_in(browser: webdriver.Chrome, app: App, path: str = "/", key: str | None = None) -> None:
    """Open the page at `path`, signing in on the way to it."""
    browser.get(f"{app.url}{path}")
    field = browser.find_element(By.CSS_SELECTOR, "input[type=password]")
    field.send_keys(key or app.api_key, Keys.ENTER)
    wait(
        browser, lambda b: b.find_elements(By.CSS_SELECTOR, "body.frame main"), "the page behind the sign-in"
    )
    ready(browser)


def ready(browser: webdriver.Chrome) -> None:
    """Wait until the page's modules have run: only then does it answer to clicks and keys."""
    script = "return document.readyState === 'complete' && document.body.dataset.ready === 'true'"
    wait(browser, lambda b: b.execute_script(script), "the page to be ready")


def show(browser: webdriver.Chrome, app: App, path: str) -> None:
    """Open another page of somebody who is signed in."""
    browser.get(f"{app.url}{path}")
    ready(browser)


def open_uploads(browser: webdriver.Chrome) -> WebElement:
    """Open the drawer for uploads; returns its field for files."""
    browser.find_element(By.ID, "open-uploads").click()
    drawer = browser.find_element(By.ID, "uploads-drawer")
    wait(browser, lambda _: drawer.get_attribute("open"), "the drawer")
    return browser.find_element(By.ID, "upload-files")


def close_uploads(browser: webdriver.Chrome) -> None:
    drawer = browser.find_element(By.ID, "uploads-drawer")
    drawer.find_element(By.CSS_SELECTOR, "[data-close]").click()
    wait(browser, lambda _: not drawer.get_attribute("open"), "the drawer to close")


def at(browser: webdriver.Chrome, width: int, *, dark: bool = False, height: int = 900) -> None:
    """Show pages as on a screen of this width in CSS pixels, light or dark."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})


def fits(browser: webdriver.Chrome) -> bool:
    """Whether nothing of the page stands out to the side."""
    script = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    return bool(browser.execute_script(script))


def troubles(browser: webdriver.Chrome) -> list[str]:
    """Script errors and refusals of the content security policy; answers with an error status are none."""
    return [
        entry["message"]
        for entry in browser.get_log("browser")
        if entry["level"] == "SEVERE" and "the server responded with a status of" not in entry["message"]
    ]


def accessible(browser: webdriver.Chrome, *, within: str | None = None) -> None:
    """Assert that axe-core finds nothing wrong with the page, or with what the selector `within` names."""
    source = (_axe() / "axe.min.js").read_text(encoding="utf-8")
    # As a debugger does it: the page's policy lets no script of others in.
    browser.execute_cdp_cmd("Runtime.evaluate", {"expression": f"{source};undefined"})
    found = browser.execute_async_script(
        "const done = arguments[2];"
        # What slides in has its own colours once it is there.
        "const ends = (each) => each.effect.getComputedTiming().endTime < 1e6;"
        "const moves = document.getAnimations().filter(ends);"
        "Promise.allSettled(moves.map((each) => each.finished)).then(() =>"
        " axe.run(arguments[0] ?? document, {runOnly: arguments[1], resultTypes: ['violations']}))"
        ".then((told) => done(told.violations),"
        " (error) => done([{id: 'error', help: String(error), nodes: []}]))",
        within,
        RULES,
    )
    told = [
        f"{each['id']}: {each['help']}: "
        + "; ".join(f"{node['target']} {node['failureSummary']}" for node in each["nodes"][:3])
        for each in found
    ]
    assert not told, "\n".join(told)


def _axe() -> Path:
    """Where axe-core is, installed on first use; skips where npm cannot be had."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("needs npm, which is not on this machine")
    digest = hashlib.sha256((AXE / "package-lock.json").read_bytes()).hexdigest()[:16]
    target = CACHE / "axe" / digest
    target.mkdir(parents=True, exist_ok=True)
    with (target / ".lock").open("w") as held:
        # Another run may be about to install it.
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (target / ".complete").exists():
            for name in ("package.json", "package-lock.json"):
                shutil.copy(AXE / name, target)
            command = (npm, "ci", "--prefix", str(target), "--ignore-scripts", "--no-audit", "--no-fund")
            try:
                subprocess.run(command, check=True, capture_output=True, text=True, timeout=NPM_SECONDS)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                pytest.skip(
                    f"axe-core cannot be had here: {str(getattr(error, 'stderr', '') or error)[-200:]}"
                )
            (target / ".complete").touch()
    return target / "node_modules" / "axe-core"


def write(directory: Path, **photos: bytes) -> list[str]:
    """The photos as files NAME.jpg; returns their paths."""
    paths = []
    for name, data in photos.items():
        path = directory / f"{name}.jpg"
        path.write_bytes(data)
        paths.append(str(path))
    return paths


def assert_box_is_around_the_face(browser: webdriver.Chrome, app: App, filename: str) -> None:
    """All four sides of the only box stand where the API says the face is, at the size it is shown."""
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "#viewer rect.box"), "a box")
    x, y, width, height = browser.execute_script(
        """
        const box = document.querySelector("#viewer rect.box").getBoundingClientRect();
        const image = document.querySelector("#viewer .boxed-image").getBoundingClientRect();
        return [(box.x - image.x) / image.width, (box.y - image.y) / image.height,
                box.width / image.width, box.height / image.height];
        """
    )
    listed = app.get("/api/v1/photos").json()["photos"]
    photo_id = next(each["id"] for each in listed if each["filename"] == filename)
    photo = app.get(f"/api/v1/photos/{photo_id}").json()
    ((x1, y1, x2, y2),) = (face["bbox"] for face in photo["faces"])
    shares = (x1 / photo["width"], y1 / photo["height"], x2 / photo["width"], y2 / photo["height"])
    assert (x, y, x + width, y + height) == pytest.approx(shares, abs=0.01)


def focus_with_tab(browser: webdriver.Chrome, selector: str) -> WebElement:
    """Press Tab until the element has the focus."""
    for _ in range(40):
        focused = browser.switch_to.active_element
        if browser.execute_script("return arguments[0].matches(arguments[1])", focused, selector):
            return focused
        ActionChains(browser).send_keys(Keys.TAB).perform()
    raise AssertionError(f"Tab does not reach {selector}")


def sideways(form: str) -> bytes:
    """A photo stored on its side, with what turns it upright: EXIF, in a HEIC its own box."""
    stored = astronaut().crop((0, 0, 512, 400)).rotate(90, expand=True)
    if form == "HEIF":
        return oddities.heic_turned(oddities.saved(stored, form, quality=90), quarters=3)
    return oddities.saved(stored, form, exif=oddities.turned(6))
