"""The page at /search in a real browser, on a real pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.installation import App
from tests.photos import astronaut_again, astronaut_jpeg, no_face
from tests.ui.driving import accessible, at, fits, needs_chromium, sideways, sign_in, troubles, wait, write

pytestmark = needs_chromium


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
