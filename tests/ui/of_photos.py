"""What tests of photos do again and again in a browser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.installation import App
from tests.photos import astronaut, astronaut_jpeg, jpeg
from tests.ui.driving import wait


def several(app: App, number: int, **form: str) -> list[str]:
    """So many photos of one face, in the order of the page; returns their ids."""
    names = [(f"photo {each}.jpg", astronaut_jpeg(each)) for each in range(number)]
    app.wait_finished(app.upload(*names, **form).json()["batch_id"])
    return [each["id"] for each in app.get("/api/v1/photos").json()["photos"]]


def cards(browser: webdriver.Chrome) -> list[str]:
    """Ids of the photos in the page, in its order."""
    script = "return [...document.querySelectorAll('.photo')].map((each) => each.dataset.id)"
    return list(browser.execute_script(script))


def chosen(browser: webdriver.Chrome) -> list[str]:
    script = "return [...document.querySelectorAll('.photo[data-chosen]')].map((each) => each.dataset.id)"
    return list(browser.execute_script(script))


def press(browser: webdriver.Chrome, *keys: str) -> None:
    ActionChains(browser).send_keys(*keys).perform()


def pick(browser: webdriver.Chrome, photo_id: str, *, shift: bool = False) -> None:
    mark = browser.find_element(By.CSS_SELECTOR, f".photo[data-id='{photo_id}'] .pick")
    act = ActionChains(browser)
    if shift:
        act = act.key_down(Keys.SHIFT)
    act = act.move_to_element(mark).click()
    (act.key_up(Keys.SHIFT) if shift else act).perform()


def do(browser: webdriver.Chrome, what: str) -> None:
    """Press a button of the bar."""
    browser.find_element(By.XPATH, f"//*[@id='library-bar']//button[normalize-space()='{what}']").click()


def dialog(browser: webdriver.Chrome) -> Any:
    return wait(browser, lambda b: b.find_elements(By.CSS_SELECTOR, "dialog.dialog[open]"), "a question")[-1]


def listed(browser: webdriver.Chrome, ids: Sequence[str]) -> None:
    wait(browser, lambda b: cards(b) == list(ids), f"the photos {ids}")


def viewed(browser: webdriver.Chrome, photo_id: str) -> None:
    """Wait until the photo is open, with its own box on it."""
    wait(browser, lambda b: b.current_url.partition("?")[0].endswith(f"/photos/{photo_id}"), "its address")
    wait(
        browser,
        lambda b: b.execute_script(
            "const image = document.querySelector('#viewer .boxed-image');"
            "return document.querySelector('#viewer-body:not([aria-busy])') && image?.complete"
            " && image.src.includes(arguments[0])",
            photo_id,
        ),
        "the photo",
    )


def two_faces() -> bytes:
    image = Image.new("RGB", (1024, 512))
    image.paste(astronaut(), (0, 0))
    image.paste(astronaut(), (512, 0))
    return jpeg(image)
