"""Ids that follow one request from nginx through Flask into its tasks and every log line."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable, Mapping
from contextvars import ContextVar

REQUEST_ID_HEADER = "X-Request-ID"
# The same pattern stands in the nginx configuration: what it lets through is what we accept.
REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9._-]{8,64}")

# Ids by thread: the only way to know whose a line is that a C library printed (telemetry/streams.py).
_held: dict[int, dict[str, str]] = {}


def _nothing() -> None:
    return


class Id:
    """An id of the work that this thread does. Set to None when that work has ended."""

    # Called before any id changes.
    before_change: Callable[[], None] = staticmethod(_nothing)

    def __init__(self, name: str):
        self.name = name
        self.variable: ContextVar[str | None] = ContextVar(name, default=None)

    def get(self) -> str | None:
        return self.variable.get()

    def set(self, value: str | None) -> None:
        change({self: value})


def change(values: Mapping[Id, str | None]) -> None:
    """Give several ids their values, at the price of one."""
    Id.before_change()
    thread = threading.get_ident()
    held = dict(_held.get(thread, {}))
    for each, value in values.items():
        each.variable.set(value)
        if value is None:
            held.pop(each.name, None)
        else:
            held[each.name] = value
    if held:
        _held[thread] = held
    else:
        _held.pop(thread, None)


request_id = Id("request_id")
task_id = Id("task_id")


def of_the_only_work() -> dict[str, str]:
    """The ids of the work that is done, where it is one; none where there is more."""
    held = list(_held.values())
    return held[0] if len(held) == 1 else {}


def accept_request_id(candidate: str | None) -> str:
    """The caller's id when it is well-formed, a new one otherwise."""
    if candidate and REQUEST_ID_PATTERN.fullmatch(candidate):
        return candidate
    return uuid.uuid4().hex
