"""Groups of unknown faces in a real browser: one at a time, with the best guess, by buttons and keys."""

from __future__ import annotations

from typing import Any

import pytest
from face_pipeline.ops import clusterer
from face_pipeline.parts import Parts
from face_pipeline.store.models import Collection, Face
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from sqlalchemy import insert, select, update

from tests.app.test_clusters import faces_of, people
from tests.app.test_vectors import axis, near
from tests.installation import App
from tests.photos import astronaut_jpeg
from tests.ui.driving import accessible, at, fits, needs_chromium, show, sign_in, text, troubles, wait
from tests.ui.test_people_page import asked, change, message, person, press, undo

pytestmark = [needs_chromium, pytest.mark.one_worker]


# The server's answer to one question is held back, until the test lets it go.
HOLD = """
const held = arguments[0];
const ask = window.fetch;
window.fetch = async (...asked) => {
  if (String(asked[0]).includes(held)) {
    window.asked = true;
    await new Promise((go) => (window.letGo = go));
  }
  return ask(...asked);
};
"""


def grouped(app: App, parts: Parts) -> list[dict[str, Any]]:
    """Groups of 4, 3 and 2 unknown faces, largest first; the first look like Anna, the others like nobody."""
    named = app.upload(("anna.jpg", astronaut_jpeg(100)), person="Anna").json()
    unknown = app.upload(*((f"unknown {n}.jpg", astronaut_jpeg(n)) for n in range(9))).json()
    for each in (named, unknown):
        app.wait_finished(each["batch_id"])
    with parts.database.transaction() as session:
        faces = list(session.scalars(select(Face.id).where(Face.person_id.is_(None)).order_by(Face.id)))
        other = people(2, 7)
        rows = [*faces_of(other[0], 3, 1), *faces_of(other[1], 2, 2)]
        for face, row in zip(faces[4:], rows, strict=True):
            session.execute(update(Face).where(Face.id == face).values(embedding=row))
    clusterer.cluster(parts)
    listed: list[dict[str, Any]] = app.get("/api/v1/clusters").json()["clusters"]
    assert [each["face_count"] for each in listed] == [4, 3, 2]
    return listed


def shows(browser: webdriver.Chrome, group: dict[str, Any]) -> None:
    """Wait until the page has this group, and its address too."""
    address = f"/unknown?group={group['id']}"
    wait(browser, lambda b: b.current_url.endswith(address), "the group's address")
    wait(browser, lambda b: f"{group['face_count']} faces that look like one person" in text(b), "the group")
    wait(browser, lambda b: not b.find_elements(By.CSS_SELECTOR, "#unknown-group[aria-busy]"), "all of it")


def guess(browser: webdriver.Chrome) -> str:
    found: WebElement = wait(browser, lambda b: b.find_element(By.CSS_SELECTOR, ".pair-question"), "a guess")
    return found.text


def offered(browser: webdriver.Chrome) -> list[str]:
    """Names in the list of suggestions."""
    names = browser.find_elements(By.CSS_SELECTOR, "[role=option] bdi")
    return [each.text for each in names if each.is_displayed()]


def sizes(app: App, **query: str) -> list[int]:
    listed = app.get("/api/v1/clusters", params=query).json()["clusters"]
    return [each["face_count"] for each in listed]


def test_groups_are_answered_by_keys_one_after_the_other_and_each_is_taken_back(
    browser: webdriver.Chrome, live_app: App, parts: Parts
) -> None:
    first, second, third = grouped(live_app, parts)
    sign_in(browser, live_app, "/unknown")
    shows(browser, first)
    assert guess(browser) == "Is this Anna?"
    assert len(browser.find_elements(By.CSS_SELECTOR, ".pair .portrait img")) == 2, "covers side by side"
    assert "sure" in browser.find_element(By.CSS_SELECTOR, ".pair-text").text
    accessible(browser)

    press(browser, "y")
    message(browser, "4 faces are Anna now.")
    shows(browser, second)
    assert person(live_app, "Anna")["face_count"] == 5
    undo(browser)
    shows(browser, first)
    assert person(live_app, "Anna")["face_count"] == 1
    assert sizes(live_app) == [4, 3, 2]

    press(browser, "s")
    message(browser, "Skipped.")
    shows(browser, second)
    undo(browser)
    shows(browser, first)
    press(browser, "s")
    shows(browser, second)

    press(browser, "h")
    message(browser, "The group is hidden.")
    shows(browser, third)
    assert sizes(live_app) == [4, 2]
    undo(browser)
    shows(browser, second)
    assert sizes(live_app) == [4, 3, 2]

    # Nobody is like them: a name is typed.
    wait(browser, lambda b: "Choose somebody from the list" in text(b), "that there is no guess")
    press(browser, "n")
    press(browser, "Greta", Keys.ENTER)
    message(browser, "3 faces are Greta now.")
    shows(browser, third)
    assert person(live_app, "Greta")["face_count"] == 3
    undo(browser)
    shows(browser, second)
    assert person(live_app, "Greta")["face_count"] == 0
    assert troubles(browser) == []


