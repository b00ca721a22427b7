"""Embeddings, out and in: what an operator sees who moves faces between systems."""

from __future__ import annotations

import concurrent.futures
import json
import uuid
from typing import Any

import numpy as np
import pytest
import requests
from face_pipeline.engine import contract_id
from face_pipeline.parts import Parts
from face_pipeline.store.models import AuditEntry, Collection, Face, Person
from sqlalchemy import delete, func, select, text, update

from tests.app.test_search_by_face import NOBODY, ask, bounded_key, face_ids
from tests.app.test_vectors import DIMENSION, add_person, axis, fill, make_collection, near, unit
from tests.installation import App, wait_until
from tests.photos import astronaut_again, astronaut_jpeg


def add(
    app: App, person_id: object, embeddings: Any, key: str | None = None, **change: Any
) -> requests.Response:
    body = {"contract_id": contract_id(app.installation.parts.pack), "embeddings": embeddings, **change}
    headers = {"Authorization": f"Bearer {key or app.api_key}"}
    return app.request("POST", f"/api/v1/persons/{person_id}/embeddings", json=body, headers=headers)


def counted(parts: Parts, name: str = "default") -> tuple[int, int]:
    """Faces of a collection as it counts them, and as there are."""
    with parts.database.reading() as session:
        collection = session.scalars(select(Collection).where(Collection.name == name)).one()
        there = session.scalar(select(func.count()).where(Face.collection_id == collection.id))
    return collection.face_count, there or 0


def entries(parts: Parts, action: str) -> list[AuditEntry]:
    with parts.database.reading() as session:
        return list(
            session.scalars(
                select(AuditEntry).where(AuditEntry.action == action).order_by(AuditEntry.id.desc())
            )
        )


def test_a_face_taken_from_one_system_is_found_in_another(live_app: App, parts: Parts) -> None:
    batch = live_app.upload(("a.jpg", astronaut_jpeg()), collection="from").json()["batch_id"]
    live_app.wait_finished(batch)
    (face_id,) = face_ids(parts, make_collection(parts, "from"))
    told = live_app.get(f"/api/v1/faces/{face_id}/embedding").json()
    assert (told["face_id"], told["contract_id"]) == (face_id, contract_id(parts.pack))
    assert len(told["embedding"]) == told["dimension"] == DIMENSION
    assert np.linalg.norm(told["embedding"]) == pytest.approx(1, abs=1e-5)

    to = make_collection(parts, "to")
    person = add_person(parts, to, "Eileen Collins")
    assert live_app.search(astronaut_again(), collection="to").json()["faces"][0]["matches"] == []
    answer = add(live_app, person, [told["embedding"]])
    assert answer.status_code == 201, answer.text
    (added,) = answer.json()["face_ids"]
    assert answer.json()["person_id"] == str(person)
    found = live_app.search(astronaut_again(), collection="to").json()
    assert found["cache"] == "miss", "what was kept from before does not hide it"
    (match,) = found["faces"][0]["matches"]
    assert (match["face_id"], match["photo_id"], match["person_name"]) == (added, None, "Eileen Collins")
    # From the cache it comes the same.
    assert live_app.search(astronaut_again(), collection="to").json()["faces"] == found["faces"]
    crop = live_app.get(f"/api/v1/faces/{added}/crop")
    assert (crop.status_code, crop.json()["error"]["code"]) == (404, "face_without_photo")
    back = live_app.get(f"/api/v1/faces/{added}/embedding").json()["embedding"]
    assert np.abs(np.subtract(back, told["embedding"])).max() < 1e-3
    assert "bbox" not in ask(live_app, {"face_id": added}).json()["faces"][0]


