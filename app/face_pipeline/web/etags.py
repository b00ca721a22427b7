"""ETags: a client asks whether something changed, and changes it only while it is what it saw.

Source: RFC 9110, sections 8.8.3 (ETag), 13.1.1 (If-Match) and 13.1.2 (If-None-Match).
"""

from __future__ import annotations

from flask import Response, request
from werkzeug.http import quote_etag

from face_pipeline.errors import PreconditionFailed


def tag(response: Response, version: int | str) -> Response:
    """The response with its ETag; 304 without a body where the client has that version."""
    response.set_etag(str(version))
    response.headers["Cache-Control"] = "private, no-cache"
    return response.make_conditional(request)  # type: ignore[return-value]


def check_match(version: int | str) -> None:
    """Raises PreconditionFailed where the request names other versions (If-Match) than this one."""
    # nginx marks the tag of an answer that it compresses as weak; the version that it names is the same.
    if request.if_match and not request.if_match.contains_weak(str(version)):
        raise PreconditionFailed(
            "it was changed meanwhile; read it again, and send the change with its new ETag",
            details={"etag": quote_etag(str(version))},
        )