def test_no_asks_who_it_is_then_and_takes_somebody_from_the_list(
    browser: webdriver.Chrome, live_app: App, parts: Parts
) -> None:
    first, second, _ = grouped(live_app, parts)
    live_app.request("POST", "/api/v1/persons", json={"name": "Greta"})
    sign_in(browser, live_app, "/unknown")
    shows(browser, first)
    guess(browser)
    # A face that is somebody else stays out.
    browser.find_elements(By.CSS_SELECTOR, ".pick label")[3].click()
    wait(browser, lambda b: "3 get the name, 1 stays unknown." in text(b), "that one is left out")
    press(browser, "n")
    press(browser, "Gre")
    wait(browser, lambda b: len(b.find_elements(By.CSS_SELECTOR, "[role=option]")) == 1, "one suggestion")
    press(browser, Keys.ARROW_DOWN, Keys.ENTER)
    press(browser, Keys.ENTER)
    message(browser, "3 faces are Greta now.")
    shows(browser, second)
    assert person(live_app, "Greta")["face_count"] == 3
    assert sizes(live_app, min_faces="1") == [3, 2, 1]
    undo(browser)
    wait(browser, lambda _: sizes(live_app) == [4, 3, 2], "the group of before")
    assert troubles(browser) == []


def test_a_list_for_an_older_text_is_never_taken(
    browser: webdriver.Chrome, live_app: App, parts: Parts
) -> None:
    _, second, third = grouped(live_app, parts)
    live_app.request("POST", "/api/v1/persons", json={"name": "Greta"})
    sign_in(browser, live_app, f"/unknown?group={second['id']}")
    shows(browser, second)
    wait(browser, lambda b: "Choose somebody from the list" in text(b), "that there is no guess")
    press(browser, "n")
    wait(browser, lambda b: offered(b) == ["Anna", "Greta"], "everybody")
    press(browser, Keys.ARROW_DOWN)
    browser.execute_script(HOLD, "name=Berta")
    press(browser, "Berta")
    wait(browser, lambda b: b.execute_script("return window.asked === true"), "the question for the text")
    field = browser.switch_to.active_element
    assert (offered(browser), field.get_attribute("aria-expanded")) == ([], "false")
    press(browser, Keys.ENTER)
    message(browser, "3 faces are Berta now.")
    assert person(live_app, "Anna")["face_count"] == 1

    # The answer for the text as it is now is offered again.
    shows(browser, third)
    wait(browser, lambda b: "Choose somebody from the list" in text(b), "that there is no guess")
    browser.execute_script("window.asked = false")
    browser.execute_script(HOLD, "name=Gre")
    press(browser, "n")
    wait(browser, lambda b: offered(b) == ["Anna", "Berta", "Greta"], "everybody")
    press(browser, "Gre")
    wait(browser, lambda b: b.execute_script("return window.asked === true"), "the question for the text")
    press(browser, Keys.ARROW_DOWN)
    assert offered(browser) == []
    browser.execute_script("window.letGo()")
    wait(browser, lambda b: offered(b) == ["Greta"], "the one with such a name")
    press(browser, Keys.ARROW_DOWN, Keys.ENTER)
    assert browser.switch_to.active_element.get_attribute("value") == "Greta"
    press(browser, Keys.ENTER)
    message(browser, "2 faces are Greta now.")
    assert troubles(browser) == []


