"""Compare the copies of originals on further hosts with the ledger, and mend what differs, both ways.

A host gets the copies that it lacks, and loses those that no row names; one that is a web host, too, removes
these by itself. What this host's own disk has lost comes back from a copy. The indexer does it, a part in
each run: a whole round an hour, if there is time. Of several web hosts each compares the others in turn.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple
from urllib.parse import urlsplit

from face_pipeline.errors import DiskFull
from face_pipeline.parts import Parts
from face_pipeline.store import copy_rounds, erasure, original_faults, removals, size
from face_pipeline.store.alone import alone
from face_pipeline.store.copies import CopyHost, CopyHostAway, Moment
from face_pipeline.store.models import CopyRound, OriginalFault
from face_pipeline.store.originals import ORPHAN_AFTER_SECONDS, OriginalMissing
from face_pipeline.words import counted

log = logging.getLogger(__name__)

# Of a run of the indexer, for each host.
SECONDS = 20.0
# From the end of a round to the beginning of the next.
ROUND_EVERY = timedelta(hours=1)
# The other host reads them before it answers.
CHECKED_AT_ONCE = 20


@dataclass(frozen=True)
class HostState:
    """A host that keeps copies. `held` and `missing` are those of the last whole round, which ended at
    `compared_at`; None: there was none yet. `away_since`: None where it answers."""

    host: str
    held: int
    missing: int
    compared_at: datetime | None
    away_since: datetime | None

    @property
    def is_well(self) -> bool:
        return self.away_since is None and not self.missing and self.compared_at is not None


def states(parts: Parts) -> list[HostState]:
    """Of each host that is configured, as the last run of the indexer left it."""
    hosts = {host.name for host in parts.copies.hosts} if parts.copies else set()
    with parts.database.reading() as session:
        rows = {each.host: each for each in copy_rounds.every(session)}
    return [_state(host, rows.get(host)) for host in sorted(hosts)]


def _state(host: str, row: CopyRound | None) -> HostState:
    if row is None:
        return HostState(host, 0, 0, None, None)
    return HostState(host, row.held, row.missing, row.ended_at, row.away_since)


def table(found: Sequence[HostState]) -> Iterator[str]:
    """Lines for a terminal."""
    if not found:
        yield "no further host keeps copies of the originals; docs/copies.md says how one does"
        return
    yield f"{'host':24} {'state':10} {'held':>9} {'missing':>9}  compared"
    for each in found:
        state = "away" if each.away_since else "well" if each.is_well else "behind"
        compared = f"{each.compared_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if each.compared_at else "never"
        yield f"{each.host:24} {state:10} {each.held:>9} {each.missing:>9}  {compared}"


def lacking(parts: Parts) -> list[str]:
    """The originals of the ledger that this host has not itself, whoever else does, by name."""
    found: list[str] = []
    for prefix in copy_rounds.PREFIXES:
        with parts.database.reading() as session:
            wanted = copy_rounds.names(session, prefix)
        found += sorted(name for name in wanted if not parts.own_originals.has(name))
    return found


def look_again(parts: Parts) -> None:
    """Have the next removal look at the copies that arrived perhaps after their photos were erased."""
    for host in parts.copies.hosts if parts.copies else ():
        try:
            names = host.doubtful()
        except CopyHostAway as error:
            log.warning("%s", error, extra={"operation": "copies", "reason_code": error.code})
            continue
        if names:
            parts.database.in_transaction(partial(removals.remember, names=names))


def repair(parts: Parts, seconds: float = SECONDS, *, whole: bool = False) -> None:
    """Go on with the round of each host for so long; with `whole` begin a new one and end it."""
    hosts = parts.copies.hosts if parts.copies else ()
    names = [host.name for host in hosts]
    # Of several web hosts each is compared by the others, and has a row among theirs.
    if own := urlsplit(parts.settings.copies_own_url).netloc:
        names.append(own)
    parts.database.in_transaction(partial(copy_rounds.only, hosts=names))
    for host in hosts:
        turn = copy_rounds.turn(host.name)
        with parts.database.single_statements() as connection, alone(connection, *turn) as at_it:
            if at_it:
                _try(parts, host, None if whole else time.monotonic() + seconds)
            else:
                log.info(
                    "another web host compares %s at this moment", host.name, extra={"operation": "copies"}
                )


def _try(parts: Parts, host: CopyHost, until: float | None) -> None:
    with parts.database.reading() as session:
        last = copy_rounds.of(session, host.name)
    try:
        _go_on(parts, host, last, until)
    except CopyHostAway as error:
        log.error("%s", error, extra={"operation": "copies", "reason_code": error.code})
        parts.database.in_transaction(partial(copy_rounds.is_away, host=host.name))
    except DiskFull as error:
        # What came back so far is there; the next run goes on.
        log.error("%s", error, extra={"operation": "copies", "reason_code": error.code})


def _go_on(parts: Parts, host: CopyHost, last: CopyRound, until: float | None) -> None:
    place = 0 if until is None else last.place
    if place == 0:
        if until is not None and _is_fresh(last):
            # Whether it answers is told all the same.
            host.names(copy_rounds.PREFIXES[0])
            parts.database.in_transaction(partial(copy_rounds.answers, host=host.name))
            return
        parts.database.in_transaction(partial(copy_rounds.begin, host=host.name))
    foreign = 0
    for prefix in copy_rounds.PREFIXES[place:]:
        if until is not None and time.monotonic() > until:
            break
        compared = _compare(parts, host, prefix)
        foreign += compared.foreign
        parts.database.in_transaction(
            partial(copy_rounds.went_on, host=host.name, found=compared.found, lacking=compared.lacking)
        )
    else:
        parts.database.in_transaction(partial(copy_rounds.end, host=host.name))
    if foreign:
        log.warning(
            "%s on %s older than this database, and left there", _copies(foreign), host.name,
            extra={"operation": "copies", "count": foreign},
        )  # fmt: skip


def _is_fresh(last: CopyRound) -> bool:
    ended = last.ended_at
    return ended is not None and not last.missing and datetime.now(UTC) - ended < ROUND_EVERY


class _Compared(NamedTuple):
    """How many originals have a copy now, how many have none, and how many copies another database made."""

    found: int
    lacking: int
    foreign: int


def _compare(parts: Parts, host: CopyHost, prefix: str) -> _Compared:
    """Mend what differs."""
    # In this order: what is uploaded in between is there, and not lacking.
    with parts.database.reading() as session:
        wanted = copy_rounds.names(session, prefix)
        database_age = size.age_of_database(session)
    there = host.names(prefix)
    sent = _send(parts, host, wanted - there.keys())
    _take_back(parts, host, {name for name in wanted if not parts.own_originals.has(name)})
    old = {name for name, age in there.items() if name not in wanted and age > ORPHAN_AFTER_SECONDS}
    # A database that was made anew knows none of its forerunner's photos, which may come back from a backup.
    foreign = {name for name in old if there[name] > database_age}
    old -= foreign
    if host.is_web:
        # Its own sweep removes them, which looks at uploads that it takes itself.
        old.clear()
    if not parts.own_originals.keeps_the_way_back() and (nameless := old - _named(parts, old)):
        log.info(
            "%s that no photo names removed from %s", _copies(host.remove(nameless)), host.name,
            extra={"operation": "copies"},
        )  # fmt: skip
    found = len(wanted & there.keys()) + sent
    return _Compared(found, len(wanted) - found, len(foreign))


def _send(parts: Parts, host: CopyHost, names: Collection[str]) -> int:
    sent = set()
    for name in sorted(names):
        began = Moment.now()
        try:
            data = parts.originals.read(name)
        except OriginalMissing:
            continue
        if host.put(name, data, began):
            sent.add(name)
    if erased := sent - _named(parts, sent):
        if host.is_web:
            parts.database.in_transaction(partial(removals.remember, names=erased))
        else:
            host.remove(erased)
    if sent:
        log.info(
            "%s sent to %s", _copies(len(sent)), host.name, extra={"operation": "copies", "count": len(sent)}
        )
    return len(sent)


def _take_back(parts: Parts, host: CopyHost, names: Collection[str]) -> set[str]:
    """Put copies in the place of originals that this disk has no more; returns the names of those that are
    whole again."""
    mended = set()
    for name in sorted(names):
        data = host.read(name)
        if data is None:
            continue
        parts.own_originals.write({name: data})
        mended.add(name)
    if mended:
        # Somebody may have erased one meanwhile.
        parts.originals.remove(mended, partial(_named, parts))
        parts.database.in_transaction(partial(original_faults.note, found=dict.fromkeys(mended)))
        told = counted(len(mended), "original")
        log.warning(
            "%s that this disk had lost came back from %s", told, host.name,
            extra={"operation": "copies", "count": len(mended)},
        )  # fmt: skip
    return mended


def mend(parts: Parts, found: Mapping[str, OriginalFault | None]) -> dict[str, OriginalFault | None]:
    """What is wrong with originals once copies are back in the place of those that are missing or damaged.

    The copies of those that are well are read by their hosts, and sent again where they are not.
    """
    told = dict(found)
    for host in parts.copies.hosts if parts.copies else ():
        try:
            bad = {name for name, fault in told.items() if fault is not None}
            told |= dict.fromkeys(_take_back(parts, host, bad))
            _check(parts, host, [name for name, fault in told.items() if fault is None])
        except CopyHostAway as error:
            log.warning("%s", error, extra={"operation": "copies", "reason_code": error.code})
    return told


def _check(parts: Parts, host: CopyHost, names: list[str]) -> None:
    for start in range(0, len(names), CHECKED_AT_ONCE):
        faults = host.check(names[start : start + CHECKED_AT_ONCE])
        damaged = {name for name, fault in faults.items() if fault == OriginalFault.DAMAGED}
        if damaged:
            log.error(
                "%s on %s damaged, and sent again", _copies(len(damaged)), host.name,
                extra={"operation": "copies", "count": len(damaged)},
            )  # fmt: skip
        _send(parts, host, faults)


def _copies(number: int) -> str:
    return "1 copy" if number == 1 else f"{number} copies"


def _named(parts: Parts, names: Collection[str]) -> set[str]:
    if not names:
        return set()
    with parts.database.reading() as session:
        return set(erasure.named(session, names))
