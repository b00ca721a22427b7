"""docs/api.md: each of its examples is run, and answers as the page says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.app.test_contract import DOCUMENT
from tests.installation import App
from tests.photos import ROOT, astronaut_again, astronaut_jpeg

PAGE = ROOT / "docs/api.md"
COMPARISON = ROOT / "docs/compare.md"
# What an example's "…" stands for: any text, or anything more in a list or an object.
MORE = "…"
FILES = {
    "anna-1.jpg": lambda: astronaut_jpeg(1),
    "anna-2.jpg": lambda: astronaut_jpeg(2),
    "anna-3.jpg": astronaut_again,
    "unknown.jpg": lambda: astronaut_jpeg(3),
    "door.jpg": lambda: astronaut_jpeg(4),
    "unknown.heic": lambda: astronaut_jpeg(5),
    "notes.txt": lambda: b"no photo",
}


@dataclass(frozen=True)
class Example:
    """A command of the page, and what it says that comes back; None: it says nothing."""

    line: int
    command: str
    answer: Any


def _examples() -> Iterator[Example]:
    blocks = list(re.finditer(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL))
    for number, block in enumerate(blocks):
        if block[1] != "sh" or "\napi " not in f"\n{block[2]}":
            continue
        follows = blocks[number + 1] if number + 1 < len(blocks) else None
        answer = _elided(follows[2]) if follows and follows[1] == "json" else None
        commands = [each for each in block[2].replace("\\\n", " ").splitlines() if each.startswith("api ")]
        for each in commands:
            yield Example(PAGE.read_text()[: block.start()].count("\n") + 2, each, answer)


def _elided(text: str) -> Any:
    """The answer of an example; "…" without quotes is an element, or a key, of its own."""
    whole = re.sub(r"\[…\]", f'["{MORE}"]', text)
    whole = re.sub(r", …\]", f', "{MORE}"]', whole)
    return json.loads(re.sub(r"\{…\}", f'{{"{MORE}": null}}', whole))


EXAMPLES = list(_examples())


def _differences(told: Any, given: Any, where: str = "answer") -> list[str]:
    """Where an answer is not of the shape that the page tells: other keys, another kind of value."""
    if isinstance(told, dict) and isinstance(given, dict):
        if MORE in told:
            return []
        if list(told) != list(given):
            return [f"{where}: the page has {list(told)}, the service {list(given)}"]
        return [each for name in told for each in _differences(told[name], given[name], f"{where}.{name}")]
    if isinstance(told, list) and isinstance(given, list):
        if told == [MORE]:
            return []
        if not told or not given:
            return [] if told == given else [f"{where}: the page has {told}, the service {given}"]
        return [each for item in given for each in _differences(told[0], item, where)]
    kinds = [float if isinstance(each, int | float) and not isinstance(each, bool) else type(each)
             for each in (told, given)]  # fmt: skip
    if kinds[0] is not kinds[1]:
        return [f"{where}: the page has {told!r}, the service {given!r}"]
    return []


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_each_example_of_the_page_answers_as_it_says(live_app: App, tmp_path: Path) -> None:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data())
    wrong = []
    ids: dict[str, str] = {}
    for example in EXAMPLES:
        status, given = _run(_filled(example.command, ids), live_app, tmp_path)
        place = f"docs/api.md:{example.line}: {example.command}"
        is_error = example.answer is not None and "error" in example.answer
        if is_error == (200 <= status < 300):
            wrong.append(f"{place}: {status} {given}")
        if example.answer is not None:
            wrong.extend(f"{place}: {each}" for each in _differences(example.answer, given))
        _note(given, ids, live_app)
    assert wrong == []


def _filled(command: str, ids: dict[str, str]) -> str:
    """A command with what HOST and ID stand for where they are."""
    command = re.sub(
        r"(photos|faces|persons|batches)/ID\b", lambda found: f"{found[1]}/{ids[found[1]]}", command
    )
    return re.sub(r"person_id=ID\b", lambda _: f"person_id={ids['persons']}", command)


def _note(given: Any, ids: dict[str, str], app: App) -> None:
    """What later examples need: a photo of the upload, done, its face, and who is on it."""
    if "batch_id" in (given if isinstance(given, dict) else {}) and "photos" in given:
        app.wait_finished(given["batch_id"])
        ids |= {"batches": given["batch_id"], "photos": given["photos"][0]["id"]}
        photo = app.get(f"/api/v1/photos/{ids['photos']}").json()
        ids |= {"faces": photo["faces"][0]["id"], "persons": photo["person"]["id"]}


def _run(command: str, app: App, directory: Path) -> tuple[int, Any]:
    """(status, answer) of an example, made by the page's own function."""
    text = PAGE.read_text()
    (function,) = re.findall(r"^api\(\) .*$", text, re.MULTILINE)
    function = function.replace('--cacert "$CA" ', "--write-out '\\n%{http_code}' ")
    script = f"{function}\n{command.replace('https://HOST', app.url)}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=directory, env={"PATH": "/usr/bin:/bin", "KEY": app.api_key},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, (command, done.stderr)
    body, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(body) if body.startswith("{") else body


