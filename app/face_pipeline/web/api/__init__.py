"""The HTTP API, one module a resource (openapi.json holds the contract)."""

from __future__ import annotations

from flask import Blueprint

from face_pipeline.web.api import batches, events, faces, hooks, photos, renditions, search

bp = Blueprint("api", __name__)
for resource in (photos, batches, faces, renditions, search, events, hooks):
    bp.register_blueprint(resource.bp)
