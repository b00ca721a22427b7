"""Every call that touches a person, a photo, a face or a search leaves an entry, and none is made without it.

Each call of openapi.json and of CompreFace is made twice: while the audit takes no entry, and then as it
should be. An entry holds ids, numbers and words of the service: nobody's name, no file, no embedding. A call
that leaves none stands below with the reason. A new call needs a line here where what test_bad_values sends
is not enough.
"""

from __future__ import annotations

import io
import itertools
import json
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from face_pipeline.cli import front
from face_pipeline.engine import contract_id
from face_pipeline.ops import clusterer
from face_pipeline.parts import Parts
from face_pipeline.store.chain import FIELDS
from face_pipeline.store.models import AuditEntry, Person, Photo, State
from face_pipeline.web import create_app
from face_pipeline.web.compreface.calls import CALLS as COMPREFACE_CALLS
from sqlalchemy import func, select, text

from tests.app import stock
from tests.app.test_bad_values import CALLS, World, bodies, good
from tests.app.test_clusters import faces_of, people, put
from tests.app.test_compreface import new_key
from tests.app.test_contract import UNDOCUMENTED
from tests.app.test_reach import everything
from tests.app.test_vectors import axis
from tests.conftest import empty
from tests.installation import App, Installation, wait_until
from tests.photos import astronaut_jpeg

NUMBERS = "numbers of photos and faces, and nobody"
OPERATING = "the installation itself, and nobody on its photos"
# Calls without an entry, and why.
SILENT = {
    "get /api/v1/batches": NUMBERS,
    "get /api/v1/batches/{batch_id}": NUMBERS,
    "get /api/v1/collections": NUMBERS,
    "get /api/v1/collections/{collection}": NUMBERS,
    "get /api/v1/collections/{collection}/retention": NUMBERS,
    "get /api/v1/failures": NUMBERS,
    "get /api/v1/overview": NUMBERS,
    "get /api/v1/overview/charts": NUMBERS,
    "get /api/v1/jobs": NUMBERS,
    "post /api/v1/renditions": "the caller's own photo comes back as another file; nobody is looked for",
    "get /session": "who is signed in, to themselves",
    "get /health/live": OPERATING,
    "get /health/ready": OPERATING,
    "get /metrics": OPERATING,
    "get /api/v1/receipts/keys": OPERATING,
    "get /api/v1/system": OPERATING,
    "get /api/v1/system/doctor": OPERATING,
    "get /api/v1/keys": OPERATING,
    "get /api/v1/keys/{key_id}": OPERATING,
    "get /api/v1/hooks": OPERATING,
    "get /api/v1/hooks/{hook_id}": OPERATING,
    "get /api/v1/hooks/{hook_id}/deliveries": OPERATING,
    "post /api/v1/overview/silences": "of alerts; their entries: test_overview.py",
    "delete /api/v1/overview/silences/{silence_id}": "of alerts; their entries: test_overview.py",
}
# Nobody stays signed in because no entry can be written.
DONE_ANYWAY = {"delete /session"}
# What the pages, the documents and nginx ask for: no data of anybody, which pages fetch by the calls above.
PAGES = UNDOCUMENTED
# What operators and units run on a host.
COMMANDS = {
    "audit": "audit.read, audit.verify, audit.prune",
    "erasures": "erasure.list; what it erases again leaves the entries of an erasure",
    "keys": "key.create, key.change, key.rotate, key.revoke, session.list, session.end",
    "smoke": "by the calls above, with the admin's key",
    "index": "merge.lapse; what it removes an erasure has told of",
    "cluster": "the service's own work; who looks at a group leaves an entry",
    "reconcile": "the service's own work: photos whose upload has an entry",
    "tell-hooks": "the service's own work, for a hook that has an entry",
    "inspect": "counts and hashes alone",
    "originals": "counts and hashes alone; what it moves photos have, whose upload has an entry",
    "copies": "counts alone; what it mends photos have, whose upload has an entry",
    "autoscaler": OPERATING, "doctor": OPERATING, "log-level": OPERATING, "migrate": OPERATING,
    "pack": "pack.compare; all else is of the installation itself",
    "reembed": "reembedding.start, .run, .shadow, .switch, .back, .end; `status` tells counts and ids alone",
    "queues": OPERATING, "tune": OPERATING, "version": OPERATING,
    "trail": "what the host logged: ids alone",
}  # fmt: skip
# An id, a word of the service, or the name of a collection.
WORD = re.compile(r"[a-z][a-z0-9_.-]*|[0-9a-f-]{36}")
numbers = itertools.count(1000)


