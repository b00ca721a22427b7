"""Many photos or faces at once: read and shown."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

from flask import Blueprint, Response

from face_pipeline.actions import erasure, faces, photos
from face_pipeline.errors import BadRequest
from face_pipeline.store.models import Scope
from face_pipeline.store.several import Refused
from face_pipeline.web.api import erasure as receipts
from face_pipeline.web.api import parameters, views
from face_pipeline.web.api.proofs import signed
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import several as contract
from face_pipeline.web.current import actor, parts

bp = Blueprint("several", __name__)


@bp.post("/photos/delete")
@requires(Scope.ERASE)
def erase_photos() -> Response:
    wish = parameters.body(contract.ErasePhotos)
    asked, number = ids(wish.photo_ids), uuid.uuid4()
    done, refused = erasure.photos(parts(), asked, dry_run=wish.dry_run, by=actor(), receipt=number)
    rows = [each.rows for each in done]
    not_there = {each.id for each in refused}
    return signed(
        contract.PhotosReceipt.model_construct(
            dry_run=wish.dry_run,
            collections=[each.collection for each in rows],
            photos=sum(each.photos for each in rows),
            faces=sum(each.faces for each in rows),
            originals=sum(each.originals for each in done),
            answers=sum(each.answers for each in done),
            tasks=sum(each.tasks for each in rows),
            under_way=sum(each.under_way for each in rows),
            kept=[receipts.kept(each) for receipt in done for each in receipt.kept],
            refused=not_done(refused),
            proof=None,
        ),
        number,
        "photo",
        [each for each in asked if each not in not_there],
    )


@bp.post("/photos/move")
@requires(Scope.WRITE)
def move_photos() -> Response:
    wish = parameters.body(contract.MovePhotos)
    moved = photos.move_several(parts(), ids(wish.photo_ids), wish.collection, by=actor())
    return views.answer(
        contract.PhotosMoved.model_construct(
            moved=moved.moved, unnamed=moved.unnamed, refused=not_done(moved.refused)
        )
    )


@bp.post("/faces/assign")
@requires(Scope.ENROL)
def give_faces() -> Response:
    wish = parameters.body(contract.GiveFaces)
    who = wish.model_fields_set - {"face_ids"}
    if len(who) != 1 or (who == {"person"} and wish.person is None):
        raise BadRequest(
            "send face_ids, and either person_id (an id, or null to take the faces off) or person (a name)",
            code="parameter",
        )
    to = wish.person if wish.person is not None else (uuid.UUID(wish.person_id) if wish.person_id else None)
    given = faces.give_several(parts(), ids(wish.face_ids), to, by=actor())
    return views.answer(
        contract.FacesGiven.model_construct(
            person=views.person(given.person), face_count=given.faces, refused=not_done(given.refused)
        )
    )


def ids(texts: Sequence[str]) -> list[uuid.UUID]:
    """Each once, in their order."""
    return list(dict.fromkeys(uuid.UUID(each) for each in texts))


def not_done(refused: Iterable[Refused]) -> list[contract.NotDone]:
    return [
        contract.NotDone.model_construct(id=str(each.id), code=each.code, message=each.message)
        for each in refused
    ]
