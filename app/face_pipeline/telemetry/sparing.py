"""Lines that anybody can cause are written up to a rate; of those beyond it the number is told.

Otherwise whoever has no key could wash everybody's lines out of a journal of limited size.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Sparing:
    """At most `burst` lines at once and `per_second` after that; any number of threads may ask.

    Source: a token bucket (RFC 2697, section 3, in lines instead of bytes).
    """

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._tokens, self._filled_at = float(burst), clock()
        self._left_out = 0
        self._lock = threading.Lock()

    def take(self) -> int | None:
        """None: this line is left out. Otherwise how many were left out before it."""
        with self._lock:
            now = self._clock()
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._per_second)
            self._filled_at = now
            if self._tokens < 1:
                self._left_out += 1
                return None
            self._tokens -= 1
            left_out, self._left_out = self._left_out, 0
            return left_out
