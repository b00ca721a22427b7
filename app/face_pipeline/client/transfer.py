"""Whole collections, out and in, and one person, out, for a key with the scope admin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from face_pipeline.client.answers import Answer
from face_pipeline.client.base import Calls, Id, form, part
from face_pipeline.client.multipart import Source, file_of


class ExportedCollection(Answer):
    name: str
    contract_id: str
    dimension: int
    created_at: datetime


class ExportPage(Answer):
    """records: objects as docs/export.md has them; those of photos are without their originals."""

    format: str
    version: int
    collection: ExportedCollection
    records: tuple[dict[str, Any], ...]
    next_cursor: str | None


class ImportedRecord(Answer):
    """What became of a line: made, there or refused. kept_as: its id in the collection."""

    line: int
    kind: str | None = None
    id: UUID | None = None
    kept_as: UUID | None = None
    outcome: str
    code: str | None = None
    message: str | None = None


class Imported(Answer):
    collection: str
    records: tuple[ImportedRecord, ...]


class TransferCalls(Calls):
    def export_page(self, collection: str, cursor: str | None = None) -> ExportPage:
        """A page of a collection: its persons, then its photos with their faces, then faces without one."""
        return self._read(ExportPage, f"/collections/{part(collection)}/export", cursor=cursor)

    def person_export_page(self, person_id: Id, cursor: str | None = None) -> ExportPage:
        """A page of all that is held on a person; of photos that show others too, without these."""
        return self._read(ExportPage, f"/persons/{part(person_id)}/export", cursor=cursor)

    def import_records(
        self,
        collection: str,
        lines: Iterable[bytes],
        originals: Mapping[str, Source],
        *,
        contract_id: str,
        reprocess: bool = False,
    ) -> Imported:
        """Keep records, at most 200 lines of JSON, with the originals of their photos by their SHA-256.

        contract_id: that of the collection they were exported from. reprocess: find faces anew. All may be
        sent again: what is there stays as it is.
        """
        files = [("records", file_of(b"\n".join(lines), "records.jsonl"))]
        files += [("originals", file_of(source, sha256)) for sha256, source in originals.items()]
        sent = form(files, contract_id=contract_id, reprocess=reprocess)
        return self._make(Imported, f"/collections/{part(collection)}/import", sent)
