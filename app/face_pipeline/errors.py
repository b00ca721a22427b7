"""Errors of our own: each has a code for programs, a message that says what to do, and an HTTP status."""

from __future__ import annotations

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


class Unprocessable(FacePipelineError):
    code = "unprocessable"
    status = 422


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


class DiskFull(FacePipelineError):
    """Nothing was kept; sending again helps once somebody made room."""

    code = "disk_full"
    status = 507
