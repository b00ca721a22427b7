"""Persons: somebody says who there is, what they are called, and that two of them are one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from face_pipeline.errors import Conflict
from face_pipeline.parts import Parts
from face_pipeline.store import audit, certainty, collections, directory, merges, persons, photos
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import Face, Person, Photo


@dataclass(frozen=True)
class Described:
    """A person, and what they have."""

    person: Person
    has: directory.Summary


@dataclass(frozen=True)
class Merged:
    """A merge, and the person who has all now."""

    merge: merges.Merged
    kept: Described


@dataclass(frozen=True)
class Undone:
    """What an undo did, and the person who is back."""

    undo: merges.Undone
    back: Described


def create(
    parts: Parts, *, collection: str, name: str, external_id: str | None, details: dict[str, Any], by: Actor
) -> Described:
    """Make a person without photos; their collection is made if there is none, as by an upload.

    Raises BadRequest for values that cannot be kept, Conflict where somebody has the name or the external id
    or the collection has another engine contract, Forbidden where `by` does not reach it.
    """
    collections.check_name(collection)
    by.check_reaches(collection)
    name = persons.check_name(name)
    if external_id is not None:
        directory.check_external_id(external_id)
    directory.check_metadata(details)
    person = parts.database.in_transaction(
        lambda session: directory.create(
            session, collections.open_collection(session, collection, parts.pack),
            name=name, external_id=external_id, details=details, by=by,
        )
    )  # fmt: skip
    return Described(person, directory.Summary())


def describe(parts: Parts, person_id: uuid.UUID, *, by: Actor) -> Described:
    """Raises NotFound where there is nobody of this id whom `by` reaches."""
    with parts.database.reading() as session:
        person = directory.find(session, person_id, by)
        has = directory.summaries(session, [person.id])[person.id]
        audit.note(session, by, "person.look", **_at(person))
    return Described(person, has)


def _at(person: Person) -> dict[str, Any]:
    """What the entry of a look at the person is about."""
    return {"collection": person.collection.name, "subject": person.id}


def listing(
    parts: Parts,
    wanted: directory.Wanted,
    *,
    limit: int,
    after: directory.AnyPlace | None,
    by: Actor,
    sort: directory.Sort = directory.Sort.NAME,
) -> tuple[list[Described], directory.AnyPlace | None]:
    """A page of the persons whom `by` reaches, and where the next one begins.

    Raises Forbidden and NotFound for the collection that is asked for.
    """
    if wanted.collection is not None:
        by.check_reaches(wanted.collection)
    with parts.database.reading() as session:
        if wanted.collection not in (None, collections.DEFAULT_COLLECTION):
            collections.by_name(session, wanted.collection)
        found, following = directory.page(session, wanted, by, limit=limit, after=after, sort=sort)
        has = directory.summaries(session, [person.id for person in found])
        audit.note(session, by, "person.list", collection=wanted.collection, details={"persons": len(found)})
    return [Described(person, has[person.id]) for person in found], following


def faces(
    parts: Parts, person_id: uuid.UUID, *, limit: int, after: directory.FacePlace | None, by: Actor
) -> tuple[Sequence[Face], directory.FacePlace | None]:
    """A page of the person's faces, and where the next one begins; NotFound as `describe`."""
    with parts.database.reading() as session:
        person = directory.find(session, person_id, by)
        page, following = directory.faces_page(session, person, limit=limit, after=after)
        audit.note(session, by, "person.look", **_at(person), details={"faces": len(page)})
    return page, following


def least_sure_faces(
    parts: Parts, person_id: uuid.UUID, *, limit: int, after: certainty.SurePlace | None, by: Actor
) -> tuple[Sequence[tuple[Face, float | None]], certainty.SurePlace | None]:
    """As `faces`, each with how sure it is that it is the person's, the least sure first."""
    with parts.database.reading() as session:
        person = directory.find(session, person_id, by)
        page, following = certainty.faces_page(session, person, limit=limit, after=after)
        audit.note(session, by, "person.look", **_at(person), details={"faces": len(page)})
    return page, following


def shown_on(
    parts: Parts, person_id: uuid.UUID, *, limit: int, after: photos.Place | None, by: Actor
) -> tuple[Sequence[tuple[Photo, int]], photos.Place | None]:
    """A page of the photos that show the person, each with its number of faces; NotFound as `describe`."""
    with parts.database.reading() as session:
        person = directory.find(session, person_id, by)
        page, following = photos.page(session, photos.Wanted(person=person.id), limit=limit, after=after)
        audit.note(session, by, "person.look", **_at(person), details={"photos": len(page)})
    return page, following


def change(
    parts: Parts, person_id: uuid.UUID, wanted: directory.Change, *, matches: Callable[[int], None], by: Actor
) -> Described:
    """Change what is told of a person. `matches` raises where their version is not one that it takes.

    Raises as `create`, and NotFound where there is nobody of this id whom `by` reaches.
    """
    if "name" in wanted:
        wanted = {**wanted, "name": persons.check_name(wanted["name"])}
    if (external_id := wanted.get("external_id")) is not None:
        directory.check_external_id(external_id)
    directory.check_metadata(wanted.get("details", {}))
    person = parts.database.in_transaction(
        lambda session: directory.change(session, person_id, wanted, matches=matches, by=by)
    )
    return _described(parts, person)


def merge(parts: Parts, kept_id: uuid.UUID, removed_id: uuid.UUID, *, by: Actor) -> Merged:
    """Make two persons one, `kept_id`; the other's faces and photos are theirs from then on.

    Raises NotFound where there is nobody of an id whom `by` reaches, Conflict where they cannot be one.
    """
    if kept_id == removed_id:
        raise Conflict("this is one person already; name another one in 'from'", code="merge_self")
    made = parts.database.in_transaction(lambda session: merges.merge(session, kept_id, removed_id, by))
    return Merged(made, _described(parts, made.kept))


def undo_merge(parts: Parts, merge_id: uuid.UUID, *, by: Actor) -> Undone:
    """Make two persons of one again, with what is theirs still.

    Raises NotFound where there is no such merge that `by` reaches, Conflict where it cannot be undone.
    """
    undone = parts.database.in_transaction(lambda session: merges.undo(session, merge_id, by))
    return Undone(undone, _described(parts, undone.person))


def _described(parts: Parts, person: Person) -> Described:
    with parts.database.reading() as session:
        return Described(person, directory.summaries(session, [person.id])[person.id])
