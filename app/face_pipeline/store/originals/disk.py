"""Originals on this host's disk: `<dir>/ab/cd/<sha256>`."""

from __future__ import annotations

import errno
import hashlib
import logging
import math
import os
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from face_pipeline.errors import disk_full
from face_pipeline.store.copies import Copies
from face_pipeline.store.originals.common import (
    NAMES_AT_ONCE,
    ORPHAN_AFTER_SECONDS,
    WAY_BACK,
    OriginalMissing,
    Removed,
    Swept,
    check_room,
    chunks,
    damaged,
    is_of,
    relative,
)

log = logging.getLogger(__name__)

FILE_MODE = 0o640  # nginx, in the group, sends them
DIRECTORY_MODE = 0o750
# Of one upload, open while they are written.
FILES_AT_ONCE = 16
# The end of the name of a file that is about to be removed.
SWEPT = ".swept"


class Originals:
    """A directory of originals; several processes of one host may write and read it at once.

    Nothing is written that would leave less than `reserve_bytes` free on its disk, nor while a disk of the
    paths `beside` has less: the database needs room to say that a photo is deleted. With `copies`, further
    hosts keep what is written, too, and lose what is removed.
    """

    def __init__(
        self,
        directory: Path,
        *,
        reserve_bytes: int = 0,
        beside: Sequence[Path] = (),
        copies: Copies | None = None,
    ):
        self.directory = directory
        self._reserve_bytes = reserve_bytes
        self._beside = beside
        self._copies = copies

    def __str__(self) -> str:
        return str(self.directory)

    def path(self, sha256: str) -> Path:
        return self.directory / relative(sha256)

    def has(self, sha256: str) -> bool:
        """Whether the file is there, whole or not."""
        return self.path(sha256).exists()

    def among(self, names: Iterable[str]) -> set[str]:
        """Those of the names that are there, whole or not."""
        return {name for name in names if self.has(name)}

    def file(self, sha256: str) -> Path | None:
        """Where this host has the file, which may be sent as it is; None: it has not."""
        path = self.path(sha256)
        return path if path.exists() else None

    def read(self, sha256: str) -> bytes:
        """From this disk, or from a copy where that fails. Raises OriginalMissing, OriginalDamaged."""
        try:
            return self._read(sha256)
        except OriginalMissing:
            data = self._copies.read(sha256) if self._copies else None
            if data is None:
                raise
            return data

    def _read(self, sha256: str) -> bytes:
        try:
            data = self.path(sha256).read_bytes()
        except FileNotFoundError as error:
            raise OriginalMissing(f"the original {sha256} is not in {self.directory}") from error
        if not is_of(sha256, data):
            raise damaged(sha256, str(self.directory))
        return data

    def check(self, sha256: str) -> None:
        """Read the file and keep nothing of it, nor push others out of the memory of the disk.

        Raises OriginalMissing, OriginalDamaged, also where the disk itself cannot read it.
        """
        try:
            with self.path(sha256).open("rb", buffering=0) as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        except FileNotFoundError as error:
            raise OriginalMissing(f"the original {sha256} is not in {self.directory}") from error
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise damaged(sha256, str(self.directory)) from error
        if found != sha256:
            raise damaged(sha256, str(self.directory))

    def intact(self, sha256: str) -> bool:
        """Whether the file is there, with the bytes that it is named by."""
        try:
            self._read(sha256)
        except OriginalMissing:
            return False
        return True

    def write(self, photos: Mapping[str, bytes]) -> None:
        """Keep the photos, by their sha256, so that they survive a power cut once this returns.

        A file that is there already is replaced, so that its age is new and no sweep takes it. Several are
        written before the first is flushed, and directories once all files are in them: their file system
        then commits a few times, not several times a photo. Raises StorageFull before anything is written,
        DiskFull; CopiesAway where too few hosts have them then.
        """
        self.check_room(sum(map(len, photos.values())))
        names = list(photos)
        changed: set[Path] = set()
        with disk_full():
            for start in range(0, len(names), FILES_AT_ONCE):
                changed |= self._write({name: photos[name] for name in names[start : start + FILES_AT_ONCE]})
            for directory in changed:
                _sync_directory(directory)
        if self._copies:
            self._copies.keep(photos)

    def _write(self, photos: Mapping[str, bytes]) -> set[Path]:
        """Put whole files in their places; returns the directories that have to be flushed for them."""
        changed = set().union(*(self._make_directories(self.path(sha256).parent) for sha256 in photos))
        aside = {sha256: self.path(sha256).with_name(f".{sha256}.{uuid.uuid4().hex}") for sha256 in photos}
        try:
            with ExitStack() as stack:
                files = []
                for sha256, data in photos.items():
                    descriptor = os.open(aside[sha256], os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
                    files.append(stack.enter_context(os.fdopen(descriptor, "wb")))
                    self._give(descriptor)
                    files[-1].write(data)
                for file in files:
                    file.flush()
                    os.fsync(file.fileno())
            for sha256, path in aside.items():
                path.replace(self.path(sha256))
        except BaseException:
            for path in aside.values():
                path.unlink(missing_ok=True)
            raise
        return changed | {path.parent for path in aside.values()}

    def check_room(self, size: int = 0) -> None:
        """Raises StorageFull where `size` more bytes would touch the reserve."""
        check_room([(self.directory, size), *((path, 0) for path in self._beside)], self._reserve_bytes)

    def writable(self) -> bool:
        return os.access(self.directory, os.W_OK | os.X_OK)

    def remove(
        self,
        names: Iterable[str],
        named: Callable[[Collection[str]], Collection[str]],
        *,
        until: float = math.inf,
    ) -> Removed:
        """Remove at once the originals of rows that are gone, but for those that other rows name.

        `named` tells which of some names rows have. An upload may bring one of them at this moment: they are
        put aside, and looked up again. None are begun with after `until` (of `time.monotonic`).

        Copies go with them, also of a file that is gone already: whoever gets names back in `later` calls
        again.
        """
        removed = kept = left = 0
        later: list[str] = []
        mark = uuid.uuid4().hex
        for chunk in chunks(sorted(set(names)), NAMES_AT_ONCE):
            if time.monotonic() > until:
                later += chunk
                continue
            others = set(named(chunk))
            nameless = {name for name in chunk if name not in others}
            aside = set()
            for name in sorted(nameless):
                try:
                    if self._put_aside(name, mark) is not None:
                        aside.add(name)
                except OSError:
                    log.exception("an original stays until it is swept", extra={"operation": "erase"})
                    left += 1
            # Uploads of another web host, too, see that they are gone before they are looked up again.
            everywhere = not (self._copies and nameless) or self._copies.put_aside(nameless, mark)
            back = set(named(sorted(nameless if self._copies else aside))) if nameless else set()
            self.put_back(aside & back, mark)
            self.drop(nameless - back)
            if self._copies and back:
                self._copies.put_back(back, mark)
            kept += len(others) + len(back)
            elsewhere = nameless - back if self._copies else set()
            if self._copies and elsewhere and not (self._copies.remove(elsewhere, mark) and everywhere):
                later += sorted(elsewhere)
            else:
                removed += len(aside - back)
        return Removed(removed, kept, left, tuple(later))

    def sweep(self, is_referenced: Callable[[str], bool], database_age: float) -> Swept:
        """Remove originals no row names, left by uploads that ended before their commit, and by erasures that
        ended after theirs.

        Those that are older than the database, of `database_age` seconds, stay: one that was made anew knows
        none of its forerunner's photos, which may come back from a backup. None goes while there is a way
        back from a restore (`WAY_BACK`): the database that is kept for it names others.
        """
        removed = foreign = 0
        if self.keeps_the_way_back():
            return Swept(0, 0)
        database_since = time.time() - database_age
        for path, since in self._older_than(time.time() - ORPHAN_AFTER_SECONDS):
            if path.name.startswith("."):
                removed += self._sweep_aside(path, is_referenced)
                continue
            if is_referenced(path.name):
                continue
            if since < database_since:
                foreign += 1
                continue
            # An upload of the same photo may replace the file at this moment: look again once it is aside.
            aside = self._put_aside(path.name, uuid.uuid4().hex)
            if aside is None:
                continue
            # An erasure that finds it aside may remove it.
            with suppress(FileNotFoundError):
                fresh = aside.stat().st_mtime > time.time() - ORPHAN_AFTER_SECONDS
                if fresh or is_referenced(path.name):
                    aside.replace(path)
                    continue
                aside.unlink()
                removed += 1
        return Swept(removed, foreign)

    def _sweep_aside(self, path: Path, is_referenced: Callable[[str], bool]) -> int:
        """Of an upload that did not end, or put aside by somebody who did not come to look again."""
        name = path.name[1:].partition(".")[0]
        if path.suffix == SWEPT and not self.path(name).exists() and is_referenced(name):
            path.replace(self.path(name))
            return 0
        path.unlink(missing_ok=True)
        return int(path.suffix == SWEPT)

    def put_aside(self, names: Iterable[str], mark: str) -> int:
        """Put files aside for another web host, which looks up whether rows name them; returns how many.

        Where it does not come back (`put_back`, `drop`), the sweep looks them up.
        """
        return sum(self._put_aside(name, mark) is not None for name in names)

    def put_back(self, names: Iterable[str], mark: str) -> int:
        """Returns how many were aside."""
        number = 0
        for name in names:
            with suppress(FileNotFoundError):
                self._aside(name, mark).replace(self.path(name))
                number += 1
        return number

    def drop(self, names: Iterable[str]) -> int:
        """Remove what was put aside of names that no row has; returns how many files there were.

        Whoever did it: the one that put it aside may not have come back, and nobody may want it any more. A
        row that has come since is written for once more by its upload, which looks after its commit.
        """
        number = 0
        for name in names:
            for path in self.path(name).parent.glob(f".{name}.*{SWEPT}"):
                with suppress(FileNotFoundError):
                    path.unlink()
                    number += 1
        return number

    def _aside(self, name: str, mark: str) -> Path:
        return self.path(name).with_name(f".{name}.{mark}{SWEPT}")

    def _put_aside(self, name: str, mark: str) -> Path | None:
        """Where the file is now, whole; None where there is none. `mark` is who does it."""
        aside = self._aside(name, mark)
        try:
            self.path(name).replace(aside)
        except FileNotFoundError:
            return None
        return aside

    def names(self, prefix: str) -> dict[str, float]:
        """Age of each original whose name begins with the two digits `prefix`, seconds.

        What an upload left that ended in the middle an hour ago is removed.
        """
        found, now = {}, time.time()
        for path in self.directory.glob(f"{prefix}/??/*"):
            try:
                age = now - path.stat().st_mtime
            except FileNotFoundError:
                continue
            if not path.name.startswith("."):
                found[path.name] = age
            elif age > ORPHAN_AFTER_SECONDS:
                path.unlink(missing_ok=True)
        return found

    def discard(self, names: Iterable[str]) -> None:
        """Remove files, whoever names them: another place has them."""
        for name in names:
            self.path(name).unlink(missing_ok=True)

    def keeps_the_way_back(self) -> bool:
        """Whether nothing is swept, because a restore may be taken back."""
        return (self.directory / WAY_BACK).exists()

    def _older_than(self, limit: float) -> Iterator[tuple[Path, float]]:
        for path in self.directory.glob("??/??/*"):
            try:
                since = path.stat().st_mtime
            except FileNotFoundError:
                continue
            if since < limit:
                yield path, since

    def _make_directories(self, directory: Path) -> set[Path]:
        """Returns those in which one was made.

        Who finds one that another made, and has not flushed yet, need not wait for it: a journal is flushed
        up to the file that is, and the directory's entry is older.
        """
        made = [level for level in (directory.parent, directory) if not level.is_dir()]
        for level in made:
            level.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
            self._give(level)
        return {level.parent for level in made}

    def _give(self, made: Path | int) -> None:
        """What root makes, by a command, belongs to whom all originals belong: units read and remove it."""
        if os.geteuid() == 0:
            owner = self.directory.stat()
            os.chown(made, owner.st_uid, owner.st_gid)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
