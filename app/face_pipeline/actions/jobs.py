"""What waits, who works on it, and how fast it goes: of the whole installation, from Redis and the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from face_pipeline.broker import presence
from face_pipeline.broker.presence import WINDOWS, Heard
from face_pipeline.broker.queues import lengths
from face_pipeline.parts import Parts
from face_pipeline.store import ledger
from face_pipeline.store.models import WAITING, State


@dataclass(frozen=True)
class Rate:
    """Photos of all workers in the last `seconds`."""

    seconds: int
    done: int
    failed: int


@dataclass(frozen=True)
class Jobs:
    """`queues`: messages by queue. `oldest_waiting_seconds`: None: no photo waits.

    `wanted`: workers that the hosts are to run in all, None: nobody said; `by_hand`: a person gave the number
    of some host, so that the autoscaler leaves it.
    """

    queues: dict[str, int]
    waiting: int
    processing: int
    done_today: int
    failed: int
    oldest_waiting_seconds: float | None
    workers: list[Heard]
    wanted: int | None
    by_hand: bool

    @property
    def running(self) -> int:
        return sum(each.alive for each in self.workers)

    @property
    def rates(self) -> list[Rate]:
        """Of workers that end, what they did counts no more."""
        return [
            Rate(
                window,
                sum(each.said.done.get(str(window), 0) for each in self.workers if each.alive),
                sum(each.said.failed.get(str(window), 0) for each in self.workers if each.alive),
            )
            for window in WINDOWS
        ]


def today() -> datetime:
    """When the day began, by the clock of the host."""
    return datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0)


def look(parts: Parts) -> Jobs:
    """Raises QueueUnavailable, DatabaseUnavailable."""
    queues, workers = lengths(parts.queue), presence.heard(parts.queue)
    with parts.database.reading() as session:
        states = ledger.states(session)
        failed = ledger.failed(session)
        done_today = ledger.done_since(session, today())
        oldest = ledger.oldest_waiting(session)
    newest = {each.said.host: each for each in sorted(workers, key=lambda each: -each.ago_seconds)}
    hosts = [each.said for each in newest.values() if each.said.host_workers is not None]
    return Jobs(
        queues=queues,
        waiting=sum(states.get(state, 0) for state in WAITING),
        processing=states.get(State.PROCESSING, 0),
        done_today=done_today,
        failed=failed,
        oldest_waiting_seconds=round((datetime.now(UTC) - oldest).total_seconds(), 1) if oldest else None,
        workers=workers,
        wanted=sum(each.host_workers or 0 for each in hosts) if hosts else None,
        by_hand=any(each.by_hand for each in hosts),
    )
