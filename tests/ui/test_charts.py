"""The module that draws a chart, alone on a page with the headers of ours, in a real browser."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from face_pipeline.web import ui
from flask import Flask, Response
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from werkzeug.serving import make_server

from tests.ui.driving import needs_chromium, troubles, wait

pytestmark = needs_chromium

BEGAN = 1_795_600_000
WORDS = {
    "photos": {"title": "Photos a second", "series": {"done": "Done", "failed": "Failed"}},
    "memory": {"title": "Memory", "series": {"used": "Used"}},
    "cache": {"title": "Found in the cache", "series": {"hits": "Hits"}},
}
COMMON = {"table": "As a table", "time": "Time", "none": "–", "empty": "Nothing in this time"}
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Charts</title>
<link rel="stylesheet" href="/static/0/css/tokens.css"><link rel="stylesheet" href="/static/0/css/base.css">
<link rel="stylesheet" href="/static/0/css/components.css">
<link rel="stylesheet" href="/static/0/vendor/uplot/uplot.css">
<link rel="stylesheet" href="/static/0/css/charts.css">
<link rel="icon" href="/static/0/icon.svg"><script type="module" src="/scratch.js"></script></head>
<body><h2>Photos a second</h2><figure id="photos"></figure><h2>Memory</h2><figure id="memory"></figure>
<h2>Found in the cache</h2><figure id="cache"></figure></body></html>"""
SCRIPT = """
import { draw } from "/static/0/lib/charts.js";
const told = await (await fetch("/scratch.json")).json();
for (const chart of told.charts) {
  const figure = document.getElementById(chart.name);
  const drawing = draw(figure, chart, { ...told.common, ...told.words[chart.name] });
  figure.addEventListener("newer", (event) => drawing.update(event.detail));
}
document.body.dataset.drawn = "yes";
"""


def chart(name: str, unit: str, **series: list[float | None]) -> dict[str, Any]:
    return {
        "name": name, "unit": unit,
        "series": [
            {"name": each, "points": [[BEGAN + 180 * place, value] for place, value in enumerate(values)]}
            for each, values in series.items()
        ],
    }  # fmt: skip


PHOTOS = chart(
    "photos", "photos_per_second",
    done=[2 + (place % 17) / 4 if place < 90 else 0.5 for place in range(121)],
    failed=[0.0 if place % 40 else 1.25 for place in range(121)],
)  # fmt: skip
CHARTS = [
    PHOTOS,
    chart(
        "memory", "bytes", used=[3.2e9 + place * 1e7 if not 30 < place < 50 else None for place in range(121)]
    ),
    chart("cache", "share", hits=[None] * 121),
]


@pytest.fixture
def page(browser: webdriver.Chrome) -> Iterator[webdriver.Chrome]:
    # The files of the pages alone: no server behind them.
    app = Flask("scratch", static_folder=None)
    app.register_blueprint(ui.bp)
    for path, kind, body in (
        ("/scratch", "text/html", PAGE),
        ("/scratch.js", "text/javascript", SCRIPT),
        (
            "/scratch.json",
            "application/json",
            json.dumps({"charts": CHARTS, "words": WORDS, "common": COMMON}),
        ),
    ):
        app.add_url_rule(path, path, _giving(body, kind))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        browser.get(f"http://127.0.0.1:{server.port}/scratch")
        wait(browser, lambda b: b.find_element(By.TAG_NAME, "body").get_attribute("data-drawn"), "the charts")
        yield browser
        # No script that was refused, and no style.
        assert troubles(browser) == []
    finally:
        server.shutdown()


def _giving(body: str, kind: str) -> Any:
    return lambda: Response(body, mimetype=kind, headers=ui.SECURITY_HEADERS)


def legend(page: webdriver.Chrome, name: str) -> list[WebElement]:
    return page.find_elements(By.CSS_SELECTOR, f"#{name} .chart-legend button")


