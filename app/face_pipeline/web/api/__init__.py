"""The HTTP API, one module a resource (openapi.json holds the contract)."""

from __future__ import annotations

from flask import Blueprint

from face_pipeline.web.api import batches, erasure, faces, photos, renditions, search, upkeep

bp = Blueprint("api", __name__)
for resource in (photos, batches, faces, renditions, search, erasure, upkeep):
    bp.register_blueprint(resource.bp)
