"""The page at /audit in a real browser: filters that the address keeps, details, and the same as CSV."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import face_pipeline
from face_pipeline.web.ui import texts
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.app.test_keys_api import make
from tests.installation import App
from tests.photos import no_face
from tests.ui.driving import (
    accessible,
    at,
    fits,
    focus_with_tab,
    needs_chromium,
    sign_in,
    text,
    troubles,
    wait,
)

pytestmark = needs_chromium
LONG = "ك" * 100


def shown(browser: webdriver.Chrome) -> list[str]:
    return [each.text for each in browser.find_elements(By.CSS_SELECTOR, "#audit-list summary")]


def test_every_action_has_words() -> None:
    written = re.compile(r"(?:audit\.)?(?:write|note)\(\s*\w+,\s*[\w.]+,\s*\"([a-z]+\.[a-z_]+)\"")
    sources = Path(face_pipeline.__file__).parent.rglob("*.py")
    actions = {action for path in sources for action in written.findall(path.read_text(encoding="utf-8"))}
    assert len(actions) > 20
    assert {each for each in actions if f"audit.actions.{each}" not in texts.texts()} == set()


def test_filters_are_kept_in_the_address_and_count_for_the_csv(
    browser: webdriver.Chrome, web_app: App
) -> None:
    writer = make(web_app, name=LONG, scopes=["write"])
    headers = {"Authorization": f"Bearer {writer['api_key']}"}
    upload = {"files": [("photos", ("a.jpg", no_face()))], "headers": headers}
    batch = web_app.request("POST", "/api/v1/photos", data={"collection": "door"}, **upload).json()
    assert web_app.get("/api/v1/photos", headers=headers).status_code == 403

    sign_in(browser, web_app, "/audit")
    wait(browser, lambda b: any("Uploaded photos" in each for each in shown(b)), "the entry of the upload")
    focus_with_tab(browser, "#audit-actor").send_keys(LONG)
    wait(
        browser,
        lambda b: len(shown(b)) >= 2 and all(LONG in each for each in shown(b)),
        "the entries of one key",
    )
    browser.find_element(By.CSS_SELECTOR, "#audit-outcome option[value=refused]").click()
    wait(browser, lambda b: [("Refused" in each) for each in shown(b)] == [True], "what it was refused")
    assert "outcome=refused" in browser.current_url
    browser.refresh()
    wait(
        browser, lambda b: [("Was refused" in each) for each in shown(b)] == [True], "the same after a reload"
    )
    browser.find_element(By.CSS_SELECTOR, "#audit-outcome option[value='']").click()
    browser.find_element(By.CSS_SELECTOR, "#audit-action option[value='photo.add']").click()
    wait(browser, lambda b: [("Uploaded photos" in each) for each in shown(b)] == [True], "the upload alone")

    fold = browser.find_element(By.CSS_SELECTOR, "#audit-list summary")
    fold.send_keys(Keys.ENTER)
    wait(browser, lambda b: batch["batch_id"] in text(b), "the details")
    assert "photos 1" in text(browser)
    at(browser, 390)
    assert fits(browser)
    accessible(browser)

    script = (
        "const address = document.getElementById('audit-csv').href;"
        "fetch(address).then((answer) => answer.text()).then(arguments[0])"
    )
    rows = list(csv.DictReader(io.StringIO(browser.execute_async_script(script))))
    assert [(each["action"], each["actor_name"], each["collection"]) for each in rows] == [
        ("photo.add", LONG, "door")
    ]

    browser.find_element(By.ID, "audit-reset").click()
    wait(browser, lambda b: len(shown(b)) > 2 and b.current_url.endswith("/audit"), "everything")
    assert troubles(browser) == []


def test_what_fits_no_filter_is_told(browser: webdriver.Chrome, web_app: App) -> None:
    sign_in(browser, web_app, "/audit?actor=nobody-of-this-name&since=2030-01-01T00:00:00.000Z")
    wait(browser, lambda b: "No entry fits" in text(b), "that nothing fits")
    assert browser.find_element(By.ID, "audit-since").is_displayed(), "a filter that counts can be seen"
    assert troubles(browser) == []