def test_the_page_has_an_example_of_what_is_used_most() -> None:
    commands = "\n".join(each.command for each in EXAMPLES)
    for part in (
        "photos=@",
        "/search",
        "/verify",
        "/persons",
        "/faces/",
        "/keys",
        "/events",
        "/audit",
        "DELETE",
    ):
        assert part in commands, part


@pytest.mark.parametrize(
    ("told", "given"),
    [
        ('{"a": 1}', {"a": 1, "b": 2}),
        ('{"a": 1, "b": 2}', {"b": 2, "a": 1}),
        ('{"a": "…"}', {"a": None}),
        ('{"a": [{"b": 1}, …]}', {"a": [{"b": 1}, {"c": 1}]}),
        ('{"a": true}', {"a": 1}),
        ('{"a": []}', {"a": [1]}),
        ('{"a": [1]}', {"a": []}),
    ],
)
def test_another_shape_is_told(told: str, given: Any) -> None:
    assert _differences(_elided(told), given)


def test_the_same_shape_is_taken() -> None:
    told = _elided('{"a": […], "b": {…}, "c": 0.5, "d": [{"e": "…"}, …], "f": null, "g": []}')
    given = {"a": [1, 2], "b": {"x": 1}, "c": 1, "d": [{"e": "x"}, {"e": "y"}], "f": None, "g": []}
    assert _differences(told, given) == []


def test_the_comparison_names_calls_that_there_are() -> None:
    known = {
        (method.upper(), re.sub(r"{\w+}", "{}", path))
        for path, methods in DOCUMENT["paths"].items()
        for method in methods
    }
    # What a comment stands before is not there yet.
    text = re.sub(r"^<!--.*-->\n(.+\n)+", "", COMPARISON.read_text(), flags=re.MULTILINE)
    named = {
        (method, re.sub(r"{\w+}", "{}", f"/api/v1{path}"))
        for method, path in re.findall(r"`(GET|POST|PATCH|DELETE)\s(/[\w/{}]+)", text)
    }
    assert len(named) > 20
    assert named - known == set()


def test_the_comparison_says_of_every_feature_what_is_here() -> None:
    rows = re.findall(r"^\| \[[^]]+\]\(#([\w-]+)\) \|(.*)\|$", COMPARISON.read_text(), re.MULTILINE)
    headings = re.findall(r"^### (.*)$", COMPARISON.read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^\w\s-]", "", each.lower()).replace(" ", "-") for each in headings}
    assert {anchor for anchor, _ in rows} == anchors
    for anchor, cells in rows:
        values = [each.strip() for each in cells.split("|")]
        assert len(values) == 8, anchor
        assert set(values) <= {"yes", "part", "–", "?"}, anchor
