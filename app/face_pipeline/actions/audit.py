"""The audit, read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from face_pipeline.parts import Parts
from face_pipeline.store import audit
from face_pipeline.store.audit import Actor, Wanted
from face_pipeline.store.models import AuditEntry

# Rows that are in memory at once, however many there are.
ROWS_AT_ONCE = 1000


def bring(parts: Parts, losses: int = 0) -> int:
    """Bring the entries that waited on this host into the audit, once somebody leads the database again.

    `losses`: of hosts that led, as this returned it last; after another one the entries that it took last
    come, too, where it did not hand them on. Raises DatabaseUnavailable while nobody leads: they wait.
    """
    now = parts.database.losses
    if parts.spool is not None:
        if now != losses:
            parts.spool.doubt()
        parts.database.check_takes_changes()
        parts.spool.bring(parts.database, audit.bring)
    return now


def page(
    parts: Parts, wanted: Wanted, *, limit: int, after: int | None, by: Actor
) -> tuple[Sequence[AuditEntry], int | None]:
    """At most `limit` entries that fit, newest first, and the id behind which the next page begins.

    To read it leaves an entry too. Raises Forbidden for a key that reaches some collections only.
    """
    by.check_reaches_all()
    with parts.database.reading() as session:
        found = audit.page(session, wanted, limit=limit, after=after)
        audit.note(session, by, "audit.read", details={"entries": len(found[0])})
    return found


def rows(parts: Parts, wanted: Wanted, *, by: Actor) -> Iterator[AuditEntry]:
    """All entries that fit, newest first; those that come meanwhile are not among them.

    To read them leaves an entry, as the first is read. Raises Forbidden as `page`, at once.
    """
    by.check_reaches_all()
    return _rows(parts, wanted, by)


def _rows(parts: Parts, wanted: Wanted, by: Actor) -> Iterator[AuditEntry]:
    with parts.database.reading() as session:
        found, after = audit.page(session, wanted, limit=ROWS_AT_ONCE)
        audit.note(session, by, "audit.read", details={"as": "csv"})
    yield from found
    while after is not None:
        with parts.database.reading() as session:
            found, after = audit.page(session, wanted, limit=ROWS_AT_ONCE, after=after)
        yield from found
