"""Whole collections, out and in: to move them to another installation, or to keep them where no program of
ours is needed to read them; and one person, out."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias
from uuid import UUID

from face_pipeline.actions import embeddings, uploads
from face_pipeline.engine import PhotoRejected
from face_pipeline.errors import BadRequest
from face_pipeline.parts import Parts
from face_pipeline.store import collections, exports, imports, person_exports, persons
from face_pipeline.store.audit import Actor
from face_pipeline.store.imports import FaceRecord, Outcome, PersonRecord, PhotoRecord, Verdict, refused
from face_pipeline.store.models import Collection, Reason, State
from face_pipeline.telemetry import context
from face_pipeline.words import counted

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GivenFace:
    """A face as an export has it; `embedding` may be left out where photos are processed anew."""

    id: UUID
    person_id: UUID | None
    bbox: Sequence[float]
    landmarks: Sequence[Sequence[float]]
    detection_score: float
    quality: float
    embedding: Sequence[float] | None


@dataclass(frozen=True)
class GivenPhoto:
    """A photo as an export has it. What its original is, the original says.

    `record` is without faces; `record.photo` has no more than its sha256 and its file name.
    """

    record: PhotoRecord
    faces: Sequence[GivenFace]


Record: TypeAlias = PersonRecord | GivenPhoto | GivenFace
# The bytes of an original, by its sha256; None: it did not come along.
Originals: TypeAlias = Callable[[str], bytes | None]


def export(parts: Parts, collection: str, *, limit: int, place: exports.Place, by: Actor) -> exports.Page:
    """A page of a collection, also of one that another model pack made.

    Raises Forbidden for a collection that they do not reach, NotFound where there is none.
    """
    by.check_reaches(collections.check_name(collection))
    return parts.database.in_transaction(
        lambda session: exports.page(session, collection, limit=limit, place=place, by=by)
    )


def export_person(
    parts: Parts, person_id: UUID, *, limit: int, place: person_exports.Place, by: Actor
) -> person_exports.Page:
    """A page of all that is held on a person.

    Raises NotFound where there is nobody of this id whom they reach.
    """
    return parts.database.in_transaction(
        lambda session: person_exports.page(session, person_id, limit=limit, place=place, by=by)
    )


def take(
    parts: Parts,
    name: str,
    records: Sequence[Record],
    originals: Originals,
    *,
    contract: str,
    reprocess: bool,
    by: Actor,
) -> list[Verdict]:
    """Keep what is good of these records, each whole or not at all; a verdict for each, in their order.

    `contract`: what made their embeddings. `reprocess`: these are not looked at, and workers find the faces
    of the photos anew. What was kept survives a power cut. Raises Forbidden, Conflict for embeddings of
    another contract and for a collection of one, NotFound for a collection that goes meanwhile.
    """
    by.check_reaches(collections.check_name(name))
    if not reprocess:
        embeddings.check_contract(parts.pack, contract)
    collection = parts.database.in_transaction(
        lambda session: collections.open_collection(session, name, parts.pack)
    )
    verdicts: dict[int, Verdict] = {}
    people = {at: each for at, each in enumerate(records) if isinstance(each, PersonRecord)}
    verdicts |= _people(parts, collection, people, by)
    # Under which ids the persons of this request are kept.
    kept = {each.id: verdict.id for at, each in people.items() if (verdict := verdicts[at]).id is not None}
    photos = {at: each for at, each in enumerate(records) if isinstance(each, GivenPhoto)}
    verdicts |= _Photos(parts, collection, originals, kept, contract, reprocess, by).take(photos)
    faces = {at: each for at, each in enumerate(records) if isinstance(each, GivenFace)}
    verdicts |= _faces(parts, collection, faces, kept, contract, reprocess, by)
    count = sum(each.outcome is Outcome.MADE for each in verdicts.values())
    log.info("%d of %d records imported", count, len(records), extra={"operation": "import", "count": count})
    return [verdicts[at] for at in range(len(records))]


def _people(
    parts: Parts, collection: Collection, given: Mapping[int, PersonRecord], by: Actor
) -> dict[int, Verdict]:
    verdicts: dict[int, Verdict] = {}
    good: dict[UUID, PersonRecord] = {}
    for at, record in given.items():
        try:
            good[record.id] = replace(record, name=persons.check_name(record.name))
        except BadRequest as error:
            verdicts[at] = refused(error.code, error.message)
    if good:
        wanted = list(good.values())
        told = parts.database.in_transaction(
            lambda session: imports.add_persons(session, collection, wanted, by)
        )
        by_id = {record.id: verdict for record, verdict in zip(wanted, told, strict=True)}
        verdicts |= {at: by_id[record.id] for at, record in given.items() if at not in verdicts}
    return verdicts


def _owner(kept: Mapping[UUID, UUID | None], person_id: UUID | None) -> UUID | None:
    """Whose it is here: the ids of persons of other requests are sent as they are kept."""
    return (kept.get(person_id) or person_id) if person_id else None


@dataclass(frozen=True)
class _Ready:
    """A photo that can be kept. `remark`: a code and words for what of it cannot."""

    record: PhotoRecord
    data: bytes
    remark: tuple[str, str] | None = None


@dataclass(frozen=True)
class _Photos:
    """The photos of one request."""

    parts: Parts
    collection: Collection
    originals: Originals
    kept: Mapping[UUID, UUID | None]
    contract: str
    reprocess: bool
    by: Actor

    def take(self, given: Mapping[int, GivenPhoto]) -> dict[int, Verdict]:
        hashes = {each.record.photo.sha256 for each in given.values()}
        with self.parts.database.reading() as session:
            known = imports.known(session, self.collection.id, hashes)
        verdicts: dict[int, Verdict] = {}
        ready: dict[int, _Ready] = {}
        for at, each in given.items():
            there = known.get(each.record.photo.sha256)
            found = Verdict(Outcome.THERE, there) if there else self._checked(each)
            if isinstance(found, Verdict):
                verdicts[at] = found
            else:
                ready[at] = found
        return verdicts | (self._keep(ready) if ready else {})

    def _checked(self, given: GivenPhoto) -> _Ready | Verdict:
        """The photo with all that its original says, or what is wrong with it."""
        sha256 = given.record.photo.sha256
        data = self.originals(sha256)
        if data is None:
            return refused("original_missing", f"the original of the photo {sha256} did not come along")
        # Of one that is too large a part was read.
        whole = len(data) <= self.parts.settings.upload_max_bytes
        if whole and hashlib.sha256(data).hexdigest() != sha256:
            return refused("original_differs", f"the original that came as {sha256} has another SHA-256")
        owner = _owner(self.kept, given.record.person_id)
        try:
            checked = uploads.check(self.parts, given.record.photo.filename, data)
            record = replace(given.record, photo=checked.row, person_id=owner)
            if self.reprocess:
                return self._anew(record, given.faces, data)
            ended = record.state in (State.DONE, State.FAILED)
            faces = _face_records(self.parts, self.contract, given.faces if ended else (), self.kept)
            return _Ready(replace(record, state=record.state if ended else State.RECEIVED, faces=faces), data)
        except (PhotoRejected, BadRequest) as error:
            return refused(error.code, error.message)

    def _anew(self, record: PhotoRecord, faces: Sequence[GivenFace], data: bytes) -> _Ready:
        """As it was uploaded: the only face that is found is the person's."""
        named = [each.person_id for each in faces if each.person_id is not None]
        if record.person_id is None and len(faces) == 1 and named:
            record = replace(record, person_id=_owner(self.kept, named[0]))
        record = replace(
            record, state=State.RECEIVED, attempts=0, reason_code=None, reason_message=None, finished_at=None
        )
        if not named or len(faces) == 1:
            return _Ready(record, data)
        words = (
            f"it showed {counted(len(faces), 'face')}: whose the faces are that are found now, nobody says"
        )
        return _Ready(record, data, (Reason.PERSON_NOT_ASSIGNED, words))

    def _keep(self, ready: Mapping[int, _Ready]) -> dict[int, Verdict]:
        parts, request_id = self.parts, context.request_id.get()
        # The same photo twice in one request is one, the first.
        photos = {each.record.photo.sha256: each for each in reversed(list(ready.values()))}
        records = [each.record for each in photos.values()]
        # Outside a transaction: nothing is locked while the disk works.
        parts.originals.write({sha256: each.data for sha256, each in photos.items()})
        told = parts.database.in_transaction(
            lambda session: imports.add_photos(
                session, self.collection, records, request_id=request_id, by=self.by
            )
        )
        verdicts = dict(zip(photos, told, strict=True))
        kept = {name: photos[name].data for name, each in verdicts.items() if each.id is not None}
        # An erasure of the same photo may have taken its file before the row was there to see.
        there = parts.originals.among(kept)
        parts.originals.write({name: data for name, data in kept.items() if name not in there})
        self._publish(records, verdicts)
        for sha256, verdict in verdicts.items():
            remark = photos[sha256].remark
            if verdict.outcome is Outcome.MADE and remark is not None:
                verdicts[sha256] = replace(verdict, code=remark[0], message=remark[1])
        return {at: verdicts[each.record.photo.sha256] for at, each in ready.items()}

    def _publish(self, records: Sequence[PhotoRecord], verdicts: Mapping[str, Verdict]) -> None:
        waiting = [
            verdict.id
            for record in records
            if record.state is State.RECEIVED
            and (verdict := verdicts[record.photo.sha256]).outcome is Outcome.MADE
            and verdict.id is not None
        ]
        if waiting:
            uploads.publish_if_possible(self.parts, waiting)


