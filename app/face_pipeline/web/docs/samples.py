"""Values as somebody would see them: an answer of JSON made of its schema, and the curl line of a call."""

from __future__ import annotations

import json
import re
from typing import Any

from face_pipeline.web.contract.examples import BODIES, FORMS, IDS, QUERIES

Schema = dict[str, Any]

# Of a command, characters.
WIDTH = 90

# By the name of a field; the schema decides where a value does not fit.
_VALUES: dict[str, Any] = {
    "name": "Anna Berg",
    "person_name": "Anna Berg",
    "external_id": "hr-17",
    "filename": "anna-1.jpg",
    "collection": "default",
    "collections": ["default"],
    "contract_id": "insightface-…",
    "dimension": 512,
    "metadata": {"team": "red"},
    "bbox": [210.0, 96.0, 334.0, 251.0],
    "landmarks": [[243.0, 155.0], [301.0, 154.0], [272.0, 187.0], [249.0, 216.0], [297.0, 215.0]],
    "embedding": [0.0123, -0.0456],
    "detection_score": 0.99,
    "quality": 0.71,
    "similarity": 0.62,
    "best": 0.62,
    "mean_of_best": 0.58,
    "threshold": 0.38,
    "duration_seconds": 0.13,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "state": "done",
    "media_type": "image/jpeg",
    "byte_size": 184320,
    "width": 1024,
    "height": 768,
    "next_cursor": None,
    "reason": None,
    "remark": None,
    "disabled_reason": None,
    "expires_at": None,
    "revoked_at": None,
    "rotated_at": None,
    "previous_until": None,
    "dry_run": False,
    "duplicate": False,
    "hidden": False,
    "status": "ok",
    "cache": "miss",
    "request_id": "c0ffee5eed5eed5eedc0ffee",
    "code": "person_not_assigned",
    "message": "What is wrong, and what to do.",
    "url": "https://receiver.example.org/faces",
    "api_key": "fp_KEY",
    "secret": "whsec_…",
    "kind": "photo",
    "service": None,
    "actor_name": "camera-1",
    "address": "192.0.2.17",
    "action": "person.rename",
    "details": {},
    "fingerprint": "8c2f6d1e0b7a4935",
    "by": "portal",
    "ids": [IDS["photo_id"]],
    # Of RFC 8037, appendix A.
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
    "key_id": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
    "signature": "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    "points": [[1795694400, 0.5], [1795694430, 0.7]],
}
# Lists of what went wrong: empty, as they mostly are.
_EMPTY = {"rejected", "refused", "kept"}
# What is told of what went wrong, where it may be null.
_ABSENT = {"code", "message"}
# Whose `id` it is, by the schema that has it.
_OWNERS = {
    "Photo": "photo_id", "PhotoItem": "photo_id", "Accepted": "photo_id", "Batch": "batch_id",
    "Face": "face_id", "OneFace": "face_id", "PersonFace": "face_id", "ClusterFace": "face_id",
    "BestFace": "face_id", "Cluster": "cluster_id", "ClusterItem": "cluster_id", "MergeDone": "merge_id",
    "MergeUndone": "merge_id", "Hook": "hook_id", "HookWithSecret": "hook_id", "Key": "key_id",
    "KeyWithText": "key_id", "ExportedPhoto": "photo_id", "ExportedFace": "face_id",
    "FaceOfExport": "face_id",
}  # fmt: skip
_NAMES = {
    "Key": "camera-1", "KeyWithText": "camera-1", "Collection": "default", "CollectionItem": "default",
    "ExportedCollection": "default",
}  # fmt: skip
_MOMENT = "2026-11-26T13:00:00.000+00:00"


def answer(schema: Schema, components: dict[str, Schema]) -> Any:
    """A value that the schema allows, with names and numbers as they are in practice."""
    return _value(schema, components, "", "")


def _value(schema: Schema, components: dict[str, Schema], field: str, owner: str) -> Any:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _value(components[name], components, field, name)
    if "anyOf" in schema:
        kinds = schema["anyOf"]
        if {"type": "null"} in kinds and (field in _ABSENT or _VALUES.get(field, field) is None):
            return None
        return _value(next(each for each in kinds if each != {"type": "null"}), components, field, owner)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        known = _VALUES.get(field)
        return known if known in schema["enum"] else next(each for each in schema["enum"] if each != "")
    kind, known = schema.get("type", "object"), _VALUES.get(field)
    if kind == "object":
        return _object(schema, components, field, owner)
    if kind == "array":
        return _array(schema, components, field, owner)
    if kind == "string":
        return _string(schema, field, owner)
    if kind == "boolean":
        return known if isinstance(known, bool) else True
    fits = isinstance(known, int | float) and not isinstance(known, bool)
    return known if fits else max(1, schema.get("minimum", 1))


