"""Enrolment: what somebody notices who gives photos to a person and waits for the answer."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from face_pipeline.parts import Parts
from face_pipeline.store import collections, persons
from face_pipeline.store.models import AuditEntry, Collection, Face, Person, Photo
from PIL import Image, ImageEnhance
from sqlalchemy import delete, func, select, update

from tests.app.test_names import send_and_wait, two_faces
from tests.installation import App, Installation, start_web, wait_until
from tests.photos import astronaut, astronaut_again, astronaut_jpeg, jpeg, no_face

pytestmark = pytest.mark.one_worker


def a_person(parts: Parts, name: str = "Anna", collection: str = "default") -> str:
    """A person whom nothing shows yet; their id."""
    with parts.database.transaction() as session:
        found = collections.open_collection(session, collection, parts.pack)
        return str(persons.open_person(session, found, name).id)


def enrol(app: App, person_id: str, *photos: tuple[str, bytes], **form: Any) -> requests.Response:
    headers = form.pop("headers", {})
    return app.request(
        "POST", f"/api/v1/persons/{person_id}/photos",
        files=[("photos", photo) for photo in photos], data=form, headers=headers,
    )  # fmt: skip


def enrolled(answer: requests.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    entries: list[dict[str, Any]] = answer.json()["enrolled"]
    return entries


def refusals(answer: requests.Response) -> dict[str, str]:
    body = answer.json()
    refused = body["refused"] if answer.status_code == 200 else body["error"]["details"]["refused"]
    assert all(each["message"] for each in refused)
    return {each["filename"]: each["code"] for each in refused}


def only_refusal(answer: requests.Response) -> dict[str, Any]:
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["code"] == "none_enrolled"
    (refused,) = answer.json()["error"]["details"]["refused"]
    return dict(refused)


def kept(parts: Parts) -> tuple[int, int, int]:
    """Photos, faces, and the faces that the collection counts."""
    with parts.database.transaction() as session:
        photos, faces = (
            session.scalar(select(func.count()).select_from(table)) or 0 for table in (Photo, Face)
        )
        return photos, faces, session.scalar(select(func.sum(Collection.face_count))) or 0


def originals(installation: Installation) -> list[Path]:
    return list((installation.directory / "originals").glob("??/??/*"))


def faces_of_two_sizes() -> bytes:
    """The larger one on the right."""
    both = Image.new("RGB", (800, 512))
    both.paste(astronaut().resize((256, 256)), (0, 0))
    both.paste(astronaut(), (288, 0))
    return jpeg(both)


def test_an_enrolled_person_is_found_as_soon_as_the_answer_comes(live_app: App, parts: Parts) -> None:
    anna = a_person(parts)
    answer = enrol(live_app, anna, ("one.jpg", astronaut_jpeg(1)), ("two.jpg", astronaut_jpeg(2)))
    assert answer.json()["person"] == {"id": anna, "name": "Anna"}
    assert [each["filename"] for each in enrolled(answer)] == ["one.jpg", "two.jpg"]
    assert answer.json()["refused"] == []
    (face,) = live_app.search(astronaut_again(), group_by="person").json()["faces"]
    assert (face["matches"][0]["person_id"], face["matches"][0]["face_count"]) == (anna, 2)
    first = enrolled(answer)[0]
    photo = live_app.get(f"/api/v1/photos/{first['photo_id']}").json()
    assert (photo["state"], photo["reason"], photo["person"]["id"]) == ("done", None, anna)
    assert [(each["id"], each["person"]["name"]) for each in photo["faces"]] == [(first["face_id"], "Anna")]
    assert photo["faces"][0]["quality"] == pytest.approx(first["quality"], abs=1e-3)
    assert live_app.get(f"/api/v1/photos/{first['photo_id']}/image").content == astronaut_jpeg(1)
    assert live_app.get(f"/api/v1/faces/{first['face_id']}/crop").status_code == 200
    assert kept(parts) == (2, 2, 2)


def test_an_enrolled_photo_is_told_of_as_any_other(live_app: App, parts: Parts) -> None:
    person = a_person(parts)
    (done,) = enrolled(enrol(live_app, person, ("a.jpg", astronaut_jpeg())))
    told = live_app.get("/api/v1/events").json()["events"]
    assert [each["kind"] for each in told] == ["photo.done", "person.seen"]
    assert {each["photo_id"] for each in told} == {done["photo_id"]}


def test_an_enrolment_ends_the_cached_answer_from_before_it(live_app: App, parts: Parts) -> None:
    anna = a_person(parts)
    assert live_app.search(astronaut_again()).json()["faces"][0]["matches"] == []
    enrolled(enrol(live_app, anna, ("one.jpg", astronaut_jpeg())))
    again = live_app.search(astronaut_again()).json()
    assert (again["cache"], again["faces"][0]["matches"][0]["person_name"]) == ("miss", "Anna")


def test_each_file_that_cannot_be_enrolled_has_its_reason_and_nothing_of_it_is_kept(
    live_app: App, parts: Parts
) -> None:
    before = set(originals(live_app.installation))
    answer = enrol(
        live_app, a_person(parts),
        ("notes.txt", b"no picture"), ("empty.jpg", b""), ("nobody.jpg", no_face()), ("two.jpg", two_faces()),
        ("good.jpg", astronaut_jpeg(7)), ("cut.jpg", astronaut_jpeg()[:9000]),
    )  # fmt: skip
    assert [each["filename"] for each in enrolled(answer)] == ["good.jpg"]
    assert refusals(answer) == {
        "notes.txt": "unsupported_type",
        "empty.jpg": "empty_file",
        "nobody.jpg": "no_face",
        "two.jpg": "faces_many",
        "cut.jpg": "truncated",
    }
    assert kept(parts) == (1, 1, 1)
    assert len(set(originals(live_app.installation)) - before) <= 1


def test_a_request_of_which_nothing_can_be_enrolled_is_refused(live_app: App, parts: Parts) -> None:
    answer = enrol(live_app, a_person(parts), ("two.jpg", two_faces()))
    refused = only_refusal(answer)
    assert (refused["code"], refused["details"]) == ("faces_many", {"faces": 2})
    assert kept(parts) == (0, 0, 0)


def test_the_largest_face_is_theirs_where_that_is_asked_for(live_app: App, parts: Parts) -> None:
    anna = a_person(parts)
    (entry,) = enrolled(enrol(live_app, anna, ("two.jpg", faces_of_two_sizes()), which="largest"))
    faces = live_app.get(f"/api/v1/photos/{entry['photo_id']}").json()["faces"]
    assert len(faces) == 2
    named = max(faces, key=lambda face: face["bbox"][2] - face["bbox"][0])
    assert (named["id"], named["person"]["id"]) == (entry["face_id"], anna)
    assert [face["person"] for face in faces if face is not named] == [None]


def test_a_face_of_less_quality_than_asked_for_is_refused(live_app: App, parts: Parts) -> None:
    refused = only_refusal(enrol(live_app, a_person(parts), ("a.jpg", astronaut_jpeg()), min_quality="1"))
    assert (refused["code"], refused["details"]["min_quality"]) == ("quality_low", 1.0)
    assert 0 < refused["details"]["quality"] < 1
    assert kept(parts) == (0, 0, 0)


def test_a_face_that_is_more_like_somebody_else_is_refused_unless_it_is_wanted(
    live_app: App, parts: Parts
) -> None:
    anna, berta = a_person(parts), a_person(parts, "Berta")
    enrolled(enrol(live_app, anna, ("a.jpg", astronaut_jpeg())))
    refused = only_refusal(enrol(live_app, berta, ("b.jpg", astronaut_again())))
    details = refused["details"]
    assert (refused["code"], details["person_id"], details["own_similarity"]) == ("conflict", anna, None)
    assert details["threshold"] == parts.pack.match_threshold <= details["similarity"] <= 1
    assert kept(parts) == (1, 1, 1)
    enrolled(enrol(live_app, berta, ("b.jpg", astronaut_again()), on_conflict="allow"))
    # Nearer to Berta's own face than to Anna's.
    enrolled(enrol(live_app, berta, ("c.jpg", astronaut_again() + b"\0")))
    against = only_refusal(enrol(live_app, berta, ("d.jpg", astronaut_jpeg(3))))["details"]
    assert against["person_id"] == anna
    assert against["similarity"] > against["own_similarity"] > parts.pack.match_threshold


def test_a_face_of_another_collection_or_of_nobody_is_no_conflict(live_app: App, parts: Parts) -> None:
    send_and_wait(live_app, astronaut_jpeg(1))
    enrolled(enrol(live_app, a_person(parts, "Anna", "other"), ("a.jpg", astronaut_jpeg(2))))
    enrolled(enrol(live_app, a_person(parts, "Berta"), ("b.jpg", astronaut_jpeg(3))))


def test_a_photo_that_is_enrolled_again_stays_one_photo(live_app: App, parts: Parts) -> None:
    anna = a_person(parts)
    first, second = enrolled(enrol(live_app, anna, ("a.jpg", astronaut_jpeg()), ("b.jpg", astronaut_jpeg())))
    assert (first["duplicate"], second["duplicate"]) == (False, True)
    (again,) = enrolled(enrol(live_app, anna, ("c.jpg", astronaut_jpeg())))
    assert again["duplicate"] is True
    assert {each["photo_id"] for each in (first, second, again)} == {first["photo_id"]}
    assert {each["face_id"] for each in (first, second, again)} == {first["face_id"]}
    assert kept(parts) == (1, 1, 1)


def test_an_original_that_an_erasure_took_meanwhile_is_back(live_app: App, parts: Parts) -> None:
    anna = a_person(parts)
    (entry,) = enrolled(enrol(live_app, anna, ("a.jpg", astronaut_jpeg())))
    for original in originals(live_app.installation):
        original.unlink()
    enrolled(enrol(live_app, anna, ("a.jpg", astronaut_jpeg())))
    assert live_app.get(f"/api/v1/photos/{entry['photo_id']}/image").content == astronaut_jpeg()


def test_a_photo_that_is_there_already_needs_no_worker(live_app: App, parts: Parts) -> None:
    (known,) = send_and_wait(live_app, astronaut_jpeg())
    (crowd,) = send_and_wait(live_app, two_faces())
    live_app.installation.end(live_app.workers[1])
    anna = a_person(parts)
    answer = enrol(live_app, anna, ("a.jpg", astronaut_jpeg()), ("two.jpg", two_faces()))
    (entry,) = enrolled(answer)
    assert (entry["photo_id"], entry["duplicate"]) == (known["id"], True)
    assert refusals(answer) == {"two.jpg": "faces_many"}
    photo = live_app.get(f"/api/v1/photos/{known['id']}").json()
    assert (photo["person"]["id"], photo["faces"][0]["person"]["id"]) == (anna, anna)
    (largest,) = enrolled(
        enrol(live_app, anna, ("two.jpg", two_faces()), which="largest", on_conflict="allow")
    )
    assert largest["photo_id"] == crowd["id"]


def test_a_photo_of_somebody_else_stays_theirs(live_app: App, parts: Parts) -> None:
    (known,) = send_and_wait(live_app, astronaut_jpeg(), person="Anna")
    berta = a_person(parts, "Berta")
    refused = only_refusal(enrol(live_app, berta, ("a.jpg", astronaut_jpeg()), on_conflict="allow"))
    photo = live_app.get(f"/api/v1/photos/{known['id']}").json()
    assert photo["faces"][0]["person"]["name"] == "Anna"
    assert (refused["code"], refused["details"]) == (
        "person_differs",
        {"person_id": photo["person"]["id"], "face_id": photo["faces"][0]["id"]},
    )


def test_a_photo_that_waits_for_a_worker_is_left_alone(web_app: App, parts: Parts) -> None:
    waiting = web_app.upload(("a.jpg", astronaut_jpeg())).json()["photos"][0]
    refused = only_refusal(enrol(web_app, a_person(parts), ("a.jpg", astronaut_jpeg())))
    assert (refused["code"], refused["details"]) == ("photo_processing", {"photo_id": waiting["id"]})
    assert web_app.get(f"/api/v1/photos/{waiting['id']}").json()["person"] is None


def test_a_photo_that_had_failed_is_looked_at_again(live_app: App, parts: Parts) -> None:
    (known,) = send_and_wait(live_app, astronaut_jpeg())
    with parts.database.transaction() as session:
        session.execute(delete(Face))
        session.execute(update(Photo).values(state="failed", reason_code="worker_lost", reason_message="x"))
        session.execute(update(Collection).values(face_count=0))
    anna = a_person(parts)
    (entry,) = enrolled(enrol(live_app, anna, ("a.jpg", astronaut_jpeg())))
    assert (entry["photo_id"], entry["duplicate"]) == (known["id"], True)
    photo = live_app.get(f"/api/v1/photos/{known['id']}").json()
    assert (photo["state"], photo["reason"], photo["person"]["id"]) == ("done", None, anna)
    assert kept(parts) == (1, 1, 1)


@pytest.mark.parametrize(
    ("form", "word"),
    [
        ({"which": "all"}, "only, largest"),
        ({"on_conflict": "yes"}, "refuse, allow"),
        ({"min_quality": "1.01"}, "from 0.0 to 1.0"),
        ({"min_quality": "nan"}, "from 0.0 to 1.0"),
    ],
)
def test_a_field_of_another_value_is_refused_with_those_there_are(
    web_app: App, parts: Parts, form: dict[str, str], word: str
) -> None:
    answer = enrol(web_app, a_person(parts), ("a.jpg", astronaut_jpeg()), **form)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "parameter")
    assert word in answer.json()["error"]["message"]


def test_what_is_no_enrolment_is_refused(web_app: App, parts: Parts) -> None:
    photo = ("a.jpg", astronaut_jpeg())
    for person_id in (str(uuid.uuid4()), "nobody", "%00", "0" * 9000):
        answer = enrol(web_app, person_id, photo)
        assert answer.status_code == 404, answer.text
    anna = a_person(parts)
    none = web_app.request("POST", f"/api/v1/persons/{anna}/photos", data={"which": "only"})
    assert (none.status_code, none.json()["error"]["code"]) == (400, "photos_missing")
    many = enrol(web_app, anna, *(photo for _ in range(21)))
    assert (many.status_code, many.json()["error"]["code"]) == (400, "too_many_photos")


def key_of(app: App, name: str, scopes: str, collections: list[str] | None = None) -> dict[str, str]:
    """A key of these scopes and collections, as headers."""
    from face_pipeline.store import keys
    from face_pipeline.store.models import ApiKey

    with app.installation.parts.database.transaction() as session:
        session.execute(delete(ApiKey).where(ApiKey.name == name))
        _, key = keys.create(session, name, scopes.split(","))
        session.execute(update(ApiKey).where(ApiKey.name == name).values(collections=collections))
    return {"Authorization": f"Bearer {key}"}


def test_a_key_enrols_only_with_the_scope_and_in_its_collections(live_app: App, parts: Parts) -> None:
    anna, other = a_person(parts), a_person(parts, "Anna", "other")
    photo = ("a.jpg", astronaut_jpeg())
    writer = enrol(live_app, anna, photo, headers=key_of(live_app, "writer", "read,write"))
    assert (writer.status_code, writer.json()["error"]["code"]) == (403, "scope_missing")
    bound = key_of(live_app, "bound", "enrol", ["other"])
    beyond = enrol(live_app, anna, photo, headers=bound)
    nobody = enrol(live_app, str(uuid.uuid4()), photo, headers=bound)
    assert (beyond.status_code, beyond.json()["error"]["code"]) == (404, "person_not_found")
    assert nobody.json()["error"] == {
        **beyond.json()["error"],
        "message": nobody.json()["error"]["message"],
    }
    enrolled(enrol(live_app, other, photo, headers=bound))


def test_a_collection_of_another_model_pack_takes_no_photo(web_app: App, parts: Parts) -> None:
    anna = a_person(parts)
    with parts.database.transaction() as session:
        session.execute(update(Collection).values(contract_id="another"))
    answer = enrol(web_app, anna, ("a.jpg", astronaut_jpeg()))
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "contract_mismatch")


def test_without_a_worker_the_answer_says_when_to_come_again(clean: Installation, parts: Parts) -> None:
    url, web = start_web(clean, "enrolment.log", FACE_SEARCH_TIMEOUT_SECONDS="1")
    app = App(clean, url, web)
    photos = [(f"{number}.jpg", astronaut_jpeg(number)) for number in range(20)]
    answer = enrol(app, a_person(parts), *photos)
    clean.end(web)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "search_timeout")
    assert "Retry-After" in answer.headers
    assert kept(parts) == (0, 0, 0)


def test_an_enrolment_leaves_one_entry_that_names_nobody(live_app: App, parts: Parts) -> None:
    anna = a_person(parts, "Zaphod Beeblebrox")
    for _ in range(2):
        enrolled(enrol(live_app, anna, ("a.jpg", astronaut_jpeg(1)), ("b.jpg", astronaut_jpeg(2))))
    with parts.database.transaction() as session:
        (entry,) = session.scalars(select(AuditEntry).where(AuditEntry.subject == anna)).all()
    assert (entry.action, entry.actor_name, entry.collection, entry.outcome) == (
        "person.enrol", "admin", "default", "done",
    )  # fmt: skip
    assert entry.details == {"photos": 2, "faces": 2}


def test_of_two_persons_who_get_the_same_face_at_once_one_is_refused(live_app: App, parts: Parts) -> None:
    for number in range(4):
        people = [a_person(parts, f"{name} {number}", f"round-{number}") for name in ("Anna", "Berta")]
        start = threading.Barrier(2)

        lights = [jpeg(ImageEnhance.Brightness(astronaut()).enhance(factor)) for factor in (0.9, 1.0)]

        def send(person_id: str, photo: bytes, start: threading.Barrier = start) -> requests.Response:
            start.wait(30)
            return enrol(live_app, person_id, ("a.jpg", photo))

        with ThreadPoolExecutor(2) as clients:
            answers = list(clients.map(send, people, lights))
        assert sorted(each.status_code for each in answers) == [200, 422], [each.text for each in answers]
        loser = next(each for each in answers if each.status_code == 422)
        assert only_refusal(loser)["code"] == "conflict"


def test_a_photo_that_is_enrolled_for_two_persons_at_once_is_one_persons(live_app: App, parts: Parts) -> None:
    people = [a_person(parts, name) for name in ("Anna", "Berta", "Clara", "Dora")]
    start = threading.Barrier(len(people))

    def send(person_id: str) -> requests.Response:
        start.wait(30)
        photos = [(f"{number}.jpg", astronaut_jpeg(number)) for number in range(3)]
        return enrol(live_app, person_id, *photos, on_conflict="allow")

    with ThreadPoolExecutor(len(people)) as clients:
        answers = list(clients.map(send, people))
    assert sorted(each.status_code for each in answers) == [200, 422, 422, 422]
    for answer in answers:
        if answer.status_code == 422:
            assert set(refusals(answer).values()) == {"person_differs"}
    assert kept(parts) == (3, 3, 3)


def test_a_person_who_is_removed_meanwhile_leaves_nothing_behind(
    web_app: App, parts: Parts, slow_code: str
) -> None:
    web_app.start_worker(PYTHONPATH=slow_code)
    anna = a_person(parts)
    with ThreadPoolExecutor(1) as client:
        asked = client.submit(enrol, web_app, anna, ("a.jpg", astronaut_jpeg() + b"slow:3"))
        wait_until(lambda: parts.scratch.keys("face:search:*:waiting"), 20, "the worker to have it")
        with parts.database.transaction() as session:
            session.execute(delete(Person))
        answer = asked.result()
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "person_not_found")
    assert kept(parts) == (0, 0, 0)


def test_a_photo_that_is_uploaded_and_enrolled_at_once_is_kept_once(live_app: App, parts: Parts) -> None:
    anna = a_person(parts)
    for number in range(5):
        start = threading.Barrier(2)
        photo = (f"{number}.jpg", astronaut_jpeg(number))

        def upload(start: threading.Barrier = start, photo: tuple[str, bytes] = photo) -> Any:
            start.wait(30)
            return live_app.upload(photo).json()

        def enrolling(start: threading.Barrier = start, photo: tuple[str, bytes] = photo) -> Any:
            start.wait(30)
            return enrol(live_app, anna, photo)

        with ThreadPoolExecutor(2) as clients:
            uploading, asked = clients.submit(upload), clients.submit(enrolling)
            batch, answer = uploading.result(), asked.result()
        live_app.wait_finished(batch["batch_id"])
        if answer.status_code != 200:
            assert only_refusal(answer)["code"] == "photo_processing"
            (entry,) = enrolled(enrol(live_app, anna, photo))
            assert entry["photo_id"] == batch["photos"][0]["id"]
        assert kept(parts) == (number + 1,) * 3
