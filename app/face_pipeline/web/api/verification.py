"""Verification: are these two faces one person's?"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from flask import Blueprint, Response, request

from face_pipeline.actions import verification
from face_pipeline.actions.verification import FaceSide, FirstSide, PersonSide, PhotoSide, Seen, Side
from face_pipeline.errors import BadRequest, FacePipelineError
from face_pipeline.store.embeddings import StoredFace
from face_pipeline.store.models import Scope
from face_pipeline.web.api import callers, files, parameters, views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract.verification import (
    Verification,
    VerifiedFace,
    VerifiedPerson,
    VerifyBody,
    VerifyForm,
)
from face_pipeline.web.current import actor, parts

log = logging.getLogger(__name__)

bp = Blueprint("verification", __name__)

PHOTOS = ("photo", "other")


@bp.post("/verify")
@requires(Scope.READ)
def verify() -> Response:
    started = time.monotonic()
    asked = parameters.body(VerifyBody) if request.is_json else parameters.read(VerifyForm, request.form)
    one, other = _sides(asked)
    verdict = verification.verify(
        parts(), one, other,
        threshold=parts().pack.match_threshold if asked.threshold is None else asked.threshold,
        only=isinstance(asked, VerifyForm) and asked.which == "only",
        gone=callers.gone(),
        by=actor(),
    )  # fmt: skip
    elapsed = round(time.monotonic() - started, 4)
    log.info(
        "verified",
        extra={
            "operation": "verify", "outcome": "same" if verdict.same else "different",
            "duration_seconds": elapsed,
        },
    )  # fmt: skip
    told = Verification.model_construct(
        same=verdict.same,
        similarity=verdict.similarity,
        threshold=verdict.threshold,
        face=_face(verdict.face),
        duration_seconds=elapsed,
    )
    if isinstance(verdict.other, verification.Known):
        told.person = _person(verdict.other)
    else:
        told.other = _face(verdict.other)
    return views.answer(told)


def _sides(asked: VerifyForm | VerifyBody) -> tuple[FirstSide, Side]:
    """What is compared with what; BadRequest unless it is one thing with one other."""
    texts = {name: getattr(asked, name) for name in ("face_id", "other_face_id", "person_id")}
    given = {name for name, text in texts.items() if text}
    given |= {name for name in PHOTOS if files.files_of(request, name)}
    first, second = given & {"photo", "face_id"}, given & {"other", "other_face_id", "person_id"}
    if len(first) != 1 or len(second) != 1:
        raise BadRequest(
            "send one of photo (a file) and face_id, and to compare it with one of other (a file), "
            "other_face_id and person_id",
            code="verify_sides",
        )
    one, other = _side(first.pop(), texts), _side(second.pop(), texts)
    assert not isinstance(one, PersonSide)
    return one, other


def _side(name: str, texts: Mapping[str, str]) -> Side:
    if name == "person_id":
        return PersonSide(parameters.identifier(texts[name], "person"))
    if name not in PHOTOS:
        return FaceSide(parameters.identifier(texts[name], "face"))
    try:
        return PhotoSide(files.read_one(request, name), name)
    except FacePipelineError as error:
        # Which of the two it is about.
        error.details = {**error.details, "photo": name}
        raise


def _face(value: Seen | StoredFace) -> VerifiedFace:
    if isinstance(value, Seen):
        face = value.face
        return VerifiedFace.model_construct(
            bbox=face.bbox,
            landmarks=face.landmarks,
            detection_score=face.detection_score,
            quality=face.quality,
            faces=value.faces,
        )
    row = value.row
    if row.photo_id is None:
        return VerifiedFace.model_construct(face_id=str(row.id), photo_id=None)
    return VerifiedFace.model_construct(
        face_id=str(row.id),
        photo_id=str(row.photo_id),
        bbox=row.bbox,
        landmarks=row.landmarks,
        detection_score=row.detection_score,
        quality=row.quality,
    )


def _person(value: verification.Known) -> VerifiedPerson:
    best = value.likeness.matches[0]
    return VerifiedPerson.model_construct(
        id=str(value.person.id),
        name=value.person.name,
        face_count=value.likeness.face_count,
        face_id=str(best.face_id),
        photo_id=str(best.photo_id) if best.photo_id else None,
        best=best.similarity,
        mean_of_best=value.mean_of_best,
        decides="best",
    )
