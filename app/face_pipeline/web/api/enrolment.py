"""Enrolment: photos that show a person, while somebody waits for what became of them."""

from __future__ import annotations

from flask import Blueprint, Response, request

from face_pipeline.actions import enrolment
from face_pipeline.errors import BadRequest
from face_pipeline.store.judging import Rules
from face_pipeline.store.models import Scope
from face_pipeline.telemetry.metrics import web as metrics
from face_pipeline.web.api import callers, files, parameters, views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import answers
from face_pipeline.web.contract import enrolment as contract
from face_pipeline.web.current import actor, parts
from face_pipeline.words import counted

bp = Blueprint("enrolment", __name__)


@bp.post("/persons/<person_id>/photos")
@requires(Scope.ENROL)
def enrol(person_id: str) -> Response:
    wanted = parameters.identifier(person_id, "person")
    sent = files.files_of(request, "photos")
    if not sent:
        raise BadRequest("send one or more files in the form field 'photos'", code="photos_missing")
    if len(sent) > enrolment.PHOTOS_MOST:
        raise BadRequest(
            f"one request enrols {counted(enrolment.PHOTOS_MOST, 'photo')}, this one has {len(sent)}; send "
            "them in several",
            code="too_many_photos",
        )
    form = parameters.read(contract.EnrolmentForm, request.form)
    told = enrolment.enrol(
        parts(), wanted, ((files.filename_of(file), files.read(file)) for file in sent),
        Rules(parts().pack.match_threshold, form.min_quality, form.which, form.on_conflict),
        by=actor(),
        gone=callers.gone(),
    )  # fmt: skip
    metrics.files_uploaded.inc(sum(not each.duplicate for each in told.enrolled))
    return views.answer(
        contract.Enrolment.model_construct(
            person=answers.Person.model_construct(id=str(told.person.id), name=told.person.name),
            enrolled=[
                contract.Enrolled.model_construct(
                    photo_id=str(each.photo_id),
                    face_id=str(each.face_id),
                    filename=each.filename,
                    quality=each.quality,
                    duplicate=each.duplicate,
                )
                for each in told.enrolled
            ],
            refused=[contract.NotEnrolled.model_construct(**vars(each)) for each in told.refused],
        )
    )
