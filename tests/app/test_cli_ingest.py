"""`face-pipeline ingest`: from a directory, an archive or a table, stopped at any moment and gone on with."""

from __future__ import annotations

import io
import json
import os
import signal
import struct
import subprocess
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.app.cli import Person, person_at
from tests.app.test_client import Busy
from tests.installation import App, wait_until
from tests.photos import astronaut, jpeg


def small(number: int) -> bytes:
    """A photo of its own, small and quickly made."""
    return SMALL[:2] + b"\xff\xfe\x00\x0a" + f"{number:08}".encode() + SMALL[2:]


SMALL = jpeg(astronaut().resize((96, 96), Image.Resampling.BILINEAR))


def broken_png() -> bytes:
    """With a right checksum over wrong data: nothing that does not decode it sees that."""
    data = bytearray(png())
    start = data.index(b"IDAT") + 4
    data[start + 2 : start + 2000] = b"\xff" * 1998
    length = struct.unpack(">I", data[start - 8 : start - 4])[0]
    data[start + length : start + length + 4] = struct.pack(
        ">I", zlib.crc32(data[start - 4 : start + length])
    )
    return bytes(data)


def png() -> bytes:
    buffer = io.BytesIO()
    astronaut().save(buffer, "PNG")
    return buffer.getvalue()


