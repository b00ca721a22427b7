"""Collections: make, list, describe, and how long they keep what."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from face_pipeline.actions import collections as actions
from face_pipeline.actions import retention
from face_pipeline.errors import BadRequest, NotFound
from face_pipeline.store import collections
from face_pipeline.store.models import Collection, Scope
from face_pipeline.web.api import cursors, parameters, views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import answers
from face_pipeline.web.contract import collections as contract
from face_pipeline.web.current import actor, parts

bp = Blueprint("collections", __name__)


@bp.post("/collections")
@requires(Scope.WRITE)
def create() -> Response:
    wanted = parameters.body(contract.NewCollection)
    return views.answer(_details(actions.create(parts(), wanted.name, by=actor())), 201)


@bp.get("/collections")
@requires(Scope.READ)
def list_collections() -> Response:
    query = parameters.read(contract.CollectionsQuery, request.args)
    after = cursors.read(query.cursor, cursors.text)[0] if query.cursor is not None else None
    with parts().database.reading() as session:
        page, following = collections.page(session, actor().collections, limit=query.limit, after=after)
    return views.answer(
        contract.Collections.model_construct(
            collections=[
                contract.CollectionItem.model_construct(**_item(each, person_count))
                for each, person_count in page
            ],
            next_cursor=cursors.make(following) if following is not None else None,
        )
    )


@bp.get("/collections/<collection>")
@requires(Scope.READ)
def show(collection: str) -> Response:
    if not collections.NAME_PATTERN.fullmatch(collection):
        raise NotFound(f"there is no collection {collection!r}", code="collection_not_found")
    return views.answer(_details(actions.describe(parts(), collection, by=actor())))


@bp.get("/collections/<collection>/retention")
@requires(Scope.READ)
def show_retention(collection: str) -> Response:
    return _retention(retention.describe(parts(), collection, by=actor()))


@bp.patch("/collections/<collection>/retention")
@requires(Scope.ADMIN)
def change_retention(collection: str) -> Response:
    wanted = parameters.body(contract.RetentionChange)
    to = {name: getattr(wanted, name) for name in wanted.model_fields_set - {"dry_run"}}
    if not to:
        raise BadRequest("say originals_days or unknown_faces_days: days, or null to keep", code="parameter")
    return _retention(retention.change(parts(), collection, to, dry_run=wanted.dry_run, by=actor()))


@bp.patch("/collections/<collection>/quota")
@requires(Scope.ADMIN)
def change_quota(collection: str) -> Response:
    wanted = parameters.body(contract.QuotaChange)
    to = {name: getattr(wanted, name) for name in wanted.model_fields_set}
    if not to:
        raise BadRequest("say photos or bytes: how many at most, or null for any number", code="parameter")
    changed, used = actions.change_quota(parts(), collection, to, by=actor())
    return views.answer(
        contract.Quota.model_construct(
            collection=changed.name, quota=_quota(changed), used=views.amount(used)
        )
    )


def _quota(value: Collection) -> contract.Bounds:
    return contract.Bounds.model_construct(photos=value.quota_photos, bytes=value.quota_bytes)


def _retention(value: retention.Ruled) -> Response:
    return views.answer(
        contract.Retention.model_construct(
            collection=value.collection,
            originals_days=value.rules.originals_days,
            unknown_faces_days=value.rules.unknown_faces_days,
            due=contract.RetentionDue.model_construct(originals=value.due.originals, faces=value.due.faces),
        )
    )


def _details(value: actions.Described) -> contract.Collection:
    return contract.Collection.model_construct(
        **_item(value.collection, value.has.persons),
        photos=answers.States(**value.has.photos),
        unknown_face_count=value.has.unknown_faces,
        quota=_quota(value.collection),
        used=views.amount(value.used),
    )


def _item(value: Collection, person_count: int) -> dict[str, Any]:
    return {
        "name": value.name,
        "contract_id": value.contract_id,
        "dimension": value.dimension,
        "face_count": value.face_count,
        "person_count": person_count,
        "created_at": views.time(value.created_at),
    }
