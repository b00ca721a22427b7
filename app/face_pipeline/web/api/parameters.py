"""Reading parameters of a request, with one clear error for each bad value."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from flask import Request

from face_pipeline.errors import BadRequest, NotFound

# What JSON calls a number. Python's own functions also take "1_0", "٣", " 5" and "NaN".
WHOLE = re.compile(r"-?[0-9]{1,18}")
NUMBER = re.compile(r"-?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
# As the service writes them. Python also takes braces, "urn:uuid:" and digits of other scripts.
IDENTIFIER = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


Word = TypeVar("Word", bound=StrEnum)


def integer(values: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = values.get(name, str(default))
    number = int(text) if WHOLE.fullmatch(text) else low - 1
    if not low <= number <= high:
        raise BadRequest(f"{name} must be a whole number from {low} to {high}", code="parameter")
    return number


def decimal(values: Mapping[str, str], name: str, default: float, low: float, high: float) -> float:
    if name not in values:
        return default
    text = values[name]
    number = float(text) if NUMBER.fullmatch(text) else low - 1
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


def choice(values: Mapping[str, str], name: str, options: type[Word]) -> Word:
    """One of `options`, the first when it is left out."""
    words = list(options)
    word = values.get(name, words[0])
    if word not in words:
        raise BadRequest(f"{name} must be one of {', '.join(words)}", code="parameter")
    return options(word)


def identifier(text: str, what: str) -> uuid.UUID:
    if not IDENTIFIER.fullmatch(text):
        raise NotFound(f"there is no {what} {text!r}", code=f"{what}_not_found")
    return uuid.UUID(text)
