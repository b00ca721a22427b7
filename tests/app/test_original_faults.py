"""Files that a disk lost or changed are found, told and found mended, though nobody asks for them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from face_pipeline.ops import originals as reading
from face_pipeline.parts import Parts
from face_pipeline.store.originals import OriginalDamaged, Originals
from sqlalchemy import text

from tests.app import stock
from tests.installation import App, Installation


@pytest.fixture
def names(web_app: App, parts: Parts) -> Iterator[list[str]]:
    """Of five photos' originals, in their order; none was read yet."""
    forget(parts, "DELETE FROM original_rounds")
    yield sorted(stock.sha256(parts, stock.photo(parts, None)) for _ in range(5))
    forget(parts, "DELETE FROM original_rounds")


def forget(parts: Parts, statement: str) -> None:
    with parts.database.transaction() as session:
        session.execute(text(statement))


def told(app: App) -> dict[str, float]:
    """By the metric."""
    lines = app.get("/metrics").text.splitlines()
    name = "face_recognition_original_faults"
    return {fault: float(line.split()[1]) for line in lines for fault in ("missing", "damaged")
            if line.startswith(f'{name}{{fault="{fault}"}}')}  # fmt: skip


def doctor(installation: Installation) -> tuple[str, str]:
    found = json.loads(installation.run("doctor", "--format", "json", check=False).stdout)
    (its,) = (each for each in found if each["check"] == "originals")
    return its["state"], its["message"]


def test_a_run_of_the_indexer_finds_what_is_damaged_and_what_was_mended(
    web_app: App, parts: Parts, names: list[str]
) -> None:
    damaged, missing = (parts.originals.path(name) for name in names[1:3])
    bytes_before = damaged.read_bytes(), missing.read_bytes()
    damaged.chmod(0o600)
    damaged.write_bytes(b"other bytes")
    missing.unlink()
    assert told(web_app) == {"missing": 0, "damaged": 0}
    said = web_app.installation.run("index").stdout
    assert "2 originals missing or damaged; `sudo face-pipeline inspect` names them" in said
    assert told(web_app) == {"missing": 1, "damaged": 1}
    state, message = doctor(web_app.installation)
    assert state == "warn"
    assert "1 file missing, 1 file damaged; `sudo face-pipeline inspect` names them" in message
    # Not one of those that are chosen by chance.
    inspected = web_app.installation.run("inspect", "--originals", "0", check=False)
    assert f"the original {names[1]} has other bytes" in inspected.stderr
    assert f"missing: {names[2]}" in inspected.stdout

    for path, data in zip((damaged, missing), bytes_before, strict=True):
        path.write_bytes(data)
    web_app.installation.run("index")
    assert told(web_app) == {"missing": 0, "damaged": 0}
    state, message = doctor(web_app.installation)
    assert state == "ok"
    assert re.search(r"; each file was read by \d{4}-\d\d-\d\d$", message)


def test_a_round_goes_on_where_the_last_run_ended_and_begins_again_after_a_week(
    parts: Parts, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, read = 0.0, []

    def check(originals: Originals, name: str) -> None:
        """A file a second."""
        nonlocal clock
        clock += 1
        read.append(name)

    monkeypatch.setattr(Originals, "check", check)
    monkeypatch.setattr(reading, "time", SimpleNamespace(monotonic=lambda: clock))
    monkeypatch.setattr(reading, "FILES_AT_ONCE", 2)
    assert reading.inspect(parts, seconds=2) == 2
    assert read == names[:2]
    while reading.inspect(parts, seconds=2):
        pass
    assert sorted(set(read)) == names
    read.clear()
    assert reading.inspect(parts, seconds=2) == 0, "its time has not come"
    assert read == []
    forget(parts, "UPDATE original_rounds SET began_at = began_at - interval '7 days'")
    assert reading.inspect(parts, seconds=9) == 5
    assert read == names


def test_a_photo_whose_original_was_removed_misses_nothing(
    web_app: App, parts: Parts, names: list[str]
) -> None:
    for name in names[:2]:
        parts.originals.path(name).unlink()
    forget(parts, f"UPDATE photos SET original_removed_at = now() WHERE sha256 = '{names[0]}'")
    assert reading.inspect(parts) == 4
    assert told(web_app) == {"missing": 1, "damaged": 0}
    forget(parts, f"UPDATE photos SET original_removed_at = now() WHERE sha256 = '{names[1]}'")
    assert told(web_app) == {"missing": 0, "damaged": 0}


def test_a_file_that_the_disk_cannot_read_is_damaged(tmp_path: Path) -> None:
    """Linux answers as it does for a broken sector (EIO) where nothing is at the beginning of a process."""
    originals, name = Originals(tmp_path), "a" * 64
    originals.path(name).parent.mkdir(parents=True)
    originals.path(name).symlink_to("/proc/self/mem")
    with pytest.raises(OriginalDamaged):
        originals.check(name)
