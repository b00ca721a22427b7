"""Cached search answers, and how often they were there, in the scratch Redis.

A search that was answered does not fail for want of it: then the answer is not kept, or not counted.
The key holds the collection's version, which grows in the transaction that adds a face: an answer from before
can never be found after.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

import redis
from redis.exceptions import RedisError

from face_pipeline.broker import names
from face_pipeline.broker.redis import reached

log = logging.getLogger(__name__)

# Names that Redis looks at in one step, so that searches do not wait for it.
SCAN_AT_ONCE = 1000


@dataclass(frozen=True)
class Question:
    """All that an answer depends on: a collection in one version, a photo, and what is asked about it."""

    collection_id: int
    version: int
    contract_id: str
    sha256: str
    limit: int
    threshold: float
    min_quality: float
    min_face_size: float
    group_by: str
    named: bool

    @property
    def key(self) -> str:
        return names.ANSWER.format(
            wanted=f"{self.collection_id}:{self.version}:{self.contract_id}:{self.sha256}:"
            f"{self.limit}:{self.threshold:.4f}:{self.min_quality:.4f}:{self.min_face_size:g}:{self.group_by}"
            + (":named" if self.named else "")
        )


def get(connection: redis.Redis, name: str) -> list[dict[str, Any]] | None:
    """The cached faces under `name`; None when there are none, or Redis cannot be asked."""
    try:
        found = connection.get(name)
    except RedisError:
        return None
    return cast("list[dict[str, Any]]", json.loads(cast(bytes, found))) if found else None


def put(
    connection: redis.Redis, name: str, faces: list[dict[str, Any]], seconds: int, *, counted: bool = True
) -> None:
    """Keep an answer that was not there, and count that (of several that belong to one search, once)."""
    try:
        with connection.pipeline(transaction=False) as pipeline:
            pipeline.set(name, json.dumps(faces), ex=seconds)
            if counted:
                pipeline.incr(names.ANSWERS_COUNTED.format(status="miss"))
            pipeline.execute()  # type: ignore[no-untyped-call]
    except RedisError as error:
        _not_kept(error)


def forget(connection: redis.Redis, collection_id: int) -> int:
    """Take the answers of all versions of a collection out of memory; returns how many. QueueUnavailable.

    No answer is under a version to come: whoever searches now looks at the version again (`searches`).
    """
    removed = 0
    with reached():
        for some in _of_collection(connection, collection_id):
            removed += cast(int, connection.unlink(*some))
    return removed


def count(connection: redis.Redis, collection_id: int) -> int:
    """How many answers of the collection are kept. QueueUnavailable."""
    found: set[bytes] = set()
    with reached():
        for some in _of_collection(connection, collection_id):
            found.update(some)
    return len(found)


def _of_collection(connection: redis.Redis, collection_id: int) -> Iterator[list[bytes]]:
    """Some names at a time, of all that are there throughout; Redis serves others in between."""
    pattern, cursor = names.ANSWER.format(wanted=f"{collection_id}:*"), 0
    while True:
        cursor, some = cast(
            "tuple[int, list[bytes]]", connection.scan(cursor, match=pattern, count=SCAN_AT_ONCE)
        )
        if some:
            yield some
        if cursor == 0:
            return


def drop(connection: redis.Redis, name: str) -> None:
    """Do not keep the answer of this name after all."""
    with suppress(RedisError):
        connection.unlink(name)


def count_hit(connection: redis.Redis) -> None:
    try:
        connection.incr(names.ANSWERS_COUNTED.format(status="hit"))
    except RedisError as error:
        _not_kept(error)


def _not_kept(error: RedisError) -> None:
    log.warning(
        "the answer was given and is not kept: %s", error,
        extra={"operation": "search", "reason_code": "cache_unavailable"},
    )  # fmt: skip


def hit_ratio(connection: redis.Redis) -> float | None:
    """Hits of all searches since the scratch Redis started, 0 to 1; None before the first search."""
    hits, misses = cast(
        "list[bytes | None]",
        connection.mget(
            [names.ANSWERS_COUNTED.format(status="hit"), names.ANSWERS_COUNTED.format(status="miss")]
        ),
    )
    total = int(hits or 0) + int(misses or 0)
    return int(hits or 0) / total if total else None
