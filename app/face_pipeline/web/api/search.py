"""Search: who is on this photo, or whose is this face? And detection, which looks for faces alone."""

from __future__ import annotations

import logging
import time
from typing import Literal

from flask import Blueprint, Response, request

from face_pipeline.actions import analysis, embeddings, searches
from face_pipeline.errors import BadRequest
from face_pipeline.store.models import Scope
from face_pipeline.store.vectors import GroupBy
from face_pipeline.telemetry.metrics import web as metrics
from face_pipeline.web.api import callers, files, parameters, views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import answers
from face_pipeline.web.contract.search import DetectedFace, DetectForm, Detection, SearchBody, SearchForm
from face_pipeline.web.current import actor, parts

log = logging.getLogger(__name__)

bp = Blueprint("search", __name__)


@bp.post("/search")
@requires(Scope.READ)
def search() -> Response:
    started = time.monotonic()
    if request.is_json:
        wish, answer = _by_face(parameters.body(SearchBody))
    else:
        wish, answer = _by_photo()
    elapsed = time.monotonic() - started
    status = _status(answer.cached)
    if status != "none":
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
            faces=[views.searched_face(face, parts().pack) for face in answer.faces],
            cache=status,
            duration_seconds=round(elapsed, 4),
            threshold=wish.threshold,
            collection=answer.collections[0],
            collections=answer.collections,
            thresholds=views.thresholds(parts().pack),
            searched=answers.Searched.model_construct(collections=answer.collections, faces=answer.looked_at),
        )
    )


def _by_photo() -> tuple[searches.Wish, searches.Answer]:
    given = {**request.form.to_dict(), "collection": request.form.getlist("collection")}
    form = parameters.read(SearchForm, {name: value for name, value in given.items() if value != []})
    wish = searches.Wish(
        limit=form.limit,
        threshold=_threshold(form.threshold),
        min_quality=form.min_quality,
        group_by=form.group_by,
        min_face_size=form.min_face_size,
        named=form.named == "true",
    )
    photo = files.read_one(request, "photo")
    return wish, searches.search(
        parts(), photo, names=form.collection, wish=wish, gone=callers.gone(), by=actor()
    )


def _by_face(body: SearchBody) -> tuple[searches.Wish, searches.Answer]:
    wish = searches.Wish(
        limit=body.limit,
        threshold=_threshold(body.threshold),
        min_quality=body.min_quality,
        group_by=GroupBy(body.group_by),
        named=body.named,
    )
    names = body.collection or []
    if (body.face_id is None) == (body.embedding is None):
        raise BadRequest("send a face_id, or an embedding with its contract_id", code="parameter")
    if body.face_id is not None:
        face_id = parameters.identifier(body.face_id, "face")
        return wish, searches.search_face(parts(), face_id, names=names, wish=wish, by=actor())
    if body.contract_id is None:
        raise BadRequest("contract_id is missing: how the embedding was made", code="parameter")
    (embedding,) = embeddings.check(parts().pack, body.contract_id, [body.embedding or []])
    return wish, searches.search_embedding(parts(), embedding, names=names, wish=wish, by=actor())


def _threshold(given: float | None) -> float:
    return parts().pack.match_threshold if given is None else given


def _status(cached: bool | None) -> Literal["hit", "miss", "none"]:
    if cached is None:
        return "none"
    return "hit" if cached else "miss"


@bp.post("/detect")
@requires(Scope.READ)
def detect() -> Response:
    started = time.monotonic()
    form = parameters.read(DetectForm, request.form)
    photo = files.read_one(request, "photo")
    faces = analysis.detect(
        parts(), photo, limit=form.limit, min_face_size=form.min_face_size, gone=callers.gone(), by=actor()
    )
    elapsed = round(time.monotonic() - started, 4)
    log.info(
        "faces detected",
        extra={"operation": "detect", "count": len(faces), "duration_seconds": elapsed},
    )
    return views.answer(
        Detection.model_construct(
            faces=[
                DetectedFace.model_construct(
                    bbox=face.bbox,
                    landmarks=face.landmarks,
                    detection_score=face.detection_score,
                    quality=face.quality,
                )
                for face in faces
            ],
            width=photo.row.width,
            height=photo.row.height,
            duration_seconds=elapsed,
        )
    )
