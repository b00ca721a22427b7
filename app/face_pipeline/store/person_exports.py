"""All that is held on one person, as it leaves: they, their photos and faces, and what is told of these.

Of a photo that shows others too, neither their faces nor whose they are. Events and entries of the audit come
newest first: what the export itself leaves there is none of it, or it would have no end.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Select, Text, and_, cast, literal, or_, select, tuple_, union, union_all
from sqlalchemy.orm import Session

from face_pipeline.store import audit, directory, events
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import XID8, AuditEntry, Event, Face, Merge, Person, Photo


class Stage(StrEnum):
    """What the pages hold, in their order."""

    PERSON = "person"
    PHOTOS = "photos"
    # Those that came as embeddings.
    FACES = "faces"
    EVENTS = "events"
    AUDIT = "audit"


# Behind a photo's sha256, a face's id, an event, or the id of an entry.
After: TypeAlias = str | uuid.UUID | events.Place | int


@dataclass(frozen=True)
class Place:
    """Where a page begins. `after` None: at the first."""

    stage: Stage = Stage.PERSON
    after: After | None = None


@dataclass(frozen=True)
class Page:
    """`merges`: those whose records hold a name of the person still. `faces`: the person's own, of the
    photos of this page by the photo's id, and those without a photo under None."""

    person: Person
    following: Place | None
    first: bool = False
    merges: Sequence[Merge] = ()
    photos: Sequence[Photo] = ()
    faces: Mapping[uuid.UUID | None, Sequence[Face]] = field(default_factory=dict)
    events: Sequence[Event] = ()
    entries: Sequence[AuditEntry] = ()

    @property
    def face_count(self) -> int:
        return sum(len(each) for each in self.faces.values())


def page(session: Session, person_id: uuid.UUID, *, limit: int, place: Place, by: Actor) -> Page:
    """At most `limit` things that are held on the person.

    NotFound where there is nobody of this id whom `by` reaches.
    """
    person = directory.find(session, person_id, by)
    found = _READERS[place.stage](session, person, limit, place.after)
    told = {
        "photos": len(found.photos), "faces": found.face_count, "events": len(found.events),
        "entries": len(found.entries),
    }  # fmt: skip
    audit.write(
        session, by, "person.export", collection=person.collection.name, subject=person.id, details=told
    )
    return found


def _theirs(person: Person) -> Select[Any]:
    """Ids of photos that are the person's, or show them."""
    found = union(
        select(Photo.id).where(Photo.person_id == person.id),
        select(Face.photo_id).where(Face.person_id == person.id, Face.photo_id.is_not(None)),
    ).subquery()
    return select(found.c.id)


def _person(session: Session, person: Person, limit: int, after: Any) -> Page:
    del limit, after
    named = or_(Merge.kept_id == person.id, Merge.removed["id"].astext == str(person.id))
    merges = session.scalars(
        select(Merge)
        .where(Merge.collection_id == person.collection_id, named, Merge.removed != {})
        .order_by(Merge.merged_at, Merge.id)
    ).all()
    return Page(person, Place(Stage.PHOTOS), first=True, merges=merges)


def _photos(session: Session, person: Person, limit: int, after: Any) -> Page:
    query = select(Photo).where(Photo.id.in_(_theirs(person)))
    rows, last = _some(session, query, Photo.sha256, after, limit)
    faces: dict[uuid.UUID | None, list[Face]] = defaultdict(list)
    for face in session.scalars(
        select(Face)
        .where(Face.person_id == person.id, Face.photo_id.in_([row.id for row in rows]))
        .order_by(Face.photo_id, Face.position)
    ):
        faces[face.photo_id].append(face)
    following = Place(Stage.PHOTOS, last.sha256) if last else Place(Stage.FACES)
    return Page(person, following, photos=rows, faces=faces)


def _faces(session: Session, person: Person, limit: int, after: Any) -> Page:
    query = select(Face).where(Face.person_id == person.id, Face.photo_id.is_(None))
    rows, last = _some(session, query, Face.id, after, limit)
    following = Place(Stage.FACES, last.id) if last else Place(Stage.EVENTS)
    return Page(person, following, faces={None: rows})


def _some(
    session: Session, query: Select[Any], column: Any, after: Any, limit: int
) -> tuple[Sequence[Any], Any]:
    """The next `limit` rows in the order of the column, and the last of them if there are more."""
    if after is not None:
        query = query.where(column > after)
    rows = session.scalars(query.order_by(column).limit(limit + 1)).all()
    return (rows[:limit], rows[limit - 1]) if len(rows) > limit else (rows, None)


def _events(session: Session, person: Person, limit: int, after: Any) -> Page:
    # Of a face of somebody else's on a photo of theirs nothing is told.
    of_photo = and_(Event.face_id.is_(None), Event.photo_id.in_(_theirs(person)))
    of_face = Event.face_id.in_(select(Face.id).where(Face.person_id == person.id))
    query = select(Event).where(or_(Event.person_id == person.id, of_face, of_photo))
    if after is not None:
        query = query.where(tuple_(Event.xid, Event.number) < _numbers(after))
    rows = session.scalars(query.order_by(Event.xid.desc(), Event.number.desc()).limit(limit + 1)).all()
    if len(rows) <= limit:
        return Page(person, Place(Stage.AUDIT), events=rows)
    last = events.Place(rows[limit - 1].xid, rows[limit - 1].number)
    return Page(person, Place(Stage.EVENTS, last), events=rows[:limit])


def _numbers(place: events.Place) -> ColumnElement[Any]:
    return tuple_(literal(place.xid, XID8), literal(place.number))


def _entries(session: Session, person: Person, limit: int, after: Any) -> Page:
    subjects = union_all(
        select(literal(str(person.id)).label("subject")),
        select(cast(Photo.id, Text)).where(Photo.id.in_(_theirs(person))),
        select(cast(Face.id, Text)).where(Face.person_id == person.id),
    ).subquery()
    query = select(AuditEntry).where(AuditEntry.subject.in_(select(subjects.c.subject)))
    if after is not None:
        query = query.where(AuditEntry.id < after)
    rows = session.scalars(query.order_by(AuditEntry.id.desc()).limit(limit + 1)).all()
    following = Place(Stage.AUDIT, rows[limit - 1].id) if len(rows) > limit else None
    return Page(person, following, entries=rows[:limit])


_READERS = {
    Stage.PERSON: _person, Stage.PHOTOS: _photos, Stage.FACES: _faces, Stage.EVENTS: _events,
    Stage.AUDIT: _entries,
}  # fmt: skip
