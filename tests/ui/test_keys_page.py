"""The page at /keys in a real browser: keys are made, shown once, changed, given a new text and revoked."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.app.test_keys_api import by, leave_alone, make
from tests.app.test_sessions import FIREFOX, Browser
from tests.installation import App
from tests.ui.driving import (
    accessible,
    at,
    fits,
    focus_with_tab,
    needs_chromium,
    show,
    sign_in,
    text,
    troubles,
    wait,
)

pytestmark = needs_chromium

RIGHT_TO_LEFT = "مفتاح الباب الأمامي"


@pytest.fixture
def app(web_app: App) -> Iterator[App]:
    leave_alone(web_app)
    yield web_app
    leave_alone(web_app)


def button(within: Any, name: str) -> WebElement:
    found: WebElement = within.find_element(By.XPATH, f".//button[normalize-space()='{name}']")
    return found


def row(browser: webdriver.Chrome, name: str) -> WebElement:
    def find(b: webdriver.Chrome) -> WebElement | None:
        rows = b.find_elements(By.CSS_SELECTOR, "#keys-list tr")
        # A key of another name may have this one as its scope or its collection.
        return next(
            (each for each in rows if each.find_element(By.CSS_SELECTOR, ".name bdi").text == name), None
        )

    found: WebElement = wait(browser, find, f"the row of {name}")
    return found


def dialog(browser: webdriver.Chrome) -> WebElement:
    found: WebElement = wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "dialog[open]"), "a dialog")[
        -1
    ]
    return found


def take_secret(browser: webdriver.Chrome) -> str:
    """The text that is shown, once the dialog that shows it is closed."""
    shown = ".secret code"
    wait(
        browser,
        lambda b: b.find_elements(By.CSS_SELECTOR, shown) and b.find_element(By.CSS_SELECTOR, shown).text,
        "it",
    )
    code = browser.find_element(By.CSS_SELECTOR, shown)
    told = str(code.text)
    ActionChains(browser).send_keys(Keys.ESCAPE).send_keys(Keys.ESCAPE).perform()
    assert code.is_displayed(), "Escape does not lose it"
    button(browser, "I have kept it").click()
    wait(browser, lambda b: not b.find_elements(By.CSS_SELECTOR, "dialog[open]"), "the dialog to close")
    return told


def kept_anywhere(browser: webdriver.Chrome, secret: str) -> bool:
    """Whether the browser still has the text where a page, a history or a log could show it."""
    script = (
        "return [document.documentElement.outerHTML, location.href, JSON.stringify(localStorage),"
        " JSON.stringify(sessionStorage), document.cookie, JSON.stringify(history.state),"
        " ...[...document.querySelectorAll('input, textarea')].map((each) => each.value)].join(' ')"
    )
    return secret in browser.execute_script(script) + str(browser.get_log("browser"))


def test_a_key_is_made_shown_once_and_kept_nowhere(browser: webdriver.Chrome, app: App) -> None:
    sign_in(browser, app, "/keys")
    assert "Signed in with it" in row(browser, "admin").text
    focus_with_tab(browser, "#keys-make").send_keys(Keys.ENTER)
    form = dialog(browser)
    form.find_element(By.ID, "key-name-new").send_keys(RIGHT_TO_LEFT)
    form.find_element(By.CSS_SELECTOR, "input[value=read]").click()
    button(form, "Make a key").click()
    wait(browser, lambda _: "Choose at least one thing" in form.text, "what is missing")
    form.find_element(By.CSS_SELECTOR, "input[value=write]").click()
    form.find_element(By.CSS_SELECTOR, "input[value=some]").click()
    form.find_element(By.CSS_SELECTOR, ".chosen input").send_keys("door", Keys.ENTER, "garden")
    accessible(browser, within="#key-form")
    button(form, "Make a key").click()
    secret = take_secret(browser)
    wait(browser, lambda b: not kept_anywhere(b, secret), "the browser to have forgotten it")
    made = row(browser, RIGHT_TO_LEFT)
    assert {"write", "door", "garden"} <= set(made.text.split())
    told = app.get("/api/v1/collections", headers=by(secret))
    assert (told.status_code, told.json()["error"]["code"]) == (403, "scope_missing")
    assert troubles(browser) == []


def test_a_key_is_given_a_new_text_changed_and_revoked(browser: webdriver.Chrome, app: App) -> None:
    name = f"camera {uuid.uuid4()}"
    old = make(app, name=name)
    sign_in(browser, app, "/keys")
    row(browser, name).find_element(By.CSS_SELECTOR, "button[aria-label^='Rotate']").click()
    dialog(browser).find_element(By.CSS_SELECTOR, "option[value=day]").click()
    button(dialog(browser), "Rotate").click()
    new = take_secret(browser)
    for each in (old["api_key"], new):
        assert app.get("/api/v1/photos", headers=by(each)).status_code == 200
    wait(
        browser, lambda b: "The text before works until" in row(b, name).text, "until when the old one works"
    )

    row(browser, name).find_element(By.CSS_SELECTOR, "button[aria-label^='Change']").click()
    field = dialog(browser).find_element(By.ID, "key-name-new")
    field.clear()
    field.send_keys("a" * 100)
    button(dialog(browser), "Save").click()
    wait(browser, lambda b: "a" * 100 in text(b), "the new name")

    row(browser, "a" * 100).find_element(By.CSS_SELECTOR, "button[aria-label^='Revoke']").click()
    assert "this session ends" not in dialog(browser).text
    button(dialog(browser), "Revoke").click()
    wait(
        browser,
        lambda b: (
            not any("a" * 100 in each.text for each in b.find_elements(By.CSS_SELECTOR, "#keys-list tr"))
        ),
        "it to go",
    )
    assert app.get("/api/v1/photos", headers=by(new)).status_code == 401
    browser.find_element(By.CSS_SELECTOR, "#keys-state option[value=revoked]").click()
    assert "Revoked" in row(browser, "a" * 100).text
    assert browser.current_url.endswith("state=revoked")
    at(browser, 390)
    assert fits(browser)
    accessible(browser)
    assert troubles(browser) == []


def test_revoking_the_key_of_the_session_says_that_it_ends_it(browser: webdriver.Chrome, app: App) -> None:
    own = make(app, name="deputy", scopes=["admin"])
    sign_in(browser, app, "/keys", own["api_key"])
    row(browser, "deputy").find_element(By.CSS_SELECTOR, "button[aria-label^='Revoke']").click()
    assert "this session ends" in dialog(browser).text
    button(dialog(browser), "Revoke").click()
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, ".sign-in"), "the sign-in")


def test_who_is_signed_in_is_shown_and_signed_out(browser: webdriver.Chrome, app: App) -> None:
    mia = Browser(app, make(app, name="Mia"), **{"User-Agent": FIREFOX})
    sign_in(browser, app, "/keys")

    def shown(b: webdriver.Chrome) -> dict[str, WebElement]:
        rows = b.find_elements(By.CSS_SELECTOR, "#sessions-list tr")
        return {" ".join(each.find_element(By.CSS_SELECTOR, ".name").text.split()): each for each in rows}

    wait(browser, lambda b: "Mia" in shown(b), "who is signed in")
    session = shown(browser)["Mia"]
    assert "Firefox, Linux" in session.text
    assert "127.0.0.1" in session.text
    own = shown(browser)["admin This session"]
    assert own.find_elements(By.TAG_NAME, "button") == []
    session.find_element(By.CSS_SELECTOR, "button[aria-label='End the session: Mia']").click()
    wait(browser, lambda b: "A session of Mia is over." in text(b), "that it is over")
    wait(browser, lambda b: "Mia" not in shown(b), "it to go")
    assert mia.sees() == 401
    accessible(browser)
    at(browser, 390)
    assert fits(browser)
    assert troubles(browser) == []


def test_a_key_for_clients_of_compreface_names_one_collection(browser: webdriver.Chrome, app: App) -> None:
    sign_in(browser, app, "/keys")
    button(browser, "Make a key").click()
    form = dialog(browser)
    form.find_element(By.ID, "key-name-new").send_keys("old clients")
    form.find_element(By.CSS_SELECTOR, "#key-service option[value=detection]").click()
    assert not form.find_element(By.CSS_SELECTOR, "input[value=erase]").is_displayed()
    button(form, "Make a key").click()
    wait(browser, lambda _: "Name the one collection" in form.text, "what is missing")
    form.find_element(By.CSS_SELECTOR, ".chosen input").send_keys("door")
    form.find_element(By.ID, "key-old").send_keys("no uuid")
    button(form, "Make a key").click()
    wait(
        browser, lambda _: "UUID" in form.find_element(By.CSS_SELECTOR, "[role=alert]").text, "what is wrong"
    )
    form.find_element(By.ID, "key-old").clear()
    button(form, "Make a key").click()
    assert uuid.UUID(take_secret(browser))
    assert "CompreFace: detection" in row(browser, "old clients").text


def test_keys_that_may_not_see_the_page_are_told_what_is_missing(browser: webdriver.Chrome, app: App) -> None:
    sign_in(browser, app, "/keys", make(app, scopes=["admin"], collections=["door"])["api_key"])
    assert "reaches some collections only" in text(browser)
    assert not browser.find_elements(By.ID, "keys-make")
    show(browser, app, "/audit")
    assert "reaches some collections only" in text(browser)
    browser.delete_all_cookies()
    sign_in(browser, app, "/keys", make(app, scopes=["read"])["api_key"])
    assert "needs a key with the scope admin" in text(browser)
