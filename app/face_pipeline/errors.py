"""Errors of our own: each has a code for programs, a message that says what to do, and an HTTP status."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class FacePipelineError(Exception):
    """Base of all expected errors.

    `code` is stable and machine-readable, `status` the HTTP status the API answers with, and
    `retry_after` the seconds after which trying again is worthwhile (None: it is not).
    """

    code = "internal_error"
    status = 500
    retry_after: int | None = None

    def __init__(self, message: str, *, code: str | None = None, details: dict[str, Any] | None = None):
        super().__init__(message)
        self.message = message
        self.details = details or {}
        if code is not None:
            self.code = code


class ConfigurationError(FacePipelineError):
    """The host's configuration is wrong; the process must not run. Exit status 78 (sysexits EX_CONFIG)."""

    code = "configuration_error"
    exit_status = 78


class BadRequest(FacePipelineError):
    code = "bad_request"
    status = 400


class Unauthorized(FacePipelineError):
    code = "unauthorized"
    status = 401


class Forbidden(FacePipelineError):
    code = "forbidden"
    status = 403


class NotFound(FacePipelineError):
    code = "not_found"
    status = 404


class Conflict(FacePipelineError):
    code = "conflict"
    status = 409


class PreconditionFailed(FacePipelineError):
    """The request was for another version than there is now."""

    code = "precondition_failed"
    status = 412


class Unprocessable(FacePipelineError):
    code = "unprocessable"
    status = 422


class TooManyRequests(FacePipelineError):
    """More than is let through; the same request goes through after `retry_after` seconds."""

    code = "too_many_requests"
    status = 429

    def __init__(self, message: str, *, retry_after: int):
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(FacePipelineError):
    """A part the answer needs is down; nothing was kept, the same request may be sent again."""

    code = "unavailable"
    status = 503
    retry_after = 5


class DatabaseUnavailable(Unavailable):
    code = "database_unavailable"


class DatabaseBusy(Unavailable):
    """Other requests held what this one needed for too long."""

    code = "database_busy"


class AuditUnavailable(Unavailable):
    """What was asked for cannot be told in the audit, so it was not done."""

    code = "audit_unavailable"


class QueueUnavailable(Unavailable):
    """Redis, or the way to it, is down."""

    code = "queue_unavailable"


class RedisRefused(QueueUnavailable):
    """Redis does not know this process's user, its user may not do that, or it cannot prove who it is."""


class DiskFull(FacePipelineError):
    """Nothing was kept; sending again helps once somebody made room."""

    code = "disk_full"
    status = 507


class StorageFull(DiskFull):
    """What is left of a disk is kept for the database, logs and mending."""

    code = "storage_full"


# What was asked for may go through in a while, without anybody changing it.
PASSING = (DatabaseUnavailable, DatabaseBusy, DiskFull)


@contextmanager
def disk_full() -> Iterator[None]:
    """Raise DiskFull where a disk of this server has no room for what is written in here."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFull(
            "a disk of this server is full; nothing was kept, send it again once there is room"
        ) from error


def root_cause(error: BaseException) -> str:
    """The first line of what lies at the bottom of `error`, in the words of the library that met it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).splitlines() or [""])[0]


def in_full(error: FacePipelineError) -> str:
    """What an operator reads: the message, and for a part that is away what its library said of it."""
    if isinstance(error, RedisRefused):
        return error.message
    if isinstance(error, (*PASSING, AuditUnavailable, QueueUnavailable)):
        return f"{error.message.partition(';')[0]}: {root_cause(error)}"
    return error.message
