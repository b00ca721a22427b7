"""The upload drawer over every page, in a real browser: what is dropped, and that none of it gets lost."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.installation import App
from tests.photos import astronaut_jpeg, no_face
from tests.ui.driving import (
    accessible,
    at,
    close_uploads,
    fits,
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

pytestmark = [needs_chromium, pytest.mark.one_worker]

LONG = "a very long name of a photo that nobody would ever give to one " * 3
QUIET_POLL_BYTES = 2048
# Drags a photo over the page, or drops it, as a file manager does.
DRAG = """
const [kind, name, bytes] = arguments;
const held = new DataTransfer();
const data = Uint8Array.from(atob(bytes), (each) => each.charCodeAt(0));
held.items.add(new File([data], name, {type: "image/jpeg"}));
document.querySelector("main").dispatchEvent(
  new DragEvent(kind, {dataTransfer: held, bubbles: true, cancelable: true}));
"""
# The server takes the first request, and its answer never comes back.
LOSE_AN_ANSWER = """
let lost = false;
window.asked = [];
const { setRequestHeader } = XMLHttpRequest.prototype;
XMLHttpRequest.prototype.setRequestHeader = function (name, value) {
  if (name === "Idempotency-Key") window.asked.push(value);
  return setRequestHeader.call(this, name, value);
};
Object.defineProperty(XMLHttpRequest.prototype, "onload", {
  set(answered) {
    this.addEventListener("load", (event) => {
      if (lost) return answered.call(this, event);
      lost = true;
      return this.onerror(event);
    });
  },
});
"""
SENT_FROM_HERE = """
return performance.getEntriesByType("resource")
  .filter((each) => each.initiatorType === "xmlhttprequest")
  .filter((each) => new URL(each.name).pathname === "/api/v1/photos").length;
"""
QUESTIONS = """
return performance.getEntriesByType("resource")
  .filter((each) => new URL(each.name).pathname === "/api/v1/events" && each.name.includes("after="))
  .map((each) => each.transferSize);
