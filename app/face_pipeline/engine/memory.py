"""A budget of memory, in bytes, that all decoding of a process shares: a photo waits for its part before a
pixel is decoded."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from face_pipeline.engine.types import PhotoRejected
from face_pipeline.errors import Unavailable

MEBIBYTE = 2**20
UNLIMITED = sys.maxsize


class MemoryBusy(Unavailable):
    """Other photos take all the memory that decoding may use."""

    code = "decoding_busy"


class Budget:
    """`with budget.hold(bytes)`: waits until so much is free. First come, first served, so that a large photo
    is not overtaken for ever; `promptly` goes before those that are not.

    `highest` is the most that was ever held at once.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = self.highest = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, amount: int, *, patience: float, promptly: bool = False) -> Iterator[None]:
        """Raises PhotoRejected (too_much_memory) for more than the whole budget, MemoryBusy when nothing
        came free for `patience` seconds."""
        if amount > self.limit:
            raise too_much_memory(amount, self.limit)
        self._take(amount, time.monotonic() + patience, promptly)
        try:
            yield
        finally:
            with self._changed:
                self.held -= amount
                self._changed.notify_all()

    def _take(self, amount: int, give_up: float, promptly: bool) -> None:
        ticket = object()
        with self._changed:
            (self._waiting.appendleft if promptly else self._waiting.append)(ticket)
            try:
                while self._waiting[0] is not ticket or self.held + amount > self.limit:
                    left = give_up - time.monotonic()
                    if left <= 0:
                        raise MemoryBusy(
                            "other photos are being decoded and take all the memory for that; try again later"
                        )
                    self._changed.wait(left)
                self.held += amount
                self.highest = max(self.highest, self.held)
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()


def too_much_memory(amount: int, limit: int) -> PhotoRejected:
    return PhotoRejected(
        f"decoding the photo takes {-(-amount // MEBIBYTE)} MB of memory, {limit // MEBIBYTE} MB allowed; "
        "send a smaller one, or one with 8 bits a channel",
        code="too_much_memory",
    )
