"""Persons as people keep them: made, changed, found and listed. Whose a photo is, persons.py says."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Collection as Several
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TypedDict

from sqlalchemy import ColumnElement, func, select, tuple_, union, update
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, contains_eager, defer, joinedload

from face_pipeline.errors import BadRequest, Conflict, NotFound
from face_pipeline.store import audit, collections, persons
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import Collection, Face, Person, Photo

EXTERNAL_ID_MAX = 200
METADATA_MAX_BYTES = 16 * 1024
METADATA_MAX_DEPTH = 8

# The order of lists, which the index persons_listed has. Persons of before keys may have none.
_LISTED_BY = func.coalesce(Person.name_key, func.lower(Person.name))


# Of all at once: an index has whose each face is.
_COUNTED = (
    select(Face.person_id, func.count().label("face_count"))
    .where(Face.person_id.is_not(None))
    .group_by(Face.person_id)
    .subquery("counted")
)
_FACE_COUNT = func.coalesce(_COUNTED.c.face_count, 0)


class Change(TypedDict, total=False):
    """What is to be other than it is; what is left out stays."""

    name: str
    external_id: str | None
    details: dict[str, Any]
    cover_face_id: uuid.UUID | None


@dataclass(frozen=True)
class Wanted:
    """Which persons are asked for; None: any. `name`: a part of it, spelled as any name may be."""

    collection: str | None = None
    name: str | None = None
    external_id: str | None = None


class Sort(StrEnum):
    """In which order persons are listed."""

    # By collection, then by name.
    NAME = "name"
    FACES = "faces"
    NEWEST = "newest"


@dataclass(frozen=True)
class Place:
    """Where a person stands in the list: by collection, then by name."""

    collection_id: int
    name: str
    person_id: uuid.UUID


@dataclass(frozen=True)
class CountedPlace:
    """Where a person stands among all, those with most faces first."""

    face_count: int
    person_id: uuid.UUID


@dataclass(frozen=True)
class TimedPlace:
    """Where a person stands among all, the newest first."""

    created_at: datetime
    person_id: uuid.UUID


AnyPlace = Place | CountedPlace | TimedPlace


@dataclass(frozen=True)
class FacePlace:
    """Where a face stands among those of a person, newest photo first."""

    received_at: datetime
    face_id: uuid.UUID


@dataclass(frozen=True)
class BestFace:
    """The face of best quality (0 to 1)."""

    id: uuid.UUID
    photo_id: uuid.UUID
    quality: float


@dataclass(frozen=True)
class Summary:
    """What a person has; `best` shows them, None: they have no face on a photo. `cover`: the face that
    somebody chose to show them, or else the best one."""

    face_count: int = 0
    photo_count: int = 0
    best: BestFace | None = None
    cover: uuid.UUID | None = None


def check_external_id(text: str) -> str:
    if not 1 <= len(text) <= EXTERNAL_ID_MAX or not text.isprintable() or text != text.strip():
        raise BadRequest(
            f"external_id has 1 to {EXTERNAL_ID_MAX} printable characters, the first and the last no space",
            code="external_id",
        )
    return text


def check_metadata(details: dict[str, Any]) -> dict[str, Any]:
    """The object as it is; BadRequest where it is too large, too deep, or holds what no column can."""
    _check_values(details, METADATA_MAX_DEPTH)
    size = len(json.dumps(details, ensure_ascii=False, separators=(",", ":")).encode())
    if size > METADATA_MAX_BYTES:
        raise _bad_metadata(f"has {METADATA_MAX_BYTES} bytes of JSON at most, this one has {size}")
    return details


def _check_values(value: Any, depth_left: int) -> None:
    if isinstance(value, str) and "\0" in value:
        raise _bad_metadata("must not hold the character NUL; leave it out")
    if isinstance(value, float) and not math.isfinite(value):
        raise _bad_metadata("holds a number that JSON does not know; send it as text")
    if not isinstance(value, dict | list):
        return
    if not depth_left:
        raise _bad_metadata(f"has {METADATA_MAX_DEPTH} levels at most; put less into one another")
    for each in (*value, *value.values()) if isinstance(value, dict) else value:
        _check_values(each, depth_left - 1)


def _bad_metadata(what: str) -> BadRequest:
    return BadRequest(f"metadata {what}", code="metadata")


def find(session: Session, person_id: uuid.UUID, by: Actor) -> Person:
    """The person with their collection; NotFound when there is none that `by` reaches."""
    person = session.get(Person, person_id, options=[joinedload(Person.collection, innerjoin=True)])
    return _reached(person, person_id, by)


def _lock(session: Session, person_id: uuid.UUID, by: Actor) -> Person:
    """As `find`; nobody else changes or removes them until the commit. Photos may be given to them."""
    person = session.scalar(
        select(Person)
        .where(Person.id == person_id)
        .options(joinedload(Person.collection, innerjoin=True))
        .with_for_update(of=Person, key_share=True)
    )
    return _reached(person, person_id, by)


def _reached(person: Person | None, person_id: uuid.UUID, by: Actor) -> Person:
    if person is None or not by.reaches(person.collection.name):
        raise NotFound(f"there is no person {person_id}", code="person_not_found")
    return person


def create(
    session: Session,
    collection: Collection,
    *,
    name: str,
    external_id: str | None,
    details: dict[str, Any],
    by: Actor,
) -> Person:
    """A new person of checked values; Conflict where somebody has the name or the external id."""
    collections.hold(session, collection)
    # Somebody may take the name, or give it up, between the two.
    while True:
        check_free(session, collection, None, {"name": name, "external_id": external_id})
        made: Person | None = session.scalar(
            insert(Person)
            .values(
                {
                    Person.collection_id: collection.id, Person.name: name,
                    Person.name_key: persons.name_key(name), Person.external_id: external_id,
                    Person.details: details, Person.by_hand: True,
                }
            )
            .on_conflict_do_nothing()
            .returning(Person)
        )  # fmt: skip
        if made is not None:
            made.collection = collection
            audit.write(session, by, "person.create", collection=collection.name, subject=made.id)
            return made


def change(
    session: Session, person_id: uuid.UUID, wanted: Change, *, matches: Callable[[int], None], by: Actor
) -> Person:
    """Change a person to checked values; `matches` raises where their version is not one that it takes.

    NotFound as `find`, Conflict as `create`.
    """
    person = _lock(session, person_id, by)
    matches(person.version)
    if (cover := wanted.get("cover_face_id")) is not None:
        _check_cover(session, person_id, cover)
    changed = _write(session, person, wanted)
    if changed:
        audit.write(
            session, by, "person.rename" if "name" in changed else "person.change",
            collection=person.collection.name, subject=person_id,
            details={"fields": ["metadata" if field == "details" else field for field in changed]},
        )  # fmt: skip
    if "name" in changed:
        collections.renew(session, person.collection_id)
    return person


def _check_cover(session: Session, person_id: uuid.UUID, face_id: uuid.UUID) -> None:
    """Raises Conflict where the face is not one of the person's, on a photo.

    Somebody may take it off at this moment: a cover counts only while it is theirs.
    """
    theirs = select(Face.id).where(
        Face.id == face_id, Face.person_id == person_id, Face.photo_id.is_not(None)
    )
    if session.scalar(theirs) is None:
        raise Conflict(
            f"the face {face_id} is not one of this person's on a photo; choose one that is",
            code="cover_not_theirs",
        )


def _write(session: Session, person: Person, wanted: Change) -> list[str]:
    """Change the locked person; returns the names of what is other than before."""
    values: dict[str, Any] = {
        name: value for name, value in wanted.items() if not _is_same(value, getattr(person, name))
    }
    if not values:
        return []
    changed = sorted(values)
    if "name" in values:
        values["name_key"] = persons.name_key(values["name"])
    while True:
        check_free(session, person.collection, person, values)
        try:
            with session.begin_nested():
                session.execute(
                    update(Person)
                    .where(Person.id == person.id)
                    .values(**values, by_hand=True, version=Person.version + 1, updated_at=func.now())
                    .execution_options(synchronize_session=False)
                )
            break
        except IntegrityError:
            # Somebody else took the name or the external id after the question; who, the next round says.
            continue
    session.refresh(
        person, ["name", "name_key", "external_id", "details", "cover_face_id", "version", "updated_at"]
    )
    return changed


def _is_same(one: object, other: object) -> bool:
    """Whether they are the same JSON: to Python, true is 1 and 1 is 1.0."""
    return json.dumps(one, sort_keys=True, default=str) == json.dumps(other, sort_keys=True, default=str)


def check_free(
    session: Session, collection: Collection, own: Person | None, values: Mapping[str, Any]
) -> None:
    """Raises Conflict, with the id of who has it, where the name or the external id is somebody else's."""
    name, external_id = values.get("name"), values.get("external_id")
    if name is not None:
        other = persons.find(session, collection, name)
        if other is not None and (own is None or other.id != own.id):
            raise Conflict(
                "another person of this collection has this name, in this or another spelling; "
                "take another name, or merge the two",
                code="person_exists",
                details={"person_id": str(other.id)},
            )
    if external_id is not None:
        holder = session.scalar(
            select(Person.id).where(Person.collection_id == collection.id, Person.external_id == external_id)
        )
        if holder is not None and (own is None or holder != own.id):
            raise Conflict(
                "another person of this collection has this external id; take it off there first",
                code="external_id_exists",
                details={"person_id": str(holder)},
            )