"""


# How many files the browser keeps, and on how many of the list's records it says so.
KEPT = """
const done = arguments[0];
const request = indexedDB.open("face-uploads");
request.onsuccess = () => {
  const transaction = request.result.transaction(["files", "items"]);
  const files = transaction.objectStore("files").count();
  const items = transaction.objectStore("items").getAll();
  transaction.oncomplete = () => {
    request.result.close();
    done([files.result, items.result.filter((each) => each.kept).length]);
  };
};
"""


# The list as a page leaves it that goes before it has kept what it heard of its photos.
NOT_HEARD = """
const done = arguments[0];
const request = indexedDB.open("face-uploads");
request.onsuccess = () => {
  const transaction = request.result.transaction(["items"], "readwrite");
  const items = transaction.objectStore("items");
  items.getAll().onsuccess = ({ target }) => {
    for (const item of target.result) items.put({ ...item, state: "underway" });
  };
  transaction.oncomplete = () => {
    request.result.close();
    done();
  };
};
"""


def keeps(browser: webdriver.Chrome, files: int) -> None:
    """Until then a browser asks before the page is closed."""
    wait(browser, lambda b: b.execute_async_script(KEPT) == [files, files], f"{files} files to be kept")


def summary(browser: webdriver.Chrome) -> str:
    return str(browser.find_element(By.ID, "uploads-summary").get_attribute("textContent"))


def wait_for(browser: webdriver.Chrome, said: str) -> None:
    try:
        wait(browser, lambda b: summary(b) == said, said)
    except TimeoutException:
        rows = [each.text for each in browser.find_elements(By.CSS_SELECTOR, ".upload-row")]
        pytest.fail(f"waited for {said!r}, the page says {summary(browser)!r}: {notices(browser)!r}, {rows}")


def row(browser: webdriver.Chrome, name: str) -> WebElement:
    path = f"//li[contains(@class, 'upload-row')][.//bdi[@title='{name}']]"
    return browser.find_element(By.XPATH, path)


def notices(browser: webdriver.Chrome) -> str:
    return str(browser.find_element(By.ID, "uploads-notices").text)


def press(browser: webdriver.Chrome, button: str) -> None:
    path = f"//dialog[@open]//button[normalize-space()='{button}']"
    wait(browser, lambda b: b.find_elements(By.XPATH, path), button)[0].click()


def stop_sending(browser: webdriver.Chrome, stopped: bool = True) -> None:
    """As a connection does that is cut for uploads, while pages still come."""
    browser.execute_cdp_cmd("Network.enable", {})
    patterns = ["*/api/v1/batches", "*/api/v1/photos"] if stopped else []
    browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": patterns})


def tiny(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (number, 90, 90)).save(buffer, "JPEG")
    return buffer.getvalue()


def photos_of(app: App, **query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = app.get("/api/v1/photos", params=query).json()["photos"]
    return found


def added_photos(app: App) -> list[dict[str, Any]]:
    """What the audit has of uploads, which are those of all tests before too."""
    entries: list[dict[str, Any]] = app.get("/api/v1/audit", params={"action": "photo.add"}).json()["entries"]
    return entries


def test_every_file_is_in_exactly_one_count_and_says_what_became_of_it(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    sign_in(browser, live_app, "/jobs")
    paths = write(tmp_path, portrait=astronaut_jpeg(), nobody=no_face(), broken=astronaut_jpeg()[:5000])
    (tmp_path / "empty.jpg").touch()
    files = open_uploads(browser)
    files.send_keys("\n".join([*paths, str(tmp_path / "empty.jpg")]))
    wait_for(browser, "4 photos: 1 done, 1 nobody found, 2 rejected")
    assert "1 face" in row(browser, "portrait.jpg").text
    assert "The file is cut off. Copy it again." in row(browser, "broken.jpg").text
    assert "The file is empty." in row(browser, "empty.jpg").text
    files.send_keys(paths[0])
    wait_for(browser, "5 photos: 1 done, 1 nobody found, 1 already there, 2 rejected")
    batch = live_app.get("/api/v1/batches").json()["batches"][0]["id"]
    link = browser.find_element(By.ID, "uploads-photos")
    assert link.get_attribute("href") == f"{live_app.url}/photos?collection=default&batch={batch}"
    # What a browser has to show is small, and the photo opens over it.
    opener = browser.find_element(By.CSS_SELECTOR, "a[aria-label='Open portrait.jpg']")
    opener.send_keys(Keys.ENTER)
    wait(browser, lambda b: "1 face" in b.find_element(By.ID, "viewer").text, "the photo")
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    press(browser, "Clear finished")
    wait(browser, lambda b: not b.find_element(By.ID, "uploads").is_displayed(), "the empty list")
    assert troubles(browser) == []


def test_a_photo_that_is_dropped_anywhere_goes_where_the_page_says(
    browser: webdriver.Chrome, live_app: App
) -> None:
    sign_in(browser, live_app, "/jobs")
    browser.execute_script("localStorage.setItem('face-collection', 'holiday')")
    show(browser, live_app, "/jobs")
    data = base64.b64encode(astronaut_jpeg()).decode()
    hint = browser.find_element(By.ID, "upload-hint")
    browser.execute_script(DRAG, "dragover", "dropped.jpg", data)
    wait(browser, lambda _: "holiday" in hint.text, "where a drop goes")
    browser.execute_script(DRAG, "drop", "dropped.jpg", data)
    wait_for(browser, "1 photo: 1 done")
    assert not hint.is_displayed()
    assert [each["collection"] for each in photos_of(live_app)] == ["holiday"]
    # A search has a use of its own for a photo.
    show(browser, live_app, "/search")
    browser.execute_script(DRAG.replace("main", "#search-zone"), "dragover", "other.jpg", data)
    assert not browser.find_element(By.ID, "upload-hint").is_displayed()
    assert troubles(browser) == []


def test_a_collection_name_that_cannot_be_keeps_the_photos_until_it_is_mended(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    sign_in(browser, live_app, "/jobs")
    files = open_uploads(browser)
    browser.find_element(By.ID, "upload-collection").send_keys("Summer 2024!")
    files.send_keys("\n".join(write(tmp_path, one=astronaut_jpeg(1), two=astronaut_jpeg(2))))
    wait_for(browser, "2 photos: 2 need you")
    assert "summer-2024 would do" in notices(browser)
    assert live_app.get("/api/v1/collections").json()["collections"] == []
    keeps(browser, 2)
    # They wait through a reload, too.
    browser.refresh()
    ready(browser)
    wait_for(browser, "2 photos: 2 need you")
    open_uploads(browser)
    press(browser, "Send to summer-2024")
    wait_for(browser, "2 photos: 2 done")
    assert {each["collection"] for each in photos_of(live_app)} == {"summer-2024"}
    assert troubles(browser) == []


def test_a_session_that_ends_in_mid_upload_loses_nothing(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    sign_in(browser, live_app, "/jobs")
    browser.delete_all_cookies()
    open_uploads(browser).send_keys("\n".join(write(tmp_path, one=astronaut_jpeg(1), two=astronaut_jpeg(2))))
    wait(browser, lambda b: b.find_elements(By.ID, "sign-in-here-key"), "the question for a key")
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    assert "Your photos wait here" in notices(browser)
    press(browser, "Sign in")
    field = wait(browser, lambda b: b.find_elements(By.ID, "sign-in-here-key"), "the question for a key")[0]
    field.send_keys(live_app.api_key, Keys.ENTER)
    wait_for(browser, "2 photos: 2 done")
    assert troubles(browser) == []


def test_photos_that_are_not_sent_yet_survive_other_pages_and_go_on_there(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    sign_in(browser, live_app, "/jobs")
    stop_sending(browser)
    open_uploads(browser).send_keys("\n".join(write(tmp_path, one=astronaut_jpeg(1), two=astronaut_jpeg(2))))
    wait(browser, lambda b: "No connection. It goes on by itself." in notices(b), "a word about it")
    keeps(browser, 2)
    show(browser, live_app, "/people")
    wait_for(browser, "2 photos: 2 waiting")
    assert browser.find_element(By.CSS_SELECTOR, "#open-uploads .upload-badge").text == "2"
    # The files themselves may be gone by now.
    for name in ("one", "two"):
        (tmp_path / f"{name}.jpg").unlink()
    stop_sending(browser, False)
    wait_for(browser, "2 photos: 2 done")
    assert not browser.find_element(By.CSS_SELECTOR, "#open-uploads .upload-badge").is_displayed()
    browser.execute_async_script(NOT_HEARD)
    show(browser, live_app, "/jobs")
    wait_for(browser, "2 photos: 2 done")


def test_of_two_tabs_one_sends_and_when_it_is_closed_the_other_goes_on(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    sign_in(browser, live_app, "/jobs")
    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    show(browser, live_app, "/people")
    second = browser.current_window_handle
    (path,) = write(tmp_path, one=astronaut_jpeg(1))
    open_uploads(browser).send_keys(path)
    wait_for(browser, "1 photo: 1 done")
    assert browser.execute_script(SENT_FROM_HERE) == 0
    browser.switch_to.window(first)
    assert browser.execute_script(SENT_FROM_HERE) == 1
    wait_for(browser, "1 photo: 1 done")
    browser.close()
    browser.switch_to.window(second)
    (path,) = write(tmp_path, two=astronaut_jpeg(2))
    browser.find_element(By.ID, "upload-files").send_keys(path)
    wait_for(browser, "2 photos: 2 done")
    # Once more where the service was too busy for it.
    assert browser.execute_script(SENT_FROM_HERE) >= 1
    assert len(photos_of(live_app)) == 2
    assert troubles(browser) == []


def test_a_request_whose_answer_is_lost_puts_nothing_in_twice(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    before = {each["id"] for each in added_photos(live_app)}
    sign_in(browser, live_app, "/jobs")
    browser.execute_script(LOSE_AN_ANSWER)
    open_uploads(browser).send_keys("\n".join(write(tmp_path, one=astronaut_jpeg(1), two=astronaut_jpeg(2))))
    wait_for(browser, "2 photos: 2 done")
    asked = browser.execute_script("return window.asked")
    assert (len(asked), len(set(asked))) == (2, 1)
    added = [each for each in added_photos(live_app) if each["id"] not in before]
    assert [each["details"].get("photos") for each in added] == [2]
    assert len(photos_of(live_app)) == 2


def test_photos_that_wait_for_a_worker_cost_little_to_follow(
    browser: webdriver.Chrome, web_app: App, tmp_path: Path
) -> None:
    sign_in(browser, web_app, "/jobs")
    paths = write(tmp_path, **{f"p{number}": tiny(number) for number in range(40)})
    open_uploads(browser).send_keys("\n".join(paths))
    wait_for(browser, "40 photos: 40 under way")
    assert browser.execute_script(SENT_FROM_HERE) == 5, "small photos travel together"
    sizes = wait(browser, lambda b: (b.execute_script(QUESTIONS) or [])[3:], "some questions")
    assert max(sizes) < QUIET_POLL_BYTES
    web_app.start_worker()
    wait_for(browser, "40 photos: 40 nobody found")
    chips = browser.find_elements(By.CSS_SELECTOR, ".upload-filter")
    assert chips == [], "nothing to choose between"
    assert troubles(browser) == []


def test_what_failed_is_tried_again_and_what_is_unsent_can_be_given_up(
    browser: webdriver.Chrome, web_app: App, tmp_path: Path
) -> None:
    sign_in(browser, web_app, "/jobs")
    files = open_uploads(browser)
    files.send_keys("\n".join(write(tmp_path, one=astronaut_jpeg(1))))
    wait_for(browser, "1 photo: 1 under way")
    (photo,) = photos_of(web_app)
    original = web_app.installation.parts.originals.path(photo["sha256"])
    data = original.read_bytes()
    original.unlink()
    web_app.start_worker()
    wait_for(browser, "1 photo: 1 failed")
    assert "The original is no longer on the server." in row(browser, "one.jpg").text
    original.write_bytes(data)
    press(browser, "Retry failed")
    wait_for(browser, "1 photo: 1 done")

    stop_sending(browser)
    files.send_keys("\n".join(write(tmp_path, two=astronaut_jpeg(2), three=astronaut_jpeg(3))))
    wait(browser, lambda b: "No connection" in notices(b), "a word about it")
    row(browser, "two.jpg").find_element(By.CSS_SELECTOR, "[aria-label='Cancel two.jpg']").click()
    wait_for(browser, "2 photos: 1 waiting, 1 done")
    press(browser, "Cancel unsent")
    press(browser, "Cancel them")
    wait_for(browser, "1 photo: 1 done")
    stop_sending(browser, False)
    assert len(photos_of(web_app)) == 1


def test_a_key_that_may_only_upload_is_told_what_it_cannot_see(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    made = live_app.installation.run("keys", "create", "--name", "camera", "--scopes", "write")
    try:
        sign_in(browser, live_app, "/photos", made.stdout.strip())
        paths = write(tmp_path, one=astronaut_jpeg(1), broken=astronaut_jpeg()[:5000])
        open_uploads(browser).send_keys("\n".join(paths))
        wait_for(browser, "2 photos: 1 received, 1 rejected")
        assert "the server has a photo safely" in text(browser)
        assert not browser.find_element(By.ID, "uploads-photos").is_displayed()
        assert browser.execute_script(QUESTIONS) == []
        accessible(browser)
    finally:
        live_app.installation.run("keys", "revoke", "--name", "camera")
    assert troubles(browser) == []


def test_photos_of_another_key_wait_until_somebody_says_what_becomes_of_them(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    made = live_app.installation.run("keys", "create", "--name", "earlier", "--scopes", "read,write")
    try:
        sign_in(browser, live_app, "/jobs", made.stdout.strip())
        stop_sending(browser)
        open_uploads(browser).send_keys("\n".join(write(tmp_path, one=astronaut_jpeg(1))))
        wait(browser, lambda b: "No connection" in notices(b), "a word about it")
        close_uploads(browser)
        stop_sending(browser, False)
        browser.delete_all_cookies()
        sign_in(browser, live_app, "/jobs")
        open_uploads(browser)
        wait(browser, lambda b: "somebody chose with another key" in notices(b), "what was left")
        assert "one.jpg" not in text(browser)
        assert photos_of(live_app) == []
        press(browser, "Send with my key")
        wait_for(browser, "1 photo: 1 done")
    finally:
        live_app.installation.run("keys", "revoke", "--name", "earlier")


def test_the_drawer_can_be_used_by_everybody_on_every_screen(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    sign_in(browser, live_app, "/jobs")
    names = {
        f"{LONG[:150]}": astronaut_jpeg(1),
        "איילין קולינס בחלל": no_face(),
        "cut": astronaut_jpeg()[:5000],
    }
    names |= {f"copy {number}": astronaut_jpeg(number + 2) for number in range(5)}
    open_uploads(browser).send_keys("\n".join(write(tmp_path, **names)))
    wait_for(browser, "8 photos: 6 done, 1 nobody found, 1 rejected")
    for width, dark in ((1440, False), (1440, True), (390, True), (390, False)):
        at(browser, width, dark=dark)
        show(browser, live_app, "/jobs")
        wait_for(browser, "8 photos: 6 done, 1 nobody found, 1 rejected")
        open_uploads(browser)
        wait(browser, lambda b: len(b.find_elements(By.CSS_SELECTOR, ".upload-thumb img")) >= 1, "a picture")
        assert fits(browser)
        accessible(browser)
    small = browser.execute_script(
        "return [...document.querySelectorAll('#uploads-drawer :is(a, button, label.button)')]"
        ".filter((each) => each.checkVisibility()).map((each) => each.getBoundingClientRect())"
        ".filter((box) => box.height < 44 || box.width < 44).length"
    )
    assert small == 0
    # The files of one state alone, by keyboard.
    chip = browser.find_element(By.CSS_SELECTOR, ".upload-filter[data-state=rejected]")
    chip.send_keys(Keys.ENTER)
    shown = [each for each in browser.find_elements(By.CSS_SELECTOR, ".upload-row") if each.is_displayed()]
    assert [each.find_element(By.TAG_NAME, "bdi").text for each in shown] == ["cut.jpg"]
    assert troubles(browser) == []