@contextmanager
def without_audit(parts: Parts) -> Iterator[None]:
    """While the audit takes no entry."""
    with parts.database.transaction() as session:
        session.execute(text("REVOKE INSERT ON audit FROM CURRENT_USER"))
    try:
        yield
    finally:
        with parts.database.transaction() as session:
            session.execute(text("GRANT INSERT ON audit TO CURRENT_USER"))


class Place(World):
    """A world in which each call finds what it is for."""

    def fresh(self) -> None:
        self.person = stock.person(self.parts, f"Somebody {next(numbers)}")
        self.other = stock.person(self.parts, f"Somebody {next(numbers)}")
        photo = stock.photo(self.parts, self.person, data=astronaut_jpeg(next(numbers)))
        (face,) = stock.faces_of(self.parts, photo)
        self.ids |= {
            "person": str(self.person),
            "photo": str(photo),
            "face": str(face),
            "collection": "default",
        }

    def file(self, name: str = "photo") -> dict[str, Any]:
        return {name: (io.BytesIO(astronaut_jpeg(next(numbers))), "a.jpg")}

    def failed(self) -> dict[str, Any]:
        self.ids |= {"photo": str(stock.photo(self.parts, state="failed")), "reason": "engine_error"}
        return {}

    def cluster(self, body: dict[str, Any] | None = None) -> dict[str, Any]:
        put(self.parts, faces_of(people(1, next(numbers))[0], 3, next(numbers)))
        clusterer.cluster(self.parts)
        shown = self.ask("get", "/api/v1/clusters")["clusters"]
        self.ids["cluster"] = max(shown, key=lambda each: each["created_at"])["id"]
        return {} if body is None else {"json": body}

    def key(self, body: dict[str, Any] | None = None) -> dict[str, Any]:
        self.ids["key"] = self.ask("post", "/api/v1/keys", {"name": f"k{uuid.uuid4()}", "scopes": ["read"]})[
            "id"
        ]
        return {} if body is None else {"json": body}

    def hook(self, body: dict[str, Any] | None = None) -> dict[str, Any]:
        self.ids["hook"] = self.ask("post", "/api/v1/hooks", {"url": "https://events.example.org/in"})["id"]
        return {} if body is None else {"json": body}

    def elsewhere(self) -> str:
        name = f"c-{next(numbers)}"
        stock.person(self.parts, "Somebody", name)
        return name

    def own_collection(self) -> dict[str, Any]:
        self.ids["collection"] = self.elsewhere()
        return {}

    def merge(self) -> dict[str, Any]:
        made = self.ask("post", f"/api/v1/persons/{self.person}/merge", {"from": str(self.other)})
        self.ids["merge"] = made["id"]
        return {}

    def signed_in(self) -> dict[str, Any]:
        answer = self.client.post("/session", json={"api_key": self.headers["Authorization"][7:]})
        assert answer.json is not None
        self.ids["session"] = answer.json["id"]
        return {}

    def records(self) -> dict[str, Any]:
        taken = self.ask("get", "/api/v1/collections/default/export?limit=1")["records"]
        lines = "\n".join(json.dumps(each) for each in taken).encode()
        self.ids["collection"] = self.elsewhere()
        return {
            "data": {"contract_id": contract_id(self.parts.pack), "records": (io.BytesIO(lines), "r.jsonl")}
        }


