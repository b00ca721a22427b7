"""Persons: how their names are read and compared, and who a photo that is known already is given to."""

from __future__ import annotations

import unicodedata
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Row, delete, exists, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from face_pipeline.errors import BadRequest
from face_pipeline.store.models import Collection, Face, Person, Photo, Reason, State
from face_pipeline.words import counted

NAME_MAX = 200
# Scripts and emoji need these two inside a word; no other invisible character has a place in a name.
JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
# Flags of England, Scotland and Wales are written with these.
EMOJI_TAGS = range(0xE0020, 0xE0080)
# Of Unicode's general categories: control, format, surrogate, private use, line and paragraph separator.
REFUSED_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


# id, state, person_id
KnownPhoto = Row[uuid.UUID, State, uuid.UUID | None]


@dataclass(frozen=True)
class Remark:
    """What was not done with a photo of an upload, and why; `code` is stable."""

    code: Reason
    message: str


@dataclass
class Named:
    """What became of the person of an upload: the photos that are theirs now, and remarks on the others."""

    person: Person | None = None
    photos: set[uuid.UUID] = field(default_factory=set)
    remarks: dict[uuid.UUID, Remark] = field(default_factory=dict)


def check_name(name: str) -> str:
    """The name without white space around it; BadRequest when it cannot be kept."""
    name = name.strip()
    if not name.strip(JOINERS):
        raise _refused("the person's name is blank; write one, or leave the field out")
    if len(name) > NAME_MAX:
        raise _refused(f"a person's name has at most {NAME_MAX} characters, this one has {len(name)}")
    if REPLACEMENT in name:
        raise _refused("the person's name is not valid UTF-8; send it in that encoding")
    for character in name:
        if _is_refused(character):
            raise _refused(
                f"a person's name must not hold the character U+{ord(character):04X}; "
                "control, invisible, direction and private characters are refused"
            )
    return name


def _refused(message: str) -> BadRequest:
    return BadRequest(message, code="person_name")


def _is_refused(character: str) -> bool:
    if character in JOINERS or ord(character) in EMOJI_TAGS:
        return False
    # The last two of each plane and 32 more are characters in no version of Unicode, unlike those to come.
    never = ord(character) & 0xFFFE == 0xFFFE or 0xFDD0 <= ord(character) <= 0xFDEF
    return never or unicodedata.category(character) in REFUSED_CATEGORIES


