"""The photo over a page, in a real browser: going through a list, zooming, saying who it shows."""

from __future__ import annotations

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from sqlalchemy import text as sql

from tests.installation import App
from tests.photos import no_face
from tests.ui.driving import (
    assert_box_is_around_the_face,
    at,
    needs_chromium,
    show,
    sign_in,
    text,
    troubles,
    wait,
)
from tests.ui.of_photos import dialog, listed, press, several, viewed

pytestmark = [needs_chromium, pytest.mark.one_worker]


def test_the_viewer_walks_the_list_that_the_filter_leaves_and_back_closes_it(
    browser: webdriver.Chrome, live_app: App
) -> None:
    first = several(live_app, 3)
    live_app.wait_finished(live_app.upload(("nobody.jpg", no_face())).json()["batch_id"])
    sign_in(browser, live_app, "/photos?faces=some")
    listed(browser, first)
    browser.find_element(By.CSS_SELECTOR, f".photo[data-id='{first[0]}'] a").click()
    viewed(browser, first[0])
    press(browser, Keys.ARROW_RIGHT)
    viewed(browser, first[1])
    press(browser, Keys.ARROW_RIGHT)
    viewed(browser, first[2])
    wait(
        browser,
        lambda b: not b.find_element(By.CSS_SELECTOR, ".viewer-step.behind").is_displayed(),
        "the end",
    )
    browser.find_element(By.CSS_SELECTOR, ".viewer-step.before").click()
    viewed(browser, first[1])
    assert browser.current_url.endswith("?faces=some")
    browser.back()
    viewer = browser.find_element(By.ID, "viewer")
    wait(browser, lambda _: not viewer.is_displayed(), "the photo to close at once")
    assert browser.current_url.endswith("/photos?faces=some")
    focused = browser.switch_to.active_element.find_element(By.XPATH, "./..").get_attribute("data-id")
    assert focused == first[1], "the focus is on the photo that was looked at last"

    # By its link alone, in the other order.
    show(browser, live_app, f"/photos/{first[1]}?faces=some&sort=oldest")
    viewed(browser, first[1])
    press(browser, Keys.ARROW_LEFT)
    viewed(browser, first[2])
    assert troubles(browser) == []


def test_a_photo_is_zoomed_and_its_boxes_can_be_taken_away(browser: webdriver.Chrome, live_app: App) -> None:
    (photo,) = several(live_app, 1)
    sign_in(browser, live_app, f"/photos/{photo}")
    viewed(browser, photo)

    def scale() -> str:
        return browser.find_element(By.ID, "viewer-scale").text.replace("\u202f", "")

    def width() -> float:
        script = "return document.querySelector('#viewer .boxed-image').getBoundingClientRect().width"
        return float(browser.execute_script(script))

    whole = width()
    press(browser, "+", "+")
    assert width() > 1.5 * whole
    assert_box_is_around_the_face(browser, live_app, "photo 0.jpg")
    press(browser, "0")
    assert (scale(), width()) == ("100%", whole)
    image = browser.find_element(By.CSS_SELECTOR, "#viewer .boxes")
    ActionChains(browser).move_to_element_with_offset(image, -whole / 4, whole / 4).double_click().perform()
    assert width() > 2 * whole
    press(browser, "0")
    browser.execute_script(
        "document.querySelector('.viewer-picture').dispatchEvent("
        "new WheelEvent('wheel', {deltaY: -300, bubbles: true, cancelable: true}))"
    )
    assert width() > whole
    press(browser, "b")
    assert not browser.find_element(By.CSS_SELECTOR, "#viewer rect.box").is_displayed()
    browser.refresh()
    viewed(browser, photo)
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "#viewer rect.box"), "the box")
    assert not browser.find_element(By.CSS_SELECTOR, "#viewer rect.box").is_displayed(), "it is remembered"
    assert troubles(browser) == []


