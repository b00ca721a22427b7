"""Which releases work on the database as it is now: it says so itself, as they do not know its schema."""

from __future__ import annotations

import re

from sqlalchemy import Connection, text

# The schema of the oldest release that works on this one's. A migration that takes something away raises it.
WORKS_WITH = "0019"
# That of the first release that knows of a second table of vectors (indexes.py).
SECOND_VECTORS = "0023"
_SAID = "works with releases from schema {}"


def said(connection: Connection) -> str | None:
    """The schema of the oldest release that works on the database; None: it does not say."""
    words = connection.scalar(text("SELECT obj_description(to_regclass('alembic_version'), 'pg_class')"))
    found = re.fullmatch(_SAID.format("([0-9]{4})"), words or "")
    return found[1] if found else None


def say(connection: Connection) -> None:
    """Have the database say it, as its owner: an earlier release does not know of the second table."""
    in_use = connection.scalar(
        text("SELECT EXISTS (SELECT FROM collections WHERE vectors_turned OR other_vectors_kept)")
    )
    oldest = SECOND_VECTORS if in_use else WORKS_WITH
    if said(connection) != oldest:
        connection.execute(text(f"COMMENT ON TABLE alembic_version IS '{_SAID.format(oldest)}'"))
