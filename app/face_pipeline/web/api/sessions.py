"""Sessions: who is signed in to the pages. A session's own calls are web/session.py."""

from __future__ import annotations

from flask import Blueprint, Response, g, request

from face_pipeline.actions import sessions as actions
from face_pipeline.store.models import BrowserSession, Scope
from face_pipeline.store.sessions import Place
from face_pipeline.web.api import cursors, parameters, views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import sessions as contract
from face_pipeline.web.current import actor, parts

bp = Blueprint("sessions", __name__)


@bp.get("/sessions")
@requires(Scope.ADMIN)
def list_sessions() -> Response:
    query = parameters.read(contract.SessionsQuery, request.args)
    key_id = parameters.identifier(query.key_id, "key") if query.key_id else None
    after = None
    if query.cursor is not None:
        after = Place(*cursors.read(query.cursor, cursors.time, cursors.identifier))
    page, following = actions.page(parts(), key_id, limit=query.limit, after=after, by=actor())
    return views.answer(
        contract.Sessions.model_construct(
            sessions=[_shown(each) for each in page],
            next_cursor=cursors.make(following.created_at, following.session_id) if following else None,
        )
    )


@bp.delete("/sessions/<session_id>")
@requires(Scope.ADMIN)
def end(session_id: str) -> Response:
    actions.end(parts(), parameters.identifier(session_id, "session"), by=actor())
    return Response(status=204)


@bp.delete("/keys/<key_id>/sessions")
@requires(Scope.ADMIN)
def end_of_key(key_id: str) -> Response:
    actions.end_of_key(parts(), parameters.identifier(key_id, "key"), by=actor())
    return Response(status=204)


def _shown(session: BrowserSession) -> contract.BrowserSession:
    current: BrowserSession | None = g.get("session")
    return contract.BrowserSession.model_construct(
        id=str(session.id),
        key_id=str(session.key_id),
        key_name=session.key.name,
        current=current is not None and current.id == session.id,
        created_at=views.time(session.created_at),
        last_used_at=views.time(session.last_used_at),
        expires_at=views.time(session.expires_at),
        address=session.address,
        user_agent=session.user_agent,
    )