def body(**fields: Any) -> dict[str, Any]:
    return {"json": fields}


# What a call is asked with, where what it must be given is not enough.
ASKED: dict[str, Callable[[Place], dict[str, Any]]] = {
    "post /api/v1/photos": lambda place: {"data": place.file("photos")},
    "post /api/v1/renditions": lambda place: {"data": place.file()},
    "post /session": lambda place: body(api_key=place.headers["Authorization"][7:]),
    "delete /session": Place.signed_in,
    "get /session": Place.signed_in,
    "post /api/v1/search": lambda place: {"data": place.file()},
    "post /api/v1/detect": lambda place: {"data": place.file()},
    "post /api/v1/verify": lambda place: body(face_id=place.ids["face"], other_face_id=place.ids["face"]),
    "post /api/v1/persons/{person_id}/embeddings": lambda place: body(
        contract_id=contract_id(place.parts.pack), embeddings=[axis(0).tolist()]
    ),
    "delete /api/v1/collections/{collection}": Place.own_collection,
    "patch /api/v1/collections/{collection}/retention": lambda _: body(originals_days=30),
    "patch /api/v1/collections/{collection}/quota": lambda _: body(photos=1_000_000),
    "patch /api/v1/persons/{person_id}": lambda _: body(name=f"Name {next(numbers)}"),
    "post /api/v1/persons/{person_id}/photos": lambda place: {"data": place.file("photos")},
    "post /api/v1/persons/{person_id}/merge": lambda place: {"json": {"from": str(place.other)}},
    "post /api/v1/merges/{merge_id}/undo": Place.merge,
    "patch /api/v1/faces/{face_id}": lambda place: body(person_id=str(place.other)),
    "post /api/v1/keys": lambda _: body(name=f"key {next(numbers)}", scopes=["read"]),
    "get /api/v1/keys/{key_id}": Place.key,
    "patch /api/v1/keys/{key_id}": lambda place: place.key({"scopes": ["write"]}),
    "delete /api/v1/keys/{key_id}": Place.key,
    "post /api/v1/keys/{key_id}/rotate": lambda place: place.key({"grace_seconds": 0}),
    "delete /api/v1/keys/{key_id}/sessions": Place.key,
    "delete /api/v1/sessions/{session_id}": Place.signed_in,
    "post /api/v1/photos/{photo_id}/retry": Place.failed,
    "post /api/v1/photos/retry": lambda place: {**place.failed(), **body(reason="engine_error")},
    "post /api/v1/photos/{photo_id}/move": lambda place: body(collection=place.elsewhere()),
    "post /api/v1/photos/delete": lambda place: body(photo_ids=[place.ids["photo"]]),
    "post /api/v1/photos/move": lambda place: body(
        photo_ids=[place.ids["photo"]], collection=place.elsewhere()
    ),
    "post /api/v1/faces/assign": lambda place: body(face_ids=[place.ids["face"]], person_id=str(place.other)),
    "get /api/v1/clusters/{cluster_id}": Place.cluster,
    "patch /api/v1/clusters/{cluster_id}": lambda place: place.cluster({"hidden": True}),
    "post /api/v1/clusters/{cluster_id}/name": lambda place: place.cluster({"name": f"Name {next(numbers)}"}),
    "get /api/v1/hooks/{hook_id}": Place.hook,
    "patch /api/v1/hooks/{hook_id}": lambda place: place.hook({"enabled": False}),
    "delete /api/v1/hooks/{hook_id}": Place.hook,
    "get /api/v1/hooks/{hook_id}/deliveries": Place.hook,
    "post /api/v1/hooks/{hook_id}/test": Place.hook,
    "post /api/v1/collections/{collection}/import": Place.records,
    "get /api/v1/failures.csv": Place.failed,
    "delete /api/v1/failures/{reason}": Place.failed,
}


