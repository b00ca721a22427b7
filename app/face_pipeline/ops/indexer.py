"""Keep large collections searchable, measure what their indexes find, forget what nothing refers to any more
(originals, lapsed merges, sessions that are over), and check the audit.

Run every ten minutes by face-indexer.timer.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Collection
from functools import partial

from face_pipeline.actions import chain
from face_pipeline.engine import contract_id
from face_pipeline.errors import Conflict, DatabaseBusy
from face_pipeline.parts import Parts
from face_pipeline.store import (
    audit,
    collections,
    copy_rounds,
    erasure,
    idempotency,
    indexes,
    key_addresses,
    merges,
    models,
    photos,
    probing,
    quotas,
    removals,
    sessions,
)

log = logging.getLogger(__name__)

ORIGINALS_AT_ONCE = 1000


def build_indexes(parts: Parts) -> list[str]:
    """Build the index of each collection that outgrew exact search or its graph, then those of what another
    pack made; drop those nobody reads.

    Returns the names of what was built.
    """
    built: list[str] = []
    with parts.database.single_statements() as connection, indexes.only_builder(connection) as alone:
        if alone and (dropped := indexes.drop_abandoned(connection)):
            log.info("indexes that nobody reads dropped", extra={"operation": "index", "count": dropped})
        for side in indexes.to_build(connection) if alone else ():
            started = time.monotonic()
            try:
                built.append(indexes.build_side(connection, side))
            except DatabaseBusy:
                log.warning("an index is left to the next run", extra={"operation": "index"})
                continue
            log.info(
                "index built",
                extra={
                    "operation": "index", "count": side.collection.face_count,
                    "duration_seconds": round(time.monotonic() - started, 1),
                },
            )  # fmt: skip
    return built


def rebuild_index(parts: Parts, name: str) -> models.Collection:
    """Build the index of the collection `name` anew and measure it; returns the collection as it is then.

    Raises NotFound, Conflict where it has no index, DatabaseBusy where another indexer is at work.
    """
    with parts.database.single_statements() as connection, indexes.only_builder(connection) as alone:
        if not alone:
            raise DatabaseBusy(
                "indexes are being built or measured; try again once face-indexer.service has ended"
            )
        with parts.database.reading() as session:
            collection = collections.find_collection(session, name, parts.pack)
        if not collection.index_ready:
            raise Conflict(
                f"the collection {name!r} has no index: under {indexes.INDEX_FROM_FACES} faces searches are"
                " exact; face-indexer.timer builds it once there are more"
            )
        indexes.build(connection, collection)
        _measure(parts, collection)
    with parts.database.reading() as session:
        return collections.by_name(session, name)


def measure_indexes(parts: Parts) -> int:
    """Measure what indexes find that are new, have grown or were not measured for a week; returns how many.

    Searches use what it says. One collection after another, by one indexer: others search meanwhile.
    """
    count = 0
    with parts.database.single_statements() as connection, indexes.only_builder(connection) as alone:
        if not alone:
            return 0
        with parts.database.reading() as session:
            wanted = probing.due(session, contract_id(parts.pack))
        for collection in wanted:
            count += _measure(parts, collection)
    return count


def _measure(parts: Parts, collection: models.Collection) -> bool:
    started = time.monotonic()
    measured = probing.measure(parts.database, collection, parts.pack.match_threshold)
    if measured is None:
        return False
    parts.database.in_transaction(partial(probing.keep, collection=collection, measured=measured))
    log.info(
        "the index of %s finds %.4f of the true matches with %d candidates",
        collection.name, measured.found, measured.ef,
        extra={
            "operation": "index", "count": measured.faces,
            "duration_seconds": round(time.monotonic() - started, 1),
        },
    )  # fmt: skip
    return True


def verify_audit(parts: Parts) -> bool | None:
    """Check the audit's chain where that was not done for a week; returns whether all fits, None: not due."""
    if not chain.is_due(parts):
        return None
    started = time.monotonic()
    found = chain.verify(parts, by=audit.SERVICE)
    told = {
        "operation": "audit", "count": found.entries,
        "duration_seconds": round(time.monotonic() - started, 1),
    }  # fmt: skip
    if found.fault is None:
        log.info("all entries of the audit fit its chain", extra=told)
    else:
        log.error("the audit's chain: %s", found.fault, extra=told)
    return found.fault is None


def remove_originals(parts: Parts) -> int:
    """Remove the originals that erasures had no time for; returns how many."""

    def named(names: Collection[str]) -> Collection[str]:
        with parts.database.reading() as session:
            return erasure.named(session, names)

    removed, after = 0, ""
    while True:
        with parts.database.reading() as session:
            names = removals.some(session, after, ORIGINALS_AT_ONCE)
        if not names:
            return removed
        # Those that the disk does not let go are swept; those of a host that is away have to wait.
        done = parts.originals.remove(names, named)
        removed += done.removed
        gone = set(names).difference(done.later)
        parts.database.in_transaction(partial(removals.forget, names=gone))
        after = names[-1]


def sweep_originals(parts: Parts) -> int:
    """Remove originals that no row names; returns how many."""

    def is_referenced(sha256: str) -> bool:
        with parts.database.transaction() as session:
            return photos.has_original(session, sha256)

    # On a disk, whatever the database does not know was its own; a store may be another one's as well.
    most_age = math.inf
    if parts.settings.asks_a_store:
        with parts.database.reading() as session:
            most_age = copy_rounds.database_age(session)
    return parts.originals.sweep(is_referenced, most_age=most_age)


def forget_lapsed_merges(parts: Parts) -> int:
    """Forget the persons of merges that cannot be undone any more; returns how many."""
    return parts.database.in_transaction(merges.forget_lapsed)


def forget_answers(parts: Parts) -> int:
    """Remove answers that were kept for a day for requests that might come again; returns how many."""
    return parts.database.in_statements(idempotency.remove_old)


def forget_sessions(parts: Parts) -> int:
    """Remove sessions of browsers that are over; returns how many."""
    return parts.database.in_statements(partial(sessions.remove_over, idle=parts.settings.session_idle))


def fold_usage(parts: Parts) -> None:
    """Make one row of the changes that count to a quota, for each collection and key."""
    parts.database.in_transaction(quotas.fold)


def forget_addresses(parts: Parts) -> None:
    """Remove the networks from which keys were not used for a long time."""
    parts.database.in_transaction(key_addresses.forget)
