"""How a search's photo and answer travel between web and worker: a few short-lived Redis keys. So do a photo
and the picture that is made of it: where "search" is said here, either is meant.

Celery's Redis result backend shares one subscription between the threads of a process and is not safe to
wait on from several of them; a list that each request blocks on alone is.

Searches for the same photo at the same time are one search. Its keys, all under `face:search:ID:`, ID being
contract and hash of the photo:

    waiting   who waits (a set); each shows itself every second, and all are forgotten soon after the last did
    task      the id of the task that computes. Gone: whoever waits and sees it first sends another
    photo     the photo, until a worker takes it
    to:WHO    the reply, pushed to each who waits
    answer    the reply, for those who come a moment later

So no part of it has to live for the others to be answered: not the request that came first, nor its web
process, nor the worker. A worker looks whether anybody waits before it begins and between its stages.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, cast

import redis
from redis.exceptions import RedisError

from face_pipeline.broker import names
from face_pipeline.broker.messages import Reply, from_json, to_json
from face_pipeline.broker.redis import reached
from face_pipeline.errors import FacePipelineError

# Longer than any search may take, so that nothing of a photo stays behind.
KEEP_SECONDS = 130


# A search that waits shows itself this often, and is forgotten when it did not for a while.
SIGN_SECONDS = 1.0
FORGET_SECONDS = 5.0
# For so long whoever leads may take to send the task and to show itself; then another one leads.
LEAD_SECONDS = 5.0
# A worker that computes shows itself three times in this time; then it counts as dead.
WORK_SECONDS = 6.0
# For so long an answer serves searches that come while the others are still comparing.
ANSWER_SECONDS = 10.0
# A picture is of somebody whose photo may be erased meanwhile.
PICTURE_SECONDS = 1.0
# Worth another try at once.
ERROR_SECONDS = 1.0


class NobodyWaits(Exception):
    """Everyone who asked for this search has gone, or their time is over."""


class ClientGone(FacePipelineError):
    """The client hung up before its answer was there; nobody reads this."""

    code = "client_gone"
    # nginx's number for it.
    status = 499


@dataclass(frozen=True)
class Joined:
    """How a search stands: the task that computes it, whether that is ours to send, whether its photo still
    waits for a worker, and the reply if there is one (JSON)."""

    task_id: str
    leads: bool
    queued: bool
    reply: bytes | None


@dataclass(frozen=True)
class Answer:
    """A worker's reply, and whether another request's task made it."""

    reply: Reply
    shared: bool


def _key(search: str, part: str) -> str:
    return names.SEARCH.format(search=search, part=part)


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def join(connection: redis.Redis, search: str, waiter: str, task_id: str) -> Joined:
    """Show that `waiter` waits for `search`; lead it, as `task_id`, when nobody does."""
    with connection.pipeline() as pipeline:
        pipeline.sadd(_key(search, "waiting"), waiter)
        pipeline.pexpire(_key(search, "waiting"), _milliseconds(FORGET_SECONDS))
        pipeline.set(_key(search, "task"), task_id, px=_milliseconds(LEAD_SECONDS), nx=True)
        pipeline.get(_key(search, "task"))
        pipeline.exists(_key(search, "photo"))
        pipeline.get(_key(search, "answer"))
        _, _, led, leader, queued, reply = pipeline.execute()  # type: ignore[no-untyped-call]
    return Joined(leader.decode(), bool(led), bool(queued), reply)


def leave(connection: redis.Redis, search: str, waiter: str) -> None:
    """Wait no longer; the last one takes the photo and the task's name along."""
    waiting = _key(search, "waiting")
    with connection.pipeline() as pipeline:
        pipeline.watch(waiting)  # type: ignore[no-untyped-call]
        others = cast("set[bytes]", pipeline.smembers(waiting)) - {waiter.encode()}
        pipeline.multi()
        pipeline.srem(waiting, waiter)
        if not others:
            pipeline.delete(_key(search, "photo"), _key(search, "task"), _key(search, f"to:{waiter}"))
        try:
            pipeline.execute()  # type: ignore[no-untyped-call]
        except redis.WatchError:
            # Somebody joined meanwhile, for whom the rest stays.
            connection.srem(waiting, waiter)


