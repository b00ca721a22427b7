"""The HTTP API, one module a resource (openapi.json holds the contract)."""

from __future__ import annotations

from flask import Blueprint
from flask.blueprints import BlueprintSetupState
from werkzeug.routing import BaseConverter

from face_pipeline.web.api import (
    audit,
    batches,
    clusters,
    collections,
    embeddings,
    enrolment,
    erasure,
    faces,
    keys,
    persons,
    photos,
    renditions,
    search,
    upkeep,
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
    erasure,
    upkeep,
    clusters,
):
    bp.register_blueprint(resource.bp)
