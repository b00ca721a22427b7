"""The page: sign in, upload, look at photos, search. Everything it shows comes from the API."""

from __future__ import annotations

from flask import Blueprint, Response, g, make_response, render_template

from face_pipeline.engine.formats import MEDIA_TYPES
from face_pipeline.errors import DatabaseUnavailable, Unavailable
from face_pipeline.store.models import Scope
from face_pipeline.web.auth import identify
from face_pipeline.web.current import parts

bp = Blueprint("ui", __name__, template_folder="templates", static_folder="static", static_url_path="/static")

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


@bp.after_request
def protect(response: Response) -> Response:
    response.headers.update(SECURITY_HEADERS)
    return response


@bp.get("/")
def home() -> Response:
    try:
        g.api_key = identify()
    except DatabaseUnavailable:
        return _unavailable()
    if g.api_key is None:
        return _page("ui/sign_in.html")
    scopes = set(g.api_key.scopes)
    settings = parts().settings
    return _page(
        "ui/app.html",
        can_read=bool(scopes & {Scope.READ, Scope.ADMIN}),
        can_write=bool(scopes & {Scope.WRITE, Scope.ADMIN}),
        accept=ACCEPT,
        max_bytes=settings.upload_max_bytes,
        max_pixels=settings.upload_max_pixels,
    )


def _page(template: str, **values: object) -> Response:
    response = make_response(render_template(template, **values))
    # It names the key and holds the session's CSRF token.
    response.headers["Cache-Control"] = "no-store"
    return response


def _unavailable() -> Response:
    response = _page("ui/unavailable.html")
    response.status_code = Unavailable.status
    response.headers["Retry-After"] = str(Unavailable.retry_after)
    return response
