"""Looking at photos, at the original of one, or at a face, told in the audit."""

from __future__ import annotations

import uuid

from face_pipeline.parts import Parts
from face_pipeline.store import audit, faces, photos, trails
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import Face, Photo


def photo(parts: Parts, photo_id: uuid.UUID, *, by: Actor) -> Photo:
    """The photo with its faces and who they are; NotFound where `by` reaches none of that id."""
    with parts.database.reading() as session:
        found = photos.find_with_faces(session, photo_id, by=by)
        audit.note(session, by, "photo.look", collection=found.collection.name, subject=found.id)
    return found


def some_photos(
    parts: Parts,
    wanted: photos.Wanted,
    *,
    limit: int,
    after: photos.Place | None,
    sort: photos.Sort,
    by: Actor,
) -> tuple[list[tuple[Photo, int]], photos.Place | None]:
    """A page of photos, each with its number of faces, and where the next one begins."""
    with parts.database.reading() as session:
        page, following = photos.page(session, wanted, limit=limit, after=after, sort=sort)
        audit.note(
            session, by, "photo.list", collection=wanted.collection, subject=wanted.person,
            details={"photos": len(page)},
        )  # fmt: skip
    return page, following


def original(parts: Parts, photo_id: uuid.UUID, *, by: Actor) -> Photo:
    """The photo whose picture is shown; NotFound where `by` reaches none of that id."""
    with parts.database.reading() as session:
        found = photos.find(session, photo_id, by=by)
        audit.note(session, by, "photo.image", collection=found.collection.name, subject=found.id)
    return found


def crop(parts: Parts, face_id: uuid.UUID, *, by: Actor) -> Face:
    """The face whose picture is shown, with its photo; NotFound where `by` reaches none of that id."""
    with parts.database.reading() as session:
        found = faces.find(session, face_id, by=by)
        audit.note(session, by, "face.crop", collection=found.collection.name, subject=found.id)
    return found


def trail(parts: Parts, photo_id: uuid.UUID, *, by: Actor) -> trails.Trail:
    """What happened to a photo; NotFound where `by` reaches none of that id."""
    with parts.database.reading() as session:
        found = trails.follow(session, photo_id, by=by)
        audit.note(session, by, "photo.look", collection=found.photo.collection.name, subject=photo_id)
    return found
