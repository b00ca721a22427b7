"""openapi.json as the pages show it: calls by subject, each with what it takes and answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from face_pipeline.web.contract.calls import CODES
from face_pipeline.web.contract.subjects import OTHER, SUBJECTS, Subject
from face_pipeline.web.docs import samples

DOCUMENT = Path(__file__).parents[1] / "openapi.json"
# Answers hold lists of objects that hold objects; below that a field is told by its object.
MAX_DEPTH = 4
JSON = "application/json"
WORDS_OF_KINDS = {JSON: "JSON", "multipart/form-data": "Form"}


@dataclass(frozen=True)
class Field:
    """`name`: with the fields that it is in, `faces[].bbox`. `default`: as text, empty without one."""

    name: str
    kind: str
    text: str
    required: bool = False
    default: str = ""


@dataclass(frozen=True)
class Group:
    """What a call takes in one place: its address, its query, a body."""

    title: str
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Success:
    status: int
    text: str
    kinds: tuple[str, ...]
    fields: tuple[Field, ...]
    example: str


@dataclass(frozen=True)
class Failure:
    status: int
    text: str


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    operation: str
    summary: str
    text: str
    scope: str
    subject: Subject
    groups: tuple[Group, ...]
    successes: tuple[Success, ...]
    failures: tuple[Failure, ...]
    bodies: tuple[str | None, ...]
    raw: dict[str, Any]

    def commands(self, url: str) -> list[tuple[str, str]]:
        """The curl line for each body that the call takes: (its name, the command)."""
        return [
            (
                WORDS_OF_KINDS.get(kind, kind) if kind and len(self.bodies) > 1 else "",
                samples.curl(self.method.lower(), self.path, self.raw, kind, url),
            )
            for kind in self.bodies
        ]

    def words(self) -> Iterator[tuple[int, str]]:
        """What a search looks in, the most telling first: (rank, text)."""
        yield 0, f"{self.method} {self.path} {self.operation} {self.summary}"
        yield 1, f"{self.text} {self.subject.title} {self.scope}"
        for group in self.groups:
            for field in group.fields:
                yield 2, f"{field.name} {field.text}"
        for success in self.successes:
            for field in success.fields:
                yield 3, f"{field.name} {field.text}"


@dataclass(frozen=True)
class Found:
    """A call that has all the words, and names of its fields that have one."""

    call: Call
    rank: int
    fields: tuple[str, ...]


@cache
def document() -> dict[str, Any]:
    told: dict[str, Any] = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    return told


@cache
def calls() -> tuple[Call, ...]:
    return tuple(
        _call(method, path, operation)
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
    )


@cache
def subjects() -> dict[str, tuple[Subject, tuple[Call, ...]]]:
    """The subjects that have calls, by their names, in the order in which they are shown."""
    found = {}
    for subject in (*SUBJECTS, OTHER):
        if mine := [call for call in calls() if call.subject == subject]:
            found[subject.name] = (subject, tuple(sorted(mine, key=_depth)))
    return found


def _depth(call: Call) -> tuple[int, int]:
    """The list before one of its things, and that before what it has."""
    parts = call.path.removeprefix("/api/v1").strip("/").split("/")
    begins = call.subject.begins
    return begins.index(parts[0]) if parts[0] in begins else len(begins), len(parts)


def search(text: str) -> list[Found]:
    """Calls that have each word of `text` somewhere, the most telling places first."""
    words = text.casefold().split()
    if not words:
        return []
    found = [hit for call in calls() if (hit := _match(call, words)) is not None]
    return sorted(found, key=lambda hit: hit.rank)


def _match(call: Call, words: list[str]) -> Found | None:
    places = [(rank, text.casefold()) for rank, text in call.words()]
    ranks = [min((rank for rank, text in places if word in text), default=None) for word in words]
    if any(rank is None for rank in ranks):
        return None
    named = [
        field.name
        for fields in (*(group.fields for group in call.groups), *(each.fields for each in call.successes))
        for field in fields
        if any(word in field.name.casefold() for word in words)
    ]
    return Found(call, sum(rank or 0 for rank in ranks), tuple(dict.fromkeys(named))[:4])


def codes(text: str = "") -> dict[int, tuple[str, tuple[str, ...]]]:
    """Codes of errors by their status, with its name; with `text` those alone that have one of its words."""
    words = text.casefold().split()
    found = {}
    for status in sorted(CODES):
        mine = sorted({code for code in CODES[status] if not words or any(word in code for word in words)})
        if mine:
            found[status] = (_name(status), tuple(mine))
    return found


def _name(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "The client hung up" if status == 499 else ""


def _call(method: str, path: str, operation: dict[str, Any]) -> Call:
    responses = {int(status): each for status, each in operation["responses"].items()}
    scopes = [scope for need in operation.get("security", ()) for each in need.values() for scope in each]
    return Call(
        method.upper(), path, operation["operationId"], operation["summary"],
        operation.get("description", ""), scopes[0] if scopes else "", _subject(operation),
        tuple(_groups(operation)),
        tuple(_success(status, each) for status, each in responses.items() if not _fails(each)),
        tuple(Failure(status, each["description"]) for status, each in responses.items() if _fails(each)),
        tuple(operation.get("requestBody", {}).get("content", {})) or (None,), operation,
    )  # fmt: skip


def _subject(operation: dict[str, Any]) -> Subject:
    tags = operation.get("tags", ())
    return next((subject for subject in SUBJECTS if subject.name in tags), OTHER)


def _fails(response: dict[str, Any]) -> bool:
    schema = response.get("content", {}).get(JSON, {}).get("schema", {})
    return str(schema.get("$ref", "")).endswith("/Error")


def _groups(operation: dict[str, Any]) -> Iterator[Group]:
    parameters = operation.get("parameters", ())
    for place, title in (("path", "In the address"), ("query", "Query"), ("header", "Headers")):
        if mine := [each for each in parameters if each["in"] == place]:
            yield Group(
                title,
                tuple(
                    _field(each["name"], each["schema"], each.get("description", ""), place == "path")
                    for each in mine
                ),
            )
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield Group(f"Body: {WORDS_OF_KINDS.get(kind, kind)} ({kind})", tuple(_taken(content["schema"])))


def _taken(schema: dict[str, Any]) -> Iterator[Field]:
    for name, each in schema.get("properties", {}).items():
        yield _field(name, each, each.get("description", ""), name in schema.get("required", ()))


def _field(name: str, schema: dict[str, Any], text: str, required: bool) -> Field:
    default = schema.get("default", "")
    shown = f"{default:g}" if isinstance(default, float) else default
    if not isinstance(shown, str):
        shown = json.dumps(shown)
    return Field(name, _kind(schema), text, required, shown)


def _success(status: int, response: dict[str, Any]) -> Success:
    content = response.get("content", {})
    schema = content.get(JSON, {}).get("schema")
    components = document()["components"]["schemas"]
    example = ""
    if schema is not None:
        example = json.dumps(samples.answer(schema, components), indent=2, ensure_ascii=False)
    fields = tuple(_given(schema, "", 0)) if schema is not None else ()
    return Success(status, response["description"], tuple(content), fields, _short_lists(example))


def _given(schema: dict[str, Any], prefix: str, depth: int) -> Iterator[Field]:
    """Fields of an answer, each with the fields it is in before its name."""
    resolved = _resolve(schema)
    for name, each in resolved.get("properties", {}).items():
        inner = _resolve(each)
        text = each.get("description") or inner.get("description", "")
        yield Field(f"{prefix}{name}", _kind(each), text)
        if depth >= MAX_DEPTH:
            continue
        if inner.get("type") == "array":
            yield from _given(inner["items"], f"{prefix}{name}[].", depth + 1)
        elif inner.get("type") == "object":
            yield from _given(inner, f"{prefix}{name}.", depth + 1)


def _resolve(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that is meant: behind its name, and of null or something the something."""
    if "$ref" in schema:
        named: dict[str, Any] = document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return _resolve(named)
    if "anyOf" in schema:
        return _resolve(next(each for each in schema["anyOf"] if each != {"type": "null"}))
    return schema


