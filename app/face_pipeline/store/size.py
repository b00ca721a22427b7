"""How large and how old the database is."""

from __future__ import annotations

from sqlalchemy import extract, func, select, text
from sqlalchemy.orm import Session

from face_pipeline.store.models import ApiKey, Collection


def of_database(session: Session) -> int:
    """Bytes of this database on its disk."""
    return int(session.scalar(text("SELECT pg_database_size(current_database())")) or 0)


def age_of_database(session: Session) -> float:
    """Seconds since this database got its first key or collection; 0 where it has none.

    Files from before belong to another one, whose photos this one does not know.
    """
    firsts = [select(func.min(table.created_at)).scalar_subquery() for table in (ApiKey, Collection)]
    age = session.scalar(select(extract("epoch", func.now() - func.least(*firsts))))
    return float(age or 0)


def server_version(session: Session) -> str:
    """As PostgreSQL says it: 17.2."""
    return str(session.scalar(text("SHOW server_version"))).split()[0]
