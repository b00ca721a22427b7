"""What the page of people asks for: covers, orders, and which face is the least sure to be theirs."""

from __future__ import annotations

import base64
import json
import random
import uuid
from typing import Any

import numpy as np
import pytest
import requests
from face_pipeline.parts import Parts
from face_pipeline.store import collections
from face_pipeline.store.models import Face
from sqlalchemy import delete, text, update

from tests.app import stock
from tests.installation import App

NO_ID = "11111111-1111-4111-8111-111111111111"


def person(app: App, person_id: Any) -> dict[str, Any]:
    told: dict[str, Any] = app.get(f"/api/v1/persons/{person_id}").json()
    return told


def change(app: App, person_id: Any, body: dict[str, Any]) -> requests.Response:
    return app.request("PATCH", f"/api/v1/persons/{person_id}", json=body)


def pages(app: App, path: str, things: str, query: str, limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = None
    for _ in range(100):
        answer = app.get(f"/api/v1/{path}?limit={limit}&{query}" + (f"&cursor={cursor}" if cursor else ""))
        assert answer.status_code == 200, answer.text
        found += answer.json()[things]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return found
    raise AssertionError("the pages never end")


def rate(parts: Parts, face_id: uuid.UUID, quality: float) -> None:
    with parts.database.transaction() as session:
        session.execute(update(Face).where(Face.id == face_id).values(quality=quality))


# Covers


def test_the_cover_is_the_best_face_until_somebody_chooses_another(web_app: App, parts: Parts) -> None:
    anna = stock.person(parts, "Anna")
    assert (person(web_app, anna)["cover_face_id"], person(web_app, anna)["cover"]) == (None, None)
    best, other = (stock.faces_of(parts, stock.photo(parts, anna))[0] for _ in range(2))
    rate(parts, best, 0.9)
    assert person(web_app, anna)["cover_face_id"] == str(best)
    answer = change(web_app, anna, {"cover_face_id": str(other)})
    assert (answer.status_code, answer.json()["cover_face_id"]) == (200, str(other))
    assert answer.json()["cover"] == f"/api/v1/faces/{other}/crop?v=2"
    assert answer.json()["representative_face"]["id"] == str(best)
    (listed,) = web_app.get("/api/v1/persons").json()["persons"]
    assert listed["cover_face_id"] == str(other)
    assert stock.audit(parts, "person.change")[-1]["details"] == {"fields": ["cover_face_id"]}
    # It is theirs no longer.
    assert web_app.request("PATCH", f"/api/v1/faces/{other}", json={"person_id": None}).status_code == 200
    assert person(web_app, anna)["cover_face_id"] == str(best)
    assert web_app.request("PATCH", f"/api/v1/faces/{other}", json={"person": "Anna"}).status_code == 200
    assert change(web_app, anna, {"cover_face_id": None}).json()["cover_face_id"] == str(best)


def test_a_cover_goes_with_its_photo(web_app: App, parts: Parts) -> None:
    anna = stock.person(parts, "Anna")
    photo_id = stock.photo(parts, anna)
    (face_id,) = stock.faces_of(parts, photo_id)
    assert change(web_app, anna, {"cover_face_id": str(face_id)}).status_code == 200
    assert web_app.request("DELETE", f"/api/v1/photos/{photo_id}").status_code == 200
    assert person(web_app, anna)["cover_face_id"] is None


def test_nobody_gets_another_ones_face_as_a_cover(web_app: App, parts: Parts) -> None:
    anna = stock.person(parts, "Anna")
    others = stock.faces_of(parts, stock.photo(parts, None, stock.person(parts, "Bert")))
    for face_id in (*others, NO_ID):
        answer = change(web_app, anna, {"cover_face_id": str(face_id)})
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "cover_not_theirs")
    answer = change(web_app, anna, {"cover_face_id": "no id"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "face_not_found")


def test_a_merge_that_is_undone_gives_the_cover_back(web_app: App, parts: Parts) -> None:
    anna, bert = stock.person(parts, "Anna"), stock.person(parts, "Bert")
    own, best = (stock.faces_of(parts, stock.photo(parts, bert))[0] for _ in range(2))
    rate(parts, best, 0.9)
    assert change(web_app, bert, {"cover_face_id": str(own)}).status_code == 200
    merged = web_app.request("POST", f"/api/v1/persons/{anna}/merge", json={"from": str(bert)}).json()
    assert merged["person"]["cover_face_id"] == str(best)
    assert web_app.request("POST", f"/api/v1/merges/{merged['id']}/undo").status_code == 200
    assert person(web_app, bert)["cover_face_id"] == str(own)


def test_a_face_that_came_as_an_embedding_shows_nobody(web_app: App, parts: Parts) -> None:
    anna = stock.person(parts, "Anna")
    (face_id,) = stock.faces_of(parts, stock.photo(parts, anna))
    embed(parts, anna, [np.ones(128)], photo=False)
    told = person(web_app, anna)
    assert (told["face_count"], told["photo_count"], told["cover_face_id"]) == (2, 1, str(face_id))
    with parts.database.transaction() as session:
        session.execute(delete(Face).where(Face.id == face_id))
    told = person(web_app, anna)
    assert (told["face_count"], told["cover_face_id"], told["representative_face"]) == (1, None, None)


# Orders


def test_persons_are_listed_by_name_number_of_faces_or_age(web_app: App, parts: Parts) -> None:
    numbers = {"Dora": 2, "Anna": 0, "Carl": 3, "Bert": 2, "Emil": 0}
    for name, number in numbers.items():
        who = stock.person(parts, name)
        if number:
            stock.photo(parts, *[who] * number)
    other = stock.person(parts, "Fred", "other")
    stock.photo(parts, other, collection="other")
    age = ["Fred", "Emil", "Bert", "Carl", "Anna", "Dora"]
    for limit in (1, 2, 50):
        by_name = [each["name"] for each in pages(web_app, "persons", "persons", "sort=name", limit)]
        assert by_name == ["Anna", "Bert", "Carl", "Dora", "Emil", "Fred"]
        newest = [each["name"] for each in pages(web_app, "persons", "persons", "sort=newest", limit)]
        assert newest == age
        counted = pages(web_app, "persons", "persons", "sort=faces", limit)
        assert [each["face_count"] for each in counted] == [3, 2, 2, 1, 0, 0]
        assert {each["name"] for each in counted} == {*numbers, "Fred"}
        some = pages(web_app, "persons", "persons", "sort=faces&collection=default&name=r", limit)
        assert {each["name"] for each in some} == {"Carl", "Bert", "Dora"}
    assert web_app.get("/api/v1/persons?sort=age").status_code == 400
    cursor = web_app.get("/api/v1/persons?sort=faces&limit=1").json()["next_cursor"]
    assert web_app.get(f"/api/v1/persons?sort=name&cursor={cursor}").status_code == 400
    headers = stock.key(parts, "read", collections=["other"])
    answer = web_app.request("GET", "/api/v1/persons?sort=faces", headers=headers)
    assert [each["name"] for each in answer.json()["persons"]] == ["Fred"]


# Certainty


def embed(parts: Parts, who: uuid.UUID, vectors: Any, *, photo: bool = True) -> list[uuid.UUID]:
    """Faces of the person with these embeddings, each on a photo of its own."""
    ids = []
    for vector in vectors:
        unit = np.asarray(vector, np.float32) / np.linalg.norm(vector)
        if photo:
            (face_id,) = stock.faces_of(parts, stock.photo(parts, who))
            with parts.database.transaction() as session:
                session.execute(update(Face).where(Face.id == face_id).values(embedding=unit))
        else:
            face_id = uuid.uuid4()
            with parts.database.transaction() as session:
                found = collections.by_name(session, "default")
                session.add(
                    Face(
                        id=face_id, collection_id=found.id, person_id=who, position=0, bbox=[0.0] * 4,
                        landmarks=[[0.0, 0.0]] * 5, detection_score=1, quality=1, embedding=unit,
                    )
                )  # fmt: skip
        ids.append(face_id)
    return ids


def expected(vectors: Any) -> list[float]:
    """Cosine of each to the mean of the others."""
    units = np.array([each / np.linalg.norm(each) for each in vectors])
    means = units.sum(axis=0) - units
    return list((units * means).sum(axis=1) / np.linalg.norm(means, axis=1))


@pytest.mark.parametrize("number", [2, 3, 12])
def test_the_least_sure_face_comes_first(web_app: App, parts: Parts, number: int) -> None:
    anna = stock.person(parts, "Anna")
    generator = np.random.default_rng(number)
    middle = generator.normal(size=128)
    vectors = [middle + generator.normal(size=128) * random.Random(k).uniform(0, 2) for k in range(number)]
    faces = embed(parts, anna, vectors)
    wanted = dict(zip(map(str, faces), expected(vectors), strict=True))
    for limit in (1, 5, 50):
        found = pages(web_app, f"persons/{anna}/faces", "faces", "sort=least_sure", limit)
        assert {each["id"] for each in found} == set(wanted)
        assert len(found) == number
        told = [each["certainty"] for each in found]
        assert told == sorted(told)
        for each in found:
            assert each["certainty"] == pytest.approx(wanted[each["id"]], abs=0.01)
    newest = web_app.get(f"/api/v1/persons/{anna}/faces").json()["faces"]
    assert all("certainty" not in each for each in newest)


def test_a_strangers_face_is_first_and_of_an_only_one_nothing_is_told(web_app: App, parts: Parts) -> None:
    anna, alone = stock.person(parts, "Anna"), stock.person(parts, "Bert")
    middle = np.random.default_rng(1).normal(size=128)
    embed(parts, anna, [middle + np.random.default_rng(k).normal(size=128) * 0.3 for k in range(6)])
    (stranger,) = embed(parts, anna, [-middle])
    found = pages(web_app, f"persons/{anna}/faces", "faces", "sort=least_sure", 3)
    assert found[0]["id"] == str(stranger)
    assert found[0]["certainty"] < -0.8
    assert found[1]["certainty"] > 0.5
    (only,) = embed(parts, alone, [middle])
    (face,) = pages(web_app, f"persons/{alone}/faces", "faces", "sort=least_sure", 3)
    assert face["id"] == str(only)
    assert "certainty" not in face
    # Two that are each other's opposite, whose sum has no direction.
    nobody = stock.person(parts, "Carl")
    embed(parts, nobody, [middle, -middle])
    for face in pages(web_app, f"persons/{nobody}/faces", "faces", "sort=least_sure", 1):
        assert face["certainty"] == pytest.approx(-1, abs=0.01)
    assert pages(web_app, f"persons/{stock.person(parts, 'Dora')}/faces", "faces", "sort=least_sure", 1) == []


@pytest.mark.parametrize(
    "values", [["nan", NO_ID], ["1e999", NO_ID], ["0.5", "no id"], [0.5, NO_ID], ["0.5"]]
)
def test_a_cursor_of_nobody_is_refused(web_app: App, parts: Parts, values: list[Any]) -> None:
    anna = stock.person(parts, "Anna")
    cursor = base64.urlsafe_b64encode(json.dumps(values).encode()).decode()
    answer = web_app.get(f"/api/v1/persons/{anna}/faces?sort=least_sure&cursor={cursor}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "parameter")


def test_a_person_of_ten_thousand_faces_has_pages(web_app: App, parts: Parts) -> None:
    anna = stock.person(parts, "Anna")
    stock.photo(parts, anna)
    with parts.database.transaction() as session:
        session.execute(
            text(
                "INSERT INTO faces (id, photo_id, collection_id, person_id, position, bbox, landmarks,"
                " detection_score, quality, embedding) SELECT gen_random_uuid(), f.photo_id, f.collection_id,"
                " f.person_id, n, f.bbox, f.landmarks, 0.9, 0.5, (SELECT l2_normalize((array_agg(random()"
                " - 0.4))::vector)::halfvec FROM generate_series(1, 128) WHERE n > 0)"
                " FROM faces f, generate_series(1, 9999) n"
            )
        )
    found = web_app.get(f"/api/v1/persons/{anna}/faces?sort=least_sure&limit=200").json()
    rest = web_app.get(
        f"/api/v1/persons/{anna}/faces?sort=least_sure&limit=200&cursor={found['next_cursor']}"
    ).json()
    told = [each["certainty"] for each in found["faces"] + rest["faces"]]
    assert len({each["id"] for each in found["faces"] + rest["faces"]}) == 400
    assert told == sorted(told)
