"""An answer that many ask for: worked out by one of them, and given to all for a few seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Value = TypeVar("Value")

# Answers to different questions; the one that was asked for longest ago is forgotten.
ANSWERS_MOST = 256


@dataclass
class _Answer(Generic[Value]):
    lock: threading.Lock = field(default_factory=threading.Lock)
    value: Value | None = None
    made: float = float("-inf")


class Kept(Generic[Value]):
    """Answers of one process by their questions, for any number of its threads.

    seconds: how long one is given out. Whoever comes while one is made anew gets the old one, where that is
    no older than `stale_seconds`, and waits else. What is raised is kept by nobody.
    """

    def __init__(self, seconds: float, *, stale_seconds: float = 60.0) -> None:
        self._seconds = seconds
        self._stale_seconds = stale_seconds
        self._lock = threading.Lock()
        self._answers: dict[Hashable, _Answer[Value]] = {}

    def get(self, question: Hashable, make: Callable[[], Value]) -> Value:
        answer = self._of(question)
        waits = not self._is_younger(answer, self._stale_seconds)
        if self._is_younger(answer, self._seconds) or not answer.lock.acquire(blocking=waits):
            return answer.value  # type: ignore[return-value]
        try:
            if not self._is_younger(answer, self._seconds):
                answer.value, answer.made = make(), time.monotonic()
            return answer.value  # type: ignore[return-value]
        finally:
            answer.lock.release()

    def forget(self, question: Hashable) -> None:
        """Let the next who asks have a new answer."""
        with self._lock:
            self._answers.pop(question, None)

    def _of(self, question: Hashable) -> _Answer[Value]:
        with self._lock:
            # Asked for last, it stands last.
            answer = self._answers.pop(question, None) or _Answer()
            self._answers[question] = answer
            while len(self._answers) > ANSWERS_MOST:
                del self._answers[next(iter(self._answers))]
        return answer

    @staticmethod
    def _is_younger(answer: _Answer[Value], seconds: float) -> bool:
        return time.monotonic() - answer.made < seconds