def test_every_embedding_of_a_collection_comes_once_on_some_page(web_app: App, parts: Parts) -> None:
    collection = make_collection(parts, "default")
    rows = unit(np.random.default_rng(0).normal(size=(7, DIMENSION)).astype(np.float32))
    fill(parts, collection, rows)
    fill(parts, make_collection(parts, "other"), rows[:2])
    person = add_person(parts, collection, "Anna")
    add(web_app, person, near(axis(0), 1, 0.9, 1).tolist())
    items, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        query = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = web_app.get("/api/v1/collections/default/embeddings", params=query).json()
        assert len(page["embeddings"]) <= 3
        items, cursor, pages = items + page["embeddings"], page["next_cursor"], pages + 1
    assert pages == 3
    assert (page["collection"], page["dimension"]) == ("default", DIMENSION)
    assert len({item["face_id"] for item in items}) == 8
    assert set(face_ids(parts, collection)) == {item["face_id"] for item in items}
    (hers,) = [item for item in items if item["person_id"]]
    assert (hers["person_id"], hers["photo_id"]) == (str(person), None)
    numbers = [item["embedding"] for item in items if item["photo_id"]]
    assert np.sort(np.max(np.array(numbers) @ rows.T, axis=1)) == pytest.approx(np.ones(7), abs=1e-3)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"/faces/{NOBODY}/embedding", 404, "face_not_found"),
        ("/faces/x/embedding", 404, "face_not_found"),
        ("/collections/nowhere/embeddings", 404, "collection_not_found"),
        ("/collections/Nowhere/embeddings", 400, "collection_name"),
        ("/collections/default/embeddings?limit=201", 400, "parameter"),
        ("/collections/default/embeddings?limit=0", 400, "parameter"),
        ("/collections/default/embeddings?cursor=x", 400, "parameter"),
        ("/collections/default/embeddings?cursor=WzFd", 400, "parameter"),
    ],
)
def test_what_is_not_there_is_said(web_app: App, parts: Parts, path: str, status: int, code: str) -> None:
    make_collection(parts, "default")
    answer = web_app.get(f"/api/v1{path}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text


def test_embeddings_are_for_admins_of_the_collection_alone(web_app: App, parts: Parts) -> None:
    collection = make_collection(parts, "default")
    fill(parts, collection, axis(0)[None])
    (face_id,) = face_ids(parts, collection)
    person = add_person(parts, collection, "Anna")
    paths = (f"/api/v1/faces/{face_id}/embedding", "/api/v1/collections/default/embeddings")
    every = bounded_key(parts, None, "read", "write", "enrol", "erase")
    elsewhere = bounded_key(parts, ["other"], "admin")
    for key, statuses in ((every, (403, 403, 403)), (elsewhere, (404, 403, 404))):
        headers = {"Authorization": f"Bearer {key}"}
        seen = [web_app.get(path, headers=headers).status_code for path in paths]
        seen.append(add(web_app, person, [axis(1).tolist()], key).status_code)
        assert tuple(seen) == statuses
    assert counted(parts) == (1, 1)


AXIS = axis(0).tolist()


@pytest.mark.parametrize(
    ("embeddings", "change", "status", "code", "words"),
    [
        ([AXIS, AXIS[:-1]], {}, 400, "embedding_invalid", "at place 1 has 127 numbers"),
        ([AXIS, [2 * each for each in AXIS]], {}, 400, "embedding_invalid", "at place 1 has the L2 norm 2"),
        ([AXIS], {"contract_id": "x" * 10_000}, 409, "contract_mismatch", "cannot be compared"),
        ([AXIS], {"contract_id": 5}, 400, "parameter", "contract_id"),
        ([], {}, 400, "parameter", "embeddings"),
        ([[1.0]] * 1001, {}, 400, "parameter", "embeddings"),
        ([[[1.0]]], {}, 400, "parameter", "embeddings.0.0"),
        ([None], {}, 400, "parameter", "embeddings.0"),
        ([[True] * DIMENSION], {}, 400, "parameter", "embeddings.0.0"),
        ([[float("nan")] * DIMENSION], {}, 400, "parameter", "finite"),
        (AXIS, {}, 400, "parameter", "embeddings.0"),
        ([AXIS], {"names": []}, 400, "parameter", "names"),
    ],
)
def test_of_embeddings_that_are_wrong_none_is_kept(
    web_app: App, parts: Parts, embeddings: Any, change: dict[str, Any], status: int, code: str, words: str
) -> None:
    person = add_person(parts, make_collection(parts, "default"), "Anna")
    body = {"contract_id": contract_id(parts.pack), "embeddings": embeddings, **change}
    # `requests` itself refuses what JSON does not have.
    answer = web_app.request(
        "POST", f"/api/v1/persons/{person}/embeddings", data=json.dumps(body),
        headers={"Content-Type": "application/json"},
    )  # fmt: skip
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert words in answer.json()["error"]["message"]
    assert counted(parts) == (0, 0)


def test_a_body_without_end_is_refused_unread(web_app: App, parts: Parts) -> None:
    person = add_person(parts, make_collection(parts, "default"), "Anna")
    body = '{"contract_id": "x", "embeddings": [[' + "0.123456789," * 1_500_000 + "0]]}"
    answer = web_app.request("POST", f"/api/v1/persons/{person}/embeddings", data=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    assert "several requests" in answer.json()["error"]["message"]


def test_embeddings_are_given_to_nobody_who_is_not_there(web_app: App, parts: Parts) -> None:
    for person in (NOBODY, "x"):
        answer = add(web_app, person, [AXIS])
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "person_not_found")
    person = add_person(parts, make_collection(parts, "default"), "Anna")
    with parts.database.transaction() as session:
        session.execute(update(Collection).values(contract_id="other-1"))
    answer = add(web_app, person, [AXIS])
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "contract_mismatch")
    assert counted(parts) == (0, 0)