def photos_in(app: App, collection: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while cursor is not None:
        more = {"cursor": cursor} if cursor else {}
        page = app.get("/api/v1/photos", params={"collection": collection, "limit": 200, **more}).json()
        found += page["photos"]
        cursor = page["next_cursor"]
    return found


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.stdout, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_an_ingest_that_is_killed_twice_puts_in_each_photo_once(
    web_app: App,
    anna: Person,
    tmp_path: Path,
) -> None:
    album = tmp_path / "album"
    for number in range(500):
        folder = album / f"{number % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(small(number))
    state = anna.home / "state.jsonl"
    command = (
        "ingest",
        album,
        "--collection",
        "big",
        "--workers",
        "3",
        "--per-request",
        "5",
        "--state",
        state,
    )
    for lines in (60, 260):
        running = anna.starts(*command)

        def dealt_with(lines: int = lines, running: subprocess.Popen[str] = running) -> bool:
            return running.poll() is not None or (state.exists() and state.read_bytes().count(b"\n") >= lines)

        wait_until(dealt_with, 60, f"{lines} photos to be in", every=0.01)
        running.kill()
        assert running.wait() == -signal.SIGKILL, running.communicate()
    done = anna.types(*command, "--json")
    assert done.returncode == 0, done.stderr
    report = told(done)
    assert report["accepted"] + report["duplicates"] == 500
    assert 260 <= report["earlier"] < 500
    hashes = Counter(photo["sha256"] for photo in photos_in(web_app, "big"))
    assert len(hashes) == 500
    assert set(hashes.values()) == {1}
    # Nothing is sent any more.
    again = told(anna.types(*command, "--json"))
    assert (again["earlier"], again["accepted"] + again["duplicates"]) == (500, 500)


def test_a_line_that_was_half_written_is_sent_again(
    web_app: App,
    anna: Person,
    tmp_path: Path,
) -> None:
    album = tmp_path / "album"
    album.mkdir()
    for number in range(3):
        (album / f"{number}.jpg").write_bytes(small(number))
    state = anna.home / "state.jsonl"
    command = ("ingest", album, "--state", state, "--per-request", "1", "--workers", "1", "--json")
    assert told(anna.types(*command))["accepted"] == 3
    state.write_bytes(state.read_bytes()[:-20])
    report = told(anna.types(*command))
    assert (report["earlier"], report["accepted"], report["duplicates"]) == (2, 2, 1)
    assert all(line.startswith(b"{") for line in state.read_bytes().splitlines())
    assert len(photos_in(web_app, "default")) == 3
    # A photo with other content is another photo, whatever its name.
    (album / "1.jpg").write_bytes(small(77))
    report = told(anna.types(*command))
    assert (report["earlier"], report["accepted"], report["duplicates"]) == (2, 2, 1)
    assert len(photos_in(web_app, "default")) == 4


def test_what_cannot_be_used_is_named_and_the_rest_is_in(
    web_app: App,
    anna: Person,
    tmp_path: Path,
) -> None:
    album = tmp_path / "album"
    (album / "Berta").mkdir(parents=True)
    (album / "a.jpg").write_bytes(small(1))
    (album / "twin.jpg").write_bytes(small(1))
    (album / "text.jpg").write_bytes(b"no photo")
    (album / "huge.jpg").write_bytes(small(2) + b"x" * (4 * 1024**2))
    (album / "gone.jpg").symlink_to("nowhere")
    (album / "notes.txt").write_text("left out")
    (album / ".hidden.jpg").write_bytes(small(3))
    (album / "Berta" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(small(4))
    done = anna.types("ingest", album, "--person-from", "folder", "--json")
    assert done.returncode == 1
    report = told(done)
    assert (report["accepted"], report["duplicates"], report["left_out"]) == (2, 1, 2)
    assert {(each["where"], each["code"]) for each in report["refused"]} == {
        ("text.jpg", "unsupported_type"),
        ("huge.jpg", "too_large"),
    }
    assert [each["where"] for each in report["unreadable"]] == ["gone.jpg"]
    people = {photo["filename"]: photo["person"] for photo in photos_in(web_app, "default")}
    assert len(people) == 2
    assert people["café.jpg"]["name"] == "Berta"
    said = anna.types("ingest", album, "--person-from", "folder")
    assert said.returncode == 1
    assert "3 photos in default: 2 new, 1 known before (3 of all by an earlier run)" in said.stdout
    assert "text.jpg: " in said.stdout
    assert "Traceback" not in said.stderr


def test_a_name_that_cannot_be_kept_is_refused_for_its_photos_alone(
    web_app: App,
    anna: Person,
    tmp_path: Path,
) -> None:
    for number, name in enumerate(("Anna", "x" * 201)):
        folder = tmp_path / "album" / name
        folder.mkdir(parents=True)
        (folder / "1.jpg").write_bytes(small(number))
    report = told(anna.types("ingest", tmp_path / "album", "--person-from", "folder", "--json"))
    assert report["accepted"] == 1
    assert [each["code"] for each in report["refused"]] == ["person_name"]


def packed(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_an_archive_is_read_without_unpacking_and_its_traps_are_named(
    web_app: App,
    anna: Person,
    tmp_path: Path,
) -> None:
    archive = tmp_path / "photos.zip"
    encrypted = bytearray(packed({"Anna/secret.jpg": small(5)}))
    bomb = packed({"Anna/bomb.jpg": b"\0" * 30_000_000}, zipfile.ZIP_DEFLATED)
    for start in (b"PK\x03\x04", b"PK\x01\x02"):
        encrypted[encrypted.index(start) + (6 if start[2] == 3 else 8)] |= 1
    broken = packed({"Anna/1.jpg": small(6)}).replace(b"00000006", b"00000007")
    archive.write_bytes(
        packed({
            "photos/Anna/1.jpg": small(1), "photos/Berta/é/2.jpg": small(2), "/photos/Berta/3.jpg": small(3),
            "../../photos/Berta/../4.jpg": small(4), "__MACOSX/photos/Anna/._1.jpg": b"x",
            "photos/list.txt": b"x",
        })
    )  # fmt: skip
    report = told(anna.types("ingest", archive, "--person-from", "folder", "--json"))
    assert (report["accepted"], report["left_out"]) == (4, 2)
    people = {photo["filename"]: photo["person"]["name"] for photo in photos_in(web_app, "default")}
    assert people == {"1.jpg": "Anna", "2.jpg": "Berta", "3.jpg": "Berta", "4.jpg": "Berta"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "photos.zip"]
    for data, code, words in (
        (bytes(encrypted), "encrypted", "with its password first"),
        (bomb, "zip_bomb", "times its size"),
        (broken, "unreadable", "damaged in the archive"),
    ):
        archive.write_bytes(data)
        report = told(anna.types("ingest", archive, "--json", "--fresh"))
        (told_of,) = report["unreadable"]
        assert told_of["code"] == code
        assert words in told_of["message"]
    archive.write_bytes(b"no archive")
    done = anna.types("ingest", archive)
    assert done.returncode == 1
    assert done.stderr.startswith("face-pipeline: ")
    assert "is no ZIP archive that can be read" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_archive_of_very_many_entries_is_looked_through(anna: Person, tmp_path: Path) -> None:
    archive = tmp_path / "many.zip"
    with zipfile.ZipFile(archive, "w") as made:
        for number in range(100_000):
            made.writestr(f"d/{number}.txt", b"")
        made.writestr("d/a.jpg", small(1))
    report = told(anna.types("ingest", archive, "--json"))
    assert (report["accepted"], report["left_out"]) == (1, 100_000)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_table_names_files_and_people(
    web_app: App,
    anna: Person,
    tmp_path: Path,
    encoding: str,
) -> None:
    (tmp_path / "ä.jpg").write_bytes(small(1))
    (tmp_path / "b.jpg").write_bytes(small(2))
    table = tmp_path / "photos.csv"
    mark = ";" if encoding == "utf-16" else ","
    lines = ["Path,Person", "ä.jpg,Ännchen", "b.jpg,", "missing.jpg,Carla", ",Nobody", ""]
    table.write_text("\r\n".join(lines).replace(",", mark), encoding=encoding, newline="")
    done = anna.types("ingest", table, "--json")
    assert done.returncode == 1
    report = told(done)
    assert report["accepted"] == 2
    assert [(each["where"], each["code"]) for each in report["unreadable"]] == [
        ("photos.csv line 4: missing.jpg", "missing"),
        ("photos.csv line 5", "no_path"),
    ]
    people = {photo["filename"]: photo["person"] for photo in photos_in(web_app, "default")}
    assert {name: who and who["name"] for name, who in people.items()} == {"ä.jpg": "Ännchen", "b.jpg": None}


def test_a_table_of_another_encoding_says_which_line_and_what_to_do(
    web_app: App,
    anna: Person,
    tmp_path: Path,
) -> None:
    (tmp_path / "a.jpg").write_bytes(small(1))
    table = tmp_path / "photos.csv"
    table.write_bytes(b"path,person\na.jpg,Ren\xe9\n")
    done = anna.types("ingest", table)
    assert done.returncode == 1
    assert "line 2 is not UTF-8; say what it is, for Excel's tables often --encoding cp1252" in done.stderr
    assert told(anna.types("ingest", table, "--encoding", "cp1252", "--json"))["accepted"] == 1
    assert photos_in(web_app, "default")[0]["person"]["name"] == "René"
    table.write_bytes(b"file,person\na.jpg,x\n")
    assert (
        "has no column 'path' in its first line; its columns: file, person"
        in anna.types("ingest", table).stderr
    )


def test_two_runs_at_once_are_one_too_many(anna: Person, tmp_path: Path) -> None:
    from face_pipeline.cli.state import Goal, State

    album = tmp_path / "album"
    album.mkdir()
    path = tmp_path / "state.jsonl"
    goal = Goal(anna.environment["FACE_URL"], "default", str(album))
    held = State(path, goal)
    try:
        done = anna.types("ingest", album, "--state", path)
    finally:
        held.close()
    assert done.returncode == 1
    assert "another run puts the same photos in" in done.stderr
    other = anna.types("ingest", album, "--state", path, "--collection", "other")
    assert "is of another ingest" in other.stderr


@pytest.mark.campaign("it waits as long as a busy service says")
def test_a_busy_service_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(small(1))
    with Busy("0", 9) as busy:
        somebody = person_at(busy.url, tmp_path, "key")
        done = somebody.types("ingest", tmp_path / "a.jpg")
        # It came as far as an answer, though this service says nothing of photos.
        assert busy.asked == 10
    assert "this is no answer of a Face Pipeline" in done.stderr


def test_ctrl_c_leaves_what_can_be_gone_on_with(
    web_app: App,
    anna: Person,
    tmp_path: Path,
) -> None:
    album = tmp_path / "album"
    album.mkdir()
    for number in range(200):
        (album / f"{number}.jpg").write_bytes(small(number))
    state = anna.home / "state.jsonl"
    command = ("ingest", album, "--workers", "2", "--per-request", "2", "--state", state)
    running = anna.starts(*command)
    wait_until(lambda: state.exists() and state.read_bytes().count(b"\n") > 10, 60, "photos to be in", 0.01)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=120)
    assert running.returncode == 130
    assert "Stopped. Run the same command again: it goes on where it was." in errors
    assert "Traceback" not in errors
    # What the service answered is known, to the last photo.
    there = len(photos_in(web_app, "default"))
    report = told(anna.types(*command, "--json"))
    assert report["earlier"] == there
    assert report["accepted"] == len(photos_in(web_app, "default")) == 200
    assert report["duplicates"] == 0


def test_who_waits_is_told_what_failed_in_processing(
    live_app: App,
    anna: Person,
    tmp_path: Path,
) -> None:
    album = tmp_path / "album"
    album.mkdir()
    (album / "good.jpg").write_bytes(jpeg(astronaut()))
    (album / "broken.png").write_bytes(broken_png())
    done = anna.types("ingest", album, "--wait", "--json")
    assert done.returncode == 1
    report = told(done)
    assert report["accepted"] == 2
    assert [each["where"] for each in report["failed"]] == ["broken.png"]
    assert report["failed"][0]["code"]


def test_a_wrong_key_ends_at_once_and_nothing_is_noted(
    web_app: App,
    anna: Person,
    tmp_path: Path,
) -> None:
    album = tmp_path / "album"
    album.mkdir()
    for number in range(30):
        (album / f"{number}.jpg").write_bytes(small(number))
    (anna.home / "key").write_text("fp_wrong")
    done = anna.types("ingest", album, "--per-request", "1")
    assert done.returncode == 1
    assert "(401 api_key_invalid" in done.stderr
    assert "Traceback" not in done.stderr
    (anna.home / "key").write_text(web_app.api_key)
    assert told(anna.types("ingest", album, "--json"))["accepted"] == 30
