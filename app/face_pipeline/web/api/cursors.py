"""Cursors: where the next page of a list begins, as text that a client gives back as it is."""

from __future__ import annotations

import base64
import binascii
import json
import math
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from face_pipeline.errors import BadRequest
from face_pipeline.web.contract.requests import IDENTIFIER


def make(*values: datetime | uuid.UUID | str | int) -> str:
    """The cursor of a place in a list, from what the list is ordered by."""
    return base64.urlsafe_b64encode(json.dumps([_written(each) for each in values]).encode()).decode()


def _written(value: datetime | uuid.UUID | str | int) -> str | int:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return str(value) if isinstance(value, uuid.UUID) else value


def read(cursor: str, *readers: Callable[[Any], Any]) -> tuple[Any, ...]:
    """What `make` was given; raises BadRequest for a text that it did not make."""
    try:
        values = json.loads(base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True))
        if isinstance(values, Sequence) and not isinstance(values, str) and len(values) == len(readers):
            return tuple(reader(value) for reader, value in zip(readers, values, strict=True))
    except (ValueError, TypeError, RecursionError, binascii.Error):
        pass
    raise BadRequest("cursor is not one this server gave; take next_cursor of a page", code="parameter")


def time(value: Any) -> datetime:
    at = datetime.fromisoformat(value)
    # Databases know fewer times of other zones than Python, so that only those written above are taken.
    if at.utcoffset() != timedelta(0):
        raise ValueError
    return at


def identifier(value: Any) -> uuid.UUID:
    if not IDENTIFIER.fullmatch(value):
        raise ValueError
    return uuid.UUID(value)


def text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError
    # Half of a pair of surrogates, which is no text for a database, is a ValueError here too.
    value.encode()
    return value


def real(value: Any) -> float:
    """A number as its text, which keeps every digit; neither infinite nor none."""
    found = float(text(value))
    if not math.isfinite(found):
        raise ValueError
    return found


def number(value: Any) -> int:
    """A whole number that a column of 64 bits holds."""
    if not isinstance(value, int) or isinstance(value, bool) or not -(2**63) <= value < 2**63:
        raise ValueError
    return value
