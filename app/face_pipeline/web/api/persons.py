"""Persons: make, list, describe, change, merge; their faces and photos."""

from __future__ import annotations

import uuid
from typing import Any

from flask import Blueprint, Response, request

from face_pipeline.actions import persons as actions
from face_pipeline.errors import BadRequest
from face_pipeline.store import certainty, collections, directory, photos
from face_pipeline.store.models import Face, Scope
from face_pipeline.web import etags
from face_pipeline.web.api import cursors, parameters, views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import answers
from face_pipeline.web.contract import persons as contract
from face_pipeline.web.current import actor, parts

bp = Blueprint("persons", __name__)


@bp.post("/persons")
@requires(Scope.ENROL)
def create() -> Response:
    wanted = parameters.body(contract.NewPerson)
    made = actions.create(
        parts(), collection=wanted.collection, name=wanted.name, external_id=wanted.external_id,
        details=wanted.metadata, by=actor(),
    )  # fmt: skip
    return _answer(made, 201)


@bp.get("/persons")
@requires(Scope.READ)
def list_persons() -> Response:
    query = parameters.read(contract.PersonsQuery, request.args)
    wanted = directory.Wanted(
        collections.check_name(query.collection) if query.collection else None,
        query.name or None,
        query.external_id or None,
    )
    after = _place(query.sort, query.cursor) if query.cursor is not None else None
    page, following = actions.listing(
        parts(), wanted, limit=query.limit, after=after, by=actor(), sort=query.sort
    )
    return views.answer(
        contract.Persons.model_construct(
            persons=[details(each) for each in page],
            next_cursor=_written(following) if following else None,
        )
    )


def _place(sort: directory.Sort, cursor: str) -> directory.AnyPlace:
    if sort == directory.Sort.NAME:
        return directory.Place(*cursors.read(cursor, cursors.number, cursors.text, cursors.identifier))
    if sort == directory.Sort.FACES:
        return directory.CountedPlace(*cursors.read(cursor, cursors.number, cursors.identifier))
    return directory.TimedPlace(*_read_cursor(cursor))


def _written(place: directory.AnyPlace) -> str:
    if isinstance(place, directory.Place):
        return cursors.make(place.collection_id, place.name, place.person_id)
    if isinstance(place, directory.CountedPlace):
        return cursors.make(place.face_count, place.person_id)
    return cursors.make(place.created_at, place.person_id)


@bp.get("/persons/<person_id>")
@requires(Scope.READ)
def show(person_id: str) -> Response:
    return _answer(actions.describe(parts(), _id(person_id), by=actor()))


@bp.patch("/persons/<person_id>")
@requires(Scope.ENROL)
def change(person_id: str) -> Response:
    body = parameters.body(contract.PersonChange)
    if not body.model_fields_set:
        raise BadRequest("say what to change: name, external_id, metadata, cover_face_id", code="parameter")
    wanted = directory.Change()
    if "name" in body.model_fields_set:
        wanted["name"] = body.name
    if "external_id" in body.model_fields_set:
        wanted["external_id"] = body.external_id
    if "metadata" in body.model_fields_set:
        wanted["details"] = body.metadata
    if "cover_face_id" in body.model_fields_set:
        face = body.cover_face_id
        wanted["cover_face_id"] = None if face is None else parameters.identifier(face, "face")
    return _answer(actions.change(parts(), _id(person_id), wanted, matches=etags.check_match, by=actor()))


@bp.get("/persons/<person_id>/faces")
@requires(Scope.READ)
def list_faces(person_id: str) -> Response:
    query = parameters.read(contract.FacesOfPersonQuery, request.args)
    if query.sort == contract.FacesSort.LEAST_SURE:
        return _least_sure(person_id, query)
    after = directory.FacePlace(*_read_cursor(query.cursor)) if query.cursor is not None else None
    page, following = actions.faces(parts(), _id(person_id), limit=query.limit, after=after, by=actor())
    return views.answer(
        contract.PersonFaces.model_construct(
            faces=[_face(each) for each in page],
            next_cursor=cursors.make(following.received_at, following.face_id) if following else None,
        )
    )


