"""`face-pipeline export` and `import`: as files and back, also where either is killed in the middle."""

from __future__ import annotations

import hashlib
import json
import signal
import tarfile
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from face_pipeline.actions import retention
from face_pipeline.engine import contract_id
from face_pipeline.parts import Parts
from face_pipeline.store import collections, imports
from face_pipeline.store.audit import SERVICE
from face_pipeline.store.ledger import NewPhoto
from face_pipeline.store.models import Collection, State
from sqlalchemy import update

from tests.app import stock
from tests.app.cli import Person
from tests.app.test_embeddings import add
from tests.app.test_ledger import a_face
from tests.app.test_transfer import a_face as a_face_line
from tests.app.test_transfer import a_person, a_photo, empty, exported, originals
from tests.app.test_vectors import axis
from tests.installation import App, wait_until
from tests.photos import astronaut_jpeg, no_face


def fill(parts: Parts, number: int, collection: str = "from") -> list[bytes]:
    """So many done photos, each of one of ten persons, with a face each; their originals."""
    people = [stock.person(parts, f"Person {each}", collection) for each in range(10)]
    data = [astronaut_jpeg(each) for each in range(1, number + 1)]
    parts.originals.write({hashlib.sha256(each).hexdigest(): each for each in data})
    records = []
    for at, each in enumerate(data):
        owner, found = people[at % 10], a_face()
        face = imports.FaceRecord(
            uuid.uuid4(), owner, found.bbox.tolist(), found.landmarks.tolist(), float(found.detection_score),
            float(found.quality), found.embedding,
        )  # fmt: skip
        photo = NewPhoto(hashlib.sha256(each).hexdigest(), f"{at}.jpg", "image/jpeg", len(each), 512, 512)
        records.append(
            imports.PhotoRecord(
                uuid.uuid4(), photo, State.DONE, owner, 1, None, None, moment(at), moment(at), [face]
            )
        )
    with parts.database.transaction() as session:
        found_collection = collections.open_collection(session, collection, parts.pack)
        imports.add_photos(session, found_collection, records, request_id=None, by=SERVICE)
    return data


def moment(second: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second, microseconds=7)


def lines_of(target: Path) -> list[dict[str, Any]]:
    if target.suffix == ".tar":
        with tarfile.open(target) as tar:
            stream = tar.extractfile("export.jsonl")
            assert stream is not None
            data = stream.read()
    else:
        data = (target / "export.jsonl").read_bytes()
    return [json.loads(line) for line in data.splitlines()]


