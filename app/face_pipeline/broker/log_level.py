"""The log level at run time: `face-pipeline log-level` writes it to Redis, every process looks there.

face:log-level:all, face:log-level:<service>   a level; the service's own counts first

A key lapses by itself, and with it the level goes back to FACE_LOG_LEVEL. A process that cannot ask keeps the
level no longer than its key would have lasted.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import redis
from redis.exceptions import RedisError

from face_pipeline.broker import names
from face_pipeline.broker.redis import check_refused
from face_pipeline.errors import FacePipelineError, Unavailable
from face_pipeline.telemetry.logging import EVERYONE, LEVELS, SERVICES, current_level, set_level

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0

# Makes the client of the Redis of the queues, which may fail as any connection does.
Connect = Callable[[], redis.Redis]


def _key(service: str) -> str:
    return names.LOG_LEVEL.format(service=service)


def _ask(connection: redis.Redis, *services: str) -> list[tuple[str, str, float]]:
    """(service, level, seconds left) of those of `services` for which there is one."""
    pipeline = connection.pipeline(transaction=False)
    for service in services:
        pipeline.get(_key(service))
        pipeline.pttl(_key(service))
    answers = cast("list[Any]", pipeline.execute())  # type: ignore[no-untyped-call]
    found = []
    for service, value, left in zip(services, answers[::2], answers[1::2], strict=True):
        level = value.decode(errors="replace") if value else ""
        # Somebody else wrote a key without an end.
        if level in LEVELS and left > 0:
            found.append((service, level, left / 1000))
    return found


class Follower:
    """Keeps this process at the level that Redis, or else FACE_LOG_LEVEL, says."""

    def __init__(self, service: str, default: str, connect: Connect):
        self.service = service
        self.default = default
        self._connect = connect
        self._level, self._until = self.default, 0.0

    def look(self) -> None:
        """Ask once; nothing that goes wrong here may disturb the process."""
        try:
            found = _ask(self._connect(), self.service, EVERYONE)
        except (RedisError, OSError, FacePipelineError):
            if time.monotonic() >= self._until:
                self._level = self.default
        else:
            _, self._level, left = found[0] if found else ("", self.default, 0.0)
            self._until = time.monotonic() + left
        self._apply()

    def _apply(self) -> None:
        before = current_level()
        if self._level == before:
            return
        # Said at whichever level lets it out.
        if LEVELS.index(self._level) < LEVELS.index(before):
            set_level(self._level)
        log.warning(
            "log level is %s, was %s; FACE_LOG_LEVEL says %s",
            self._level, before, self.default, extra={"operation": "log_level"},
        )  # fmt: skip
        set_level(self._level)

    def run(self) -> None:
        while True:
            self.look()
            time.sleep(LOOK_SECONDS)


def follow(service: str, default: str, connect: Connect) -> None:
    """Let this process follow the level from now on. After a fork, never before: it starts a thread."""
    follower = Follower(service, default, connect)
    threading.Thread(target=follower.run, name="log-level", daemon=True).start()


def look_once(service: str, default: str, connect: Connect) -> None:
    """For a process that ends soon."""
    Follower(service, default, connect).look()


def choose(connection: redis.Redis, level: str | None, service: str, seconds: int) -> None:
    """Set the level of `service` (or EVERYONE) for `seconds`; None takes it back, with EVERYONE each."""
    keys = [_key(service)]
    if service == EVERYONE:
        keys += map(_key, SERVICES)
    with _or_unavailable(connection):
        if level:
            connection.set(_key(service), level, ex=seconds)
        else:
            connection.delete(*keys)


def chosen(connection: redis.Redis) -> list[tuple[str, str, float]]:
    """(service, level, seconds left) of each level that is set now."""
    with _or_unavailable(connection):
        return _ask(connection, EVERYONE, *SERVICES)


@contextmanager
def _or_unavailable(connection: redis.Redis) -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        check_refused(error)
        where = connection.get_connection_kwargs()
        raise Unavailable(
            f"Redis does not answer at {where['host']}:{where['port']}, so the level stays as it "
            f"is ({error}); without Redis, set face_log_level and run ./face-ansible site.yml"
        ) from error
