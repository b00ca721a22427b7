"""Detection: the faces of a photo, of which nothing is kept."""

from __future__ import annotations

import sys
import time

from flask import Blueprint, Response, jsonify

from face_pipeline.actions import analysis
from face_pipeline.store.models import Scope, Service
from face_pipeline.web.api import callers
from face_pipeline.web.compreface import asking, telling
from face_pipeline.web.compreface.calls import call
from face_pipeline.web.compreface.errors import NO_FACE, Number, Refused
from face_pipeline.web.current import actor, parts

bp = Blueprint("detection", __name__)


@call(bp, "POST", "/detection/detect", Service.DETECTION, Scope.READ)
def detect() -> Response:
    started = time.monotonic()
    options = asking.options(asking.query())
    (photo,) = asking.images("file")
    found = analysis.detect(
        parts(), photo, limit=sys.maxsize, min_face_size=0, gone=callers.gone(), by=actor()
    )
    elapsed = time.monotonic() - started
    faces = telling.chosen(found, options)
    if not faces:
        raise Refused(Number.NO_FACE, NO_FACE)
    told = [telling.face(face, options, face.embedding, elapsed) for face in faces]
    return jsonify({"result": told, **telling.versions(options)})
