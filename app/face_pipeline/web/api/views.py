"""How rows look as JSON: each as the model of the contract that it is answered with."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, overload

from flask import Response, jsonify

from face_pipeline.actions.searches import SearchedFace
from face_pipeline.actions.uploads import Rejected
from face_pipeline.engine import Certainty, Pack
from face_pipeline.engine.types import THUMBNAIL_RECIPE
from face_pipeline.store import models as rows
from face_pipeline.store import quotas
from face_pipeline.store.ledger import Accepted
from face_pipeline.store.persons import Remark
from face_pipeline.store.vectors import Match
from face_pipeline.web.contract import answers

# Of a threshold that was computed.
THRESHOLD_DECIMALS = 4


def answer(value: answers.Answer, status: int = 200) -> Response:
    """The response of every call that answers JSON. Optional fields that were not set are left out."""
    response = jsonify(value.model_dump(exclude_unset=True))
    response.status_code = status
    return response


@overload
def time(value: datetime) -> str: ...
@overload
def time(value: None) -> None: ...
@overload
def time(value: datetime | None) -> str | None: ...
def time(value: datetime | None) -> str | None:
    return value.isoformat(timespec="milliseconds") if value else None


def person(value: rows.Person | None) -> answers.Person | None:
    return answers.Person.model_construct(id=str(value.id), name=value.name) if value else None


def remark(value: Remark | None) -> answers.Reason | None:
    return answers.Reason.model_construct(code=value.code, message=value.message) if value else None


def accepted(value: Accepted) -> answers.Accepted:
    return answers.Accepted.model_construct(
        id=str(value.photo_id),
        filename=value.filename,
        sha256=value.sha256,
        state=value.state,
        duplicate=value.duplicate,
        person=person(value.person),
        remark=remark(value.remark),
    )


def amount(value: quotas.Amount) -> answers.Amount:
    return answers.Amount.model_construct(photos=value.photos, bytes=value.bytes)


def rejected(value: Rejected) -> answers.Rejected:
    return answers.Rejected.model_construct(filename=value.filename, code=value.code, message=value.message)


def photo(value: rows.Photo) -> answers.Photo:
    return answers.Photo.model_construct(**_photo(value), faces=[face(each) for each in value.faces])


def photo_item(value: rows.Photo, face_count: int) -> answers.PhotoItem:
    return answers.PhotoItem.model_construct(**_photo(value), face_count=face_count)


def _photo(value: rows.Photo) -> dict[str, Any]:
    """What a photo alone and a photo of a list have in common."""
    reason = None
    if value.reason_code:
        reason = answers.Reason.model_construct(code=value.reason_code, message=value.reason_message or "")
    return {
        "id": str(value.id),
        "collection": value.collection.name,
        "batch_id": str(value.batch_id),
        "filename": value.filename,
        "sha256": value.sha256,
        "state": value.state,
        "reason": reason,
        "attempts": value.attempts,
        "width": value.width,
        "height": value.height,
        "media_type": value.media_type,
        "byte_size": value.byte_size,
        "person": person(value.person),
        "received_at": time(value.received_at),
        "finished_at": time(value.finished_at),
        "thumbnail": thumbnail(value),
    }


def thumbnail(value: rows.Photo) -> str | None:
    """The address of its small picture, which a browser keeps for ever; another recipe has another one."""
    if value.state != rows.State.DONE:
        return None
    return f"/api/v1/photos/{value.id}/thumbnail?v={THUMBNAIL_RECIPE}"


def crop(face_id: uuid.UUID) -> str:
    return f"/api/v1/faces/{face_id}/crop?v={THUMBNAIL_RECIPE}"


def face(value: rows.Face) -> answers.Face:
    return answers.Face.model_construct(
        id=str(value.id),
        bbox=value.bbox,
        landmarks=value.landmarks,
        detection_score=value.detection_score,
        quality=value.quality,
        person=person(value.person),
    )


def thresholds(pack: Pack) -> answers.Thresholds:
    return answers.Thresholds.model_construct(
        sure=round(pack.sure_threshold, THRESHOLD_DECIMALS),
        likely=pack.match_threshold,
        sure_false_match_rate=pack.false_match_rates.get(Certainty.SURE),
        likely_false_match_rate=pack.false_match_rates.get(Certainty.LIKELY),
    )


def match(value: Match, pack: Pack) -> answers.Match:
    told = answers.Match.model_construct(
        person_id=str(value.person_id) if value.person_id else None,
        person_name=value.person_name,
        face_id=str(value.face_id),
        photo_id=str(value.photo_id) if value.photo_id else None,
        similarity=value.similarity,
        certainty=pack.certainty(value.similarity),
    )
    if value.face_count is not None:
        told.face_count = value.face_count
    if value.collection is not None:
        told.collection = value.collection
    return told


def searched_face(value: SearchedFace, pack: Pack) -> answers.SearchedFace:
    matches = [match(each, pack) for each in value.matches]
    if value.seen is None:
        return answers.SearchedFace.model_construct(matches=matches)
    return answers.SearchedFace.model_construct(
        bbox=value.seen.bbox,
        landmarks=value.seen.landmarks,
        detection_score=value.seen.detection_score,
        quality=value.seen.quality,
        matches=matches,
    )
