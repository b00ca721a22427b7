"""The pages at /docs in a real browser: found, read on a phone and at night, and used without a script."""

from __future__ import annotations

import pytest
from face_pipeline.web.docs import reading
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.installation import App
from tests.ui.driving import focus_with_tab, needs_chromium, sign_in, text, troubles, wait

pytestmark = needs_chromium

PAGES = ("", "/errors", "?q=photo", *(f"/{name}" for name in reading.subjects()))
# Of text on what is behind it, as WCAG 2.2 AA asks for: of each colour in use, the worst place.
WORST_CONTRAST = """
const share = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * share(r) + 0.7152 * share(g) + 0.0722 * share(b);
const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
function behind(element) {
  for (let each = element; each; each = each.parentElement) {
    const colour = numbers(getComputedStyle(each).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
}
let worst = [99, ""];
for (const element of document.body.querySelectorAll("*")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!own || !element.checkVisibility()) continue;
  const front = light(numbers(getComputedStyle(element).color)), back = light(behind(element));
  const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
  if (ratio < worst[0]) worst = [ratio, `${element.className} ${element.textContent.trim().slice(0, 40)}`];
}
return worst;
"""


def test_the_first_pages_lead_to_them(browser: webdriver.Chrome, web_app: App) -> None:
    browser.get(web_app.url)
    browser.find_element(By.LINK_TEXT, "API pages").click()
    wait(browser, lambda b: "The API of this server" in text(b), "the start")
    sign_in(browser, web_app)
    browser.find_element(By.LINK_TEXT, "API").click()
    wait(browser, lambda b: "The API of this server" in text(b), "the start")


def test_a_call_is_found_while_somebody_types(browser: webdriver.Chrome, web_app: App) -> None:
    browser.get(f"{web_app.url}/docs")
    ActionChains(browser).send_keys("/").perform()
    field = browser.switch_to.active_element
    assert field.get_attribute("id") == "find"
    field.send_keys("undo")
    wait(browser, lambda b: "call with “undo”" in text(b) or "calls with “undo”" in text(b), "what was found")
    assert not browser.find_element(By.ID, "start").is_displayed()
    assert browser.current_url.endswith("?q=undo")
    browser.find_element(By.CSS_SELECTOR, "#results a[href$='#undo_merge']").click()
    wait(browser, lambda b: b.current_url.endswith("/docs/persons#undo_merge"), "the call")
    top = browser.execute_script(
        "return document.getElementById('undo_merge').getBoundingClientRect().top"
        " - document.querySelector('.bar').getBoundingClientRect().bottom"
    )
    assert 0 <= top < 200, "the call stands below the bar, in sight"
    assert troubles(browser) == []


def test_an_emptied_search_shows_the_start_again(browser: webdriver.Chrome, web_app: App) -> None:
    browser.get(f"{web_app.url}/docs?q=undo")
    field = browser.find_element(By.ID, "find")
    field.send_keys(*[Keys.BACKSPACE] * 4)
    wait(browser, lambda b: b.find_element(By.ID, "start").is_displayed(), "the start")
    assert "with “" not in text(browser)


def test_the_search_of_another_page_leads_to_what_is_found(browser: webdriver.Chrome, web_app: App) -> None:
    browser.get(f"{web_app.url}/docs/keys")
    browser.find_element(By.ID, "find").send_keys("rotate", Keys.ENTER)
    wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "#results a[href$='#rotate_key']"), "the call")


def test_pages_work_without_a_script(browser: webdriver.Chrome, web_app: App) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    browser.get(f"{web_app.url}/docs")
    browser.find_element(By.ID, "find").send_keys("undo", Keys.ENTER)
    wait(browser, lambda b: "with “undo”" in text(b), "what was found")
    browser.get(f"{web_app.url}/docs/persons")
    browser.find_element(By.CSS_SELECTOR, "#create_person details:not([open]) summary").click()
    assert "representative_face.quality" in text(browser)


def test_a_command_is_copied_whole(browser: webdriver.Chrome, web_app: App) -> None:
    browser.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    browser.get(f"{web_app.url}/docs/collections")
    call = browser.find_element(By.ID, "create_collection")
    call.find_element(By.CSS_SELECTOR, ".copy").click()
    wait(
        browser, lambda _: call.find_element(By.CSS_SELECTOR, ".copy").text == "Copied", "the word that it is"
    )
    copied = browser.execute_async_script(
        "const done = arguments[0]; navigator.clipboard.readText().then(done, (error) => done(String(error)))"
    )
    assert copied == call.find_element(By.CSS_SELECTOR, "pre").text
    assert copied.startswith("curl ")
    assert copied.endswith("/api/v1/collections")


def test_the_keyboard_reaches_the_content_first(browser: webdriver.Chrome, web_app: App) -> None:
    browser.get(f"{web_app.url}/docs/persons")
    focus_with_tab(browser, ".skip").send_keys(Keys.ENTER)
    assert browser.switch_to.active_element.get_attribute("id") == "main"


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (800, "light"), (1280, "dark")])
def test_every_page_is_readable_in_any_width_by_day_and_night(
    browser: webdriver.Chrome, web_app: App, width: int, scheme: str
) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    for page in PAGES:
        browser.get(f"{web_app.url}/docs{page}")
        browser.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
        needed = browser.execute_script("return document.documentElement.scrollWidth")
        assert needed <= width, f"/docs{page} is {needed} pixels wide"
        ratio, where = browser.execute_script(WORST_CONTRAST)
        assert ratio >= 4.5, f"/docs{page}: {where}"
    assert troubles(browser) == []
