"""The page at /photos in a real browser, on a real pipeline: photos, the viewer over them, uploads."""

from __future__ import annotations

from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.installation import App
from tests.photos import astronaut_jpeg, no_face
from tests.ui.driving import (
    accessible,
    assert_box_is_around_the_face,
    at,
    close_uploads,
    fits,
    focus_with_tab,
    needs_chromium,
    open_uploads,
    show,
    sideways,
    sign_in,
    text,
    troubles,
    wait,
    write,
)

pytestmark = needs_chromium


def test_photos_go_in_and_their_faces_are_shown_in_boxes(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    sign_in(browser, live_app, "/photos")
    paths = write(tmp_path, portrait=astronaut_jpeg(), nobody=no_face(), broken=astronaut_jpeg()[:5000])
    open_uploads(browser).send_keys("\n".join(paths))
    wait(browser, lambda b: "1 done, 1 nobody found, 1 rejected" in text(b), "what became of each")
    assert "cut off" in text(browser)

    browser.find_element(By.XPATH, "//*[contains(text(), 'portrait.jpg')]")
    opener = browser.find_element(By.CSS_SELECTOR, "a[aria-label='Open portrait.jpg']")
    # By keyboard, as somebody without a mouse does; over the drawer.
    opener.send_keys(Keys.ENTER)
    viewer = browser.find_element(By.ID, "viewer")
    wait(browser, lambda _: viewer.is_displayed() and "1 face" in viewer.text, "the photo with its face")
    assert_box_is_around_the_face(browser, live_app, "portrait.jpg")
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.ESCAPE)
    wait(browser, lambda _: not viewer.is_displayed(), "the photo to close")

    browser.refresh()
    wait(browser, lambda b: "portrait.jpg" in text(b), "the photo among the recent ones after a reload")
    assert troubles(browser) == []


def test_the_page_asks_no_other_host(browser: webdriver.Chrome, live_app: App, tmp_path: Path) -> None:
    import json

    sign_in(browser, live_app, "/photos")
    (path,) = write(tmp_path, portrait=astronaut_jpeg())
    open_uploads(browser).send_keys(path)
    wait(browser, lambda b: "1 done" in text(b), "the photo to be done")
    asked = set()
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.add(message["params"]["request"]["url"])
    pages = {url for url in asked if url.startswith("http")}
    assert pages
    assert {url for url in pages if not url.startswith(live_app.url + "/")} == set()


def test_the_keyboard_alone_opens_a_photo_walks_its_faces_and_comes_back(
    browser: webdriver.Chrome, live_app: App
) -> None:
    body = live_app.upload(("portrait.jpg", astronaut_jpeg())).json()
    live_app.wait_finished(body["batch_id"])
    sign_in(browser, live_app, "/photos")
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, ".photo-card"), "the recent photo")
    focus_with_tab(browser, "#open-uploads")
    focus_with_tab(browser, ".photo-card").send_keys(Keys.ENTER)
    assert_box_is_around_the_face(browser, live_app, "portrait.jpg")
    focus_with_tab(browser, "#viewer button.face")
    marked = browser.find_elements(By.CSS_SELECTOR, "#viewer .face-box.marked")
    assert len(marked) == 1, "the box of the focused face stands out"
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)
    viewer = browser.find_element(By.ID, "viewer")
    wait(browser, lambda _: not viewer.is_displayed(), "the photo to close")
    assert browser.switch_to.active_element.get_attribute("class") == "photo-card", "focus is back"
    assert troubles(browser) == []


def test_the_box_of_a_turned_photo_is_around_the_face(browser: webdriver.Chrome, live_app: App) -> None:
    photos = [(f"turned.{form.lower()}", sideways(form)) for form in ("JPEG", "PNG", "WEBP", "AVIF", "HEIF")]
    body = live_app.upload(*photos).json()
    live_app.wait_finished(body["batch_id"])
    sign_in(browser, live_app, "/photos")
    for photo in body["photos"]:
        show(browser, live_app, f"/photos/{photo['id']}")
        title = browser.find_element(By.ID, "viewer-title")
        wait(browser, lambda _, title=title, name=photo["filename"]: title.text == name, photo["filename"])
        assert_box_is_around_the_face(browser, live_app, photo["filename"])
        width, height = browser.execute_script(
            "const image = document.querySelector('#viewer .boxed-image');"
            "return [image.naturalWidth, image.naturalHeight]"
        )
        assert width > height, f"the browser shows {photo['filename']} upright"
    assert troubles(browser) == []


