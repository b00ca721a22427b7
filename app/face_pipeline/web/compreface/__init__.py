"""The calls of CompreFace 1.2, so that its clients and SDKs work unchanged: translation only.

Contract: docs/Rest-API-description.md, and the controllers and exceptions of exadel-inc/CompreFace; where
these differ from what its clients rely on, as docs/from-compreface.md says. No code of it is here.
"""

from __future__ import annotations

from flask import Blueprint

from face_pipeline.web.compreface import (
    detection,
    embeddings,
    errors,
    faces,
    others,
    recognition,
    subjects,
    verification,
)

bp = Blueprint("compreface", __name__)

errors.install(bp)
for resource in (subjects, faces, recognition, detection, verification, embeddings, others):
    bp.register_blueprint(resource.bp)
