"""The page at /hooks in a real browser, with a sender and receivers on this machine."""

from __future__ import annotations

from face_pipeline.parts import Parts
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.app.receivers import receivers
from tests.app.test_hooks import LOOPBACK, OUTSIDE, hook, sender
from tests.installation import App
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
from tests.ui.test_keys_page import button, dialog, kept_anywhere, take_secret

pytestmark = needs_chromium


def test_a_hook_is_made_paused_and_removed_and_its_secret_is_shown_once(
    browser: webdriver.Chrome, web_app: App
) -> None:
    sign_in(browser, web_app, "/hooks")
    wait(browser, lambda b: "No web hooks yet" in text(b), "that there are none")
    focus_with_tab(browser, "#hooks-make").send_keys(Keys.ENTER)
    form = dialog(browser)
    address = form.find_element(By.ID, "hook-url")
    address.send_keys("https://10.0.0.1/faces")
    button(form, "Make a web hook").click()
    wait(browser, lambda _: "no address of the internet" in form.text, "why it is refused")
    assert "reach the machines beside it" in form.text
    accessible(browser, within="#hook-form")
    address.clear()
    address.send_keys(OUTSIDE, Keys.ENTER)
    secret = take_secret(browser)
    assert secret.startswith("whsec_")
    wait(browser, lambda b: not kept_anywhere(b, secret), "the browser to have forgotten it")
    wait(browser, lambda b: OUTSIDE in text(b) and "Nothing was sent yet" in text(b), "the hook")

    button(browser, "Pause").click()
    wait(browser, lambda b: b.find_elements(By.XPATH, "//button[normalize-space()='Go on']"), "it to pause")
    assert not web_app.get("/api/v1/hooks").json()["hooks"][0]["enabled"]
    button(browser, "Go on").click()
    wait(browser, lambda b: b.find_elements(By.XPATH, "//button[normalize-space()='Pause']"), "it to go on")

    button(browser, "New secret").click()
    button(dialog(browser), "New secret").click()
    assert take_secret(browser) not in (secret, "")
    wait(browser, lambda b: OUTSIDE in text(b), "the hook")
    at(browser, 390)
    assert fits(browser)
    accessible(browser)
    button(browser, "Remove").click()
    button(dialog(browser), "Remove").click()
    wait(browser, lambda b: "No web hooks yet" in text(b), "it to be gone")
    assert troubles(browser) == []


def test_a_test_shows_what_the_receiver_answered(
    browser: webdriver.Chrome, web_app: App, parts: Parts
) -> None:
    near = Parts(parts.settings.model_copy(update=LOOPBACK))
    with receivers() as start, sender(near):
        receiver = start()
        hook(near, receiver.url, kinds=["person.seen"])
        sign_in(browser, web_app, "/hooks")
        wait(browser, lambda b: receiver.url in text(b), "the hook")
        button(browser, "Send a test").click()
        wait(browser, lambda b: "The test arrived." in text(b), "the word that it arrived")
        rows = wait(
            browser, lambda b: b.find_elements(By.CSS_SELECTOR, ".deliveries tbody tr"), "the delivery"
        )
        assert [
            each for each in ("Test", "Delivered", "answer 200", "thanks") if each not in rows[0].text
        ] == []
        receiver.status, receiver.answer = 503, b"out of order"
        button(browser, "Send a test").click()
        wait(browser, lambda b: "The test did not arrive" in text(b), "the word that it did not")
        wait(
            browser,
            lambda b: "Given up" in b.find_element(By.CSS_SELECTOR, ".deliveries tbody tr").text,
            "the delivery",
        )
    at(browser, 390)
    assert fits(browser)
    accessible(browser)
    assert troubles(browser) == []
