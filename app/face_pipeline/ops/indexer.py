"""Keep large collections searchable, and the originals' directory free of what nobody names.

Run every ten minutes by face-indexer.timer.
"""

from __future__ import annotations

import logging
import time

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session
from sqlalchemy.schema import CreateIndex, DropIndex

from face_pipeline.config import get_settings
from face_pipeline.store import vectors
from face_pipeline.store.database import engine, transaction
from face_pipeline.store.models import Collection, Photo
from face_pipeline.store.originals import Originals

log = logging.getLogger(__name__)

# 0.8.2 mended a buffer overflow in parallel HNSW builds.
PARALLEL_BUILD_FROM = (0, 8, 2)
INDEXER_LOCK = 7_312_005


def build_indexes() -> list[str]:
    """Build the HNSW index of each collection that outgrew exact search; returns their names.

    CONCURRENTLY: uploads and searches go on meanwhile. A build that was broken off leaves an invalid index,
    which is dropped and built again.
    """
    built = []
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": INDEXER_LOCK}):
            return []
        session = Session(connection)
        if vectors.extension_version(session) < PARALLEL_BUILD_FROM:
            session.execute(text("SET max_parallel_maintenance_workers = 0"))
        outgrown = session.scalars(
            select(Collection).where(
                Collection.face_count >= vectors.INDEX_FROM_FACES, Collection.index_ready.is_(False)
            )
        ).all()
        for collection in outgrown:
            started = time.monotonic()
            index = vectors.hnsw_index(collection)
            session.execute(DropIndex(index, if_exists=True))
            session.execute(_concurrently(index))
            session.execute(update(Collection).where(Collection.id == collection.id).values(index_ready=True))
            built.append(str(index.name))
            log.info(
                "index built",
                extra={
                    "operation": "index", "count": collection.face_count,
                    "duration_seconds": round(time.monotonic() - started, 1),
                },
            )  # fmt: skip
        session.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": INDEXER_LOCK})
    return built


def _concurrently(index: object) -> CreateIndex:
    index.dialect_options["postgresql"]["concurrently"] = True  # type: ignore[attr-defined]
    return CreateIndex(index)  # type: ignore[arg-type]


def sweep_originals() -> int:
    """Remove originals that no row names; returns how many."""

    def is_referenced(sha256: str) -> bool:
        with transaction() as session:
            return session.scalar(select(Photo.id).where(Photo.sha256 == sha256).limit(1)) is not None

    return Originals(get_settings().originals_dir).sweep(is_referenced)
