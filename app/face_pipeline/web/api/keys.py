"""Keys: who may do what here."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Blueprint, Response, request

from face_pipeline.actions import keys as actions
from face_pipeline.errors import BadRequest
from face_pipeline.store import keys, quotas
from face_pipeline.store.models import ApiKey, Scope, Service
from face_pipeline.web.api import cursors, parameters, views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import keys as contract
from face_pipeline.web.current import actor, parts

bp = Blueprint("keys", __name__)


@bp.get("/keys")
@requires(Scope.ADMIN)
def list_keys() -> Response:
    query = parameters.read(contract.KeysQuery, request.args)
    actor().check_reaches_all()
    after = None
    if query.cursor is not None:
        after = keys.Place(*cursors.read(query.cursor, cursors.text, cursors.identifier))
    with parts().database.reading() as session:
        page, following = keys.page(session, query.state or None, limit=query.limit, after=after)
    return views.answer(
        contract.Keys.model_construct(
            keys=[contract.Key.model_construct(**_shown(key)) for key in page],
            next_cursor=cursors.make(following.name, following.key_id) if following else None,
        )
    )


@bp.post("/keys")
@requires(Scope.ADMIN)
def make() -> Response:
    body = parameters.body(contract.NewKeyBody)
    wish = actions.Wish(
        name=body.name,
        scopes=body.scopes,
        collections=body.collections,
        expires_at=_moment(body.expires_at),
        requests_per_minute=body.requests_per_minute,
        quota_photos=body.quota_photos,
        quota_bytes=body.quota_bytes,
        service=None if body.service is None else Service(body.service),
        text=body.api_key,
    )
    return _with_text(actions.make(parts(), wish, by=actor()), 201)


@bp.get("/keys/<key_id>")
@requires(Scope.ADMIN)
def show(key_id: str) -> Response:
    actor().check_reaches_all()
    with parts().database.reading() as session:
        key = keys.find(session, parameters.identifier(key_id, "key"))
        used = quotas.used(session, key_id=key.id)
    return views.answer(contract.KeyInFull.model_construct(**_shown(key), used=views.amount(used)))


@bp.patch("/keys/<key_id>")
@requires(Scope.ADMIN)
def change(key_id: str) -> Response:
    wanted = parameters.identifier(key_id, "key")
    body = parameters.body(contract.KeyChange)
    to = {name: getattr(body, name) for name in body.model_fields_set}
    for name in ("name", "scopes"):
        if name in to and to[name] is None:
            raise BadRequest(f"{name} cannot be taken away; leave it out, or give another", code="parameter")
    if "expires_at" in to:
        to["expires_at"] = _moment(to["expires_at"])
    key = actions.change(parts(), wanted, to, by=actor())
    return views.answer(contract.Key.model_construct(**_shown(key)))


@bp.delete("/keys/<key_id>")
@requires(Scope.ADMIN)
def revoke(key_id: str) -> Response:
    actions.revoke(parts(), parameters.identifier(key_id, "key"), by=actor())
    return Response(status=204)


@bp.post("/keys/<key_id>/rotate")
@requires(Scope.ADMIN)
def rotate(key_id: str) -> Response:
    wanted = parameters.identifier(key_id, "key")
    grace = timedelta(seconds=parameters.body(contract.Rotation).grace_seconds)
    return _with_text(actions.rotate(parts(), wanted, grace, by=actor()), 200)


def _moment(text: str | None) -> Any:
    return None if text is None else parameters.moment(text, "expires_at")


def _with_text(made: actions.Made, status: int) -> Response:
    return views.answer(contract.KeyWithText.model_construct(**_shown(made.key), api_key=made.text), status)


def _shown(key: ApiKey) -> dict[str, Any]:
    return {
        "id": str(key.id),
        "name": key.name,
        "state": keys.state(key),
        "scopes": list(key.scopes),
        "collections": key.collections,
        "requests_per_minute": key.requests_per_minute,
        "quota_photos": key.quota_photos,
        "quota_bytes": key.quota_bytes,
        "service": Service(key.service) if key.service else None,
        "created_at": views.time(key.created_at),
        "expires_at": views.time(key.expires_at),
        "last_used_at": views.time(key.last_used_at),
        "rotated_at": views.time(key.rotated_at),
        "previous_until": views.time(key.previous_until),
        "revoked_at": views.time(key.revoked_at),
    }