@reached()
def ask(
    connection: redis.Redis,
    search: str,
    photo: bytes,
    *,
    send: Callable[[str], None],
    timeout: float,
    gone: Callable[[], bool],
    told: Callable[[str], object],
) -> Answer | None:
    """The reply of a worker that analyses `photo`, or of the one that already does; None after `timeout`
    seconds. Raises ClientGone once `gone` says so, ReplyUnreadable, QueueUnavailable.

    `send` publishes the task of that id; `told` hears the id of the task that is waited for.
    """
    waiter, mine, pushed = uuid.uuid4().hex, "", False
    give_up = time.monotonic() + timeout
    try:
        while (left := give_up - time.monotonic()) > 0:
            joined = join(connection, search, waiter, uuid.uuid4().hex)
            told(joined.task_id)
            if joined.reply is not None:
                return Answer(from_json(joined.reply), shared=joined.task_id != mine)
            if joined.leads:
                mine = joined.task_id
                connection.set(_key(search, "photo"), photo, ex=KEEP_SECONDS)
                send(mine)
            elif joined.task_id == mine and joined.queued:
                connection.pexpire(_key(search, "task"), _milliseconds(left))
            found: Any = connection.blpop(
                [_key(search, f"to:{waiter}")],
                timeout=min(SIGN_SECONDS, max(left, 0.01)),  # type: ignore[arg-type]
            )
            if found is not None:
                pushed = True
                return Answer(from_json(cast(bytes, found[1])), shared=joined.task_id != mine)
            if gone():
                raise ClientGone("the client hung up before it was answered")
        return None
    finally:
        # Where the answer was pushed nothing is left to leave; Redis may be what failed.
        if not pushed:
            with suppress(RedisError):
                leave(connection, search, waiter)


@reached()
def take_photo(connection: redis.Redis, search: str) -> bytes | None:
    """The photo of a search that somebody still waits for; None when nobody does, or a worker has it."""
    with connection.pipeline() as pipeline:
        pipeline.getdel(_key(search, "photo"))
        pipeline.exists(_key(search, "waiting"))
        pipeline.pexpire(_key(search, "task"), _milliseconds(WORK_SECONDS))
        photo, waited_for, _ = pipeline.execute()  # type: ignore[no-untyped-call]
    if photo is not None and not waited_for:
        drop(connection, search)
        return None
    return cast("bytes | None", photo)


def check_waited_for(connection: redis.Redis, search: str) -> None:
    """Raises NobodyWaits; a Redis that cannot be asked counts as somebody."""
    with suppress(RedisError):
        if not connection.exists(_key(search, "waiting")):
            raise NobodyWaits


@reached()
def drop(connection: redis.Redis, search: str) -> None:
    """Nobody computes this any more: whoever comes now leads."""
    connection.delete(_key(search, "task"))


@contextmanager
def computing(connection: redis.Redis, search: str, most_seconds: float) -> Iterator[None]:
    """Show for as long as this lasts that the worker lives, `most_seconds` at most: those who wait take over
    from a dead one."""
    ended = threading.Event()
    end = time.monotonic() + most_seconds

    def show() -> None:
        while not ended.wait(WORK_SECONDS / 3) and time.monotonic() < end:
            with suppress(RedisError):
                connection.pexpire(_key(search, "task"), _milliseconds(WORK_SECONDS))

    threading.Thread(target=show, name="search", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


@reached()
def send_reply(connection: redis.Redis, search: str, reply: Reply, *, keep_seconds: float) -> None:
    """Give the reply to all who wait, and to those who come within `keep_seconds`."""
    text = to_json(reply)
    with connection.pipeline() as pipeline:
        pipeline.smembers(_key(search, "waiting"))
        pipeline.set(_key(search, "answer"), text, px=_milliseconds(keep_seconds))
        pipeline.delete(_key(search, "waiting"), _key(search, "task"))
        waiters = cast("set[bytes]", pipeline.execute()[0])  # type: ignore[no-untyped-call]
    with connection.pipeline(transaction=False) as pipeline:
        for waiter in waiters:
            own = _key(search, f"to:{waiter.decode()}")
            pipeline.rpush(own, text)
            pipeline.pexpire(own, _milliseconds(FORGET_SECONDS))
        pipeline.execute()  # type: ignore[no-untyped-call]
