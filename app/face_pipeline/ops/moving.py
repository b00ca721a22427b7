"""Move the originals from the place of before to the one in use, and empty that of before.

It may be ended at any moment and run again: what is there already is not sent again. Uploads, searches and
deletions go on meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from face_pipeline.errors import ConfigurationError, Conflict
from face_pipeline.parts import Parts
from face_pipeline.store import erasure, original_faults
from face_pipeline.store.originals import OriginalMissing
from face_pipeline.store.originals.moving import MovingOriginals

# Looked for together, in both places.
NAMES_AT_ONCE = 1000
# Sent together: they are in memory.
PHOTOS_AT_ONCE = 8


@dataclass
class Moved:
    """Numbers of originals that photos have. `there`: in the new place now; `moved`: of these by this run;
    `left`: in the place of before alone; `emptied`: gone from it by this run.

    `lost`: names of those that neither place has whole.
    """

    there: int = 0
    moved: int = 0
    left: int = 0
    emptied: int = 0
    lost: tuple[str, ...] = ()


Told = Callable[[Moved], None]


def table(found: Moved) -> Iterator[str]:
    """Lines for a terminal."""
    yield f"in place                     {found.there}"
    yield f"moved now                    {found.moved}"
    yield f"in the place of before alone {found.left}"
    yield f"removed there now            {found.emptied}"
    for name in found.lost:
        yield f"in neither place whole: {name}"


def look(parts: Parts) -> Moved:
    """How far it is; changes nothing. Raises ConfigurationError where nothing is being moved."""
    both, found = _both(parts), Moved()
    for names in _names(parts):
        there = both.new.among(names)
        old = both.old.among(set(names) - there)
        found.there += len(there)
        found.left += len(old)
        found.lost += tuple(name for name in names if name not in there and name not in old)
    return found


def move(parts: Parts, told: Told) -> Moved:
    """Bring what the new place lacks; `told` hears how far it is. Raises ConfigurationError, OriginalsAway,
    DiskFull."""
    both, found = _both(parts), Moved()
    for names in _names(parts):
        there = both.new.among(names)
        found.there += len(there)
        lacking = [name for name in names if name not in there]
        for start in range(0, len(lacking), PHOTOS_AT_ONCE):
            _bring(parts, both, lacking[start : start + PHOTOS_AT_ONCE], found)
        told(found)
    return found


def _bring(parts: Parts, both: MovingOriginals, names: Sequence[str], found: Moved) -> None:
    photos, lost = {}, []
    for name in names:
        try:
            photos[name] = both.old.read(name)
        except OriginalMissing:
            lost.append(name)
    both.new.write(photos)
    # Somebody may have erased one meanwhile.
    named = _named(parts, names)
    if gone := [name for name in photos if name not in named]:
        both.new.remove(gone, partial(_named, parts))
    kept = len(photos) - len(gone)
    found.moved += kept
    found.there += kept
    found.lost += tuple(name for name in lost if name in named and not both.new.has(name))


def empty(parts: Parts, told: Told) -> Moved:
    """Remove from the place of before what the new one has, each photo once it was read there and has the
    bytes that it is named by.

    Raises Conflict where some are in the place of before alone, else as `move`.
    """
    both, found = _both(parts), look(parts)
    if found.left:
        raise Conflict(
            f"{found.left} originals are in {both.old} alone; nothing was removed. Run"
            " `sudo face-pipeline originals --move` first"
        )
    for names in _names(parts):
        old = sorted(both.old.among(names))
        proven = [name for name in old if _is_proven(both, name)]
        found.lost += tuple(set(old).difference(proven))
        both.old.discard(proven)
        found.emptied += len(proven)
        told(found)
    return found


def _is_proven(both: MovingOriginals, name: str) -> bool:
    """Where the new place has other bytes, it gets those of before."""
    if both.new.intact(name):
        return True
    try:
        both.new.write({name: both.old.read(name)})
    except OriginalMissing:
        return False
    return both.new.intact(name)


def _both(parts: Parts) -> MovingOriginals:
    if parts.settings.originals_url:
        raise ConfigurationError("the originals are on the web host; run this there")
    if not isinstance(parts.originals, MovingOriginals):
        raise ConfigurationError(
            f"the originals are in {parts.originals} alone: set face_originals_before, and run"
            " ./face-ansible site.yml (docs/originals.md)"
        )
    return parts.originals


def _named(parts: Parts, names: Collection[str]) -> set[str]:
    with parts.database.reading() as session:
        return set(erasure.named(session, names))


def _names(parts: Parts) -> Iterator[list[str]]:
    """All that photos have, in their order; a photo that comes meanwhile is in the new place."""
    after = ""
    while True:
        with parts.database.reading() as session:
            names = list(original_faults.some(session, after, NAMES_AT_ONCE))
        if not names:
            return
        yield names
        after = names[-1]