def test_a_thousand_of_one_person_come_in_at_once(web_app: App, parts: Parts) -> None:
    person = add_person(parts, make_collection(parts, "default"), "Anna")
    rows = near(axis(0), 1000, 0.97, 1)
    answer = add(web_app, person, rows.tolist())
    assert answer.status_code == 201
    assert len(set(answer.json()["face_ids"])) == 1000
    assert counted(parts) == (1000, 1000)
    asked = {
        "embedding": AXIS,
        "contract_id": contract_id(parts.pack),
        "group_by": "person",
        "threshold": 0.5,
    }
    # Nobody measured their quality: it keeps none of them out.
    (match,) = ask(web_app, {**asked, "min_quality": 1}).json()["faces"][0]["matches"]
    assert (match["person_name"], match["face_count"]) == ("Anna", 1000)


def test_what_was_read_and_added_is_in_the_audit_without_a_number_of_it(web_app: App, parts: Parts) -> None:
    collection = make_collection(parts, "default")
    person = add_person(parts, collection, "Zaphod")
    (face_id,) = add(web_app, person, [AXIS]).json()["face_ids"]
    web_app.get(f"/api/v1/faces/{face_id}/embedding")
    web_app.get("/api/v1/collections/default/embeddings")
    added = entries(parts, "embedding.add")[0]
    page, one = entries(parts, "embedding.read")[:2]
    assert (added.subject, added.collection, added.details) == (str(person), "default", {"embeddings": 1})
    assert (one.subject, page.subject, page.details) == (face_id, None, {"embeddings": 1})
    assert {entry.actor_name for entry in (added, page, one)} == {"admin"}


def test_embeddings_that_meet_an_erasure_leave_nothing_half_done(web_app: App, parts: Parts) -> None:
    """Each client is told whether the faces were kept, and the counts are right."""
    collection = make_collection(parts, "default")
    persons = [add_person(parts, collection, f"Person {number}") for number in range(4)]

    def remove(person: uuid.UUID) -> int:
        def work(session: Any) -> int:
            session.execute(select(Person.id).where(Person.id == person).with_for_update())
            gone = session.execute(delete(Face).where(Face.person_id == person)).rowcount
            session.execute(delete(Person).where(Person.id == person))
            session.execute(
                update(Collection)
                .where(Collection.id == collection.id)
                .values(face_count=Collection.face_count - gone)
            )
            return int(gone)

        return parts.database.in_transaction(work)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        adding = [pool.submit(add, web_app, persons[n % 4], [AXIS, AXIS]) for n in range(24)]
        removing = [pool.submit(remove, person) for person in persons[:2]]
        statuses = [each.result().status_code for each in adding]
        removed = sum(each.result() for each in removing)
    assert set(statuses) <= {201, 404}
    assert statuses[2::4] + statuses[3::4] == [201] * 12, "nobody removed these"
    kept, there = counted(parts)
    assert kept == there == 2 * statuses.count(201) - removed
    with parts.database.reading() as session:
        assert session.scalar(text("SELECT count(*) FROM faces WHERE person_id IS NULL")) == 0


def test_somebody_who_is_removed_meanwhile_gets_no_faces(web_app: App, parts: Parts) -> None:
    person = add_person(parts, make_collection(parts, "default"), "Anna")
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        with parts.database.transaction() as session:
            session.execute(delete(Person).where(Person.id == person))
            asked = pool.submit(add, web_app, person, [AXIS])
            with parts.database.reading() as other:
                wait_until(lambda: other.scalar(waiting), 20, "the request to wait for the removal")
        answer = asked.result()
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "person_not_found")
    assert counted(parts) == (0, 0)
