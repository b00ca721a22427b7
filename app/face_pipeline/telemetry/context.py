"""Ids that follow one request from nginx through Flask into its tasks and every log line."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar

REQUEST_ID_HEADER = "X-Request-ID"
# The same pattern stands in the nginx configuration: what it lets through is what we accept.
REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9._-]{8,64}")

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
task_id: ContextVar[str | None] = ContextVar("task_id", default=None)


def accept_request_id(candidate: str | None) -> str:
    """The caller's id when it is well-formed, a new one otherwise."""
    if candidate and REQUEST_ID_PATTERN.fullmatch(candidate):
        return candidate
    return uuid.uuid4().hex
