"""An admin's key that is bound to a collection, before every call of openapi.json with what is in another.

Neither does it learn anything of the other collection, nor does it change anything there, nor does it get
further than it was bound. A new call is tried without a line here.
"""

from __future__ import annotations

import io
from typing import Any

import pytest
from face_pipeline.parts import Parts
from sqlalchemy import text

from tests.app import stock
from tests.app.test_bad_values import CALLS, World, bodies, good, queries, world  # noqa: F401 (a fixture)
from tests.app.test_contract import DOCUMENT
from tests.photos import no_face

MINE, OTHER = "mine", "default"
BOUND = [call for call in CALLS if DOCUMENT["paths"][call[1]][call[0]].get("security") != []]
# What is for keys that reach everything alone.
OF_ALL = ("/api/v1/keys", "/api/v1/sessions", "/api/v1/audit")
# Of a body that was refused before anybody asked whose the key is.
UNREAD = {"body_malformed", "parameter"}
# Fields that are ids, and of what.
IDS = {"face_id": "face", "other_face_id": "face", "person_id": "person", "from": "person"}
# Names that are words of the service, and ids of nothing.
NO_SECRETS = ("collection", "merge", "silence", "session", "reason")
# Calls whose address names no thing of a collection: they do what they do within the key's own.
OF_MANY = ("/api/v1/failures/",)
# Calls that look at their photos only after they know whom they are for; the others would wait for a worker.
FILES = {
    "/api/v1/photos": ("photos",),
    "/api/v1/search": ("photo",),
    "/api/v1/persons/{person_id}/photos": ("photos",),
}
REFUSED = {400, 403, 404, 409, 412, 413, 415, 422}
TABLES = ("hooks", "clusters", "hook_deliveries", "sessions")


def everything(parts: Parts) -> dict[str, Any]:
    """All that is there but for what every request leaves: audit, last use, kept answers."""
    told: dict[str, Any] = stock.rows(parts)
    with parts.database.transaction() as session:
        for table in TABLES:
            told[table] = sorted(session.scalars(text(f"SELECT to_jsonb(t)::text FROM {table} t")))
        told["api_keys"] = sorted(
            session.scalars(text("SELECT (to_jsonb(t) - 'last_used_at')::text FROM api_keys t"))
        )
    return told


@pytest.fixture(scope="module")
def bound(world: World) -> World:  # noqa: F811
    stock.photo(world.parts, None, collection=MINE)
    world.fresh()
    # Nothing of the others' names is a word of the service.
    world.secrets = {value for name, value in world.ids.items() if name not in NO_SECRETS}
    world.bound = stock.key(world.parts, "admin", collections=[MINE])
    return world


def attempts(world: World, method: str, path: str) -> list[dict[str, Any]]:  # noqa: F811
    """Requests for what is the other collection's: by path, by query, by each field of the body."""
    address = world.path(path)
    tried: list[dict[str, Any]] = [{"path": address}]
    if "collection" in queries(method, path):
        tried.append({"path": f"{address}?collection={OTHER}"})
    for kind, schema in bodies(method, path):
        wanted = good(world, path, kind, schema, "")
        bad = [("collection", OTHER), ("collections", [OTHER]), ("collections", None)]
        bad += [(name, world.ids[what]) for name, what in IDS.items()]
        for fields in (wanted, *({**wanted, name: value} for name, value in bad)):
            if not fields.keys() <= schema["properties"].keys():
                continue
            if kind == "application/json":
                tried.append({"path": address, "json": fields})
            else:
                files = {name: (io.BytesIO(no_face()), "a.jpg") for name in FILES.get(path, ())}
                tried.append({"path": address, "data": {**fields, **files}})
    return tried


@pytest.mark.parametrize(("method", "path"), BOUND, ids=lambda value: value.replace("/api/v1", ""))
def test_no_call_reaches_another_collection(bound: World, method: str, path: str) -> None:
    before = everything(bound.parts)
    for tried in attempts(bound, method, path):
        answer = bound.client.open(method=method.upper(), headers=bound.bound, **tried)
        what = f"{method} {tried}: {answer.status_code} {answer.text[:300]}"
        if path.startswith(OF_ALL):
            assert answer.status_code == 403 or answer.json["error"]["code"] in UNREAD, what
        if answer.status_code >= 300:
            assert answer.status_code in REFUSED, what
        else:
            assert "{" not in path or path.startswith(OF_MANY), what
            assert not [each for each in bound.secrets if each in answer.text], what
            assert f'"{OTHER}"' not in answer.text, what
    assert everything(bound.parts) == before


def test_the_same_calls_reach_what_is_the_keys_own(bound: World) -> None:
    """Or the test above proves nothing."""
    made = bound.client.post(
        "/api/v1/hooks", json={"url": "https://events.example.org/in", "collections": [MINE]},
        headers=bound.bound,
    )  # fmt: skip
    assert made.status_code == 201, made.text
    for path, things in (
        ("/api/v1/hooks", "hooks"), ("/api/v1/events", "events"), ("/api/v1/photos", "photos"),
        (f"/api/v1/collections/{MINE}/embeddings", "embeddings"),
    ):  # fmt: skip
        answer = bound.client.get(path, headers=bound.bound)
        assert answer.status_code == 200, answer.text
        assert answer.json is not None
        assert answer.json[things], path
