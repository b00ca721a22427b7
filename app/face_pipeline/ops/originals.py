"""Read every original once a week, a part of them in each run of the indexer, and note which are unsound.

A disk loses bytes that nobody asks for, and whoever finds out a year later has no backup left that has them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from functools import partial

from face_pipeline.ops import copies
from face_pipeline.parts import Parts
from face_pipeline.store import original_faults
from face_pipeline.store.alone import alone
from face_pipeline.store.models import OriginalFault
from face_pipeline.store.originals import OriginalDamaged, OriginalMissing, OriginalsAway
from face_pipeline.words import counted

log = logging.getLogger(__name__)

# Of a run, which comes every ten minutes: the disk is others' for 29 of 30 seconds.
SECONDS = 20.0
# Files between two looks at the clock and notes in the database.
FILES_AT_ONCE = 100
# Of those that are known to be unsound, between two looks at the clock.
KNOWN_AT_ONCE = 1000


def inspect(parts: Parts, seconds: float = SECONDS) -> int:
    """Look again at those that are known to be unsound, then go on with the round; returns how many files
    of it were read. Where their store is away, the next run goes on; where another web host is at it, that
    one does."""
    with (
        parts.database.single_statements() as connection,
        alone(connection, original_faults.READER_LOCK) as at_it,
    ):
        return _inspect(parts, seconds) if at_it else 0


def _inspect(parts: Parts, seconds: float) -> int:
    began, read = time.monotonic(), 0
    try:
        _look_again(parts, began + seconds / 2)
        for number in _rounds(parts, began + seconds):
            read += number
    except OriginalsAway as error:
        log.warning("%s", error, extra={"operation": "inspect", "reason_code": error.code})
    return read


def _rounds(parts: Parts, until: float) -> Iterator[int]:
    """How many files each part of the round was."""
    after = parts.database.in_transaction(original_faults.place)
    while after is not None and time.monotonic() < until:
        with parts.database.reading() as session:
            names = original_faults.some(session, after, FILES_AT_ONCE)
        _note(parts, copies.mend(parts, {name: _fault(parts, name) for name in names}))
        yield len(names)
        after = names[-1] if names else None
        parts.database.in_transaction(partial(original_faults.keep_place, after=after))


def _look_again(parts: Parts, until: float) -> None:
    """Whoever mends a file need not wait for the next round to see it."""
    after = ""
    while time.monotonic() < until:
        with parts.database.reading() as session:
            known = original_faults.known(session, after, KNOWN_AT_ONCE)
        if not known:
            return
        found = {name: _fault_again(parts, name, fault) for name, fault in known.items()}
        _note(parts, copies.mend(parts, found))
        after = max(known)


def _fault_again(parts: Parts, name: str, fault: OriginalFault) -> OriginalFault | None:
    # A whole disk of files may be back, and the round reads them.
    if fault == OriginalFault.MISSING and parts.originals.has(name):
        return None
    return _fault(parts, name)


def _fault(parts: Parts, name: str) -> OriginalFault | None:
    try:
        parts.originals.check(name)
    except OriginalDamaged:
        return OriginalFault.DAMAGED
    except OriginalMissing:
        return OriginalFault.MISSING
    return None


def _note(parts: Parts, found: Mapping[str, OriginalFault | None]) -> None:
    if not parts.database.in_transaction(partial(original_faults.note, found=found)):
        return
    unsound = sum(fault is not None for fault in found.values())
    if unsound:
        log.error(
            "%s missing or damaged; `sudo face-pipeline inspect` names them", counted(unsound, "original"),
            extra={"operation": "inspect", "count": unsound},
        )  # fmt: skip
    else:
        log.info("originals that were missing or damaged are well", extra={"operation": "inspect"})
