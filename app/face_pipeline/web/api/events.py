"""Events: what happened, for programs that ask (web hooks are told)."""

from __future__ import annotations

from flask import Blueprint, Response, request

from face_pipeline.actions import events as actions
from face_pipeline.errors import BadRequest
from face_pipeline.store.events import Place, Told
from face_pipeline.store.models import Scope
from face_pipeline.web.api import cursors, parameters, views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import events as contract
from face_pipeline.web.current import actor, parts

bp = Blueprint("events", __name__)


@bp.get("/events")
@requires(Scope.READ)
def list_events() -> Response:
    query = parameters.read(contract.EventsQuery, request.args)
    if query.after is not None and query.last is not None:
        raise BadRequest("give after or last, and not both", code="parameter")
    found, following = actions.read(
        parts(),
        after=Place(*cursors.read(query.after, _natural, _natural)) if query.after is not None else None,
        kind=query.kind or None,
        collection=query.collection or None,
        limit=query.limit,
        last=query.last,
        by=actor(),
    )
    return views.answer(
        contract.Events.model_construct(
            events=[_event(each) for each in found],
            next_cursor=cursors.make(following.xid, following.number),
        )
    )


def _natural(value: object) -> int:
    number = cursors.number(value)
    if number < 0:
        raise ValueError
    return number


def _event(value: Told) -> contract.Event:
    told = actions.as_json(value)
    if told["person"] is not None:
        told["person"] = contract.EventPerson.model_construct(**told["person"])
    return contract.Event.model_construct(**told)
