"""Entries of the audit that wait on this host for a database that takes them.

While nobody leads the database, what only looks is answered from a host that follows (store/members.py),
which takes no entry. So the entry goes to a file of this process, on the disk before the answer goes out, and
into the audit once somebody leads: by this process, or where that has ended by another one of this host. An
id lets each in once, whoever tries how often.

A file is one process's for as long as that holds its lock. Each line begins with a code (HMAC-SHA-256) over
itself and the line before: what was changed, left out or put elsewhere does not fit, and the audit tells it.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import logging
import os
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from face_pipeline.errors import AuditUnavailable

if TYPE_CHECKING:
    from face_pipeline.store.database import Database

log = logging.getLogger(__name__)

# Of one process, about 40,000 looks: a failover is over long before.
BYTES_MOST = 16 * 1024**2
WAITING, DAMAGED = ".entries", ".damaged"
# Of a code, in hexadecimal digits.
CODE = 64
# So long is remembered what a host that led may have had in its memory alone when it was lost: PostgreSQL
# writes within 0.6 s what waits for no disk, and the loss is noticed within 3 s.
REMEMBERED_SECONDS = 10.0
# Of an entry that may be in the audit.
DOUBTFUL = "doubtful"

Entry = Mapping[str, Any]
# Puts entries with their ids into the audit, those that are not there yet; and one that tells of a fault.
Bring = Callable[["Database", Sequence[Entry], Mapping[str, Any] | None], None]


@dataclass(frozen=True)
class Kept:
    """Entries that wait on this host: how many, and for how long the first of them, seconds.

    `damaged`: files of which some do not fit.
    """

    count: int = 0
    seconds: float = 0.0
    damaged: int = 0


@dataclass
class _File:
    """One that this process holds. `lines`: those it has written there; None: another one has."""

    path: Path
    number: int
    code: str
    lines: int | None = 0
    size: int = 0


class Spool:
    """The directory, for any number of threads; `keys` are the texts that its codes may be made with."""

    def __init__(self, directory: Path, keys: Callable[[], Sequence[str]]) -> None:
        self._directory = directory
        self._keys = keys
        self._lock = threading.Lock()
        self._bringing = threading.Lock()
        self._remembered: deque[tuple[float, Entry]] = deque()
        self._held: list[_File] = []
        self._open: _File | None = None

    def remember(self, entry: Entry) -> None:
        """Remember for a while an entry that the audit took, with its time `at`, but on no disk yet."""
        now = time.monotonic()
        self._remembered.append((now, entry))
        while self._remembered and now - self._remembered[0][0] > REMEMBERED_SECONDS:
            with suppress(IndexError):
                self._remembered.popleft()

    def doubt(self) -> None:
        """Keep what is remembered, for the host that had it was lost; the audit takes what it lacks."""
        since = time.monotonic() - REMEMBERED_SECONDS
        remembered = list(self._remembered)
        if found := [{**entry, DOUBTFUL: True} for at, entry in remembered if at >= since]:
            self.keep(*found)
        for _ in remembered:
            with suppress(IndexError):
                self._remembered.popleft()

    def keep(self, *entries: Entry) -> None:
        """Put entries on the disk. Raises AuditUnavailable where that cannot be: it was not looked at."""
        texts = [json.dumps(_told(each), separators=(",", ":"), default=str) for each in entries]
        with self._lock:
            if sum(each.size for each in self._held) > BYTES_MOST:
                raise AuditUnavailable(
                    "too many entries of the audit wait on this host for the database, so nothing was done;"
                    " send the request again once it is back"
                )
            try:
                self._append(texts)
            except OSError as error:
                raise AuditUnavailable(
                    f"no entry of the audit can be kept on this host ({error.strerror}), so nothing was done;"
                    " `face-pipeline doctor` says why"
                ) from error

    def _append(self, texts: Sequence[str]) -> None:
        file = self._open = self._open or self._new()
        key, code, lines = self._keys()[0], file.code, b""
        for text in texts:
            code = _code(key, code, text)
            lines += f"{code} {text}\n".encode()
        try:
            if os.write(file.number, lines) != len(lines):
                raise OSError(0, "the disk is full")
            os.fsync(file.number)
        except OSError:
            # What is not whole was not answered.
            os.ftruncate(file.number, file.size)
            raise
        assert file.lines is not None
        file.code, file.lines, file.size = code, file.lines + len(texts), file.size + len(lines)

    def _new(self) -> _File:
        name = uuid.uuid4().hex
        made = self._directory / f"{name}.new"
        number = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        # Before anybody sees it by a name under which it would be taken for that of a process that has ended.
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path = made.rename(self._directory / (name + WAITING))
        self._sync()
        file = _File(path, number, name)
        self._held.append(file)
        return file

    def bring(self, database: Database, bring: Bring) -> int:
        """Bring what waits into the audit, and that of processes that have ended; returns how many entries.

        Raises what `bring` raises; what is not brought stays.
        """
        if not self._bringing.acquire(blocking=False):
            return 0
        try:
            with self._lock:
                # Who looks from now on begins another one.
                self._open = None
                self._adopt()
                files = list(self._held)
            return sum(self._bring(file, database, bring) for file in files)
        finally:
            self._bringing.release()

    def _bring(self, file: _File, database: Database, bring: Bring) -> int:
        entries, fault = self._read(file)
        bring(database, entries, fault)
        if fault is None:
            file.path.unlink(missing_ok=True)
        else:
            with suppress(FileNotFoundError):
                file.path.rename(file.path.with_suffix(DAMAGED))
            log.error(
                "entries of the audit that waited on this host do not fit: %s", fault,
                extra={"operation": "audit"},
            )  # fmt: skip
        self._sync()
        with self._lock:
            self._held.remove(file)
        os.close(file.number)
        log.info("the audit has the entries that waited", extra={"operation": "audit", "count": len(entries)})
        return len(entries)

    def _read(self, file: _File) -> tuple[list[Entry], dict[str, Any] | None]:
        """The entries that fit, and what does not."""
        size = os.fstat(file.number).st_size
        # The last line of a process that was killed: nobody got an answer.
        *lines, _ = os.pread(file.number, size, 0).decode(errors="replace").split("\n")
        keys, before, entries = self._keys(), file.path.stem, []
        for line in lines:
            code, text = line[:CODE], line[CODE + 1 :]
            if not any(hmac.compare_digest(code.encode(), _code(key, before, text).encode()) for key in keys):
                break
            before = code
            entries.append(json.loads(text))
        expected = len(lines) if file.lines is None else max(file.lines, len(lines))
        if len(entries) == expected:
            return entries, None
        return entries, {"file": file.path.stem, "fit": len(entries), "entries": expected}

    def _adopt(self) -> None:
        """Hold the files of processes that have ended."""
        own = {each.path for each in self._held}
        for path in sorted(self._directory.glob("*" + WAITING), key=_age):
            if path in own:
                continue
            try:
                number = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(number)
                continue
            if os.fstat(number).st_nlink == 0:
                # Brought between the look and the lock.
                os.close(number)
                continue
            self._held.append(_File(path, number, path.stem, None, os.fstat(number).st_size))

    def kept(self) -> Kept:
        """What waits on this host, of all its processes. Raises OSError where it cannot be seen."""
        count, oldest, damaged = 0, time.time(), 0
        for path in self._directory.iterdir():
            try:
                lines = path.read_bytes().splitlines() if path.suffix in (WAITING, DAMAGED) else []
            except FileNotFoundError:
                continue
            damaged += path.suffix == DAMAGED
            count += len(lines)
            if lines:
                oldest = min(oldest, _begun(lines[0], path))
        return Kept(count, max(0.0, time.time() - oldest), damaged)

    def _sync(self) -> None:
        """Names of files are on the disk, too."""
        number = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def _told(entry: Entry) -> Entry:
    """An entry as it waits: with an id, the time, and where."""
    at = entry.get("at") or datetime.now(UTC)
    return {
        **entry, "id": str(uuid.uuid4()), "at": at.isoformat(timespec="microseconds"),
        "details": {**entry["details"], "kept_on": socket.gethostname()},
    }  # fmt: skip


def _code(key: str, before: str, text: str) -> str:
    return hmac.new(b"audit\0" + key.encode(), f"{before}\0{text}".encode(), hashlib.sha256).hexdigest()


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _begun(line: bytes, path: Path) -> float:
    """When the first entry of a file was made."""
    try:
        return datetime.fromisoformat(json.loads(line[CODE + 1 :])["at"]).timestamp()
    except (ValueError, KeyError, TypeError):
        return _age(path)
