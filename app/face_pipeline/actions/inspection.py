"""Whether what the database says is what the disk of the originals has and the indexes find.

After a restore, or where a disk is in doubt. It reads alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from face_pipeline.actions.doctor import FOUND_FLOOR
from face_pipeline.engine import contract_id
from face_pipeline.parts import Parts
from face_pipeline.store import holdings, indexes, original_faults, probing
from face_pipeline.store.holdings import Holdings
from face_pipeline.store.models import OriginalFault
from face_pipeline.store.originals import OriginalDamaged, OriginalMissing
from face_pipeline.words import counted

# Questions to the index of each collection, and to a scan of all of its faces.
PROBES = 20
# Originals that are looked for together.
NAMES_AT_ONCE = 1000


@dataclass(frozen=True)
class Inspection:
    """What was found: originals by their SHA-256, of indexes the share that each finds, by collection."""

    holdings: Holdings
    originals: int
    missing: Sequence[str]
    read: int
    damaged: Sequence[str]
    indexes: dict[str, float] = field(default_factory=dict)

    @property
    def faults(self) -> list[str]:
        """What is damaged, in words; a missing original is none by itself."""
        found = [
            f"the original {sha256} has other bytes than those that were put in" for sha256 in self.damaged
        ]
        found += [
            f"the index of {name} finds {share:.0%} of what a scan of all finds; `face-pipeline index"
            f" --rebuild {name}` builds it anew"
            for name, share in self.indexes.items()
            if share < FOUND_FLOOR
        ]
        return found

    @property
    def remarks(self) -> list[str]:
        """What an operator should know."""
        held = self.holdings
        newest = held.newest.isoformat(timespec="seconds") if held.newest else "none"
        told = [
            f"{counted(held.photos, 'photo')}, {counted(held.faces, 'face')},"
            f" {counted(held.persons, 'person')}; the newest photo is of {newest}",
            f"{counted(self.originals, 'original')}, {counted(self.read, 'file')} of them read and compared"
            " with the hash",
        ]
        if self.indexes:
            number = len(self.indexes)
            told.append(f"{number} index{'' if number == 1 else 'es'} compared with a scan of all")
        if self.missing:
            told.append(
                f"{counted(len(self.missing), 'original')} missing: their photos keep their faces; send these"
                " photos again to have the pictures"
            )
        return told


def inspect(parts: Parts, sample: int) -> Inspection:
    """Count rows, look for each original, read `sample` of them and those that are known to be damaged, and
    compare each index with a scan of all.

    The indexes are those of collections that the model pack of this host can read.
    """
    with parts.database.reading() as session:
        held = holdings.count(session)
        known = original_faults.known(session)
    number, missing, chosen = _look(parts, sample)
    there = set(chosen) | {name for name, fault in known.items() if fault == OriginalFault.DAMAGED}
    chosen = sorted(there - set(missing))
    damaged = [sha256 for sha256 in chosen if not _whole(parts, sha256)]
    return Inspection(held, number, missing, len(chosen), damaged, _indexes(parts))


def _look(parts: Parts, sample: int) -> tuple[int, list[str], list[str]]:
    """How many originals there are to be, those that are not there, and `sample` of those that are."""
    number, there = 0, 0
    missing: list[str] = []
    chosen: list[str] = []
    with parts.database.transaction() as session:
        for some in _some(holdings.originals(session)):
            number += len(some)
            found = parts.originals.among(some)
            missing += [sha256 for sha256 in some if sha256 not in found]
            for sha256 in filter(found.__contains__, some):
                there += 1
                # Each is as likely as any other, without knowing how many will come.
                if len(chosen) < sample:
                    chosen.append(sha256)
                elif (place := random.randrange(there)) < sample:  # noqa: S311
                    chosen[place] = sha256
    return number, missing, chosen


def _some(names: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(names)
    while some := list(islice(rest, NAMES_AT_ONCE)):
        yield some


def _whole(parts: Parts, sha256: str) -> bool:
    try:
        parts.own_originals.read(sha256)
    except OriginalDamaged:
        return False
    except OriginalMissing:
        # It was erased a moment ago.
        pass
    return True


def _indexes(parts: Parts) -> dict[str, float]:
    with parts.database.reading() as session:
        indexed = indexes.indexed(session)
    found = {}
    for collection in indexed:
        if collection.contract_id != contract_id(parts.pack):
            continue
        measured = probing.measure(parts.database, collection, parts.pack.match_threshold, probes=PROBES)
        if measured is not None:
            found[collection.name] = measured.found
    return found
