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
    events,
    faces,
    failures,
    hooks,
    jobs,
    keys,
    overview,
    persons,
    photos,
    pictures,
    proofs,
    renditions,
    search,
    sessions,
    several,
    system,
    trails,
    transfer,
    upkeep,
    verification,
)

bp = Blueprint("api", __name__)


class PhotoId(BaseConverter):
    """The id of a photo in an address, whatever it is, but for what is a call of its own there."""

    regex = "(?!(?:retry|move|delete)$)[^/]+"


@bp.record
def _converters(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["photo"] = PhotoId


for resource in (
    photos,
    pictures,
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
    sessions,
    audit,
    erasure,
    proofs,
    upkeep,
    several,
    trails,
    clusters,
    events,
    hooks,
    transfer,
    overview,
    failures,
    jobs,
    system,
):
    bp.register_blueprint(resource.bp)