def _kind(schema: dict[str, Any]) -> str:
    """What a value may be, in a few words."""
    if "anyOf" in schema:
        shared = {name: each for name, each in schema.items() if name != "anyOf"}
        return " or ".join(dict.fromkeys(_kind(shared | each) for each in schema["anyOf"]))
    schema = _resolve(schema)
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return "one of " + ", ".join(f"`{each}`" for each in schema["enum"] if each != "")
    if "contentMediaType" in schema:
        return "file"
    kind = schema.get("type", "object")
    if isinstance(kind, list):
        return " or ".join(_kind({**schema, "type": each}) for each in kind)
    if kind == "array":
        return f"list of {_kind(schema['items'])}{_bounds(schema, 'minItems', 'maxItems')}"
    if kind == "string":
        named = {"uuid": "id", "date-time": "time (RFC 3339)"}.get(schema.get("format", ""), "text")
        return named + _bounds(schema, "minLength", "maxLength", " characters")
    named = {"integer": "whole number", "boolean": "true or false"}.get(str(kind), str(kind))
    return named + _bounds(schema, "minimum", "maximum")


def _bounds(schema: dict[str, Any], least: str, most: str, unit: str = "") -> str:
    low, high = schema.get(least), schema.get(most)
    if low is not None and low == high:
        return f" ({low:g})"
    if low is not None and high is not None:
        return f", {low:g} to {high:g}{unit}"
    if high is not None:
        return f", at most {high:g}{unit}"
    return ""


def _short_lists(text: str) -> str:
    """Lists of numbers in one line each."""
    lines: list[str] = []
    held: list[str] | None = None
    for line in text.splitlines():
        bare = line.strip()
        if held is None and bare.endswith("["):
            held = [line]
        elif held is not None and bare.rstrip(",").lstrip("-").replace(".", "", 1).isdigit():
            held.append(bare)
        elif held is not None and bare.rstrip(",") == "]" and len(held) > 1:
            lines.append(held[0] + " ".join(held[1:]) + bare)
            held = None
        else:
            lines.extend(held or ())
            held = [line] if bare.endswith("[") else None
            if held is None:
                lines.append(line)
    return "\n".join([*lines, *(held or ())])