@pytest.fixture(scope="module")
def place(installation: Installation) -> Iterator[Place]:
    empty(installation.parts)
    app = App(installation, "", None)  # type: ignore[arg-type]
    worker = app.start_worker()
    yield Place(installation.parts, installation.api_key)
    installation.end(worker)


def entries(place: Place, request_id: str) -> list[str]:
    """The actions of a request's entries, each of which holds nothing that an erasure could not take."""
    with place.parts.database.transaction() as session:
        found = session.scalars(select(AuditEntry).filter_by(request_id=request_id)).all()
    for entry in found:
        told = {name: getattr(entry, name) for name in FIELDS}
        assert not re.search(r"Somebody|Name |\.jpg|fp_", str(told)), told
        assert entry.subject is None or WORD.fullmatch(entry.subject), told
        for value in leaves(entry.details):
            # No text of a request, and no number of an embedding.
            assert value is None or isinstance(value, int) or WORD.fullmatch(str(value)), told
    return [entry.action for entry in found]


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from leaves(each)
    else:
        yield value


def at_rest(parts: Parts) -> dict[str, Any]:
    """All that there is, once workers have done what they were given."""

    def finished() -> bool:
        with parts.database.transaction() as session:
            ended = (State.DONE, State.FAILED)
            return not session.scalar(select(func.count()).where(Photo.state.not_in(ended)))

    wait_until(finished, 60, "photos to be done")
    return everything(parts)


@pytest.mark.parametrize("call", [f"{method} {path}" for method, path in CALLS])
def test_a_call_leaves_an_entry_or_is_refused(place: Place, call: str) -> None:
    method, path = call.split()
    place.fresh()
    if call in ASKED:
        asked = ASKED[call]
    else:
        kinds = [(kind, schema) for kind, schema in bodies(method, path) if kind == "application/json"]
        asked = lambda place: {"json": good(place, path, *kinds[0], "")} if kinds else {}  # noqa: E731
    made = asked(place)
    before = at_rest(place.parts)

    def ask(options: dict[str, Any]) -> tuple[Any, str]:
        request_id = uuid.uuid4().hex
        headers = {**place.headers, "X-Request-ID": request_id}
        if call.endswith(" /session") and method != "post":
            headers.pop("Authorization")
        answer = place.client.open(place.path(path), method=method.upper(), headers=headers, **options)
        return answer, request_id

    if call not in DONE_ANYWAY:
        with without_audit(place.parts):
            refused, _ = ask(made)
        if call in SILENT:
            assert refused.status_code < 300 or "silences" in path, refused.text
            return
        assert refused.status_code == 503, f"{call}: {refused.status_code} {refused.text[:200]}"
        assert refused.json["error"]["code"] == "audit_unavailable"
        assert refused.headers["Retry-After"]
        assert at_rest(place.parts) == before, "nothing was done"
        if "data" in made:
            # A file is read once.
            made = asked(place)
    answer, request_id = ask(made)
    assert answer.status_code < 300, f"{call}: {answer.status_code} {answer.text[:300]}"
    assert entries(place, request_id), f"{call} leaves no entry"


def image(place: Place) -> str:
    return place.ids["face"]


def name(place: Place) -> str:
    with place.parts.database.transaction() as session:
        return session.get_one(Person, place.person).name


def sent(*names: str) -> Callable[[Place], tuple[str, dict[str, Any]]]:
    """A call with a photo under each of the names."""
    return lambda place: ("", {"data": {key: each for one in names for key, each in place.file(one).items()}})


