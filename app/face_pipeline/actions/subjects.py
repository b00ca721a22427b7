"""What clients of CompreFace do with subjects and their images, by the actions that there are for persons.

A subject is a person of one collection, an image a face that is theirs.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from face_pipeline.actions import analysis, enrolment, erasure, looks, persons
from face_pipeline.actions.uploads import Upload
from face_pipeline.errors import Conflict, DatabaseBusy, NotFound, Unavailable, Unprocessable
from face_pipeline.parts import Parts
from face_pipeline.store import audit, collections, directory, subjects
from face_pipeline.store import persons as names_of_persons
from face_pipeline.store.audit import Actor
from face_pipeline.store.judging import OnConflict, Rules
from face_pipeline.store.models import Person, Photo
from face_pipeline.store.subjects import Image

# Less than nginx waits. What takes longer goes on with the next request.
MOST_SECONDS = 40.0
# Where others make, rename or erase a subject meanwhile.
ATTEMPTS = 10


class AnotherSubject(Unprocessable):
    """A file is one photo of a collection, and its face is somebody's already."""


@dataclass(frozen=True)
class Erased:
    """How many subjects and images went."""

    subjects: int
    images: int


def open_collection(parts: Parts, collection: str, *, by: Actor) -> None:
    """Make the collection where there is none. Raises Conflict where another pack made its embeddings."""
    by.check_reaches(collection)
    with parts.database.transaction() as session:
        collections.open_collection(session, collection, parts.pack)


def find(parts: Parts, collection: str, name: str, *, by: Actor) -> Person | None:
    """The subject of that name, in any spelling of it."""
    by.check_reaches(collection)
    name = name.strip()
    if "\0" in name:
        # Nobody can be called that, and PostgreSQL cannot be asked.
        return None
    return parts.database.in_transaction(lambda session: subjects.find(session, collection, name))


def names(parts: Parts, collection: str, *, by: Actor) -> Sequence[str]:
    by.check_reaches(collection)
    with parts.database.reading() as session:
        found = subjects.names(session, collection)
        audit.note(session, by, "person.list", collection=collection, details={"persons": len(found)})
    return found


def create(parts: Parts, collection: str, name: str, *, by: Actor) -> Person:
    """A new subject. Raises BadRequest for a name that cannot be kept, Conflict where somebody has it."""
    made = persons.create(parts, collection=collection, name=name, external_id=None, details={}, by=by)
    return made.person


def rename(parts: Parts, collection: str, old: str, new: str, *, by: Actor) -> bool:
    """Give the subject another name; where somebody has that, the two become one. False: it is the same.

    Raises NotFound where there is no subject `old`, BadRequest for a name that cannot be kept.
    """
    new = names_of_persons.check_name(new)
    for _ in range(ATTEMPTS):
        person, holder = (find(parts, collection, name, by=by) for name in (old, new))
        if person is None:
            raise NotFound(f"there is no person {old!r}", code="person_not_found")
        if holder is not None and holder.id != person.id:
            persons.merge(parts, holder.id, person.id, by=by)
            return True
        if person.name == new:
            return False
        wanted = directory.Change(name=new)
        # Somebody may take the name meanwhile.
        with suppress(Conflict):
            persons.change(parts, person.id, wanted, matches=lambda _: None, by=by)
            return True
    raise DatabaseBusy("others change these subjects all the time; send the request again")


def erase(parts: Parts, person_id: uuid.UUID, *, by: Actor) -> Erased:
    """Erase a subject and their images; of one that is gone, nothing."""
    try:
        receipt = erasure.person(parts, person_id, dry_run=False, by=by)
    except NotFound:
        return Erased(0, 0)
    return Erased(receipt.rows.persons, receipt.rows.faces)


def erase_all(parts: Parts, collection: str, *, by: Actor) -> Erased:
    """Erase all subjects of the collection; what shows nobody whom somebody named stays.

    Raises Unavailable where it takes too long for one request: the next one goes on.
    """
    by.check_reaches(collection)
    until = time.monotonic() + MOST_SECONDS
    gone = Erased(0, 0)
    with parts.database.reading() as session:
        wanted = subjects.ids(session, collection)
    for person_id in wanted:
        if time.monotonic() > until:
            raise Unavailable(
                f"{gone.subjects} subjects are erased, and more are left; send the request again to go on",
                code="erasure_unfinished",
            )
        one = erase(parts, person_id, by=by)
        gone = Erased(gone.subjects + one.subjects, gone.images + one.images)
    return gone


