"""The audit's chain: sealed as entries come, told to the outside, checked from end to end, and shortened."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from face_pipeline.errors import BadRequest, FacePipelineError
from face_pipeline.parts import Parts
from face_pipeline.store import audit, chain
from face_pipeline.store.audit import Actor
from face_pipeline.store.chain import Link, Place

log = logging.getLogger(__name__)

# A sealer's turn: what it cannot seal meanwhile waits for the next one.
SEALING_SECONDS = 5.0
# A sealer looks every ten seconds; one that is restarted misses a few looks.
UNSEALED_SECONDS_MOST = 60.0
# Between two checks that nobody asked for.
CHECKED_EVERY = timedelta(days=7)
# A line of a log, or of the operator's file, that holds an anchor.
ANCHOR = re.compile(r"audit anchor: position (\d+) has the hash ([0-9a-f]{64})")


class AnchorsUnwritable(FacePipelineError):
    code = "anchors_unwritable"


@dataclass(frozen=True)
class Verified:
    """What a check of the chain found. `fault`: the first thing that does not fit, None: all does.

    `entries` fitted, the last of them at `newest`; `waiting` have no seal yet. Of the anchors `anchors`
    fitted; `pruned` are older than the first entry.
    """

    entries: int
    newest: Place
    fault: str | None
    waiting: int = 0
    anchors: int = 0
    pruned: int = 0


class _Fault(Exception):
    """What does not fit, in words."""


def seal(parts: Parts) -> int:
    """Seal the entries that came since the last time, for `SEALING_SECONDS` at most; returns how many."""
    until, count = time.monotonic() + SEALING_SECONDS, 0
    while True:
        done = parts.database.in_transaction(chain.seal_some)
        count += done
        if done < chain.ENTRIES_AT_ONCE or time.monotonic() > until:
            return count


def anchor(parts: Parts) -> Place:
    """Tell the log, and the operator's file where there is one, the newest place of the chain; returns it.

    Raises AnchorsUnwritable.
    """
    with parts.database.reading() as session:
        newest = chain.newest(session)
    if newest is not chain.START:
        log.info(told(newest), extra={"operation": "audit"})
        if parts.settings.audit_anchors:
            _append(Path(parts.settings.audit_anchors), newest)
    return newest


def told(place: Place) -> str:
    """A place as the log has it."""
    return f"audit anchor: position {place.position} has the hash {place.hash.hex()}"


def _append(path: Path, place: Place) -> None:
    line = {"at": datetime.now(UTC).isoformat(timespec="seconds"), **chain.told_of(place)}
    try:
        # It is not made here, so that it stays whose it is, and append-only where it was made so.
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(file, json.dumps(line).encode() + b"\n")
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:
        raise AnchorsUnwritable(
            f"no anchor can be added to {path} ({error.strerror}); make the file, and let the user face write"
            f" it: install -o face -g face -m 0640 /dev/null {path}"
        ) from error


def read_anchors(lines: Iterable[str]) -> dict[int, str]:
    """Positions and hashes of the anchors in lines of the operator's file or of a log; passes over others.

    Raises BadRequest where there is none, or two of one position differ.
    """
    found: dict[int, str] = {}
    for line in lines:
        if (one := _anchor(line)) is None:
            continue
        position, told = one
        if found.setdefault(position, told) != told:
            raise BadRequest(
                f"two anchors of position {position} differ: {found[position]} and {told}; one of them was"
                " changed, or they are of two databases"
            )
    if not found:
        raise BadRequest("there is no anchor in this file; name one that face_audit_anchors names, or a log")
    return found


def _anchor(line: str) -> tuple[int, str] | None:
    if match := ANCHOR.search(line):
        return int(match[1]), match[2]
    try:
        fields = json.loads(line)
        return int(fields["position"]), str(fields["hash"])
    except (ValueError, TypeError, KeyError):
        return None


def verify(parts: Parts, anchors: Mapping[int, str] | None = None, *, by: Actor) -> Verified:
    """Look at every entry and its seal, in the order of the chain, and at `anchors`: hashes by position.

    Holds `chain.ENTRIES_AT_ONCE` of them at once. Leaves an entry, keeps how it ended for metrics and doctor,
    and tells an anchor where all fits.
    """
    found = _verify(parts, anchors or {})
    with parts.database.transaction() as session:
        audit.write(
            session, by, "audit.verify",
            details={"entries": found.entries, "fits": found.fault is None, "anchors": found.anchors},
        )  # fmt: skip
        chain.keep_check(session, found.entries, found.fault)
    if found.fault is None:
        anchor(parts)
    return found


def is_due(parts: Parts) -> bool:
    """Whether there is something to check, and nobody has done that for a week."""
    with parts.database.reading() as session:
        last = chain.last_check(session)
        if last is None:
            return chain.newest(session) != chain.START
    return datetime.now(UTC) - last.at >= CHECKED_EVERY


def _verify(parts: Parts, anchors: Mapping[int, str]) -> Verified:
    while True:
        with parts.database.reading() as session:
            oldest = chain.oldest(session)
        walk = _Walk(parts, anchors)
        try:
            walk.run()
        except _Fault as error:
            with parts.database.reading() as session:
                pruned_meanwhile = chain.oldest(session) != oldest
            if not pruned_meanwhile:
                return walk.found(str(error))
        else:
            return walk.found(None)


class _Walk:
    """One way from the beginning of the chain to its end."""

    def __init__(self, parts: Parts, anchors: Mapping[int, str]) -> None:
        self._database = parts.database
        self._anchors = anchors
        self._at = chain.START
        self._entries = self._waiting = self._fitting = self._pruned = 0

    def found(self, fault: str | None) -> Verified:
        return Verified(self._entries, self._at, fault, self._waiting, self._fitting, self._pruned)

    def run(self) -> None:
        """Raises _Fault at the first thing that does not fit."""
        links = self._read()
        if links and (links[0].place.position != 1 or links[0].entry is None):
            self._begin_after(links[0].place)
        while links := self._read():
            for link in links:
                self._step(link, links)
        self._end()

    def _read(self) -> Sequence[Link]:
        with self._database.reading() as session:
            return chain.links(session, self._at.position)

    def _begin_after(self, place: Place) -> None:
        with self._database.reading() as session:
            if not chain.is_pruned_to(session, place):
                raise _Fault(
                    f"the entries up to position {place.position} are missing, and none says that they were"
                    " pruned"
                )
        self._pruned = sum(position < place.position for position in self._anchors)
        self._arrive(place)

    def _step(self, link: Link, near: Sequence[Link]) -> None:
        position = link.place.position
        expected = self._at.position + 1
        if position != expected:
            raise _Fault(f"the entries at the positions {expected} to {position - 1} are missing")
        if link.entry is None:
            raise _Fault(f"entry {link.entry_id} at position {position} is missing")
        if chain.sealed(self._at.hash, position, link.entry) != link.place.hash:
            for other in near:
                if other.entry and chain.sealed(self._at.hash, position, other.entry) == link.place.hash:
                    raise _Fault(
                        f"entry {link.entry_id} at position {position} is not the one that was sealed there,"
                        f" which is entry {other.entry_id}: their order was changed"
                    )
            raise _Fault(
                f"entry {link.entry_id} at position {position} does not fit its seal: one of the two was"
                " changed"
            )
        self._arrive(link.place)
        self._entries += 1

    def _arrive(self, place: Place) -> None:
        anchor = self._anchors.get(place.position)
        if anchor is not None:
            if anchor != place.hash.hex():
                raise _Fault(
                    f"the chain was written anew: the anchor of position {place.position} has another hash"
                )
            self._fitting += 1
        self._at = place

    def _end(self) -> None:
        last = max(self._anchors, default=0)
        if last > self._at.position:
            raise _Fault(
                f"the chain ends at position {self._at.position}, and an anchor is of position {last}: the"
                " entries between were removed, or the database is one that was restored"
            )
        with self._database.reading() as session:
            past, gone, waiting = (
                chain.past_the_sealer(session), chain.gone_unsealed(session), chain.waiting(session),
            )  # fmt: skip
        self._waiting = waiting.count
        if past is not None:
            raise _Fault(f"entry {past} has no seal and waits for none: it was added past the chain")
        if gone is not None:
            raise _Fault(f"entry {gone} is missing: it was removed before it was sealed")
        if waiting.seconds > UNSEALED_SECONDS_MOST:
            raise _Fault(
                f"{waiting.count} of the entries have no seal, the first for {waiting.seconds:.0f} seconds:"
                " is face-reconciler.service running?"
            )


def prune(parts: Parts, older_than: timedelta, *, by: Actor) -> tuple[int, Place]:
    """Remove older entries, and leave one that says so and where the chain begins now.

    Returns how many went, and the chain's newest place, of which it tells an anchor.

    Entries go in the order of the chain: one that is older, behind one that is not, stays. Raises
    AnchorsUnwritable once they are gone.
    """
    with parts.database.transaction() as session:
        removed, beginning = chain.prune(session, older_than)
        told = {"entries": removed, "older_than_seconds": int(older_than.total_seconds())}
        audit.write(session, by, chain.PRUNED, details={**told, **chain.told_of(beginning)})
    return removed, anchor(parts)
