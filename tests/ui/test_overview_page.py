"""The first page in a real browser: on a real pipeline, with a real Prometheus and without one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from face_pipeline.parts import Parts
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.app import stock
from tests.app.test_overview import RUNBOOK, Observers, observed, observers  # noqa: F401 (fixtures)
from tests.installation import App, Installation, start_web, wait_until
from tests.photos import astronaut_jpeg
from tests.ui.driving import (
    accessible,
    at,
    fits,
    needs_chromium,
    ready,
    show,
    sign_in,
    text,
    troubles,
    wait,
)

pytestmark = needs_chromium
GRAFANA = "https://faces.example.org/grafana/"


@pytest.fixture(scope="module")
def watched_url(installation: Installation, observers: Observers) -> Iterator[str]:  # noqa: F811
    url, web = start_web(
        installation, "watched.log",
        FACE_PROMETHEUS_URL=observers.prometheus.url, FACE_ALERTMANAGER_URL=observers.alertmanager.url,
        FACE_GRAFANA_URL=GRAFANA,
    )  # fmt: skip
    yield url
    installation.end(web)


@pytest.fixture
def watched(observed: Observers, web_app: App, watched_url: str) -> App:  # noqa: F811
    """The same pipeline, whose web service asks Prometheus and Alertmanager."""
    return App(web_app.installation, watched_url, web_app.web)


def key_of(header: dict[str, str]) -> str:
    return header["Authorization"].removeprefix("Bearer ")


def figures(browser: webdriver.Chrome) -> dict[str, str]:
    return {
        each.find_element(By.TAG_NAME, "dt").text: each.find_element(By.TAG_NAME, "dd").text
        for each in browser.find_elements(By.CSS_SELECTOR, "#overview-numbers .figure")
    }


def dot(browser: webdriver.Chrome) -> str | None:
    return browser.find_element(By.ID, "health").get_attribute("data-state")


def alert(browser: webdriver.Chrome, name: str) -> WebElement:
    found: WebElement = wait(
        browser,
        lambda b: next(iter(b.find_elements(By.CSS_SELECTOR, f"[data-alert='{name}']")), None),
        f"the alert {name}",
    )
    return found


def test_all_is_well_where_it_is_and_without_prometheus_there_are_the_numbers(
    browser: webdriver.Chrome, live_app: App
) -> None:
    body = live_app.upload(("a.jpg", astronaut_jpeg()), person="Eileen Collins").json()
    live_app.wait_finished(body["batch_id"])
    sign_in(browser, live_app)
    wait(browser, lambda b: "All is well" in text(b), "the word that all is well")
    wait(browser, lambda b: dot(b) == "good", "a green dot")
    wait(browser, lambda b: figures(b)["Done today"] == "1", "the photo that was done")
    told = figures(browser)
    assert (told["Waiting"], told["Under way"], told["Failed today"]) == ("0", "0", "0")
    assert (told["Oldest waiting"], told["Workers running"]) == ("–", "1")
    assert "1 photo · 1 face · 1 person · 1 collection" in text(browser)
    wait(browser, lambda b: "Prometheus is not installed" in text(b), "a sentence in the place of charts")
    assert not browser.find_element(By.ID, "overview-spans").is_displayed()
    for width, dark in ((1440, False), (390, True)):
        at(browser, width, dark=dark)
        assert fits(browser)
        accessible(browser)
    assert troubles(browser) == []


def test_a_new_installation_is_led_through_its_first_three_steps(
    browser: webdriver.Chrome, web_app: App, parts: Parts
) -> None:
    sign_in(browser, web_app)
    upload = "[data-step=put_photos] button"
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, upload), "the steps")
    steps = browser.find_elements(By.CSS_SELECTOR, "[data-step]")
    assert [each.get_attribute("data-step") for each in steps] == ["put_photos", "name_somebody", "search"]
    link = steps[1].find_element(By.TAG_NAME, "a")
    assert str(link.get_attribute("href")).endswith("/unknown")
    browser.find_element(By.CSS_SELECTOR, upload).send_keys(Keys.ENTER)
    drawer = browser.find_element(By.ID, "uploads-drawer")
    wait(browser, lambda _: drawer.get_attribute("open"), "the drawer for uploads")
    drawer.find_element(By.CSS_SELECTOR, "[data-close]").click()
    stock.photo(parts, stock.person(parts, "Anna"))
    wait(
        browser,
        lambda b: len(b.find_elements(By.CSS_SELECTOR, "[data-step][data-done]")) >= 2,
        "two steps to be done, on the page that was open all the while",
    )
    assert troubles(browser) == []


def test_what_needs_somebody_is_said_with_a_way_to_it_and_follows_what_happens(
    browser: webdriver.Chrome, live_app: App, parts: Parts
) -> None:
    sign_in(browser, live_app)
    wait(browser, lambda b: "All is well" in text(b), "the word that all is well")
    browser.execute_script("window.sameDocument = true")
    for _ in range(2):
        stock.photo(parts, state="failed")
    need = wait(
        browser,
        lambda b: next(iter(b.find_elements(By.CSS_SELECTOR, "[data-need=photos_failed]")), None),
        "the word of the failed photos",
    )
    assert "2 photos failed today." in need.text
    assert figures(browser)["Failed today"] == "2"
    assert "All is well" not in text(browser)
    assert dot(browser) == "warning"
    assert browser.execute_script("return window.sameDocument"), "without loading the page anew"
    need.find_element(By.TAG_NAME, "a").send_keys(Keys.ENTER)
    wait(browser, lambda b: b.current_url.endswith("/jobs"), "the page where it is mended")
    ready(browser)
    assert troubles(browser) == []


def test_charts_of_three_spans_are_kept_in_the_address_and_lead_to_their_dashboards(
    browser: webdriver.Chrome, watched: App, parts: Parts
) -> None:
    # Whoever may read sees them, and nothing that is for admins.
    sign_in(browser, watched, key=key_of(stock.key(parts, "read")))
    drawn = "#overview-charts canvas"
    wait(browser, lambda b: len(b.find_elements(By.CSS_SELECTOR, drawn)) == 6, "six charts")
    assert alert(browser, "HighDiskUsage").find_elements(By.CSS_SELECTOR, "button") == []
    first = browser.find_element(By.CSS_SELECTOR, "[data-chart=photos]")
    link = first.find_element(By.CSS_SELECTOR, ".chart-head a")
    assert link.get_attribute("href") == f"{GRAFANA}d/face-overview?from=now-6h&to=now"
    browser.find_element(By.CSS_SELECTOR, "#overview-spans [data-span='7d']").send_keys(Keys.ENTER)
    wait(
        browser,
        lambda b: (
            "now-7d"
            in str(b.find_element(By.CSS_SELECTOR, "[data-chart=photos] .chart-head a").get_attribute("href"))
        ),
        "the charts of seven days",
    )
    assert browser.current_url.endswith("/?span=7d")
    browser.refresh()
    ready(browser)
    wait(browser, lambda b: len(b.find_elements(By.CSS_SELECTOR, drawn)) == 6, "six charts again")
    chosen = browser.find_element(By.CSS_SELECTOR, "#overview-spans [aria-current]")
    assert chosen.get_attribute("data-span") == "7d"
    memory = "[data-chart=memory] "
    browser.find_element(By.CSS_SELECTOR, f"{memory}summary").send_keys(Keys.ENTER)
    rows = wait(
        browser, lambda b: b.find_elements(By.CSS_SELECTOR, f"{memory}tbody tr"), "the numbers as a table"
    )
    assert "3 GB" in rows[len(rows) // 2].text
    for width, dark in ((1440, True), (390, False)):
        at(browser, width, dark=dark)
        wait(browser, lambda b: len(b.find_elements(By.CSS_SELECTOR, drawn)) == 6, "six charts at this width")
        wait(browser, fits, "the page to fit")
        accessible(browser)
    assert troubles(browser) == []


def test_an_alert_is_silenced_and_loud_again_and_both_are_seen_at_once(
    browser: webdriver.Chrome,
    watched: App,
    observed: Observers,  # noqa: F811
) -> None:
    def is_(state: str) -> bool:
        return observed.alertmanager.states()["HighDiskUsage"] == state

    sign_in(browser, watched)
    disk = alert(browser, "HighDiskUsage")
    runbook = disk.find_element(By.CSS_SELECTOR, "a.button")
    assert runbook.get_attribute("href") == RUNBOOK
    assert "2 alerts fire." in text(browser)
    wait(browser, lambda b: dot(b) == "bad", "the dot of a critical alert")
    disk.find_element(By.CSS_SELECTOR, "[data-act=silence]").send_keys(Keys.ENTER)
    why = wait(browser, lambda b: b.find_element(By.ID, "silence-why"), "the dialog")
    accessible(browser, within="#silence")
    why.send_keys("a new disk is on its way", Keys.ENTER)
    wait(browser, lambda b: "1 alert fires." in text(b), "the count without it")
    disk = alert(browser, "HighDiskUsage")
    assert "Silenced" in disk.text
    (silence,) = [
        each for each in observed.alertmanager.get("/api/v2/silences") if each["status"]["state"] == "active"
    ]
    assert silence["comment"] == "a new disk is on its way"
    wait_until(lambda: is_("suppressed"), 30, "Alertmanager to be quiet of it")
    # The page that somebody else opens says so too.
    show(browser, watched, "/")
    disk = alert(browser, "HighDiskUsage")
    wait(browser, lambda b: "Silenced" in alert(b, "HighDiskUsage").text, "the silence on another page")
    alert(browser, "HighDiskUsage").find_element(By.CSS_SELECTOR, "[data-act=end]").send_keys(Keys.ENTER)
    wait(browser, lambda b: "2 alerts fire." in text(b), "both to be counted")
    wait_until(lambda: is_("active"), 30, "Alertmanager to tell of it again")
    assert troubles(browser) == []


def test_who_may_only_upload_is_told_so_and_asked_for_nothing(
    browser: webdriver.Chrome, web_app: App, parts: Parts
) -> None:
    sign_in(browser, web_app, key=key_of(stock.key(parts, "write")))
    assert "may upload only" in text(browser)
    assert not browser.find_elements(By.ID, "overview-numbers")
    assert fits(browser)
    accessible(browser)
    assert troubles(browser) == []
