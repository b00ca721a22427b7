"""What the database holds, and what it says has to be on the disk of the originals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from face_pipeline.store.models import Face, Person, Photo

ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Holdings:
    """Numbers of rows, and when the newest photo came in (None: there is none)."""

    photos: int
    faces: int
    persons: int
    newest: datetime | None


def count(session: Session) -> Holdings:
    newest = session.scalar(select(func.max(Photo.received_at)))
    photos, faces, persons = (
        session.scalar(select(func.count()).select_from(table)) or 0 for table in (Photo, Face, Person)
    )
    return Holdings(photos, faces, persons, newest)


def originals(session: Session) -> Iterator[str]:
    """The SHA-256 of each original that a photo still has, once each, in order."""
    query = select(Photo.sha256).where(Photo.original_removed_at.is_(None)).distinct().order_by(Photo.sha256)
    yield from session.scalars(query.execution_options(yield_per=ROWS_AT_ONCE))
