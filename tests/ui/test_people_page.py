"""People and a person in a real browser: found, named, made one and taken apart, corrected, deleted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.installation import App
from tests.photos import astronaut_again, astronaut_jpeg, no_face
from tests.ui.driving import (
    accessible,
    at,
    fits,
    focus_with_tab,
    needs_chromium,
    ready,
    show,
    sign_in,
    text,
    troubles,
    wait,
    write,
)

pytestmark = [needs_chromium, pytest.mark.one_worker]
LONG = "Aleksandra Wolfeschlegelsteinhausenbergerdorff " * 4
ARABIC = "مريم ابنة يوسف"
MERGE_DIALOG = "#merge"


def person(app: App, name: str) -> dict[str, Any]:
    """The one person of this name."""
    (found,) = app.get("/api/v1/persons", params={"name": name}).json()["persons"]
    return dict(found)


def names(app: App) -> set[str]:
    return {each["name"] for each in app.get("/api/v1/persons").json()["persons"]}


def stocked(app: App) -> None:
    """Anna with three faces, Berta with one, Carl with none."""
    batches = [
        app.upload(*((f"anna {n}.jpg", astronaut_jpeg(n)) for n in range(3)), person="Anna").json(),
        app.upload(("berta.jpg", astronaut_again()), person="Berta").json(),
    ]
    app.request("POST", "/api/v1/persons", json={"name": "Carl"})
    for each in batches:
        app.wait_finished(each["batch_id"])


def change(app: App, person_id: str, **body: Any) -> None:
    assert app.request("PATCH", f"/api/v1/persons/{person_id}", json=body).status_code == 200


def card(browser: webdriver.Chrome, name: str) -> WebElement:
    def find(b: webdriver.Chrome) -> WebElement | None:
        cards = b.find_elements(By.CSS_SELECTOR, ".person-card")
        return next((each for each in cards if name in each.text), None)

    found: WebElement = wait(browser, find, f"the card of {name}")
    return found


def cards(browser: webdriver.Chrome) -> list[str]:
    return [each.text for each in browser.find_elements(By.CSS_SELECTOR, ".person-card .person-name")]


def menu(browser: webdriver.Chrome, within: WebElement, action: str) -> None:
    within.find_element(By.CSS_SELECTOR, ".menu > summary").click()
    within.find_element(By.XPATH, f".//li/*[contains(., '{action}')]").click()


def press(browser: webdriver.Chrome, *keys: str) -> None:
    ActionChains(browser).send_keys(*keys).perform()


def message(browser: webdriver.Chrome, words: str) -> None:
    wait(browser, lambda b: words in b.find_element(By.ID, "messages").text, f"the message {words}")


def asked(browser: webdriver.Chrome, part: str) -> bool:
    """Whether the page has asked the server for an address with this in it."""
    script = (
        "return performance.getEntriesByType('resource').some((each) => each.name.includes(arguments[0]))"
    )
    return bool(browser.execute_script(script, part))


def undo(browser: webdriver.Chrome) -> None:
    browser.find_element(By.XPATH, "//*[@id='messages']//button[text()='Undo']").click()


def dialog(browser: webdriver.Chrome, selector: str) -> WebElement:
    found: WebElement = wait(
        browser, lambda b: b.find_element(By.CSS_SELECTOR, f"{selector}[open]"), selector
    )
    return found


def click_in(browser: webdriver.Chrome, selector: str, words: str) -> None:
    found = dialog(browser, selector)
    found.find_element(By.XPATH, f".//button[contains(., '{words}')]").click()


def closed(browser: webdriver.Chrome, selector: str) -> None:
    wait(browser, lambda b: not b.find_elements(By.CSS_SELECTOR, selector), f"{selector} to close")


def test_people_are_found_and_the_address_keeps_how_but_never_sends_a_name(
    browser: webdriver.Chrome, live_app: App
) -> None:
    stocked(live_app)
    sign_in(browser, live_app, "/people")
    wait(browser, lambda b: cards(b) == ["Anna", "Berta", "Carl"], "all by name")
    assert "3 faces · 3 photos" in card(browser, "Anna").text
    assert browser.execute_script(
        "return [...document.querySelectorAll('.person-card img')].every((img) => img.src.includes('/crop'))"
    )
    browser.find_element(By.ID, "people-sort").send_keys("Newest")
    wait(browser, lambda b: cards(b)[0] == "Carl", "the newest first")
    browser.find_element(By.ID, "people-name").send_keys("a")
    wait(browser, lambda b: set(cards(b)) == {"Anna", "Berta", "Carl"}, "who has an a")
    browser.find_element(By.ID, "people-name").send_keys("nn")
    wait(browser, lambda b: cards(b) == ["Anna"], "Anna alone")
    assert browser.current_url == f"{live_app.url}/people?sort=newest#name=ann"
    browser.refresh()
    wait(browser, lambda b: cards(b) == ["Anna"], "Anna alone after a reload")
    browser.find_element(By.ID, "people-name").send_keys("xyz")
    wait(browser, lambda b: "Nobody has this in their name" in text(b), "that there is nobody")
    assert troubles(browser) == []


def test_a_name_is_changed_where_it_stands_and_taken_back(browser: webdriver.Chrome, live_app: App) -> None:
    stocked(live_app)
    sign_in(browser, live_app, "/people")
    menu(browser, card(browser, "Berta"), "Rename")
    press(browser, "Bertha", Keys.ESCAPE)
    assert "Berta" in card(browser, "Berta").text
    assert names(live_app) == {"Anna", "Berta", "Carl"}
    menu(browser, card(browser, "Berta"), "Rename")
    press(browser, "Bertha", Keys.ENTER)
    card(browser, "Bertha")
    assert names(live_app) == {"Anna", "Bertha", "Carl"}
    message(browser, "The name is Bertha now.")
    undo(browser)
    wait(browser, lambda b: "Berta" in cards(b), "the name of before")
    assert names(live_app) == {"Anna", "Berta", "Carl"}
    # Who has the name already may be the same person.
    menu(browser, card(browser, "Berta"), "Rename")
    press(browser, "Anna", Keys.ENTER)
    wait(browser, lambda b: "Somebody here has this name already" in text(b), "that it is taken")
    browser.find_element(By.XPATH, "//button[text()='Are they the same person?']").click()
    click_in(browser, MERGE_DIALOG, "Yes, merge")
    wait(browser, lambda b: cards(b) == ["Anna", "Carl"], "one person")
    wait(browser, lambda _: person(live_app, "Anna")["face_count"] == 4, "her four faces")
    assert troubles(browser) == []


def test_what_another_tab_wrote_meanwhile_is_shown_and_not_overwritten_unseen(
    browser: webdriver.Chrome, live_app: App
) -> None:
    stocked(live_app)
    sign_in(browser, live_app, "/people")
    berta = person(live_app, "Berta")["id"]
    menu(browser, card(browser, "Berta"), "Rename")
    # The field has asked for their version.
    wait(browser, lambda b: asked(b, f"/persons/{berta}"), "the version")
    change(live_app, berta, name="Brigitte")
    press(browser, "Bertha", Keys.ENTER)
    wait(browser, lambda b: "changed the name to Brigitte meanwhile" in text(b), "what the other wrote")
    assert names(live_app) == {"Anna", "Brigitte", "Carl"}
    press(browser, Keys.ESCAPE)
    card(browser, "Brigitte")

    anna = person(live_app, "Anna")["id"]
    menu(browser, card(browser, "Brigitte"), "Rename")
    live_app.request("POST", f"/api/v1/persons/{anna}/merge", json={"from": berta})
    press(browser, "Bea", Keys.ENTER)
    message(browser, "is not here any more: somebody deleted them, or merged them")
    wait(browser, lambda b: cards(b) == ["Anna", "Carl"], "the card to go")
    assert troubles(browser) == []


def test_two_who_are_one_are_merged_by_keyboard_and_taken_apart(
    browser: webdriver.Chrome, live_app: App
) -> None:
    stocked(live_app)
    sign_in(browser, live_app, "/people")
    card(browser, "Carl")
    for _ in range(2):
        focus_with_tab(browser, ".person-card:not(.chosen) .choose input").send_keys(Keys.SPACE)
    wait(browser, lambda b: "2 people chosen" in text(b), "that two are chosen")
    press(browser, "m")
    same = dialog(browser, MERGE_DIALOG)
    wait(
        browser,
        lambda _: len(same.find_elements(By.CSS_SELECTOR, ".same-option .portrait img")) == 2,
        "covers",
    )
    wait(browser, lambda _: same.find_elements(By.CSS_SELECTOR, ".same-faces img"), "a few faces of each")
    accessible(browser, within=MERGE_DIALOG)
    # The other name stays.
    press(browser, Keys.ARROW_DOWN, Keys.ENTER)
    wait(browser, lambda b: cards(b) == ["Berta", "Carl"], "one person")
    message(browser, "Anna is part of Berta now.")
    assert person(live_app, "Berta")["face_count"] == 4
    undo(browser)
    wait(browser, lambda b: cards(b) == ["Anna", "Berta", "Carl"], "both again")
    assert person(live_app, "Anna")["face_count"] == 3

    # By mouse, one on the other; and undone once the message has gone.
    ActionChains(browser).drag_and_drop(
        card(browser, "Berta").find_element(By.CSS_SELECTOR, ".portrait"),
        card(browser, "Anna").find_element(By.CSS_SELECTOR, ".portrait"),
    ).perform()
    click_in(browser, MERGE_DIALOG, "Yes, merge")
    wait(browser, lambda b: cards(b) == ["Anna", "Carl"], "one person")
    browser.refresh()
    ready(browser)
    wait(browser, lambda b: "1 merge that can be undone" in text(b), "what can be undone")
    browser.find_element(By.CSS_SELECTOR, ".recent summary").click()
    browser.find_element(By.CSS_SELECTOR, ".recent li button").click()
    wait(browser, lambda b: cards(b) == ["Anna", "Berta", "Carl"], "both again")
    assert troubles(browser) == []


def test_a_face_that_is_not_theirs_is_taken_off_and_given_back(
    browser: webdriver.Chrome, live_app: App
) -> None:
    stocked(live_app)
    anna, berta = person(live_app, "Anna"), person(live_app, "Berta")
    (wrong,) = live_app.get(f"/api/v1/persons/{berta['id']}/faces").json()["faces"]
    live_app.request("PATCH", f"/api/v1/faces/{wrong['id']}", json={"person_id": anna["id"]})
    sign_in(browser, live_app, f"/people/{anna['id']}")

    def faces() -> list[WebElement]:
        return browser.find_elements(By.CSS_SELECTOR, ".face-card")

    wait(browser, lambda _: len(faces()) == 4, "her faces")
    assert faces()[0].get_attribute("data-id") == wrong["id"], "the least like the others comes first"
    wait(browser, lambda _: faces()[0].find_elements(By.CSS_SELECTOR, "[data-word]"), "certainty in a word")
    told = faces()[0].find_element(By.CSS_SELECTOR, "[data-word]").text.split()
    assert told[0] in {"sure", "likely", "unsure"}
    assert 0 < float(told[1]) < 1
    assert len(told[1].partition(".")[2]) == 2

    faces()[0].find_element(By.XPATH, ".//button[text()='Not this person']").click()
    message(browser, "1 face is not Anna any more.")
    assert len(faces()) == 3
    wait(browser, lambda b: "3 faces" in b.find_element(By.ID, "person-facts").text, "the new count")
    undo(browser)
    wait(browser, lambda _: len(faces()) == 4, "the face again")
    assert person(live_app, "Anna")["face_count"] == 4

    for each in faces()[:2]:
        ActionChains(browser).move_to_element(each).perform()
        each.find_element(By.CSS_SELECTOR, ".choose input").click()
    press(browser, "x")
    message(browser, "2 faces are not Anna any more.")
    assert person(live_app, "Anna")["face_count"] == 2

    last = faces()[-1]
    cover = last.get_attribute("data-id")
    menu(browser, last, "Use as cover")
    message(browser, "This face is the cover now.")
    assert person(live_app, "Anna")["cover_face_id"] == cover
    shown = f"#person-cover img[src*='/faces/{cover}/']"
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, shown), "the new cover")
    faces()[0].find_element(By.CSS_SELECTOR, ".face-picture").click()
    wait(browser, lambda b: b.find_element(By.ID, "viewer").is_displayed(), "the photo")
    press(browser, Keys.ESCAPE)
    wait(browser, lambda b: b.current_url.endswith(f"/people/{anna['id']}"), "the person's address again")
    assert troubles(browser) == []


def test_more_photos_say_one_by_one_what_became_of_them(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    stocked(live_app)
    carl = person(live_app, "Carl")
    sign_in(browser, live_app, f"/people/{carl['id']}")
    wait(browser, lambda b: "No face yet" in text(b), "that there is none")
    paths = write(tmp_path, nobody=no_face(), broken=astronaut_jpeg()[:5000], portrait=astronaut_jpeg(9))
    browser.find_element(By.ID, "person-files").send_keys("\n".join(paths))
    told = dialog(browser, "#enrol")
    wait(
        browser, lambda _: "cut off" in told.text and "Add it all the same" in told.text, "all three answers"
    )
    rows = [each.text for each in told.find_elements(By.CSS_SELECTOR, ".enrol-row")]
    assert "no face" in rows[0].lower()
    told.find_element(By.XPATH, ".//button[text()='Add it all the same']").click()
    wait(browser, lambda _: "Added, quality" in told.text, "that one was added")
    accessible(browser, within="#enrol")
    click_in(browser, "#enrol", "Close")
    wait(browser, lambda b: len(b.find_elements(By.CSS_SELECTOR, ".face-card")) == 1, "the face")
    assert person(live_app, "Carl")["face_count"] == 1
    assert troubles(browser) == []


def test_a_person_is_deleted_after_it_was_said_what_goes_and_leaves_a_receipt(
    browser: webdriver.Chrome, live_app: App, tmp_path: Path
) -> None:
    stocked(live_app)
    anna = person(live_app, "Anna")
    browser.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    sign_in(browser, live_app, f"/people/{anna['id']}")
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, ".face-card"), "her faces")
    tools = browser.find_element(By.ID, "person-tools")
    menu(browser, tools, "Keep as a file")
    kept = tmp_path / f"person-{anna['id']}.json"
    wait(browser, lambda _: kept.exists(), "the file")
    whole = json.loads(kept.read_text())
    assert (whole["person"]["name"], len(whole["faces"]), len(whole["photos"])) == ("Anna", 3, 3)

    menu(browser, tools, "Delete")
    erase = dialog(browser, "#erase")
    assert {"3 faces", "3 photos that show nobody else"} <= set(erase.text.splitlines())
    accessible(browser, within="#erase")
    assert "Anna" in names(live_app), "nothing goes before it was confirmed"
    click_in(browser, "#erase", "Delete for ever")
    receipt = dialog(browser, "#receipt")
    assert "3 photos that show nobody else" in receipt.text
    receipt.find_element(By.ID, "receipt-file").click()
    file = tmp_path / f"receipt-{anna['id']}.json"
    wait(browser, lambda _: file.exists(), "the receipt")
    told = json.loads(file.read_text())
    assert (told["persons"], told["faces"], told["photos"], told["dry_run"]) == (1, 3, 3, False)
    click_in(browser, "#receipt", "To all people")
    wait(browser, lambda b: cards(b) == ["Berta", "Carl"], "the others")
    assert names(live_app) == {"Berta", "Carl"}
    show(browser, live_app, f"/people/{anna['id']}")
    wait(browser, lambda b: "This person is not here" in text(b), "that she is gone")
    assert troubles(browser) == []


@pytest.mark.parametrize("width", [390, 1440])
def test_people_fit_with_long_names_and_names_from_right_to_left(
    browser: webdriver.Chrome, live_app: App, width: int
) -> None:
    stocked(live_app)
    change(live_app, person(live_app, "Anna")["id"], name=LONG.strip(), external_id="x" * 200)
    change(live_app, person(live_app, "Berta")["id"], name=ARABIC)
    at(browser, width)
    sign_in(browser, live_app, "/people")
    card(browser, ARABIC)
    assert fits(browser)
    accessible(browser)
    menu(browser, card(browser, "Aleksandra"), "Rename")
    assert fits(browser)
    press(browser, Keys.ESCAPE)
    show(browser, live_app, f"/people/{person(live_app, 'Aleksandra')['id']}")
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, ".face-card"), "the faces")
    assert fits(browser)
    accessible(browser)
    assert troubles(browser) == []


def test_a_key_that_may_only_read_sees_people_and_no_button_that_it_may_not_use(
    browser: webdriver.Chrome, live_app: App
) -> None:
    stocked(live_app)
    wanted = {"name": "looks at people", "scopes": ["read"]}
    made = live_app.request("POST", "/api/v1/keys", json=wanted).json()
    sign_in(browser, live_app, "/people", made["api_key"])
    card(browser, "Anna").find_element(By.CSS_SELECTOR, ".person-name").click()
    wait(browser, lambda b: len(b.find_elements(By.CSS_SELECTOR, ".face-card")) == 3, "her faces")
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "[data-word]"), "how sure they are")
    for words in ("Rename", "Merge", "Add photos", "Not this person", "Delete", "cover"):
        assert not browser.find_elements(By.XPATH, f"//main//button[contains(., '{words}')]"), words
    show(browser, live_app, "/people")
    card(browser, "Anna")
    assert not browser.find_elements(By.CSS_SELECTOR, "main button:not([hidden]), main .choose, main .menu")
    assert troubles(browser) == []
