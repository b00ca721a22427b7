"""Collections out and in by HTTP: what was exported is there again, and nothing half of it."""

from __future__ import annotations

import hashlib
import json
import threading
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
import requests
from face_pipeline.engine import contract_id
from face_pipeline.parts import Parts
from face_pipeline.store import events
from face_pipeline.store.models import Collection, Face, Person, Photo
from face_pipeline.web.api import cursors
from sqlalchemy import func, select, update

from tests.app import stock
from tests.app.test_embeddings import add
from tests.app.test_vectors import axis
from tests.installation import App, wait_until
from tests.photos import astronaut_again, astronaut_jpeg, no_face

pytestmark = pytest.mark.one_worker

Records = list[dict[str, Any]]


def exported(app: App, collection: str = "from", **query: Any) -> Records:
    """All records, persons once."""
    found: Records = []
    cursor = None
    while True:
        asked = {**query, **({"cursor": cursor} if cursor else {})}
        answer = app.get(f"/api/v1/collections/{collection}/export", params=asked)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += [each for each in page["records"] if each["id"] not in {one["id"] for one in found}]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def originals(app: App, records: Records) -> dict[str, bytes]:
    return {
        each["sha256"]: app.get(f"/api/v1/photos/{each['id']}/image").content
        for each in records
        if each["kind"] == "photo"
    }


def put(
    app: App,
    records: Iterable[Any],
    files: Mapping[str, bytes] | None = None,
    collection: str = "to",
    **form: str,
) -> requests.Response:
    lines = b"\n".join(each if isinstance(each, bytes) else json.dumps(each).encode() for each in records)
    sent = [("records", ("records.jsonl", lines))]
    sent += [("originals", (name, data)) for name, data in (files or {}).items()]
    return app.request(
        "POST", f"/api/v1/collections/{collection}/import", files=sent,
        data={"contract_id": contract_id(app.installation.parts.pack), **form},
    )  # fmt: skip


def told(answer: requests.Response) -> list[tuple[str, str | None]]:
    assert answer.status_code == 200, answer.text
    return [(each["outcome"], each["code"]) for each in answer.json()["records"]]


def plain(records: Records) -> Records:
    """Without ids, which may be others."""
    names = {each["id"]: each["name"] for each in records if each["kind"] == "person"}

    def one(value: Any) -> Any:
        if isinstance(value, list):
            return [one(each) for each in value]
        if isinstance(value, dict):
            return {
                key: names.get(each, each) if key == "person_id" else one(each)
                for key, each in value.items()
                if key != "id"
            }
        return value

    return sorted((one(each) for each in records), key=json.dumps)


@pytest.fixture
def filled(live_app: App, parts: Parts) -> App:
    """A collection with two named photos, one of nobody, and a face without a photo."""
    for photo, person in (("astronaut", "Eileen Collins"), ("again", "Eileen Collins"), ("empty", None)):
        data = {"astronaut": astronaut_jpeg, "again": astronaut_again, "empty": no_face}[photo]()
        form = {"person": person} if person else {}
        batch = live_app.upload((f"{photo}.jpg", data), collection="from", **form).json()["batch_id"]
        live_app.wait_finished(batch)
    body = {
        "collection": "from",
        "name": "Anna 🦄",
        "external_id": "17",
        "metadata": {"deep": [1, {"a": None}]},
    }
    anna = live_app.request("POST", "/api/v1/persons", json=body).json()["id"]
    assert add(live_app, anna, [axis(3).tolist()]).status_code == 201
    return live_app


def empty(app: App, collection: str = "from") -> None:
    assert app.request("DELETE", f"/api/v1/collections/{collection}").status_code == 200


def test_what_was_exported_is_there_again_to_the_last_number(filled: App, parts: Parts) -> None:
    records = exported(filled)
    assert [each["kind"] for each in records] == ["person"] * 2 + ["photo"] * 3 + ["face"]
    files = originals(filled, records)
    empty(filled)
    assert told(put(filled, records, files, "from")) == [("made", None)] * 6
    assert exported(filled) == records, "with all ids, for all were free"
    stock.check_consistent(parts)
    (match,) = filled.search(astronaut_again(), collection="from", limit="1").json()["faces"][0]["matches"]
    assert match["person_name"] == "Eileen Collins"
    assert originals(filled, records) == files
    for name, data in files.items():
        assert hashlib.sha256(data).hexdigest() == name


