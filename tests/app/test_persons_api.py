"""Who there is: what a client notices that makes, finds and changes persons, and makes two of them one."""

from __future__ import annotations

import json
import threading
import uuid
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import requests
from face_pipeline.parts import Parts
from face_pipeline.store import directory, ledger
from face_pipeline.store.models import ApiKey, AuditEntry, Collection, Face, Person, Photo
from sqlalchemy import select, update

from tests.app.test_contract import _check
from tests.app.test_ledger import a_face, accept_as, add_photo, take
from tests.app.test_names import COMPOSED, DECOMPOSED, NAME, send_and_wait, two_faces
from tests.app.test_parameters import CURSORS, ID, RAW_CURSORS
from tests.installation import App, Installation
from tests.photos import astronaut_again, astronaut_jpeg, no_face

PERSONS = "/api/v1/persons"
NOBODY = str(uuid.uuid4())


def make(app: App, name: str, **more: Any) -> dict[str, Any]:
    answer = app.request("POST", PERSONS, json={"name": name, **more})
    assert answer.status_code == 201, answer.text
    told: dict[str, Any] = answer.json()
    return told


def patch(
    app: App, person_id: str, headers: dict[str, str] | None = None, **change: Any
) -> requests.Response:
    return app.request("PATCH", f"{PERSONS}/{person_id}", json=change, headers=headers or {})


def merge(app: App, kept: str, removed: str) -> requests.Response:
    return app.request("POST", f"{PERSONS}/{kept}/merge", json={"from": removed})


def undo(app: App, merge_id: str) -> requests.Response:
    return app.request("POST", f"/api/v1/merges/{merge_id}/undo")


