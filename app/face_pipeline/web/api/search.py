"""Search: who is on this photo?"""

from __future__ import annotations

import logging
import socket
import time
from typing import Any

from flask import Blueprint, Response, jsonify, request
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from face_pipeline.broker import answers, exchange
from face_pipeline.broker.celery import publish_search
from face_pipeline.broker.messages import Failed, FoundFace, Question, Reply
from face_pipeline.engine import MemoryBusy, Pack, contract_id
from face_pipeline.errors import Conflict, NotFound, Unavailable, Unprocessable
from face_pipeline.store import collections, vectors
from face_pipeline.store.models import Collection, Reason, Scope
from face_pipeline.telemetry import context
from face_pipeline.telemetry.metrics import web as metrics
from face_pipeline.web.api import parameters, uploads
from face_pipeline.web.auth import requires
from face_pipeline.web.current import parts

log = logging.getLogger(__name__)

bp = Blueprint("search", __name__)


@bp.post("/search")
@requires(Scope.READ)
def search() -> Response:
    started = time.monotonic()
    pack = parts().pack
    limit = parameters.integer(request.form, "limit", 5, 1, 100)
    threshold = parameters.decimal(request.form, "threshold", pack.match_threshold, -1.0, 1.0)
    min_quality = parameters.decimal(request.form, "min_quality", 0.0, 0.0, 1.0)
    group_by = parameters.choice(request.form, "group_by", vectors.GroupBy)
    photo = uploads.read_one(request, "photo")
    name = request.form.get("collection", collections.DEFAULT_COLLECTION)
    collection = _collection(name, pack)
    connection = parts().scratch
    # Read before the search: a photo that is added meanwhile starts a version this answer is not kept under.
    key = answers.Question(
        collection.id, collection.version, collection.contract_id, photo.row.sha256,
        limit, threshold, min_quality, group_by,
    ).key  # fmt: skip
    faces = answers.get(connection, key)
    status = "hit" if faces is not None else "miss"
    outcome, seconds = status, {}
    if faces is None:
        asked = time.monotonic()
        found, shared = _analyse(photo, pack)
        answered = time.monotonic()
        faces = [_match(collection, face, limit, threshold, min_quality, group_by) for face in found]
        outcome = "shared" if shared else status
        seconds = {
            "wait_seconds": round(answered - asked, 4),
            "match_seconds": round(time.monotonic() - answered, 4),
        }
        answers.put(connection, key, faces, parts().settings.search_cache_seconds)
    else:
        answers.count_hit(connection)
    elapsed = time.monotonic() - started
    metrics.searches.labels(status).inc()
    metrics.search_duration.observe(elapsed)
    log.info(
        "search answered",
        extra={
            "operation": "search", "outcome": outcome, "count": len(faces),
            "duration_seconds": round(elapsed, 4), **seconds,
        },
    )  # fmt: skip
    return jsonify(
        {
            "faces": faces,
            "cache": status,
            "duration_seconds": round(elapsed, 4),
            "threshold": threshold,
            "collection": collection.name,
        }
    )


def _collection(name: str, pack: Pack) -> Collection:
    try:
        with parts().database.reading() as session:
            return collections.find_collection(session, name, pack)
    except NotFound:
        if name != collections.DEFAULT_COLLECTION:
            raise
    # There from the start, as far as anybody can tell.
    with parts().database.transaction() as session:
        return collections.open_collection(session, name, pack)


def _analyse(photo: uploads.Upload, pack: Pack) -> tuple[list[FoundFace], bool]:
    """The faces that a worker finds, and whether another request for the same photo had asked it already."""
    timeout = parts().settings.search_timeout_seconds
    celery, request_id = parts().celery, context.request_id.get()
    question = Question(contract_id(pack), photo.row.sha256)
    try:
        answer = exchange.ask(
            parts().scratch, question.id, photo.data,
            send=lambda task_id: publish_search(
                celery, question.id, task_id=task_id, request_id=request_id, expires_seconds=timeout
            ),
            timeout=timeout,
            gone=lambda: _has_hung_up(request.environ.get("gunicorn.socket")),
            # From here on the request's lines name its task, also where it is never answered.
            told=context.task_id.set,
        )  # fmt: skip
    except (OperationalError, RedisError, OSError) as error:
        raise Unavailable(
            "the task queue cannot be reached; send the search again", code="search_unavailable"
        ) from error
    if answer is None:
        raise Unavailable(
            f"no worker answered within {timeout:g} seconds; they are busy or stopped", code="search_timeout"
        )
    return _faces(answer.reply, question), answer.shared


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


def _faces(reply: Reply, question: Question) -> list[FoundFace]:
    """The faces of a worker's reply, or its error raised."""
    context.task_id.set(reply.task_id)
    if isinstance(reply, Failed):
        if reply.code == Reason.ENGINE_ERROR:
            raise Unavailable("the worker could not analyse the photo", code="search_failed")
        if reply.code == MemoryBusy.code:
            raise Unavailable(reply.message, code=MemoryBusy.code)
        raise Unprocessable(reply.message, code=reply.code)
    if reply.contract_id != question.contract_id:
        raise Conflict(
            f"a worker runs {reply.contract_id}, this server {question.contract_id}; "
            "run ./face-ansible site.yml so that both have the same model pack",
            code="contract_mismatch",
        )
    return reply.faces


def _match(
    collection: Collection,
    face: FoundFace,
    limit: int,
    threshold: float,
    min_quality: float,
    group_by: vectors.GroupBy,
) -> dict[str, Any]:
    matches: list[vectors.Match] = []
    search_faces = vectors.nearest_people if group_by == vectors.GroupBy.PERSON else vectors.nearest
    if face.quality >= min_quality:
        with parts().database.reading() as session:
            matches = search_faces(
                session, collection, face.embedding, limit=limit, threshold=threshold, min_quality=min_quality
            )
    log.debug(
        "a face of quality %.2f has %d matches, the best of %s, threshold %.2f",
        face.quality, len(matches), f"{matches[0].similarity:.3f}" if matches else "none", threshold,
        extra={"operation": "search"},
    )  # fmt: skip
    return {
        "bbox": face.bbox,
        "landmarks": face.landmarks,
        "detection_score": face.detection_score,
        "quality": face.quality,
        "matches": [
            {
                "person_id": str(match.person_id) if match.person_id else None,
                "person_name": match.person_name,
                "face_id": str(match.face_id),
                "photo_id": str(match.photo_id),
                "similarity": match.similarity,
                **({"face_count": match.face_count} if match.face_count is not None else {}),
            }
            for match in matches
        ],
    }
