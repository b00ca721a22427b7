"""The questions nginx asks before it lets a request through: to a monitor of the installation, or to the API.

The second one comes before the body, of which nginx takes nothing when the answer is no.
"""

from __future__ import annotations

from urllib.parse import unquote

from flask import Blueprint, Response, current_app, g, make_response, request
from werkzeug.exceptions import NotFound
from werkzeug.routing import RequestRedirect

from face_pipeline.errors import Forbidden, TooManyRequests, Unauthorized
from face_pipeline.store.models import Scope
from face_pipeline.web.auth import SAFE_METHODS, authorised, presented_key
from face_pipeline.web.observe import Answered, do_not_count

bp = Blueprint("gate", __name__)

METHOD_HEADER = "X-Gate-Method"
# Scheme, host and port that the request is for, as a browser writes the origin of a page.
ORIGIN_HEADER = "X-Gate-Origin"
PATH_HEADER = "X-Gate-Path"
# What the client is to be told; nginx' auth_request itself knows yes and no alone.
STATUS_HEADER = "X-Gate-Status"
ANSWER_HEADER = "X-Gate-Answer"


@bp.get("/gate")
def admin() -> Response:
    """204 for an admin's key or session that reaches everything, otherwise 401 or 403.

    A change that a session makes has to come from a page of this server.
    """
    try:
        # The pages behind it ask often; what a key may make a minute is for calls of the API.
        key = authorised(Scope.ADMIN, "GET", "gate.admin", taking=False)
    except TooManyRequests as error:
        # nginx knows two answers here.
        raise Unauthorized(error.message) from error
    if key.collections is not None:
        raise Forbidden("these pages show all collections, and this key reaches some")
    if presented_key() is None and request.headers.get(METHOD_HEADER, "GET") not in SAFE_METHODS:
        _check_origin()
    return Response(status=204)


def _check_origin() -> None:
    """Raises Forbidden unless the browser says that a page of this server sends the request.

    The pages behind the gate are others' and know nothing of our token. SameSite keeps the cookie from other
    sites, but not from other ports of this host. Source: OWASP, Cross-Site Request Forgery Prevention,
    "Fetch Metadata headers" and "Using Standard Headers to Verify Origin".
    """
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    own = request.headers.get(ORIGIN_HEADER)
    if (site or "same-origin") != "same-origin" or (origin or own) != own or not (site or origin):
        raise Forbidden("a change has to come from a page of this server", code="csrf_token")


@bp.get("/_gate")
def api() -> Response:
    """204 where there is such a call and the key may make it, otherwise 403 with the answer in headers."""
    method = request.headers.get(METHOD_HEADER, "GET")
    path = unquote(request.headers.get(PATH_HEADER, ""), errors="replace")
    endpoint = "none"
    try:
        endpoint, provided = _matched(path, method)
        view = current_app.view_functions[endpoint]
        scope, admit = getattr(view, "scope", None), getattr(view, "admit", None)
        if scope is not None and not provided:
            # The request itself comes next, and counts.
            authorised(scope, method, endpoint, taking=False)
        if admit is not None:
            # A call of CompreFace, with keys of its own.
            admit(method, endpoint, taking=False)
    except Exception as error:
        told = make_response(current_app.handle_user_exception(error))
        g.answered = Answered(method, path, endpoint, told.status_code)
        refusal = Response(status=403)
        refusal.headers[STATUS_HEADER] = str(told.status_code)
        refusal.headers[ANSWER_HEADER] = told.get_data(as_text=True).strip()
        for name in ("Allow", "Retry-After"):
            if name in told.headers:
                refusal.headers[name] = told.headers[name]
        return refusal
    do_not_count()
    return Response(status=204)


def _matched(path: str, method: str) -> tuple[str, bool]:
    """Endpoint of a call, and whether Flask itself answers it (OPTIONS); raises as routing does."""
    try:
        rule, _ = current_app.url_map.bind_to_environ(request.environ).match(
            path_info=path, method=method, return_rule=True
        )
    except RequestRedirect:
        # An address written another way than any of ours is (`//api/…`): none of its body is taken.
        raise NotFound from None
    provided = method == "OPTIONS" and bool(getattr(rule, "provide_automatic_options", False))
    return str(rule.endpoint), provided
