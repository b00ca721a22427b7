"""Every field of every body, form and query of openapi.json, given what no caller should send.

Each answer is one that says what is wrong, or that all is well: never an error of the server. What a field
is given is the same for all, so that a new call is tried without a line here.
"""

from __future__ import annotations

import itertools
import json
import re
import signal
import subprocess
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from face_pipeline.ops import clusterer
from face_pipeline.parts import Parts
from face_pipeline.web import create_app
from flask.testing import FlaskClient
from sqlalchemy import text

from tests.app import stock
from tests.app.test_clusters import faces_of, people, put
from tests.app.test_contract import DOCUMENT
from tests.installation import App, Installation

NO_ID = "11111111-1111-4111-8111-111111111111"
LONG = "n" * 10_000
# Of JSON, as they are written there.
JSON_VALUES = (
    "null", '""', '" "', r'"\u0000"', r'"a\u0000b"', r'"\ud800"', r'"\udc00\ud800"', json.dumps(LONG),
    json.dumps("é" * 10_000), r'"\ud83d\ude00"', "0", "-1", "1.5", "1e400", "-1e400", "9" * 400, "NaN",
    "true", "[]", "[null]", r'["\u0000"]', r'["\ud800"]', "{}", r'{"\u0000": null}', '{"a": {"b": []}}',
    json.dumps(NO_ID), '"2027-01-31T12:00:00Z"', '"9999-12-31T23:59:59-23:59"',
)  # fmt: skip
# Of an address or a form: bytes, as they arrive.
TEXTS = (
    b"", b" ", b"\0", b"a\0b", b"\xed\xa0\x80", b"\xff\xfe", LONG.encode(), "é".encode() * 5000,
    "😀".encode(), b"null", b"7", b"-1", b"1.5", b"1e400", b"9" * 400, b"NaN", b"true", b"[]", b"{}",
    NO_ID.encode(), b"2027-01-31T12:00:00Z",
)  # fmt: skip
# What else a call must be given, so that a bad value is all that is wrong with it.
REQUIRED: dict[str, Any] = {
    "api_key": "fp_none", "collection": "default", "contract_id": "none", "embeddings": [[1.0]],
    "grace_seconds": 0, "hidden": True, "scopes": ["read"], "url": "https://events.example.org/in",
}  # fmt: skip
# With face_id or person_id a search and a verification get as far as they can.
HELPFUL = {
    ("/api/v1/search", "application/json"): {"face_id": "face"},
    ("/api/v1/verify", "application/json"): {"face_id": "face", "person_id": "person"},
    ("/api/v1/verify", "multipart/form-data"): {"face_id": "face", "person_id": "person"},
}
names = itertools.count()


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


CALLS = [(method, path) for path, methods in DOCUMENT["paths"].items() for method in methods]


