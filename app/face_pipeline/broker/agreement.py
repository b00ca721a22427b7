"""What the autoscalers of an installation agree on, in the Redis of the queues: who leads, who runs how many.

Each host says again and again what it runs; what it said lapses when it is silent, and so does the leader's
lock. The assignment stays, so that losing a leader changes nothing.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import cast

import redis
from redis.exceptions import LockError, RedisError

from face_pipeline.broker import names
from face_pipeline.broker.redis import reached


@dataclass(frozen=True)
class Heartbeat:
    """What one host says of itself."""

    host: str
    weight: float
    capacity: int
    running: int
    paused: bool


class Agreement:
    """One host's part in it. Each call raises QueueUnavailable where Redis does not answer."""

    def __init__(self, connection: redis.Redis, *, alive_seconds: float) -> None:
        self._redis = connection
        self._alive_seconds = alive_seconds
        self._lock = connection.lock(names.LEADER, timeout=alive_seconds, thread_local=False)

    @reached()
    def say(self, own: Heartbeat) -> None:
        """For as long as a host counts as alive."""
        pipeline = self._redis.pipeline()
        pipeline.sadd(names.AGENTS, own.host)
        pipeline.set(
            names.AGENT.format(host=own.host), json.dumps(asdict(own)), px=round(1000 * self._alive_seconds)
        )
        pipeline.execute()  # type: ignore[no-untyped-call]

    @reached()
    def hosts(self) -> list[Heartbeat]:
        """What each host said that spoke lately, in the order of their names; the others are forgotten."""
        known = sorted(name.decode() for name in cast("set[bytes]", self._redis.smembers(names.AGENTS)))
        keys = [names.AGENT.format(host=host) for host in known]
        said = cast("list[bytes | None]", self._redis.mget(keys) if keys else [])
        if silent := [host for host, text in zip(known, said, strict=True) if text is None]:
            self._redis.srem(names.AGENTS, *silent)
        return [Heartbeat(**json.loads(text)) for text in said if text is not None]

    @reached()
    def still_leads(self) -> bool:
        """Whether this host has the lead, which then lasts for a while again."""
        try:
            self._lock.reacquire()
        except LockError:
            return False
        return True

    @reached()
    def takes_lead(self) -> bool:
        """Whether nobody had the lead, and this host has it now."""
        return bool(self._lock.acquire(blocking=False))

    def give_up_lead(self) -> None:
        """Let another host lead. Without Redis the lock lapses by itself."""
        with suppress(RedisError):
            self._lock.release()

    @reached()
    def assignment(self) -> dict[str, int]:
        """How many workers each host is to run; empty where nobody says."""
        text = cast("bytes | None", self._redis.get(names.ASSIGNMENT))
        return json.loads(text) if text else {}

    @reached()
    def assign(self, workers: dict[str, int] | None) -> None:
        """None: nobody says any more."""
        if workers is None:
            self._redis.delete(names.ASSIGNMENT)
        else:
            self._redis.set(names.ASSIGNMENT, json.dumps(workers))
