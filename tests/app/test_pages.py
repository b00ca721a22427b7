"""The pages as files: texts, addresses, what is vendored, and that a first look is small."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from face_pipeline.parts import Parts
from face_pipeline.web import create_app
from face_pipeline.web.ui import assets, pages, safe_next, texts

from tests.installation import App

UI = assets.DIRECTORY.parent
FIRST_LOOK_BYTES = 100 * 1024
KEY = r"([a-z_]+(?:\.[a-z_]+)+\.?)"
STEMS = {path.stem for path in texts.DIRECTORY.glob("*.json")}


def sources() -> Iterator[Path]:
    yield from (UI / "templates").rglob("*.html")
    yield from (each for each in (UI / "static").rglob("*.js") if "vendor" not in each.parts)
    yield from UI.glob("*.py")


def used() -> dict[str, str]:
    """Every text that is named, and a file that does; one that ends in a dot stands for all that begin so."""
    found = {}
    for path in sources():
        for key in re.findall(rf"[\"'`]{KEY}(?=[\"'`]|\$\{{)", path.read_text(encoding="utf-8")):
            if key.partition(".")[0] in STEMS:
                found[key] = path.name
    return found


def test_every_text_that_is_used_exists() -> None:
    told = texts.texts()
    missing = {
        key: where
        for key, where in used().items()
        # Names of files look the same.
        if not key.endswith((".js", ".css", ".html", ".svg", ".json"))
        and not (any(each.startswith(key) for each in told) if key.endswith(".") else key in told)
    }
    assert missing == {}


def test_every_text_that_exists_is_used() -> None:
    keys = used()
    beginnings = tuple(key for key in keys if key.endswith("."))
    assert [key for key in texts.texts() if key not in keys and not key.startswith(beginnings)] == []


def test_a_text_of_a_number_has_a_form_for_one_and_one_for_others() -> None:
    assert texts.t("words.faces", n=1) == "1 face"
    assert texts.t("words.faces", n=100_000) == "100,000 faces"
    plural = [each for each in texts.texts().values() if isinstance(each, dict)]
    assert plural
    assert {frozenset(each) for each in plural} == {frozenset(("one", "other"))}


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_a_page_has_its_template_and_its_icon(page: pages.Page) -> None:
    assert (UI / f"templates/ui/{page.name}.html").is_file()
    assert f'<symbol id="{page.icon}"' in (UI / "static/icons.svg").read_text()


def test_every_icon_that_is_named_is_drawn() -> None:
    drawn = set(re.findall(r'<symbol id="([\w-]+)"', (UI / "static/icons.svg").read_text()))
    named = {
        name
        for path in sources()
        for name in re.findall(
            r"""\b(?:icon|iconButton)\(["']([\w-]+)["']|icon: ["']([\w-]+)["']""", path.read_text()
        )
        for name in name
        if name
    }
    assert named - drawn == set()


def test_modules_and_styles_name_no_address_of_their_own_and_nothing_is_written_as_markup() -> None:
    for path in UI.joinpath("static").rglob("*.js"):
        if "vendor" not in path.parts:
            code = path.read_text(encoding="utf-8")
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|[\"'`]/static/", code
            ), path


@pytest.mark.parametrize(
    ("wanted", "leads_to"),
    [
        ("/photos", "/photos"), ("/audit?action=a%2Fb&limit=5", "/audit?action=a%2Fb&limit=5"), ("/", "/"),
        ("/flower/tasks", "/flower/tasks"), ("/%2F%2Fevil.test", "/%2F%2Fevil.test"), ("", "/"),
        ("photos", "/"), ("//evil.test", "/"), ("///evil.test", "/"), ("/\\evil.test", "/"),
        ("\\/evil.test", "/"), ("/\t/evil.test", "/"), ("/\n/evil.test", "/"), (" //evil.test", "/"),
        ("https://evil.test", "/"), ("https:evil.test", "/"), ("javascript:alert(1)", "/"),
        ("/sign-in?next=/sign-in", "/"), ("/" + "a" * 5000, "/"), ("/\x7f", "/"),
    ],
)  # fmt: skip
def test_after_signing_in_only_a_path_of_this_server_is_gone_to(wanted: str, leads_to: str) -> None:
    assert safe_next(wanted) == leads_to


def test_a_page_without_a_session_leads_to_the_sign_in_and_back(web_app: App) -> None:
    def led_to(path: str, **headers: str) -> str:
        answer = requests.get(web_app.url + path, headers=headers, allow_redirects=False, timeout=30)
        assert answer.status_code == 302
        return answer.headers["Location"]

    assert led_to("/") == "/sign-in"
    assert led_to("/photos?state=failed&x=a%26b") == "/sign-in?next=/photos%3Fstate%3Dfailed%26x%3Da%2526b"
    assert (
        led_to("/sign-in", **{"X-Asked-URI": "/flower/tasks?limit=5"})
        == "/sign-in?next=/flower/tasks%3Flimit%3D5"
    )
    assert led_to("/sign-in", **{"X-Asked-URI": "//evil.test"}) == "/sign-in"