def test_ids_that_are_taken_give_way_and_all_still_belongs_together(filled: App, parts: Parts) -> None:
    records = exported(filled)
    files = originals(filled, records)
    first = put(filled, records, files)
    assert told(first) == [("made", None)] * 6
    kept = {each["id"]: each["kept_as"] for each in first.json()["records"]}
    assert not set(kept) & set(kept.values())
    there = exported(filled, "to")
    assert plain(there) == plain(records)
    assert exported(filled) == records, "what it was taken from stays as it was"
    again = put(filled, records, files)
    assert told(again) == [("there", None)] * 6
    assert {each["id"]: each["kept_as"] for each in again.json()["records"]} == kept
    assert exported(filled, "to") == there
    stock.check_consistent(parts)


def test_photos_of_a_later_request_name_persons_as_they_are_kept(filled: App) -> None:
    records = exported(filled)
    persons = [each for each in records if each["kind"] == "person"]
    (photo, *_) = [each for each in records if each["kind"] == "photo" and each["person_id"]]
    files = originals(filled, [photo])
    kept = {each["id"]: each["kept_as"] for each in put(filled, persons).json()["records"]}
    refused = put(filled, [photo], files)
    assert told(refused) == [("refused", "person_not_found")]
    assert "whom the collection does not have" in refused.json()["records"][0]["message"]
    assert filled.get("/api/v1/photos?collection=to").json()["photos"] == []
    photo["person_id"] = kept[photo["person_id"]]
    for face in photo["faces"]:
        face["person_id"] = kept[face["person_id"]]
    assert told(put(filled, [photo], files)) == [("made", None)]
    (there,) = filled.get("/api/v1/photos?collection=to").json()["photos"]
    assert there["person"]["name"] == "Eileen Collins"


def test_small_pages_say_the_same(filled: App, parts: Parts) -> None:
    before = len(stock.audit(parts, "collection.export"))
    records = exported(filled, limit=1)
    assert records == exported(filled)
    told = stock.audit(parts, "collection.export")[before:]
    assert {each["collection"] for each in told} == {"from"}
    assert sum(each["details"]["faces"] for each in told) == 2 * 3
    assert "Eileen" not in json.dumps(told)


def test_a_person_who_came_while_the_export_ran_comes_with_the_photos(web_app: App, parts: Parts) -> None:
    stock.photo(parts, None, collection="from")
    page = web_app.get("/api/v1/collections/from/export").json()
    assert page["records"] == []
    late = stock.person(parts, "Late", "from")
    stock.photo(parts, late, collection="from")
    page = web_app.get("/api/v1/collections/from/export", params={"cursor": page["next_cursor"]}).json()
    assert [each["kind"] for each in page["records"]] == ["person", "photo", "photo"]


def a_person(**change: Any) -> dict[str, Any]:
    at = "2026-01-02T03:04:05.678901+00:00"
    return {
        "kind": "person", "id": str(uuid.uuid4()), "name": "Anna", "external_id": None, "metadata": {},
        "created_at": at, "updated_at": at, **change,
    }  # fmt: skip


def a_face(**change: Any) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()), "person_id": None, "bbox": [1, 2, 30, 40], "landmarks": [[5, 5]] * 5,
        "detection_score": 0.9, "quality": 0.5, "embedding": axis(0).tolist(), **change,
    }  # fmt: skip


def a_photo(data: bytes, *faces: dict[str, Any], **change: Any) -> dict[str, Any]:
    at = "2026-01-02T03:04:05.678901+00:00"
    return {
        "kind": "photo", "id": str(uuid.uuid4()), "sha256": hashlib.sha256(data).hexdigest(),
        "filename": "a.jpg", "state": "done", "person_id": None, "attempts": 1, "reason": None,
        "received_at": at, "finished_at": at, "faces": list(faces), **change,
    }  # fmt: skip


# One byte more than this installation takes.
TOO_LARGE = astronaut_jpeg().ljust(4 * 1024**2 + 1, b"\0")

