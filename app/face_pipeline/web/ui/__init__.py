"""The pages: a frame, and in it one page for each row of pages.py. What they show comes from the API."""

from __future__ import annotations

import json
from functools import partial
from urllib.parse import quote, urlsplit

from flask import Blueprint, Response, g, make_response, redirect, render_template, request

from face_pipeline.engine.formats import MEDIA_TYPES
from face_pipeline.errors import DatabaseUnavailable, FacePipelineError, Unavailable
from face_pipeline.store.models import ApiKey, Scope
from face_pipeline.telemetry import context
from face_pipeline.web import auth
from face_pipeline.web.current import parts
from face_pipeline.web.ui import assets, doors, pages, texts

bp = Blueprint("ui", __name__, template_folder="templates")

# No inline script or style anywhere: an injected one cannot run. blob: is for photos not uploaded yet.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
# Systems that do not know HEIC go by the name.
ACCEPT = ",".join((*MEDIA_TYPES, ".heic", ".heif", ".avif"))
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# Search takes pictures; no other page may.
WITH_CAMERA = {"Permissions-Policy": "camera=(self), geolocation=(), microphone=()"}
# nginx says here what was asked for where somebody has to sign in first.
ASKED_HEADER = "X-Asked-URI"
NEXT_MAX = 2048

bp.add_app_template_global(assets.address, "asset")
bp.add_app_template_global(assets.exists, "asset_exists")
bp.add_app_template_global(assets.modules, "modules_of")
bp.add_app_template_global(texts.t, "t")
bp.add_app_template_global(texts.language, "language")


@bp.after_request
def protect(response: Response) -> Response:
    response.headers.update(SECURITY_HEADERS)
    if request.endpoint == f"{bp.name}.search":
        response.headers.update(WITH_CAMERA)
    return response


@bp.get("/static/<version>/<path:filename>", endpoint="static")
def static(version: str, filename: str) -> Response:
    return assets.send(version, filename)


@bp.get("/sign-in")
def sign_in() -> Response:
    asked = request.headers.get(ASKED_HEADER)
    if asked is not None:
        return _to_sign_in(asked)
    wanted = safe_next(request.args.get("next", ""))
    try:
        if auth.identify() is not None:
            return _redirect(wanted)
    except DatabaseUnavailable:
        return _unavailable()
    return _page("ui/sign_in.html", next=wanted)


def _show(page: pages.Page, id: object = None) -> Response:
    try:
        key = auth.identify()
    except DatabaseUnavailable:
        return _unavailable()
    if key is None:
        return _to_sign_in(request.full_path.removesuffix("?"))
    g.api_key = key
    if not page.may_be_seen(key.scopes):
        message = texts.t("frame.error.scope", scope=str(page.scope))
        return error(403, texts.t("frame.error.not_for_you"), message)
    return _page(f"ui/{page.name}.html", page=page, id=id, **_frame(key))


for _page_of in pages.PAGES:
    _view = partial(_show, _page_of)
    for _path in (_page_of.path, *_page_of.paths):
        bp.add_url_rule(_path, _page_of.name, _view)


def safe_next(wanted: str) -> str:
    """`wanted` if it is a path of this origin, however a browser reads it; otherwise the first page's."""
    plain = wanted.startswith("/") and not wanted.startswith("//") and len(wanted) <= NEXT_MAX
    # Browsers take \ for /, and leave out tabs and line ends.
    if not plain or "\\" in wanted or any(ord(each) <= 32 or ord(each) == 127 for each in wanted):
        return "/"
    try:
        parts_of_it = urlsplit(wanted)
    except ValueError:
        return "/"
    own = not parts_of_it.scheme and not parts_of_it.netloc and parts_of_it.path != "/sign-in"
    return wanted if own else "/"


def error(status: int, title: str, message: str) -> Response:
    """A page of our own about an error; within the frame for somebody who is signed in."""
    key = _known_key() if status < 500 else None
    frame = _frame(key) if key is not None else {}
    template = "ui/error.html" if key is not None else "ui/error_alone.html"
    values = {"title": title, "message": message, "request_id": context.request_id.get()}
    response = _page(template, page=None, id=None, **values, **frame)
    response.headers.update(SECURITY_HEADERS)
    response.status_code = status
    return response


def nowhere() -> str:
    """What a page says at an address that there is not."""
    return texts.t("frame.error.nowhere")


def _known_key() -> ApiKey | None:
    try:
        return auth.of_session()
    except FacePipelineError:
        return None


def _frame(key: ApiKey) -> dict[str, object]:
    """What the frame around every page shows for this key."""
    settings = parts().settings
    scopes = set(key.scopes)
    return {
        "key": key,
        "main_pages": list(pages.seen_by(scopes, "main")),
        # These pages show all collections.
        "admin_pages": list(pages.seen_by(scopes, "admin")),
        "doors": doors.installed(settings.doors, scopes) if key.collections is None else (),
        "can_read": bool(scopes & {Scope.READ, Scope.ADMIN}),
        "can_write": bool(scopes & {Scope.WRITE, Scope.ADMIN}),
        "scopes": " ".join(sorted(scopes)),
        "collections_of_key": json.dumps(sorted(key.collections)) if key.collections is not None else "",
        "accept": ACCEPT,
        "max_bytes": settings.upload_max_bytes,
        "max_pixels": settings.upload_max_pixels,
    }


def _page(template: str, **values: object) -> Response:
    response = make_response(render_template(template, **values))
    # It names the key and holds the session's CSRF token.
    response.headers["Cache-Control"] = "no-store"
    return response


def _to_sign_in(wanted: str) -> Response:
    wanted = safe_next(wanted)
    return _redirect("/sign-in" if wanted == "/" else f"/sign-in?next={quote(wanted, safe='/')}")


def _redirect(address: str) -> Response:
    response = make_response(redirect(address))
    response.headers["Cache-Control"] = "no-store"
    return response


def _unavailable() -> Response:
    response = _page("ui/unavailable.html")
    response.status_code = Unavailable.status
    response.headers["Retry-After"] = str(Unavailable.retry_after)
    return response
