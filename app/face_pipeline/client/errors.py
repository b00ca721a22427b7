"""What can go wrong for a client of the HTTP API."""

from __future__ import annotations

from typing import Any

from face_pipeline.errors import FacePipelineError


class ClientError(FacePipelineError):
    """Base of all errors of a client."""

    code = "client_error"


class Unreachable(ClientError):
    """No answer came: no connection, no trust in the certificate, or a time-out.

    passing: whether the same call may go through in a while.
    """

    code = "unreachable"

    def __init__(self, message: str, *, passing: bool = True) -> None:
        super().__init__(message)
        self.passing = passing


class Misconfigured(ClientError):
    """The address, the key or the certificates that were given are none."""

    code = "client_configuration"


class FileUnreadable(ClientError):
    """A file that is to be sent is not there, may not be read, or changed meanwhile."""

    code = "file_unreadable"


class Unfinished(ClientError):
    """What was waited for did not happen in time."""

    code = "unfinished"


class Refused(ClientError):
    """The service answered with an error: its HTTP status, code, message and details.

    request_id: under which the service's log tells more. retry_after: the seconds after which the same call
    may be made again; None: it makes no sense.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        details: dict[str, Any] | None = None,
        request_id: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message, code=code, details=details)
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        where = f", request {self.request_id}" if self.request_id else ""
        return f"{self.message} ({self.status} {self.code}{where})"