DAMAGED: list[tuple[Any, str, str]] = [
        (b"{", "record_invalid", "EOF"),
        (b"\xff\xfe", "record_invalid", ""),
        (b"[" * 100_000, "record_invalid", ""),
        ([], "record_invalid", ""),
        ({}, "record_invalid", "kind"),
        ({"kind": "cat"}, "record_invalid", "cat"),
        ({"kind": "person"}, "record_invalid", "id"),
        (a_person(id="x"), "record_invalid", "id"),
        (a_person(name=None), "record_invalid", "name"),
        (a_person(name=""), "person_name", "blank"),
        (a_person(name="x" * 10_000), "person_name", "10000"),
        (a_person(name="a\0b"), "person_name", "U+0000"),
        (b'{"kind": "person", "name": "\\ud800"}', "record_invalid", ""),
        (a_person(external_id="x" * 201), "external_id", "200"),
        (a_person(metadata={"a": "\0"}), "metadata", "NUL"),
        (a_person(metadata={"a": "x" * 20_000}), "metadata", "bytes"),
        (a_person(created_at="yesterday"), "record_invalid", "created_at"),
        (a_person(created_at="2026-01-02T03:04:05"), "record_invalid", "created_at"),
        (a_person(created_at="0001-01-01T00:00:00+14:00"), "record_invalid", "created_at"),
        ({"kind": "face", **a_face(embedding=[1.0])}, "embedding_invalid", "has 1 numbers"),
        ({"kind": "face", **a_face(embedding=None)}, "embedding_invalid", "no embedding"),
        ({"kind": "face", **a_face(bbox=[0, 0, 0])}, "record_invalid", "bbox"),
        ({"kind": "face", **a_face(bbox=[0, 0, 0, 1e300])}, "record_invalid", "bbox"),
        ({"kind": "face", **a_face(quality=-1)}, "record_invalid", "quality"),
        ({"kind": "face", **a_face(person_id=str(uuid.UUID(int=5)))}, "person_not_found", "comes first"),
        (a_photo(b"not there"), "original_missing", "did not come along"),
        (a_photo(b"no photo"), "unsupported_type", ""),
        (a_photo(TOO_LARGE), "too_large", "larger than"),
    (a_photo(b"another"), "original_differs", "another SHA-256"),
        (a_photo(no_face(), a_face(embedding=axis(0).tolist()[1:])), "embedding_invalid", "place 0"),
        (a_photo(no_face(), a_face(person_id=str(uuid.UUID(int=5)))), "person_not_found", "comes first"),
        (a_photo(no_face(), state="lost"), "record_invalid", "state"),
        (a_photo(no_face(), sha256="../../etc/passwd"), "record_invalid", "sha256"),
        (a_photo(no_face(), reason={"code": "x", "message": "\0"}), "record_invalid", "reason"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "code", "words"), DAMAGED, ids=[f"{at}-{each[1]}" for at, each in enumerate(DAMAGED)]
)
def test_a_damaged_line_is_named_and_the_others_come_in(
    web_app: App, parts: Parts, line: Any, code: str, words: str
) -> None:
    files = {hashlib.sha256(data).hexdigest(): data for data in (b"no photo", no_face(), TOO_LARGE)}
    files[hashlib.sha256(b"another").hexdigest()] = b"something else"
    answer = put(web_app, [a_person(name="Good"), b"", line, a_photo(astronaut_jpeg())], {
        **files, hashlib.sha256(astronaut_jpeg()).hexdigest(): astronaut_jpeg(),
    })  # fmt: skip
    assert told(answer) == [("made", None), ("refused", code), ("made", None)]
    wrong = answer.json()["records"][1]
    assert wrong["line"] == 3, "lines are counted with the empty ones"
    assert words in wrong["message"]
    assert wrong["kept_as"] is None
    stock.check_consistent(parts)
    with parts.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Person)) == 1
        assert session.scalar(select(func.count()).select_from(Photo)) == 1
        assert session.scalar(select(func.count()).select_from(Face)) == 0


@pytest.mark.parametrize(
    ("form", "collection", "status", "code"),
    [
        ({"contract_id": "other-1"}, "to", 409, "contract_mismatch"),
        ({"reprocess": "maybe"}, "to", 400, "parameter"),
        ({}, "To", 400, "collection_name"),
        ({}, "%00", 400, "collection_name"),
    ],
)
def test_an_import_that_cannot_be_is_refused_as_a_whole(
    web_app: App, parts: Parts, form: dict[str, str], collection: str, status: int, code: str
) -> None:
    answer = put(web_app, [a_person()], collection=collection, **form)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    with parts.database.reading() as session:
        assert session.scalars(select(Collection)).all() == []


