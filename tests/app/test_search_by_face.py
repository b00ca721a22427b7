"""Searches by a stored face, by an embedding, and in several collections at once."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import pytest
import requests
from face_pipeline.engine import contract_id
from face_pipeline.parts import Parts
from face_pipeline.store import keys
from face_pipeline.store.models import ApiKey, Collection, Face
from sqlalchemy import insert, select, update

from tests.app.test_vectors import DIMENSION, add_person, axis, fill, make_collection, name_faces, near
from tests.installation import App
from tests.photos import astronaut_again, astronaut_jpeg

NOBODY = "00000000-0000-4000-8000-000000000000"


def bounded_key(parts: Parts, collections: list[str] | None, *scopes: str) -> str:
    """A key of these scopes that reaches these collections."""
    key = keys.new_key()
    with parts.database.transaction() as session:
        session.execute(
            insert(ApiKey).values(
                name=uuid.uuid4().hex,
                key_hash=keys.hash_key(key),
                scopes=list(scopes),
                collections=collections,
            )
        )
    return key


def ask(app: App, body: Any, key: str | None = None) -> requests.Response:
    return app.request(
        "POST", "/api/v1/search", json=body, headers={"Authorization": f"Bearer {key or app.api_key}"}
    )


def face_ids(parts: Parts, collection: Collection) -> list[str]:
    """Of a collection, in the order in which they were put in."""
    with parts.database.reading() as session:
        rows = session.scalars(
            select(Face.id).where(Face.collection_id == collection.id).order_by(Face.position)
        )
        return [str(face_id) for face_id in rows]


def test_a_stored_face_finds_who_is_like_it_and_not_itself(web_app: App, parts: Parts) -> None:
    team = make_collection(parts, "team")
    fill(parts, team, np.vstack([axis(0)[None], near(axis(0), 2, 0.9, 1), axis(5)[None]]))
    asked, *alike = face_ids(parts, team)[:3]
    body = ask(web_app, {"face_id": asked, "limit": 10, "threshold": 0.5}).json()
    (face,) = body["faces"]
    assert {match["face_id"] for match in face["matches"]} == set(alike)
    assert face["bbox"] == [0, 0, 1, 1], "as it is on its photo"
    assert (body["collection"], body["collections"], body["cache"]) == ("team", ["team"], "none")
    # Among people its own person counts their other faces.
    name_faces(parts, team, add_person(parts, team, "Anna"), axis(0), 3)
    (face,) = ask(web_app, {"face_id": asked, "group_by": "person", "threshold": 0.5}).json()["faces"]
    assert [(match["person_name"], match["face_count"]) for match in face["matches"]] == [("Anna", 2)]
    # Where it is not, it is looked for like any other.
    fill(parts, make_collection(parts, "other"), axis(0)[None])
    (face,) = ask(web_app, {"face_id": asked, "collection": "other"}).json()["faces"]
    assert [match["similarity"] for match in face["matches"]] == [1.0]


def test_an_embedding_finds_the_faces_like_it(web_app: App, parts: Parts) -> None:
    collection = make_collection(parts, "default")
    fill(parts, collection, np.vstack([near(axis(0), 1, 0.9, 1), near(axis(0), 1, 0.6, 2), axis(3)[None]]))
    first, second, _ = face_ids(parts, collection)
    asked = {"embedding": axis(0).tolist(), "contract_id": contract_id(parts.pack)}
    (face,) = ask(web_app, {**asked, "threshold": 0.5}).json()["faces"]
    assert [match["face_id"] for match in face["matches"]] == [first, second]
    assert [match["similarity"] for match in face["matches"]] == pytest.approx([0.9, 0.6], abs=2e-3)
    assert set(face) == {"matches"}, "nothing is known of a photo"
    (face,) = ask(web_app, {**asked, "threshold": 0.8, "limit": 1}).json()["faces"]
    assert len(face["matches"]) == 1
    assert ask(web_app, {**asked, "min_quality": 0.9, "threshold": 0}).json()["faces"][0]["matches"] == []


@pytest.mark.parametrize("group_by", ["face", "person"])
def test_faces_of_nobody_keep_nobody_from_being_found(web_app: App, parts: Parts, group_by: str) -> None:
    """A face with 110 others that are more like it than Anna's, and have no name."""
    collection = make_collection(parts, "default")
    fill(parts, collection, np.vstack([axis(0)[None], axis(1)[None], near(axis(0), 110, 0.95, 1)]))
    name_faces(parts, collection, add_person(parts, collection, "Anna"), axis(1), 1)
    asked = face_ids(parts, collection)[0]
    body = {"face_id": asked, "group_by": group_by, "limit": 100, "threshold": -1}
    (all_of_them,) = ask(web_app, body).json()["faces"]
    assert {match["person_name"] for match in all_of_them["matches"]} == {None}
    (face,) = ask(web_app, {**body, "named": True}).json()["faces"]
    assert [match["person_name"] for match in face["matches"]] == ["Anna"]
    embedding = {"embedding": axis(0).tolist(), "contract_id": contract_id(parts.pack), "threshold": -1}
    (face,) = ask(web_app, {**embedding, "group_by": group_by, "named": True}).json()["faces"]
    assert [match["person_name"] for match in face["matches"]] == ["Anna"]


