"""What of others the pages bring along: unchanged, of a known version, with its licence."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tests.photos import ROOT

VENDOR = ROOT / "app/face_pipeline/web/ui/static/vendor"
LIST: dict[str, dict[str, Any]] = json.loads((VENDOR / "vendor.json").read_text())


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_every_file_of_others_is_in_the_list_with_its_hash() -> None:
    there = {
        str(path.relative_to(VENDOR)): sha256(path.read_bytes())
        for path in VENDOR.rglob("*")
        if path.is_file() and path.name != "vendor.json"
    }
    listed = {name: file["sha256"] for library in LIST.values() for name, file in library["files"].items()}
    assert there == listed


def test_a_file_is_the_package_s_but_for_what_the_list_says_was_appended() -> None:
    for library in LIST.values():
        for name, file in library["files"].items():
            data = (VENDOR / name).read_bytes().removesuffix(file.get("appended", "").encode())
            assert sha256(data) == file["from_sha256"], name


def test_every_library_is_pinned_and_brings_its_licence() -> None:
    for name, library in LIST.items():
        assert library["package"].endswith(f"@{library['version']}")
        assert library["integrity"].startswith("sha512-")
        assert library["licence"] in (VENDOR / name / "LICENSE").read_text()
