"""Groups of unknown faces over HTTP: seen, hidden, and given a name."""

from __future__ import annotations

import base64
import threading
import uuid
from typing import Any

import jsonschema
import pytest
import requests
from face_pipeline.ops import clusterer
from face_pipeline.parts import Parts
from face_pipeline.store import keys
from face_pipeline.store.models import ApiKey, AuditEntry, Cluster, Collection, Face, Person
from sqlalchemy import delete, func, select

from tests.app.test_clusters import change, faces_of, people, put
from tests.app.test_contract import DOCUMENT
from tests.installation import App

CLUSTERS = "/api/v1/clusters"


@pytest.fixture
def three(web_app: App, parts: Parts) -> list[list[uuid.UUID]]:
    """Three groups of the default collection, of 5, 3 and 2 faces, and somebody alone."""
    everybody = people(4, 1)
    faces = [put(parts, faces_of(everybody[n], number, n)) for n, number in enumerate((5, 3, 2))]
    put(parts, everybody[3:])
    clusterer.cluster(parts)
    return faces


def get(app: App, path: str = CLUSTERS, **query: Any) -> dict[str, Any]:
    answer = app.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return check(answer, CLUSTERS if path == CLUSTERS else CLUSTERS + "/{cluster_id}", "get")


def check(answer: requests.Response, path: str, method: str) -> dict[str, Any]:
    """The answer, which is as the contract says."""
    told: dict[str, Any] = answer.json()
    documented = DOCUMENT["paths"][path][method]["responses"][str(answer.status_code)]
    schema = {**documented["content"]["application/json"]["schema"], "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(schema).validate(told)
    return told


def name(app: App, cluster: str, **body: Any) -> requests.Response:
    return app.request("POST", f"{CLUSTERS}/{cluster}/name", json=body)


def code(answer: requests.Response) -> str:
    return str(answer.json()["error"]["code"])


def key_for(parts: Parts, *scopes: str, collections: list[str] | None = None) -> dict[str, str]:
    """Headers of a key of its own."""
    key = keys.new_key()
    with parts.database.transaction() as session:
        session.add(
            ApiKey(
                name=uuid.uuid4().hex,
                key_hash=keys.hash_key(key),
                scopes=list(scopes),
                collections=collections,
            )
        )
    return {"Authorization": f"Bearer {key}"}


def owners(parts: Parts, faces: list[uuid.UUID]) -> set[str | None]:
    with parts.database.reading() as session:
        rows = session.execute(
            select(Person.name).select_from(Face).outerjoin(Face.person).where(Face.id.in_(faces))
        )
        return set(rows.scalars())


def versions(parts: Parts) -> int:
    with parts.database.reading() as session:
        return session.scalar(select(func.sum(Collection.version))) or 0


def audited(parts: Parts, cluster: str) -> list[tuple[str, dict[str, Any]]]:
    with parts.database.reading() as session:
        rows = session.execute(
            select(AuditEntry.action, AuditEntry.details)
            .where(AuditEntry.subject == cluster)
            .order_by(AuditEntry.id)
        )
        return [(row.action, row.details) for row in rows]


def test_groups_are_listed_largest_first_page_by_page(web_app: App, three: list[list[uuid.UUID]]) -> None:
    listed = get(web_app)
    assert [each["face_count"] for each in listed["clusters"]] == [5, 3, 2]
    assert listed["next_cursor"] is None
    for each, faces in zip(listed["clusters"], three, strict=True):
        assert set(each["faces"]) <= {str(face) for face in faces}
        assert len(each["faces"]) == len(faces)
        assert (each["collection"], each["hidden"]) == ("default", False)
    seen, cursor = [], {}
    while True:
        page = get(web_app, limit=1, **cursor)
        seen += page["clusters"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == listed["clusters"]
    assert [each["face_count"] for each in get(web_app, min_faces=3)["clusters"]] == [5, 3]
    assert get(web_app, collection="other")["clusters"] == []
    assert len(get(web_app, collection="default")["clusters"]) == 3


def test_the_best_faces_of_a_group_come_first(web_app: App, parts: Parts) -> None:
    person = people(1, 1)[0]
    ids = [
        put(parts, faces_of(person, 1, seed), quality=quality)[0]
        for seed, quality in enumerate((0.61, 0.93, 0.72, 0.72, 0.55, 0.8, 0.7, 0.66))
    ]
    clusterer.cluster(parts)
    (group,) = get(web_app)["clusters"]
    assert len(group["faces"]) == 6
    assert group["faces"][0] == str(ids[1])
    assert str(ids[4]) not in group["faces"]
    path, faces, cursor = f"{CLUSTERS}/{group['id']}", [], {}
    while True:
        page = get(web_app, path, limit=3, **cursor)
        faces += page["faces"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert page["face_count"] == 8
    assert [round(each["quality"], 2) for each in faces] == [0.93, 0.8, 0.72, 0.72, 0.7, 0.66, 0.61, 0.55]
    assert {each["id"] for each in faces} == {str(each) for each in ids}
    assert [each["id"] for each in faces][:6] == group["faces"]


def test_a_group_that_gets_a_name_becomes_a_person_at_once(
    web_app: App, parts: Parts, three: list[list[uuid.UUID]]
) -> None:
    group = get(web_app)["clusters"][0]
    before = versions(parts)
    answer = name(web_app, group["id"], name=" Anna ")
    told = check(answer, CLUSTERS + "/{cluster_id}/name", "post")
    assert (told["person"]["name"], told["face_count"]) == ("Anna", 5)
    assert owners(parts, three[0]) == {"Anna"}
    assert owners(parts, three[1]) == {None}
    assert versions(parts) > before, "cached searches would go on naming nobody"
    assert [each["face_count"] for each in get(web_app)["clusters"]] == [3, 2]
    assert web_app.get(f"{CLUSTERS}/{group['id']}").status_code == 404
    again = name(web_app, group["id"], name="ANNA")
    assert again.json() == told
    other = name(web_app, group["id"], name="Bert")
    assert (other.status_code, code(other)) == (409, "cluster_changed")
    with parts.database.reading() as session:
        assert session.scalars(select(Person.name)).all() == ["Anna"], "nobody is made for a refusal"
    person = told["person"]["id"]
    assert audited(parts, group["id"]) == [("cluster.name", {"person_id": person, "faces": 5})]


def test_a_group_is_given_to_a_person_there_is(
    web_app: App, parts: Parts, three: list[list[uuid.UUID]]
) -> None:
    first, second, _ = get(web_app)["clusters"]
    anna = name(web_app, first["id"], name="Anna").json()["person"]
    told = name(web_app, second["id"], person_id=anna["id"]).json()
    assert told == {"person": anna, "face_count": 3}
    assert owners(parts, three[0] + three[1]) == {"Anna"}


def test_somebody_of_another_collection_cannot_be_given_a_group(
    web_app: App, parts: Parts, three: list[list[uuid.UUID]]
) -> None:
    put(parts, faces_of(people(1, 9)[0], 2, 1), collection="other")
    clusterer.cluster(parts)
    other = get(web_app, collection="other")["clusters"][0]
    theirs = name(web_app, other["id"], name="Bert").json()["person"]
    group = get(web_app)["clusters"][0]
    answer = name(web_app, group["id"], person_id=theirs["id"])
    assert (answer.status_code, code(answer)) == (404, "person_not_found")
    assert owners(parts, three[0]) == {None}


def test_a_hidden_group_stays_out_of_the_list_while_it_grows(
    web_app: App, parts: Parts, three: list[list[uuid.UUID]]
) -> None:
    group = get(web_app)["clusters"][0]["id"]
    answer = web_app.request("PATCH", f"{CLUSTERS}/{group}", json={"hidden": True})
    assert check(answer, CLUSTERS + "/{cluster_id}", "patch")["hidden"] is True
    put(parts, faces_of(people(4, 1)[0], 2, 77))
    clusterer.cluster(parts)
    assert [each["face_count"] for each in get(web_app)["clusters"]] == [3, 2]
    assert [(each["id"], each["face_count"]) for each in get(web_app, hidden="true")["clusters"]] == [
        (group, 7)
    ]
    assert [each["face_count"] for each in get(web_app, hidden="all")["clusters"]] == [7, 3, 2]
    web_app.request("PATCH", f"{CLUSTERS}/{group}", json={"hidden": True})
    web_app.request("PATCH", f"{CLUSTERS}/{group}", json={"hidden": False})
    assert len(get(web_app)["clusters"]) == 3
    assert audited(parts, group) == [("cluster.hide", {"hidden": True}), ("cluster.hide", {"hidden": False})]


def test_a_key_sees_and_names_groups_of_its_collections_alone(
    web_app: App, parts: Parts, three: list[list[uuid.UUID]]
) -> None:
    put(parts, faces_of(people(1, 9)[0], 2, 1), collection="other")
    clusterer.cluster(parts)
    mine = key_for(parts, "read", "enrol", collections=["other"])
    theirs = get(web_app)["clusters"][0]["id"]
    listed = web_app.get(CLUSTERS, headers=mine).json()["clusters"]
    assert [each["collection"] for each in listed] == ["other"]
    refused = web_app.get(CLUSTERS, headers=mine, params={"collection": "default"})
    assert (refused.status_code, code(refused)) == (403, "collection_forbidden")
    for method, path, body in (
        ("GET", "", None), ("PATCH", "", {"hidden": True}), ("POST", "/name", {"name": "Anna"})
    ):  # fmt: skip
        answers = [
            web_app.request(method, f"{CLUSTERS}/{group}{path}", headers=mine, json=body)
            for group in (theirs, uuid.uuid4())
        ]
        assert [(each.status_code, code(each)) for each in answers] == [(404, "cluster_not_found")] * 2
        assert (
            answers[0].json()["error"]["message"].split()[5:]
            == answers[1].json()["error"]["message"].split()[5:]
        )
    assert owners(parts, three[0]) == {None}
    assert name(web_app, listed[0]["id"], name="Bert").status_code == 200


def test_to_name_and_to_hide_needs_the_scope_enrol(
    web_app: App, parts: Parts, three: list[list[uuid.UUID]]
) -> None:
    group = get(web_app)["clusters"][0]["id"]
    reader, enroller = key_for(parts, "read", "write", "erase"), key_for(parts, "enrol")
    for method, path, body in (("PATCH", "", {"hidden": True}), ("POST", "/name", {"name": "Anna"})):
        refused = web_app.request(method, f"{CLUSTERS}/{group}{path}", json=body, headers=reader)
        assert (refused.status_code, code(refused)) == (403, "scope_missing")
    assert web_app.get(CLUSTERS, headers=enroller).status_code == 403
    done = web_app.request("POST", f"{CLUSTERS}/{group}/name", json={"name": "Anna"}, headers=enroller)
    assert done.status_code == 200


BAD_BODIES: list[Any] = [
    None, {}, [], "x", 1, {"name": None}, {"name": 1}, {"name": ["Anna"]}, {"name": {"a": 1}}, {"name": ""},
    {"name": "x" * 10_000}, {"name": "\0"}, {"name": "A\0nna"}, {"name": "\ud800"}, {"name": " "},
    {"name": "Anna", "person_id": str(uuid.uuid4())}, {"name": "Anna", "other": 1}, {"person_id": 7},
    {"hidden": True},
]  # fmt: skip


def test_a_bad_name_is_refused_and_changes_nothing(
    web_app: App, parts: Parts, three: list[list[uuid.UUID]]
) -> None:
    group = get(web_app)["clusters"][0]["id"]
    for body in BAD_BODIES:
        answer = (
            name(web_app, group, **body)
            if isinstance(body, dict)
            else web_app.request("POST", f"{CLUSTERS}/{group}/name", json=body)
        )
        assert answer.status_code == 400, (body, answer.text)
    for sent in (b"", b"{", b"\xff", b'{"name": "Anna"} x', b"[" * 100_000):
        answer = web_app.request("POST", f"{CLUSTERS}/{group}/name", data=sent)
        assert (answer.status_code, code(answer)) == (400, "body_malformed")
    for person in ("none", str(uuid.uuid4()), "\0", "x" * 10_000):
        answer = name(web_app, group, person_id=person)
        assert (answer.status_code, code(answer)) == (404, "person_not_found"), answer.text
    assert owners(parts, three[0]) == {None}
    assert name(web_app, group, name="👩‍👧 Åsa").status_code == 200


def test_bad_questions_have_clear_answers(web_app: App, three: list[list[uuid.UUID]]) -> None:
    group = get(web_app)["clusters"][0]["id"]
    for query in (
        {"limit": "0"}, {"limit": "201"}, {"limit": "x"}, {"limit": "9" * 30}, {"min_faces": "0"},
        {"min_faces": "1.5"}, {"min_faces": "9" * 18}, {"hidden": "yes"}, {"hidden": ""}, {"cursor": ""},
        {"cursor": "x"}, {"cursor": "WzEsMl0="}, {"collection": "NO!"}, {"collection": "x" * 100},
    ):  # fmt: skip
        assert web_app.get(CLUSTERS, params=query).status_code == 400, query
    for quality in ('"nan"', '"2"', '"1e999"', "1", '"x"', "null", '"-1"'):
        cursor = base64.urlsafe_b64encode(f'[{quality}, "{uuid.uuid4()}"]'.encode()).decode()
        assert web_app.get(f"{CLUSTERS}/{group}", params={"cursor": cursor}).status_code == 400, quality
    for wanted in ("none", str(uuid.uuid4()), "%00", "x" * 3000):
        assert web_app.get(f"{CLUSTERS}/{wanted}").status_code == 404
        assert name(web_app, wanted, name="Anna").status_code == 404
    for body in ({}, {"hidden": "true"}, {"hidden": 1}, {"hidden": None}, {"hidden": True, "x": 1}, []):
        assert web_app.request("PATCH", f"{CLUSTERS}/{group}", json=body).status_code == 400, body


def at_once(*calls: Any) -> list[requests.Response]:
    """Make all calls at the same moment; their answers."""
    start, answers = threading.Barrier(len(calls)), [requests.Response()] * len(calls)

    def run(number: int) -> None:
        start.wait()
        answers[number] = calls[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_of_two_who_name_a_group_at_once_one_wins(web_app: App, parts: Parts) -> None:
    everybody = people(6, 3)
    theirs = [put(parts, faces_of(each, 4, n)) for n, each in enumerate(everybody)]
    clusterer.cluster(parts)
    for number, group in enumerate(get(web_app)["clusters"]):
        both = ("Anna", "Bert") if number % 2 else ("Carla", "CARLA")
        answers = at_once(*(lambda who=who, id=group["id"]: name(web_app, id, name=who) for who in both))
        statuses = sorted(each.status_code for each in answers)
        (won,) = {each.json()["person"]["id"] for each in answers if each.status_code == 200}
        assert statuses == ([200, 409] if number % 2 else [200, 200])
        assert all(code(each) == "cluster_changed" for each in answers if each.status_code == 409)
        faces = next(each for each in theirs if str(each[0]) in {*group["faces"]})
        with parts.database.reading() as session:
            assert {
                str(each) for each in session.scalars(select(Face.person_id).where(Face.id.in_(faces)))
            } == {won}
    with parts.database.reading() as session:
        empty = select(Person.name).where(~select(Face.id).where(Face.person_id == Person.id).exists())
        assert session.scalars(empty).all() == []


def test_naming_meets_erasing_and_a_run(web_app: App, parts: Parts) -> None:
    """Whatever comes first: no error of the server, and no face of nobody in a group that has a name."""
    for round_ in range(5):
        person = people(1, 40 + round_)[0]
        faces = put(parts, faces_of(person, 6, 1))
        clusterer.cluster(parts)
        (group,) = [
            each for each in get(web_app)["clusters"] if set(each["faces"]) & {str(face) for face in faces}
        ]
        put(parts, faces_of(person, 2, 2))
        erase = delete(Face).where(Face.id.in_(faces[:2]))
        answer, _, _ = at_once(
            lambda id=group["id"], who=f"Anna {round_}": name(web_app, id, name=who),  # type: ignore[misc]
            lambda erase=erase: change(parts, erase),  # type: ignore[misc]
            lambda: clusterer.cluster(parts),
        )
        assert answer.status_code == 200, answer.text
        assert answer.json()["face_count"] in range(4, 9)
        assert owners(parts, faces[2:]) == {f"Anna {round_}"}
        clusterer.cluster(parts)
    with parts.database.reading() as session:
        kept = session.scalars(select(Cluster.id)).all()
    assert {str(each) for each in kept} == {
        each["id"] for each in get(web_app, min_faces=1, hidden="all")["clusters"]
    }


def test_prometheus_is_told_how_many_groups_there_are(web_app: App, three: list[list[uuid.UUID]]) -> None:
    told = dict(line.split() for line in web_app.get("/metrics").text.splitlines() if line.count(" ") == 1)
    assert float(told["face_recognition_unknown_faces"]) == 11
    assert float(told["face_recognition_clusters"]) == 3
    assert float(told["face_recognition_clustering_seconds"]) > 0


def test_a_named_group_is_found_by_its_name_in_the_photos(
    web_app: App, parts: Parts, three: list[list[uuid.UUID]]
) -> None:
    group = get(web_app)["clusters"][0]
    name(web_app, group["id"], name="Anna")
    with parts.database.reading() as session:
        photo = session.scalar(select(Face.photo_id).where(Face.id == three[0][0]))
    faces = web_app.get(f"/api/v1/photos/{photo}").json()["faces"]
    assert {face["person"]["name"] for face in faces} == {"Anna"}