def _least_sure(person_id: str, query: contract.FacesOfPersonQuery) -> Response:
    after = None
    if query.cursor is not None:
        after = certainty.SurePlace(*cursors.read(query.cursor, cursors.real, cursors.identifier))
    page, following = actions.least_sure_faces(
        parts(), _id(person_id), limit=query.limit, after=after, by=actor()
    )
    faces = []
    for face, sure in page:
        told = _face(face)
        if sure is not None:
            told.certainty = round(sure, 6)
        faces.append(told)
    return views.answer(
        contract.PersonFaces.model_construct(
            faces=faces,
            next_cursor=cursors.make(repr(following.certainty), following.face_id) if following else None,
        )
    )


@bp.get("/persons/<person_id>/photos")
@requires(Scope.READ)
def list_photos(person_id: str) -> Response:
    query = parameters.read(contract.OfPersonQuery, request.args)
    after = photos.Place(*_read_cursor(query.cursor)) if query.cursor is not None else None
    page, following = actions.shown_on(parts(), _id(person_id), limit=query.limit, after=after, by=actor())
    return views.answer(
        answers.Photos.model_construct(
            photos=[views.photo_item(photo, count) for photo, count in page],
            next_cursor=cursors.make(following.received_at, following.photo_id) if following else None,
        )
    )


@bp.post("/persons/<person_id>/merge")
@requires(Scope.ENROL)
def merge(person_id: str) -> Response:
    wish = parameters.body(contract.MergeWish)
    made = actions.merge(parts(), _id(person_id), _id(wish.removed), by=actor())
    return views.answer(
        contract.MergeDone.model_construct(
            id=str(made.merge.id), person=details(made.kept), undo_until=views.time(made.merge.undo_until)
        )
    )


@bp.post("/merges/<merge_id>/undo")
@requires(Scope.ENROL)
def undo_merge(merge_id: str) -> Response:
    done = actions.undo_merge(parts(), parameters.identifier(merge_id, "merge"), by=actor())
    return views.answer(
        contract.MergeUndone.model_construct(
            id=str(done.undo.id),
            person=details(done.back),
            faces=done.undo.faces,
            photos=done.undo.photos,
            faces_left=done.undo.faces_left,
            photos_left=done.undo.photos_left,
        )
    )


def _id(text: str) -> uuid.UUID:
    return parameters.identifier(text, "person")


def _read_cursor(cursor: str) -> tuple[Any, ...]:
    return cursors.read(cursor, cursors.time, cursors.identifier)


def _answer(value: actions.Described, status: int = 200) -> Response:
    response = views.answer(details(value), status)
    # For If-Match alone: the counts are others with every photo, and the row's version is not.
    response.set_etag(str(value.person.version))
    return response


def details(value: actions.Described) -> contract.PersonDetails:
    person, best = value.person, value.has.best
    return contract.PersonDetails.model_construct(
        id=str(person.id),
        collection=person.collection.name,
        name=person.name,
        external_id=person.external_id,
        metadata=person.details,
        face_count=value.has.face_count,
        photo_count=value.has.photo_count,
        representative_face=_best_face(best) if best else None,
        cover_face_id=str(value.has.cover) if value.has.cover else None,
        cover=views.crop(value.has.cover) if value.has.cover else None,
        created_at=views.time(person.created_at),
        updated_at=views.time(person.updated_at),
    )


def _best_face(value: directory.BestFace) -> contract.BestFace:
    return contract.BestFace.model_construct(
        id=str(value.id), photo_id=str(value.photo_id), quality=value.quality
    )


def _face(value: Face) -> contract.PersonFace:
    return contract.PersonFace.model_construct(
        id=str(value.id),
        photo_id=str(value.photo_id),
        bbox=value.bbox,
        landmarks=value.landmarks,
        detection_score=value.detection_score,
        quality=value.quality,
    )