def error(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def person(app: App, person_id: str) -> dict[str, Any]:
    told: dict[str, Any] = app.get(f"{PERSONS}/{person_id}").json()
    return told


def found(app: App, **query: Any) -> list[str]:
    answer = app.get(PERSONS, params=query)
    assert answer.status_code == 200, answer.text
    return [each["name"] for each in answer.json()["persons"]]


def together(*calls: Callable[[], requests.Response]) -> list[requests.Response]:
    """Each from a client of its own, all sent at the same moment."""
    start = threading.Barrier(len(calls))

    def one(call: Callable[[], requests.Response]) -> requests.Response:
        start.wait(30)
        return call()

    with ThreadPoolExecutor(len(calls)) as clients:
        return list(clients.map(one, calls))


def done(parts: Parts, name: str | None, faces: int = 1) -> str:
    """A photo that was given to `name` and analysed; its id."""
    accepted = accept_as(parts, name, uuid.uuid4().hex * 2)
    held = take(parts, accepted.photo_id)
    assert held is not None
    with parts.database.single_statements() as connection:
        ledger.finish(connection, held, [a_face()] * faces)
    return str(accepted.photo_id)


def named(parts: Parts, name: str) -> str:
    with parts.database.transaction() as session:
        return str(session.scalars(select(Person.id).where(Person.name == name)).one())


def version(parts: Parts) -> int:
    with parts.database.transaction() as session:
        return session.scalars(select(Collection.version)).one()


def audited(parts: Parts, subject: str) -> list[tuple[str, dict[str, Any]]]:
    """What was done; whoever only looks leaves entries of their own (test_audited.py)."""
    with parts.database.transaction() as session:
        rows = session.execute(
            select(AuditEntry.action, AuditEntry.details)
            .where(AuditEntry.subject == subject, AuditEntry.action != "person.look")
            .order_by(AuditEntry.id)
        )
        return [(row.action, row.details) for row in rows]


class Bounded(App):
    """The same service with another key."""

    key = ""

    @property
    def api_key(self) -> str:
        return self.key


def bounded(web_app: App, parts: Parts) -> App:
    """For a key that reaches the collection `mine` alone."""
    name = f"bounded-{uuid.uuid4()}"
    made = web_app.installation.run("keys", "create", "--name", name, "--scopes", "read,write,enrol")
    with parts.database.transaction() as session:
        session.execute(update(ApiKey).where(ApiKey.name == name).values(collections=["mine"]))
    app = Bounded(web_app.installation, web_app.url, web_app.web)
    app.key = made.stdout.split()[-1]
    return app


def test_a_person_is_made_before_any_photo_and_uploads_find_them(live_app: App, parts: Parts) -> None:
    answer = live_app.request(
        "POST",
        PERSONS,
        json={"name": f"  {COMPOSED} ", "external_id": "hr-17", "metadata": {"team": "red", "since": [2019]}},
    )
    made = answer.json()
    _check(made, "/api/v1/persons", "post", 201)
    assert (answer.status_code, answer.headers["ETag"]) == (201, '"1"')
    assert (made["name"], made["external_id"]) == (COMPOSED, "hr-17")
    assert made["metadata"] == {"team": "red", "since": [2019]}
    assert (made["face_count"], made["photo_count"], made["representative_face"]) == (0, 0, None)
    (entry,) = send_and_wait(live_app, astronaut_jpeg(), person=DECOMPOSED.upper())
    assert entry["person"]["id"] == made["id"]
    now = live_app.get(f"{PERSONS}/{made['id']}")
    _check(now.json(), "/api/v1/persons/{person_id}", "get", 200)
    assert (now.json()["face_count"], now.json()["photo_count"]) == (1, 1)
    face = now.json()["representative_face"]
    assert face["photo_id"] == entry["id"]
    assert live_app.get(f"/api/v1/faces/{face['id']}/crop").status_code == 200
    assert audited(parts, made["id"]) == [("person.create", {})]
    # What was told is up to date also for who asks whether it changed.
    again = live_app.get(f"{PERSONS}/{made['id']}", headers={"If-None-Match": now.headers["ETag"]})
    assert again.json() == now.json()


def test_a_name_or_an_external_id_is_one_persons(web_app: App) -> None:
    first = make(web_app, COMPOSED, external_id="17")
    for body, code in (
        ({"name": DECOMPOSED.upper()}, "person_exists"),
        ({"name": "Berta", "external_id": "17"}, "external_id_exists"),
    ):
        answer = web_app.request("POST", PERSONS, json=body)
        assert error(answer) == (409, code)
        assert answer.json()["error"]["details"] == {"person_id": first["id"]}
    other = make(web_app, COMPOSED, external_id="17", collection="other")
    assert other["id"] != first["id"], "each collection has its own"
    second = make(web_app, "Berta")
    assert error(patch(web_app, second["id"], name=COMPOSED.upper())) == (409, "person_exists")
    assert error(patch(web_app, second["id"], external_id="17")) == (409, "external_id_exists")
    assert person(web_app, second["id"]) == second, "nothing half-done"
    assert patch(web_app, first["id"], name=COMPOSED.upper()).json()["name"] == COMPOSED.upper()


def test_people_are_found_by_a_part_of_their_name(web_app: App) -> None:
    for name in ("Zoë Ångström", "anna 100%", "Anna_B", "Ánna", "ZOE"):
        make(web_app, name)
    make(web_app, "Anna", collection="other", external_id="x")
    assert found(web_app, collection="default") == ["anna 100%", "Anna_B", "ZOE", "Zoë Ångström", "Ánna"]
    assert found(web_app, name="anna") == ["anna 100%", "Anna_B", "Anna"]
    assert found(web_app, name="ÁNN") == ["Ánna"]
    assert found(web_app, name="ångSTRÖM") == ["Zoë Ångström"]
    for name in ("Carla-B", "Carla_B", "Carla 100%", "Carla 1000", "Carla 100\\"):
        make(web_app, name)
    for part, only in (
        ("a_b", "Carla_B"),
        ("100%", "Carla 100%"),
        ("0\\", "Carla 100\\"),
        ("A-b", "Carla-B"),
    ):
        assert [name for name in found(web_app, name=part) if "Carla" in name] == [only]
    assert found(web_app, name="x" * 10_000) == []
    assert found(web_app, external_id="x") == ["Anna"]
    assert found(web_app, external_id="X") == []
    assert error(web_app.get(PERSONS, params={"collection": "nowhere"})) == (404, "collection_not_found")
    assert error(web_app.get(PERSONS, params={"collection": "No!"})) == (400, "collection_name")
    assert error(web_app.get(f"{PERSONS}?name=%00")) == (400, "parameter")


def test_pages_hold_everybody_once_in_the_order_of_names(web_app: App) -> None:
    for collection in ("default", "other"):
        for name in ("b", "A", "é", "e", "王小明", "a b"):
            make(web_app, name, collection=collection)
    told: list[tuple[str, str]] = []
    cursor: dict[str, str] = {}
    while True:
        page = web_app.get(PERSONS, params={"limit": 5, **cursor}).json()
        _check(page, PERSONS, "get", 200)
        told += [(each["collection"], each["name"]) for each in page["persons"]]
        if page["next_cursor"] is None:
            break
        assert len(page["persons"]) == 5
        cursor = {"cursor": page["next_cursor"]}
    names = ["A", "a b", "b", "e", "é", "王小明"]
    assert told == [(collection, name) for collection in ("default", "other") for name in names]


def test_a_cursor_of_no_page_is_refused(web_app: App) -> None:
    import base64

    someone = make(web_app, NAME)["id"]
    made = [base64.urlsafe_b64encode(json.dumps(each).encode()).decode() for each in CURSORS]
    for extra in ([1, "\ud800", ID], [1, "a\0", ID], [2**63, "a", ID], [True, "a", ID], ["1", "a", ID]):
        made.append(base64.urlsafe_b64encode(json.dumps(extra).encode()).decode())
    for cursor in [*made, *RAW_CURSORS]:
        assert error(web_app.get(PERSONS, params={"cursor": cursor})) == (400, "parameter"), cursor
        if cursor not in made[len(CURSORS) :]:
            for what in ("faces", "photos"):
                answer = web_app.get(f"{PERSONS}/{someone}/{what}", params={"cursor": cursor})
                assert error(answer) == (400, "parameter"), cursor


def test_a_change_is_refused_when_somebody_else_was_quicker(web_app: App, parts: Parts) -> None:
    made = web_app.request("POST", PERSONS, json={"name": NAME})
    person_id, seen = made.json()["id"], made.headers["ETag"]
    first = patch(web_app, person_id, {"If-Match": seen}, metadata={"team": "red"})
    _check(first.json(), "/api/v1/persons/{person_id}", "patch", 200)
    assert (first.status_code, first.headers["ETag"] != seen) == (200, True)
    late = patch(web_app, person_id, {"If-Match": seen}, metadata={"team": "blue"})
    assert error(late) == (412, "precondition_failed")
    assert late.json()["error"]["details"] == {"etag": first.headers["ETag"]}
    assert person(web_app, person_id)["metadata"] == {"team": "red"}
    for etag in (first.headers["ETag"], "*", f'"x", {first.headers["ETag"]}'):
        assert patch(web_app, person_id, {"If-Match": etag}, metadata={"team": "red"}).ok, etag
    assert web_app.get(f"{PERSONS}/{person_id}").headers["ETag"] == first.headers["ETag"], "nothing changed"
    assert patch(web_app, person_id, metadata={"team": True}).ok
    assert patch(web_app, person_id, metadata={"team": 1}).json()["metadata"] == {"team": 1}
    assert audited(parts, person_id)[1:] == [("person.change", {"fields": ["metadata"]})] * 3


def test_what_is_left_out_of_a_change_stays_and_null_takes_the_external_id_off(web_app: App) -> None:
    made = make(web_app, NAME, external_id="17", metadata={"a": 1})
    renamed = patch(web_app, made["id"], name="Eileen").json()
    assert (renamed["name"], renamed["external_id"], renamed["metadata"]) == ("Eileen", "17", {"a": 1})
    assert patch(web_app, made["id"], external_id=None).json()["external_id"] is None
    assert make(web_app, NAME, external_id="17")["id"] != made["id"], "name and external id are free again"


def test_a_new_name_is_in_the_next_answer_of_a_search(live_app: App, parts: Parts) -> None:
    (entry,) = send_and_wait(live_app, astronaut_jpeg(), person=NAME)

    def match() -> tuple[str, str]:
        answer = live_app.search(astronaut_again()).json()
        return answer["cache"], answer["faces"][0]["matches"][0]["person_name"]

    assert [match(), match()] == [("miss", NAME), ("hit", NAME)]
    renamed = patch(live_app, entry["person"]["id"], name="Colonel Collins")
    assert renamed.status_code == 200
    assert match() == ("miss", "Colonel Collins")
    before = version(parts)
    assert patch(live_app, entry["person"]["id"], metadata={"a": 1}, name="Colonel Collins").ok
    assert version(parts) == before, "answers are kept where no name changed"
    assert audited(parts, entry["person"]["id"]) == [
        ("person.rename", {"fields": ["name"]}),
        ("person.change", {"fields": ["metadata"]}),
    ]
    assert "Collins" not in json.dumps(audited(parts, entry["person"]["id"]))


DEEP: Any = 1
for _ in range(8):
    DEEP = [DEEP]

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no name": ({}, "parameter"),
    "blank name": ({"name": " "}, "person_name"),
    "empty name": ({"name": ""}, "person_name"),
    "long name": ({"name": "x" * 10_000}, "person_name"),
    "NUL in the name": ({"name": "a\0b"}, "person_name"),
    "direction in the name": ({"name": "a\u202eb"}, "person_name"),
    "name of a wrong type": ({"name": 5}, "parameter"),
    "null for a name": ({"name": None}, "parameter"),
    "empty external id": ({"name": "a", "external_id": ""}, "external_id"),
    "long external id": ({"name": "a", "external_id": "x" * 201}, "external_id"),
    "line break in the external id": ({"name": "a", "external_id": "a\nb"}, "external_id"),
    "NUL in the external id": ({"name": "a", "external_id": "a\0"}, "external_id"),
    "space after the external id": ({"name": "a", "external_id": "a "}, "external_id"),
    "external id of a wrong type": ({"name": "a", "external_id": 17}, "parameter"),
    "metadata of a wrong type": ({"name": "a", "metadata": []}, "parameter"),
    "null for metadata": ({"name": "a", "metadata": None}, "parameter"),
    "large metadata": ({"name": "a", "metadata": {"a": "ä" * 8 * 1024}}, "metadata"),
    "deep metadata": ({"name": "a", "metadata": {"a": DEEP}}, "metadata"),
    "NUL in metadata": ({"name": "a", "metadata": {"a": ["\0"]}}, "metadata"),
    "NUL in a key of metadata": ({"name": "a", "metadata": {"\0": 1}}, "metadata"),
    "no number in metadata": ({"name": "a", "metadata": {"a": float("nan")}}, "metadata"),
    "no end in metadata": ({"name": "a", "metadata": {"a": float("-inf")}}, "metadata"),
    "unknown key": ({"name": "a", "age": 5}, "parameter"),
    "bad collection": ({"name": "a", "collection": "A!"}, "collection_name"),
}


