"""Search: who is on this photo?"""

from __future__ import annotations

import logging
import socket
import time
from typing import Any

from flask import Blueprint, Response, jsonify, request

from face_pipeline.actions import searches
from face_pipeline.store.collections import DEFAULT_COLLECTION
from face_pipeline.store.models import Scope
from face_pipeline.store.vectors import GroupBy, Match
from face_pipeline.telemetry.metrics import web as metrics
from face_pipeline.web.api import files, parameters
from face_pipeline.web.auth import requires
from face_pipeline.web.current import parts

log = logging.getLogger(__name__)

bp = Blueprint("search", __name__)


@bp.post("/search")
@requires(Scope.READ)
def search() -> Response:
    started = time.monotonic()
    wish = searches.Wish(
        limit=parameters.integer(request.form, "limit", 5, 1, 100),
        threshold=parameters.decimal(request.form, "threshold", parts().pack.match_threshold, -1.0, 1.0),
        min_quality=parameters.decimal(request.form, "min_quality", 0.0, 0.0, 1.0),
        group_by=parameters.choice(request.form, "group_by", GroupBy),
    )
    connection = request.environ.get("gunicorn.socket")
    answer = searches.search(
        parts(), files.read_one(request, "photo"),
        collection=request.form.get("collection", DEFAULT_COLLECTION),
        wish=wish,
        gone=lambda: _has_hung_up(connection),
    )  # fmt: skip
    elapsed = time.monotonic() - started
    status = "hit" if answer.cached else "miss"
    metrics.searches.labels(status).inc()
    metrics.search_duration.observe(elapsed)
    log.info(
        "search answered",
        extra={
            "operation": "search", "outcome": "shared" if answer.shared else status,
            "count": len(answer.faces), "duration_seconds": round(elapsed, 4), **answer.seconds,
        },
    )  # fmt: skip
    return jsonify(
        {
            "faces": [_face(face) for face in answer.faces],
            "cache": status,
            "duration_seconds": round(elapsed, 4),
            "threshold": wish.threshold,
            "collection": answer.collection,
        }
    )


def _has_hung_up(connection: socket.socket | None) -> bool:
    """Whether the client closed its connection; None: the server does not show it."""
    if connection is None:
        return False
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _face(face: searches.SearchedFace) -> dict[str, Any]:
    return {**vars(face), "matches": [_match(match) for match in face.matches]}


def _match(match: Match) -> dict[str, Any]:
    told = {
        "person_id": match.person_id,
        "person_name": match.person_name,
        "face_id": match.face_id,
        "photo_id": match.photo_id,
        "similarity": match.similarity,
    }
    return told if match.face_count is None else {**told, "face_count": match.face_count}
