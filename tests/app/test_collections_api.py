"""Collections: what a client notices that makes one, lists them, and asks what is in them."""

from __future__ import annotations

from functools import partial

import pytest
from face_pipeline.engine import contract_id
from face_pipeline.parts import Parts
from face_pipeline.store.models import AuditEntry, Collection
from sqlalchemy import select, update

from tests.app.test_contract import _check
from tests.app.test_ledger import accept_as, add_photo
from tests.app.test_names import send_and_wait, two_faces
from tests.app.test_persons_api import bounded, done, error, make, together
from tests.installation import App
from tests.photos import astronaut_jpeg, no_face

COLLECTIONS = "/api/v1/collections"


def names(app: App, **query: object) -> list[str]:
    return [each["name"] for each in app.get(COLLECTIONS, params=query).json()["collections"]]


def test_a_collection_is_made_before_its_first_photo(live_app: App, parts: Parts) -> None:
    answer = live_app.request("POST", COLLECTIONS, json={"name": "guests"})
    assert answer.status_code == 201
    made = answer.json()
    _check(made, COLLECTIONS, "post", 201)
    assert (made["name"], made["contract_id"], made["dimension"]) == ("guests", contract_id(parts.pack), 128)
    assert (made["face_count"], made["person_count"], made["unknown_face_count"]) == (0, 0, 0)
    assert set(made["photos"].values()) == {0}
    assert live_app.get(f"{COLLECTIONS}/guests").json() == made
    send_and_wait(live_app, astronaut_jpeg(), collection="guests")
    assert live_app.get(f"{COLLECTIONS}/guests").json()["face_count"] == 1
    with parts.database.transaction() as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.subject == "guests")).all()[-1]
        assert (entry.action, entry.collection) == ("collection.create", "guests")


def test_a_collection_says_what_it_holds(live_app: App, parts: Parts) -> None:
    send_and_wait(live_app, astronaut_jpeg(), person="Eileen Collins")
    send_and_wait(live_app, two_faces(), no_face())
    make(live_app, "Nobody Yet")
    make(live_app, "Somebody Else", collection="other")
    done(parts, "Eileen Collins")
    accept_as(parts, "Sally Ride", "a" * 64)
    told = live_app.get(f"{COLLECTIONS}/default").json()
    _check(told, f"{COLLECTIONS}/{{collection}}", "get", 200)
    assert told["photos"] == {"received": 1, "queued": 0, "processing": 0, "done": 4, "failed": 0}
    assert (told["face_count"], told["unknown_face_count"], told["person_count"]) == (4, 2, 3)


def test_collections_are_listed_by_name_in_pages(web_app: App) -> None:
    made = ["b", "a", "0", "a-b", "_", "a_b", "z"]
    for name in made:
        assert web_app.request("POST", COLLECTIONS, json={"name": name}).status_code == 201
    make(web_app, "Anna", collection="z")
    told = []
    cursor: dict[str, str] = {}
    while True:
        page = web_app.get(COLLECTIONS, params={"limit": 3, **cursor}).json()
        _check(page, COLLECTIONS, "get", 200)
        told += page["collections"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert sorted(each["name"] for each in told) == sorted(made)
    assert [each["name"] for each in told] == names(web_app)
    assert [each["person_count"] for each in told if each["name"] == "z"] == [1]
    for bad in ("", "?", "W10=", "WzFd", "WyJcdWQ4MDAiXQ=="):
        assert error(web_app.get(COLLECTIONS, params={"cursor": bad})) == (400, "parameter"), bad


def test_a_name_that_is_taken_or_bad_is_refused(web_app: App, parts: Parts) -> None:
    assert web_app.request("POST", COLLECTIONS, json={"name": "guests"}).status_code == 201
    assert error(web_app.request("POST", COLLECTIONS, json={"name": "guests"})) == (409, "collection_exists")
    for name in ("Guests", "", "x" * 65, "x" * 10_000, "ä", "a\0", "a\n", "../x", "\U0001f469"):
        answer = web_app.request("POST", COLLECTIONS, json={"name": name})
        assert error(answer) == (400, "collection_name"), name
    for body in ({}, {"name": 5}, {"name": None}, {"name": "a", "contract_id": "x"}):
        assert error(web_app.request("POST", COLLECTIONS, json=body)) == (400, "parameter"), body
    with parts.database.transaction() as session:
        session.execute(update(Collection).values(contract_id="another"))
    assert error(web_app.request("POST", COLLECTIONS, json={"name": "guests"})) == (409, "contract_mismatch")
    assert web_app.get(f"{COLLECTIONS}/guests").json()["contract_id"] == "another"
    assert names(web_app) == ["guests"]


def test_one_of_several_clients_makes_a_collection(web_app: App) -> None:
    for number in range(5):
        body = {"name": f"new-{number}"}
        answers = together(*[partial(web_app.request, "POST", COLLECTIONS, json=body)] * 4)
        assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


@pytest.mark.parametrize("name", ["nowhere", "No!", "x" * 65, "%00", "%FF", "ä"])
def test_a_collection_that_is_not_there_is_not_found(web_app: App, name: str) -> None:
    assert error(web_app.get(f"{COLLECTIONS}/{name}")) == (404, "collection_not_found")


def test_the_default_collection_is_there_from_the_start(web_app: App) -> None:
    told = web_app.get(f"{COLLECTIONS}/default")
    assert (told.status_code, told.json()["face_count"]) == (200, 0)
    assert web_app.get("/api/v1/persons", params={"collection": "default"}).json()["persons"] == []


def test_a_key_sees_the_collections_that_it_reaches(web_app: App, parts: Parts) -> None:
    add_photo(parts)
    bound = bounded(web_app, parts)
    assert bound.request("POST", COLLECTIONS, json={"name": "mine"}).status_code == 201
    assert error(bound.request("POST", COLLECTIONS, json={"name": "other"})) == (403, "collection_forbidden")
    for name in ("default", "nowhere"):
        assert error(bound.get(f"{COLLECTIONS}/{name}")) == (403, "collection_forbidden")
    assert names(bound) == ["mine"]
    assert names(web_app) == ["default", "mine"]
