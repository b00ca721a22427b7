"""Faces: whose one is, and what happens when somebody says that it is another's."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from face_pipeline.parts import Parts
from face_pipeline.store.models import AuditEntry, Collection, Person
from sqlalchemy import delete, select

from tests.app.test_enrolment import a_person, enrol, enrolled, key_of
from tests.app.test_idempotency import code
from tests.app.test_names import owner, persons, send_and_wait, two_faces
from tests.installation import App
from tests.photos import astronaut_again, astronaut_jpeg

pytestmark = pytest.mark.one_worker


def give(app: App, face_id: str, headers: dict[str, str] | None = None, **change: Any) -> requests.Response:
    return app.request("PATCH", f"/api/v1/faces/{face_id}", json=change, headers=headers or {})


def given(app: App, face_id: str, **change: Any) -> dict[str, Any]:
    answer = give(app, face_id, **change)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def faces_of(app: App, photo_id: str) -> list[dict[str, Any]]:
    faces: list[dict[str, Any]] = app.get(f"/api/v1/photos/{photo_id}").json()["faces"]
    return faces


def a_face(app: App, photo: bytes | None = None, **form: str) -> tuple[str, str]:
    """A photo of one face; the ids of both."""
    (entry,) = send_and_wait(app, photo or astronaut_jpeg(), **form)
    return entry["id"], faces_of(app, entry["id"])[0]["id"]


def test_a_face_says_whose_it_is_and_where_it_was_found(live_app: App) -> None:
    photo_id, face_id = a_face(live_app, person="Anna", collection="people")
    face = live_app.get(f"/api/v1/faces/{face_id}").json()
    assert (face["id"], face["photo_id"], face["collection"]) == (face_id, photo_id, "people")
    shown = faces_of(live_app, photo_id)[0]
    assert {name: face[name] for name in shown} == shown
    assert face["person"]["name"] == "Anna"


def test_a_face_that_is_given_to_somebody_is_found_as_theirs_at_once(live_app: App, parts: Parts) -> None:
    photo_id, face_id = a_face(live_app, person="Anna")
    assert live_app.search(astronaut_again()).json()["faces"][0]["matches"][0]["person_name"] == "Anna"
    berta = a_person(parts, "Berta")
    assert given(live_app, face_id, person_id=berta)["person"] == {"id": berta, "name": "Berta"}
    found = live_app.search(astronaut_again()).json()
    assert (found["cache"], found["faces"][0]["matches"][0]["person_id"]) == ("miss", berta)
    assert owner(live_app, photo_id) == ("Berta", ["Berta"])
    # Uploaded again as Berta's it is theirs already.
    again = live_app.upload(("a.jpg", astronaut_jpeg()), person="berta").json()["photos"][0]
    assert (again["person"]["id"], again["remark"]) == (berta, None)


def test_a_face_that_is_taken_off_is_nobodys_and_the_person_stays(live_app: App, parts: Parts) -> None:
    photo_id, face_id = a_face(live_app, person="Anna")
    assert given(live_app, face_id, person_id=None)["person"] is None
    assert owner(live_app, photo_id) == (None, [None])
    assert persons(parts) == ["Anna"]
    assert live_app.search(astronaut_again()).json()["faces"][0]["matches"][0]["person_name"] is None


def test_a_name_makes_a_person_or_finds_the_one_there_is(live_app: App, parts: Parts) -> None:
    _, face_id = a_face(live_app)
    first = given(live_app, face_id, person="André 🙂")["person"]
    assert first["name"] == "André 🙂"
    _, other = a_face(live_app, astronaut_jpeg(2))
    assert given(live_app, other, person="  ANDRE\u0301 🙂 ")["person"] == first
    assert persons(parts) == ["André 🙂"]


def test_one_face_of_several_may_be_given_and_the_photo_stays_nobodys(live_app: App, parts: Parts) -> None:
    (entry,) = send_and_wait(live_app, two_faces(), person="Anna")
    left, right = faces_of(live_app, entry["id"])
    assert owner(live_app, entry["id"]) == ("Anna", [None, None])
    anna = live_app.get(f"/api/v1/photos/{entry['id']}").json()["person"]["id"]
    given(live_app, left["id"], person_id=anna)
    assert owner(live_app, entry["id"]) == ("Anna", ["Anna", None])
    given(live_app, left["id"], person="Berta")
    given(live_app, right["id"], person="Clara")
    assert owner(live_app, entry["id"]) == (None, ["Berta", "Clara"])


def test_the_same_again_changes_nothing(live_app: App, parts: Parts) -> None:
    def version() -> int:
        with parts.database.transaction() as session:
            return session.scalars(select(Collection.version)).one()

    _, face_id = a_face(live_app, person="Anna")
    before = version()
    first, second = (given(live_app, face_id, person="Berta") for _ in range(2))
    assert first == second
    assert version() == before + 1
    for _ in range(2):
        given(live_app, face_id, person_id=None)
    assert version() == before + 2
    with parts.database.transaction() as session:
        entries = session.scalars(
            select(AuditEntry).where(AuditEntry.subject == face_id).order_by(AuditEntry.id)
        ).all()
    assert [each.action for each in entries] == ["face.assign", "face.take_off"]
    assert entries[0].details["person_id"] == entries[1].details["former_id"] == first["person"]["id"]
    assert not any(name in str(each.details) for each in entries for name in ("Anna", "Berta"))


def test_a_person_of_another_collection_gets_no_face(live_app: App, parts: Parts) -> None:
    photo_id, face_id = a_face(live_app, person="Anna")
    answer = give(live_app, face_id, person_id=a_person(parts, "Berta", "other"))
    assert (answer.status_code, code(answer)) == (409, "person_other_collection")
    assert owner(live_app, photo_id) == ("Anna", ["Anna"])


def test_who_is_not_there_gets_no_face(live_app: App) -> None:
    photo_id, face_id = a_face(live_app, person="Anna")
    for person_id in (str(uuid.uuid4()), "nobody", "", "\0", "🙂" * 3000):
        answer = give(live_app, face_id, person_id=person_id)
        assert (answer.status_code, code(answer)) == (404, "person_not_found"), person_id
    for wrong in (str(uuid.uuid4()), "none", "%00"):
        assert code(give(live_app, wrong, person="Anna")) == "face_not_found"
        assert code(live_app.get(f"/api/v1/faces/{wrong}")) == "face_not_found"
    assert owner(live_app, photo_id) == ("Anna", ["Anna"])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{}", "parameter"),
        (b'{"person": null}', "parameter"),
        (b'{"person": 5}', "parameter"),
        (b'{"person_id": 5}', "parameter"),
        (b'{"person_id": ["a"]}', "parameter"),
        (b'{"person": "Anna", "person_id": null}', "parameter"),
        (b'{"name": "Anna"}', "parameter"),
        (b'{"person": ""}', "person_name"),
        (b'{"person": "  "}', "person_name"),
        (b'{"person": "a\\u0000b"}', "person_name"),
        (b'{"person": "a\\nb"}', "person_name"),
        (b'{"person": "' + b"x" * 10_000 + b'"}', "person_name"),
        (b'{"person": "\\ud800"}', "body_malformed"),
        (b"[]", "body_malformed"),
        (b"", "body_malformed"),
        (b"[" * 100_000, "body_malformed"),
        (b"\xff", "body_malformed"),
    ],
)
def test_a_change_that_says_nothing_clear_is_refused(web_app: App, body: bytes, expected: str) -> None:
    answer = web_app.request("PATCH", f"/api/v1/faces/{uuid.uuid4()}", data=body)
    assert (answer.status_code, code(answer)) == (400, expected)
    assert answer.json()["error"]["message"]


def test_a_key_reaches_faces_with_its_scope_and_in_its_collections(live_app: App, parts: Parts) -> None:
    _, mine = a_face(live_app, collection="mine", person="Anna")
    _, beyond = a_face(live_app, collection="beyond", person="Anna")
    reader = key_of(live_app, "reader", "read,write", ["mine"])
    assert code(give(live_app, mine, reader, person="Berta")) == "scope_missing"
    for path in (f"/api/v1/faces/{beyond}", f"/api/v1/faces/{beyond}/crop"):
        assert code(live_app.get(path, headers=reader)) == "face_not_found"
    assert live_app.get(f"/api/v1/faces/{mine}/crop", headers=reader).status_code == 200
    bound = key_of(live_app, "enroller", "enrol", ["mine"])
    assert code(give(live_app, beyond, bound, person="Berta")) == "face_not_found"
    hidden = live_app.get(f"/api/v1/faces/{beyond}").json()["person"]["id"]
    assert code(give(live_app, mine, bound, person_id=hidden)) == "person_not_found"
    assert give(live_app, mine, bound, person="Berta").status_code == 200


def test_faces_that_several_give_at_once_end_as_one_of_them_says(live_app: App, parts: Parts) -> None:
    anna = a_person(parts)
    entries = enrolled(enrol(live_app, anna, *((f"{n}.jpg", astronaut_jpeg(n)) for n in range(4))))
    names = ["Berta", "Clara", "Dora", "Anna"]
    start = threading.Barrier(len(names) + 1)

    def change(name: str) -> list[int]:
        start.wait(30)
        order = entries if name < "C" else entries[::-1]
        return [give(live_app, each["face_id"], person=name).status_code for each in order * 3]

    def upload() -> list[int]:
        start.wait(30)
        photos = [(f"{n}.jpg", astronaut_jpeg(n)) for n in range(4)]
        return [live_app.upload(*photos, person="Emma").status_code for _ in range(4)]

    with ThreadPoolExecutor(len(names) + 1) as clients:
        uploading = clients.submit(upload)
        statuses = [status for found in clients.map(change, names) for status in found]
        assert set(uploading.result()) == {202}
    assert set(statuses) == {200}
    for each in entries:
        of_the_photo, (of_the_face,) = owner(live_app, each["photo_id"])
        assert of_the_photo == of_the_face
        assert of_the_face in names


def test_a_person_who_is_removed_while_they_get_a_face(live_app: App, parts: Parts) -> None:
    photo_id, face_id = a_face(live_app)
    for number in range(10):
        berta = a_person(parts, f"Berta {number}")
        start = threading.Barrier(2)

        def remove(start: threading.Barrier = start, person_id: str = berta) -> None:
            start.wait(30)
            with parts.database.transaction() as session:
                session.execute(delete(Person).where(Person.id == uuid.UUID(person_id)))

        with ThreadPoolExecutor(1) as other:
            removed = other.submit(remove)
            start.wait(30)
            answer = give(live_app, face_id, person_id=berta)
            removed.result()
        assert answer.status_code in (200, 404), answer.text
        assert owner(live_app, photo_id) == (None, [None])