def page(
    session: Session,
    wanted: Wanted,
    by: Actor,
    *,
    limit: int,
    after: AnyPlace | None,
    sort: Sort = Sort.NAME,
) -> tuple[Sequence[Person], AnyPlace | None]:
    """At most `limit` persons behind `after`, with their collections, and where the next page is.

    `after` is a place of the same order; with `faces`, counts that change meanwhile move persons in it.
    """
    by_column = {Sort.NAME: _LISTED_BY, Sort.FACES: _FACE_COUNT, Sort.NEWEST: Person.created_at}[sort]
    query = (
        select(Person, by_column)
        .join(Person.collection)
        .options(contains_eager(Person.collection))
        .where(*_conditions(wanted, by))
        .limit(limit + 1)
    )
    if sort == Sort.FACES:
        query = query.outerjoin(_COUNTED, _COUNTED.c.person_id == Person.id)
    if sort == Sort.NAME:
        query = query.order_by(Person.collection_id, by_column, Person.id)
    else:
        query = query.order_by(by_column.desc(), Person.id.desc())
    if isinstance(after, Place):
        there = (after.collection_id, after.name, after.person_id)
        query = query.where(tuple_(Person.collection_id, by_column, Person.id) > there)
    elif after is not None:
        value = after.face_count if isinstance(after, CountedPlace) else after.created_at
        query = query.where(tuple_(by_column, Person.id) < (value, after.person_id))
    rows = session.execute(query).all()
    found = [row[0] for row in rows[:limit]]
    if len(rows) <= limit:
        return found, None
    last, value = rows[limit - 1]
    if sort == Sort.NAME:
        return found, Place(last.collection_id, value, last.id)
    return found, CountedPlace(value, last.id) if sort == Sort.FACES else TimedPlace(value, last.id)


