"""The pages at /docs: what a reader finds there is true, whole, and runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import jsonschema
import pytest
import requests
from face_pipeline.web.docs import reading, samples

from tests.app.test_contract import DOCUMENT
from tests.installation import App
from tests.photos import astronaut_again, astronaut_jpeg

COMPONENTS: dict[str, Any] = DOCUMENT["components"]["schemas"]
CALLS = [
    (method, path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]
PAGES = ("/docs", "/docs/errors", *(f"/docs/{name}" for name in reading.subjects()))


class Page(HTMLParser):
    """What a page has: its links, the ids to link to, scripts and styles of its own."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.inline: list[str] = []
        self.loaded: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids.extend(filter(None, [given.get("id")]))
        if tag == "a":
            self.links.append(given["href"] or "")
        self.loaded.extend(filter(None, [given.get("src"), given.get("href") if tag == "link" else None]))
        if tag == "style" or (tag == "script" and not given.get("src")):
            self.inline.append(tag)
        self.inline.extend(name for name in given if name == "style" or name.startswith("on"))

    def handle_data(self, data: str) -> None:
        self.text += data


def _read(url: str) -> Page:
    answer = requests.get(url, timeout=30)
    assert answer.status_code == 200, url
    return Page(answer.text)


def test_every_call_stands_on_one_page_with_its_address_and_its_command(web_app: App) -> None:
    pages = [_read(web_app.url + path) for path in PAGES]
    for _, path, operation in CALLS:
        (page,) = (page for page in pages if operation["operationId"] in page.ids)
        assert path in page.text
        assert operation["summary"] in page.text
        for status in operation["responses"]:
            assert status in page.text
    assert all(operation["summary"] in pages[0].text for _, _, operation in CALLS)


def test_every_code_of_an_error_stands_on_its_page(web_app: App) -> None:
    page = _read(f"{web_app.url}/docs/errors")
    shown = {each.split("-")[2] for each in page.ids if each.startswith("code-")}
    assert shown == set(COMPONENTS["Problem"]["properties"]["code"]["examples"])
    assert len(page.ids) == len(set(page.ids))


def test_an_error_leads_to_where_its_code_stands(web_app: App) -> None:
    ids = _read(f"{web_app.url}/docs/errors").ids
    for answer, code in (
        (web_app.get(f"/api/v1/photos/{uuid.uuid4()}"), "photo_not_found"),
        (web_app.get("/api/v1/nothing"), "not_found"),
        (web_app.get("/api/v1/photos?limit=many"), "parameter"),
        (web_app.request("DELETE", "/api/v1/search"), "method_not_allowed"),
        (requests.get(f"{web_app.url}/api/v1/photos", timeout=30), "api_key_missing"),
    ):
        assert answer.json()["error"]["code"] == code
        (link,) = requests.utils.parse_header_links(answer.headers["Link"])
        target = urlsplit(link["url"])
        assert (link["rel"], target.path) == ("help", "/docs/errors")
        assert target.fragment == f"code-{answer.status_code}-{code}"
        assert target.fragment in ids
    assert "Link" not in web_app.get("/api/v1/photos").headers


def test_every_link_leads_to_something_that_is_there(web_app: App) -> None:
    pages = {path: _read(web_app.url + path) for path in PAGES}
    for path, page in pages.items():
        for link in {*page.links, *page.loaded}:
            target = urlsplit(urljoin(path, link))
            assert not target.netloc, f"{path} leads to another host: {link}"
            if target.path not in pages:
                assert requests.get(web_app.url + target.path, timeout=30).status_code == 200, (path, link)
            elif target.fragment:
                assert target.fragment in pages[target.path].ids, f"{path}: {link}"


def test_pages_need_no_key_and_may_run_nothing_of_their_own(web_app: App) -> None:
    first_page = requests.get(web_app.url, timeout=30).headers["Content-Security-Policy"]
    for path in (*PAGES, "/docs?q=photo", "/docs/"):
        answer = requests.get(web_app.url + path, timeout=30)
        assert answer.status_code == 200
        assert answer.headers["Content-Security-Policy"] == first_page
        assert "Set-Cookie" not in answer.headers
        assert Page(answer.text).inline == [], path


def test_a_page_that_did_not_change_is_not_sent_again(web_app: App) -> None:
    url = f"{web_app.url}/docs/persons"
    tag = requests.get(url, timeout=30).headers["ETag"]
    again = requests.get(url, headers={"If-None-Match": tag}, timeout=30)
    assert (again.status_code, again.content) == (304, b"")


def test_a_page_that_is_not_there_says_where_to_look(web_app: App) -> None:
    answer = requests.get(f"{web_app.url}/docs/nothing", headers={"Accept": "text/html"}, timeout=30)
    assert answer.status_code == 404
    assert "/docs" in answer.text


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("undo", "undo_merge"),
        ("MERGE undo", "undo_merge"),
        ("representative_face", "create_person"),
        ("/api/v1/hooks/{hook_id}/test", "test_hook"),
        ("min_face_size", "detect"),
    ],
)
def test_a_search_finds_the_call_that_has_the_words(web_app: App, query: str, expected: str) -> None:
    page = Page(requests.get(f"{web_app.url}/docs", params={"q": query}, timeout=30).text)
    assert any(link.endswith(f"#{expected}") for link in page.links)


def test_a_search_for_the_code_of_an_error_leads_to_it(web_app: App) -> None:
    page = Page(requests.get(f"{web_app.url}/docs", params={"q": "person_exists"}, timeout=30).text)
    assert "/docs/errors#code-409-person_exists" in page.links


