"""The audit: who did what."""

from __future__ import annotations

import json

from flask import Blueprint, Response, request

from face_pipeline.actions import audit as actions
from face_pipeline.store import collections
from face_pipeline.store.audit import Wanted
from face_pipeline.store.models import ActorKind, AuditEntry, Outcome, Scope
from face_pipeline.web.api import cursors, parameters, tables, views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import audit as contract
from face_pipeline.web.current import actor, parts

bp = Blueprint("audit", __name__)

HEADER = tuple(contract.Entry.model_fields)


@bp.get("/audit")
@requires(Scope.ADMIN)
def read() -> Response:
    query = parameters.read(contract.AuditQuery, request.args)
    wanted = _wanted(query)
    after = cursors.read(query.cursor, cursors.number)[0] if query.cursor is not None else None
    page, following = actions.page(parts(), wanted, limit=query.limit, after=after, by=actor())
    return views.answer(
        contract.Audit.model_construct(
            entries=[_shown(entry) for entry in page],
            next_cursor=cursors.make(following) if following is not None else None,
        )
    )


@bp.get("/audit.csv")
@requires(Scope.ADMIN)
def table() -> Response:
    wanted = _wanted(parameters.read(contract.AuditRowsQuery, request.args))
    return tables.answer("audit.csv", HEADER, map(_row, actions.rows(parts(), wanted, by=actor())))


def _wanted(query: contract.AuditRowsQuery) -> Wanted:
    return Wanted(
        action=query.action or None,
        actor=query.actor or None,
        subject=query.subject or None,
        collection=collections.check_name(query.collection) if query.collection else None,
        outcome=query.outcome or None,
        since=parameters.moment(query.since, "since") if query.since is not None else None,
        until=parameters.moment(query.until, "until") if query.until is not None else None,
    )


def _row(entry: AuditEntry) -> tuple[tables.Cell, ...]:
    told = _shown(entry).model_dump()
    told["details"] = json.dumps(entry.details, ensure_ascii=False)
    return tuple(told[name] for name in HEADER)


def _shown(entry: AuditEntry) -> contract.Entry:
    return contract.Entry.model_construct(
        id=entry.id,
        at=entry.at.isoformat(timespec="milliseconds"),
        actor_kind=ActorKind(entry.actor_kind),
        actor_id=str(entry.actor_id) if entry.actor_id else None,
        actor_name=entry.actor_name,
        address=entry.address,
        request_id=entry.request_id,
        action=entry.action,
        collection=entry.collection,
        subject=entry.subject,
        outcome=Outcome(entry.outcome),
        details=entry.details,
    )