def _object(schema: Schema, components: dict[str, Schema], field: str, owner: str) -> Any:
    if "properties" not in schema:
        return _VALUES.get(field, {})
    return {
        name: _value(each, components, name, owner)
        for name, each in schema["properties"].items()
        # What is there only in some answers stays away.
        if name in schema.get("required", ()) or owner == "SearchedFace"
    }


def _array(schema: Schema, components: dict[str, Schema], field: str, owner: str) -> Any:
    if field in _EMPTY:
        return []
    if isinstance(known := _VALUES.get(field), list) and "$ref" not in schema["items"]:
        return known
    return [_value(schema["items"], components, _single(field), owner)]


def _single(field: str) -> str:
    return {"face_ids": "face_id", "faces": "face_id", "photos": "photo_id", "embeddings": "embedding"}.get(
        field, field
    )


def _string(schema: Schema, field: str, owner: str) -> str:
    if schema.get("format") == "uuid":
        return IDS[field] if field in IDS else IDS[_OWNERS.get(owner, "person_id")]
    if schema.get("format") == "date-time":
        return _MOMENT
    known = _VALUES.get(field)
    if field == "name" and owner in _NAMES:
        return _NAMES[owner]
    return known if isinstance(known, str) else field or "…"


def body(operation: str, schema: Schema) -> Any:
    """A body of JSON that the call takes: the contract's example, or what is required."""
    if operation in BODIES:
        return BODIES[operation]
    required = schema.get("required") or list(schema["properties"])[:1]
    return {name: _value(schema["properties"][name], {}, name, "") for name in required}


def curl(method: str, path: str, operation: dict[str, Any], kind: str | None, url: str) -> str:
    """The command that makes a call. `kind`: the type of body to send, of those that the call takes.

    Ids are names in capitals, to be filled in; the key is in the file key.header.
    """
    name = operation["operationId"]
    parts = ["curl"]
    if operation.get("security") != []:
        parts.append("--header @key.header")
    sent = operation["requestBody"]["content"][kind]["schema"] if kind else None
    if sent is None and method != "get":
        parts.append(f"--request {method.upper()}")
    elif sent is not None and kind == "application/json":
        if method != "post":
            parts.append(f"--request {method.upper()}")
        text = json.dumps(body(name, sent), ensure_ascii=False).replace("'", r"\u0027")
        parts.append(f"--json '{text}'")
    elif sent is not None:
        parts.extend(f"--form {_quoted(f'{field}={value}')}" for field, value in _form(name, sent).items())
    parts.extend(_output(operation))
    address = url + re.sub(r"{(\w+)}", lambda found: found[1].upper(), path)
    if query := QUERIES.get(name):
        address += "?" + "&".join(f"{field}={value}" for field, value in query.items())
    return _with_names(" \\\n    ".join(_lines([*parts, _quoted(address)])))


def _lines(parts: list[str]) -> list[str]:
    """The short ones in a line, the long ones in one each."""
    lines = [parts[0]]
    for each in parts[1:]:
        if len(lines[-1]) + len(each) < WIDTH:
            lines[-1] += f" {each}"
        else:
            lines.append(each)
    return lines


def _form(name: str, schema: Schema) -> dict[str, str]:
    required = {field: _form_value(schema["properties"][field]) for field in schema.get("required", ())}
    return required | FORMS.get(name, {})


def _form_value(schema: Schema) -> str:
    inner = schema.get("items", schema)
    return "@photo.jpg" if "contentMediaType" in inner else str(_value(inner, {}, "", ""))


def _output(operation: dict[str, Any]) -> list[str]:
    success = next(each for status, each in operation["responses"].items() if status.startswith("2"))
    kinds = success.get("content", {})
    return ["--output photo.jpg"] if any(each.startswith("image/") for each in kinds) else []


def _quoted(text: str) -> str:
    return f"'{text}'" if set(text) & set(" ?&;*[]()") else text


def _with_names(text: str) -> str:
    for name, each in IDS.items():
        text = text.replace(each, name.upper())
    return text