def add_image(
    parts: Parts,
    collection: str,
    name: str,
    photo: Upload,
    *,
    min_score: float | None,
    by: Actor,
    gone: Callable[[], bool],
) -> uuid.UUID:
    """Give the subject, who is made if there is none, the one face of the photo; returns the image's id.

    Faces whose detection score (0 to 1) is not over `min_score` do not count. Raises Unprocessable where that
    leaves none or several, AnotherSubject, BadRequest for a name that cannot be kept, and what enrolment
    raises. Nobody is made for a photo that cannot be used.
    """
    by.check_reaches(collection)
    name = names_of_persons.check_name(name)
    found, _ = analysis.analyse(parts, photo, gone)
    faces = [face for face in found if min_score is None or face.detection_score > min_score]
    if not faces:
        raise Unprocessable("no face was found on the photo", code="no_face")
    if len(faces) > 1:
        raise Unprocessable(f"the photo shows {len(faces)} faces", code="faces_many")
    rules = Rules(parts.pack.match_threshold, on_conflict=OnConflict.ALLOW, min_detection_score=min_score)
    for _ in range(ATTEMPTS):
        person = find(parts, collection, name, by=by)
        _check_owner(parts, collection, photo.row.sha256, person)
        try:
            if person is None:
                person = create(parts, collection, name, by=by)
            # The photo was analysed a moment ago: its answer is still there.
            told = enrolment.enrol(
                parts, person.id, [(photo.row.filename, photo.data)], rules, by=by, gone=gone
            )
        except (Conflict, NotFound) as error:
            # Another request made them, or took them out, between the two.
            if error.code not in ("person_exists", "person_not_found"):
                raise
            continue
        return told.enrolled[0].face_id
    raise DatabaseBusy("others make and erase this subject all the time; send the image again")


def _check_owner(parts: Parts, collection: str, sha256: str, person: Person | None) -> None:
    with parts.database.reading() as session:
        owners = subjects.owners(session, collection, sha256)
    if owners and (person is None or person.id not in owners):
        whose = ", ".join(sorted(owners.values()))
        raise AnotherSubject(f"this image is an example of {whose} already; delete it there first")


def images(
    parts: Parts, collection: str, name: str | None, *, page: int, size: int, by: Actor
) -> tuple[list[tuple[uuid.UUID, str]], int]:
    """A page of images, a face and a name each, and how many there are; `name` None: of everybody."""
    person = find(parts, collection, name, by=by) if name is not None else None
    if name is not None and person is None:
        return [], 0
    by.check_reaches(collection)
    with parts.database.reading() as session:
        found, total = subjects.images(
            session, collection, person.id if person else None, start=page * size, limit=size
        )
        audit.note(
            session, by, "face.list", collection=collection, subject=person.id if person else None,
            details={"faces": len(found)},
        )  # fmt: skip
    return found, total


def image(parts: Parts, face_id: uuid.UUID, *, by: Actor) -> Image | None:
    """None where there is no such image that `by` reaches."""
    with parts.database.reading() as session:
        return subjects.image(session, face_id, by)


def picture(parts: Parts, face_id: uuid.UUID, *, by: Actor) -> Photo | None:
    """The photo of an image, to be shown; None where there is none that `by` reaches."""
    found = image(parts, face_id, by=by)
    if found is None or found.photo_id is None:
        return None
    try:
        return looks.original(parts, found.photo_id, by=by)
    except NotFound:
        return None


def erase_image(parts: Parts, face_id: uuid.UUID, *, by: Actor) -> Image | None:
    """Erase an image, with its photo where that shows nobody else; the subject stays. None: there is none."""
    found = image(parts, face_id, by=by)
    if found is None:
        return None
    try:
        if found.photo_id is not None and found.faces == 1:
            erasure.photo(parts, found.photo_id, dry_run=False, by=by)
        else:
            erasure.face(parts, face_id, dry_run=False, by=by)
    except NotFound:
        return None
    return found
