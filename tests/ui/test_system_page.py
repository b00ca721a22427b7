"""The page at /system in a real browser: what is installed, and what the doctor says."""

from __future__ import annotations

from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.installation import App, Installation, start_web
from tests.ui.driving import accessible, at, fits, needs_chromium, sign_in, text, troubles, wait

pytestmark = needs_chromium


def test_the_system_is_shown_and_the_doctor_says_what_is_broken(
    browser: webdriver.Chrome, live_app: App
) -> None:
    sign_in(browser, live_app, "/system")
    wait(browser, lambda b: "checks found nothing wrong" in text(b), "the doctor")
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, ".cards .panel"), "the cards")
    pack = live_app.get("/api/v1/system").json()["pack"]
    told = text(browser)
    for each in (
        pack["name"],
        pack["licence"],
        pack["contract_id"],
        "up to date",
        "1 worker",
        "Runtime here",
        "not configured",
    ):
        assert each in told, each
    commands = {each.text for each in browser.find_elements(By.CSS_SELECTOR, ".cards code")}
    assert "face-pipeline audit prune --older-than 365d" in commands
    assert "`" not in told
    links = {each.get_attribute("href") for each in browser.find_elements(By.CSS_SELECTOR, ".links a")}
    assert links == {f"{live_app.url}/docs", f"{live_app.url}/runbooks/"}
    for width in (390, 1440):
        at(browser, width)
        assert fits(browser)
    accessible(browser)
    assert troubles(browser) == []

    live_app.installation.redis.kill()
    try:

        def broken(b: webdriver.Chrome) -> bool:
            # What was found a moment ago is told again.
            again = b.find_element(By.ID, "doctor-again")
            if again.is_enabled():
                again.click()
            found = b.find_elements(By.CSS_SELECTOR, ".finding[data-state=fail]")
            return any("Redis" in each.text and "Broken" in each.text for each in found)

        wait(browser, broken, "the doctor to say that Redis is broken")
        browser.refresh()
        wait(browser, lambda b: "the queues do not answer" in text(b), "that nobody knows of the workers")
    finally:
        live_app.installation.redis.start()


def test_a_profile_that_is_not_used_is_marked_with_the_reason(
    browser: webdriver.Chrome, clean: Installation
) -> None:
    app = App(clean, *start_web(clean, FACE_PROFILE="fast"))
    try:
        sign_in(browser, app, "/system")
        wait(browser, lambda b: "exact instead of fast" in text(b).casefold(), "the profile")
        marked = browser.find_elements(By.CSS_SELECTOR, ".cards .chip[data-kind=warning]")
        assert "exact instead of fast" in {each.text.casefold() for each in marked}
        assert "The engine dlib runs packs as they came" in text(browser)
        wait(
            browser,
            lambda b: "set face_profile to exact" in text(b).casefold(),
            "the doctor to say what to do",
        )
    finally:
        clean.end(app.web)
