"""Keep large collections searchable, and forget what nothing refers to any more: originals, lapsed merges.

Run every ten minutes by face-indexer.timer.
"""

from __future__ import annotations

import logging
import time

from face_pipeline.parts import Parts
from face_pipeline.store import idempotency, indexes, merges, photos

log = logging.getLogger(__name__)


def build_indexes(parts: Parts) -> list[str]:
    """Build the index of each collection that outgrew exact search, and drop those of erased ones.

    Returns the names of what was built.
    """
    built: list[str] = []
    with parts.database.single_statements() as connection, indexes.only_builder(connection) as alone:
        if alone and (dropped := indexes.drop_abandoned(connection)):
            log.info("indexes of erased collections dropped", extra={"operation": "index", "count": dropped})
        for collection in indexes.outgrown(connection) if alone else ():
            started = time.monotonic()
            built.append(indexes.build(connection, collection))
            log.info(
                "index built",
                extra={
                    "operation": "index", "count": collection.face_count,
                    "duration_seconds": round(time.monotonic() - started, 1),
                },
            )  # fmt: skip
    return built


def sweep_originals(parts: Parts) -> int:
    """Remove originals that no row names; returns how many."""

    def is_referenced(sha256: str) -> bool:
        with parts.database.transaction() as session:
            return photos.has_original(session, sha256)

    return parts.originals.sweep(is_referenced)


def forget_lapsed_merges(parts: Parts) -> int:
    """Forget the persons of merges that cannot be undone any more; returns how many."""
    return parts.database.in_transaction(merges.forget_lapsed)


def forget_answers(parts: Parts) -> int:
    """Remove answers that were kept for a day for requests that might come again; returns how many."""
    return parts.database.in_statements(idempotency.remove_old)