def test_what_is_no_form_of_an_import_says_what_is_missing(web_app: App) -> None:
    path = "/api/v1/collections/to/import"
    contract = {"contract_id": contract_id(web_app.installation.parts.pack)}
    lines = ("a.jsonl", b"{}\n" * 201)
    for options, status, code, words in (
        ({}, 400, "parameter", "contract_id"),
        ({"data": contract}, 400, "parameter", "'records'"),
        ({"data": {**contract, "records": "{}"}}, 400, "parameter", "'records'"),
        ({"data": contract, "files": [("records", lines)]}, 422, "too_many_records", "200 records"),
        ({"json": {"records": []}}, 400, "parameter", "contract_id"),
    ):
        answer = web_app.request("POST", path, **options)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
        assert words in answer.json()["error"]["message"]
    assert told(put(web_app, [])) == []


def test_a_collection_of_another_contract_takes_nothing(web_app: App, parts: Parts) -> None:
    stock.person(parts, "Anna", "to")
    with parts.database.transaction() as session:
        session.execute(update(Collection).values(contract_id="other-1"))
    for reprocess in ("false", "true"):
        answer = put(web_app, [a_person(name="Berta")], reprocess=reprocess)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "contract_mismatch")
    page = web_app.get("/api/v1/collections/to/export").json()
    assert page["collection"]["contract_id"] == "other-1", "but it can be taken along"


def test_photos_of_another_contract_are_processed_anew(live_app: App, parts: Parts) -> None:
    known, two = astronaut_jpeg(), no_face()
    anna = a_person()
    faces = [a_face(person_id=anna["id"], embedding=[0.5] * 7)]
    records = [
        anna,
        a_photo(known, *faces, person_id=None),
        a_photo(two, *faces, a_face(embedding=None)),
        {"kind": "face", **a_face(person_id=anna["id"])},
    ]
    files = {hashlib.sha256(data).hexdigest(): data for data in (known, two)}
    answer = put(live_app, records, files, contract_id="other-1", reprocess="true")
    assert told(answer) == [
        ("made", None), ("made", None), ("made", "person_not_assigned"), ("refused", "face_without_photo")
    ]  # fmt: skip

    def finished() -> bool:
        photos = live_app.get("/api/v1/photos?collection=to").json()["photos"]
        return all(each["state"] == "done" for each in photos)

    wait_until(finished, 30, "photos to be processed")
    photo = live_app.get(f"/api/v1/photos/{records[1]['id']}").json()
    assert photo["faces"][0]["person"] == {"id": anna["id"], "name": "Anna"}
    (match,) = live_app.search(astronaut_again(), collection="to").json()["faces"][0]["matches"]
    assert match["person_name"] == "Anna"
    stock.check_consistent(parts)


def test_photos_that_waited_are_processed_and_those_that_failed_stay_so(live_app: App, parts: Parts) -> None:
    waited, failed = a_photo(astronaut_jpeg(), state="processing", finished_at=None), a_photo(
        no_face(), state="failed", reason={"code": "engine_error", "message": "it broke"}
    )  # fmt: skip
    files = {hashlib.sha256(data).hexdigest(): data for data in (astronaut_jpeg(), no_face())}
    assert told(put(live_app, [waited, failed], files)) == [("made", None)] * 2
    assert live_app.get(f"/api/v1/photos/{failed['id']}").json()["reason"]["code"] == "engine_error"

    path = f"/api/v1/photos/{waited['id']}"
    wait_until(lambda: live_app.get(path).json()["state"] == "done", 30, "the photo to be done")
    assert len(live_app.get(path).json()["faces"]) == 1


def test_who_is_there_by_name_or_external_id_is_not_made_twice(web_app: App) -> None:
    body = {"collection": "to", "name": "Anna", "external_id": "1"}
    anna = web_app.request("POST", "/api/v1/persons", json=body).json()["id"]
    answer = put(
        web_app,
        [
            a_person(name="ANNA"),
            a_person(name="Anna Berg", external_id="1"),
            a_person(name="anna", external_id="2"),
        ],
    )
    assert told(answer) == [("there", None), ("there", None), ("refused", "person_exists")]
    assert [each["kept_as"] for each in answer.json()["records"]] == [anna, anna, None]
    assert len(web_app.get("/api/v1/persons?collection=to").json()["persons"]) == 1


