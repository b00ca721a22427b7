"""Recognition and verification of embeddings that a client has already (CompreFace 1.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from flask import Blueprint, Response, jsonify

from face_pipeline.actions import comparisons, searches, subjects
from face_pipeline.store.models import Scope, Service
from face_pipeline.web.compreface import asking, telling
from face_pipeline.web.compreface.calls import call, collection
from face_pipeline.web.compreface.errors import Number, Refused
from face_pipeline.web.compreface.recognition import told, wish
from face_pipeline.web.current import actor, parts

bp = Blueprint("embeddings", __name__)

Embedding = npt.NDArray[np.float32]

# Each is searched by a statement of its own.
EMBEDDINGS_MOST = 1000


@call(bp, "POST", "/recognition/embeddings/recognize", Service.RECOGNITION, Scope.READ)
def recognize() -> Response:
    wanted = wish(asking.prediction_count(asking.query()))
    given = _embeddings(asking.json_object(), "embeddings")
    subjects.open_collection(parts(), collection(), by=actor())
    return jsonify(
        {
            "result": [
                {
                    "embedding": numbers,
                    "similarities": [told(match) for match in _matches(embedding, wanted)],
                }
                for numbers, embedding in given
            ]
        }
    )


def _matches(embedding: Embedding, wanted: searches.Wish) -> list[Any]:
    answer = searches.search_embedding(parts(), embedding, names=[collection()], wish=wanted, by=actor())
    return answer.faces[0].matches


@call(bp, "POST", "/recognition/embeddings/faces/<image_id>/verify", Service.RECOGNITION, Scope.READ)
def verify_image(image_id: str) -> Response:
    face_id = asking.identifier(image_id)
    given = _embeddings(asking.json_object(), "embeddings")
    image = subjects.image(parts(), face_id, by=actor())
    example = comparisons.stored(parts(), face_id, by=actor()) if image else None
    return _compared(example.embedding if example else None, given)


@call(bp, "POST", "/verification/embeddings/verify", Service.VERIFICATION, Scope.READ)
def verify() -> Response:
    body = asking.json_object()
    ((_, source),) = _embeddings({"source": [body["source"]] if body.get("source") else None}, "source")
    return _compared(source, _embeddings(body, "targets"))


def _compared(one: Embedding | None, others: list[tuple[list[float], Embedding]]) -> Response:
    """Each of the others with its similarity, best first; without one there is no similarity."""
    comparisons.told(parts(), len(others), by=actor())
    result = [
        {
            "embedding": numbers,
            "similarity": 0.0 if one is None else telling.similarity(comparisons.cosine(one, embedding)),
        }
        for numbers, embedding in others
    ]
    result.sort(key=lambda each: float(str(each["similarity"])), reverse=True)
    return jsonify({"result": result})


def _embeddings(body: dict[str, Any], field: str) -> list[tuple[list[float], Embedding]]:
    """As they were sent, and as this service compares them: float32, shape (dimension,), L2 norm 1."""
    given = body.get(field)
    if not given:
        raise Refused(Number.FIELD_EMPTY, f"Field {field} cannot be empty")
    dimension = parts().pack.dimension
    if not isinstance(given, list) or not all(_is_embedding(each, dimension) for each in given):
        raise Refused(
            Number.VALIDATION,
            f"An embedding should have {dimension} numbers, as this server's calculator makes them; ",
        )
    if len(given) > EMBEDDINGS_MOST:
        raise Refused(Number.VALIDATION, f"One request takes {EMBEDDINGS_MOST} embeddings; ")
    rows = np.array(given, np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(norms) & (norms > 0)).all():
        raise Refused(Number.VALIDATION, "An embedding should have a length that is finite and not 0; ")
    return list(zip(given, np.asarray(rows / norms, np.float32), strict=True))


def _is_embedding(value: Any, dimension: int) -> bool:
    return (
        isinstance(value, list)
        and len(value) == dimension
        and all(type(each) in (int, float) and abs(each) < 1e100 for each in value)
    )
