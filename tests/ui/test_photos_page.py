"""The page at /photos in a real browser, on a real pipeline: photos, the viewer over them, uploads."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import requests
from face_pipeline.parts import Parts
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select
from sqlalchemy import text as sql

from tests.app import stock
from tests.installation import App
from tests.photos import astronaut, astronaut_jpeg, jpeg, no_face
from tests.ui.driving import (
    accessible,
    assert_box_is_around_the_face,
    at,
    close_uploads,
    fits,
    focus_with_tab,
    needs_chromium,
    open_uploads,
    ready,
    show,
    sideways,
    sign_in,
    text,
    troubles,
    wait,
    write,
)
from tests.ui.of_photos import cards, chosen, dialog, do, listed, pick, press, several, two_faces, viewed

pytestmark = [needs_chromium, pytest.mark.one_worker]

PAGE_BYTES = 400 * 1000


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
    made = web_app.installation.run("keys", "create", "--name", "reader of photos", "--scopes", "read")
    try:
        sign_in(browser, web_app, "/photos", made.stdout.strip())
        wait(browser, lambda b: "may look and search" in text(b), "the word about the key's scope")
        assert not browser.find_elements(By.ID, "upload-files")
        assert not browser.find_elements(By.ID, "open-uploads")
    finally:
        web_app.installation.run("keys", "revoke", "--name", "reader of photos")
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


def test_the_photos_of_one_upload_are_shown_alone_until_somebody_wants_all(
    browser: webdriver.Chrome, live_app: App
) -> None:
    first, second = (live_app.upload((f"{n}.jpg", astronaut_jpeg(n))).json() for n in (1, 2))
    for each in (first, second):
        live_app.wait_finished(each["batch_id"])
    (one,), (other,) = ([each["id"] for each in answer["photos"]] for answer in (first, second))
    sign_in(browser, live_app, f"/photos?batch={second['batch_id']}")
    listed(browser, [other])
    assert "Only the photos of one upload are shown." in text(browser)
    browser.find_element(By.ID, "library-whole").click()
    listed(browser, [other, one])
    assert "Only the photos of one upload" not in text(browser)
    browser.back()
    listed(browser, [other])
    assert troubles(browser) == []


def test_filters_stand_in_the_address_and_back_takes_them_away(
    browser: webdriver.Chrome, live_app: App
) -> None:
    body = live_app.upload(("anna.jpg", astronaut_jpeg()), ("berta.jpg", no_face())).json()
    live_app.wait_finished(body["batch_id"])
    face, empty = (each["id"] for each in body["photos"])
    sign_in(browser, live_app, "/photos")
    wait(browser, lambda b: {*cards(b)} == {face, empty}, "both")
    assert "2 photos" in text(browser)
    Select(browser.find_element(By.ID, "library-faces")).select_by_value("none")
    listed(browser, [empty])
    assert browser.current_url.endswith("/photos?faces=none")
    browser.find_element(By.ID, "library-filename").send_keys("ANN")
    wait(browser, lambda b: "No photo fits" in text(b), "that nothing fits")
    assert browser.current_url.endswith("filename=ANN&faces=none")
    browser.back()
    listed(browser, [empty])
    browser.back()
    wait(browser, lambda b: {*cards(b)} == {face, empty}, "both again")
    assert Select(browser.find_element(By.ID, "library-faces")).first_selected_option.text == "Any"

    # A person by their id: the name stands in no address.
    found = live_app.get(f"/api/v1/photos/{face}").json()["faces"][0]["id"]
    given = live_app.request("PATCH", f"/api/v1/faces/{found}", json={"person": "Eileen Collins"}).json()
    person = browser.find_element(By.ID, "library-person")
    person.send_keys("eil")
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "[role=option]"), "the suggestion").pop().click()
    listed(browser, [face])
    assert browser.current_url.endswith(f"person_id={given['person']['id']}")
    browser.refresh()
    ready(browser)
    listed(browser, [face])
    wait(
        browser,
        lambda b: b.find_element(By.ID, "library-person").get_attribute("value") == "Eileen Collins",
        "who",
    )
    show(browser, live_app, "/photos?from=2031-01-01&state=nonsense&sort=oldest")
    wait(browser, lambda b: "No photo fits" in text(b), "nothing of that day")
    browser.find_element(By.ID, "library-clear").click()
    wait(browser, lambda b: {*cards(b)} == {face, empty}, "both again")
    assert troubles(browser) == []


def test_photos_are_chosen_by_mouse_and_keys_and_deleted_with_a_receipt(
    browser: webdriver.Chrome, live_app: App
) -> None:
    ids = several(live_app, 6)
    sign_in(browser, live_app, "/photos")
    listed(browser, ids)
    pick(browser, ids[1])
    pick(browser, ids[3], shift=True)
    assert chosen(browser) == ids[1:4]
    press(browser, Keys.ESCAPE)
    assert chosen(browser) == []
    press(browser, Keys.HOME, "x")
    ActionChains(browser).key_down(Keys.SHIFT).send_keys(Keys.ARROW_RIGHT * 2, Keys.ARROW_LEFT).key_up(
        Keys.SHIFT
    ).perform()
    assert chosen(browser) == ids[:2], "a range grows and shrinks"
    ActionChains(browser).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).perform()
    assert chosen(browser) == ids
    assert "6 chosen" in browser.find_element(By.ID, "library-bar").text
    press(browser, Keys.ESCAPE)
    pick(browser, ids[0])
    pick(browser, ids[5])
    do(browser, "Delete")
    question = dialog(browser)
    assert "Delete 2 photos?" in question.text
    assert "2 faces" in question.text
    assert len(live_app.get("/api/v1/photos").json()["photos"]) == 6, "nothing is gone before the answer"
    question.find_element(By.CSS_SELECTOR, ".danger").click()
    listed(browser, ids[1:5])
    assert "2 photos are deleted." in text(browser)
    browser.find_element(By.XPATH, "//button[text()='Receipt']").click()
    assert "2 files" in dialog(browser).text
    assert [each["id"] for each in live_app.get("/api/v1/photos").json()["photos"]] == ids[1:5]
    assert troubles(browser) == []


def test_many_are_named_and_moved_and_it_is_said_with_which_nothing_was_done(
    browser: webdriver.Chrome, live_app: App
) -> None:
    live_app.request("POST", "/api/v1/collections", json={"name": "archive"})
    several(live_app, 2)
    body = live_app.upload(("pair.jpg", two_faces())).json()
    live_app.wait_finished(body["batch_id"])
    ids = [each["id"] for each in live_app.get("/api/v1/photos").json()["photos"]]
    sign_in(browser, live_app, "/photos")
    listed(browser, ids)

    def of_them() -> list[list[str | None]]:
        each = [live_app.get(f"/api/v1/photos/{photo}").json()["faces"] for photo in ids]
        return [[(face["person"] or {}).get("name") for face in faces] for faces in each]

    ActionChains(browser).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).perform()
    do(browser, "Name")
    name = "איילין " * 20
    dialog(browser).find_element(By.TAG_NAME, "input").send_keys(name, Keys.ENTER)
    wait(browser, lambda b: "several faces without a name" in text(b), "why the pair is left as it is")
    assert "pair.jpg" in dialog(browser).text
    assert of_them() == [[None, None], [name.strip()], [name.strip()]]
    press(browser, Keys.ESCAPE)
    wait(browser, lambda b: "2 faces are named" in text(b), "what was done")
    browser.find_element(By.XPATH, "//button[text()='Undo']").click()
    wait(browser, lambda _: of_them() == [[None, None], [None], [None]], "the names to be gone")

    wait(browser, lambda b: cards(b) == ids, "the photos")
    pick(browser, ids[1])
    do(browser, "Move")
    asked = dialog(browser)
    asked.find_element(By.TAG_NAME, "input").send_keys("nowhere", Keys.ENTER)
    wait(browser, lambda _: "no such collection" in asked.text, "that there is none")
    field = asked.find_element(By.TAG_NAME, "input")
    field.clear()
    field.send_keys("archive", Keys.ENTER)
    wait(browser, lambda b: "1 photo is in archive now." in text(b), "the photo to be there")
    assert live_app.get(f"/api/v1/photos/{ids[1]}").json()["collection"] == "archive"
    browser.find_element(By.XPATH, "//button[text()='Undo']").click()
    wait(
        browser,
        lambda _: live_app.get(f"/api/v1/photos/{ids[1]}").json()["collection"] != "archive",
        "it back",
    )
    assert troubles(browser) == []


def test_what_the_key_may_not_do_is_not_shown(browser: webdriver.Chrome, live_app: App) -> None:
    (photo,) = several(live_app, 1)
    made = live_app.installation.run("keys", "create", "--name", "looks at photos", "--scopes", "read")
    key = made.stdout.strip()
    try:
        sign_in(browser, live_app, "/photos", key)
        listed(browser, [photo])
        assert browser.find_elements(By.CSS_SELECTOR, ".pick") == []
        ActionChains(browser).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL).perform()
        assert not browser.find_element(By.ID, "library-bar").is_displayed()
        browser.find_element(By.CSS_SELECTOR, ".photo-card").click()
        viewed(browser, photo)
        browser.find_element(By.CSS_SELECTOR, "#viewer button.face").click()
        shown = browser.find_element(By.ID, "viewer").text
        assert "Search by this face" in shown
        assert not {"Save", "Not this person", "Delete this face"} & set(shown.splitlines())
        assert browser.find_elements(By.ID, "viewer-delete") == []
        accessible(browser, within="#viewer")
    finally:
        live_app.installation.run("keys", "revoke", "--name", "looks at photos")
    assert troubles(browser) == []


def test_a_hundred_thousand_photos_take_no_more_of_the_page_than_some(
    browser: webdriver.Chrome, live_app: App
) -> None:
    (photo,) = several(live_app, 1)
    with live_app.installation.parts.database.transaction() as session:
        # As many as take some pages; failed, so that there are no pictures to ask for.
        session.execute(
            sql(
                "INSERT INTO photos SELECT (jsonb_populate_record(p, jsonb_build_object("
                " 'id', gen_random_uuid(), 'sha256', md5(n::text) || md5(n::text), 'filename', 'copy ' || n,"
                " 'state', 'failed', 'reason_code', 'engine_error', 'reason_message', 'x',"
                " 'received_at', p.received_at - make_interval(mins => n)))).*"
                " FROM photos p, generate_series(1, 1500) n WHERE p.id = :id"
            ),
            {"id": photo},
        )
    at(browser, 390)
    sign_in(browser, live_app, "/photos")
    wait(browser, lambda b: len(cards(b)) > 1, "the photos")
    most = 0
    last = "document.body.textContent.includes('copy 1500')"
    height = "document.documentElement.scrollHeight"
    for _ in range(100):
        before = browser.execute_script(f"scrollTo(0, {height}); return {height}")
        grown = f"return {height} > {before} || {last}"
        wait(browser, lambda b, grown=grown: b.execute_script(grown), "more of them")
        most = max(most, len(cards(browser)))
        if browser.execute_script(f"return {last}"):
            break
    assert browser.execute_script(f"return {last}"), "the last one can be reached"
    assert most < 60
    wait(browser, lambda b: "1,501 photos" in text(b), "their number")
    browser.find_elements(By.CSS_SELECTOR, ".photo-card")[-1].send_keys(Keys.HOME)
    wait(browser, lambda b: photo in cards(b), "the first one again")

    def copy(number: int) -> str:
        found = live_app.get("/api/v1/photos", params={"filename": f"copy {number}"}).json()["photos"]
        return next(str(each["id"]) for each in found if each["filename"] == f"copy {number}")

    # Far behind what is loaded, a link's photo has its neighbours all the same.
    show(browser, live_app, f"/photos/{copy(700)}")
    title = browser.find_element(By.ID, "viewer-title")
    wait(browser, lambda _: title.text == "copy 700", "the photo")
    press(browser, Keys.ARROW_RIGHT)
    wait(browser, lambda b: copy(701) in b.current_url, "the photo behind")
    assert troubles(browser) == []


def test_a_page_of_24_large_photos_is_small(browser: webdriver.Chrome, live_app: App) -> None:
    large = astronaut().resize((2048, 2048))
    photos = [(f"large {each}.jpg", jpeg(large, comment=str(each).encode())) for each in range(24)]
    assert min(len(data) for _, data in photos) > 500_000
    for some in (photos[:8], photos[8:16], photos[16:]):
        live_app.wait_finished(live_app.upload(*some).json()["batch_id"], seconds=120)
    at(browser, 1440, height=1400)
    shown = (
        "const all = [...document.querySelectorAll('.photo img')];"
        "return all.length === 24 && all.every((each) => each.complete && each.naturalWidth)"
    )
    sign_in(browser, live_app, "/photos")
    wait(browser, lambda b: b.execute_script(shown), "all pictures")
    browser.get_log("performance")
    # As at a first visit.
    browser.execute_cdp_cmd("Network.clearBrowserCache", {})
    show(browser, live_app, "/photos")
    wait(browser, lambda b: b.execute_script(shown), "all pictures once more")
    assert sum(_sent(browser)) < PAGE_BYTES
    assert troubles(browser) == []


def _sent(browser: webdriver.Chrome) -> list[int]:
    """Bytes of each answer, by the browser's log; pages, modules and JSON as nginx compresses them."""
    told = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    kinds = {
        each["params"]["requestId"]: each["params"]["response"]
        for each in told
        if each["method"] == "Network.responseReceived"
    }
    sizes = []
    cookies = {each["name"]: each["value"] for each in browser.get_cookies()}
    for each in told:
        if each["method"] != "Network.loadingFinished" or each["params"]["requestId"] not in kinds:
            continue
        answer = kinds[each["params"]["requestId"]]
        size = int(each["params"]["encodedDataLength"])
        if not answer["mimeType"].startswith("image/") and answer["status"] == 200 and size:
            size = len(gzip.compress(requests.get(answer["url"], cookies=cookies, timeout=30).content))
        sizes.append(size)
    assert len(sizes) > 24
    return sizes


def test_a_picture_that_is_not_ready_is_a_clock_and_comes_once_a_worker_runs(
    browser: webdriver.Chrome, hasty_app: App, parts: Parts
) -> None:
    stock.photo(parts, None, data=astronaut_jpeg())
    sign_in(browser, hasty_app, "/photos")
    place = ".photo-frame > "
    clock = wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, f"{place}.not-ready"), "the clock")[0]
    assert "not ready" in clock.get_attribute("aria-label")
    accessible(browser)
    hasty_app.start_worker()
    image = wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, f"{place}img"), "the picture")[0]
    wait(browser, lambda _: image.get_property("naturalWidth") == 320, "it to be there")
    assert browser.find_elements(By.CSS_SELECTOR, ".not-ready") == []
    assert troubles(browser) == []
