"""What one worker process holds: its engine, made once after the process started, and its leases."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from face_pipeline.engine import Engine
from face_pipeline.store import ledger
from face_pipeline.store.database import in_statements, is_unavailable

log = logging.getLogger(__name__)

# A lease is renewed this many times before it would lapse, so that one slow renewal loses nothing.
RENEWALS_PER_LEASE = 3


class Leases:
    """Keeps the claims of running tasks alive from one thread.

    A task past its deadline is no longer renewed: another worker takes its photo over, and its own result is
    dropped when it comes. The thread pool can end no task by itself.
    """

    def __init__(self, lease_seconds: float, deadline_seconds: float):
        self.lease_seconds = lease_seconds
        self.deadline_seconds = deadline_seconds
        self._held: dict[uuid.UUID, float] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    @contextmanager
    def hold(self, token: uuid.UUID) -> Iterator[None]:
        with self._lock:
            self._held[token] = time.monotonic() + self.deadline_seconds
        try:
            yield
        finally:
            with self._lock:
                self._held.pop(token, None)

    def _run(self) -> None:
        while not self._stop.wait(self.lease_seconds / RENEWALS_PER_LEASE):
            now = time.monotonic()
            with self._lock:
                tokens = [token for token, deadline in self._held.items() if deadline > now]
            if not tokens:
                continue
            try:
                in_statements(partial(ledger.renew, tokens=tokens, lease_seconds=self.lease_seconds))
            except Exception as error:
                # Whatever it was, the next renewal may succeed; a dead thread would lose every lease.
                if not is_unavailable(error):
                    log.exception("cannot renew leases")


class Runtime:
    """The parts of a running worker, set by the worker's start."""

    engine: Engine
    leases: Leases
    name: str


runtime = Runtime()