@pytest.mark.parametrize(("body", "code"), BAD.values(), ids=BAD.keys())
def test_a_person_that_cannot_be_kept_is_refused_and_nothing_is_kept(
    web_app: App, body: dict[str, Any], code: str
) -> None:
    answer = web_app.request("POST", PERSONS, data=json.dumps(body))
    assert error(answer) == (400, code), answer.text
    assert answer.json()["error"]["message"].isprintable()
    assert found(web_app) == []
    someone = make(web_app, NAME)
    body = {key: value for key, value in body.items() if key != "collection"}
    if body and "no name" not in body:
        change = {key: value for key, value in body.items() if key != "name" or value != "a"}
        if change:
            answer = web_app.request("PATCH", f"{PERSONS}/{someone['id']}", data=json.dumps(change))
            assert error(answer) == (400, code), answer.text
            assert person(web_app, someone["id"]) == someone


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{", b'{"name": "\\ud800"}', b"\xff", b"[" * 50_000, b"null", b'"name"', b'{"name": 1e999'],
)
def test_a_body_that_is_no_object_is_refused(web_app: App, data: bytes) -> None:
    someone = make(web_app, NAME)
    for method, path in (
        ("POST", PERSONS),
        ("PATCH", f"{PERSONS}/{someone['id']}"),
        ("POST", f"{PERSONS}/{someone['id']}/merge"),
        ("POST", "/api/v1/collections"),
    ):
        assert error(web_app.request(method, path, data=data)) == (400, "body_malformed"), (method, path)
    assert error(web_app.request("PATCH", f"{PERSONS}/{someone['id']}", json={})) == (400, "parameter")


def test_values_at_their_bounds_are_kept(web_app: App) -> None:
    deep: Any = 1
    for _ in range(7):
        deep = [deep]
    values = {"a": deep, "large": 10**300, "small": 1e-300, "text": "ä\U0001f469\u2028\t", "": None}
    made = make(web_app, "x" * 200, external_id="é" * 200, metadata=values)
    assert person(web_app, made["id"])["metadata"] == values
    full = {"a": "x" * (16 * 1024 - 8)}
    assert patch(web_app, made["id"], metadata=full).json()["metadata"] == full


def test_who_is_not_there_is_not_found(web_app: App) -> None:
    someone = make(web_app, NAME)["id"]
    for method, path, body in (
        ("GET", f"{PERSONS}/{NOBODY}", None),
        ("GET", f"{PERSONS}/x", None),
        ("GET", f"{PERSONS}/{NOBODY}/faces", None),
        ("GET", f"{PERSONS}/{NOBODY}/photos", None),
        ("PATCH", f"{PERSONS}/{NOBODY}", {"name": "a"}),
        ("POST", f"{PERSONS}/{NOBODY}/merge", {"from": someone}),
        ("POST", f"{PERSONS}/{someone}/merge", {"from": NOBODY}),
        ("POST", f"{PERSONS}/{someone}/merge", {"from": "x"}),
    ):
        assert error(web_app.request(method, path, json=body)) == (404, "person_not_found"), (method, path)
    assert error(undo(web_app, NOBODY)) == (404, "merge_not_found")
    assert error(undo(web_app, "x")) == (404, "merge_not_found")


def test_a_key_sees_nobody_of_a_collection_that_it_does_not_reach(web_app: App, parts: Parts) -> None:
    bound = bounded(web_app, parts)
    hidden, other = make(web_app, "Anna"), make(web_app, "Berta")
    mine = make(bound, "Anna", collection="mine")
    second = make(bound, "Berta", collection="mine")
    merged = merge(web_app, hidden["id"], other["id"]).json()["id"]
    assert found(bound) == ["Anna", "Berta"]
    assert len(found(web_app)) == 3
    assert error(bound.request("POST", PERSONS, json={"name": "C"})) == (403, "collection_forbidden")
    assert error(bound.get(PERSONS, params={"collection": "default"})) == (403, "collection_forbidden")
    for method, path, body in (
        ("GET", f"{PERSONS}/{hidden['id']}", None),
        ("GET", f"{PERSONS}/{hidden['id']}/faces", None),
        ("GET", f"{PERSONS}/{hidden['id']}/photos", None),
        ("PATCH", f"{PERSONS}/{hidden['id']}", {"name": "a"}),
        ("POST", f"{PERSONS}/{hidden['id']}/merge", {"from": mine["id"]}),
        ("POST", f"{PERSONS}/{mine['id']}/merge", {"from": hidden["id"]}),
    ):
        answer = bound.request(method, path, json=body)
        assert error(answer) == (404, "person_not_found"), (method, path)
        assert answer.json()["error"]["message"] == f"there is no person {hidden['id']}"
    assert error(undo(bound, merged)) == (404, "merge_not_found")
    assert merge(bound, mine["id"], second["id"]).status_code == 200


def test_faces_and_photos_of_a_person_are_listed_newest_first(web_app: App, parts: Parts) -> None:
    alone = [done(parts, NAME) for _ in range(3)]
    group = done(parts, NAME, faces=2)
    waiting = str(accept_as(parts, NAME, "a" * 64).photo_id)
    done(parts, "Somebody Else")
    person_id = named(parts, NAME)
    for what, path, newest in (
        ("photos", "/api/v1/persons/{person_id}/photos", [waiting, group, *reversed(alone)]),
        ("faces", "/api/v1/persons/{person_id}/faces", list(reversed(alone))),
    ):
        told: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = web_app.get(f"{PERSONS}/{person_id}/{what}", params={"limit": 2, **cursor}).json()
            _check(page, path, "get", 200)
            told += [each["id" if what == "photos" else "photo_id"] for each in page[what]]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert told == newest
    now = person(web_app, person_id)
    assert (now["face_count"], now["photo_count"]) == (3, 5)


def test_the_best_face_stands_for_a_person(web_app: App, parts: Parts) -> None:
    photos = [done(parts, NAME) for _ in range(3)]
    with parts.database.transaction() as session:
        session.execute(update(Face).where(Face.photo_id == uuid.UUID(photos[1])).values(quality=0.95))
    told = person(web_app, named(parts, NAME))["representative_face"]
    assert (told["photo_id"], round(told["quality"], 3)) == (photos[1], 0.95)
    assert web_app.get(PERSONS).json()["persons"][0]["representative_face"] == told


def test_who_was_made_by_hand_stays_when_their_only_photo_is_taken_over(web_app: App, parts: Parts) -> None:
    kept = make(web_app, "Made By Hand")["id"]
    photo_id = accept_as(parts, "Made By Hand", "b" * 64).photo_id
    with parts.database.transaction() as session:
        session.get_one(Photo, photo_id).state = "failed"
    assert accept_as(parts, NAME, "b" * 64).remark is None
    assert person(web_app, kept)["photo_count"] == 0


def test_of_several_clients_one_makes_a_person_and_the_others_learn_who_it_is(web_app: App) -> None:
    for number in range(5):
        spellings = [f"é{number}", f"e\u0301{number}", f"É{number}", f"E\u0301{number}"]
        answers = together(
            *(
                partial(web_app.request, "POST", PERSONS, json={"name": name, "collection": "new"})
                for name in spellings
            )
        )
        assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
        (made,) = (answer.json()["id"] for answer in answers if answer.ok)
        refused = [answer.json()["error"]["details"] for answer in answers if not answer.ok]
        assert refused == [{"person_id": made}] * 3


def test_of_two_that_rename_to_one_name_one_is_told_of_the_other(web_app: App) -> None:
    for number in range(8):
        ids = [make(web_app, f"{letter}{number}")["id"] for letter in "ab"]
        answers = together(*(partial(patch, web_app, each, name=f"New {number}") for each in ids))
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        (winner,) = (answer.json()["id"] for answer in answers if answer.ok)
        (refused,) = (answer.json()["error"] for answer in answers if not answer.ok)
        assert (refused["code"], refused["details"]) == ("person_exists", {"person_id": winner})


def test_two_that_swap_their_names_at_once_both_get_an_answer(web_app: App) -> None:
    for number in range(3):
        names = [f"{letter}{number}" for letter in "ab"]
        ids = [make(web_app, name)["id"] for name in names]
        answers = together(
            *(partial(patch, web_app, each, name=name)
              for each, name in zip(ids, reversed(names), strict=True))
        )  # fmt: skip
        assert {answer.status_code for answer in answers} <= {200, 409}, [each.text for each in answers]
        assert len({person(web_app, each)["name"] for each in ids}) == 2


def test_of_two_changes_with_the_same_etag_one_is_refused(web_app: App) -> None:
    for number in range(5):
        made = web_app.request("POST", PERSONS, json={"name": f"a{number}"})
        seen = {"If-Match": made.headers["ETag"]}
        answers = together(
            *(partial(patch, web_app, made.json()["id"], seen, metadata={"team": team})
              for team in range(3))
        )  # fmt: skip
        assert sorted(answer.status_code for answer in answers) == [200, 412, 412]


def test_no_face_and_two_faces_are_photos_of_a_person_too(live_app: App) -> None:
    send_and_wait(live_app, two_faces(), no_face(), person=NAME)
    (told,) = live_app.get(PERSONS).json()["persons"]
    assert (told["face_count"], told["photo_count"]) == (0, 2)


def test_a_photo_of_nobody_is_nobodys(web_app: App, parts: Parts) -> None:
    add_photo(parts)
    assert found(web_app) == []


def test_what_persons_have_is_asked_without_what_sqlalchemy_gives_up(
    clean: Installation, parts: Parts
) -> None:
    with warnings.catch_warnings(), parts.database.reading() as session:
        warnings.simplefilter("error")
        assert directory.summaries(session, [uuid.uuid4()])
