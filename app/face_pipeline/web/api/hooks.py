"""Web hooks: make them, change them, try them, and see what became of their deliveries."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, request

from face_pipeline.actions import hooks as actions
from face_pipeline.store import hooks
from face_pipeline.store import models as rows
from face_pipeline.store.models import Scope
from face_pipeline.web import etags
from face_pipeline.web.api import cursors, parameters, views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import hooks as contract
from face_pipeline.web.current import actor, parts

bp = Blueprint("hooks", __name__)


@bp.get("/hooks")
@requires(Scope.ADMIN)
def list_hooks() -> Response:
    query = parameters.read(contract.HooksQuery, request.args)
    after = _read_cursor(query.cursor)
    with parts().database.reading() as session:
        page, last = hooks.listing(session, actor(), limit=query.limit, after=after)
    return views.answer(
        contract.Hooks.model_construct(
            hooks=[contract.Hook.model_construct(**_hook(each)) for each in page],
            next_cursor=cursors.make(last.created_at, last.id) if last else None,
        )
    )


@bp.post("/hooks")
@requires(Scope.ADMIN)
def make() -> Response:
    wanted = parameters.body(contract.NewHook)
    hook, secret = actions.create(
        parts(),
        url=wanted.url,
        kinds=list(wanted.kinds),
        wanted=wanted.collections,
        enabled=wanted.enabled,
        by=actor(),
    )
    return views.answer(_with_secret(hook, secret), 201)


@bp.get("/hooks/<hook_id>")
@requires(Scope.ADMIN)
def show(hook_id: str) -> Response:
    wanted = parameters.identifier(hook_id, "hook")
    with parts().database.reading() as session:
        hook = hooks.find(session, wanted, actor())
    return etags.tag(views.answer(contract.Hook.model_construct(**_hook(hook))), hook.version)


@bp.patch("/hooks/<hook_id>")
@requires(Scope.ADMIN)
def change(hook_id: str) -> Response:
    wanted = parameters.identifier(hook_id, "hook")
    given = parameters.body(contract.HookChange)
    fields = given.model_fields_set - {"rotate_secret"}
    hook, secret = actions.change(
        parts(),
        wanted,
        {name: getattr(given, name) for name in fields},
        rotate=given.rotate_secret,
        check=etags.check_match,
        by=actor(),
    )
    response = views.answer(_with_secret(hook, secret))
    response.set_etag(str(hook.version))
    return response


@bp.delete("/hooks/<hook_id>")
@requires(Scope.ADMIN)
def remove(hook_id: str) -> Response:
    actions.remove(parts(), parameters.identifier(hook_id, "hook"), by=actor())
    return Response(status=204)


@bp.get("/hooks/<hook_id>/deliveries")
@requires(Scope.ADMIN)
def list_deliveries(hook_id: str) -> Response:
    wanted = parameters.identifier(hook_id, "hook")
    query = parameters.read(contract.HooksQuery, request.args)
    before = _read_cursor(query.cursor)
    with parts().database.reading() as session:
        hooks.find(session, wanted, actor())
        page, last = hooks.deliveries(session, wanted, limit=query.limit, before=before)
    return views.answer(
        contract.HookDeliveries.model_construct(
            deliveries=[_delivery(each) for each in page],
            next_cursor=cursors.make(last.created_at, last.id) if last else None,
        )
    )


@bp.post("/hooks/<hook_id>/test")
@requires(Scope.ADMIN)
def test(hook_id: str) -> Response:
    row = actions.test(parts(), parameters.identifier(hook_id, "hook"), by=actor())
    return views.answer(_delivery(row), 202)


def _read_cursor(cursor: str | None) -> tuple[datetime, UUID] | None:
    if cursor is None:
        return None
    at, row_id = cursors.read(cursor, cursors.time, cursors.identifier)
    return at, row_id


def _with_secret(hook: rows.Hook, secret: str | None) -> contract.HookWithSecret:
    told = contract.HookWithSecret.model_construct(**_hook(hook))
    if secret is not None:
        told.secret = secret
    return told


def _hook(value: rows.Hook) -> dict[str, Any]:
    return {
        "id": str(value.id),
        "url": value.url,
        "kinds": value.kinds,
        "collections": value.collections,
        "enabled": value.enabled,
        "disabled_reason": value.disabled_reason,
        "created_at": views.time(value.created_at),
        "updated_at": views.time(value.updated_at),
    }


def _delivery(value: rows.HookDelivery) -> contract.HookDelivery:
    return contract.HookDelivery.model_construct(
        id=str(value.id),
        event_id=str(value.event_id),
        kind=value.kind,
        state=value.state,
        attempts=value.attempts,
        created_at=views.time(value.created_at) or "",
        last_tried_at=views.time(value.last_tried_at),
        next_try_at=views.time(value.next_try_at),
        last_status=value.last_status,
        last_answer=value.last_answer,
        last_error=value.last_error,
    )
