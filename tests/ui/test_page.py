"""The page at / in a real browser, on a real pipeline."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.installation import App
from tests.photos import astronaut_again, astronaut_jpeg, no_face

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver (tests/services/prepare installs them)"
)

WAIT_SECONDS = 30
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--no-first-run",
    "--window-size=1280,1000",
)  # fmt: skip


@pytest.fixture
def browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[webdriver.Chrome]:
    monkeypatch.setenv("SE_OFFLINE", "true")
    monkeypatch.setenv("SE_AVOID_STATS", "true")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for option in (*OPTIONS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(option)
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER), env=dict(os.environ)))
    yield driver
    driver.quit()


def wait(browser: webdriver.Chrome, condition: Callable[[webdriver.Chrome], Any], what: str) -> Any:
    return WebDriverWait(browser, WAIT_SECONDS, 0.1).until(condition, f"waited for {what}")


def text(browser: webdriver.Chrome) -> str:
    return str(browser.find_element(By.TAG_NAME, "body").text)


def sign_in(browser: webdriver.Chrome, app: App) -> None:
    browser.get(app.url)
    field = browser.find_element(By.CSS_SELECTOR, "input[type=password]")
    field.send_keys(app.api_key, Keys.ENTER)
    wait(browser, lambda b: b.find_elements(By.ID, "upload-files"), "the page behind the sign-in")


def write(directory: Path, **photos: bytes) -> list[str]:
    paths = []
    for name, data in photos.items():
        path = directory / f"{name}.jpg"
        path.write_bytes(data)
        paths.append(str(path))
    return paths


def troubles(browser: webdriver.Chrome) -> list[str]:
    """Script errors and refusals of the content security policy; answers with an error status are none."""
    return [
        entry["message"]
        for entry in browser.get_log("browser")
        if entry["level"] == "SEVERE" and "the server responded with a status of" not in entry["message"]
    ]


def test_a_wrong_key_is_refused_and_the_right_one_opens_the_page(
    browser: webdriver.Chrome, web_app: App
) -> None:
    browser.get(web_app.url)
    field = browser.find_element(By.CSS_SELECTOR, "input[type=password]")
    field.send_keys("fp_wrong", Keys.ENTER)
    wait(
        browser,
        lambda b: "not valid" in text(b).lower() or "wrong" in text(b).lower(),
        "a word about the key",
    )
    assert not browser.find_elements(By.ID, "upload-files")
    sign_in(browser, web_app)
    browser.find_element(By.ID, "sign-out").click()
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "input[type=password]"), "the sign-in again")
    assert troubles(browser) == []


def test_photos_go_in_and_their_faces_are_shown_in_boxes(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    sign_in(browser, live_app)
    paths = write(tmp_path, portrait=astronaut_jpeg(), nobody=no_face(), broken=astronaut_jpeg()[:5000])
    browser.find_element(By.ID, "upload-files").send_keys("\n".join(paths))
    wait(browser, lambda b: "2 done" in text(b) and "1 rejected" in text(b), "two photos done, one rejected")
    assert "damaged" in text(browser)

    browser.find_element(By.XPATH, "//*[contains(text(), 'portrait.jpg')]")
    opener = browser.find_element(By.CSS_SELECTOR, "a[aria-label='Open portrait.jpg']")
    # By keyboard, as somebody without a mouse does.
    opener.send_keys(Keys.ENTER)
    viewer = browser.find_element(By.ID, "viewer")
    wait(browser, lambda _: viewer.is_displayed() and "1 face" in viewer.text, "the photo with its face")
    box = wait(browser, lambda _: viewer.find_elements(By.CSS_SELECTOR, "svg rect"), "a box")[0]
    image = viewer.find_element(By.CSS_SELECTOR, "img, image")
    face = live_app.get("/api/v1/photos", params={"state": "done"}).json()["photos"]
    photo = next(each for each in face if each["filename"] == "portrait.jpg")
    x1, _, x2, _ = live_app.get(f"/api/v1/photos/{photo['id']}").json()["faces"][0]["bbox"]
    middle = box.rect["x"] + box.rect["width"] / 2 - image.rect["x"]
    assert middle / image.rect["width"] == pytest.approx((x1 + x2) / 2 / photo["width"], abs=0.03)
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.ESCAPE)
    wait(browser, lambda _: not viewer.is_displayed(), "the photo to close")

    browser.refresh()
    wait(browser, lambda b: "portrait.jpg" in text(b), "the photo among the recent ones after a reload")
    assert troubles(browser) == []


def test_a_search_shows_the_match_beside_the_photo(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    body = live_app.upload(("a.jpg", astronaut_jpeg()), person="Eileen Collins").json()
    live_app.wait_finished(body["batch_id"])
    sign_in(browser, live_app)
    browser.find_element(By.CSS_SELECTOR, "[data-view=search]").click()
    known, nobody = write(tmp_path, known=astronaut_again(), nobody=no_face())
    browser.find_element(By.ID, "search-file").send_keys(known)
    result = browser.find_element(By.ID, "search-result")
    wait(browser, lambda _: "Eileen Collins" in result.text, "the person's name")
    assert "%" in result.text
    assert result.find_elements(By.CSS_SELECTOR, "svg rect"), "the searched photo has its box"
    crops = result.find_elements(By.CSS_SELECTOR, "img[src*='/crop']")
    assert crops
    wait(browser, lambda b: b.execute_script("return arguments[0].naturalWidth", crops[0]) > 0, "the crop")
    browser.find_element(By.ID, "search-file").send_keys(nobody)
    wait(browser, lambda _: "no face" in result.text.lower(), "the word that there is no face")
    assert troubles(browser) == []


def test_the_page_asks_no_other_host(browser: webdriver.Chrome, live_app: App, tmp_path: Path) -> None:
    import json

    sign_in(browser, live_app)
    (path,) = write(tmp_path, portrait=astronaut_jpeg())
    browser.find_element(By.ID, "upload-files").send_keys(path)
    wait(browser, lambda b: "1 done" in text(b), "the photo to be done")
    asked = set()
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.add(message["params"]["request"]["url"])
    pages = {url for url in asked if url.startswith("http")}
    assert pages
    assert {url for url in pages if not url.startswith(live_app.url + "/")} == set()
