"""openapi.json, made of the calls and their models:

python -m face_pipeline.web.contract.document > app/face_pipeline/web/openapi.json
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from face_pipeline.web.contract import answers, examples, idempotency, subjects
from face_pipeline.web.contract.call import ERRORS, IN_THE_PATH, Call, Reply
from face_pipeline.web.contract.calls import CALLS, CODES

INFO = {
    "title": "Face Pipeline",
    "version": "1",
    "description": "Upload photos, see their faces, find who is on another photo. Every answer carries "
    "X-Request-ID; every error has the same envelope. Any call may also be answered with 400, 404, 405, 411, "
    "413, 414, 431, 500, 501 or 503 by the servers before it, in that envelope too.",
}
SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
OTHER_BODY = {"type": "string", "contentMediaType": "application/octet-stream"}
RETRY_AFTER = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}


def document() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for call in CALLS:
        paths.setdefault(call.path, {})[call.method] = _operation(call)
    return {
        "openapi": "3.1.0",
        "info": INFO,
        "servers": [{"url": "/"}],
        "security": [{name: []} for name in SECURITY_SCHEMES],
        "tags": _tags(),
        "paths": paths,
        "components": {"securitySchemes": SECURITY_SCHEMES, "schemas": _components()},
    }


def text() -> str:
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def _tags() -> list[dict[str, str]]:
    used = {subjects.of_path(call.path) for call in CALLS}
    return [
        {"name": each.name, "description": each.text}
        for each in (*subjects.SUBJECTS, subjects.OTHER)
        if each in used
    ]


def _operation(call: Call) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": call.operation, "summary": call.summary, "tags": [subjects.of_path(call.path).name]
    }  # fmt: skip
    if call.description:
        told["description"] = call.description
    # OpenAPI 3.1 has a place for what a key must be allowed, whatever the kind of key.
    told["security"] = [{name: [call.scope.value]} for name in SECURITY_SCHEMES] if call.scope else []
    if parameters := _parameters(call):
        told["parameters"] = parameters
    if taken := _taken(call):
        told["requestBody"] = {"required": True, "content": taken}
    responses = {status: _reply(reply) for status, reply in call.replies.items()}
    responses |= {status: _error(call, status) for status in _errors(call)}
    told["responses"] = {str(status): responses[status] for status in sorted(responses)}
    return told


def _parameters(call: Call) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {
            "name": name, "in": "path", "required": True, "description": IN_THE_PATH[name][0],
            "schema": IN_THE_PATH[name][1],
        }
        for name in re.findall(r"{(\w+)}", call.path)
    ]  # fmt: skip
    if idempotency.takes_key(call.method, call.path):
        found.append(idempotency.PARAMETER)
    for name, schema in _one_object(call.query)["properties"].items() if call.query else ():
        description = schema.pop("description")
        found.append({"name": name, "in": "query", "description": description, "schema": schema})
    return found


def _one_object(models: tuple[type[BaseModel], ...]) -> dict[str, Any]:
    """The schema of what is taken, all models as one object."""
    schemas = [_without_titles(_in_place(model.model_json_schema())) for model in models]
    told: dict[str, Any] = {"type": "object"}
    if required := [name for schema in schemas for name in schema.get("required", ())]:
        told["required"] = required
    bounds = ("additionalProperties", "minProperties", "maxProperties")
    told |= {name: schema[name] for schema in schemas for name in bounds if name in schema}
    told["properties"] = {name: each for schema in schemas for name, each in schema["properties"].items()}
    return told


def _taken(call: Call) -> dict[str, Any]:
    """The bodies of a call, by their types: where it takes a form and JSON, either of them."""
    taken = {"multipart/form-data": call.form, "application/json": (call.body,) if call.body else ()}
    told: dict[str, Any] = {kind: {"schema": _one_object(models)} for kind, models in taken.items() if models}
    if call.body and call.operation in examples.BODIES:
        told["application/json"]["example"] = examples.BODIES[call.operation]
    return told


def _in_place(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with its definitions where it names them: within the document it has no place for them."""
    definitions = schema.pop("$defs", {})

    def put(node: Any) -> Any:
        if isinstance(node, list):
            return [put(each) for each in node]
        if not isinstance(node, dict):
            return node
        own = {name: put(each) for name, each in node.items() if name != "$ref"}
        return (put(definitions[node["$ref"].split("/")[-1]]) | own) if "$ref" in node else own

    told: dict[str, Any] = put(schema)
    return told


def _reply(reply: Reply) -> dict[str, Any]:
    if isinstance(reply.body, tuple):
        content = {
            kind: {"schema": {"type": "string"} if kind.endswith("text") or "text/" in kind else OTHER_BODY}
            for kind in reply.body
        }
    else:
        content = {"application/json": {"schema": _reference(reply.body)}}
    return {"description": reply.text} | ({"content": content} if content else {})


def _errors(call: Call) -> set[int]:
    known = {*call.errors, *((401, 403, 429) if call.scope else ())}
    return known | (set(idempotency.ERRORS) if idempotency.takes_key(call.method, call.path) else set())


def _error(call: Call, status: int) -> dict[str, Any]:
    # An error that the call itself does not have comes of a request that is sent again.
    words = ERRORS[status] if status in call.errors else (ERRORS | idempotency.ERRORS)[status]
    told = {
        "description": call.words.get(status, words),
        "content": {"application/json": {"schema": _reference(answers.Error)}},
    }
    return told | ({"headers": RETRY_AFTER} if status in (429, 503) else {})


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


@cache
def _components() -> dict[str, Any]:
    replies = (reply.body for call in CALLS for reply in call.replies.values())
    models = {body for body in replies if not isinstance(body, tuple)} | {answers.Error}
    _, schemas = models_json_schema(
        [(model, "serialization") for model in sorted(models, key=lambda model: model.__name__)],
        ref_template="#/components/schemas/{model}",
    )
    told: dict[str, Any] = _without_titles(schemas["$defs"])
    code = told["Problem"]["properties"]["code"]
    code["examples"] = sorted({each for codes in CODES.values() for each in codes})
    return told


def _without_titles(node: Any) -> Any:
    """A schema without what pydantic makes of Python's names, and without defaults that JSON cannot say."""
    if isinstance(node, list):
        return [_without_titles(each) for each in node]
    if not isinstance(node, dict):
        return node
    return {
        name: _without_titles(each)
        for name, each in node.items()
        if not (name == "title" and isinstance(each, str)) and not (name == "default" and each is None)
    }


if __name__ == "__main__":
    print(text(), end="")