@pytest.mark.parametrize(
    "query",
    [
        "<script>alert(1)</script>",
        "no call has this",
        "x" * 5000,
        "\0",
        "'\"><img src=x>",
        "🙂",
        "%",
        "{{7*7}}",
    ],
    ids=["markup", "nothing", "long", "nul", "quotes", "emoji", "percent", "template"],
)
def test_any_search_is_answered_and_shown_as_text(web_app: App, query: str) -> None:
    answer = requests.get(f"{web_app.url}/docs", params={"q": query}, timeout=30)
    assert answer.status_code == 200
    page = Page(answer.text)
    assert page.inline == []
    assert "<img" not in answer.text
    if query.isascii() and len(query) < 100 and query != "\0":
        assert f"“{query}”" in page.text


def _schemas(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (each for name, each in node.items() if name == "$ref")
        for each in node.values():
            yield from _schemas(each)
    elif isinstance(node, list):
        for each in node:
            yield from _schemas(each)


def test_every_name_of_a_schema_leads_to_one() -> None:
    assert {name for name in _schemas(DOCUMENT) if name.rpartition("/")[2] not in COMPONENTS} == set()
    assert all(name.startswith("#/components/schemas/") for name in _schemas(DOCUMENT))


@pytest.mark.parametrize("call", CALLS, ids=lambda call: str(call[2]["operationId"]))
def test_examples_are_what_the_call_takes_and_answers(call: tuple[str, str, dict[str, Any]]) -> None:
    operation = call[2]
    for response in operation["responses"].values():
        if schema := response.get("content", {}).get("application/json", {}).get("schema"):
            _check(samples.answer(schema, COMPONENTS), schema)
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content:
        body = samples.body(operation["operationId"], content["schema"])
        assert body
        _check(body, content["schema"])


def _check(value: Any, schema: dict[str, Any]) -> None:
    checked = jsonschema.Draft202012Validator(
        {**schema, "components": DOCUMENT["components"]}, format_checker=jsonschema.FormatChecker()
    )
    checked.validate(value)


# What a call answers here, where the thing that it needs is not there.
OTHERWISE = {
    "retry_photo": "photo_not_failed",
    "add_embeddings": "contract_mismatch",
    "import_records": "contract_mismatch",
    "undo_merge": "merge_not_found",
    "get_cluster": "cluster_not_found",
    "hide_cluster": "cluster_not_found",
    "name_cluster": "cluster_not_found",
    "sign_in": "api_key_invalid",
    # Of the session in a cookie; the commands send a key.
    "get_session": "api_key_missing",
    # Nothing observes this installation.
    "silence_alerts": "observation_off",
    "end_silence": "observation_off",
}
# They take away what the others need.
LAST = ("move_photo", "merge_persons")


def test_every_command_of_the_pages_runs(live_app: App, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    (tmp_path / "key.header").write_text(f"Authorization: Bearer {live_app.api_key}")
    (tmp_path / "photo.jpg").write_bytes(astronaut_jpeg())
    (tmp_path / "records.jsonl").write_text("")
    names = _stock(live_app)
    calls = sorted(reading.calls(), key=lambda call: (call.method == "DELETE", call.operation in LAST))
    assert len(calls) == len(CALLS)
    wrong = {}
    for call in calls:
        for _, command in call.commands(live_app.url):
            for name, value in names.items():
                command = re.sub(rf"\b{name}\b", value, command)
            # The files that a command takes stay as they are.
            command = command.replace("--output photo.jpg", "--output answer")
            status, body = _run(command, tmp_path)
            code = body["error"]["code"] if isinstance(body, dict) and "error" in body else ""
            if code != OTHERWISE.get(call.operation, "") or (not code and not 200 <= status < 300):
                wrong[command] = (status, body)
    assert sorted(wrong) == [], wrong


def _stock(app: App) -> dict[str, str]:
    """Ids for the names in the commands."""
    first = app.upload(("a.jpg", astronaut_jpeg()), person="Eileen").json()
    second = app.upload(("b.jpg", astronaut_again()), person="Eileen").json()
    for each in (first, second):
        app.wait_finished(each["batch_id"])
    photos = [app.get(f"/api/v1/photos/{each['photos'][0]['id']}").json() for each in (first, second)]
    new = app.request("POST", "/api/v1/keys", json={"name": "spare", "scopes": ["read"]}).json()
    app.request("POST", "/api/v1/collections", json={"name": "guests"})
    other = app.request("POST", "/api/v1/persons", json={"name": "Somebody"}).json()
    hook = app.request("POST", "/api/v1/hooks", json={"url": "https://receiver.example.org/all"}).json()
    session = app.request("POST", "/session", json={"api_key": app.api_key}).json()
    unknown = "0197c2a8-0000-7000-8000-000000000000"
    return {
        "PHOTO_ID": photos[0]["id"], "BATCH_ID": first["batch_id"], "FACE_ID": photos[0]["faces"][0]["id"],
        "PERSON_ID": photos[0]["person"]["id"], "OTHER_PERSON_ID": other["id"],
        "OTHER_FACE_ID": photos[1]["faces"][0]["id"], "KEY_ID": new["id"], "COLLECTION": "guests",
        "MERGE_ID": unknown, "CLUSTER_ID": unknown, "HOOK_ID": hook["id"], "SILENCE_ID": unknown,
        "SESSION_ID": session["id"], "REASON": "engine_error",
    }  # fmt: skip


def _run(command: str, directory: Path) -> tuple[int, Any]:
    """(status, answer: of JSON, or text)."""
    asked = command.replace("curl ", "curl --silent --show-error --write-out '\\n%{http_code}' ", 1)
    done = subprocess.run(
        ["bash", "-c", asked], cwd=directory, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, (command, done.stderr)
    text, _, status = done.stdout.rpartition("\n")
    try:
        return int(status), json.loads(text)
    except json.JSONDecodeError:
        return int(status), text[:300]
