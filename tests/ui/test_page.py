"""The page at / in a real browser, on a real pipeline."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests import oddities
from tests.installation import App
from tests.photos import astronaut, astronaut_again, astronaut_jpeg, no_face

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
    # The page may load anew between finding an element and reading it: the next poll sees the new one.
    patient = WebDriverWait(browser, WAIT_SECONDS, 0.1, ignored_exceptions=[StaleElementReferenceException])
    return patient.until(condition, f"waited for {what}")


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


def assert_box_is_around_the_face(browser: webdriver.Chrome, app: App, filename: str) -> None:
    """All four sides of the only box stand where the API says the face is, at the size it is shown."""
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "#viewer rect.box"), "a box")
    x, y, width, height = browser.execute_script(
        """
        const box = document.querySelector("#viewer rect.box").getBoundingClientRect();
        const image = document.querySelector("#viewer .boxed-image").getBoundingClientRect();
        return [(box.x - image.x) / image.width, (box.y - image.y) / image.height,
                box.width / image.width, box.height / image.height];
        """
    )
    listed = app.get("/api/v1/photos").json()["photos"]
    photo_id = next(each["id"] for each in listed if each["filename"] == filename)
    photo = app.get(f"/api/v1/photos/{photo_id}").json()
    ((x1, y1, x2, y2),) = (face["bbox"] for face in photo["faces"])
    shares = (x1 / photo["width"], y1 / photo["height"], x2 / photo["width"], y2 / photo["height"])
    assert (x, y, x + width, y + height) == pytest.approx(shares, abs=0.01)


def focus_with_tab(browser: webdriver.Chrome, selector: str) -> WebElement:
    """Press Tab until the element has the focus."""
    for _ in range(40):
        focused = browser.switch_to.active_element
        if browser.execute_script("return arguments[0].matches(arguments[1])", focused, selector):
            return focused
        ActionChains(browser).send_keys(Keys.TAB).perform()
    raise AssertionError(f"Tab does not reach {selector}")


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
    assert "cut off" in text(browser)

    browser.find_element(By.XPATH, "//*[contains(text(), 'portrait.jpg')]")
    opener = browser.find_element(By.CSS_SELECTOR, "a[aria-label='Open portrait.jpg']")
    # By keyboard, as somebody without a mouse does.
    opener.send_keys(Keys.ENTER)
    viewer = browser.find_element(By.ID, "viewer")
    wait(browser, lambda _: viewer.is_displayed() and "1 face" in viewer.text, "the photo with its face")
    assert_box_is_around_the_face(browser, live_app, "portrait.jpg")
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


def test_a_search_names_each_person_once_and_says_of_how_many_faces(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    for name, numbers in (("Eileen Collins", range(6)), ("איילין קולינס", range(6, 7))):
        body = live_app.upload(*((f"{n}.jpg", astronaut_jpeg(n)) for n in numbers), person=name).json()
        live_app.wait_finished(body["batch_id"])
    sign_in(browser, live_app)
    browser.find_element(By.CSS_SELECTOR, "[data-view=search]").click()
    (known,) = write(tmp_path, known=astronaut_again())
    browser.find_element(By.ID, "search-file").send_keys(known)
    result = browser.find_element(By.ID, "search-result")
    wait(browser, lambda _: "Eileen Collins" in result.text, "the person's name")
    names = result.find_elements(By.CSS_SELECTOR, "a.match bdi.person")
    assert len(names) == 2, "each person once; a name that turns the direction of text stands apart"
    assert "best of 6 matching faces" in result.text
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


def test_the_keyboard_alone_opens_a_photo_walks_its_faces_and_comes_back(
    browser: webdriver.Chrome, live_app: App
) -> None:
    body = live_app.upload(("portrait.jpg", astronaut_jpeg())).json()
    live_app.wait_finished(body["batch_id"])
    sign_in(browser, live_app)
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, ".photo-card"), "the recent photo")
    focus_with_tab(browser, "#upload-files")
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


def sideways(form: str) -> bytes:
    """A photo stored on its side, with what turns it upright: EXIF, in a HEIC its own box."""
    stored = astronaut().crop((0, 0, 512, 400)).rotate(90, expand=True)
    if form == "HEIF":
        return oddities.heic_turned(oddities.saved(stored, form, quality=90), quarters=3)
    return oddities.saved(stored, form, exif=oddities.turned(6))


def test_the_box_of_a_turned_photo_is_around_the_face(browser: webdriver.Chrome, live_app: App) -> None:
    photos = [(f"turned.{form.lower()}", sideways(form)) for form in ("JPEG", "PNG", "WEBP", "AVIF", "HEIF")]
    body = live_app.upload(*photos).json()
    live_app.wait_finished(body["batch_id"])
    sign_in(browser, live_app)
    for photo in body["photos"]:
        browser.get(f"{live_app.url}/#photo/{photo['id']}")
        title = browser.find_element(By.ID, "viewer-title")
        wait(browser, lambda _, title=title, name=photo["filename"]: title.text == name, photo["filename"])
        assert_box_is_around_the_face(browser, live_app, photo["filename"])
        width, height = browser.execute_script(
            "const image = document.querySelector('#viewer .boxed-image');"
            "return [image.naturalWidth, image.naturalHeight]"
        )
        assert width > height, f"the browser shows {photo['filename']} upright"
    assert troubles(browser) == []


@pytest.mark.parametrize("form", ["WEBP", "HEIF"])
def test_a_searched_photo_that_browsers_show_differently_has_its_box_around_the_face(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path, form: str
) -> None:
    path = tmp_path / f"query.{form.lower()}"
    path.write_bytes(sideways(form))
    ((x1, y1, x2, y2),) = (face["bbox"] for face in live_app.search(path.read_bytes()).json()["faces"])
    sign_in(browser, live_app)
    browser.get(f"{live_app.url}/#search")
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


def test_a_name_for_a_known_photo_is_shown_or_the_row_says_why_it_was_not_given(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    sign_in(browser, live_app)
    (path,) = write(tmp_path, portrait=astronaut_jpeg())
    person = browser.find_element(By.ID, "upload-person")
    browser.find_element(By.ID, "upload-files").send_keys(path)
    wait(browser, lambda b: "1 done" in text(b), "the photo to be done")
    assert "Eileen Collins" not in text(browser)
    person.send_keys("Eileen Collins")
    browser.find_element(By.ID, "upload-files").send_keys(path)
    wait(browser, lambda b: "2 done" in text(b), "the photo to be known")
    wait(browser, lambda b: "Eileen Collins" in b.find_element(By.ID, "library-grid").text, "the name")
    assert "Not named" not in text(browser)
    person.clear()
    person.send_keys("Sally Ride")
    browser.find_element(By.ID, "upload-files").send_keys(path)
    wait(browser, lambda b: "3 done" in text(b), "the photo to be known")
    assert "Not named: it already belongs to another person." in browser.find_element(By.ID, "uploads").text
    assert troubles(browser) == []


def test_an_upload_without_a_connection_is_sent_again(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    sign_in(browser, live_app)
    wait(browser, lambda b: "No photos yet" in text(b), "the empty list")
    network = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": True, **network})
    (path,) = write(tmp_path, portrait=astronaut_jpeg())
    browser.find_element(By.ID, "upload-files").send_keys(path)
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
