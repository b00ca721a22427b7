"""Reading parameters of a request, with one clear error for each bad value."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar

from flask import Request, request
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from werkzeug.exceptions import BadRequest as Unreadable
from werkzeug.exceptions import RequestEntityTooLarge

from face_pipeline.errors import BadRequest, NotFound
from face_pipeline.web.contract import requests

# Many more names and numbers than a person has; embeddings have a bound of their own.
BODY_MAX_BYTES = 1024 * 1024
# Characters of something that is no id: enough to know it again.
ID_SHOWN = 60

R = TypeVar("R", bound=requests.Request)
B = TypeVar("B", bound=requests.Body)


class BodyTooLarge(BadRequest):
    code = "request_too_large"
    status = 413


def body(model: type[B], *, most: int = BODY_MAX_BYTES) -> B:
    """What the request's body of JSON, at most `most` bytes, says of `model`.

    Raises BadRequest naming the first key that is missing, unknown or wrong, BodyTooLarge.
    """
    request.max_content_length = most
    try:
        # Whatever its media type says: curl calls any body a form.
        given = request.get_json(force=True)
        # Half of a pair of surrogates is no text for a database, nor for anybody else.
        json.dumps(given, ensure_ascii=False).encode()
    except RequestEntityTooLarge:
        raise BodyTooLarge(
            f"a body of this call has at most {most} bytes; send it in several requests"
        ) from None
    except (Unreadable, RecursionError, UnicodeEncodeError):
        raise BadRequest("send the body as JSON, in UTF-8", code="body_malformed") from None
    if not isinstance(given, dict):
        raise BadRequest("send an object of JSON: {…}", code="body_malformed")
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise BadRequest(_wrong(model, first), code="parameter") from None


def _wrong(model: type[BaseModel], error: ErrorDetails) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{name} is missing"
    if error["type"] == "extra_forbidden":
        known = ", ".join(field.alias or name for name, field in model.model_fields.items())
        return f"there is no {name!r} here; this call takes {known}"
    said = error["msg"].removeprefix("Input ").removeprefix("Value error, ")
    # Of fields that do not go together none is named.
    return f"{name}: {said}" if name else said


def read(model: type[R], values: Mapping[str, Any]) -> R:
    """What `values` say of `model`; raises BadRequest with the bounds of the first bad one."""
    try:
        return model.model_validate({name: values[name] for name in model.model_fields if name in values})
    except ValidationError as error:
        name = str(error.errors(include_url=False, include_context=False)[0]["loc"][0])
        raise BadRequest(f"{name} must be {_what(_schema(model)[name])}", code="parameter") from None


@cache
def _schema(model: type[requests.Request]) -> dict[str, dict[str, Any]]:
    properties: dict[str, dict[str, Any]] = model.model_json_schema()["properties"]
    return properties


def _what(schema: dict[str, Any]) -> str:
    schema = schema.get("items", schema)
    if "enum" in schema:
        return f"one of {', '.join(word for word in schema['enum'] if word)}"
    kind = "a whole number" if schema["type"] == "integer" else "a number"
    return f"{kind} from {schema['minimum']} to {schema['maximum']}"


def upload_form(request: Request) -> requests.UploadForm:
    """An upload's texts, each given once at most; an empty one counts as left out."""
    given = {
        "collection": _one_text(request, "collection", "collection_name"),
        "person": _one_text(request, "person", "person_name"),
        "batch": _one_text(request, "batch", "parameter"),
    }
    return read(requests.UploadForm, {name: text for name, text in given.items() if text is not None})


def _one_text(request: Request, name: str, code: str) -> str | None:
    """The form field `name`; None when it is empty or left out, BadRequest when there are several."""
    if name in request.files:
        raise BadRequest(f"{name} is text; send it as a form field and not as a file", code=code)
    values = set(request.form.getlist(name))
    if len(values) > 1:
        raise BadRequest(f"one request takes one {name}; send a request for each", code=code)
    return (values.pop() if values else None) or None


def moment(text: str, name: str) -> datetime:
    """The time that a text says; raises BadRequest for one without its offset from UTC."""
    if requests.MOMENT.fullmatch(text):
        try:
            return datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):
            pass
    raise BadRequest(
        f"{name} must be a time with its offset from UTC, as 2027-01-31T12:00:00Z", code="parameter"
    )


def identifier(text: str, what: str) -> uuid.UUID:
    if not requests.IDENTIFIER.fullmatch(text):
        raise NotFound(f"there is no {what} {text[:ID_SHOWN]!r}", code=f"{what}_not_found")
    return uuid.UUID(text)
