"""Uploads: photos are checked without decoding a pixel, kept, and given to the workers."""

from __future__ import annotations

import hashlib
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Collection as Several
from dataclasses import dataclass

from face_pipeline.actions import pictures
from face_pipeline.broker.celery import publish_ingest
from face_pipeline.broker.messages import Kind, Wanted
from face_pipeline.engine import PhotoRejected, inspect
from face_pipeline.errors import QueueUnavailable, Unavailable, Unprocessable, root_cause
from face_pipeline.parts import Parts
from face_pipeline.store import ledger, persons, quotas
from face_pipeline.store.audit import Actor
from face_pipeline.store.collections import check_name as check_collection
from face_pipeline.store.models import Collection, State
from face_pipeline.telemetry import context
from face_pipeline.words import counted

log = logging.getLogger(__name__)

# For all files of a request that a worker has to look at.
LOOK_SECONDS = 3.0
LOOK_PIXELS = 32


@dataclass(frozen=True)
class Upload:
    """A photo that passed the checks. `ended`: as `engine.PhotoInfo` has it."""

    row: ledger.NewPhoto
    data: bytes
    ended: bool


@dataclass(frozen=True)
class Rejected:
    """A file that did not; `code` is stable."""

    filename: str
    code: str
    message: str


@dataclass(frozen=True)
class Checked:
    """The files of one request, each in one of the lists, in their order."""

    good: list[Upload]
    rejected: list[Rejected]


@dataclass(frozen=True)
class Batch:
    """What became of the photos of one request: an entry for each, in their order.

    `rejected`: files that did not pass the checks, and those for which a quota has no room.
    """

    id: uuid.UUID
    photos: list[ledger.Accepted]
    rejected: list[Rejected]


def check(parts: Parts, filename: str, data: bytes) -> Upload:
    """The photo of these bytes; raises PhotoRejected. One byte more than is taken shows a file too large."""
    settings = parts.settings
    info = inspect(
        data,
        max_bytes=settings.upload_max_bytes,
        max_pixels=settings.upload_max_pixels,
        max_decode_bytes=settings.decode_memory_bytes,
    )
    row = ledger.NewPhoto(
        sha256=hashlib.sha256(data).hexdigest(),
        filename=filename,
        media_type=info.media_type,
        byte_size=len(data),
        width=info.width,
        height=info.height,
    )
    return Upload(row, data, info.ended)


def check_all(parts: Parts, files: Iterable[tuple[str, bytes]], gone: Callable[[], bool]) -> Checked:
    """Check files, each a name and its bytes; raises Unprocessable when none of them can be used, ClientGone
    once `gone` says that nobody waits."""
    checked = Checked([], [])
    give_up = time.monotonic() + LOOK_SECONDS
    for number, (filename, data) in enumerate(files, 1):
        try:
            photo = check(parts, filename, data)
            if not photo.ended:
                _look(parts, photo, gone, give_up)
            checked.good.append(photo)
        except (PhotoRejected, Unprocessable) as error:
            checked.rejected.append(Rejected(filename, error.code, error.message))
            log.debug(
                "file %d refused: %s", number, error.message,
                extra={"operation": "upload", "reason_code": error.code},
            )  # fmt: skip
    if not checked.good:
        raise Unprocessable(
            "no file of this request can be used", code="photos_rejected",
            details={"rejected": [vars(each) for each in checked.rejected]},
        )  # fmt: skip
    return checked


def _look(parts: Parts, photo: Upload, gone: Callable[[], bool], give_up: float) -> None:
    """Let a worker say whether the photo is cut off; raises Unprocessable.

    Where none does by `give_up` (monotonic), the photo is taken, and fails when its turn comes.
    """
    left = give_up - time.monotonic()
    if left <= 0:
        return
    try:
        wanted = Wanted(Kind.UPRIGHT, photo.row.sha256, LOOK_PIXELS)
        pictures.make(parts, wanted, photo.data, gone, seconds=left)
    except Unavailable as error:
        log.debug("a file without its end was not looked at: %s", error, extra={"operation": "upload"})