def inked(page: webdriver.Chrome, name: str) -> int:
    """Pixels of the chart that are not empty."""
    return int(
        page.execute_script(
            "const canvas = document.querySelector(`#${arguments[0]} canvas`);"
            "const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);"
            "let inked = 0; for (let i = 3; i < data.length; i += 4) inked += data[i] > 0; return inked;",
            name,
        )
    )


def test_a_chart_is_drawn_with_the_newest_values_in_its_legend(page: webdriver.Chrome) -> None:
    wait(page, lambda b: inked(b, "photos") > 3000, "lines")
    assert [each.text.split("\n") for each in legend(page, "photos")] == [
        ["Done", "0.5/s"],
        ["Failed", "1.25/s"],
    ]
    assert [each.text.split("\n") for each in legend(page, "memory")] == [["Used", "4.4 GB"]]


def test_a_chart_without_a_value_says_so(page: webdriver.Chrome) -> None:
    assert page.find_element(By.CSS_SELECTOR, "#cache .chart-plot").text == "Nothing in this time"
    assert page.find_elements(By.CSS_SELECTOR, "#cache canvas") == []
    assert legend(page, "cache")[0].text.split("\n") == ["Hits", "–"]


def test_a_line_is_hidden_and_shown_by_keys(page: webdriver.Chrome) -> None:
    done = legend(page, "photos")[0]
    wait(page, lambda b: inked(b, "photos") > 3000, "lines")
    whole = inked(page, "photos")
    page.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert page.switch_to.active_element == done
    done.send_keys(Keys.SPACE)
    assert done.get_attribute("aria-pressed") == "false"
    wait(page, lambda b: inked(b, "photos") < whole / 2, "the line to go")
    done.send_keys(Keys.ENTER)
    wait(page, lambda b: inked(b, "photos") == whole, "the line to come back")
    assert all(each.size["height"] >= 44 for each in legend(page, "photos"))


def test_the_table_says_the_same_numbers_the_newest_first(page: webdriver.Chrome) -> None:
    assert page.find_elements(By.CSS_SELECTOR, "#photos table") == []
    page.find_element(By.CSS_SELECTOR, "#photos summary").send_keys(Keys.ENTER)
    wait(page, lambda b: b.find_elements(By.CSS_SELECTOR, "#photos tbody tr"), "the table")
    heads = page.find_elements(By.CSS_SELECTOR, "#photos thead th")
    assert [each.text for each in heads] == ["Time", "Done", "Failed"]
    rows = page.find_elements(By.CSS_SELECTOR, "#photos tbody tr")
    assert len(rows) == 121
    assert [each.text for each in rows[0].find_elements(By.TAG_NAME, "td")] == ["0.5/s", "1.25/s"]


def test_a_chart_follows_the_width_of_its_page_and_newer_points(page: webdriver.Chrome) -> None:
    def width() -> int:
        return int(page.find_element(By.CSS_SELECTOR, "#photos .uplot").size["width"])

    wide = wait(page, lambda _: width(), "a chart")
    page.set_window_size(520, 900)
    wait(page, lambda _: 0 < width() < wide / 2, "a narrower chart")
    assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    newer = chart("photos", "photos_per_second", done=[9.0] * 121, failed=[0.0] * 121)
    page.execute_script(
        "document.getElementById('photos').dispatchEvent(new CustomEvent('newer', { detail: arguments[0] }))",
        newer,
    )
    assert [each.text.split("\n")[1] for each in legend(page, "photos")] == ["9/s", "0/s"]


def test_a_chart_has_the_colours_of_the_dark(page: webdriver.Chrome) -> None:
    def line() -> str:
        return str(
            page.execute_script(
                "return getComputedStyle(document.querySelector('#photos .chart-swatch')).borderTopColor"
            )
        )

    wait(page, lambda b: inked(b, "photos") > 3000, "lines")
    light = line(), page.find_element(By.CSS_SELECTOR, "#photos canvas").screenshot_as_base64
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    wait(page, lambda _: line() != light[0], "the colours of the dark")
    wait(page, lambda b: inked(b, "photos") > 3000, "lines in the dark")
