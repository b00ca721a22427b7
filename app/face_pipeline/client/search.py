"""Who is it: searches, comparisons, detection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from face_pipeline.client.answers import DetectedFace, Detection, Embedding, Search, Verification
from face_pipeline.client.base import Calls, Id, form, part
from face_pipeline.client.multipart import Source, file_of

Names = str | Iterable[str] | None


class SearchCalls(Calls):
    def search(
        self,
        photo: Source,
        *,
        collection: Names = None,
        limit: int | None = None,
        threshold: float | None = None,
        min_quality: float | None = None,
        min_face_size: int | None = None,
        group_by: str | None = None,
    ) -> Search:
        """Who is on a photo. What is left open is as the service has it.

        collection: one name, or several. min_face_size: pixels of a face's shorter side. group_by: `face` or
        `person`.
        """
        sent = form(
            [("photo", file_of(photo))],
            collection=collection,
            limit=limit,
            threshold=threshold,
            min_quality=min_quality,
            min_face_size=min_face_size,
            group_by=group_by,
        )
        return self._ask(Search, "/search", sent)

    def search_face(self, face_id: Id, **wishes: Any) -> Search:
        """Whose face a stored one is; wishes as those of search()."""
        return self._ask(Search, "/search", {"face_id": str(face_id), **_wishes(wishes)})

    def search_embedding(self, embedding: Iterable[float], contract_id: str, **wishes: Any) -> Search:
        """Whose face an embedding is, which an engine of the same contract made (L2 norm 1)."""
        body = {"embedding": list(embedding), "contract_id": contract_id, **_wishes(wishes)}
        return self._ask(Search, "/search", body)

    def verify(
        self,
        photo: Source,
        other: Source | None = None,
        *,
        person_id: Id | None = None,
        threshold: float | None = None,
    ) -> Verification:
        """Whether a photo shows the same person as another photo, or a known person."""
        files = [("photo", file_of(photo))]
        if other is not None:
            files.append(("other", file_of(other)))
        return self._ask(Verification, "/verify", form(files, person_id=person_id, threshold=threshold))

    def detect(
        self, photo: Source, *, limit: int | None = None, min_face_size: int | None = None
    ) -> tuple[DetectedFace, ...]:
        """The faces on a photo that is not kept, biggest first."""
        sent = form([("photo", file_of(photo))], limit=limit, min_face_size=min_face_size)
        return self._ask(Detection, "/detect", sent).faces

    def crop(self, face_id: Id, size: int = 160) -> bytes:
        """A JPEG of a face, longer side `size` pixels (32 to 512)."""
        return self._get(f"/faces/{part(face_id)}/crop", size=size)

    def embedding(self, face_id: Id) -> Embedding:
        """For a key with the scope admin."""
        return self._read(Embedding, f"/faces/{part(face_id)}/embedding")


def _wishes(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}
