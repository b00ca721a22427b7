"""The Flask application. It holds no model: workers do."""

from __future__ import annotations

from pathlib import Path

from flask import Flask, Response, send_file

from face_pipeline.config import get_settings
from face_pipeline.parts import Parts
from face_pipeline.web import (
    api,
    auth,
    bringing,
    compreface,
    docs,
    errors,
    forms,
    gate,
    health,
    limits,
    observe,
    session,
    ui,
)
from face_pipeline.web.bodies import PhotoRequest
from face_pipeline.web.current import EXTENSION


def create_app(parts: Parts | None = None) -> Flask:
    """Make the application of one web process, of `parts` or from this process's settings."""
    parts = parts or Parts(get_settings(), goes_on=True)
    settings = parts.settings
    app = Flask(__name__, static_folder=None)
    app.request_class = PhotoRequest
    app.extensions[EXTENSION] = parts
    # Nothing is erased that no receipt can tell of.
    _ = parts.signer
    # Nothing is taken that would have fewer copies than the operator wants.
    _ = parts.copies
    # Nothing is taken that could not be kept, for want of a credential.
    _ = parts.originals
    app.config.update(
        SECRET_KEY=settings.credential("session_secret"),
        SECRET_KEY_FALLBACKS=list(settings.credentials("session_secret")[1:]),
        MAX_CONTENT_LENGTH=settings.request_max_bytes,
        MAX_FORM_PARTS=settings.upload_max_photos + forms.OTHER_PARTS,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]
    observe.install(app)
    errors.install(app)
    auth.install(app)
    limits.install(app)
    observe.exporter.install(app, health.installation)
    app.register_blueprint(health.bp)
    app.register_blueprint(session.bp)
    app.register_blueprint(gate.bp)
    app.register_blueprint(api.bp, url_prefix="/api/v1")
    app.register_blueprint(compreface.bp, url_prefix="/api/v1")
    app.register_blueprint(ui.bp)
    app.register_blueprint(docs.bp)
    app.add_url_rule("/openapi.json", "openapi", _openapi)
    bringing.begin(parts)
    return app


def _openapi() -> Response:
    return send_file(Path(__file__).with_name("openapi.json"), mimetype="application/json")
