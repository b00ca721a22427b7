"""How many requests of a key, or wrong keys of an address, are let through a minute.

Counted in the scratch Redis, for all web processes and hosts together. A Redis that does not answer refuses
nobody: then nothing is counted.

Source: the sliding window counter of `limits` (https://limits.readthedocs.io/en/stable/strategies.html).
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass

import redis
from limits import RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis.exceptions import RedisError

from face_pipeline.broker import names

log = logging.getLogger(__name__)

WINDOW_SECONDS = 60
# The longest that a request waits for a count.
TIMEOUT_SECONDS = 1.0
# How long a Redis that did not answer is left alone, and how often the log says so.
PAUSE_SECONDS = 5.0
TELL_EVERY_SECONDS = 60.0


@dataclass(frozen=True)
class Count:
    """What is left of a limit: whether this request is within it, and seconds until one more would be."""

    policy: str
    limit: int
    remaining: int
    reset_seconds: int
    within: bool


class Limits:
    """Counts of one process, for any number of threads."""

    def __init__(self, connection: redis.Redis) -> None:
        # The address is unused where there is a pool.
        storage = RedisStorage(
            "redis://", connection_pool=connection.connection_pool, key_prefix=names.LIMITS
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._away_until = 0.0
        self._told_at: float | None = None

    def take(self, policy: str, who: str, per_minute: int) -> Count | None:
        """Count one more of `who`, where it is within the limit.

        None: there is no limit (0), or nobody can say.
        """
        return self._count(policy, who, per_minute, taking=True)

    def look(self, policy: str, who: str, per_minute: int) -> Count | None:
        """The same, and count nothing."""
        return self._count(policy, who, per_minute, taking=False)

    def _count(self, policy: str, who: str, per_minute: int, *, taking: bool) -> Count | None:
        if per_minute == 0 or time.monotonic() < self._away_until:
            return None
        item = RateLimitItemPerMinute(per_minute, namespace=policy)
        try:
            within = (self._limiter.hit if taking else self._limiter.test)(item, who)
            left = self._limiter.get_window_stats(item, who)
        except (RedisError, OSError) as error:
            self._not_counted(error)
            return None
        reset = max(1, math.ceil(left.reset_time - time.time()))
        return Count(policy, per_minute, left.remaining, min(reset, WINDOW_SECONDS), within)

    def _not_counted(self, error: Exception) -> None:
        now = time.monotonic()
        self._away_until = now + PAUSE_SECONDS
        if self._told_at is None or now - self._told_at >= TELL_EVERY_SECONDS:
            self._told_at = now
            log.warning(
                "requests are not counted, and none is refused for their number: %s", error,
                extra={"operation": "limits", "reason_code": "limits_unavailable"},
            )  # fmt: skip
