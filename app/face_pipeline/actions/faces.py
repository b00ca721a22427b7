"""Faces: whose one is, and giving it to somebody."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from face_pipeline.parts import Parts
from face_pipeline.store import audit, faces, persons, several
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import Face
from face_pipeline.store.several import Given


def describe(parts: Parts, face_id: uuid.UUID, *, by: Actor) -> Face:
    """The face with its photo, person and collection; NotFound also where `by` does not reach that."""
    with parts.database.reading() as session:
        found = faces.find(session, face_id, by=by)
        audit.note(session, by, "face.look", collection=found.collection.name, subject=found.id)
    return found


def give(parts: Parts, face_id: uuid.UUID, person_id: uuid.UUID | None, *, by: Actor) -> Face:
    """Make the face this person's; None: nobody's. A face that is somebody else's is taken from them.

    Raises NotFound for the face and the person, Conflict for a person of another collection.
    """
    return parts.database.in_transaction(lambda session: faces.give(session, face_id, person_id, by=by))


def give_to_name(parts: Parts, face_id: uuid.UUID, name: str, *, by: Actor) -> Face:
    """Make the face the person's of that name in its collection, who is made if there is none.

    Raises NotFound for the face, BadRequest for a name that cannot be kept.
    """
    name = persons.check_name(name)
    return parts.database.in_transaction(lambda session: faces.give_to_name(session, face_id, name, by=by))


def give_several(
    parts: Parts, face_ids: Sequence[uuid.UUID], to: uuid.UUID | str | None, *, by: Actor
) -> Given:
    """Make the faces one person's, by id or by name, all in one transaction; None: nobody's.

    Raises NotFound for the person, BadRequest for a name that cannot be kept.
    """
    who = persons.check_name(to) if isinstance(to, str) else to
    return parts.database.in_transaction(lambda session: several.give_faces(session, face_ids, who, by=by))