def test_the_same_twice_in_one_request_is_one(web_app: App, parts: Parts) -> None:
    anna, face = a_person(), a_face()
    photo = a_photo(no_face(), face, face)
    alone = {"kind": "face", **a_face(person_id=anna["id"])}
    files = {photo["sha256"]: no_face()}
    answer = put(web_app, [anna, anna, photo, {**photo, "id": str(uuid.uuid4())}, alone, alone], files)
    assert {outcome for outcome, _ in told(answer)} == {"made"}, answer.text
    kept = [each["kept_as"] for each in answer.json()["records"]]
    assert kept[0] == kept[1]
    assert kept[2] == kept[3] == photo["id"]
    assert kept[4] == kept[5] == alone["id"]
    with parts.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Face)) == 3
    stock.check_consistent(parts)


def test_imports_at_once_and_an_erasure_leave_nothing_half_made(web_app: App, parts: Parts) -> None:
    anna = a_person()
    data = [astronaut_jpeg(number) for number in range(1, 13)]
    records = [
        anna, *(a_photo(each, a_face(person_id=anna["id"]), person_id=anna["id"]) for each in data),
        {"kind": "face", **a_face(person_id=anna["id"])},
    ]  # fmt: skip
    files = {hashlib.sha256(each).hexdigest(): each for each in data}
    answers: list[requests.Response] = []
    stop = threading.Event()

    def erase() -> None:
        while not stop.is_set():
            answers.append(web_app.request("DELETE", f"/api/v1/persons/{anna['id']}"))

    threads = [
        threading.Thread(target=lambda name=name: answers.append(put(web_app, records, files, name)))
        for name in ("to", "to", "other", "to", "other")
    ]
    eraser = threading.Thread(target=erase)
    for thread in (eraser, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    eraser.join()
    assert {answer.status_code for answer in answers} <= {200, 404}, [answer.text for answer in answers]
    stock.check_consistent(parts)
    for name in ("to", "other"):
        put(web_app, records, files, name)
        assert len(exported(web_app, name)) == 14
    stock.check_consistent(parts)


def test_transfer_is_for_admins_of_the_collection_alone(web_app: App, parts: Parts) -> None:
    stock.person(parts, "Anna", "from")
    before = len(stock.audit(parts, "collection.import"))
    every = stock.key(parts, "read", "write", "enrol", "erase")
    elsewhere = stock.key(parts, "admin", collections=["other"])
    contract = {"contract_id": contract_id(parts.pack)}
    for headers in (every, elsewhere):
        assert web_app.get("/api/v1/collections/from/export", headers=headers).status_code == 403
        answer = web_app.request(
            "POST", "/api/v1/collections/from/import", headers=headers, data=contract,
            files={"records": ("a", json.dumps(a_person(name="Berta")).encode())},
        )  # fmt: skip
        assert answer.status_code == 403
    assert len(exported(web_app)) == 1
    assert len(stock.audit(parts, "collection.import")) == before
    for path, status in (
        ("nowhere/export", 404),
        ("From/export", 400),
        ("from/export?cursor=x", 400),
        ("from/export?limit=201", 400),
        ("from/export?cursor=WyJmYWNlczp4Il0=", 400),
        ("from/export?cursor=WyJkb2dzOiJd", 400),
        ("from/export?cursor=WzFd", 400),
    ):
        assert web_app.get(f"/api/v1/collections/{path}").status_code == status, path


def of_person(app: App, person: uuid.UUID, **query: Any) -> Records:
    found: Records = []
    cursor = None
    while True:
        asked = {**query, **({"cursor": cursor} if cursor else {})}
        answer = app.get(f"/api/v1/persons/{person}/export", params=asked)
        assert answer.status_code == 200, answer.text
        assert answer.json()["format"] == "face-pipeline-person"
        found += answer.json()["records"]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return found


def of_kind(records: Records, kind: str) -> Records:
    return [each for each in records if each["kind"] == kind]


def test_a_persons_export_has_all_of_theirs_and_nothing_of_others(web_app: App, parts: Parts) -> None:
    anna, ben = (stock.person(parts, name, "staff") for name in ("Anna", "Ben Other"))
    both = stock.photo(parts, anna, ben, None, collection="staff", named="Ben Other")
    alone = stock.photo(parts, anna, collection="staff", named="Anna")
    # Put in as hers, and nothing was found on it.
    empty_one = stock.photo(parts, collection="staff", named="Anna")
    bens = stock.photo(parts, ben, collection="staff")
    (own, bens_own, unknown), (alone_own,) = stock.faces_of(parts, both), stock.faces_of(parts, alone)
    body = {"collection": "staff", "name": "Ann"}
    other_name = web_app.request("POST", "/api/v1/persons", json=body).json()["id"]
    assert add(web_app, other_name, [axis(3).tolist()]).status_code == 201
    merged = web_app.request("POST", f"/api/v1/persons/{anna}/merge", json={"from": other_name})
    assert merged.status_code == 200, merged.text
    with parts.database.transaction() as session:
        collection = session.scalars(select(Collection).where(Collection.name == "staff")).one()
        seen = [(both, own, anna), (both, bens_own, ben), (both, unknown, None)]
        events.tell_faces(session, collection.id, seen)
    web_app.get(f"/api/v1/photos/{both}")
    web_app.get(f"/api/v1/photos/{bens}")
    web_app.get(f"/api/v1/persons/{ben}")

    for limit in (50, 1):
        records = of_person(web_app, anna, limit=limit)
        (person,) = of_kind(records, "person")
        assert (person["id"], person["name"]) == (str(anna), "Anna")
        (merge,) = of_kind(records, "merge")
        assert merge["removed"]["name"] == "Ann", "a name of hers that can come back"
        photos = {each["id"]: each for each in of_kind(records, "photo")}
        assert photos.keys() == {str(both), str(alone), str(empty_one)}
        assert [face["id"] for face in photos[str(both)]["faces"]] == [str(own)]
        assert photos[str(both)]["person_id"] is None, "whose it was put in as is another's"
        assert photos[str(alone)]["person_id"] == str(anna)
        assert len(photos[str(alone)]["faces"][0]["embedding"]) == parts.pack.dimension
        (without_photo,) = of_kind(records, "face")
        assert without_photo["embedding"][3] == 1
        told = of_kind(records, "event")
        assert {each["face_id"] for each in told} == {None, str(own), str(alone_own)}
        assert "person.seen" in [each["event"] for each in told if each["face_id"] == str(own)]
        done = [each["photo_id"] for each in told if each["event"] == "photo.done"]
        assert sorted(done) == sorted(photos)
        entries = of_kind(records, "audit")
        assert {"photo.look", "person.merge"} <= {each["action"] for each in entries}
        hers = {str(anna), str(own), str(alone_own), without_photo["id"], *photos}
        assert {each["subject"] for each in entries} <= hers
        assert [each["id"] for each in entries] == sorted((each["id"] for each in entries), reverse=True)
        text = json.dumps(records)
        for others in (ben, bens, bens_own, unknown, "Ben Other"):
            assert str(others) not in text
        assert "127.0.0.1" not in text, "nor who works here"


def test_a_persons_export_leaves_entries_and_is_for_whom_it_is(web_app: App, parts: Parts) -> None:
    anna = stock.person(parts, "Anna", "staff")
    stock.photo(parts, anna, collection="staff")
    before = len(stock.audit(parts, "person.export"))
    of_person(web_app, anna)
    told = stock.audit(parts, "person.export")[before:]
    assert {each["subject"] for each in told} == {str(anna)}
    assert sum(each["details"]["faces"] for each in told) == 1
    path = f"/api/v1/persons/{anna}/export"
    for scopes, collections, status in (
        (("read", "write", "enrol", "erase"), None, 403), (("admin",), ["other"], 404),
        (("admin",), ["staff"], 200),
    ):  # fmt: skip
        headers = stock.key(parts, *scopes, collections=collections)
        assert web_app.get(path, headers=headers).status_code == status
    for cursor in ("eA==", cursors.make("photos"), cursors.make("faces:x"), cursors.make("events:-1:2"),
                   cursors.make("audit:9999999999999999999"), cursors.make("nothing:1")):  # fmt: skip
        answer = web_app.get(path, params={"cursor": cursor})
        assert answer.status_code in (200, 400), (cursor, answer.text)
        assert answer.status_code == 400 or cursor == cursors.make("photos")
    assert web_app.get(f"/api/v1/persons/{uuid.uuid4()}/export").status_code == 404