@pytest.mark.parametrize(
    ("change", "status", "code", "words"),
    [
        ({"contract_id": "dlib-0000000000000000"}, 409, "contract_mismatch", "cannot be compared"),
        ({"contract_id": None}, 400, "parameter", "contract_id"),
        ({"embedding": [1.0]}, 400, "embedding_invalid", str(DIMENSION)),
        ({"embedding": []}, 400, "embedding_invalid", str(DIMENSION)),
        ({"embedding": [0.5] * DIMENSION}, 400, "embedding_invalid", "norm"),
        ({"embedding": [1e308] * DIMENSION}, 400, "embedding_invalid", "norm"),
        ({"embedding": [0] * DIMENSION}, 400, "embedding_invalid", "norm"),
        ({"embedding": [1.0011] + [0] * (DIMENSION - 1)}, 400, "embedding_invalid", "norm"),
        ({"embedding": ["1"] * DIMENSION}, 400, "parameter", "embedding.0"),
        ({"embedding": [[1.0]] * DIMENSION}, 400, "parameter", "embedding.0"),
        ({"embedding": "1,0"}, 400, "parameter", "embedding"),
        ({"embedding": {"0": 1}}, 400, "parameter", "embedding"),
        ({"embedding": [10**400] + [0] * (DIMENSION - 1)}, 400, "parameter", "embedding.0"),
        ({"face_id": NOBODY}, 400, "parameter", "face_id"),
        ({"embedding": None}, 400, "parameter", "face_id"),
        ({"embedding": None, "face_id": NOBODY}, 404, "face_not_found", NOBODY),
        ({"embedding": None, "face_id": "x" * 10_000}, 404, "face_not_found", "face"),
        ({"embedding": None, "face_id": "\0"}, 404, "face_not_found", "face"),
        ({"embedding": None, "face_id": 7}, 400, "parameter", "face_id"),
        ({"collection": "nowhere"}, 404, "collection_not_found", "nowhere"),
        ({"collection": ["default", "Not a name"]}, 400, "collection_name", "collection"),
        ({"collection": [f"c{number}" for number in range(11)]}, 400, "parameter", "10 collections"),
        ({"collection": 7}, 400, "parameter", "collection"),
        ({"limit": 101}, 400, "parameter", "limit"),
        ({"limit": 10**30}, 400, "parameter", "limit"),
        ({"limit": True}, 400, "parameter", "limit"),
        ({"threshold": 1.5}, 400, "parameter", "threshold"),
        ({"group_by": "photo"}, 400, "parameter", "group_by"),
        ({"named": "true"}, 400, "parameter", "named"),
        ({"min_face_size": 5}, 400, "parameter", "min_face_size"),
    ],
)
def test_what_is_wrong_with_a_question_is_said(
    web_app: App, parts: Parts, change: dict[str, Any], status: int, code: str, words: str
) -> None:
    asked = {"embedding": axis(0).tolist(), "contract_id": contract_id(parts.pack), **change}
    answer = ask(web_app, asked)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert words in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("numbers", "status"),
    [
        ("NaN" + ",0" * 127, 400),
        ("Infinity" + ",0" * 127, 400),
        ("1e400" + ",0" * 127, 400),
        ("1" * 5000, 400),
        ("[" * 100_000, 400),
        ("0.1," * 1_000_000 + "0", 413),
    ],
)
def test_numbers_that_json_does_not_have_are_refused(
    web_app: App, parts: Parts, numbers: str, status: int
) -> None:
    body = f'{{"contract_id": "{contract_id(parts.pack)}", "embedding": [{numbers}]}}'
    answer = web_app.request(
        "POST", "/api/v1/search", data=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == status, answer.text


def test_a_face_stored_under_another_engine_is_not_compared(web_app: App, parts: Parts) -> None:
    fill(parts, make_collection(parts, "old"), axis(0)[None])
    (face_id,) = face_ids(parts, make_collection(parts, "old"))
    make_collection(parts, "default")
    with parts.database.transaction() as session:
        session.execute(update(Collection).where(Collection.name == "old").values(contract_id="other-1"))
    for asked in (
        {"face_id": face_id},
        {"face_id": face_id, "collection": "default"},
        {"embedding": axis(0).tolist(), "contract_id": contract_id(parts.pack), "collection": "old"},
    ):
        answer = ask(web_app, asked)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "contract_mismatch")


