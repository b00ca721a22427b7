"""The page at /search in a real browser, on a real pipeline."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image, ImageOps
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from sqlalchemy import text as sql

from tests.installation import App
from tests.photos import LABELLED, astronaut, astronaut_again, astronaut_jpeg, jpeg, labelled, no_face
from tests.ui.driving import (
    accessible,
    at,
    fits,
    focus_with_tab,
    needs_chromium,
    ready,
    show,
    sideways,
    sign_in,
    started,
    text,
    troubles,
    wait,
    write,
)

pytestmark = [needs_chromium, pytest.mark.one_worker]

ENOUGH = "Maximiliana " * 16 + "Herzogin"
SMALL = """
return [...document.querySelectorAll("main button, main summary, main a, main label.button")]
  .filter((each) => each.checkVisibility() && !each.matches(".link, p a, h2 a"))
  .map((each) => [each.textContent.trim(), each.getBoundingClientRect()])
  .filter(([, box]) => box.height < 43.9).map(([name, box]) => `${name} ${box.height}`);
"""


def give(app: App, *photos: bytes, **form: str) -> list[dict[str, Any]]:
    """Upload the photos and wait; returns them with their faces."""
    files = [(f"{form.get('collection', 'x')} {number}.jpg", data) for number, data in enumerate(photos)]
    body = app.upload(*files, **form).json()
    app.wait_finished(body["batch_id"])
    return [app.get(f"/api/v1/photos/{photo['id']}").json() for photo in body["photos"]]


def two_faces() -> bytes:
    """A photo with a large face on the left and a smaller one on the right."""
    canvas = Image.new("RGB", (900, 512), "grey")
    canvas.paste(astronaut(), (0, 0))
    canvas.paste(ImageOps.mirror(astronaut()).resize((380, 380)), (520, 100))
    return jpeg(canvas)


def search_with(browser: webdriver.Chrome, path: str) -> None:
    browser.find_element(By.ID, "search-file").send_keys(path)


def rows(browser: webdriver.Chrome) -> list[WebElement]:
    return browser.find_elements(By.CSS_SELECTOR, "#search-result .match-row")


def found(browser: webdriver.Chrome) -> list[WebElement]:
    done = "#search-result:not([aria-busy]) .match-row"
    listed: list[WebElement] = wait(
        browser, lambda b: b.find_elements(By.CSS_SELECTOR, done), "what was found"
    )
    return listed


def says(browser: webdriver.Chrome, words: str) -> None:
    wait(browser, lambda b: words in text(b), f"the words: {words}")


def test_a_search_shows_the_match_beside_the_photo(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    body = live_app.upload(("a.jpg", astronaut_jpeg()), person="Eileen Collins").json()
    live_app.wait_finished(body["batch_id"])
    sign_in(browser, live_app, "/search")
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


def test_a_search_names_each_person_once_and_says_of_how_many_faces(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    for name, numbers in (("Eileen Collins", range(6)), ("איילין קולינס", range(6, 7))):
        body = live_app.upload(*((f"{n}.jpg", astronaut_jpeg(n)) for n in numbers), person=name).json()
        live_app.wait_finished(body["batch_id"])
    sign_in(browser, live_app, "/search")
    (known,) = write(tmp_path, known=astronaut_again())
    browser.find_element(By.ID, "search-file").send_keys(known)
    result = browser.find_element(By.ID, "search-result")
    wait(browser, lambda _: "Eileen Collins" in result.text, "the person's name")
    names = result.find_elements(By.CSS_SELECTOR, "a.match bdi.person")
    assert len(names) == 2, "each person once; a name that turns the direction of text stands apart"
    assert "best of 6 matching faces" in result.text
    assert troubles(browser) == []


@pytest.mark.parametrize("form", ["WEBP", "HEIF"])
def test_a_searched_photo_that_browsers_show_differently_has_its_box_around_the_face(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path, form: str
) -> None:
    path = tmp_path / f"query.{form.lower()}"
    path.write_bytes(sideways(form))
    ((x1, y1, x2, y2),) = (face["bbox"] for face in live_app.search(path.read_bytes()).json()["faces"])
    sign_in(browser, live_app, "/search")
    browser.find_element(By.ID, "search-file").send_keys(str(path))
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "#search-result rect.box"), "a box")
    x, y, width, height, shown = browser.execute_script(
        """
        const box = document.querySelector("#search-result rect.box").getBoundingClientRect();
        const element = document.querySelector("#search-result .boxed-image");
        const image = element.getBoundingClientRect();
        return [(box.x - image.x) / image.width, (box.y - image.y) / image.height,
                box.width / image.width, box.height / image.height, element.naturalWidth];
        """
    )
    assert shown == 512
    shares = (x1 / 512, y1 / 400, x2 / 512, y2 / 400)
    assert (x, y, x + width, y + height) == pytest.approx(shares, abs=0.01)
    assert troubles(browser) == []


def test_what_a_search_found_can_be_read_by_everybody(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    body = live_app.upload(("a.jpg", astronaut_jpeg()), person="Eileen Collins").json()
    live_app.wait_finished(body["batch_id"])
    sign_in(browser, live_app, "/search")
    (known,) = write(tmp_path, known=astronaut_again())
    browser.find_element(By.ID, "search-file").send_keys(known)
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "a.match"), "the match")
    for width, dark in ((1440, True), (390, False)):
        at(browser, width, dark=dark)
        assert fits(browser)
        accessible(browser)
    assert troubles(browser) == []


def test_a_match_says_how_sure_it_is_with_the_number_and_what_that_is(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    give(live_app, astronaut_jpeg(), person="Eileen Collins")
    give(live_app, *(astronaut_jpeg(number) for number in range(1, 4)))
    answer = live_app.search(astronaut_again(), group_by="person").json()
    best = next(match for match in answer["faces"][0]["matches"] if match["person_id"])
    sign_in(browser, live_app, "/search")
    search_with(browser, *write(tmp_path, known=astronaut_again()))
    (row, *_) = found(browser)
    assert best["certainty"] in row.text
    assert f"{best['similarity']:.2f}" in row.text
    assert "%" not in row.text
    result = browser.find_element(By.ID, "search-result").text
    assert "not a probability" in result
    assert f"From {answer['thresholds']['sure']:.2f} on" in result
    assert "Nothing of this photo is kept" in result
    # Nobody's faces are one line, however many there are.
    visible = [each for each in rows(browser) if each.is_displayed()]
    assert len(visible) == 1
    browser.find_element(By.CSS_SELECTOR, "#search-result .others > summary").click()
    assert len([each for each in rows(browser) if each.is_displayed()]) == 4
    # The photo of a match opens over the page, and what was found is there behind it.
    row.find_element(By.CSS_SELECTOR, "a.match").click()
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "#viewer[open] .boxed-image"), "the viewer")
    browser.back()
    wait(browser, lambda b: not b.find_elements(By.CSS_SELECTOR, "#viewer[open]"), "the viewer to close")
    assert rows(browser)
    assert troubles(browser) == []


def test_each_face_of_a_photo_is_chosen_by_keys_and_by_its_box(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    give(live_app, astronaut_jpeg(), person="Eileen Collins")
    faces = live_app.search(two_faces()).json()["faces"]
    assert len(faces) == 2
    sign_in(browser, live_app, "/search")
    search_with(browser, *write(tmp_path, two=two_faces()))
    found(browser)
    first, second = browser.find_elements(By.CSS_SELECTOR, "#search-result [role=tab]")
    wait(browser, lambda _: second.find_elements(By.TAG_NAME, "canvas"), "the faces' pictures")
    panel = browser.find_element(By.ID, "found")
    assert f"quality {faces[0]['quality'] * 100:.0f}" in panel.text.replace("\u202f", " ")
    focus_with_tab(browser, "#search-result [role=tab]").send_keys(Keys.ARROW_RIGHT)
    assert second.get_attribute("aria-selected") == "true"
    assert browser.switch_to.active_element == second
    assert f"quality {faces[1]['quality'] * 100:.0f}" in panel.text.replace("\u202f", " ")
    assert browser.find_elements(By.CSS_SELECTOR, "#search-result .face-box.marked[data-face='1']")
    browser.find_element(By.CSS_SELECTOR, "#search-result .face-box[data-face='0'] .box").click()
    assert first.get_attribute("aria-selected") == "true"
    accessible(browser)
    assert troubles(browser) == []


def test_where_nobody_is_found_the_page_says_where_it_looked_and_what_to_try(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    give(live_app, astronaut_jpeg(), person="Eileen Collins", collection="staff")
    give(live_app, no_face(), collection="visitors")
    sign_in(browser, live_app, "/search")
    browser.execute_script("localStorage.setItem('face-collection', 'visitors')")
    show(browser, live_app, "/search")
    search_with(browser, *write(tmp_path, known=astronaut_again()))
    says(browser, "Nobody found.")
    result = browser.find_element(By.ID, "search-result").text
    assert "Looked in visitors: 0 faces, none with a similarity of" in result
    assert "no faces there yet" in result
    at(browser, 390)
    assert fits(browser)
    accessible(browser)
    at(browser, 1440)
    browser.find_element(By.ID, "search-everywhere").click()
    (row,) = found(browser)
    assert "Eileen Collins" in row.text
    assert "staff" in row.text
    assert "collection=staff&collection=visitors" in browser.current_url
    # On the page, one of them is enough; it is in the address, and still there after loading anew.
    browser.find_element(By.CSS_SELECTOR, "#search-where > summary").click()
    tick = "#search-where-list input[value=visitors]"
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, tick), "the collections")
    browser.find_element(By.CSS_SELECTOR, tick).click()
    wait(browser, lambda b: b.current_url.endswith("/search?collection=staff"), "the address")
    says(browser, "Looked in staff: 1 face")
    browser.refresh()
    ready(browser)
    assert browser.find_element(By.ID, "search-where-value").text == "staff"
    assert troubles(browser) == []


def test_more_collections_than_a_call_takes_are_all_looked_in(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    for number in range(12):
        made = live_app.request("POST", "/api/v1/collections", json={"name": f"c{number:02}"})
        assert made.status_code == 201
    give(live_app, astronaut_jpeg(), person="Eileen Collins", collection="c11")
    with live_app.installation.parts.database.transaction() as session:
        session.execute(sql("UPDATE collections SET contract_id = 'of another model' WHERE name = 'c03'"))
    sign_in(browser, live_app, "/search")
    search_with(browser, *write(tmp_path, known=astronaut_again()))
    says(browser, "Looked in 11 collections: 1 face")
    (row,) = found(browser)
    assert "c11" in row.text
    assert "or it is gone: c03" in browser.find_element(By.ID, "search-result").text
    # Among many, a name is found by typing.
    browser.find_element(By.CSS_SELECTOR, "#search-where > summary").click()
    sieve = "#search-where-list input[type=search]"
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, sieve), "the field").pop().send_keys("11")
    shown = browser.find_elements(By.CSS_SELECTOR, ".where-names .check")
    assert [each.text for each in shown if each.is_displayed()] == ["c11"]
    assert troubles(browser) == []


def test_less_certain_matches_are_shown_where_somebody_asks_for_them(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    labelled()
    give(live_app, (LABELLED / "obama_1.jpg").read_bytes(), person="Obama")
    sign_in(browser, live_app, "/search")
    search_with(browser, *write(tmp_path, other=(LABELLED / "biden_1.jpg").read_bytes()))
    says(browser, "Nobody found.")
    browser.find_element(By.ID, "search-weaker").click()
    (row,) = found(browser)
    assert "unsure" in row.text
    assert "threshold=" in browser.current_url
    browser.find_element(By.ID, "search-threshold-reset").click()
    says(browser, "Nobody found.")
    # A face of too little quality is told as such.
    browser.find_element(By.CSS_SELECTOR, "#search-more > summary").click()
    quality = browser.find_element(By.ID, "search-quality")
    quality.send_keys(Keys.END)
    says(browser, "below the 1.00 that you ask for")
    assert troubles(browser) == []


def test_a_stored_face_is_searched_by_its_address_and_back_leads_from_one_to_the_other(
    browser: webdriver.Chrome, live_app: App
) -> None:
    (one,) = give(live_app, astronaut_jpeg(1), person="Eileen Collins")
    (two,) = give(live_app, astronaut_again(), person=ENOUGH)
    (face,), (other,) = one["faces"], two["faces"]
    sign_in(browser, live_app, f"/search?face={face['id']}")
    (row,) = found(browser)
    assert ENOUGH.split()[0] in row.text
    assert "A face of Eileen Collins" in browser.find_element(By.ID, "search-result").text
    for width, dark in ((390, True), (1440, False)):
        at(browser, width, dark=dark)
        assert fits(browser)
        accessible(browser)
        assert browser.execute_script(SMALL) == []
    row.find_element(By.CSS_SELECTOR, f"a[href='/search?face={other['id']}']").click()
    wait(browser, lambda b: b.current_url.endswith(other["id"]), "the other face's address")
    says(browser, "A face of Maximiliana")
    browser.back()
    ready(browser)
    wait(browser, lambda b: b.current_url.endswith(face["id"]), "the first face's address")
    (row,) = found(browser)
    assert ENOUGH.split()[0] in row.text
    # The viewer is closed by its button: the result is there, and so it is after the person's page.
    row.find_element(By.CSS_SELECTOR, "a.match").click()
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "#viewer[open]"), "the viewer").pop()
    browser.find_element(By.ID, "viewer-close").click()
    wait(browser, lambda b: b.current_url.endswith(face["id"]), "the face's address")
    assert len(rows(browser)) == 1
    show(browser, live_app, "/search?face=00000000-0000-4000-8000-000000000000")
    says(browser, "This face does not exist")
    assert troubles(browser) == []


def test_back_shows_what_a_photo_found_and_the_photo_itself_is_nowhere(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    give(live_app, astronaut_jpeg(), person="Eileen Collins")
    sign_in(browser, live_app, "/search")
    known, nobody = write(tmp_path, known=astronaut_again(), nobody=no_face())
    search_with(browser, known)
    found(browser)
    search_with(browser, nobody)
    says(browser, "No face found")
    browser.back()
    (row,) = found(browser)
    assert browser.find_elements(By.CSS_SELECTOR, "#search-result img.boxed-image[src^='blob:']")
    row.find_element(By.CSS_SELECTOR, "a[href^='/people/']").click()
    wait(browser, lambda b: "/people/" in b.current_url, "the person's page")
    browser.back()
    ready(browser)
    (row,) = found(browser)
    assert "Eileen Collins" in row.text
    says(browser, "The photo is no longer here")
    kept = browser.execute_async_script(
        "const done = arguments[0];"
        "indexedDB.databases().then((bases) => done([Object.keys(localStorage), Object.keys(sessionStorage),"
        " bases.map((each) => each.name), JSON.stringify(history.state)]))"
    )
    assert not any("search" in name for names in kept[:3] for name in names)
    assert "data:" not in kept[3]
    assert len(kept[3]) < 3000
    assert live_app.get("/api/v1/photos").json()["photos"][0]["filename"] == "x 0.jpg"
    assert troubles(browser) == []


def test_a_pasted_picture_is_searched_with(browser: webdriver.Chrome, live_app: App) -> None:
    give(live_app, astronaut_jpeg(), person="Eileen Collins")
    sign_in(browser, live_app, "/search")
    paste = """
        const bytes = Uint8Array.from(atob(arguments[0]), (each) => each.charCodeAt(0));
        const clipboardData = new DataTransfer();
        if (bytes.length) clipboardData.items.add(new File([bytes], "image.png", {type: "image/jpeg"}));
        else clipboardData.items.add("words", "text/plain");
        document.body.dispatchEvent(new ClipboardEvent("paste", {clipboardData, bubbles: true}));
    """
    browser.execute_script(paste, "")
    says(browser, "no picture on the clipboard")
    browser.execute_script(paste, base64.b64encode(astronaut_again()).decode())
    (row,) = found(browser)
    assert "Eileen Collins" in row.text
    assert troubles(browser) == []


def test_a_picture_of_the_camera_is_searched_with(live_app: App, tmp_path: Path) -> None:
    give(live_app, astronaut_jpeg(), person="Eileen Collins")
    # Motion JPEG is one JPEG after another.
    (tmp_path / "camera.mjpeg").write_bytes(jpeg(astronaut().resize((640, 640))) * 10)
    options = (
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={tmp_path / 'camera.mjpeg'}",
    )
    with started(tmp_path / "profile", *options) as browser:
        sign_in(browser, live_app, "/search")
        camera = browser.find_element(By.CSS_SELECTOR, "#search-zone [data-source=camera]")
        allow = {"permission": {"name": "camera"}, "setting": "denied", "origin": live_app.url}
        browser.execute_cdp_cmd("Browser.setPermission", allow)
        camera.click()
        says(browser, "The camera is not allowed")
        accessible(browser, within="#camera-dialog")
        ActionChains(browser).send_keys(Keys.ESCAPE).perform()
        wait(browser, lambda b: not b.find_elements(By.ID, "camera-dialog"), "the dialog to close")
        assert browser.switch_to.active_element == camera
        browser.execute_cdp_cmd("Browser.setPermission", {**allow, "setting": "granted"})
        camera.click()
        wait(browser, lambda b: b.find_elements(By.ID, "camera-take"), "the camera").pop()
        at(browser, 390)
        assert fits(browser)
        accessible(browser, within="#camera-dialog")
        wait(browser, lambda b: b.execute_script("return document.querySelector('video').videoWidth"), "it")
        browser.execute_script("window.seen = document.querySelector('video').srcObject.getTracks()[0]")
        browser.switch_to.active_element.send_keys(Keys.ENTER)
        (row,) = found(browser)
        assert "Eileen Collins" in row.text
        assert browser.execute_script("return window.seen.readyState") == "ended", "the camera is off"
        assert troubles(browser) == []


def test_without_a_camera_and_on_an_insecure_page_the_camera_says_so(
    browser: webdriver.Chrome, web_app: App
) -> None:
    sign_in(browser, web_app, "/search")
    camera = browser.find_element(By.CSS_SELECTOR, "#search-zone [data-source=camera]")
    camera.click()
    says(browser, "No camera found")
    ActionChains(browser).send_keys(Keys.ESCAPE).perform()
    # As browsers are on a page that came by http.
    browser.execute_script(
        "Object.defineProperty(navigator, 'mediaDevices', {value: undefined});"
        "Object.defineProperty(window, 'isSecureContext', {value: false})"
    )
    camera.click()
    says(browser, "Open this page by https")
    assert troubles(browser) == []


def test_only_the_search_page_may_use_the_camera(web_app: App) -> None:
    with requests.Session() as session:
        key = {"api_key": web_app.api_key}
        assert session.post(f"{web_app.url}/session", json=key, timeout=30).ok
        for path, camera in (("/search", "camera=(self)"), ("/photos", "camera=()"), ("/", "camera=()")):
            answer = session.get(web_app.url + path, timeout=30)
            assert answer.status_code == 200
            assert camera in answer.headers["Permissions-Policy"], path


def test_a_searched_face_gets_a_name(browser: webdriver.Chrome, live_app: App, tmp_path: Path) -> None:
    sign_in(browser, live_app, "/search")
    one, two = write(tmp_path, one=astronaut_again(), two=two_faces())

    def name(words: str) -> None:
        wait(browser, lambda b: b.find_elements(By.ID, "search-name"), "the button").pop().click()
        field = wait(browser, lambda b: b.find_element(By.ID, "name-person"), "the field for the name")
        field.clear()
        field.send_keys(words, Keys.ENTER)
        says(browser, f"is kept, as {words}")

    search_with(browser, one)
    says(browser, "Nobody found.")
    name("Eileen Collins")
    live_app.wait_finished(live_app.get("/api/v1/batches").json()["batches"][0]["id"])
    assert {each["name"] for each in live_app.get("/api/v1/persons").json()["persons"]} == {"Eileen Collins"}
    # Of two faces, the one that was chosen gets it, and the other none.
    search_with(browser, two)
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "#search-result [role=tab]"), "the faces")
    browser.find_elements(By.CSS_SELECTOR, "#search-result [role=tab]")[1].click()
    wanted = live_app.search(two_faces()).json()["faces"][1]["bbox"]
    name("אילין")
    listed = live_app.get("/api/v1/photos").json()["photos"]
    photo = live_app.get(f"/api/v1/photos/{listed[0]['id']}").json()
    names = {tuple(face["bbox"]): (face["person"] or {}).get("name") for face in photo["faces"]}
    assert names == {tuple(wanted): "אילין", **{box: None for box in names if box != tuple(wanted)}}
    assert len(names) == 2
    assert troubles(browser) == []


def test_a_stored_face_gets_a_name_which_can_be_undone(browser: webdriver.Chrome, live_app: App) -> None:
    (photo,) = give(live_app, astronaut_jpeg())
    face = f"/api/v1/faces/{photo['faces'][0]['id']}"
    sign_in(browser, live_app, f"/search?face={photo['faces'][0]['id']}")
    says(browser, "It is nobody’s yet")
    wait(browser, lambda b: b.find_elements(By.ID, "search-name"), "the button").pop().click()
    field = wait(browser, lambda b: b.find_element(By.ID, "name-person"), "the field for the name")
    field.send_keys("Eileen Collins", Keys.ENTER)
    says(browser, "This is Eileen Collins now")
    says(browser, "A face of Eileen Collins")
    assert live_app.get(face).json()["person"]["name"] == "Eileen Collins"
    browser.find_element(By.CSS_SELECTOR, ".message .link").click()
    says(browser, "It is nobody’s yet")
    assert live_app.get(face).json()["person"] is None
    assert troubles(browser) == []


def test_a_key_that_may_only_read_searches_and_is_not_offered_to_name(
    browser: webdriver.Chrome, live_app: App
) -> None:
    (photo, _) = give(live_app, astronaut_jpeg(), astronaut_again())
    made = live_app.installation.run("keys", "create", "--name", "search reader", "--scopes", "read")
    key = made.stdout.split()[-1]
    sign_in(browser, live_app, f"/search?face={photo['faces'][0]['id']}", key=key)
    assert found(browser)
    assert not browser.find_elements(By.ID, "search-name")
    assert troubles(browser) == []


def test_two_photos_are_compared_and_another_face_of_one_can_be_chosen(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    labelled()
    give(live_app, (LABELLED / "biden_1.jpg").read_bytes(), person="Biden")
    group = (LABELLED / "obama_and_biden.jpg").read_bytes()
    sign_in(browser, live_app, "/search")
    browser.find_element(By.ID, "tab-compare").click()
    one, other = write(tmp_path, one=(LABELLED / "obama_2.jpg").read_bytes(), other=group)
    browser.find_element(By.ID, "compare-one-file").send_keys(one)
    browser.find_element(By.ID, "compare-other-file").send_keys(other)
    # Their faces are almost of one size: which of them is the largest depends on a pixel.
    detected = live_app.request("POST", "/api/v1/detect", files={"photo": group}).json()["faces"]
    from_the_left = sorted(range(len(detected)), key=lambda index: detected[index]["bbox"][0])
    biden, obama = from_the_left[:2]
    photos = {"photo": Path(one).read_bytes(), "other": Path(other).read_bytes()}
    answer = live_app.request("POST", "/api/v1/verify", files=photos).json()
    says(browser, f"Similarity {answer['similarity']:.2f}")
    verdict = browser.find_element(By.ID, "compare-verdict")
    assert f"{answer['threshold']:.2f}" in verdict.text
    assert "not a probability" in verdict.text
    choice = browser.find_elements(By.CSS_SELECTOR, "#compare-other [role=radio]")
    assert len(choice) == answer["other"]["faces"] == len(detected)
    choice[obama].click()
    says(browser, "These look like one person")
    assert f"From {answer['threshold']:.2f} on" in verdict.text
    for _ in range((biden - obama) % len(choice)):
        browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    says(browser, "These look like two different people")
    # The other one is Biden, whom the service knows; the group stands on the left now.
    for side in ("one", "other"):
        browser.find_element(By.CSS_SELECTOR, f"#compare-{side} .compare-away button").click()
    browser.find_element(By.ID, "compare-one-file").send_keys(other)
    field = browser.find_element(By.ID, "compare-person")
    field.send_keys("bid")
    option = "#compare .suggestions [role=option]"
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, option), "the suggestion").pop().click()
    browser.find_elements(By.CSS_SELECTOR, "#compare-one [role=radio]")[obama].click()
    says(browser, "This does not look like Biden")
    browser.find_elements(By.CSS_SELECTOR, "#compare-one [role=radio]")[biden].click()
    says(browser, "This looks like Biden")
    for width, dark in ((390, True), (1440, False)):
        at(browser, width, dark=dark)
        assert fits(browser)
        accessible(browser)
        assert browser.execute_script(SMALL) == []
    browser.back()
    assert browser.find_element(By.ID, "find").is_displayed()
    assert troubles(browser) == []


def test_what_cannot_be_searched_is_told_in_plain_words(
    browser: webdriver.Chrome, web_app: App, tmp_path: Path
) -> None:
    sign_in(browser, web_app, "/search")
    large, words, known = write(
        tmp_path, large=b"\xff\xd8\xff" + b"0" * 5 * 1024**2, words=b"no photo", known=astronaut_again()
    )
    search_with(browser, large)
    says(browser, "Larger than 4 MB")
    search_with(browser, words)
    says(browser, "Not a JPEG, PNG, WebP, HEIC or AVIF photo")
    # No worker runs.
    search_with(browser, known)
    again = "#search-result .empty.error button"
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, again), "the button to try again")
    result = browser.find_element(By.ID, "search-result").text
    assert "No worker answered in time" in result
    assert "asks to wait about" in result
    accessible(browser)
    web_app.start_worker()
    browser.find_element(By.CSS_SELECTOR, again).click()
    says(browser, "Nobody found.")
    assert troubles(browser) == []
