"""How many searches of a process are with the workers at once, and how many more wait for their turn.

Each that waits holds a thread. Those beyond both are refused at once, so that threads are left for everything
else: health, signing in, pages.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from face_pipeline.broker.exchange import SIGN_SECONDS, ClientGone
from face_pipeline.errors import Unavailable


class SearchBusy(Unavailable):
    """As many searches wait as may."""

    code = "search_busy"
    status = 429
    retry_after = 2


class Admission:
    """`with admission.turn(...)`: waits until fewer than `at_once` are in it; first come, first served."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._free = at_once
        self._most = waiting
        self._queue: deque[threading.Event] = deque()
        self._lock = threading.Lock()

    @contextmanager
    def turn(self, *, timeout: float, gone: Callable[[], bool]) -> Iterator[bool]:
        """True once it is the caller's turn, False where it was not within `timeout` seconds.

        Raises SearchBusy where too many wait already, ClientGone once `gone` says so.
        """
        mine = self._enter()
        if mine is not None and not self._wait(mine, timeout, gone):
            yield False
            return
        try:
            yield True
        finally:
            self._leave()

    def _enter(self) -> threading.Event | None:
        """What tells that it is the caller's turn; None: it is already."""
        with self._lock:
            if self._free:
                self._free -= 1
                return None
            if len(self._queue) >= self._most:
                raise SearchBusy("too many searches are under way; send the request again in a moment")
            mine = threading.Event()
            self._queue.append(mine)
            return mine

    def _wait(self, mine: threading.Event, timeout: float, gone: Callable[[], bool]) -> bool:
        give_up = time.monotonic() + timeout
        try:
            while (left := give_up - time.monotonic()) > 0:
                if mine.wait(min(SIGN_SECONDS, left)):
                    return True
                if gone():
                    raise ClientGone("the client hung up before its turn came")
            return not self._withdraw(mine)
        except BaseException:
            if not self._withdraw(mine):
                self._leave()
            raise

    def _withdraw(self, mine: threading.Event) -> bool:
        """Whether it still waited; otherwise its turn has come meanwhile."""
        with self._lock:
            if mine.is_set():
                return False
            self._queue.remove(mine)
            return True

    def _leave(self) -> None:
        with self._lock:
            if self._queue:
                self._queue.popleft().set()
            else:
                self._free += 1
