"""What happened to one photo."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Blueprint, Response

from face_pipeline.actions import looks
from face_pipeline.store.models import Scope
from face_pipeline.store.trails import Step
from face_pipeline.web.api import parameters, views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import answers
from face_pipeline.web.contract import trails as contract
from face_pipeline.web.current import actor, parts

bp = Blueprint("trails", __name__)


@bp.get("/photos/<photo_id>/trail")
@requires(Scope.READ)
def trail(photo_id: str) -> Response:
    told = looks.trail(parts(), parameters.identifier(photo_id, "photo"), by=actor())
    photo = told.photo
    reason = None
    if photo.reason_code:
        reason = answers.Reason.model_construct(code=photo.reason_code, message=photo.reason_message or "")
    started = photo.started_at
    if started is not None and started < photo.received_at:
        # Of an earlier try.
        started = None
    return views.answer(
        contract.Trail.model_construct(
            photo_id=str(photo.id),
            collection=photo.collection.name,
            state=photo.state,
            reason=reason,
            request_id=photo.request_id,
            attempts=photo.attempts,
            worker=photo.worker,
            waited_seconds=_between(photo.received_at, started),
            processing_seconds=_between(started, photo.finished_at),
            total_seconds=_between(photo.received_at, photo.finished_at),
            face_count=told.faces,
            duplicates=max(0, told.uploads - 1),
            steps=[_step(each) for each in told.steps],
        )
    )


def _between(start: datetime | None, end: datetime | None) -> float | None:
    """Seconds; clocks of the database alone, which may be set back."""
    if start is None or end is None:
        return None
    return round(max(0.0, (end - start).total_seconds()), 3)


def _step(value: Step) -> contract.Step:
    more: dict[str, Any] = {
        name: given
        for name in ("request_id", "worker", "collection", "face_id", "person_id")
        if (given := getattr(value, name)) is not None
    }
    return contract.Step.model_construct(at=views.time(value.at) or "", what=value.what, **more)
