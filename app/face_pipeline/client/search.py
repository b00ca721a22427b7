"""Who is it: searches, comparisons, detection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from face_pipeline.client.answers import (
    Detection,
    Embedding,
    EmbeddingsAdded,
    ListedEmbedding,
    Search,
    Verification,
)
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
        named: bool | None = None,
    ) -> Search:
        """Who is on a photo. What is left open is as the service has it.

        collection: one name, or several. min_face_size: pixels of a face's shorter side. group_by: `face` or
        `person`. named: only faces that are somebody's.
        """
        sent = form(
            [("photo", file_of(photo))],
            collection=collection,
            limit=limit,
            threshold=threshold,
            min_quality=min_quality,
            min_face_size=min_face_size,
            group_by=group_by,
            named=named,
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
        other_face_id: Id | None = None,
        threshold: float | None = None,
        which: str | None = None,
    ) -> Verification:
        """Whether a photo shows the same person as another photo, a stored face, or a known person.

        which: `largest`, or `only`, with which several faces on a photo are an error.
        """
        files = [("photo", file_of(photo))]
        if other is not None:
            files.append(("other", file_of(other)))
        sent = form(files, person_id=person_id, other_face_id=other_face_id, threshold=threshold, which=which)
        return self._ask(Verification, "/verify", sent)

    def verify_face(
        self,
        face_id: Id,
        other_face_id: Id | None = None,
        *,
        person_id: Id | None = None,
        threshold: float | None = None,
    ) -> Verification:
        """Whether a stored face is of the same person as another one, or of a known person."""
        ids = {"face_id": face_id, "other_face_id": other_face_id, "person_id": person_id}
        body: dict[str, Any] = {name: str(value) for name, value in ids.items() if value is not None}
        return self._ask(Verification, "/verify", body | _wishes({"threshold": threshold}))

    def detect(
        self, photo: Source, *, limit: int | None = None, min_face_size: int | None = None
    ) -> Detection:
        """The faces on a photo that is not kept, largest first."""
        sent = form([("photo", file_of(photo))], limit=limit, min_face_size=min_face_size)
        return self._ask(Detection, "/detect", sent)

    def crop(self, face_id: Id, size: int = 160) -> bytes:
        """A JPEG of a face, longer side `size` pixels (32 to 512)."""
        return self._get(f"/faces/{part(face_id)}/crop", size=size)

    def embedding(self, face_id: Id) -> Embedding:
        """For a key with the scope admin."""
        return self._read(Embedding, f"/faces/{part(face_id)}/embedding")

    def embeddings(self, collection: str) -> Iterator[ListedEmbedding]:
        """All of a collection, for a key with the scope admin."""
        return self._pages(ListedEmbedding, f"/collections/{part(collection)}/embeddings", "embeddings")

    def add_embeddings(
        self, person_id: Id, contract_id: str, embeddings: Sequence[Sequence[float]]
    ) -> EmbeddingsAdded:
        """Faces of a person that were made elsewhere, 1 to 1000; for a key with the scope admin."""
        body = {"contract_id": contract_id, "embeddings": [list(each) for each in embeddings]}
        return self._make(EmbeddingsAdded, f"/persons/{part(person_id)}/embeddings", body)


def _wishes(given: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}
