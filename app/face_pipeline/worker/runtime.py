"""What one worker process holds: its engine, made once after the process started, and its leases."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from face_pipeline.engine import Engine
from face_pipeline.errors import DatabaseUnavailable
from face_pipeline.parts import Parts
from face_pipeline.store import ledger
from face_pipeline.store.database import Database
from face_pipeline.store.models import Reason

log = logging.getLogger(__name__)

# A lease is renewed this many times before it would lapse, so that one slow renewal loses nothing.
RENEWALS_PER_LEASE = 3
GRACE_LEAST_SECONDS = 1.0
# sysexits EX_SOFTWARE: systemd starts the worker again.
HUNG_EXIT_STATUS = 70


class TimeOver(Exception):
    """A task has run for longer than it may."""


@dataclass(eq=False)
class Running:
    """One task under way: the photo it holds (None: a search), and when its time is over (monotonic)."""

    claim: ledger.Claim | None
    deadline: float

    def check(self) -> None:
        """Raises TimeOver; called between the stages of an analysis."""
        if time.monotonic() > self.deadline:
            raise TimeOver


class Leases:
    """Keeps the claims of running tasks alive from one thread, and ends what does not end by itself.

    A task past its deadline stops between two of its stages. One that does not come to such a place, because
    native code hangs, cannot be ended alone: the photo is failed, the others are given back, and the process
    ends with status 70; systemd starts it again.
    """

    def __init__(self, database: Database, lease_seconds: float, deadline_seconds: float):
        self.database = database
        self.lease_seconds = lease_seconds
        self.deadline_seconds = deadline_seconds
        # To get from one stage to the next.
        self.grace_seconds = max(GRACE_LEAST_SECONDS, deadline_seconds / 10)
        self._running: set[Running] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    @contextmanager
    def hold(self, claim: ledger.Claim | None) -> Iterator[Running]:
        running = Running(claim, time.monotonic() + self.deadline_seconds)
        with self._lock:
            self._running.add(running)
        try:
            yield running
        finally:
            with self._lock:
                self._running.discard(running)

    def _run(self) -> None:
        while not self._stop.wait(min(self.lease_seconds / RENEWALS_PER_LEASE, self.grace_seconds)):
            with self._lock:
                running = list(self._running)
            hung = [each for each in running if each.deadline + self.grace_seconds < time.monotonic()]
            if hung:
                self._end(hung, [each for each in running if each not in hung])
            tokens = [each.claim.token for each in running if each.claim]
            if not tokens:
                continue
            try:
                self.database.in_statements(
                    partial(ledger.renew, tokens=tokens, lease_seconds=self.lease_seconds)
                )
            except DatabaseUnavailable:
                continue
            except Exception:
                # Whatever it was, the next renewal may succeed; a dead thread would lose every lease.
                log.exception("cannot renew leases")

    def _end(self, hung: list[Running], others: list[Running]) -> NoReturn:
        try:
            with self.database.single_statements() as connection:
                for claim in (each.claim for each in hung if each.claim):
                    with suppress(ledger.LeaseLost):
                        ledger.fail(connection, claim, Reason.DEADLINE_EXCEEDED, self.deadline_message())
                    log.error(
                        "photo failed: %s", self.deadline_message(),
                        extra={
                            "photo_id": str(claim.photo_id), "reason_code": Reason.DEADLINE_EXCEEDED,
                            "operation": "ingest",
                        },
                    )  # fmt: skip
                for claim in (each.claim for each in others if each.claim):
                    ledger.give_back(connection, claim)
        except Exception:
            # The start of the next life takes them back, and counts the attempt.
            log.exception("cannot end photos in the ledger")
        log.critical(
            "%d tasks hang beyond their time; this worker ends, to be started again", len(hung),
            extra={"operation": "stop", "reason_code": Reason.DEADLINE_EXCEEDED},
        )  # fmt: skip
        sys.stdout.flush()
        # Celery's own exit waits for the threads that hang.
        os._exit(HUNG_EXIT_STATUS)

    def deadline_message(self) -> str:
        return (
            f"the photo took longer than {self.deadline_seconds:g} seconds; make it smaller and upload it "
            "again, or raise face_task_deadline_seconds"
        )


class Runtime:
    """What a running worker holds: its parts, from the beginning, and the rest from its start on."""

    parts: Parts
    engine: Engine
    leases: Leases
    name: str


runtime = Runtime()
