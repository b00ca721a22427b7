"""Reading parameters of a request, with one clear error for each bad value."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from flask import Request

from face_pipeline.errors import BadRequest, NotFound


def integer(values: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    try:
        number = int(values.get(name, default))
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise BadRequest(f"{name} must be a whole number from {low} to {high}", code="parameter")
    return number


def decimal(values: Mapping[str, str], name: str, default: float, low: float, high: float) -> float:
    try:
        number = float(values.get(name, default))
    except ValueError:
        number = low - 1
    # NaN compares false with everything.
    if not low <= number <= high:
        raise BadRequest(f"{name} must be a number from {low} to {high}", code="parameter")
    return number


def one_text(request: Request, name: str, code: str) -> str | None:
    """The form field `name`; None when it is empty or left out, BadRequest when there are several."""
    if name in request.files:
        raise BadRequest(f"{name} is text; send it as a form field and not as a file", code=code)
    values = set(request.form.getlist(name))
    if len(values) > 1:
        raise BadRequest(f"one request takes one {name}; send a request for each", code=code)
    return (values.pop() if values else None) or None


def identifier(text: str, what: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise NotFound(f"there is no {what} {text!r}", code=f"{what}_not_found") from None
