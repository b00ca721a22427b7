"""What all places of originals have in common: their names, and what can be wrong with them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from face_pipeline.errors import (
    ConfigurationError,
    FacePipelineError,
    NotFound,
    StorageFull,
    Unavailable,
)

# An upload has committed its row long before this; an older file without a row belongs to nobody.
ORPHAN_AFTER_SECONDS = 3600
# A file of playbooks/restore.yml: all originals stay while it is there, but for those that are erased.
WAY_BACK = ".way-back"
# Looked up in the ledger together.
NAMES_AT_ONCE = 250


class OriginalMissing(NotFound):
    """The row of a photo is there, and its file is not."""

    code = "original_missing"


class OriginalDamaged(OriginalMissing):
    """The file is there, with other bytes than those that were sent."""

    code = "original_damaged"


class OriginalExpired(NotFound):
    """The retention of its collection took the original of a photo."""

    code = "original_expired"


class OriginalUnavailable(FacePipelineError):
    """The host that keeps the originals cannot be asked now."""

    code = "original_unavailable"
    status = 503


class OriginalsAway(Unavailable, OriginalUnavailable):
    """The object store that keeps the originals does not do what it is asked; its cause says why."""

    code = "originals_away"
    retry_after = 10


class Swept(NamedTuple):
    """How many files that no row names went, and how many stay because another database's rows may."""

    removed: int
    foreign: int


@dataclass(frozen=True)
class Removed:
    """Numbers of originals: those that are gone, that other rows name, that the disk did not let go.

    `later`: names of those for which there was no time, or that a host or a store which is away still has.
    """

    removed: int
    named: int
    left: int
    later: tuple[str, ...] = ()

    def __add__(self, other: Removed) -> Removed:
        return Removed(
            self.removed + other.removed, self.named + other.named, self.left + other.left,
            self.later + other.later,
        )  # fmt: skip


def relative(sha256: str) -> str:
    return f"{sha256[:2]}/{sha256[2:4]}/{sha256}"


def check_room(beside: Iterable[tuple[Path, int]], reserve_bytes: int) -> None:
    """Raises StorageFull where so many more bytes on the disk of a path would touch the reserve."""
    for path, more in beside:
        try:
            disk = os.statvfs(path)
        except OSError as error:
            raise ConfigurationError(
                f"FACE_STORAGE_PATHS or FACE_ORIGINALS_DIR: {path} cannot be seen ({error.strerror})"
            ) from error
        # Of root's blocks none is ours.
        if disk.f_bavail * disk.f_frsize - more < reserve_bytes:
            raise StorageFull(
                f"a disk of this server is down to its reserve of {reserve_bytes // 1024**2} MB; "
                "nothing was kept, send it again once there is room"
            )


def is_of(sha256: str, data: bytes) -> bool:
    return hashlib.sha256(data).hexdigest() == sha256


def damaged(sha256: str, place: str) -> OriginalDamaged:
    return OriginalDamaged(
        f"the original {sha256} in {place} has other bytes than were sent;"
        " upload the photo again, or restore its file"
    )


def chunks(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (names[start : start + size] for start in range(0, len(names), size))
