"""Erasure: photos, faces, persons, collections, with all that was made of them; a receipt tells what went.

First the rows, in a transaction; then, never before, the originals that no row names any more, and the cached
answers of searches. What a process that ends in between leaves of originals is swept (ops/indexer.py), and
cached answers end by themselves: nobody finds them, for the collection has another version.
"""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from face_pipeline.actions import originals
from face_pipeline.actions.failures import wanted
from face_pipeline.broker import answers
from face_pipeline.errors import DatabaseBusy, QueueUnavailable, Unavailable
from face_pipeline.parts import Parts
from face_pipeline.store import collections, erasure, several
from face_pipeline.store import failures as failed
from face_pipeline.store.audit import Actor
from face_pipeline.store.erasure import ChangedMeanwhile, Condition, Erased, Kept, Why
from face_pipeline.store.originals import Removed
from face_pipeline.store.several import Refused
from face_pipeline.words import counted

log = logging.getLogger(__name__)

# Photos that come to what is erased while it is locked make it begin again.
ATTEMPTS = 20
# Less than nginx waits. What takes longer goes on with the next request.
MOST_SECONDS = 40.0
# What a disk has not let go by then, the indexer removes: a slow one takes a second for some hundred files.
FILES_SECONDS = 0.8


@dataclass(frozen=True)
class Receipt:
    """What went, or would go with a dry run, and what stays. `originals` are files, `answers` cached ones."""

    dry_run: bool
    rows: Erased
    originals: int
    answers: int

    @property
    def kept(self) -> list[Kept]:
        return self.rows.kept


def photo(parts: Parts, photo_id: uuid.UUID, *, dry_run: bool, by: Actor) -> Receipt:
    """Erase a photo, its faces, and its file where no other collection has it. Raises NotFound."""
    return _erase(
        parts,
        lambda: parts.database.in_transaction(
            lambda session: erasure.photo(session, photo_id, dry_run=dry_run, by=by)
        ),
        dry_run,
    )


def photos(
    parts: Parts, photo_ids: Sequence[uuid.UUID], *, dry_run: bool, by: Actor, receipt: uuid.UUID
) -> tuple[list[Receipt], list[Refused]]:
    """Erase photos, all in one transaction: what went of each collection, and which are not there.

    `receipt`: the id of the one that tells of all.
    """
    found = parts.database.in_transaction(
        lambda session: erasure.photos(session, photo_ids, dry_run=dry_run, by=by, receipt=receipt)
    )
    receipts = []
    for rows, _ in found.values():
        hashes = rows.hashes
        files = _would_remove(parts, rows, hashes) if dry_run else _remove(parts, hashes)
        receipts.append(_receipt(parts, rows, files, dry_run=dry_run))
    return receipts, several.no_photos(photo_ids, (each for _, ids in found.values() for each in ids))


def face(parts: Parts, face_id: uuid.UUID, *, dry_run: bool, by: Actor) -> Receipt:
    """Erase a face; its photo stays. Raises NotFound."""
    return _erase(
        parts,
        lambda: parts.database.in_transaction(
            lambda session: erasure.face(session, face_id, dry_run=dry_run, by=by)
        ),
        dry_run,
    )


def person(parts: Parts, person_id: uuid.UUID, *, dry_run: bool, by: Actor) -> Receipt:
    """Erase a person, their faces, and the photos that show nobody else. Raises NotFound, DatabaseBusy."""
    return _erase(
        parts,
        lambda: parts.database.in_transaction(
            lambda session: erasure.person(session, person_id, dry_run=dry_run, by=by)
        ),
        dry_run,
    )


def collection(parts: Parts, name: str, *, dry_run: bool, by: Actor) -> Receipt:
    """Erase a collection and all that is in it, whatever engine it was made with.

    In steps, each a transaction with its entry in the audit. Raises NotFound, Forbidden, DatabaseBusy;
    Unavailable where it takes too long for one request: the next one goes on.
    """
    by.check_reaches(collections.check_name(name))
    with parts.database.reading() as session:
        found = erasure.collection(session, name)
    if dry_run:
        return _of_a_collection(parts, found)
    until = time.monotonic() + MOST_SECONDS
    so_far, files = found.nothing_yet(), Removed(0, 0, 0)
    for _ in range(ATTEMPTS):
        files += _empty(parts, found, so_far, until, by)
        try:
            rows = parts.database.in_transaction(
                lambda session: erasure.empty_collection(session, found, so_far, by=by)
            )
        except ChangedMeanwhile:
            continue
        return _receipt(parts, rows, files)
    raise _busy()


