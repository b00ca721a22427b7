"""Search: who is on this photo?"""

from __future__ import annotations

import base64
import json
import logging
import socket
import time
from typing import Any, Literal

import numpy as np
from flask import Blueprint, Response, request
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from face_pipeline.config import get_settings
from face_pipeline.engine import MemoryBusy, Pack, contract_id
from face_pipeline.errors import Conflict, NotFound, Unavailable, Unprocessable
from face_pipeline.store import collections, vectors
from face_pipeline.store.database import reading, transaction
from face_pipeline.store.models import Collection
from face_pipeline.telemetry import context
from face_pipeline.telemetry.metrics import web as metrics
from face_pipeline.web import cache, packs
from face_pipeline.web.api import parameters, uploads, views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import answers
from face_pipeline.web.contract.requests import SearchForm
from face_pipeline.worker import exchange
from face_pipeline.worker.app import QUEUE_SEARCH, TASK_SEARCH, celery_app

log = logging.getLogger(__name__)

bp = Blueprint("search", __name__)


@bp.post("/search")
@requires("read")
def search() -> Response:
    started = time.monotonic()
    settings = get_settings()
    pack = packs.installed()
    form = parameters.read(SearchForm, request.form)
    threshold = pack.match_threshold if form.threshold is None else form.threshold
    photo = uploads.read_one(request, "photo")
    collection = _collection(form.collection, pack)
    connection = exchange.client()
    # Read before the search: a photo that is added meanwhile starts a version this answer is not kept under.
    key = cache.key(
        collection, photo.row.sha256,
        limit=form.limit, threshold=threshold, min_quality=form.min_quality, group_by=form.group_by,
    )  # fmt: skip
    kept = cache.get(connection, key)
    status: Literal["hit", "miss"] = "hit" if kept is not None else "miss"
    outcome, parts = str(status), {}
    if kept is None:
        asked = time.monotonic()
        found, shared = _analyse(photo, pack)
        answered = time.monotonic()
        faces = [_match(collection, face, threshold, form) for face in found]
        outcome = "shared" if shared else status
        parts = {
            "wait_seconds": round(answered - asked, 4),
            "match_seconds": round(time.monotonic() - answered, 4),
        }
        cache.put(connection, key, views.kept(faces), settings.search_cache_seconds)
    else:
        faces = views.found_again(kept)
        cache.count_hit(connection)
    elapsed = time.monotonic() - started
    metrics.searches.labels(status).inc()
    metrics.search_duration.observe(elapsed)
    log.info(
        "search answered",
        extra={
            "operation": "search", "outcome": outcome, "count": len(faces),
            "duration_seconds": round(elapsed, 4), **parts,
        },
    )  # fmt: skip
    return views.answer(
        answers.SearchAnswer.model_construct(
            faces=faces,
            cache=status,
            duration_seconds=round(elapsed, 4),
            threshold=threshold,
            collection=collection.name,
        )
    )


def _collection(name: str, pack: Pack) -> Collection:
    try:
        with reading() as session:
            return collections.find_collection(session, name, pack)
    except NotFound:
        if name != collections.DEFAULT_COLLECTION:
            raise
    # There from the start, as far as anybody can tell.
    with transaction() as session:
        return collections.open_collection(session, name, pack)


def _analyse(photo: uploads.Upload, pack: Pack) -> tuple[list[dict[str, Any]], bool]:
    """The faces that a worker finds, and whether another request for the same photo had asked it already."""
    timeout = get_settings().search_timeout_seconds
    search_id = exchange.search_id(contract_id(pack), photo.row.sha256)
    try:
        answer = exchange.ask(
            exchange.client(), search_id, photo.data,
            send=lambda task_id: _send(task_id, search_id, timeout),
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
    return _faces(json.loads(answer.reply), contract_id(pack)), answer.shared


def _send(task_id: str, search_id: str, timeout: float) -> None:
    celery_app().send_task(
        TASK_SEARCH,
        args=[search_id],
        task_id=task_id,
        queue=QUEUE_SEARCH,
        expires=timeout,
        headers={"request_id": context.request_id.get()},
        retry=False,
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


def _faces(reply: dict[str, Any], contract: str) -> list[dict[str, Any]]:
    """The faces of a worker's reply, or its error raised."""
    context.task_id.set(reply.get("task_id"))
    if "error" in reply:
        if reply["error"]["code"] == "engine_error":
            raise Unavailable("the worker could not analyse the photo", code="search_failed")
        if reply["error"]["code"] == MemoryBusy.code:
            raise Unavailable(reply["error"]["message"], code=MemoryBusy.code)
        raise Unprocessable(reply["error"]["message"], code=reply["error"]["code"])
    if reply["contract_id"] != contract:
        raise Conflict(
            f"a worker runs {reply['contract_id']}, this server {contract}; "
            "run ./face-ansible site.yml so that both have the same model pack",
            code="contract_mismatch",
        )
    faces: list[dict[str, Any]] = reply["faces"]
    return faces


def _match(
    collection: Collection, face: dict[str, Any], threshold: float, form: SearchForm
) -> answers.SearchedFace:
    embedding = np.frombuffer(base64.b64decode(face["embedding"]), dtype="<f4")
    matches: list[vectors.Match] = []
    search_faces = vectors.nearest_people if form.group_by == "person" else vectors.nearest
    if face["quality"] >= form.min_quality:
        with reading() as session:
            matches = search_faces(
                session, collection, embedding,
                limit=form.limit, threshold=threshold, min_quality=form.min_quality,
            )  # fmt: skip
    log.debug(
        "a face of quality %.2f has %d matches, the best of %s, threshold %.2f",
        face["quality"], len(matches), f"{matches[0].similarity:.3f}" if matches else "none", threshold,
        extra={"operation": "search"},
    )  # fmt: skip
    return views.searched_face(face, matches)
