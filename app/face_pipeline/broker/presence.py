"""What workers say of themselves, in the Redis of the queues, every few seconds.

Redis itself knows how long ago that was, so that clocks of hosts may differ. A worker that ends takes back
what it said; one that was killed is silent, and is forgotten after a while.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import redis

from face_pipeline.broker import names
from face_pipeline.broker.redis import reached

SAY_SECONDS = 5.0
# Two may get lost on their way.
ALIVE_SECONDS = 3 * SAY_SECONDS + 1
FORGET_SECONDS = 900.0
# Windows that a worker counts its photos in, seconds.
WINDOWS = (60, 300, 900)


@dataclass(frozen=True)
class Remembered:
    """The state file of face-workers: the number it was last given, and whether a person gave it."""

    workers: int | None = None
    paused: bool = False


def remembered(path: Path) -> Remembered:
    """What `path` says; a missing or broken file says nothing."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Remembered(int(content["workers"]), content.get("paused") is True)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Remembered()


@dataclass(frozen=True)
class Saying:
    """What a worker says. `name` is Celery's; `instance` the N of celery@N, 0 outside systemd.

    `tasks`: ended since the start at `started_at` (seconds since 1970). `done`, `failed`: photos of the last
    so many seconds, by the window. `host_workers`: how many its host is to run, None: nobody said; `by_hand`:
    a person gave that number.
    """

    name: str
    host: str
    instance: int
    release: str
    threads: int
    busy: int
    tasks: int
    done: Mapping[str, int]
    failed: Mapping[str, int]
    provider: str
    pack: str
    contract: str
    started_at: float
    host_workers: int | None
    by_hand: bool


@dataclass(frozen=True)
class Heard:
    """What a worker said, and how many seconds ago."""

    said: Saying
    ago_seconds: float

    @property
    def alive(self) -> bool:
        return self.ago_seconds <= ALIVE_SECONDS


@reached()
def say(connection: redis.Redis, own: Saying) -> None:
    pipeline = connection.pipeline()
    pipeline.sadd(names.WORKERS, own.name)
    pipeline.set(names.WORKER.format(name=own.name), json.dumps(asdict(own)), px=round(1000 * FORGET_SECONDS))
    pipeline.execute()  # type: ignore[no-untyped-call]


@reached()
def leave(connection: redis.Redis, name: str) -> None:
    """Take back what this worker said: it ended as it should."""
    connection.delete(names.WORKER.format(name=name))
    connection.srem(names.WORKERS, name)


@reached()
def heard(connection: redis.Redis) -> list[Heard]:
    """What each worker said last, by host and instance. Raises QueueUnavailable."""
    known = [name.decode() for name in cast("set[bytes]", connection.smembers(names.WORKERS))]
    pipeline = connection.pipeline(transaction=False)
    for name in known:
        pipeline.get(names.WORKER.format(name=name))
        pipeline.pttl(names.WORKER.format(name=name))
    replies = cast("list[bytes | int | None]", pipeline.execute())  # type: ignore[no-untyped-call]
    found, silent = [], []
    for name, text, left in zip(known, replies[::2], replies[1::2], strict=True):
        if (said := _read(text)) is None or not isinstance(left, int):
            silent.append(name)
        else:
            found.append(Heard(said, max(0.0, FORGET_SECONDS - left / 1000)))
    if silent:
        connection.srem(names.WORKERS, *silent)
    return sorted(found, key=lambda each: (each.said.host, each.said.instance, each.said.name))


def _read(text: bytes | int | None) -> Saying | None:
    """None for what is gone, or what another release said."""
    try:
        return Saying(**json.loads(text)) if isinstance(text, bytes) else None
    except (ValueError, TypeError):
        return None
