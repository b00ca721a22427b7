"""Originals in an object store: `<path>/ab/cd/<sha256>` of a bucket. Names are hashes, so nothing is ever
overwritten by something else, and no request has a condition."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from face_pipeline.store.buckets import Bucket, BucketError
from face_pipeline.store.originals.common import (
    NAMES_AT_ONCE,
    ORPHAN_AFTER_SECONDS,
    WAY_BACK,
    OriginalMissing,
    OriginalsAway,
    Removed,
    Swept,
    check_room,
    chunks,
    damaged,
    is_of,
    relative,
)

log = logging.getLogger(__name__)

# Objects of one process that are put or removed at the same time; a photo that is removed is in memory.
OBJECTS_AT_ONCE = 8
# What one call removes at most; the rest is left for later.
REMOVAL_SECONDS = 10.0
# The sweep looks at the names that begin with one digit, another one each time: a list of all costs a
# request for each thousand, every ten minutes.
SWEEP_DIGITS = "0123456789abcdef"
SWEEP_EVERY_SECONDS = 600
# An answer of the store is good for so long to those who only ask whether it is there.
PROBE_SECONDS = 5.0
NAME = re.compile(r"[0-9a-f]{64}")
# A name that no photo has.
NOBODY = "0" * 64
# What was removed a moment too early is put back, whatever the store says first.
PUT_BACK_ATTEMPTS = 5


class S3Originals:
    """All originals of an installation, for any number of processes and hosts at once.

    Its methods are those of `Originals`; all raise OriginalsAway. `directory` says whether a restore may be
    taken back; nothing is kept there. Uploads leave `reserve_bytes` free on the disks `beside`.
    """

    def __init__(
        self, bucket: Bucket, directory: Path, *, reserve_bytes: int = 0, beside: Sequence[Path] = ()
    ) -> None:
        self._bucket = bucket
        self._directory = directory
        self._reserve_bytes = reserve_bytes
        self._beside = beside
        self._probed_at = -math.inf
        # Its threads begin with the first that is asked of it.
        self._pool = ThreadPoolExecutor(OBJECTS_AT_ONCE, thread_name_prefix="originals")

    def __str__(self) -> str:
        return str(self._bucket.place)

    def has(self, sha256: str) -> bool:
        """Whether the object is there, whole or not."""
        return bool(self.among([sha256]))

    def among(self, names: Iterable[str]) -> set[str]:
        """Those of the names that are there, whole or not."""
        wanted = list(names)
        with _told():
            found = list(self._pool.map(self._bucket.has, map(relative, wanted)))
        if not all(found):
            # A bucket that is not there has none either, and does not say so to HEAD.
            self.writable()
        return {name for name, there in zip(wanted, found, strict=True) if there}

    def file(self, _: str) -> Path | None:
        """None: this host has no file of it."""
        return None

    def read(self, sha256: str) -> bytes:
        """Raises OriginalMissing, OriginalDamaged."""
        with _told():
            data = self._bucket.get(relative(sha256))
        if data is None:
            raise self._missing(sha256)
        if not is_of(sha256, data):
            raise damaged(sha256, str(self))
        return data

    def check(self, sha256: str) -> None:
        """Read the object and keep nothing of it. Raises OriginalMissing, OriginalDamaged."""
        with _told():
            found = self._bucket.digest(relative(sha256))
        if found is None:
            raise self._missing(sha256)
        if found != sha256:
            raise damaged(sha256, str(self))

    def intact(self, sha256: str) -> bool:
        """Whether the object is there, with the bytes that it is named by."""
        try:
            self.check(sha256)
        except OriginalMissing:
            return False
        return True

    def write(self, photos: Mapping[str, bytes]) -> None:
        """Keep the photos, by their sha256: once this returns, the store has confirmed each of them.

        An object that is there already is replaced, so that its age is new and no sweep takes it. Raises
        StorageFull before anything is written.
        """
        if not photos:
            return
        self.check_room()
        with _told():
            for _ in self._pool.map(
                lambda each: self._bucket.put(relative(each[0]), each[1]), photos.items()
            ):
                pass

    def check_room(self, _: int = 0) -> None:
        """Raises StorageFull where a disk beside has no more than its reserve."""
        check_room([(path, 0) for path in self._beside], self._reserve_bytes)

    def writable(self) -> bool:
        """True, or OriginalsAway: whether the store answers, knows the access key, and has the bucket."""
        if time.monotonic() - self._probed_at > PROBE_SECONDS:
            with _told():
                self._bucket.digest(relative(NOBODY))
            self._probed_at = time.monotonic()
        return True

    def remove(
        self,
        names: Iterable[str],
        named: Callable[[Collection[str]], Collection[str]],
        *,
        until: float = math.inf,
    ) -> Removed:
        """As of a disk. What the store does not let go now is in `later`."""
        until = min(until, time.monotonic() + REMOVAL_SECONDS)
        removed = kept = 0
        later: list[str] = []
        for chunk in chunks(sorted(set(names)), NAMES_AT_ONCE):
            if time.monotonic() > until:
                later += chunk
                continue
            others = set(named(chunk))
            kept += len(others)
            for some in chunks([name for name in chunk if name not in others], OBJECTS_AT_ONCE):
                if time.monotonic() > until:
                    later += some
                    continue
                taken, back, away = self._take(some, named)
                removed += taken
                kept += back
                later += away
        return Removed(removed, kept, 0, tuple(later))

    def sweep(self, is_referenced: Callable[[str], bool], database_age: float) -> Swept:
        """Remove originals no row names, as of a disk, of those whose name begins with the digit of this
        moment."""
        if self.keeps_the_way_back():
            return Swept(0, 0)
        digit = SWEEP_DIGITS[int(time.time() // SWEEP_EVERY_SECONDS) % len(SWEEP_DIGITS)]
        removed = 0
        try:
            with _told():
                now = time.time()
                ages = {name: now - put_at for name, put_at in self._names(digit)}
        except OriginalsAway as error:
            log.warning("%s", error, extra={"operation": "sweep", "reason_code": error.code})
            return Swept(0, 0)
        old = [name for name, age in ages.items() if age > ORPHAN_AFTER_SECONDS and not is_referenced(name)]
        own = [name for name in old if ages[name] < database_age]

        def referenced(names: Collection[str]) -> Collection[str]:
            return [name for name in names if is_referenced(name)]

        for some in chunks(own, OBJECTS_AT_ONCE):
            removed += self._take(some, referenced)[0]
        return Swept(removed, len(old) - len(own))

    def _names(self, digit: str) -> Iterator[tuple[str, float]]:
        for key, put_at in self._bucket.names(digit):
            name = key.rpartition("/")[2]
            # Whatever else lies in the bucket is somebody's own.
            if NAME.fullmatch(name) and key == relative(name):
                yield name, put_at

    def discard(self, names: Iterable[str]) -> None:
        """Remove objects, whoever names them: another place has them."""
        with _told():
            list(self._pool.map(self._bucket.delete, map(relative, names)))

    def keeps_the_way_back(self) -> bool:
        """Whether nothing is swept, because a restore may be taken back."""
        return (self._directory / WAY_BACK).exists()

    def _take(
        self, names: Sequence[str], named: Callable[[Collection[str]], Collection[str]]
    ) -> tuple[int, int, list[str]]:
        """Remove objects, and put back those that an upload has named meanwhile: it saw them there, and did
        not send them again. Returns how many are gone and were put back, and which the store did not let go.
        """
        taken: dict[str, bytes] = {}
        away = set()
        for name, (data, error) in zip(names, self._pool.map(self._take_one, names), strict=True):
            if data is not None:
                # It may be gone although the store did not say so.
                taken[name] = data
            if error is not None:
                away.add(name)
        back = set(named(list(taken))) if taken else set()
        for name in back:
            self._put_back(name, taken[name])
        return len(taken.keys() - back - away), len(back), sorted(away - back)

    def _take_one(self, name: str) -> tuple[bytes | None, BucketError | None]:
        """What was there, and why it may still be."""
        data = None
        try:
            data = self._bucket.get(relative(name))
            if data is not None:
                self._bucket.delete(relative(name))
        except BucketError as error:
            return data, error
        return data, None

    def _put_back(self, name: str, data: bytes) -> None:
        for attempt in range(PUT_BACK_ATTEMPTS):
            try:
                self._bucket.put(relative(name), data)
            except BucketError:
                time.sleep(attempt)
            else:
                return
        log.error("the original %s was removed while it was uploaded again, and is lost", name)

    def _put(self, name: str, data: bytes) -> None:
        self._bucket.put(relative(name), data)

    def _missing(self, sha256: str) -> OriginalMissing:
        return OriginalMissing(f"the original {sha256} is not in {self}")


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BucketError as error:
        raise OriginalsAway(
            "the store that keeps the photos cannot be used now; try again in a while"
        ) from error