# What is put into a call's address, and what else it is asked with; a name in <> is the photo's own.
OF_COMPREFACE: dict[str, Callable[[Place], tuple[str, dict[str, Any]]]] = {
    "GET /recognition/subjects": lambda _: ("", {}),
    "POST /recognition/subjects": lambda _: ("", body(subject=f"Name {next(numbers)}")),
    "PUT /recognition/subjects/<path:subject>": lambda place: (
        name(place), body(subject=f"Name {next(numbers)}"),
    ),
    "DELETE /recognition/subjects/<path:subject>": lambda place: (name(place), {}),
    "DELETE /recognition/subjects": lambda _: ("", {}),
    "POST /recognition/faces": lambda place: (f"?subject={name(place)}", {"data": place.file("file")}),
    "GET /recognition/faces": lambda _: ("", {}),
    "DELETE /recognition/faces": lambda place: (f"?subject={name(place)}", {}),
    "DELETE /recognition/faces/<image_id>": lambda place: (image(place), {}),
    "POST /recognition/faces/delete": lambda place: ("", {"json": [image(place)]}),
    "GET /recognition/faces/<image_id>/img": lambda place: (image(place), {}),
    "GET /static/<key>/images/<image_id>": lambda place: (image(place), {}),
    "POST /recognition/recognize": sent("file"),
    "POST /recognition/faces/<image_id>/verify": lambda place: (image(place), {"data": place.file("file")}),
    "POST /detection/detect": sent("file"),
    "POST /verification/verify": sent("source_image", "target_image"),
    "POST /recognition/embeddings/recognize": lambda _: ("", body(embeddings=[axis(0).tolist()])),
    "POST /recognition/embeddings/faces/<image_id>/verify": lambda place: (
        image(place), body(embeddings=[axis(0).tolist()]),
    ),
    "POST /verification/embeddings/verify": lambda _: (
        "", body(source=axis(0).tolist(), targets=[axis(1).tolist()])
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def keys(installation: Installation, place: Place) -> dict[str, str]:
    """Of each service, for a collection with nothing from before."""
    empty(place.parts)
    return {each: new_key(installation, each) for each in ("recognition", "detection", "verification")}


@pytest.mark.parametrize("call", OF_COMPREFACE)
def test_a_call_of_compreface_does_too(place: Place, keys: dict[str, str], call: str) -> None:
    method, path = call.split()
    place.fresh()
    (service,) = {each.service for each in COMPREFACE_CALLS if f"{each.method} {each.path}" == call}
    before = at_rest(place.parts)

    def ask() -> tuple[Any, str]:
        added, options = OF_COMPREFACE[call](place)
        address = path.replace("<key>", keys[service])
        address = re.sub("<.*>", added, address) if "<" in address else address + added
        headers = {"x-api-key": keys[service], "X-Request-ID": uuid.uuid4().hex}
        answer = place.client.open(f"/api/v1{address}", method=method, headers=headers, **options)
        return answer, headers["X-Request-ID"]

    with without_audit(place.parts):
        refused, _ = ask()
    assert refused.status_code == 503, f"{refused.status_code} {refused.text[:200]}"
    assert at_rest(place.parts) == before, "nothing was done"
    answer, request_id = ask()
    assert answer.status_code < 300, f"{answer.status_code} {answer.text[:300]}"
    assert entries(place, request_id)


def test_every_address_and_command_is_looked_at_here(installation: Installation) -> None:
    called = {re.sub(r"\{\w+\}", "<>", path) for _, path in CALLS}
    called |= {re.sub(r"<[\w:]+>", "<>", f"/api/v1{each.path}") for each in COMPREFACE_CALLS}
    called |= {re.sub(r"\{\w+\}", "<>", path) for path in PAGES}
    rules = [
        each for each in create_app(installation.parts).url_map.iter_rules()
        # Of CompreFace's calls that there are none of.
        if each.endpoint != "compreface.others.other"
    ]  # fmt: skip
    assert {re.sub(r"<[^>]+>", "<>", each.rule) for each in rules} == called
    assert {f"{each.method} {each.path}" for each in COMPREFACE_CALLS} == set(OF_COMPREFACE)
    calls = {f"{method} {path}" for method, path in CALLS}
    assert SILENT.keys() | ASKED.keys() | DONE_ANYWAY <= calls
    # Of those of people, each speaks to the API (test_layers.py).
    assert set(front.HOST) | front.UNITS == set(COMMANDS)
