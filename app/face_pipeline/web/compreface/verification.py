"""Verification: how like the one face of a photo the faces of another are."""

from __future__ import annotations

import time

from flask import Blueprint, Response, jsonify

from face_pipeline.actions import comparisons
from face_pipeline.store.models import Scope, Service
from face_pipeline.web.api import callers
from face_pipeline.web.compreface import asking, telling
from face_pipeline.web.compreface.calls import call
from face_pipeline.web.compreface.errors import FACES_MANY, NO_FACE, Number, Refused
from face_pipeline.web.current import actor, parts

bp = Blueprint("verification", __name__)

SOURCE, TARGET = "source_image", "target_image"


@call(bp, "POST", "/verification/verify", Service.VERIFICATION, Scope.READ)
def verify() -> Response:
    started = time.monotonic()
    options = asking.options(asking.query())
    source, target = asking.images(SOURCE, TARGET)
    found = comparisons.of_photos(
        parts(), (SOURCE, source), (TARGET, target), gone=callers.gone(), by=actor()
    )
    elapsed = time.monotonic() - started
    one, others = (telling.chosen(faces, options) for faces in found)
    if not one or not others:
        raise Refused(Number.NO_FACE, NO_FACE)
    if len(one) > 1:
        raise Refused(Number.FACES_MANY, FACES_MANY)
    embedding = one[0].embedding
    return jsonify(
        {
            "result": [
                {
                    "source_image_face": telling.face(one[0], options, embedding, elapsed),
                    "face_matches": [
                        {
                            **telling.face(face, options, face.embedding, elapsed),
                            "similarity": telling.similarity(comparisons.cosine(embedding, face.embedding)),
                        }
                        for face in others
                    ],
                    **telling.versions(options),
                }
            ]
        }
    )
