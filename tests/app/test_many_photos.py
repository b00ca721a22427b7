"""Many photos or faces at once: what can be done is done, each one that cannot is named with its reason."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from face_pipeline.client import Client
from face_pipeline.parts import Parts
from face_pipeline.store.models import Face, Person, Photo
from sqlalchemy import func, select

from tests.app import stock
from tests.installation import App
from tests.photos import astronaut_jpeg

NO_ID = "11111111-1111-4111-8111-111111111111"


def post(app: App, path: str, body: Any, **options: Any) -> requests.Response:
    return app.request("POST", f"/api/v1/{path}", json=body, **options)


def done(answer: requests.Response, status: int = 200) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()
    return told


def texts(ids: Sequence[uuid.UUID]) -> list[str]:
    return [str(each) for each in ids]


def refused(told: dict[str, Any]) -> dict[str, str]:
    assert all(each["message"] for each in told["refused"])
    return {each["id"]: each["code"] for each in told["refused"]}


def there(parts: Parts, what: Any = Photo) -> int:
    with parts.database.reading() as session:
        return session.scalar(select(func.count()).select_from(what)) or 0


def owner(parts: Parts, photo_id: uuid.UUID) -> uuid.UUID | None:
    with parts.database.reading() as session:
        return session.get_one(Photo, photo_id).person_id


def shown(parts: Parts, photo_id: uuid.UUID) -> list[uuid.UUID | None]:
    with parts.database.reading() as session:
        return list(
            session.scalars(select(Face.person_id).where(Face.photo_id == photo_id).order_by(Face.position))
        )


# Erased


def test_many_photos_are_erased_with_one_receipt(web_app: App, parts: Parts) -> None:
    anna = stock.person(parts, "Anna")
    going = [stock.photo(parts, anna), stock.photo(parts, None, None, collection="other")]
    going.append(stock.photo(parts, state="processing"))
    stays = stock.photo(parts, anna)
    hashes = [stock.sha256(parts, each) for each in going]
    before = stock.rows(parts)
    body = {"photo_ids": [*texts(going), NO_ID, str(going[0])]}
    told = done(post(web_app, "photos/delete", {**body, "dry_run": True}))
    assert stock.rows(parts) == before
    assert told == done(post(web_app, "photos/delete", body)) | {"dry_run": True, "proof": None}
    counts = {name: told[name] for name in ("photos", "faces", "originals", "tasks", "under_way")}
    assert counts == {"photos": 3, "faces": 3, "originals": 3, "tasks": 1, "under_way": 1}
    assert sorted(told["collections"]) == ["default", "other"]
    assert refused(told) == {NO_ID: "photo_not_found"}
    assert there(parts) == 1
    assert not any(stock.has_file(parts, each) for each in hashes)
    assert web_app.get(f"/api/v1/photos/{stays}").status_code == 200
    stock.check_consistent(parts)
    assert [each["subject"] for each in stock.audit(parts, "photo.erase")][-3:] in (
        [*sorted(texts([going[0], going[2]])), str(going[1])],
        [str(going[1]), *sorted(texts([going[0], going[2]]))],
    )
    again = done(post(web_app, "photos/delete", body))
    assert (again["photos"], again["collections"], len(again["refused"])) == (0, [], 4)


def test_a_file_that_another_photo_has_stays(web_app: App, parts: Parts) -> None:
    here = stock.photo(parts, None, data=astronaut_jpeg())
    stock.photo(parts, None, data=astronaut_jpeg(), collection="other")
    for dry_run in (True, False):
        told = done(post(web_app, "photos/delete", {"photo_ids": [str(here)], "dry_run": dry_run}))
        assert (told["photos"], told["originals"]) == (1, 0)
        assert [(each["what"], each["code"]) for each in told["kept"]] == [("originals", "named_elsewhere")]
    stock.check_consistent(parts)


def test_a_key_erases_what_it_reaches_alone(web_app: App, parts: Parts) -> None:
    mine, others = stock.photo(parts, None, collection="mine"), stock.photo(parts, None)
    body = {"photo_ids": texts([mine, others])}
    for scope in ("read", "write", "enrol"):
        refusal = post(web_app, "photos/delete", body, headers=stock.key(parts, scope))
        assert refusal.status_code == 403
    headers = stock.key(parts, "erase", collections=["mine"])
    told = done(post(web_app, "photos/delete", body, headers=headers))
    assert (told["photos"], refused(told)) == (1, {str(others): "photo_not_found"})
    assert there(parts) == 1


def test_those_who_erase_the_same_photos_wait_for_each_other(web_app: App, parts: Parts) -> None:
    photos = [stock.photo(parts, None, collection=random.choice("ab")) for _ in range(40)]
    start = threading.Barrier(6)

    def erase(number: int) -> int:
        mine = texts(photos)
        random.Random(number).shuffle(mine)
        start.wait(30)
        return int(done(post(web_app, "photos/delete", {"photo_ids": mine}))["photos"])

    with ThreadPoolExecutor(6) as clients:
        assert sum(clients.map(erase, range(6))) == 40
    assert there(parts) == 0
    stock.check_consistent(parts)


# Moved


def test_many_photos_are_moved_and_those_that_cannot_are_named(web_app: App, parts: Parts) -> None:
    anna, there_too = stock.person(parts, "Anna"), stock.person(parts, "anna", "other")
    stock.person(parts, "Bert")
    moving = stock.photo(parts, anna)
    unnamed = stock.photo(parts, stock.person(parts, "Bert"), None)
    busy = stock.photo(parts, state="processing")
    twice = stock.photo(parts, None, data=astronaut_jpeg())
    known = stock.photo(parts, None, data=astronaut_jpeg(), collection="other")
    body = {"photo_ids": [*texts([moving, busy, twice, unnamed, known]), NO_ID], "collection": "other"}
    told = done(post(web_app, "photos/move", body))
    assert (told["moved"], told["unnamed"]) == (2, 1)
    assert refused(told) == {
        str(busy): "photo_processing", str(twice): "photo_exists", NO_ID: "photo_not_found",
    }  # fmt: skip
    assert shown(parts, moving) == [there_too]
    stock.check_consistent(parts)
    missing = post(web_app, "photos/move", {**body, "collection": "none"})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "collection_not_found")
    headers = stock.key(parts, "write", collections=["default"])
    assert post(web_app, "photos/move", body, headers=headers).status_code == 403


# Tried again


def test_chosen_photos_are_tried_again(web_app: App, parts: Parts) -> None:
    failed = [stock.photo(parts, state="failed") for _ in range(3)]
    finished = stock.photo(parts, None)
    body = {"photo_ids": [*texts([*failed[:2], finished]), NO_ID]}
    told = done(post(web_app, "photos/retry", body), 202)
    assert told["retried"] == 2
    assert refused(told) == {str(finished): "photo_not_failed", NO_ID: "photo_not_found"}
    assert parts.queue.llen("ingest") == 2
    states = [web_app.get(f"/api/v1/photos/{each}").json()["state"] for each in failed]
    assert states == ["queued", "queued", "failed"]
    assert [each["subject"] for each in stock.audit(parts, "photo.retry")][-2:] == texts(failed[:2])
    # The other way of asking says what it said before.
    assert done(post(web_app, "photos/retry", {"collection": "default"}), 202) == {"retried": 1}
    assert post(web_app, "photos/retry", {**body, "collection": "default"}).status_code == 400


def test_a_photo_that_many_choose_is_tried_again_once(web_app: App, parts: Parts) -> None:
    photos = [stock.photo(parts, state="failed") for _ in range(20)]
    start = threading.Barrier(5)

    def ask(number: int) -> int:
        mine = texts(photos)
        random.Random(number).shuffle(mine)
        start.wait(30)
        return int(done(post(web_app, "photos/retry", {"photo_ids": mine}), 202)["retried"])

    with ThreadPoolExecutor(5) as clients:
        assert sum(clients.map(ask, range(5))) == 20
    assert parts.queue.llen("ingest") == 20


# Given to somebody


def test_many_faces_are_given_to_a_name(web_app: App, parts: Parts) -> None:
    bert = stock.person(parts, "Bert")
    alone, group, theirs = stock.photo(parts, None), stock.photo(parts, None, bert), stock.photo(parts, bert)
    elsewhere = stock.photo(parts, None, collection="other")
    faces = [stock.faces_of(parts, each)[0] for each in (alone, group, theirs, elsewhere)]
    version = stock.version(parts)
    body = {"face_ids": [*texts(faces), NO_ID, str(faces[0])], "person": " Anna "}
    told = done(post(web_app, "faces/assign", body))
    assert (told["person"]["name"], told["face_count"]) == ("Anna", 3)
    assert refused(told) == {str(faces[3]): "person_other_collection", NO_ID: "face_not_found"}
    anna = uuid.UUID(told["person"]["id"])
    assert [shown(parts, each) for each in (alone, group, theirs)] == [[anna], [anna, bert], [anna]]
    # A photo that shows one face alone is theirs.
    assert [owner(parts, each) for each in (alone, group, theirs)] == [anna, None, anna]
    assert stock.version(parts) == version + 1
    assert len(stock.audit(parts, "face.assign")) >= 3
    again = done(post(web_app, "faces/assign", {"face_ids": texts(faces[:3]), "person_id": str(anna)}))
    assert (again["face_count"], stock.version(parts)) == (3, version + 1)


def test_a_photo_that_shows_its_person_no_more_is_nobodys(web_app: App, parts: Parts) -> None:
    anna, bert = stock.person(parts, "Anna"), stock.person(parts, "Bert")
    photo_id = stock.photo(parts, anna, anna, None, named="Anna")
    assert owner(parts, photo_id) == anna
    first, second, third = texts(stock.faces_of(parts, photo_id))
    done(post(web_app, "faces/assign", {"face_ids": [first, third], "person_id": str(bert)}))
    assert (shown(parts, photo_id), owner(parts, photo_id)) == ([bert, anna, bert], anna)
    done(post(web_app, "faces/assign", {"face_ids": [second], "person_id": None}))
    assert (shown(parts, photo_id), owner(parts, photo_id)) == ([bert, None, bert], None)


def test_faces_of_several_collections_are_taken_off(web_app: App, parts: Parts) -> None:
    photos = [
        stock.photo(parts, stock.person(parts, "Anna", each), collection=each) for each in ("default", "b")
    ]
    faces = [stock.faces_of(parts, each)[0] for each in photos]
    told = done(post(web_app, "faces/assign", {"face_ids": texts(faces), "person_id": None}))
    assert (told["person"], told["face_count"], told["refused"]) == (None, 2, [])
    assert [shown(parts, each) for each in photos] == [[None], [None]]
    assert {each["subject"] for each in stock.audit(parts, "face.take_off")[-2:]} == set(texts(faces))


def test_nobody_is_made_for_nothing_and_nobody_unknown_gets_a_face(web_app: App, parts: Parts) -> None:
    photo_id = stock.photo(parts, None)
    faces = texts(stock.faces_of(parts, photo_id))
    told = done(post(web_app, "faces/assign", {"face_ids": [NO_ID], "person": "Anna"}))
    assert (told["person"], told["face_count"]) == (None, 0)
    assert there(parts, Person) == 0
    missing = post(web_app, "faces/assign", {"face_ids": faces, "person_id": NO_ID})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "person_not_found")
    hidden = stock.person(parts, "Anna", "other")
    headers = stock.key(parts, "enrol", collections=["default"])
    answer = post(web_app, "faces/assign", {"face_ids": faces, "person_id": str(hidden)}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "person_not_found")
    assert post(web_app, "faces/assign", {"face_ids": faces, "person": "\u202e"}).status_code == 400
    assert shown(parts, photo_id) == [None]


def test_those_who_name_the_same_faces_wait_for_each_other(web_app: App, parts: Parts) -> None:
    photos = [stock.photo(parts, None, None) for _ in range(15)]
    faces = [face for photo in photos for face in stock.faces_of(parts, photo)]
    moving = [stock.photo(parts, None) for _ in range(6)]
    faces += [stock.faces_of(parts, each)[0] for each in moving]
    start = threading.Barrier(8)
    stock.person(parts, "Somebody", "other")

    def name(number: int) -> None:
        mine = texts(faces)
        random.Random(number).shuffle(mine)
        start.wait(30)
        done(post(web_app, "faces/assign", {"face_ids": mine, "person": f"Person {number % 3}"}))

    def other(number: int) -> None:
        start.wait(30)
        if number % 2:
            done(post(web_app, "photos/move", {"photo_ids": texts(moving), "collection": "other"}))
        else:
            done(post(web_app, "photos/delete", {"photo_ids": texts(photos[:5])}))

    with ThreadPoolExecutor(8) as clients:
        waits = [clients.submit(name, each) for each in range(6)]
        waits += [clients.submit(other, each) for each in range(2)]
        for each in waits:
            each.result()
    stock.check_consistent(parts)
    owners = {tuple(shown(parts, each)) for each in photos[5:]}
    # Whoever came last has all.
    assert len(owners) == 1
    assert len(set(owners.pop())) == 1


# What is refused as a whole

BODIES: list[Callable[[list[str]], Any]] = [
    lambda _: {},
    lambda _: {"IDS": []},
    lambda _: {"IDS": None},
    lambda _: {"IDS": ["no id"]},
    lambda _: {"IDS": [None]},
    lambda ids: {"IDS": ids[0]},
    lambda ids: {"IDS": ids, "all": True},
    lambda _: {"IDS": [str(uuid.uuid4()) for _ in range(201)]},
]


@pytest.mark.parametrize("number", range(len(BODIES)))
@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("photos/delete", {}), ("photos/move", {"collection": "other"}), ("photos/retry", {}),
        ("faces/assign", {"person": "Anna"}),
    ],
)  # fmt: skip
def test_nothing_is_done_with_a_list_that_is_none(
    web_app: App, parts: Parts, path: str, more: dict[str, str], number: int
) -> None:
    photo_id = stock.photo(parts, None)
    name = "face_ids" if path.startswith("faces") else "photo_ids"
    body = BODIES[number]([str(photo_id)])
    answer = post(web_app, path, {key.replace("IDS", name): value for key, value in body.items()} | more)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "parameter")
    assert (there(parts), shown(parts, photo_id)) == (1, [None])


@pytest.mark.parametrize("body", [{}, {"person": None}, {"person": "Anna", "person_id": NO_ID}])
def test_faces_are_given_to_one_person(web_app: App, body: dict[str, Any]) -> None:
    answer = post(web_app, "faces/assign", {"face_ids": [NO_ID], **body})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "parameter")


@pytest.mark.parametrize("path", ["delete", "move"])
def test_the_address_of_many_is_no_photo(web_app: App, path: str) -> None:
    for method in ("GET", "DELETE", "PUT"):
        answer = web_app.request(method, f"/api/v1/photos/{path}")
        assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")


def test_the_client_chooses_names_moves_and_erases_many(web_app: App, parts: Parts) -> None:
    client = Client(web_app.url, web_app.api_key)
    stock.person(parts, "Somebody", "other")
    seen, failed = stock.photo(parts, None, data=astronaut_jpeg()), stock.photo(parts, state="failed")
    assert [each.id for each in client.photos(faces="unknown", state=["done", "failed"])] == [seen]
    assert [each.id for each in client.photos(sort="oldest", filename="A.J")] == [seen, failed]
    assert list(client.photos(since=datetime.now(UTC) + timedelta(days=1))) == []
    worker = web_app.start_worker()
    assert client.thumbnail(seen)[:3] == b"\xff\xd8\xff"
    # It would take the failed photo that is tried again below.
    web_app.installation.end(worker)
    given = client.give_faces(stock.faces_of(parts, seen), "Anna")
    assert given.person is not None
    assert (given.person.name, given.face_count) == ("Anna", 1)
    assert [each.id for each in client.photos(person_id=given.person.id)] == [seen]
    assert [each.certainty for each in client.faces_of(given.person.id, sort="least_sure")] == [None]
    (most, *_) = client.persons(sort="faces")
    assert (most.id, most.cover) == (given.person.id, f"/api/v1/faces/{most.cover_face_id}/crop?v=2")
    assert client.give_faces(stock.faces_of(parts, seen)).person is None
    assert [each.what for each in client.trail(seen).steps][-1] == "taken_off"
    tried = client.retry_listed([failed, seen])
    assert (tried.retried, [each.id for each in tried.refused]) == (1, [seen])
    assert client.move_photos([seen], "other").moved == 1
    assert client.erase_photos([seen, failed], dry_run=True).photos == 2
    assert client.erase_photos([seen, failed]).refused == ()
    assert there(parts) == 0