def _face_records(
    parts: Parts, contract: str, given: Sequence[GivenFace], kept: Mapping[UUID, UUID | None]
) -> list[FaceRecord]:
    """Raises BadRequest for an embedding that this contract does not allow."""
    if not given:
        return []
    missing = next((place for place, each in enumerate(given) if each.embedding is None), None)
    if missing is not None:
        raise BadRequest(f"the face at place {missing} has no embedding", code="embedding_invalid")
    rows = embeddings.check(parts.pack, contract, [each.embedding or () for each in given])
    return [
        FaceRecord(
            each.id, _owner(kept, each.person_id), each.bbox, each.landmarks, each.detection_score,
            each.quality, embedding,
        )
        for each, embedding in zip(given, rows, strict=True)
    ]  # fmt: skip


def _faces(
    parts: Parts,
    collection: Collection,
    given: Mapping[int, GivenFace],
    kept: Mapping[UUID, UUID | None],
    contract: str,
    reprocess: bool,
    by: Actor,
) -> dict[int, Verdict]:
    """Faces without a photo."""
    verdicts: dict[int, Verdict] = {}
    good: dict[int, FaceRecord] = {}
    for at, each in given.items():
        if reprocess:
            verdicts[at] = refused(
                "face_without_photo", "it has no photo, so no other face can be found in its place"
            )
            continue
        try:
            (good[at],) = _face_records(parts, contract, [each], kept)
        except BadRequest as error:
            verdicts[at] = refused(error.code, error.message)
    if good:
        records = list(good.values())
        told = parts.database.in_transaction(
            lambda session: imports.add_faces(session, collection, records, by)
        )
        verdicts |= dict(zip(good, told, strict=True))
    return verdicts
