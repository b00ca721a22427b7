"""openapi.json says what the routes do: it is made of the contract's models and has every route."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import requests
from face_pipeline import errors
from face_pipeline.engine.types import PhotoBroken
from face_pipeline.web.contract.calls import CODES
from face_pipeline.web.ui.pages import PAGES

from tests.installation import App
from tests.photos import ROOT, astronaut_jpeg

DOCUMENT: dict[str, Any] = json.loads((ROOT / "app/face_pipeline/web/openapi.json").read_text())
# Pages for people, and this document itself.
UNDOCUMENTED = {
    "/gate", "/_gate", "/openapi.json", "/static/{version}/{filename}", "/sign-in",
    *(re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path) for page in PAGES for path in (page.path, *page.paths)),
    "/docs", "/docs/errors", "/docs/{subject}", "/docs/static/{filename}",
}  # fmt: skip


def test_the_document_is_what_the_models_say() -> None:
    from face_pipeline.web.contract import document

    path = ROOT / "app/face_pipeline/web/openapi.json"
    assert path.read_text() == document.text(), f"run: python -m {document.__name__} > {path}"


def test_every_route_is_a_call_of_the_contract_and_the_reverse(web_app: App) -> None:
    from face_pipeline.web import create_app
    from face_pipeline.web.contract.calls import CALLS

    app = create_app()
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(rule)), method.lower()): getattr(
            app.view_functions[rule.endpoint], "scope", None
        )
        for rule in app.url_map.iter_rules()
        # Those of CompreFace are a contract of others (test_compreface.py).
        if not rule.endpoint.startswith("compreface.")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    # With the scope that a key needs for it.
    calls = {(call.path, call.method): call.scope for call in CALLS}
    assert {route: scope for route, scope in routes.items() if route[0] not in UNDOCUMENTED} == calls


STATUS = {name: each.status for name, each in vars(errors).items() if hasattr(each, "status")}
# What only an operator sees: on a command line, or where a process does not start.
OF_OPERATORS = {"anchors_unwritable", "configuration_error", "copy_host_away", "engine_error", "pack_error"}


def _codes(module: ast.Module) -> Iterator[tuple[str, int | None]]:
    """(code, status) of each error that a module defines or raises; None: the status is said elsewhere."""
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef):
            own = {
                each.targets[0].id: each.value.value
                for each in node.body
                if isinstance(each, ast.Assign)
                and isinstance(each.targets[0], ast.Name)
                and isinstance(each.value, ast.Constant)
            }
            if "code" in own:
                yield own["code"], own.get("status")
        elif isinstance(node, ast.Call):
            for each in node.keywords:
                if each.arg == "code" and isinstance(each.value, ast.Constant):
                    yield each.value.value, STATUS.get(getattr(node.func, "id", ""))


def test_the_document_names_every_code_of_an_error_and_no_other() -> None:
    package = ROOT / "app/face_pipeline"
    service = [
        path.read_text()
        for path in package.rglob("*.py")
        if not {"ops", "cli", "cli.py", "client", "contract"} & set(path.relative_to(package).parts)
    ]
    raised = {each for text in service for each in _codes(ast.parse(text)) if each[0] not in OF_OPERATORS}
    known = {(code, status) for status, codes in CODES.items() for code in codes}
    codes = {code for code, _ in known}
    assert {code for code, _ in raised} <= codes
    assert {each for each in raised if each[1]} <= known
    assert {code for code in codes if f'"{code}"' not in "".join(service)} == set()


def test_a_file_is_rejected_with_a_code_of_the_document() -> None:
    from face_pipeline.web.contract.answers import REJECTIONS

    engine = "\n".join(path.read_text() for path in (ROOT / "app/face_pipeline/engine").rglob("*.py"))
    raised = set(re.findall(r'PhotoRejected\([^()]*(?:\([^()]*\)[^()]*)*code="(\w+)"', engine))
    assert {*raised, PhotoBroken.code} == set(REJECTIONS)


def _check(body: Any, path: str, method: str, status: int) -> None:
    schema = DOCUMENT["paths"][path][method]["responses"][str(status)]["content"]["application/json"][
        "schema"
    ]
    jsonschema.Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(body)


def test_answers_have_the_documented_shape(live_app: App) -> None:
    upload = live_app.upload(("a.jpg", astronaut_jpeg()), ("b.txt", b"no"), person="Eileen Collins")
    _check(upload.json(), "/api/v1/photos", "post", 202)
    batch_id, photo_id = upload.json()["batch_id"], upload.json()["photos"][0]["id"]
    live_app.wait_finished(batch_id)
    _check(live_app.get(f"/api/v1/batches/{batch_id}").json(), "/api/v1/batches/{batch_id}", "get", 200)
    _check(live_app.get(f"/api/v1/photos/{photo_id}").json(), "/api/v1/photos/{photo_id}", "get", 200)
    _check(live_app.get("/api/v1/photos").json(), "/api/v1/photos", "get", 200)
    found, kept, people = (
        live_app.search(astronaut_jpeg(), limit="3", group_by=what) for what in ("face", "face", "person")
    )
    for answer in (found, kept, people):
        _check(answer.json(), "/api/v1/search", "post", 200)
    assert [answer.json()["cache"] for answer in (found, kept, people)] == ["miss", "hit", "miss"]
    # An answer from the cache is the same to the last byte, but for what it says of itself.
    assert _faces_as_text(found) == _faces_as_text(kept)
    assert all("face_count" in match for face in people.json()["faces"] for match in face["matches"])
    _check(live_app.get("/health/live").json(), "/health/live", "get", 200)
    _check(live_app.get("/health/ready").json(), "/health/ready", "get", 200)
    _check(live_app.get("/api/v1/photos/none").json(), "/api/v1/photos/{photo_id}", "get", 404)
    _check(live_app.upload(("b.txt", b"no")).json(), "/api/v1/photos", "post", 422)


def _faces_as_text(answer: requests.Response) -> str:
    return answer.text.partition(',"cache":')[0]


def test_keys_stand_in_the_order_of_the_document(live_app: App) -> None:
    batch_id = live_app.upload(("a.jpg", astronaut_jpeg())).json()["batch_id"]
    live_app.wait_finished(batch_id)
    photo = live_app.get(f"/api/v1/photos?batch={batch_id}").json()["photos"][0]
    for name, told in (
        ("Batch", live_app.get(f"/api/v1/batches/{batch_id}").json()),
        ("PhotoItem", photo),
        ("Photo", live_app.get(f"/api/v1/photos/{photo['id']}").json()),
        ("SearchAnswer", live_app.search(astronaut_jpeg()).json()),
        ("Error", live_app.get("/api/v1/photos/none").json()),
    ):
        assert list(told) == list(DOCUMENT["components"]["schemas"][name]["properties"]), name


def test_the_document_is_served(web_app: App) -> None:
    assert web_app.get("/openapi.json").json() == DOCUMENT


@pytest.mark.parametrize("path", sorted(DOCUMENT["paths"]))
def test_every_call_has_a_summary_and_a_success(path: str) -> None:
    for call in DOCUMENT["paths"][path].values():
        assert call["summary"]
        assert any(status.startswith("2") for status in call["responses"])