def test_a_swipe_goes_to_the_next_photo(browser: webdriver.Chrome, live_app: App) -> None:
    ids = several(live_app, 2)
    at(browser, 390)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True, "maxTouchPoints": 2})
    sign_in(browser, live_app, f"/photos/{ids[0]}")
    viewed(browser, ids[0])
    for kind, x in (("touchStart", 300), ("touchMove", 220), ("touchMove", 120), ("touchEnd", None)):
        points = [] if x is None else [{"x": x, "y": 300}]
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    viewed(browser, ids[1])
    for kind, wide in (("touchStart", 20), ("touchMove", 60), ("touchMove", 120), ("touchEnd", None)):
        points = (
            []
            if wide is None
            else [{"x": 195 + way * wide, "y": 300, "id": (way + 1) // 2} for way in (-1, 1)]
        )
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    scale = browser.find_element(By.ID, "viewer-scale").text
    assert int(scale.rstrip("%").strip()) > 300, "two fingers zoom"
    assert troubles(browser) == []


def test_a_face_is_named_by_its_box_corrected_and_deleted(browser: webdriver.Chrome, live_app: App) -> None:
    ids = several(live_app, 1)
    sign_in(browser, live_app, f"/photos/{ids[0]}")
    viewed(browser, ids[0])

    def names() -> list[str | None]:
        faces = live_app.get(f"/api/v1/photos/{ids[0]}").json()["faces"]
        return [(face["person"] or {}).get("name") for face in faces]

    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "#viewer rect.box"), "the box")
    browser.find_element(By.CSS_SELECTOR, "#viewer .face-box").click()
    field = browser.switch_to.active_element
    assert field.tag_name == "input", "one can type at once"
    field.send_keys("Eileen Collins")
    wait(browser, lambda b: "new person" in text(b), "that nobody is called so")
    field.send_keys(Keys.ENTER)
    wait(browser, lambda _: names() == ["Eileen Collins"], "the name")
    wait(
        browser,
        lambda b: b.find_element(By.CSS_SELECTOR, ".face .person").text == "Eileen Collins",
        "it shown",
    )
    face = live_app.get(f"/api/v1/photos/{ids[0]}").json()["faces"][0]["id"]
    browser.find_element(By.CSS_SELECTOR, "#viewer button.face").click()
    assert browser.find_elements(By.CSS_SELECTOR, f".face-acts a[href='/search?face={face}']")
    browser.find_element(By.XPATH, "//button[normalize-space()='Not this person']").click()
    wait(browser, lambda _: names() == [None], "the name to be off")
    shown = "#viewer .face .person"
    wait(browser, lambda b: b.find_element(By.CSS_SELECTOR, shown).text == "unnamed", "it shown")
    browser.find_elements(By.XPATH, "//button[text()='Undo']")[-1].click()
    wait(browser, lambda _: names() == ["Eileen Collins"], "the name again")
    wait(
        browser,
        lambda b: b.find_element(By.CSS_SELECTOR, shown).text == "Eileen Collins",
        "it shown again",
    )

    trail = browser.find_element(By.ID, "viewer-trail")
    trail.find_element(By.TAG_NAME, "summary").click()
    wait(browser, lambda _: "A face was named Eileen Collins." in trail.text, "what happened to it")
    assert "Received; it waits for a worker." in trail.text
    browser.find_element(By.CSS_SELECTOR, "#viewer button.face").click()
    browser.find_element(By.XPATH, "//button[normalize-space()='Delete this face']").click()
    dialog(browser).find_element(By.CSS_SELECTOR, ".danger").click()
    wait(browser, lambda b: "No face found" in b.find_element(By.ID, "viewer").text, "the face to be gone")
    assert names() == []
    assert troubles(browser) == []


def test_a_failed_photo_says_why_and_is_tried_again_and_a_photo_deleted(
    browser: webdriver.Chrome, live_app: App
) -> None:
    ids = several(live_app, 2)
    with live_app.installation.parts.database.transaction() as session:
        # As a worker leaves it that found none.
        session.execute(sql("DELETE FROM faces WHERE photo_id = :id"), {"id": ids[0]})
        session.execute(
            sql(
                "UPDATE photos SET state = 'failed', reason_code = 'engine_error', reason_message = 'x',"
                " attempts = 3 WHERE id = :id"
            ),
            {"id": ids[0]},
        )
    sign_in(browser, live_app, "/photos?state=failed")
    listed(browser, [ids[0]])
    browser.find_element(By.CSS_SELECTOR, ".photo-card").click()
    viewer = browser.find_element(By.ID, "viewer")
    wait(browser, lambda _: "The recognition engine failed" in viewer.text, "why")
    assert "Tried 3 times." in viewer.text
    download = browser.find_element(By.ID, "viewer-download")
    assert download.get_attribute("href").endswith(f"/api/v1/photos/{ids[0]}/image")
    assert ids[0] in str(browser.find_element(By.ID, "viewer-details").get_attribute("textContent"))
    browser.find_element(By.ID, "viewer-retry").click()
    wait(browser, lambda _: "1 face" in viewer.text, "the photo to be done")
    assert live_app.get(f"/api/v1/photos/{ids[0]}").json()["state"] == "done"
    browser.find_element(By.ID, "viewer-delete").click()
    dialog(browser).find_element(By.CSS_SELECTOR, ".danger").click()
    wait(
        browser, lambda _: live_app.get(f"/api/v1/photos/{ids[0]}").status_code == 404, "the photo to be gone"
    )
    wait(browser, lambda _: not viewer.is_displayed(), "the viewer to close where there is no other")
    assert troubles(browser) == []
