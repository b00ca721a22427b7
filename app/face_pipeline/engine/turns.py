"""Turns to compute: the processes of a host share its cores, each computes no more photos than its part.

More at once take memory and each other's caches, and are no quicker: on two cores, two workers of four
threads do 4 % more photos a second with turns than without (bench/ingest.py, docs/sizing.md).
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from face_pipeline.errors import ConfigurationError

# How long a process may compute by a count that others changed when they started or ended.
COUNT_SECONDS = 1.0


class Turns:
    """`with turns():` waits until this process computes fewer photos than its part of `cores` (0: those there
    are). Processes that name the same directory share the cores; without one they are this process's own.

    Each process keeps a file there locked (flock(2)), by its `name`: the kernel takes the lock back however
    it ends. Nobody waits for another process, so that one that hangs stops no other.

    Raises ConfigurationError when the directory cannot be used.
    """

    def __init__(self, directory: Path | None = None, name: str = "", cores: int = 0) -> None:
        self._cores = cores or len(os.sched_getaffinity(0))
        self._directory = directory
        self._computing, self._part, self._counted = 0, self._cores, float("-inf")
        self._changed = threading.Condition()
        if directory:
            try:
                self._here = _locked(directory / name)
            except OSError as error:
                raise ConfigurationError(
                    f"FACE_TURNS_DIR: {directory} cannot be used ({error.strerror}): make it, owned by the "
                    "user of the workers, or leave the variable empty"
                ) from error

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._changed:
            while self._computing >= self.part():
                self._changed.wait(COUNT_SECONDS)
            self._computing += 1
        try:
            yield
        finally:
            with self._changed:
                self._computing -= 1
                self._changed.notify()

    def part(self) -> int:
        """Photos that this process may compute at once: 1 or more."""
        now = time.monotonic()
        if self._directory and now - self._counted > COUNT_SECONDS:
            self._counted = now
            # A directory that is gone leaves the part as it was.
            with suppress(OSError):
                processes = sum(map(_is_locked, self._directory.iterdir()))
                self._part = -(-self._cores // max(1, processes))
        return self._part


def _locked(path: Path) -> int:
    """A descriptor that keeps the file locked until the process ends."""
    made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    # Shared: whoever only looks may hold it for a moment.
    fcntl.flock(made, fcntl.LOCK_SH)
    return made


def _is_locked(path: Path) -> bool:
    looked = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(looked, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(looked)
    return False
