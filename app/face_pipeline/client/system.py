"""What waits and who works on it, photos that failed, and the installation itself."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from face_pipeline.client.answers import Answer, Kept, Proof, Signed
from face_pipeline.client.base import Calls, Id, part
from face_pipeline.client.keys import moment


class JobQueue(Answer):
    name: str
    messages: int


class JobPhotos(Answer):
    waiting: int
    processing: int
    done_today: int
    failed: int
    oldest_waiting_seconds: float | None = None


class JobRate(Answer):
    """Photos of all workers in the last `seconds`."""

    seconds: int
    done: int
    failed: int
    done_per_second: float
    failed_per_second: float


class JobWorker(Answer):
    """A worker process, as it told of itself `last_heard_seconds` ago."""

    name: str
    host: str
    unit: str | None = None
    alive: bool
    last_heard_seconds: float
    started_at: datetime
    threads: int
    busy: int
    tasks_done: int
    photos_last_minute: int
    provider: str
    pack: str
    contract_id: str
    release: str


class JobScaling(Answer):
    """wanted: workers that the hosts are to run, None: nobody said. command: to type on the controller."""

    wanted: int | None = None
    running: int
    by_hand: bool
    command: str
    words: str


class Jobs(Answer):
    queues: tuple[JobQueue, ...]
    photos: JobPhotos
    rates: tuple[JobRate, ...]
    workers: tuple[JobWorker, ...]
    scaling: JobScaling


class Failure(Answer):
    """Photos that failed for one reason. words: what it means, and what to do."""

    reason: str
    words: str
    retry_helps: bool
    photos: int
    first_at: datetime | None = None
    last_at: datetime | None = None
    example_photo_id: UUID


class Failures(Answer):
    total: int
    failures: tuple[Failure, ...]


class ErasedFailures(Signed):
    """What was erased, or would be with dry_run; originals: files. proof: of an erasure, its signature."""

    dry_run: bool
    reason: str
    collections: tuple[str, ...]
    photos: int
    faces: int
    originals: int
    kept: tuple[Kept, ...] = ()
    proof: Proof | None = None


class DoctorFinding(Answer):
    """state: `ok`, `warn`, `fail` or `skipped`. mend: what to do about it."""

    check: str
    state: str
    found: str
    mend: str = ""


class Doctor(Answer):
    state: str
    findings: tuple[DoctorFinding, ...]
    command: str


class SystemCalls(Calls):
    def jobs(self) -> Jobs:
        """Queues, workers, rates, and what to type to scale."""
        return self._read(Jobs, "/jobs")

    def failures(self, *, collection: str | None = None) -> Failures:
        """Why photos failed, the reason of most photos first."""
        return self._read(Failures, "/failures", collection=collection)

    def failures_csv(self, *, collection: str | None = None, reason: str | None = None) -> bytes:
        """The photos that failed, as CSV: UTF-8 with a byte order mark (decode it as `utf-8-sig`)."""
        return self._get("/failures.csv", collection=collection, reason=reason)

    def erase_failures(
        self, reason: str, *, collection: str | None = None, dry_run: bool = False
    ) -> ErasedFailures:
        """The photos that failed for a reason, with their files; dry_run: only say what that would be."""
        path = f"/failures/{part(reason)}"
        return self._erase(ErasedFailures, path, collection=collection, dry_run=dry_run)

    def audit_csv(
        self,
        *,
        action: str | None = None,
        actor: str | None = None,
        subject: Id | None = None,
        collection: str | None = None,
        outcome: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> bytes:
        """As `audit`, as CSV, and all of it in memory; UTF-8 with a byte order mark."""
        return self._get(
            "/audit.csv",
            action=action,
            actor=actor,
            subject=subject,
            collection=collection,
            outcome=outcome,
            since=moment(since),
            until=moment(until),
        )

    def system(self) -> dict[str, Any]:
        """What is installed and how it is set, as the service tells it."""
        return self._read(_System, "/system").model_dump()

    def doctor(self) -> Doctor:
        """Whether each part is well, and what mends it."""
        return self._read(Doctor, "/system/doctor")


class _System(Answer, extra="allow"):
    pass