def accept(
    parts: Parts,
    checked: Checked,
    *,
    collection: str,
    person: str | None,
    by: Actor,
    batch_id: uuid.UUID | None = None,
) -> Batch:
    """Keep the good photos and give them to the workers; `person` is who they show, unless another's.

    `batch_id`: the batch they are added to, instead of one of their own. When this returns, originals and
    rows survive a power cut. Raises BadRequest for a name that cannot be kept, Forbidden for a collection
    that `by` does not reach, NotFound for the batch, Conflict where it is of another collection, or the
    collection has another engine contract, QuotaExceeded where there is room for none of them.
    """
    by.check_reaches(check_collection(collection))
    person = persons.check_name(person) if person is not None else None
    pack, hashes = parts.pack, {each.row.sha256 for each in checked.good}

    def fitting(
        found: Collection, known: set[str], bounds: list[quotas.Quota]
    ) -> tuple[Collection, set[str], list[Upload], list[Rejected]]:
        return found, known, *_fitting(checked.good, known, bounds)

    while True:
        found, known, good, without_room = parts.database.in_transaction(
            # What is refused here leaves no empty collection behind.
            lambda session: fitting(*ledger.open_collection(session, collection, pack, hashes, by, batch_id))
        )
        rejected = [*checked.rejected, *without_room]
        # Outside a transaction: nothing is locked while the disk works.
        # Who sends a known photo again may do so because its file is damaged.
        _write(parts, (each for each in good if not _is_kept(parts, each.row.sha256, known)))
        try:
            batch, accepted = parts.database.in_transaction(
                lambda session, found=found, good=good, rejected=rejected: ledger.accept(  # type: ignore[misc]
                    session, found, [each.row for each in good],
                    person=person, request_id=context.request_id.get(), by=by,
                    rejected=len(rejected), batch_id=batch_id,
                )
            )  # fmt: skip
            break
        except ledger.CollectionGone:
            log.info("the collection was erased meanwhile and is made again", extra={"operation": "upload"})
        except quotas.QuotaExceeded:
            log.info("others took the room that was left in a quota", extra={"operation": "upload"})
    # An erasure of the same photo may have taken its file before the rows were there to see.
    there = parts.originals.among(each.row.sha256 for each in good)
    _write(parts, (each for each in good if each.row.sha256 not in there))
    _say_accepted(batch.id, accepted, rejected)
    publish_if_possible(parts, [each.photo_id for each in accepted if each.state == State.RECEIVED])
    return Batch(batch.id, accepted, rejected)


def _fitting(
    photos: Sequence[Upload], known: Several[str], bounds: Sequence[quotas.Quota]
) -> tuple[list[Upload], list[Rejected]]:
    """Those that there is room for, the first ones, and the others; raises QuotaExceeded where all are.

    What the collection has already needs no room, nor does a photo that the request has twice.
    """
    good: list[Upload] = []
    rejected: list[Rejected] = []
    taken = quotas.Amount(0, 0)
    there = set(known)
    full: quotas.Quota | None = None
    for photo in photos:
        if photo.row.sha256 not in there:
            more = quotas.Amount(taken.photos + 1, taken.bytes + photo.row.byte_size)
            no_room = next((each for each in bounds if not each.has_room(more)), None)
            if no_room is not None:
                full = no_room
                code = quotas.QuotaExceeded.code
                rejected.append(Rejected(photo.row.filename, code, quotas.words(no_room)))
                continue
            taken = more
            there.add(photo.row.sha256)
        good.append(photo)
    if not good and full is not None:
        raise quotas.QuotaExceeded(full)
    return good, rejected


def _is_kept(parts: Parts, sha256: str, known: Several[str]) -> bool:
    return sha256 in known and parts.originals.intact(sha256)


def _write(parts: Parts, photos: Iterable[Upload]) -> None:
    parts.originals.write({each.row.sha256: each.data for each in photos})


def _say_accepted(
    batch_id: uuid.UUID, accepted: Sequence[ledger.Accepted], rejected: Sequence[Rejected]
) -> None:
    reasons = {each.code for each in rejected} | {each.remark.code for each in accepted if each.remark}
    log.info(
        "%s accepted, %d refused", counted(len(accepted), "photo"), len(rejected),
        extra={
            "operation": "upload", "batch_id": str(batch_id), "count": len(accepted),
            "photo_id": [str(each.photo_id) for each in accepted], "reason_code": sorted(reasons) or None,
        },
    )  # fmt: skip


def publish_if_possible(parts: Parts, photo_ids: Iterable[uuid.UUID]) -> None:
    """What Redis does not take now, the reconciler brings later."""
    wanted = list(set(photo_ids))
    try:
        publish(parts, wanted, request_id=context.request_id.get())
    except QueueUnavailable as error:
        log.warning(
            "Redis takes no messages; the photos wait in the ledger: %s", root_cause(error),
            extra={"count": len(wanted)},
        )  # fmt: skip
    except Exception:
        # The rows are committed: whatever failed here, the photos are accepted.
        log.exception("photos wait in the ledger", extra={"count": len(wanted)})


def publish(parts: Parts, photo_ids: Sequence[uuid.UUID], *, request_id: str | None) -> list[uuid.UUID]:
    """Give waiting photos to the workers; returns those that Redis took. QueueUnavailable: it took none.

    A photo given twice does no harm: the first task to claim its row wins.
    """
    sent = publish_ingest(parts.celery, photo_ids, request_id) if photo_ids else []
    if sent:
        parts.database.in_statements(lambda connection: ledger.mark_queued(connection, sent))
    return sent