def _empty(
    parts: Parts, found: Erased, so_far: Erased, until: float, by: Actor, only: Condition | None = None
) -> Removed:
    """Take all photos out of a collection, or those that fit, and count them in `so_far`."""
    files = Removed(0, 0, 0)
    while (
        some := parts.database.in_transaction(
            lambda session: erasure.some_photos(session, found, by=by, only=only)
        )
    ).photos:
        files += _remove(parts, some.hashes)
        so_far.photos += some.photos
        so_far.faces += some.faces
        so_far.tasks += some.tasks
        so_far.under_way += some.under_way
        if time.monotonic() > until:
            raise Unavailable(
                f"{so_far.photos} photos are erased, and more are left; send the request again to go on",
                code="erasure_unfinished", details=so_far.counts(),
            )  # fmt: skip
    return files


@dataclass
class ErasedFailures:
    """Photos of one reason that went, or would go, and the collections they were in."""

    dry_run: bool
    collections: list[str] = field(default_factory=list)
    photos: int = 0
    faces: int = 0
    originals: int = 0
    kept: list[Kept] = field(default_factory=list)
    receipt: uuid.UUID = field(default_factory=uuid.uuid4)


def failures(
    parts: Parts, reason: str, *, collection: str | None, dry_run: bool, by: Actor
) -> ErasedFailures:
    """Erase the photos that failed for a reason, in a collection or in all that `by` reaches.

    In steps, each a transaction with its entry in the audit. Raises NotFound and Forbidden for the
    collection; Unavailable where it takes too long for one request: the next one goes on.
    """
    asked = wanted(parts, collection=collection, reason=reason, by=by)
    only = failed.failed(asked)
    receipt, files = ErasedFailures(dry_run), Removed(0, 0, 0)
    until = time.monotonic() + MOST_SECONDS
    with parts.database.reading() as session:
        found = failed.collections_of(session, asked)
    for identifier, name in found:
        there = Erased(identifier, name, receipt=receipt.receipt)
        if dry_run:
            with parts.database.reading() as session:
                rows = erasure.would_remove(session, there, only)
            files += _would_remove(parts, rows, rows.hashes)
        else:
            rows = there.nothing_yet()
            files += _empty(parts, there, rows, until, by, only)
        receipt.collections.append(name)
        receipt.photos += rows.photos
        receipt.faces += rows.faces
    receipt.originals = files.removed
    receipt.kept += _kept_files(files)
    if not dry_run:
        log.info(
            "erased %s that failed", counted(receipt.photos, "photo"),
            extra={"operation": "erase", "count": receipt.photos, "reason_code": reason},
        )  # fmt: skip
    return receipt


def _of_a_collection(parts: Parts, found: Erased) -> Receipt:
    files, after = Removed(0, 0, 0), ""
    while True:
        with parts.database.reading() as session:
            hashes = erasure.some_hashes(session, found.collection_id, after)
        if not hashes:
            return _receipt(parts, found, files, dry_run=True)
        files += _would_remove(parts, found, hashes)
        after = hashes[-1]


def _erase(parts: Parts, once: Callable[[], Erased], dry_run: bool) -> Receipt:
    for _ in range(ATTEMPTS):
        try:
            rows = once()
        except ChangedMeanwhile:
            continue
        if dry_run:
            return _receipt(parts, rows, _would_remove(parts, rows, rows.hashes), dry_run=True)
        until = time.monotonic() + FILES_SECONDS
        return _receipt(parts, rows, _remove(parts, rows.hashes, until))
    raise _busy()


def _remove(parts: Parts, hashes: Collection[str], until: float = math.inf) -> Removed:
    return originals.remove(parts, hashes, lambda names: _named(parts, names), until=until)


def _busy() -> DatabaseBusy:
    return DatabaseBusy("photos come in faster than they can be erased; stop sending them, and try again")


def _named(parts: Parts, hashes: Collection[str], *, outside: int | None = None) -> Collection[str]:
    with parts.database.reading() as session:
        return erasure.named(session, hashes, outside=outside)


def _would_remove(parts: Parts, rows: Erased, hashes: Collection[str]) -> Removed:
    others = set(_named(parts, hashes, outside=rows.collection_id))
    files = parts.originals.among(each for each in hashes if each not in others)
    return Removed(len(files), len(others), 0)


def _kept_files(files: Removed) -> list[Kept]:
    counts = (
        (Why.NAMED_ELSEWHERE, files.named),
        (Why.REMOVED_SOON, len(files.later)),
        (Why.DISK_REFUSED, files.left),
    )
    return [Kept("originals", why, count) for why, count in counts if count]


def _receipt(parts: Parts, rows: Erased, files: Removed, *, dry_run: bool = False) -> Receipt:
    rows.kept += _kept_files(files)
    forgotten = 0
    try:
        forgotten = (answers.count if dry_run else answers.forget)(parts.scratch, rows.collection_id)
    except QueueUnavailable:
        rows.kept.append(Kept("answers", Why.CACHE_UNAVAILABLE, 0))
    receipt = Receipt(dry_run, rows, files.removed, forgotten)
    if not dry_run:
        log.info(
            "erased %s, %s, %s",
            counted(rows.photos, "photo"), counted(rows.faces, "face"), counted(rows.persons, "person"),
            extra={"operation": "erase", "count": rows.photos},
        )  # fmt: skip
    return receipt