def test_the_guess_comes_also_for_a_group_that_is_larger_than_an_answer(
    browser: webdriver.Chrome, live_app: App, parts: Parts
) -> None:
    """More faces of it are like its best ones than a search has matches, and all are more so than Anna's."""
    grouped(live_app, parts)
    anna = near(axis(0), 1, (parts.pack.match_threshold + 1) / 2, 1)[0]
    same = ("photo_id", "collection_id", "bbox", "landmarks", "detection_score", "quality")
    with parts.database.transaction() as session:
        faces = list(session.scalars(select(Face).where(Face.person_id.is_(None)).order_by(Face.id)))[:4]
        for face in faces:
            face.embedding = axis(0)
        copied = {name: getattr(faces[0], name) for name in same}
        copies = [{**copied, "embedding": axis(0), "position": position} for position in range(1, 111)]
        session.execute(insert(Face), copies)
        session.execute(update(Face).where(Face.person_id.is_not(None)).values(embedding=anna))
        counted = {"face_count": Collection.face_count + 110, "version": Collection.version + 1}
        session.execute(update(Collection).values(**counted))
    clusterer.cluster(parts)
    largest, *_ = live_app.get("/api/v1/clusters").json()["clusters"]
    assert largest["face_count"] > 100
    sign_in(browser, live_app, "/unknown")
    shows(browser, largest)
    assert guess(browser) == "Is this Anna?"
    assert troubles(browser) == []


def test_the_place_is_kept_over_a_reload_and_other_pages(
    browser: webdriver.Chrome, live_app: App, parts: Parts
) -> None:
    first, second, third = grouped(live_app, parts)
    sign_in(browser, live_app, "/unknown")
    shows(browser, first)
    press(browser, "s")
    shows(browser, second)
    browser.refresh()
    shows(browser, second)
    show(browser, live_app, "/people")
    show(browser, live_app, "/unknown")
    shows(browser, second)
    press(browser, Keys.ARROW_LEFT)
    shows(browser, first)
    # The next one is there before it is asked for.
    wait(browser, lambda b: asked(b, f"/clusters/{second['id']}"), "the next one")
    browser.find_elements(By.CSS_SELECTOR, ".queue-item")[2].click()
    shows(browser, third)
    press(browser, "s")
    wait(browser, lambda b: "That was the last group" in text(b), "the end")
    assert troubles(browser) == []


def test_what_somebody_else_named_meanwhile_is_said_and_the_next_group_comes(
    browser: webdriver.Chrome, live_app: App, parts: Parts
) -> None:
    first, second, _ = grouped(live_app, parts)
    sign_in(browser, live_app, "/unknown")
    shows(browser, first)
    guess(browser)
    live_app.request("POST", f"/api/v1/clusters/{first['id']}/name", json={"name": "Greta"})
    press(browser, "y")
    message(browser, "Somebody else named these faces meanwhile.")
    shows(browser, second)
    assert person(live_app, "Greta")["face_count"] == 4
    assert troubles(browser) == []


def test_a_hidden_group_is_shown_again_and_no_groups_say_what_makes_some(
    browser: webdriver.Chrome, live_app: App, parts: Parts
) -> None:
    sign_in(browser, live_app, "/unknown")
    wait(browser, lambda b: "No groups of unknown faces" in text(b), "that there is none")
    assert "two or more look like one person" in text(browser)
    for each in grouped(live_app, parts)[:2]:
        live_app.request("PATCH", f"/api/v1/clusters/{each['id']}", json={"hidden": True})
    browser.find_element(By.ID, "unknown-hidden").click()
    wait(browser, lambda b: len(b.find_elements(By.CSS_SELECTOR, ".hidden-group")) == 2, "both hidden groups")
    accessible(browser)
    browser.find_element(By.CSS_SELECTOR, ".hidden-group button").click()
    message(browser, "The group waits for a name again.")
    assert sizes(live_app) == [4, 2]
    undo(browser)
    wait(browser, lambda b: len(b.find_elements(By.CSS_SELECTOR, ".hidden-group")) == 2, "both again")
    assert sizes(live_app) == [2]
    assert troubles(browser) == []


@pytest.mark.parametrize("width", [390, 1440])
def test_a_group_fits_with_a_long_name_and_a_reader_sees_no_button_that_it_may_not_use(
    browser: webdriver.Chrome, live_app: App, parts: Parts, width: int
) -> None:
    first, second, _ = grouped(live_app, parts)
    change(live_app, person(live_app, "Anna")["id"], name="W" * 200)
    wanted = {"name": f"looks at groups, {width} px", "scopes": ["read"]}
    made = live_app.request("POST", "/api/v1/keys", json=wanted).json()
    at(browser, width)
    sign_in(browser, live_app, "/unknown", made["api_key"])
    shows(browser, first)
    assert "WWWW" in guess(browser)
    assert fits(browser)
    accessible(browser)
    assert not browser.find_elements(By.XPATH, "//main//button[contains(., 'Yes') or contains(., 'Hide')]")
    assert not browser.find_elements(By.CSS_SELECTOR, "main input")
    press(browser, "h")
    press(browser, "s")
    shows(browser, second)
    assert sizes(live_app) == [4, 3, 2]
    assert troubles(browser) == []
