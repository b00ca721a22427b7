"""The HTTP API, one module a resource (openapi.json holds the contract)."""

from __future__ import annotations

from flask import Blueprint

from face_pipeline.web.api import (
    audit,
    batches,
    collections,
    embeddings,
    enrolment,
    faces,
    keys,
    persons,
    photos,
    renditions,
    search,
    verification,
)

bp = Blueprint("api", __name__)
for resource in (
    photos,
    batches,
    faces,
    renditions,
    search,
    verification,
    embeddings,
    collections,
    persons,
    enrolment,
    keys,
    audit,
):
    bp.register_blueprint(resource.bp)
