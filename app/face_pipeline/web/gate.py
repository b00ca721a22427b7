"""The question that nginx asks before it lets a request through to a monitor of the installation."""

from __future__ import annotations

from flask import Blueprint, Response

from face_pipeline.web.auth import requires

bp = Blueprint("gate", __name__)


@bp.get("/gate")
@requires("admin")
def admin() -> Response:
    """204 for an admin's key or session, otherwise 401 or 403."""
    return Response(status=204)
