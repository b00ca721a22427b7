"""Reading parameters of a request, with one clear error for each bad value."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

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


def choice(values: Mapping[str, str], name: str, options: tuple[str, ...]) -> str:
    """One of `options`, the first when it is left out."""
    word = values.get(name, options[0])
    if word not in options:
        raise BadRequest(f"{name} must be one of {', '.join(options)}", code="parameter")
    return word


def identifier(text: str, what: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise NotFound(f"there is no {what} {text!r}", code=f"{what}_not_found") from None