def test_a_name_for_a_known_photo_is_shown_or_the_row_says_why_it_was_not_given(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    sign_in(browser, live_app, "/photos")
    (path,) = write(tmp_path, portrait=astronaut_jpeg())
    files = open_uploads(browser)
    person = browser.find_element(By.ID, "upload-person")
    files.send_keys(path)
    wait(browser, lambda b: "1 done" in text(b), "the photo to be done")
    assert "Eileen Collins" not in text(browser)
    person.send_keys("Eileen Collins")
    files.send_keys(path)
    wait(browser, lambda b: "1 already there" in text(b), "the photo to be known")
    wait(browser, lambda b: "Eileen Collins" in b.find_element(By.ID, "library-grid").text, "the name")
    assert "Not named" not in text(browser)
    person.clear()
    person.send_keys("Sally Ride")
    files.send_keys(path)
    wait(browser, lambda b: "2 already there" in text(b), "the photo to be known")
    assert "Not named: it already belongs to another person." in browser.find_element(By.ID, "uploads").text
    assert troubles(browser) == []


def test_an_upload_without_a_connection_is_sent_again(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    sign_in(browser, live_app, "/photos")
    wait(browser, lambda b: "No photos yet" in text(b), "the empty list")
    network = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": True, **network})
    (path,) = write(tmp_path, portrait=astronaut_jpeg())
    open_uploads(browser).send_keys(path)
    wait(browser, lambda b: "No connection" in text(b), "a word about the connection")
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": False, **network})
    wait(browser, lambda b: "1 done" in text(b), "the photo to be done")


def test_a_key_without_write_shows_no_upload(browser: webdriver.Chrome, web_app: App) -> None:
    made = web_app.installation.run("keys", "create", "--name", "reader", "--scopes", "read")
    try:
        browser.get(web_app.url)
        field = browser.find_element(By.CSS_SELECTOR, "input[type=password]")
        field.send_keys(made.stdout.strip(), Keys.ENTER)
        wait(browser, lambda b: "may look and search" in text(b), "the word about the key's scope")
        assert not browser.find_elements(By.ID, "upload-files")
    finally:
        web_app.installation.run("keys", "revoke", "--name", "reader")
    browser.find_element(By.ID, "library-refresh").click()
    wait(browser, lambda b: "You are signed out" in text(b), "the word that the key was revoked")
    assert troubles(browser) == []


def test_photos_can_be_used_by_everybody_on_every_screen(browser: webdriver.Chrome, live_app: App) -> None:
    name = "a very long name of a photo that nobody would give " * 4 + ".jpg"
    body = live_app.upload((name, astronaut_jpeg()), ("b.jpg", no_face()), person="איילין קולינס").json()
    live_app.wait_finished(body["batch_id"])
    sign_in(browser, live_app, "/photos")
    for width, dark in ((390, False), (390, True), (1440, False), (1440, True), (2560, False)):
        at(browser, width, dark=dark)
        show(browser, live_app, "/photos")
        wait(browser, lambda b: len(b.find_elements(By.CSS_SELECTOR, ".photo-card")) == 2, "the photos")
        assert fits(browser)
        accessible(browser)
        browser.find_element(By.CSS_SELECTOR, ".photo-card").click()
        wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "#viewer h3"), "the photo")
        accessible(browser, within="#viewer")
        browser.back()
        wait(browser, lambda b: not b.find_element(By.ID, "viewer").is_displayed(), "the list again")
    open_uploads(browser)
    close_uploads(browser)
    assert troubles(browser) == []
