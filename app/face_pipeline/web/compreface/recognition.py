"""Recognition: whom of the key's collection each face of a photo is like."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
import numpy.typing as npt
from flask import Blueprint, Response, jsonify

from face_pipeline.actions import analysis, comparisons, searches, subjects
from face_pipeline.actions.uploads import Upload
from face_pipeline.errors import NotFound
from face_pipeline.store.models import Scope, Service
from face_pipeline.store.vectors import GroupBy, Match
from face_pipeline.telemetry.metrics import web as metrics
from face_pipeline.web.api import callers
from face_pipeline.web.compreface import asking, telling
from face_pipeline.web.compreface.calls import call, collection
from face_pipeline.web.compreface.errors import NO_FACE, Number, Refused
from face_pipeline.web.current import actor, parts

log = logging.getLogger(__name__)

bp = Blueprint("recognition", __name__)

# The best examples always come, however unlike they are: clients have a threshold of their own.
ANY = -1.0


def wish(count: int) -> searches.Wish:
    """The `count` most similar examples of subjects."""
    return searches.Wish(limit=count, threshold=ANY, min_quality=0.0, group_by=GroupBy.FACE, named=True)


def told(match: Match) -> dict[str, Any]:
    return {"subject": match.person_name, "similarity": telling.similarity(match.similarity)}


@call(bp, "POST", "/recognition/recognize", Service.RECOGNITION, Scope.READ)
def recognize() -> Response:
    started = time.monotonic()
    given = asking.query()
    options, count = asking.options(given), asking.prediction_count(given)
    (photo,) = asking.images("file")
    answer = _search(photo, count)
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
    matches = {tuple(face.seen.bbox): face.matches for face in answer.faces if face.seen is not None}
    faces = telling.chosen([face.seen for face in answer.faces if face.seen is not None], options)
    if not faces:
        raise Refused(Number.NO_FACE, NO_FACE)
    embeddings = _embeddings(photo) if "calculator" in options.plugins else {}
    return jsonify(
        {
            "result": [
                {
                    **telling.face(face, options, embeddings.get(tuple(face.bbox)), elapsed),
                    "subjects": [told(match) for match in matches[tuple(face.bbox)]],
                }
                for face in faces
            ],
            **telling.versions(options),
        }
    )


def _search(photo: Upload, count: int) -> searches.Answer:
    def search() -> searches.Answer:
        return searches.search(
            parts(), photo, names=[collection()], wish=wish(count), gone=callers.gone(), by=actor()
        )

    try:
        return search()
    except NotFound:
        # Nothing was put in for this key yet.
        subjects.open_collection(parts(), collection(), by=actor())
        return search()


def _embeddings(photo: Upload) -> dict[tuple[float, ...], npt.NDArray[np.float32]]:
    """By the box of the face. A worker's answer of a moment ago is still there."""
    found, _ = analysis.analyse(parts(), photo, callers.gone())
    return {tuple(face.bbox): face.embedding for face in found}


@call(bp, "POST", "/recognition/faces/<image_id>/verify", Service.RECOGNITION, Scope.READ)
def verify(image_id: str) -> Response:
    started = time.monotonic()
    options = asking.options(asking.query())
    face_id = asking.identifier(image_id)
    (photo,) = asking.images("file")
    image = subjects.image(parts(), face_id, by=actor())
    example = comparisons.stored(parts(), face_id, by=actor()) if image else None
    (found,) = comparisons.of_photos(parts(), ("file", photo), gone=callers.gone(), by=actor())
    elapsed = time.monotonic() - started
    faces = telling.chosen(found, options)
    if not faces:
        raise Refused(Number.NO_FACE, NO_FACE)
    return jsonify(
        {
            "result": [
                {
                    **telling.face(face, options, face.embedding, elapsed),
                    # As CompreFace says that there is no such image.
                    "subject": image.subject if image and example else "",
                    "similarity": telling.similarity(comparisons.cosine(face.embedding, example.embedding))
                    if example
                    else 0.0,
                }
                for face in faces
            ],
            **telling.versions(options),
        }
    )
