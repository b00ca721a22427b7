"""`face-pipeline inspect`: whether the originals and the indexes are what the database says."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from face_pipeline.parts import Parts
from face_pipeline.store.originals import WAY_BACK, Originals

from tests.app import stock
from tests.installation import App, Installation


def inspected(installation: Installation, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = installation.run("inspect", "--json", *arguments, check=False)
    return done.returncode, json.loads(done.stdout)


@pytest.fixture
def photos(web_app: App, parts: Parts) -> list[str]:
    """Hashes of originals that are on the disk, with their photos."""
    return [stock.sha256(parts, stock.photo(parts, None)) for _ in range(3)]


def test_all_is_well_and_counted(clean: Installation, photos: list[str]) -> None:
    status, found = inspected(clean)
    assert (status, found["faults"], found["missing"]) == (0, [], [])
    assert (found["holdings"]["photos"], found["originals"], found["read"]) == (3, 3, 3)
    said = clean.run("inspect").stdout
    assert said.startswith("3 photos, 3 faces, 0 persons; the newest photo is of 20")
    assert inspected(clean, "--originals", "2")[1]["read"] == 2


def test_a_damaged_original_is_named(clean: Installation, parts: Parts, photos: list[str]) -> None:
    path = parts.originals.path(photos[0])
    path.chmod(0o600)
    path.write_bytes(b"other bytes")
    status, found = inspected(clean)
    assert (status, found["damaged"]) == (1, [photos[0]])
    assert f"the original {photos[0]} has other bytes" in clean.run("inspect", check=False).stderr


@pytest.mark.campaign("it starts the command again and again")
def test_a_missing_original_is_named_and_a_failure_unless_it_is_expected(
    clean: Installation, parts: Parts, photos: list[str]
) -> None:
    parts.originals.path(photos[1]).unlink()
    status, found = inspected(clean)
    assert (status, found["missing"], found["read"]) == (1, [photos[1]], 2)
    assert inspected(clean, "--missing")[0] == 0
    assert f"missing: {photos[1]}" in clean.run("inspect", "--missing").stdout


# Seconds, of a database that is older than every file.
LONG = 1e10


def test_no_original_is_swept_while_there_is_a_way_back(parts: Parts, tmp_path: Path) -> None:
    originals = Originals(tmp_path)
    data = b"of a photo that the restored database does not know"
    name = hashlib.sha256(data).hexdigest()
    originals.write({name: data})
    os.utime(originals.path(name), (1, 1))
    (tmp_path / WAY_BACK).touch()
    assert originals.sweep(lambda _: False, LONG) == (0, 0)
    assert originals.path(name).exists()
    (tmp_path / WAY_BACK).unlink()
    assert originals.sweep(lambda _: False, LONG) == (1, 0)