def _signed_in(app: App) -> requests.Session:
    browser = requests.Session()
    answer = browser.post(f"{app.url}/session", json={"api_key": app.api_key}, timeout=30)
    assert answer.status_code == 200
    return browser


def test_signing_out_empties_the_cache_of_the_browser_and_leaves_its_storage(web_app: App) -> None:
    """Pictures of faces are kept in the one, uploads that wait in the other."""
    browser = _signed_in(web_app)
    answer = browser.delete(f"{web_app.url}/session", timeout=30)
    assert (answer.status_code, answer.headers["Clear-Site-Data"]) == (204, '"cache"')
    # A session that had ended already has left as much.
    assert browser.delete(f"{web_app.url}/session", timeout=30).headers["Clear-Site-Data"] == '"cache"'
    others = [browser.get(f"{web_app.url}{path}", timeout=30) for path in ("/sign-in", "/session")]
    assert not any("Clear-Site-Data" in each.headers for each in others)


def test_a_session_says_who_it_is_and_the_token_that_changes_need(web_app: App) -> None:
    browser = requests.Session()
    made = browser.post(f"{web_app.url}/session", json={"api_key": web_app.api_key}, timeout=30).json()
    told = browser.get(f"{web_app.url}/session", timeout=30).json()
    assert told == made
    assert (told["name"], told["scopes"]) == ("admin", ["admin"])
    new = f"{web_app.url}/api/v1/collections"
    assert browser.post(new, json={"name": "a"}, timeout=30).status_code == 403
    headers = {"X-CSRF-Token": told["csrf_token"]}
    assert browser.post(new, json={"name": "a"}, headers=headers, timeout=30).status_code == 201
    browser.delete(f"{web_app.url}/session", timeout=30)
    gone = browser.get(f"{web_app.url}/session", timeout=30)
    assert (gone.status_code, gone.json()["error"]["code"]) == (401, "api_key_missing")


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_the_first_look_at_a_page_is_small_and_its_files_are_kept_for_ever(
    web_app: App, page: pages.Page
) -> None:
    browser = _signed_in(web_app)
    html = browser.get(web_app.url + page.path, timeout=30)
    assert html.status_code == 200
    assert html.headers["Cache-Control"] == "no-store"
    files = set(re.findall(r'"(/static/[^"#]+)', html.text))
    # None is found only by reading another.
    assert {f.rpartition("/")[2] for f in files} >= {
        "frame.js",
        "api.js",
        "texts.js",
        "base.css",
        "icons.svg",
    }
    size = len(gzip.compress(html.content))
    for path in files:
        got = browser.get(web_app.url + path, timeout=30)
        assert got.headers["Cache-Control"] == assets.FOR_EVER, path
        size += len(gzip.compress(got.content))
    assert size < FIRST_LOOK_BYTES


def test_a_file_of_another_release_is_not_kept(web_app: App) -> None:
    old = requests.get(f"{web_app.url}/static/0000000000000000/css/base.css", timeout=30)
    assert (old.status_code, old.headers["Cache-Control"]) == (200, "no-cache")
    for path in ("css/none.css", "../__init__.py", "..%2f__init__.py"):
        assert requests.get(f"{web_app.url}{assets.address(path)}", timeout=30).status_code == 404


def test_an_error_in_a_browser_is_a_page_and_elsewhere_what_it_was(web_app: App) -> None:
    browser = _signed_in(web_app)
    html = {"Accept": "text/html"}
    within = browser.get(f"{web_app.url}/nope", headers=html, timeout=30)
    assert (within.status_code, 'class="rail"' in within.text) == (404, True)
    alone = requests.get(f"{web_app.url}/nope", headers=html, timeout=30)
    assert (alone.status_code, 'class="rail"' in alone.text) == (404, False)
    assert "There is nothing here" in within.text
    assert "There is nothing here" in alone.text
    for answer in (within, alone):
        assert answer.headers["Content-Security-Policy"]
    assert requests.get(f"{web_app.url}/nope", timeout=30).json()["error"]["code"] == "not_found"
    assert (
        browser.get(f"{web_app.url}/api/v1/nope", headers=html, timeout=30).json()["error"]["code"]
        == "not_found"
    )
    # Neither is an invalid id.
    assert browser.get(f"{web_app.url}/photos/none", headers=html, timeout=30).status_code == 404


def test_doors_to_what_is_installed_are_there_for_admins(parts: Parts, web_app: App) -> None:
    settings = parts.settings.model_copy(update={"doors": "grafana flower"})
    browser = create_app(Parts(settings)).test_client()
    browser.post("/session", json={"api_key": web_app.api_key}, base_url=settings.public_url)
    page = browser.get("/", base_url=settings.public_url).text
    assert page.count('href="/grafana/"') == page.count('href="/flower/"') == 2
    assert "/kibana/" not in page
    made = web_app.installation.run("keys", "create", "--name", "doors", "--scopes", "read")
    try:
        browser.post("/session", json={"api_key": made.stdout.strip()}, base_url=settings.public_url)
        page = browser.get("/", base_url=settings.public_url).text
        assert ('class="rail"' in page, "/grafana/" in page) == (True, False)
    finally:
        web_app.installation.run("keys", "revoke", "--name", "doors")
