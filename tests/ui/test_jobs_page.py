"""The page at /jobs in a real browser: what waits, who works on it, what failed, and what is done with it."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest
from face_pipeline.broker import names, presence
from face_pipeline.parts import Parts
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from sqlalchemy import text as sql

from tests.app import stock
from tests.app.test_jobs import saying
from tests.installation import App
from tests.photos import astronaut_jpeg
from tests.ui.driving import accessible, at, fits, needs_chromium, sign_in, text, troubles, wait
from tests.ui.test_overview_page import key_of

pytestmark = needs_chromium
LONG = "מצלמה " + "a-host-with-a-very-long-name-" * 6


@pytest.fixture(autouse=True)
def _nobody_spoke(parts: Parts) -> None:
    for name in [*parts.queue.scan_iter("face:worker:*"), names.WORKERS]:
        parts.queue.delete(name)


def failed(parts: Parts, reason: str, number: int = 1, collection: str = "default") -> None:
    for _ in range(number):
        photo_id = stock.photo(parts, state="failed", collection=collection, data=None)
        with parts.database.transaction() as session:
            session.execute(
                sql("UPDATE photos SET reason_code = :reason WHERE id = :id"),
                {"reason": reason, "id": photo_id},
            )


def reasons(browser: webdriver.Chrome) -> list[str | None]:
    found = browser.find_elements(By.CSS_SELECTOR, "#jobs-failures [data-reason]")
    return [each.get_attribute("data-reason") for each in found]


def press(browser: webdriver.Chrome, reason: str, act: str) -> None:
    place = f"[data-reason={reason}] [data-act={act}]"
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, place), f"the button {act}")
    browser.find_element(By.CSS_SELECTOR, place).send_keys(Keys.ENTER)


def test_workers_queues_and_rates_are_those_of_the_pipeline(browser: webdriver.Chrome, live_app: App) -> None:
    body = live_app.upload(("a.jpg", astronaut_jpeg())).json()
    live_app.wait_finished(body["batch_id"])
    sign_in(browser, live_app, "/jobs")
    row = "#jobs-workers tr[data-worker]"
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, row), "the worker")
    wait(
        browser,
        lambda b: [each.text for each in b.find_elements(By.CSS_SELECTOR, f"{row} td")][4:5] == ["1"],
        "the worker to say that it did the photo",
    )
    cells = [each.text for each in browser.find_elements(By.CSS_SELECTOR, f"{row} td")]
    assert cells[0].startswith("worker1@tests")
    assert cells[2] == "0 of 2"
    assert cells[6].endswith("s ago")
    assert "1 running" in browser.find_element(By.ID, "jobs-running").text
    rates = browser.find_elements(By.CSS_SELECTOR, "#jobs-rates tr")
    assert [each.text.split()[:2] for each in rates] == [["1", "min"], ["5", "min"], ["15", "min"]]
    assert rates[2].text.split()[2] == "1"
    assert [each.text for each in browser.find_elements(By.CSS_SELECTOR, "#jobs-queues tr")] == [
        "Searches 0", "Photos 0",
    ]  # fmt: skip
    assert "No photo failed" in text(browser)
    browser.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    browser.find_element(By.ID, "jobs-copy").send_keys(Keys.ENTER)
    wait(browser, lambda b: "Copied." in text(b), "the word that it is copied")
    copied = browser.execute_async_script("navigator.clipboard.readText().then(arguments[0], arguments[0])")
    assert copied == "./face-ansible playbooks/scale.yml -e workers=N"
    assert troubles(browser) == []


def test_failed_photos_of_a_reason_are_tried_again_all_at_once(
    browser: webdriver.Chrome, web_app: App, parts: Parts
) -> None:
    failed(parts, "engine_error", 3)
    failed(parts, "broken_image")
    failed(parts, "engine_error", collection="door")
    sign_in(browser, web_app, "/jobs")
    wait(browser, lambda b: reasons(b) == ["engine_error", "broken_image"], "the reasons, most photos first")
    first = browser.find_element(By.CSS_SELECTOR, "[data-reason=engine_error]")
    assert first.text.startswith("4\nphotos")
    assert "The recognition engine failed on this photo." in first.text
    assert "Another try ends the same" not in first.text
    assert (
        "Another try ends the same"
        in browser.find_element(By.CSS_SELECTOR, "[data-reason=broken_image]").text
    )
    press(browser, "engine_error", "retry")
    wait(browser, lambda b: "4 photos wait for a worker again." in text(b), "what was done")
    wait(browser, lambda b: reasons(b) == ["broken_image"], "the reason to go")
    states = [each["state"] for each in web_app.get("/api/v1/photos").json()["photos"]]
    assert sorted(states)[0] == "failed"
    assert len([each for each in states if each in ("received", "queued")]) == 4
    wait(browser, lambda b: "Waiting\n4" in text(b), "the numbers to follow")
    assert troubles(browser) == []


def test_failed_photos_are_deleted_after_a_look_at_what_goes(
    browser: webdriver.Chrome, web_app: App, parts: Parts
) -> None:
    failed(parts, "broken_image", 2)
    failed(parts, "engine_error")
    sign_in(browser, web_app, "/jobs")
    press(browser, "broken_image", "delete")
    wait(browser, lambda b: b.find_elements(By.ID, "erase-failures"), "the question")
    dialog = browser.find_element(By.ID, "erase-failures")
    assert "Delete 2 photos?" in dialog.text
    accessible(browser, within="#erase-failures")
    assert len(web_app.get("/api/v1/photos").json()["photos"]) == 3, "a look deletes nothing"
    dialog.find_element(By.CSS_SELECTOR, ".danger").send_keys(Keys.ENTER)
    wait(browser, lambda b: b.find_elements(By.ID, "receipt"), "the receipt")
    receipt = browser.find_element(By.ID, "receipt")
    assert "2 photos deleted." in receipt.text
    assert receipt.find_elements(By.CSS_SELECTOR, "dd")[1].text == "2"
    left = web_app.get("/api/v1/photos").json()["photos"]
    assert [each["reason"]["code"] for each in left] == ["engine_error"]
    receipt.find_element(By.CSS_SELECTOR, ".primary").send_keys(Keys.ENTER)
    wait(browser, lambda b: reasons(b) == ["engine_error"], "the reason to go")
    assert troubles(browser) == []


def test_a_reader_sees_why_photos_failed_and_no_button_that_is_not_for_them(
    browser: webdriver.Chrome, web_app: App, parts: Parts
) -> None:
    failed(parts, "engine_error", 2)
    failed(parts, "worker_lost", collection="door")
    reader = stock.key(parts, "read")
    sign_in(browser, web_app, "/jobs", key=key_of(reader))
    wait(browser, lambda b: len(reasons(b)) == 2, "the reasons")
    assert not browser.find_elements(By.CSS_SELECTOR, "[data-act]")
    address = browser.find_element(By.CSS_SELECTOR, "[data-reason=engine_error] a.button").get_attribute(
        "href"
    )
    answer = web_app.get(str(address).removeprefix(web_app.url), headers=reader)
    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert [each["reason"] for each in rows] == ["engine_error"] * 2
    # The collection of the header bounds what failed, too.
    picker = browser.find_element(By.ID, "collection")
    wait(browser, lambda _: "door" in picker.text, "the collections")
    picker.send_keys("door")
    wait(browser, lambda b: reasons(b) == ["worker_lost"], "the reasons of one collection")
    browser.find_element(By.CSS_SELECTOR, "[data-reason=worker_lost] .failure-facts a").send_keys(Keys.ENTER)
    wait(browser, lambda b: b.find_element(By.ID, "viewer").is_displayed(), "the example photo")
    assert troubles(browser) == []


def test_many_workers_silent_ones_and_long_names_fit_on_a_phone(
    browser: webdriver.Chrome, web_app: App, parts: Parts
) -> None:
    sign_in(browser, web_app, "/jobs")
    wait(browser, lambda b: "No worker runs" in text(b), "the word that nobody works")
    for said in (saying(), saying(LONG, host=LONG, by_hand=True), replace(saying("worker1@two"), host="two")):
        presence.say(parts.queue, said)
    parts.queue.pexpire(names.WORKER.format(name="worker1@two"), round(1000 * (presence.FORGET_SECONDS - 60)))
    failed(parts, "a_reason_of_" + "another_release_" * 5)
    rows = "#jobs-workers tr[data-worker]"
    wait(browser, lambda b: len(b.find_elements(By.CSS_SELECTOR, rows)) == 3, "the workers")
    silent = browser.find_element(By.CSS_SELECTOR, "[data-alive=false]")
    assert silent.text.startswith("worker1@two")
    assert "silent" in silent.text
    assert browser.find_element(By.ID, "jobs-by-hand").is_displayed()
    wait(browser, lambda b: len(reasons(b)) == 1, "the failure")
    for width, dark in ((390, False), (1440, True)):
        at(browser, width, dark=dark)
        assert fits(browser)
        accessible(browser)
    assert troubles(browser) == []
