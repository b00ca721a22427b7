"""The frame around every page, in a real browser: signing in, finding the way, the collection, errors."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from face_pipeline.parts import Parts
from face_pipeline.web.ui.pages import PAGES
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.app import stock
from tests.installation import App
from tests.photos import astronaut_jpeg
from tests.ui.driving import (
    accessible,
    at,
    fits,
    focus_with_tab,
    needs_chromium,
    open_uploads,
    ready,
    show,
    sign_in,
    text,
    troubles,
    wait,
    write,
)

pytestmark = needs_chromium

ONLY_BIG_ENOUGH = """
return [...document.querySelectorAll(".top a, .top button, .top select, .rail a, .rail button")]
  .filter((each) => each.checkVisibility())
  .map((each) => [each.textContent.trim(), each.getBoundingClientRect()])
  .filter(([, box]) => box.height < 44 || box.width < 32)
  .map(([name, box]) => `${name} ${box.width} ${box.height}`);
"""


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
    assert not browser.find_elements(By.ID, "open-uploads")
    sign_in(browser, web_app)
    browser.find_element(By.ID, "sign-out").click()
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "input[type=password]"), "the sign-in again")
    assert troubles(browser) == []


def test_every_page_has_its_address_title_and_mark_and_fits_a_phone(
    browser: webdriver.Chrome, web_app: App
) -> None:
    sign_in(browser, web_app)
    titles = set()
    for page in PAGES:
        for width, dark in ((1440, False), (390, True)):
            at(browser, width, dark=dark)
            show(browser, web_app, page.path)
            title, _, product = browser.title.rpartition(" · ")
            assert (bool(title), product) == (True, "Face Pipeline")
            marked = {
                each.get_attribute("href")
                for each in browser.find_elements(By.CSS_SELECTOR, "nav [aria-current=page]")
            }
            assert marked == {web_app.url + page.path}
            assert fits(browser), f"{page.path} stands out to the side at {width} px"
            assert browser.execute_script(ONLY_BIG_ENOUGH) == []
        titles.add(title)
    assert len(titles) == len(PAGES)
    assert troubles(browser) == []


def test_nothing_in_the_frame_keeps_anybody_out(browser: webdriver.Chrome, web_app: App) -> None:
    browser.get(f"{web_app.url}/sign-in")
    accessible(browser)
    sign_in(browser, web_app)
    for width, dark in ((1440, False), (390, True), (390, False), (1440, True)):
        at(browser, width, dark=dark)
        show(browser, web_app, "/")
        accessible(browser)
        open_uploads(browser)
        accessible(browser)
    at(browser, 390)
    show(browser, web_app, "/nope")
    assert "There is nothing here\nNo page has this address" in text(browser)
    accessible(browser)
    browser.find_element(By.ID, "more").click()
    wait(browser, lambda b: b.find_element(By.ID, "more-sheet").is_displayed(), "the further pages")
    accessible(browser)
    browser.find_element(By.CSS_SELECTOR, "#more-sheet a[href='/audit']").click()
    wait(browser, lambda b: b.title.startswith("Audit"), "a page behind More")


def test_the_skip_link_leads_past_the_navigation(browser: webdriver.Chrome, web_app: App) -> None:
    sign_in(browser, web_app)
    show(browser, web_app, "/photos")
    focus_with_tab(browser, ".skip").send_keys(Keys.ENTER)
    assert browser.switch_to.active_element.get_attribute("id") == "main"


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("/jobs", "/jobs"),
        ("/photos/11111111-1111-1111-1111-111111111111", "/photos/11111111-1111-1111-1111-111111111111"),
        ("/audit?action=person.erase&outcome=done", "/audit?action=person.erase&outcome=done"),
        # Links of the page as it was.
        ("/#search", "/search"),
        ("/#photo/11111111-1111-1111-1111-111111111111", "/photos/11111111-1111-1111-1111-111111111111"),
    ],
)
def test_after_signing_in_somebody_is_where_they_wanted_to_be(
    browser: webdriver.Chrome, web_app: App, asked: str, shown: str
) -> None:
    sign_in(browser, web_app, asked)
    wait(browser, lambda b: b.current_url == web_app.url + shown, shown)


@pytest.mark.parametrize(
    "elsewhere",
    [
        "//evil.test",
        "/\\evil.test",
        "https://evil.test/",
        "/\t/evil.test",
        "\\\\evil.test",
        "javascript:alert(1)",
    ],
)
def test_signing_in_never_leads_to_another_host(
    browser: webdriver.Chrome, web_app: App, elsewhere: str
) -> None:
    sign_in(browser, web_app, f"/sign-in?next={quote(elsewhere, safe='')}")
    assert browser.current_url == f"{web_app.url}/"
    # Nor does it lead there who is signed in already.
    browser.get(f"{web_app.url}/sign-in?next={quote(elsewhere, safe='')}")
    assert browser.current_url == f"{web_app.url}/"


def test_a_session_that_ends_is_renewed_in_place_and_the_call_goes_on(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    body = live_app.upload(("portrait.jpg", astronaut_jpeg())).json()
    live_app.wait_finished(body["batch_id"])
    sign_in(browser, live_app, "/photos")
    wait(browser, lambda b: "portrait.jpg" in text(b), "the photo")
    browser.execute_script("document.querySelector('#library-state').value = 'done'; window.kept = true")
    browser.delete_all_cookies()
    browser.find_element(By.ID, "library-refresh").click()
    field = wait(browser, lambda b: b.find_elements(By.ID, "sign-in-here-key"), "the question for a key")[0]
    accessible(browser, within="#sign-in-here")
    field.send_keys("fp_wrong", Keys.ENTER)
    wait(browser, lambda b: "not valid" in text(b), "the word that the key is wrong")
    field.clear()
    field.send_keys(live_app.api_key, Keys.ENTER)
    wait(browser, lambda b: not b.find_elements(By.ID, "sign-in-here"), "the dialog to close")
    wait(browser, lambda b: "portrait.jpg" in text(b), "the photo again")
    assert (
        browser.execute_script("return window.kept && document.querySelector('#library-state').value")
        == "done"
    )
    assert troubles(browser) == []


def test_an_upload_outlives_its_session_and_a_sign_in_in_another_tab(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    sign_in(browser, live_app, "/photos")
    first, second = write(tmp_path, first=astronaut_jpeg(1), second=astronaut_jpeg(2))
    browser.delete_all_cookies()
    files = open_uploads(browser)
    files.send_keys(first)
    field = wait(browser, lambda b: b.find_elements(By.ID, "sign-in-here-key"), "the question for a key")[0]
    field.send_keys(live_app.api_key, Keys.ENTER)
    wait(browser, lambda b: "1 done" in text(b), "the photo to be done")
    # Another tab signs in: the token of this page is one of before.
    page = browser.current_window_handle
    browser.switch_to.new_window("tab")
    browser.get(f"{live_app.url}/docs")
    browser.delete_all_cookies()
    sign_in(browser, live_app)
    browser.close()
    browser.switch_to.window(page)
    files.send_keys(second)
    wait(browser, lambda b: "2 done" in text(b), "the second photo to be done")
    assert not browser.find_elements(By.ID, "sign-in-here")
    assert troubles(browser) == []


def test_the_collection_is_one_for_all_pages_and_is_remembered(
    browser: webdriver.Chrome, live_app: App
) -> None:
    for collection in ("holiday", "work"):
        body = live_app.upload((f"of {collection}.jpg", astronaut_jpeg()), collection=collection).json()
        live_app.wait_finished(body["batch_id"])
    sign_in(browser, live_app, "/photos")
    wait(browser, lambda b: "of holiday.jpg" in text(b) and "of work.jpg" in text(b), "both photos")
    picker = browser.find_element(By.ID, "collection")
    wait(browser, lambda _: "holiday" in picker.text, "the collections")
    picker.send_keys("work")
    wait(browser, lambda b: "of holiday.jpg" not in text(b), "the photos of one collection")
    assert "of work.jpg" in text(browser)
    show(browser, live_app, "/search")
    assert browser.find_element(By.ID, "collection").get_attribute("value") == "work"
    # What is uploaded next goes there.
    open_uploads(browser)
    assert browser.find_element(By.ID, "upload-collection").get_attribute("value") == "work"


def test_the_dot_says_whether_the_service_is_well(
    browser: webdriver.Chrome, live_app: App, parts: Parts
) -> None:
    def said(b: webdriver.Chrome) -> str | None:
        return b.find_element(By.ID, "health-text").get_attribute("textContent")

    def says_anew(b: webdriver.Chrome, words: str) -> bool:
        # The overview is a few seconds old at most.
        b.refresh()
        wait(b, lambda b: said(b) != unknown, "a word about it")
        return said(b) == words

    unknown = "The state of the service is not known yet"
    sign_in(browser, live_app, "/photos")
    wait(browser, lambda b: says_anew(b, "All is well"), "all to be well")
    # What the first page says, every page says.
    stock.photo(parts, state="failed")
    wait(browser, lambda b: says_anew(b, "Something needs you"), "the photo that failed")
    live_app.installation.redis.kill()
    try:
        words = "A part of the service does not answer, or something needs you soon"
        wait(browser, lambda b: says_anew(b, words), words)
    finally:
        live_app.installation.redis.start()
    browser.find_element(By.ID, "health").click()
    wait(browser, lambda b: b.title.startswith("Overview"), "the page that says more")


def test_a_read_key_sees_what_it_may_use_and_a_page_says_which_key_it_needs(
    browser: webdriver.Chrome, web_app: App
) -> None:
    made = web_app.installation.run("keys", "create", "--name", "reader of the frame", "--scopes", "read")
    try:
        sign_in(browser, web_app, "/", made.stdout.strip())
        assert not browser.find_elements(By.ID, "open-uploads")
        assert not browser.find_elements(By.CSS_SELECTOR, "a[href='/audit']")
        assert browser.find_elements(By.CSS_SELECTOR, ".rail a[href='/people']")
        show(browser, web_app, "/audit")
        assert "needs a key with the scope admin" in text(browser)
    finally:
        web_app.installation.run("keys", "revoke", "--name", "reader of the frame")


def test_a_question_mark_shows_the_keys_of_the_page(browser: webdriver.Chrome, web_app: App) -> None:
    sign_in(browser, web_app)
    ActionChains(browser).send_keys("?").perform()
    wait(browser, lambda b: "Keys of this page" in text(b), "the keys")
    accessible(browser, within="dialog[open]")
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    wait(browser, lambda b: not b.find_elements(By.CSS_SELECTOR, "dialog[open]"), "the dialog to close")
    ready(browser)
