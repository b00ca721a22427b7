"""What the calls of every subject share: asking, paging, forms."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, urlencode
from uuid import UUID

from pydantic import BaseModel

from face_pipeline.client.errors import ClientError
from face_pipeline.client.multipart import File, Form
from face_pipeline.client.transport import Again, Transport

API = "/api/v1"
# Of one page of a list, the most that the service gives.
PAGE = 200
IDEMPOTENCY_HEADER = "Idempotency-Key"

A = TypeVar("A", bound=BaseModel)
Id = UUID | str
# A value of an address or a form; a sequence: once for each.
Value = str | float | bool | UUID | Iterable[str] | None


class NotAnAnswer(ClientError):
    """Something answered, and not this service."""

    code = "not_an_answer"


class Calls:
    """Calls of one installation, over one pool of connections."""

    _transport: Transport

    def _get(self, path: str, **query: Value) -> bytes:
        return self._transport.ask("GET", _address(path, query), again=Again.ALWAYS).data

    def _read(self, model: type[A], path: str, **query: Value) -> A:
        return _told(model, self._get(path, **query))

    def _pages(self, model: type[A], path: str, things: str, **query: Value) -> Iterator[A]:
        """All `things` of a list, a page at a time."""
        cursor: str | None = None
        while True:
            data = self._get(path, **{**query, "limit": PAGE, "cursor": cursor})
            try:
                page = json.loads(data)
                rows, cursor = page[things], page["next_cursor"]
            except (ValueError, KeyError, TypeError):
                raise _foreign(data) from None
            for row in rows:
                yield model.model_validate(row)
            if cursor is None:
                return

    def _ask(self, model: type[A], path: str, body: Form | dict[str, Any]) -> A:
        """Of a POST that changes nothing."""
        return _told(model, self._send("POST", path, body, Again.ALWAYS))

    def _make(
        self, model: type[A], path: str, body: Form | dict[str, Any] | None = None, *, key: str | None = None
    ) -> A:
        """Of a POST that makes something, once, however often it has to be sent; key: its Idempotency-Key."""
        headers = {IDEMPOTENCY_HEADER: key or uuid.uuid4().hex}
        return _told(model, self._send("POST", path, body, Again.ALWAYS, headers))

    def _change(self, model: type[A], path: str, body: dict[str, Any]) -> A:
        return _told(model, self._send("PATCH", path, body, Again.REFUSED))

    def _erase(self, model: type[A], path: str, **query: Value) -> A:
        return _told(model, self._send("DELETE", _relative(path, query), None, Again.REFUSED))

    def _remove(self, path: str) -> None:
        self._send("DELETE", path, None, Again.REFUSED)

    def _send(
        self,
        method: str,
        path: str,
        body: Form | dict[str, Any] | None,
        again: Again,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        return self._transport.ask(method, API + path, data, again=again, headers=headers).data


def part(value: Id) -> str:
    """A name or an id as a part of a path."""
    return quote(str(value), safe="")


def form(files: Iterable[tuple[str, File]] = (), **values: Value) -> Form:
    return Form(_pairs(values), files)


def _pairs(values: Mapping[str, Value]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, bool):
            pairs.append((name, "true" if value else "false"))
        elif isinstance(value, str | int | float | UUID):
            pairs.append((name, str(value)))
        elif value is not None:
            pairs += [(name, each) for each in value]
    return pairs


def _relative(path: str, query: Mapping[str, Value]) -> str:
    pairs = _pairs(query)
    return f"{path}?{urlencode(pairs)}" if pairs else path


def _address(path: str, query: Mapping[str, Value]) -> str:
    return API + _relative(path, query)


def _told(model: type[A], data: bytes) -> A:
    try:
        return model.model_validate_json(data)
    except ValueError:
        raise _foreign(data) from None


def _foreign(data: bytes) -> NotAnAnswer:
    words = data[:200].decode(errors="replace")
    return NotAnAnswer(f"this is no answer of a Face Pipeline that this client knows: {words!r}")
