"""Images of subjects: put in, listed, shown, taken out."""

from __future__ import annotations

import math
import uuid
from typing import Any

from flask import Blueprint, Response, current_app, jsonify

from face_pipeline.actions import subjects as actions
from face_pipeline.errors import Unprocessable
from face_pipeline.store.models import Scope, Service
from face_pipeline.store.subjects import Image
from face_pipeline.telemetry.metrics import web as metrics
from face_pipeline.web.api import callers, photos
from face_pipeline.web.compreface import asking
from face_pipeline.web.compreface.calls import call, collection
from face_pipeline.web.compreface.errors import BY_CODE, MESSAGES, Number, Refused
from face_pipeline.web.current import actor, parts

bp = Blueprint("faces", __name__)

FACES = "/recognition/faces"
PAGE_SIZE, PAGE_SIZE_MOST = 20, 2000
PAGE_MOST = 10_000_000
# Of one request, each erased by itself.
DELETED_MOST = 1000


@call(bp, "POST", FACES, Service.RECOGNITION, Scope.ENROL)
def add() -> tuple[Response, int]:
    given = asking.query()
    name = asking.subject(given)
    if name is None:
        raise Refused(Number.PARAMETER_MISSING, "Required parameter subject is missing")
    min_score = asking.min_score(given)
    (photo,) = asking.images("file")
    try:
        face_id = actions.add_image(
            parts(), collection(), name, photo, min_score=min_score, by=actor(), gone=callers.gone()
        )
    except Unprocessable as error:
        for refused in error.details.get("refused", ()):
            # The one photo of the request.
            number = BY_CODE.get(refused["code"], Number.OTHER)
            raise Refused(number, MESSAGES.get(number, refused["message"])) from error
        raise
    metrics.files_uploaded.inc()
    return jsonify(_told(face_id, name)), 201


@call(bp, "GET", FACES, Service.RECOGNITION, Scope.READ)
def list_images() -> Response:
    given = asking.query()
    page, size = asking.whole(given, "page", 0), asking.whole(given, "size", PAGE_SIZE)
    if not 0 <= page <= PAGE_MOST or size < 1:
        raise Refused(Number.VALIDATION, f"page should be from 0 to {PAGE_MOST}, size from 1; ")
    size = min(size, PAGE_SIZE_MOST)
    found, total = actions.images(
        parts(), collection(), given.get("subject") or None, page=page, size=size, by=actor()
    )
    return jsonify(
        {
            "faces": [_told(*each) for each in found],
            "page_number": page,
            "page_size": size,
            "total_pages": math.ceil(total / size),
            "total_elements": total,
        }
    )


@call(bp, "DELETE", FACES, Service.RECOGNITION, Scope.ERASE)
def erase_of_subject() -> Response:
    name = asking.subject(asking.query())
    if name is None:
        return jsonify({"deleted": actions.erase_all(parts(), collection(), by=actor()).images})
    person = actions.find(parts(), collection(), name, by=actor())
    gone = actions.erase(parts(), person.id, by=actor()).images if person else 0
    return jsonify({"deleted": gone})


@call(bp, "DELETE", FACES + "/<image_id>", Service.RECOGNITION, Scope.ERASE)
def erase(image_id: str) -> Response:
    face_id = asking.identifier(image_id)
    found = actions.erase_image(parts(), face_id, by=actor())
    if found is None:
        raise Refused(Number.NO_IMAGE, f"Image {face_id} not found", 404)
    return jsonify(_image(found))


@call(bp, "POST", FACES + "/delete", Service.RECOGNITION, Scope.ERASE)
def erase_several() -> Response:
    given = asking.json_body()
    if not isinstance(given, list) or not all(isinstance(each, str) for each in given):
        raise Refused(Number.OTHER, "The body should be an array of ids of images")
    if len(given) > DELETED_MOST:
        raise Refused(Number.OTHER, f"One request deletes {DELETED_MOST} images; send several")
    wanted = dict.fromkeys(asking.identifier(each) for each in given)
    gone = [actions.erase_image(parts(), face_id, by=actor()) for face_id in wanted]
    return jsonify([_image(each) for each in gone if each is not None])


@call(bp, "GET", FACES + "/<image_id>/img", Service.RECOGNITION, Scope.READ)
def show(image_id: str) -> Response:
    return _picture(image_id)


@call(bp, "GET", "/static/<key>/images/<image_id>", Service.RECOGNITION, Scope.READ)
def show_by_address(key: str, image_id: str) -> Response:
    """For pages, whose <img> sends no header."""
    del key
    return _picture(image_id)


def _picture(image_id: str) -> Response:
    photo = actions.picture(parts(), asking.identifier(image_id), by=actor())
    if photo is None:
        # As CompreFace says that there is none.
        return current_app.response_class(b"", mimetype="application/octet-stream")
    return photos.original(photo)


def _image(value: Image) -> dict[str, Any]:
    return _told(value.face_id, value.subject)


def _told(face_id: uuid.UUID, name: str) -> dict[str, Any]:
    return {"image_id": str(face_id), "subject": name}
