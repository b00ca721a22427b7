"""What programs would send to their vendors is switched off where docs/security.md says so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.photos import ROOT

ROW = re.compile(r"^\| [^|]*\| (?P<would>[^|]+) \| `(?P<switch>[^`]+)` \| `(?P<place>[^`]+)` \|$", re.M)
SECTION = (ROOT / "docs/security.md").read_text().partition("## Nothing leaves\n")[2].partition("\n## ")[0]
SWITCHES = [match.groupdict() for match in ROW.finditer(SECTION)]
# InsightFace's parts that open a model's file; others fetch one that is not there.
WITHOUT_DOWNLOAD = {"insightface.model_zoo.arcface_onnx", "insightface.model_zoo.scrfd"}


def files_of(place: Path) -> list[Path]:
    return [path for path in place.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


@pytest.mark.parametrize("row", SWITCHES, ids=lambda row: row["would"])
def test_each_switch_is_where_the_table_says(row: dict[str, str]) -> None:
    place = ROOT / row["place"]
    files = [place] if place.is_file() else files_of(place)
    assert any(row["switch"] in path.read_text(errors="replace") for path in files)


def test_the_table_is_read() -> None:
    assert len(SWITCHES) == SECTION.count("\n| ") - 1 >= 15


def test_what_reports_to_a_vendor_is_in_no_lock() -> None:
    for lock in (ROOT / "requirements").glob("*.lock"):
        named = re.findall(r"^openvino-telemetry==\S+(.*)$", lock.read_text(), re.M)
        assert all("sys_platform == 'never'" in marker for marker in named), lock.name


def test_pip_never_asks_for_its_newest_version() -> None:
    calls = re.compile(r"bin/pip\"? (?:install|download)\b.*")
    found = [
        (path.name, call)
        for path in (ROOT / "lib.sh", *files_of(ROOT / "roles"))
        for call in calls.findall(path.read_text(errors="replace"))
    ]
    assert len(found) >= 4
    assert [each for each in found if "--disable-pip-version-check" not in each[1]] == []


def test_no_model_is_fetched() -> None:
    imported = {
        module
        for path in (ROOT / "app").rglob("*.py")
        for module in re.findall(r"^\s*(?:from|import) (insightface\S*)", path.read_text(), re.M)
    }
    assert imported
    assert imported <= WITHOUT_DOWNLOAD


@pytest.mark.parametrize(
    ("place", "word"),
    [
        ("files/logstash", r"\bgeoip\s*\{"),
        ("roles/filebeat", r"\badd_cloud_metadata:"),
        ("roles/nginx/templates", r"\bssl_stapling\s+on"),
    ],
)
def test_what_would_ask_somebody_is_not_used(place: str, word: str) -> None:
    using = [
        path.name for path in files_of(ROOT / place) if re.search(word, path.read_text(errors="replace"))
    ]
    assert using == []
