"""How a search's photo and answer travel between web and worker: two short-lived Redis keys.

Celery's Redis result backend shares one subscription between the threads of a process and is not safe to
wait on from several of them; a list that each request blocks on alone is.
"""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import redis

from face_pipeline.config import get_settings
from face_pipeline.network import CONNECT_TIMEOUT_SECONDS, redis_client

# Longer than any search may take, so that nothing of a photo stays behind.
KEEP_SECONDS = 130


@cache
def client() -> redis.Redis:
    """This process's connection pool to the scratch Redis, which keeps nothing on a disk."""
    settings = get_settings()
    return redis_client(
        settings.scratch_redis_url,
        # A blocking read lasts as long as the search timeout.
        timeout=settings.search_timeout_seconds + CONNECT_TIMEOUT_SECONDS,
        health_check_interval=25,
    )


def _photo_key(search_id: str) -> str:
    return f"face:search:{search_id}:photo"


def _reply_key(search_id: str) -> str:
    return f"face:search:{search_id}:reply"


def put_photo(connection: redis.Redis, search_id: str, data: bytes) -> None:
    connection.set(_photo_key(search_id), data, ex=KEEP_SECONDS)


def take_photo(connection: redis.Redis, search_id: str) -> bytes | None:
    return cast("bytes | None", connection.getdel(_photo_key(search_id)))


def send_reply(connection: redis.Redis, search_id: str, reply: str) -> None:
    pipeline = connection.pipeline()
    pipeline.rpush(_reply_key(search_id), reply)
    pipeline.expire(_reply_key(search_id), KEEP_SECONDS)
    pipeline.execute()  # type: ignore[no-untyped-call]


def wait_reply(connection: redis.Redis, search_id: str, timeout: float) -> bytes | None:
    """The worker's reply, or None after `timeout` seconds; the photo is withdrawn then."""
    # Redis takes fractions of a second, its client's annotation does not know.
    found: Any = connection.blpop([_reply_key(search_id)], timeout=timeout)  # type: ignore[arg-type]
    if found is None:
        connection.delete(_photo_key(search_id))
        return None
    return cast(bytes, found[1])
