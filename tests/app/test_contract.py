"""openapi.json says what the routes do: no route without its page, no page without its route."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest

from tests.installation import App
from tests.photos import ROOT, astronaut_jpeg

DOCUMENT: dict[str, Any] = json.loads((ROOT / "app/face_pipeline/web/openapi.json").read_text())
# Pages for people, and this document itself.
UNDOCUMENTED = {"/", "/gate", "/_gate", "/openapi.json", "/static/{filename}"}


def test_routes_and_document_agree(web_app: App) -> None:
    from face_pipeline.web import create_app

    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(rule)), method.lower())
        for rule in create_app().url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    documented = {(path, method) for path, item in DOCUMENT["paths"].items() for method in item}
    assert {route for route in routes if route[0] not in UNDOCUMENTED} == documented


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
    _check(live_app.search(astronaut_jpeg()).json(), "/api/v1/search", "post", 200)
    _check(live_app.get("/health/ready").json(), "/health/ready", "get", 200)
    _check(live_app.get("/api/v1/photos/none").json(), "/api/v1/photos/{photo_id}", "get", 404)
    _check(live_app.upload(("b.txt", b"no")).json(), "/api/v1/photos", "post", 422)


def test_the_document_is_served(web_app: App) -> None:
    assert web_app.get("/openapi.json").json() == DOCUMENT


@pytest.mark.parametrize("path", sorted(DOCUMENT["paths"]))
def test_every_call_has_a_summary_and_a_success(path: str) -> None:
    for call in DOCUMENT["paths"][path].values():
        assert call["summary"]
        assert any(status.startswith("2") for status in call["responses"])