def _conditions(wanted: Wanted, by: Actor) -> Iterator[ColumnElement[bool]]:
    if wanted.collection is not None:
        # By its id, so that the index gives their order too.
        only = select(Collection.id).where(Collection.name == wanted.collection).scalar_subquery()
        yield Person.collection_id == only
    if by.collections is not None:
        yield Collection.name.in_(by.collections)
    if wanted.name is not None:
        yield _LISTED_BY.contains(persons.name_key(wanted.name.strip()), autoescape=True)
    if wanted.external_id is not None:
        yield Person.external_id == wanted.external_id


def summaries(session: Session, person_ids: Several[uuid.UUID]) -> dict[uuid.UUID, Summary]:
    """What each of these persons has."""
    faces = session.execute(
        select(
            Face.person_id, Face.id, Face.photo_id, Face.quality,
            func.count().over(partition_by=Face.person_id).label("face_count"),
        )
        .where(Face.person_id.in_(person_ids))
        .ext(distinct_on(Face.person_id))
        # One that came as an embedding shows nobody.
        .order_by(Face.person_id, Face.photo_id.is_(None), Face.quality.desc(), Face.id)
    ).all()  # fmt: skip
    covers = dict(
        session.execute(
            select(Person.id, Face.id)
            .join(Face, (Face.id == Person.cover_face_id) & (Face.person_id == Person.id))
            .where(Person.id.in_(person_ids))
        ).all()
    )
    theirs = union(
        select(Photo.person_id, Photo.id).where(Photo.person_id.in_(person_ids)),
        select(Face.person_id, Face.photo_id).where(Face.person_id.in_(person_ids)),
    ).subquery()
    photos = session.execute(
        select(theirs.c.person_id, func.count(theirs.c.id)).group_by(theirs.c.person_id)
    ).all()
    face_counts = {row.person_id: row.face_count for row in faces}
    photo_counts = {row[0]: row[1] for row in photos}
    best = {
        row.person_id: BestFace(row.id, row.photo_id, row.quality)
        for row in faces
        if row.photo_id is not None
    }
    shown = {person_id: face.id for person_id, face in best.items()} | covers
    return {
        each: Summary(face_counts.get(each, 0), photo_counts.get(each, 0), best.get(each), shown.get(each))
        for each in person_ids
    }


def faces_page(
    session: Session, person: Person, *, limit: int, after: FacePlace | None
) -> tuple[Sequence[Face], FacePlace | None]:
    """At most `limit` of the person's faces behind `after`, no embeddings, and where the next page is."""
    # Found first: an index of all photos by time, read until enough are theirs, may be read to its end.
    theirs = select(Face.id).where(Face.person_id == person.id).cte("theirs").prefix_with("MATERIALIZED")
    query = (
        select(Face, Photo.received_at)
        .join(Face.photo)
        .join(theirs, theirs.c.id == Face.id)
        .options(defer(Face.embedding))
        .order_by(Photo.received_at.desc(), Face.id.desc())
        .limit(limit + 1)
    )
    if after is not None:
        query = query.where(tuple_(Photo.received_at, Face.id) < (after.received_at, after.face_id))
    rows = session.execute(query).all()
    found = [row[0] for row in rows[:limit]]
    if len(rows) <= limit:
        return found, None
    last, received_at = rows[limit - 1]
    return found, FacePlace(received_at, last.id)