def name_key(name: str) -> str:
    """What is equal for two spellings of one name: letters in either case, accents composed or not.

    Source: Unicode standard 3.13, D145 (canonical caseless match); composed, which keeps it short.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


def find(session: Session, collection: Collection, name: str) -> Person | None:
    """The person of that name in the collection: of that very spelling if there is one, else of its key.

    It cannot be removed until this transaction ends. A release from before keys may have written rows without
    one (after a rollback); they get theirs here.
    """
    key = name_key(name)
    rows = session.scalars(
        select(Person)
        .where(
            Person.collection_id == collection.id,
            or_(Person.name == name, Person.name_key == key, Person.name_key.is_(None)),
        )
        .order_by(Person.created_at, Person.id)
        # FOR KEY SHARE: waits for who removes one, and for nobody else.
        .with_for_update(read=True, key_share=True)
    ).all()
    same = [person for person in rows if person.name_key == key or name_key(person.name) == key]
    if not same:
        return None
    if not any(person.name_key == key for person in same):
        session.execute(
            update(Person).where(Person.id == same[0].id, Person.name_key.is_(None)).values(name_key=key)
        )
    return min(same, key=lambda person: (person.name != name, person.name_key != key))


def open_person(session: Session, collection: Collection, name: str) -> Person:
    """The person of that name in the collection, made now if there is none."""
    row = {"collection_id": collection.id, "name": name, "name_key": name_key(name)}
    # Another request may make it, or remove it, between the two.
    while (found := find(session, collection, name)) is None:
        session.execute(insert(Person).values(row).on_conflict_do_nothing())
    return found


def give(
    session: Session,
    collection: Collection,
    name: str,
    *,
    new: Sequence[uuid.UUID],
    known: Sequence[KnownPhoto],
) -> Named:
    """Give the photos of an upload to the person `name`, those that are free; nothing is taken from anybody.

    `new` are photos of this transaction, `known` older ones (id, state, person_id), whose rows it has locked.
    A photo that is done is free when its only face is nobody's; one that failed starts again, as theirs.
    """
    faces = _faces(session, [row.id for row in known if row.state == State.DONE])
    free = [row for row in known if _is_free(row, faces.get(row.id, []))]
    # Nobody is made for photos that all belong to others.
    person = open_person(session, collection, name) if new or free else find(session, collection, name)
    named = Named(person)
    owner = person.id if person else None
    for row in known:
        if row in free:
            continue
        shown = faces.get(row.id, [])
        if owner is not None and (owner in shown or (row.state != State.DONE and row.person_id == owner)):
            named.photos.add(row.id)
        elif row.state == State.DONE and row.person_id == owner and shown == [None]:
            free.append(row)
        else:
            named.remarks[row.id] = _remark(row.state, len(shown))
    named.photos.update(new, (row.id for row in free))
    if owner is not None and named.photos:
        _write(session, collection, owner, new, free)
        _remove_empty(session, {row.person_id for row in free if row.person_id not in (None, owner)})
    return named


def _faces(session: Session, photo_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[uuid.UUID | None]]:
    """Whose each face of these photos is."""
    faces: dict[uuid.UUID, list[uuid.UUID | None]] = {}
    if photo_ids:
        for row in session.execute(select(Face.photo_id, Face.person_id).where(Face.photo_id.in_(photo_ids))):
            faces.setdefault(row.photo_id, []).append(row.person_id)
    return faces


def _is_free(row: KnownPhoto, shown: list[uuid.UUID | None]) -> bool:
    if row.state == State.DONE:
        return row.person_id is None and shown == [None]
    return row.state == State.FAILED or row.person_id is None


def _remark(state: State, faces: int) -> Remark:
    if state == State.DONE and faces != 1:
        return Remark(Reason.PERSON_NOT_ASSIGNED, unassigned(faces))
    return Remark(Reason.PERSON_DIFFERS, "the photo already belongs to another person, and stays theirs")


def unassigned(faces: int) -> str:
    """Why none of a photo's faces was given the person's name."""
    shown = counted(faces, "face") if faces else "no face"
    return f"the photo shows {shown}, so none was given the person's name"


def _write(
    session: Session,
    collection: Collection,
    owner: uuid.UUID,
    new: Iterable[uuid.UUID],
    free: Sequence[KnownPhoto],
) -> None:
    """Photos, then their faces, then the collection: the order in which every transaction locks them."""
    session.execute(
        update(Photo).where(Photo.id.in_([*new, *(row.id for row in free)])).values(person_id=owner)
    )
    done = [row.id for row in free if row.state == State.DONE]
    if done:
        session.execute(
            update(Face).where(Face.photo_id.in_(done), Face.person_id.is_(None)).values(person_id=owner)
        )
        # Answers that were cached name nobody on these faces.
        session.execute(
            update(Collection).where(Collection.id == collection.id).values(version=Collection.version + 1)
        )


def _remove_empty(session: Session, former: set[uuid.UUID | None]) -> None:
    """Remove those of these persons who have no photo and no face any more, and were made by uploads alone.

    Whom another request holds gets a photo there. The second statement sees what was written before the lock.
    """
    if not former:
        return
    held = session.scalars(
        select(Person.id).where(Person.id.in_(former)).with_for_update(skip_locked=True)
    ).all()
    session.execute(
        delete(Person)
        .where(
            Person.id.in_(held),
            Person.by_hand.is_(False),
            ~exists().where(Photo.person_id == Person.id),
            ~exists().where(Face.person_id == Person.id),
        )
        .execution_options(synchronize_session=False)
    )
