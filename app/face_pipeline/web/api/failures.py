"""Photos that failed: by reason, as CSV, and out with them."""

from __future__ import annotations

import re

from flask import Blueprint, Response, request

from face_pipeline.actions import erasure, failures
from face_pipeline.errors import BadRequest
from face_pipeline.store.failures import Group
from face_pipeline.store.models import Photo, Scope
from face_pipeline.web.api import parameters, tables, views
from face_pipeline.web.api.erasure import kept, strictly
from face_pipeline.web.api.proofs import signed
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import failures as contract
from face_pipeline.web.current import actor, parts

bp = Blueprint("failures", __name__)

HEADER = (
    "photo_id", "collection", "filename", "reason", "message", "attempts", "media_type", "byte_size",
    "width", "height", "sha256", "received_at", "failed_at",
)  # fmt: skip


@bp.get("/failures")
@requires(Scope.READ)
def read() -> Response:
    query = parameters.read(contract.FailuresQuery, request.args)
    found = failures.by_reason(parts(), collection=query.collection or None, by=actor())
    return views.answer(
        contract.Failures.model_construct(
            total=sum(each.photos for each in found), failures=[_shown(each) for each in found]
        )
    )


def _shown(group: Group) -> contract.Failure:
    meaning = failures.meaning(group)
    return contract.Failure.model_construct(
        reason=group.reason,
        words=meaning.words,
        retry_helps=meaning.retry_helps,
        photos=group.photos,
        first_at=views.time(group.first),
        last_at=views.time(group.last),
        example_photo_id=str(group.example),
    )


@bp.get("/failures.csv")
@requires(Scope.READ)
def table() -> Response:
    query = parameters.read(contract.FailureRowsQuery, request.args)
    asked = failures.wanted(
        parts(),
        collection=query.collection or None,
        reason=_reason(query.reason) if query.reason else None,
        by=actor(),
    )
    return tables.answer("failures.csv", HEADER, map(_row, failures.rows(parts(), asked, by=actor())))


def _row(photo: Photo) -> tuple[tables.Cell, ...]:
    return (
        str(photo.id), photo.collection.name, photo.filename, photo.reason_code, photo.reason_message,
        photo.attempts, photo.media_type, photo.byte_size, photo.width, photo.height, photo.sha256,
        views.time(photo.received_at), views.time(photo.finished_at),
    )  # fmt: skip


@bp.delete("/failures/<reason>")
@requires(Scope.ERASE)
def erase(reason: str) -> Response:
    wanted = _reason(reason)
    query = strictly(contract.EraseFailuresQuery)
    receipt = erasure.failures(
        parts(), wanted, collection=query.collection or None, dry_run=query.dry_run == "true", by=actor()
    )
    return signed(
        contract.ErasedFailures.model_construct(
            dry_run=receipt.dry_run,
            reason=wanted,
            collections=receipt.collections,
            photos=receipt.photos,
            faces=receipt.faces,
            originals=receipt.originals,
            kept=[kept(each) for each in receipt.kept],
            proof=None,
        ),
        receipt.receipt,
        "photo",
        [],
    )


def _reason(text: str) -> str:
    if not re.fullmatch(contract.REASON, text):
        raise BadRequest("a reason is a code as GET /failures tells it, as engine_error", code="parameter")
    return text
