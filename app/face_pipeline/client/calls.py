"""The calls of the HTTP API."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from urllib.parse import urlencode
from uuid import UUID

from face_pipeline import __version__
from face_pipeline.client.answers import Batch, ListedPhoto, Page, Photo, Readiness, Search, Upload
from face_pipeline.client.errors import Unfinished
from face_pipeline.client.transport import Field, Transport, refusal

API = "/api/v1"
POLL_SECONDS = 0.3
# Photos of one page of a list, the most that the service gives.
PAGE = 200
ENDED = ("done", "failed")


class Client:
    """One installation, by its public address and an API key; may be used from several threads.

    `ca`: certificates to trust, PEM, instead of the system's. `address`: connect there instead of to the
    host of `url`. `agent`: the User-Agent. Every call raises Refused for an answer that is an error, and
    Unreachable where none came. Calls that change nothing are made again where the service asks for that.
    """

    def __init__(self, url: str, api_key: str, *, ca: str = "", address: str = "", agent: str = "") -> None:
        headers = {
            "Authorization": f"Bearer {api_key}",
            "User-Agent": agent or f"face-pipeline-client/{__version__}",
        }
        self._transport = Transport(url, headers, ca=ca, address=address)

    def ready(self) -> Readiness:
        """Whether each part that the service needs is there."""
        path = "/health/ready"
        status, headers, body = self._transport.once("GET", path)
        try:
            return Readiness.model_validate_json(body)
        except ValueError:
            # Something before the service answered.
            raise refusal("GET", path, status, headers, body) from None

    def metrics(self) -> str:
        """The metrics of the web service, where this address may read them."""
        return self._transport.ask("GET", "/metrics", again=True).decode()

    def upload(
        self, photos: Mapping[str, bytes], *, collection: str | None = None, person: str | None = None
    ) -> Upload:
        """Hand in photos by their file names; what is no photo is among the `rejected`.

        Raises Refused where none of them can be used.
        """
        fields = [*_form(collection=collection, person=person), *(
            ("photos", (name, data, "application/octet-stream")) for name, data in photos.items()
        )]  # fmt: skip
        return Upload.model_validate_json(self._transport.ask("POST", f"{API}/photos", fields, again=False))

    def photo(self, photo_id: UUID | str) -> Photo:
        return Photo.model_validate_json(self._get(f"/photos/{photo_id}"))

    def photos(
        self, *, collection: str | None = None, state: str | None = None, batch: UUID | str | None = None
    ) -> Iterator[ListedPhoto]:
        """All photos, newest first, a page at a time."""
        wanted = {"collection": collection, "state": state, "batch": batch, "limit": PAGE}
        query = {name: value for name, value in wanted.items() if value is not None}
        while True:
            page = Page.model_validate_json(self._get(f"/photos?{urlencode(query)}"))
            yield from page.photos
            if page.next_cursor is None:
                return
            query["cursor"] = page.next_cursor

    def image(self, photo_id: UUID | str) -> bytes:
        """The photo as it was handed in."""
        return self._get(f"/photos/{photo_id}/image")

    def batch(self, batch_id: UUID | str) -> Batch:
        return Batch.model_validate_json(self._get(f"/batches/{batch_id}"))

    def wait_finished(self, batch_id: UUID | str, seconds: float = 120.0) -> Batch:
        """The batch once each of its photos is done or failed; raises Unfinished after `seconds`."""
        end = time.monotonic() + seconds
        while not (batch := self.batch(batch_id)).finished:
            if time.monotonic() > end:
                waiting = {state: count for state, count in batch.states.items() if count}
                raise Unfinished(f"batch {batch_id} is not finished after {seconds:g} s: {waiting}")
            time.sleep(POLL_SECONDS)
        return batch

    def wait_for_photo(self, photo_id: UUID | str, seconds: float = 120.0) -> Photo:
        """The photo once it is done or failed; raises Unfinished after `seconds`."""
        end = time.monotonic() + seconds
        while (photo := self.photo(photo_id)).state not in ENDED:
            if time.monotonic() > end:
                raise Unfinished(
                    f"the photo is still {photo.state} after {seconds:g} s; are workers running?"
                )
            time.sleep(POLL_SECONDS)
        return photo

    def search(
        self,
        photo: bytes,
        *,
        collection: str | None = None,
        limit: int | None = None,
        threshold: float | None = None,
        min_quality: float | None = None,
        group_by: str | None = None,
    ) -> Search:
        """Who is on a photo. What is left open is as the service has it; group_by: `face` or `person`."""
        form = _form(
            collection=collection,
            limit=limit,
            threshold=threshold,
            min_quality=min_quality,
            group_by=group_by,
        )
        file = ("photo", ("photo", photo, "application/octet-stream"))
        return Search.model_validate_json(
            self._transport.ask("POST", f"{API}/search", [*form, file], again=True)
        )

    def crop(self, face_id: UUID | str, size: int = 160) -> bytes:
        """A JPEG of a face, longer side `size` pixels (32 to 512)."""
        return self._get(f"/faces/{face_id}/crop?size={size}")

    def _get(self, path: str) -> bytes:
        return self._transport.ask("GET", API + path, again=True)


def _form(**values: str | float | None) -> list[Field]:
    return [(name, str(value)) for name, value in values.items() if value is not None]
