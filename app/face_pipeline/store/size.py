"""How large the database is."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session


def of_database(session: Session) -> int:
    """Bytes of this database on its disk."""
    return int(session.scalar(text("SELECT pg_database_size(current_database())")) or 0)


def server_version(session: Session) -> str:
    """As PostgreSQL says it: 17.2."""
    return str(session.scalar(text("SHOW server_version"))).split()[0]
