"""Search: who is on this photo?"""

from __future__ import annotations

import logging
import socket
import time
from typing import Literal

from flask import Blueprint, Response, request

from face_pipeline.actions import searches
from face_pipeline.store.models import Scope
from face_pipeline.telemetry.metrics import web as metrics
from face_pipeline.web.api import files, parameters, views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import answers
from face_pipeline.web.contract.requests import SearchForm
from face_pipeline.web.current import actor, parts

log = logging.getLogger(__name__)

bp = Blueprint("search", __name__)


@bp.post("/search")
@requires(Scope.READ)
def search() -> Response:
    started = time.monotonic()
    form = parameters.read(SearchForm, request.form)
    wish = searches.Wish(
        limit=form.limit,
        threshold=parts().pack.match_threshold if form.threshold is None else form.threshold,
        min_quality=form.min_quality,
        group_by=form.group_by,
    )
    connection = request.environ.get("gunicorn.socket")
    answer = searches.search(
        parts(), files.read_one(request, "photo"),
        collection=form.collection,
        wish=wish,
        gone=lambda: _has_hung_up(connection),
        by=actor(),
    )  # fmt: skip
    elapsed = time.monotonic() - started
    status: Literal["hit", "miss"] = "hit" if answer.cached else "miss"
    metrics.searches.labels(status).inc()
    metrics.search_duration.observe(elapsed)
    log.info(
        "search answered",
        extra={
            "operation": "search", "outcome": "shared" if answer.shared else status,
            "count": len(answer.faces), "duration_seconds": round(elapsed, 4), **answer.seconds,
        },
    )  # fmt: skip
    return views.answer(
        answers.SearchAnswer.model_construct(
            faces=[views.searched_face(face) for face in answer.faces],
            cache=status,
            duration_seconds=round(elapsed, 4),
            threshold=wish.threshold,
            collection=answer.collection,
        )
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
