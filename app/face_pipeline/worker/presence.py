"""This worker says every few seconds how it is (broker/presence.py)."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import deque

from face_pipeline.broker import presence
from face_pipeline.broker.presence import SAY_SECONDS, WINDOWS, Saying
from face_pipeline.errors import QueueUnavailable
from face_pipeline.telemetry.metrics import release
from face_pipeline.worker.runtime import runtime

log = logging.getLogger(__name__)


class Counts:
    """Tasks of this process, and its photos of the last minutes."""

    def __init__(self) -> None:
        self.busy = 0
        self.tasks = 0
        # (second, photos done, photos failed), each second once.
        self._seconds: deque[tuple[int, int, int]] = deque(maxlen=max(WINDOWS))
        self._lock = threading.Lock()

    def begin(self) -> None:
        with self._lock:
            self.busy += 1

    def end(self) -> None:
        with self._lock:
            self.busy = max(0, self.busy - 1)
            self.tasks += 1

    def photo(self, *, done: bool, now: float | None = None) -> None:
        second = int(time.monotonic() if now is None else now)
        with self._lock:
            before = (
                self._seconds.pop() if self._seconds and self._seconds[-1][0] == second else (second, 0, 0)
            )
            self._seconds.append((second, before[1] + done, before[2] + (not done)))

    def within(self, seconds: int, now: float | None = None) -> tuple[int, int]:
        """Photos done and failed in the last so many seconds."""
        since = (time.monotonic() if now is None else now) - seconds
        with self._lock:
            found = [each for each in self._seconds if each[0] > since]
        return sum(each[1] for each in found), sum(each[2] for each in found)


counts = Counts()


class Presence:
    """Says it from a thread of its own, until it is stopped; then takes it back."""

    def __init__(self) -> None:
        self._started_at = time.time()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(SAY_SECONDS)
        try:
            presence.leave(runtime.parts.queue, runtime.name)
        except QueueUnavailable:
            log.debug("Redis does not hear that this worker ends")

    def _run(self) -> None:
        while True:
            try:
                presence.say(runtime.parts.queue, self.saying())
            except QueueUnavailable:
                log.debug("Redis does not hear how this worker is")
            except Exception:
                # Nobody waits for it, and no photo is to suffer from it.
                log.exception("cannot say how this worker is")
            if self._stop.wait(SAY_SECONDS):
                return

    def saying(self) -> Saying:
        settings, engine = runtime.parts.settings, runtime.engine
        photos = {str(window): counts.within(window) for window in WINDOWS}
        there = presence.remembered(settings.autoscale_state_file)
        return Saying(
            name=runtime.name,
            host=settings.autoscale_host or socket.gethostname(),
            instance=settings.worker_instance,
            release=release(),
            threads=settings.worker_concurrency,
            busy=counts.busy,
            tasks=counts.tasks,
            done={window: done for window, (done, _) in photos.items()},
            failed={window: failed for window, (_, failed) in photos.items()},
            provider=engine.providers[0],
            pack=engine.pack.name,
            contract=engine.contract_id,
            started_at=self._started_at,
            host_workers=there.workers,
            by_hand=there.paused,
        )