def bodies(method: str, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    content = DOCUMENT["paths"][path][method].get("requestBody", {}).get("content", {})
    for kind, each in content.items():
        yield kind, resolved(each["schema"])


def queries(method: str, path: str) -> list[str]:
    given = DOCUMENT["paths"][path][method].get("parameters", ())
    return [each["name"] for each in given if each["in"] == "query"]


TAKING = [call for call in CALLS if queries(*call) or any(bodies(*call))]


class World:
    """One of each thing, and a process that answers without a network."""

    # Of another key than the admin's, and the ids that it must not learn.
    bound: dict[str, str]
    secrets: set[str]

    def __init__(self, parts: Parts, api_key: str) -> None:
        self.parts = parts
        self.client: FlaskClient = create_app(parts).test_client()
        self.headers = {"Authorization": f"Bearer {api_key}"}
        put(parts, faces_of(people(1, 7)[0], 3, 7))
        clusterer.cluster(parts)
        (cluster,) = self.ask("get", "/api/v1/clusters")["clusters"]
        key = self.ask("post", "/api/v1/keys", {"name": f"bad values {uuid.uuid4()}", "scopes": ["read"]})
        hook = self.ask("post", "/api/v1/hooks", {"url": REQUIRED["url"]})
        batch = self.ask("post", "/api/v1/batches", {"collection": "default"})
        self.ids = {
            "cluster": cluster["id"], "key": key["id"], "hook": hook["id"], "batch": batch["id"],
            "collection": "default", "merge": NO_ID, "silence": NO_ID, "session": NO_ID,
            "reason": "worker_lost",
        }  # fmt: skip

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.client.open(path, method=method.upper(), json=body, headers=self.headers)
        assert answer.status_code < 300, answer.text
        return answer.json

    def fresh(self) -> None:
        """A person, a photo and a face that no call before has changed, and room for them."""
        self.ask("patch", "/api/v1/collections/default/quota", {"photos": None, "bytes": None})
        person = stock.person(self.parts, f"Somebody {next(names)}")
        photo = stock.photo(self.parts, person)
        (face,) = stock.faces_of(self.parts, photo)
        self.ids |= {"person": str(person), "photo": str(photo), "face": str(face)}

    def path(self, path: str) -> str:
        return re.sub(r"\{(\w+?)(?:_id)?\}", lambda found: self.ids[found[1]], path)


@pytest.fixture(scope="module")
def world(installation: Installation, web_url: tuple[str, subprocess.Popen[bytes]]) -> Iterator[World]:
    with installation.parts.database.transaction() as session:
        session.execute(text("TRUNCATE collections, batches, photos, faces, persons, events, hooks CASCADE"))
    # It makes pictures.
    worker = App(installation, *web_url).start_worker()
    yield World(installation.parts, installation.api_key)
    installation.end(worker, signal.SIGKILL)


def good(world: World, path: str, kind: str, schema: dict[str, Any], bad: str) -> dict[str, Any]:
    """The other fields of a body: those that it must have."""
    wanted = {each: REQUIRED[each] for each in schema.get("required", ()) if each in REQUIRED}
    wanted |= {each: world.ids[what] for each, what in HELPFUL.get((path, kind), {}).items()}
    if "name" in schema.get("properties", {}):
        wanted["name"] = f"Name {next(names)}" if "collections" not in path else f"name-{next(names)}"
    if "from" in schema.get("properties", {}):
        wanted["from"] = world.ids["person"]
    wanted.pop(bad, None)
    return wanted


def check(answer: Any, what: str) -> None:
    assert answer.status_code < 500, f"{what}: {answer.status_code} {answer.text}"
    if answer.status_code >= 400:
        error = answer.json["error"]
        assert error["code"], what
        assert len(error["message"]) < 1500, f"{what}: repeats {len(error['message'])} characters"
        # Whoever shows it may show it anywhere.
        answer.data.decode()


@pytest.mark.parametrize(("method", "path"), TAKING, ids=lambda value: value.replace("/api/v1", ""))
def test_no_value_of_a_field_is_an_error_of_the_server(world: World, method: str, path: str) -> None:
    world.fresh()
    for name, value in itertools.product(queries(method, path), TEXTS):
        address = f"{world.path(path)}?{name}={quote_from_bytes(value)}"
        answer = world.client.open(address, method=method.upper(), headers=world.headers)
        check(answer, f"{method} {path} {name}={value[:20]!r}")
    for kind, schema in bodies(method, path):
        for name in schema["properties"]:
            if kind == "application/json":
                try_body(world, method, path, name, schema)
            elif "contentMediaType" not in json.dumps(schema["properties"][name]):
                try_form(world, method, path, name, schema)


def try_body(world: World, method: str, path: str, name: str, schema: dict[str, Any]) -> None:
    for value in JSON_VALUES:
        wanted = good(world, path, "application/json", schema, name)
        body = json.dumps({**wanted, name: "VALUE"}).replace('"VALUE"', value)
        answer = world.client.open(
            world.path(path), method=method.upper(), data=body, headers=world.headers,
            content_type="application/json",
        )  # fmt: skip
        check(answer, f"{method} {path} {name}: {value[:20]}")
        if path == "/api/v1/hooks" and answer.status_code == 201:
            assert answer.json is not None
            world.client.delete(f"{path}/{answer.json['id']}", headers=world.headers)


def try_form(world: World, method: str, path: str, name: str, schema: dict[str, Any]) -> None:
    for value in TEXTS:
        fields = good(world, path, "multipart/form-data", schema, name)
        lines = [
            b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (key.encode(), each)
            for key, each in ((name, value), *((key, str(each).encode()) for key, each in fields.items()))
        ]
        answer = world.client.open(
            world.path(path), method=method.upper(), data=b"".join(lines) + b"--x--\r\n",
            headers=world.headers, content_type="multipart/form-data; boundary=x",
        )  # fmt: skip
        check(answer, f"{method} {path} form {name}={value[:20]!r}")


NO_OBJECTS = ("", "null", "[]", "7", '"a"', "{", "[" * 5000, r'{"\ud800": 1}', "\0")


@pytest.mark.parametrize("body", NO_OBJECTS, ids=range(len(NO_OBJECTS)))
def test_a_body_that_is_no_object_is_refused(world: World, body: str) -> None:
    world.fresh()
    for method, path in CALLS:
        if any(kind == "application/json" for kind, _ in bodies(method, path)):
            answer = world.client.open(
                world.path(path), method=method.upper(), data=body, headers=world.headers,
                content_type="application/json",
            )  # fmt: skip
            check(answer, f"{method} {path} {body[:20]!r}")
            assert answer.status_code >= 400, f"{method} {path} takes {body[:20]!r}"
