"""The HTTP API, one module a resource (openapi.json holds the contract)."""

from __future__ import annotations

from flask import Blueprint

from face_pipeline.web.api import batches, clusters, faces, photos, renditions, search

bp = Blueprint("api", __name__)
for resource in (photos, batches, faces, clusters, renditions, search):
    bp.register_blueprint(resource.bp)
