"""Originals on their way from one place to another: kept in the new one, read in both, removed from both."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from face_pipeline.store.originals.common import OriginalMissing, Removed, Swept
from face_pipeline.store.originals.disk import Originals
from face_pipeline.store.originals.http import RemoteOriginals

if TYPE_CHECKING:
    from face_pipeline.store.originals.s3 import S3Originals


class MovingSource:
    """Where a worker reads while originals are moved: the new place, and that of before."""

    def __init__(
        self,
        new: Originals | S3Originals | RemoteOriginals,
        old: Originals | S3Originals | RemoteOriginals,
    ) -> None:
        self._new = new
        self._old = old

    def read(self, sha256: str) -> bytes:
        """As of each of them; what is wrong in the new place is told where the other has none either."""
        try:
            return self._new.read(sha256)
        except OriginalMissing as error:
            try:
                return self._old.read(sha256)
            except OriginalMissing:
                raise error from None


class MovingOriginals:
    """Its methods are those of `Originals`, and raise what those of either place do."""

    def __init__(self, new: Originals | S3Originals, old: Originals | S3Originals) -> None:
        self.new = new
        self.old = old

    def __str__(self) -> str:
        return f"{self.new} (from {self.old})"

    def has(self, sha256: str) -> bool:
        return self.new.has(sha256) or self.old.has(sha256)

    def among(self, names: Iterable[str]) -> set[str]:
        wanted = set(names)
        there = self.new.among(wanted)
        return there | self.old.among(wanted - there)

    def file(self, sha256: str) -> Path | None:
        return self.new.file(sha256) or self.old.file(sha256)

    def read(self, sha256: str) -> bytes:
        return MovingSource(self.new, self.old).read(sha256)

    def check(self, sha256: str) -> None:
        try:
            self.new.check(sha256)
        except OriginalMissing as error:
            if not self.old.intact(sha256):
                raise error from None

    def intact(self, sha256: str) -> bool:
        return self.new.intact(sha256) or self.old.intact(sha256)

    def write(self, photos: Mapping[str, bytes]) -> None:
        self.new.write(photos)

    def check_room(self, size: int = 0) -> None:
        self.new.check_room(size)

    def writable(self) -> bool:
        return self.new.writable()

    def remove(
        self,
        names: Iterable[str],
        named: Callable[[Collection[str]], Collection[str]],
        *,
        until: float = math.inf,
    ) -> Removed:
        """A photo that both places have counts twice."""
        wanted = list(names)
        # In this order: what is moved meanwhile is gone from where it comes.
        old = self.old.remove(wanted, named, until=until)
        new = self.new.remove(wanted, named, until=until)
        later = tuple(sorted({*old.later, *new.later}))
        return Removed(old.removed + new.removed, max(old.named, new.named), old.left + new.left, later)

    def sweep(self, is_referenced: Callable[[str], bool], database_age: float) -> Swept:
        swept = [each.sweep(is_referenced, database_age) for each in (self.old, self.new)]
        return Swept(*map(sum, zip(*swept, strict=True)))

    def keeps_the_way_back(self) -> bool:
        return self.new.keeps_the_way_back()