@pytest.mark.parametrize("target", ["copy", "copy.tar"])
def test_a_collection_comes_back_from_files_as_it_was(
    web_app: App, parts: Parts, anna: Person, target: str
) -> None:
    fill(parts, 7)
    body = {"collection": "from", "name": "Ŵith 🦄", "metadata": {"a": [1.5]}}
    person = web_app.request("POST", "/api/v1/persons", json=body).json()["id"]
    assert add(web_app, person, [axis(3).tolist()]).status_code == 201
    before = exported(web_app)
    files = originals(web_app, before)
    done = anna.types("export", "from", target)
    assert done.returncode == 0, done.stderr
    assert "11 persons, 7 photos, 8 faces" in done.stdout
    kept = anna.home / target
    names = sorted(each.name for each in anna.home.iterdir())
    assert names == ["copy" if target == "copy" else "copy.tar", "key"]
    assert (kept.stat().st_mode & 0o077) == 0, "for nobody else to read"
    lines = lines_of(kept)
    assert [each["kind"] for each in lines] == [
        "collection", *["person"] * 11, *["photo"] * 7, "face", "end"
    ]  # fmt: skip
    assert lines[-1] == {"kind": "end", "persons": 11, "photos": 7, "faces": 8}
    assert "already" in anna.types("export", "from", target).stderr

    empty(web_app)
    done = anna.types("import", target, "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    told = json.loads(done.stdout)
    assert (told["made"], told["there"]) == ({"person": 11, "photo": 7, "face": 1}, {})
    assert exported(web_app) == before
    assert originals(web_app, before) == files
    again = anna.types("import", target)
    assert again.returncode == 0
    assert "photos: 0 new in from, 7 there before" in again.stdout
    assert exported(web_app) == before
    stock.check_consistent(parts)


def test_files_are_read_without_us(web_app: App, parts: Parts, anna: Person) -> None:
    data = fill(parts, 3)
    anna.types("export", "from", "copy")
    photos = [each for each in lines_of(anna.home / "copy") if each["kind"] == "photo"]
    found = [(anna.home / "copy" / each["original"]).read_bytes() for each in photos]
    assert sorted(found) == sorted(data)
    for each, bytes_ in zip(photos, found, strict=True):
        assert hashlib.sha256(bytes_).hexdigest() == each["sha256"]
        assert each["original"].endswith(".jpg")
        assert len(each["faces"][0]["embedding"]) == parts.pack.dimension


def kill_when(anna: Person, arguments: tuple[str, ...], ready: Callable[[], bool]) -> None:
    process = anna.starts(*arguments)
    end = time.monotonic() + 120
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize(
    "target", ["copy.tar", pytest.param("copy", marks=pytest.mark.campaign("that of one file is tested"))]
)
def test_an_export_that_is_killed_goes_on_and_misses_nothing(
    web_app: App, parts: Parts, anna: Person, target: str
) -> None:
    fill(parts, 300)
    state = anna.home / ("copy.tar.state" if target == "copy.tar" else "copy/export.state")

    def photos() -> int:
        return int(json.loads(state.read_bytes())["counts"]["photo"]) if state.exists() else 0

    for wanted in (50, 150):
        kill_when(anna, ("export", "from", target), lambda wanted=wanted: photos() >= wanted)  # type: ignore[misc]
        assert 50 <= photos() < 300
        assert anna.types("import", target).returncode != 0, "a part of an export is none"
    done = anna.types("export", "from", target)
    assert done.returncode == 0, done.stderr
    lines = lines_of(anna.home / target)
    assert [each["kind"] for each in lines] == ["collection", *["person"] * 10, *["photo"] * 300, "end"]
    assert len({each.get("id") for each in lines}) == 311
    before = exported(web_app)
    empty(web_app)
    assert anna.types("import", target).returncode == 0
    assert exported(web_app) == before
    stock.check_consistent(parts)


@pytest.mark.campaign("a thousand photos; an export that is killed is tested with few")
def test_an_import_of_a_thousand_that_is_killed_goes_on(web_app: App, parts: Parts, anna: Person) -> None:
    fill(parts, 1000)
    before = exported(web_app)
    assert anna.types("export", "from", "copy").returncode == 0
    empty(web_app)

    def there() -> int:
        found = web_app.get("/api/v1/collections/from")
        return int(found.json()["photos"]["done"]) if found.ok else 0

    for wanted in (100, 400):
        kill_when(anna, ("import", "copy"), lambda wanted=wanted: there() >= wanted)  # type: ignore[misc]
        assert wanted <= there() < 1000
        stock.check_consistent(parts)
        with_faces = web_app.get("/api/v1/photos?collection=from&limit=200").json()["photos"]
        assert {each["face_count"] for each in with_faces} == {1}, "none is there without its face"
    count = there()
    done = anna.types("import", "copy", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["made"]["photo"] + told["there"]["photo"] == 1000
    assert told["there"]["photo"] >= count
    assert exported(web_app) == before
    stock.check_consistent(parts)


def write(anna: Person, *lines: dict[str, Any] | bytes, contract: str, **files: bytes) -> Path:
    root = anna.home / "written"
    (root / "originals").mkdir(parents=True, exist_ok=True)
    header = {
        "kind": "collection", "format": "face-pipeline-export", "version": 1, "name": "to",
        "contract_id": contract, "dimension": 128,
    }  # fmt: skip
    raw = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in (header, *lines)]
    (root / "export.jsonl").write_bytes(b"\n".join(raw) + b"\n")
    for name, data in files.items():
        (root / "originals" / name).write_bytes(data)
    return root


END = {"kind": "end", "persons": 0, "photos": 0, "faces": 0}


def test_damaged_lines_are_told_by_their_numbers(web_app: App, parts: Parts, anna: Person) -> None:
    berta, carla = a_person(name="Berta"), a_person(name="Carla")
    secret = anna.home / "secret.jpg"
    secret.write_bytes(astronaut_jpeg(7))
    source = write(
        anna,
        berta,
        b'{"kind": "person", "id": "',
        {**carla, "name": "x" * 10_000},
        b"",
        a_photo(astronaut_jpeg(), a_face_line(person_id=berta["id"]), original="originals/a"),
        a_photo(astronaut_jpeg(7), a_face_line(person_id=carla["id"]), original="../secret.jpg"),
        a_photo(astronaut_jpeg(7), a_face_line(person_id=carla["id"]), original=str(secret)),
        a_photo(no_face(), a_face_line(person_id=carla["id"]), original="originals/b"),
        {"kind": "photo", "sha256": 5, "original": "originals/b", "faces": 3, "person_id": []},
        b"[1]",
        END,
        contract=contract_id(parts.pack),
        a=astronaut_jpeg(),
        b=no_face(),
    )
    done = anna.types("import", source)
    assert done.returncode == 1
    for words in (
        "persons: 1 new in to", "photos: 1 new in to", "7 lines refused:",
        "line 3: this is no object of JSON",
        "line 4: a person's name has at most 200 characters, this one has 10000 (person_name)",
        "line 7: the original of the photo", "line 8: the original of the photo",
        "line 9: it names the person", "line 10: ", "line 11: this is no object",
    ):  # fmt: skip
        assert words in done.stdout, done.stdout
    assert "Traceback" not in done.stderr
    stock.check_consistent(parts)
    source = write(anna, berta, contract=contract_id(parts.pack))
    done = anna.types("import", source)
    assert done.returncode == 1
    assert "line 2: the export ends here, before its end" in done.stdout


@pytest.mark.campaign("it starts the command again and again")
def test_what_is_no_export_is_refused_in_a_line(web_app: App, parts: Parts, anna: Person) -> None:
    (anna.home / "nothing").mkdir()
    (anna.home / "a.tar").write_bytes(b"no tar")
    with tarfile.open(anna.home / "b.tar", "w") as tar:
        tar.add(anna.home / "key", "key")
    newer = write(anna, END, contract="x")
    (newer / "export.jsonl").write_bytes((newer / "export.jsonl").read_bytes().replace(b": 1,", b": 2,", 1))
    for source, words in (
        ("nothing", "holds no export.jsonl"),
        ("a.tar", "is no tar archive"),
        ("b.tar", "holds no export.jsonl"),
        ("written", "newer than this command"),
        ("absent", "does not exist"),
    ):
        done = anna.types("import", source)
        assert done.returncode in (1, 2)
        assert words in done.stderr, (source, done.stderr)
        assert "Traceback" not in done.stderr
    for line in (b"", b"[]", b'{"kind": "collection"}', b'{"kind": "person"}', b"\xff"):
        (newer / "export.jsonl").write_bytes(line + b"\n")
        done = anna.types("import", newer)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "export" in done.stderr
    done = anna.types("export", "nowhere", "out")
    assert done.returncode == 1
    assert "there is no collection 'nowhere'" in done.stderr
    assert not (anna.home / "out").exists()
    stock.person(parts, "Anna", "from")
    for command in (("export", "from", "key/out"), ("export", "from", "key/out.tar")):
        done = anna.types(*command)
        assert done.returncode == 1
        assert "cannot be written" in done.stderr
        assert "Traceback" not in done.stderr


def test_another_contract_is_refused_with_the_way_out(live_app: App, parts: Parts, anna: Person) -> None:
    fill(parts, 2)
    with parts.database.transaction() as session:
        session.execute(update(Collection).values(contract_id="other-1"))
    assert anna.types("export", "from", "copy").returncode == 0
    refused = anna.types("import", "copy", "--collection", "to")
    assert refused.returncode == 1
    assert "--reprocess" in refused.stderr
    assert live_app.get("/api/v1/collections/to").status_code == 404
    done = anna.types("import", "copy", "--collection", "to", "--reprocess")
    assert done.returncode == 0, done.stderr
    path = "/api/v1/collections/to"
    wait_until(lambda: live_app.get(path).json()["photos"]["done"] == 2, 30, "photos to be processed")
    people = live_app.get("/api/v1/persons?collection=to").json()["persons"]
    assert sum(each["face_count"] for each in people) == 2, "each found face is whose the photo was"


def test_an_original_that_is_lost_is_told(web_app: App, parts: Parts, anna: Person) -> None:
    data = fill(parts, 3)
    parts.originals.path(hashlib.sha256(data[1]).hexdigest()).unlink()
    done = anna.types("export", "from", "copy")
    assert done.returncode == 1
    assert "1 without an original" in done.stdout
    assert "1.jpg" in done.stdout
    (lost,) = [
        each for each in lines_of(anna.home / "copy") if each["kind"] == "photo" and not each["original"]
    ]
    assert lost["filename"] == "1.jpg"
    done = anna.types("import", "copy", "--collection", "to")
    assert done.returncode == 1
    assert "photos: 2 new in to" in done.stdout
    assert "did not come along (original_missing)" in done.stdout


def test_an_original_that_retention_removed_is_not_lost(web_app: App, parts: Parts, anna: Person) -> None:
    data = fill(parts, 3)
    changed = web_app.request("PATCH", "/api/v1/collections/from/retention", json={"originals_days": 0})
    assert changed.json()["due"]["originals"] == 3
    retention.expire(parts)
    assert not parts.originals.path(hashlib.sha256(data[1]).hexdigest()).exists()
    done = anna.types("export", "from", "copy")
    assert done.returncode == 0, done.stderr
    assert "3 without an original, which the collection's retention has removed" in done.stdout
    photos = [each for each in lines_of(anna.home / "copy") if each["kind"] == "photo"]
    assert [each["original"] for each in photos] == [None] * 3


def test_two_exports_to_one_place_do_not_meet(web_app: App, parts: Parts, anna: Person) -> None:
    fill(parts, 2)
    stock.person(parts, "Anna", "other")
    (anna.home / "copy").mkdir()
    goal = {"version": 1, "url": "http://elsewhere", "collection": "other"}
    (anna.home / "copy" / "export.state").write_text(json.dumps({"goal": goal}))
    done = anna.types("export", "from", "copy")
    assert done.returncode == 1
    assert "is of another export, of other at http://elsewhere" in done.stderr
    assert anna.types("export", "from", "copy", "--fresh").returncode == 0
    assert len(lines_of(anna.home / "copy")) == 14


@pytest.mark.parametrize("target", ["hers", "hers.tar"])
def test_a_person_gets_all_that_is_held_on_them_as_files(
    web_app: App, parts: Parts, anna: Person, target: str
) -> None:
    data = fill(parts, 12)
    done = anna.types("export", "--person", "person 1", "from", target)
    assert done.returncode == 0, done.stderr
    assert "1 persons, 2 photos, 2 faces" in done.stdout
    kept = anna.home / target
    assert (kept.stat().st_mode & 0o077) == 0, "for nobody else to read"
    lines = lines_of(kept)
    assert [each["kind"] for each in lines][:4] == ["collection", "person", "photo", "photo"]
    assert lines[0]["format"] == "face-pipeline-person"
    assert lines[-1]["kind"] == "end"
    assert lines[-1]["audit"] == sum(each["kind"] == "audit" for each in lines) > 0
    assert {each["sha256"] for each in lines if each["kind"] == "photo"} == {
        hashlib.sha256(data[at]).hexdigest() for at in (1, 11)
    }
    if target == "hers":
        photos = [each for each in lines if each["kind"] == "photo"]
        assert {(kept / each["original"]).read_bytes() for each in photos} == {data[1], data[11]}
    refused = anna.types("import", target, "--collection", "to")
    assert refused.returncode == 1
    assert "export of one person" in refused.stderr


def test_pictures_that_may_show_others_are_left_out(web_app: App, parts: Parts, anna: Person) -> None:
    fill(parts, 12)
    done = anna.types("export", "--person", "Person 1", "--no-photos", "from", "hers", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["photos"], told["missing"]) == (2, [])
    assert [each.name for each in (anna.home / "hers").iterdir()] == ["export.jsonl"]
    assert [each["original"] for each in lines_of(anna.home / "hers") if each["kind"] == "photo"] == [
        None
    ] * 2


def test_an_export_of_a_person_that_cannot_be_is_refused_in_a_line(
    web_app: App, parts: Parts, anna: Person
) -> None:
    fill(parts, 2)
    other = stock.person(parts, "Anna", "other")
    (anna.home / "copy").mkdir()
    goal = {"version": 1, "url": web_app.url, "collection": "from", "person": str(other), "pictures": True}
    (anna.home / "copy" / "export.state").write_text(json.dumps({"goal": goal}))
    for arguments, words in (
        (("--no-photos", "from", "out"), "--no-photos goes with --person"),
        (("--person", "Nobody", "from", "out"), "there is no person 'Nobody'"),
        (("--person", str(other), "from", "out"), "is in other: name that one"),
        (("--person", "Person 1", "from", "copy"), f"is of another export, of the person {other} in from"),
    ):
        done = anna.types("export", *arguments)
        assert done.returncode != 0
        assert words in done.stderr
