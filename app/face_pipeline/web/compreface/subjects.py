"""Subjects: the persons of the key's collection."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from face_pipeline.actions import subjects as actions
from face_pipeline.errors import NotFound
from face_pipeline.store.models import Scope, Service
from face_pipeline.web.compreface import asking
from face_pipeline.web.compreface.calls import call, collection
from face_pipeline.web.compreface.errors import Number, Refused
from face_pipeline.web.current import actor, parts

bp = Blueprint("subjects", __name__)

NAME_MAX = 50
SUBJECTS = "/recognition/subjects"


@call(bp, "GET", SUBJECTS, Service.RECOGNITION, Scope.READ)
def list_subjects() -> Response:
    return jsonify({"subjects": list(actions.names(parts(), collection(), by=actor()))})


@call(bp, "POST", SUBJECTS, Service.RECOGNITION, Scope.ENROL)
def create() -> tuple[Response, int]:
    name = _name()
    actions.create(parts(), collection(), name, by=actor())
    return jsonify({"subject": name}), 201


@call(bp, "PUT", SUBJECTS + "/<path:subject>", Service.RECOGNITION, Scope.ENROL)
def rename(subject: str) -> Response:
    name = _name()
    try:
        updated = actions.rename(parts(), collection(), subject, name, by=actor())
    except NotFound as error:
        raise _no_subject(subject) from error
    return jsonify({"updated": updated})


@call(bp, "DELETE", SUBJECTS + "/<path:subject>", Service.RECOGNITION, Scope.ERASE)
def erase(subject: str) -> Response:
    person = actions.find(parts(), collection(), subject, by=actor())
    if person is None or not actions.erase(parts(), person.id, by=actor()).subjects:
        raise _no_subject(subject)
    return jsonify({"subject": subject})


@call(bp, "DELETE", SUBJECTS, Service.RECOGNITION, Scope.ERASE)
def erase_all() -> Response:
    return jsonify({"deleted": actions.erase_all(parts(), collection(), by=actor()).subjects})


def _name() -> str:
    """The name in the body; what else is there is ignored."""
    name = asking.json_object().get("subject")
    if not isinstance(name, str) or not name.strip():
        raise Refused(Number.VALIDATION, "Subject name cannot be empty")
    if len(name) > NAME_MAX:
        raise Refused(Number.VALIDATION, f"Subject name size must be between 1 and {NAME_MAX}")
    if set(name) & set(";/\\"):
        raise Refused(
            Number.NAME_REFUSED, "The name cannot contain the following special characters: ';', '/', '\\'"
        )
    return name


def _no_subject(name: str) -> Refused:
    return Refused(Number.NO_SUBJECT, f"Subject {name} not found", 404)