def test_matches_of_several_collections_are_one_list_by_similarity(web_app: App, parts: Parts) -> None:
    for name, cosine in (("one", 0.9), ("two", 0.95), ("three", 0.85)):
        fill(parts, make_collection(parts, name), near(axis(0), 2, cosine, 1))
    asked = {"embedding": axis(0).tolist(), "contract_id": contract_id(parts.pack), "threshold": 0.5}
    body = ask(web_app, {**asked, "collection": ["one", "two", "one"], "limit": 3}).json()
    assert body["collections"] == ["one", "two"]
    assert [match["collection"] for match in body["faces"][0]["matches"]] == ["two", "two", "one"]
    # By person each face of nobody stands for itself, in each of them.
    people = ask(web_app, {**asked, "collection": ["three", "one"], "group_by": "person"}).json()
    assert [match["collection"] for match in people["faces"][0]["matches"]] == [
        "one",
        "one",
        "three",
        "three",
    ]
    (face,) = ask(web_app, {**asked, "collection": "one"}).json()["faces"]
    assert all("collection" not in match for match in face["matches"]), "one needs no name"


def test_a_key_searches_in_its_own_collections_alone(web_app: App, parts: Parts) -> None:
    for name in ("mine", "theirs"):
        fill(parts, make_collection(parts, name), axis(0)[None])
    key = bounded_key(parts, ["mine"], "read")
    asked = {"embedding": axis(0).tolist(), "contract_id": contract_id(parts.pack)}
    assert len(ask(web_app, {**asked, "collection": "mine"}, key).json()["faces"][0]["matches"]) == 1
    for names in ("theirs", ["mine", "theirs"], "nowhere", None):
        answer = ask(web_app, {**asked, "collection": names}, key)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "collection_forbidden"), names
    form = web_app.request(
        "POST", "/api/v1/search", files={"photo": astronaut_jpeg()}, data={"collection": "theirs"},
        headers={"Authorization": f"Bearer {key}"},
    )  # fmt: skip
    assert form.json()["error"]["code"] == "collection_forbidden"
    (hidden,) = face_ids(parts, make_collection(parts, "theirs"))
    answer = ask(web_app, {"face_id": hidden, "collection": "mine"}, key)
    absent = ask(web_app, {"face_id": NOBODY, "collection": "mine"}, key)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "face_not_found")
    assert answer.json()["error"]["message"].replace(hidden, NOBODY) == absent.json()["error"]["message"]


def test_a_photo_is_searched_in_several_collections_and_each_is_kept(live_app: App) -> None:
    for name in ("one", "two"):
        batch = live_app.upload((f"{name}.jpg", astronaut_jpeg()), collection=name).json()["batch_id"]
        live_app.wait_finished(batch)
    query = astronaut_again()
    both = live_app.search(query, collection=["one", "two"]).json()
    assert (both["cache"], both["collections"]) == ("miss", ["one", "two"])
    assert [match["collection"] for match in both["faces"][0]["matches"]] == ["one", "two"]
    again = live_app.search(query, collection=["one", "two"]).json()
    assert (again["cache"], again["faces"]) == ("hit", both["faces"])
    alone = live_app.search(query, collection="two").json()
    assert alone["cache"] == "hit", "what is kept of a collection serves every search of it"
    assert "collection" not in alone["faces"][0]["matches"][0]
    live_app.wait_finished(
        live_app.upload(("new.jpg", astronaut_jpeg(1)), collection="two").json()["batch_id"]
    )
    after = live_app.search(query, collection=["one", "two"]).json()
    assert after["cache"] == "miss"
    assert [match["collection"] for match in after["faces"][0]["matches"]].count("two") == 2
    # A face of the photo that is too small finds nobody, and that is another question.
    (small,) = live_app.search(query, collection="one", min_face_size=500).json()["faces"]
    assert small["matches"] == []
    (large,) = live_app.search(query, collection="one", min_face_size=20).json()["faces"]
    assert len(large["matches"]) == 1
    wrong = live_app.search(query, min_face_size="x")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "parameter")
