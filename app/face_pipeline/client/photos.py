"""Photos: putting them in, and what became of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime

from face_pipeline.client.answers import (
    Batch,
    ListedPhoto,
    Moved,
    Photo,
    PhotosMoved,
    PhotosReceipt,
    Receipt,
    ReceiptKeys,
    Retried,
    Trail,
    Upload,
)
from face_pipeline.client.base import Calls, Id, form, part
from face_pipeline.client.errors import Unfinished
from face_pipeline.client.multipart import Source, file_of

POLL_SECONDS = 0.3
ENDED = ("done", "failed")


class PhotoCalls(Calls):
    def upload(
        self,
        photos: Mapping[str, Source] | Iterable[tuple[str, Source]],
        *,
        collection: str | None = None,
        person: str | None = None,
        batch: Id | None = None,
        key: str | None = None,
    ) -> Upload:
        """Hand in photos by their file names; what is no photo is among the `rejected`.

        A path is sent from the disk, a piece at a time. `batch`: one that open_batch() made. `key`: an
        Idempotency-Key of your own, for the same upload by another process. Raises Refused where none of
        the photos can be used, FileUnreadable.
        """
        named = photos.items() if isinstance(photos, Mapping) else photos
        files = [("photos", file_of(source, name)) for name, source in named]
        sent = form(files, collection=collection, person=person, batch=batch)
        return self._make(Upload, "/photos", sent, key=key)

    def photo(self, photo_id: Id) -> Photo:
        return self._read(Photo, f"/photos/{part(photo_id)}")

    def photos(
        self,
        *,
        collection: str | None = None,
        state: str | Iterable[str] | None = None,
        batch: Id | None = None,
        reason: str | None = None,
        person_id: Id | None = None,
        faces: str | None = None,
        filename: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        sort: str | None = None,
    ) -> Iterator[ListedPhoto]:
        """All photos that fit, a page at a time.

        state: one, or several. faces: `some`, `none` or `unknown`. filename: a part of it. since, until: when
        they were received, times with an offset. sort: `newest` first or `oldest`.
        """
        return self._pages(
            ListedPhoto, "/photos", "photos", collection=collection, state=state, batch=batch, reason=reason,
            person_id=person_id, faces=faces, filename=filename, since=_moment(since), until=_moment(until),
            sort=sort,
        )  # fmt: skip

    def trail(self, photo_id: Id) -> Trail:
        """What happened to a photo, step by step."""
        return self._read(Trail, f"/photos/{part(photo_id)}/trail")

    def thumbnail(self, photo_id: Id) -> bytes:
        """A small square picture with the faces on it, a JPEG; of a photo that is done."""
        return self._get(f"/photos/{part(photo_id)}/thumbnail")

    def image(self, photo_id: Id) -> bytes:
        """The photo as it was handed in."""
        return self._get(f"/photos/{part(photo_id)}/image")

    def erase_photo(self, photo_id: Id, *, dry_run: bool = False) -> Receipt:
        """The photo, its faces and its original; dry_run: only say what that would be."""
        return self._erase(Receipt, f"/photos/{part(photo_id)}", dry_run=dry_run)

    def receipt_keys(self) -> ReceiptKeys:
        """Public keys that receipts of erasures are checked with."""
        return self._read(ReceiptKeys, "/receipts/keys")

    def retry_photo(self, photo_id: Id) -> Photo:
        """A failed photo starts again."""
        return self._make(Photo, f"/photos/{part(photo_id)}/retry")

    def retry_photos(self, *, collection: str | None = None, reason: str | None = None) -> int:
        """All failed photos of a collection, or with a reason's code, start again; how many."""
        wanted = {"collection": collection, "reason": reason}
        body = {name: value for name, value in wanted.items() if value is not None}
        return self._make(Retried, "/photos/retry", body).retried

    def move_photo(self, photo_id: Id, collection: str) -> Moved:
        """With its faces, which are given to the persons of the same names there."""
        return self._make(Moved, f"/photos/{part(photo_id)}/move", {"collection": collection})

    def retry_listed(self, photo_ids: Iterable[Id]) -> Retried:
        """Those of 1 to 200 photos that failed start again."""
        return self._make(Retried, "/photos/retry", {"photo_ids": _texts(photo_ids)})

    def erase_photos(self, photo_ids: Iterable[Id], *, dry_run: bool = False) -> PhotosReceipt:
        """1 to 200 photos in one transaction; dry_run: only say what that would be."""
        body = {"photo_ids": _texts(photo_ids), "dry_run": dry_run}
        return self._make(PhotosReceipt, "/photos/delete", body)

    def move_photos(self, photo_ids: Iterable[Id], collection: str) -> PhotosMoved:
        """1 to 200 photos, each by itself; those that cannot be moved are `refused`."""
        body = {"photo_ids": _texts(photo_ids), "collection": collection}
        return self._make(PhotosMoved, "/photos/move", body)

    def open_batch(self, collection: str) -> Batch:
        """A batch for the photos of many uploads."""
        return self._make(Batch, "/batches", {"collection": collection})

    def batches(self, *, collection: str | None = None) -> Iterator[Batch]:
        """All batches, newest first."""
        return self._pages(Batch, "/batches", "batches", collection=collection)

    def batch(self, batch_id: Id) -> Batch:
        return self._read(Batch, f"/batches/{part(batch_id)}")

    def wait_finished(self, batch_id: Id, seconds: float = 120.0) -> Batch:
        """The batch once each of its photos is done or failed; raises Unfinished after `seconds`."""
        end = time.monotonic() + seconds
        while not (batch := self.batch(batch_id)).finished:
            if time.monotonic() > end:
                waiting = {state: count for state, count in batch.states.items() if count}
                raise Unfinished(f"batch {batch_id} is not finished after {seconds:g} s: {waiting}")
            time.sleep(POLL_SECONDS)
        return batch

    def wait_for_photo(self, photo_id: Id, seconds: float = 120.0) -> Photo:
        """The photo once it is done or failed; raises Unfinished after `seconds`."""
        end = time.monotonic() + seconds
        while (photo := self.photo(photo_id)).state not in ENDED:
            if time.monotonic() > end:
                raise Unfinished(
                    f"the photo is still {photo.state} after {seconds:g} s; are workers running?"
                )
            time.sleep(POLL_SECONDS)
        return photo


def _texts(ids: Iterable[Id]) -> list[str]:
    return [str(each) for each in ids]


def _moment(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()
