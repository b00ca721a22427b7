"""The sender: tells web hooks of events, each in their order, until they are delivered or given up.

The one process of the pipeline that may speak to hosts outside it (face-hooks.service). Several may run, on
several hosts; one of them sends. Each hook has a thread of its own while there is something to send to it,
so that a receiver that hangs keeps no other waiting.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import signal
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from face_pipeline import __version__
from face_pipeline.actions.events import as_json
from face_pipeline.actions.hooks import CREDENTIAL, secret_of
from face_pipeline.actions.receivers import Rules
from face_pipeline.broker import log_level
from face_pipeline.errors import BadRequest, Unavailable, in_full
from face_pipeline.ops.post import TIMEOUT_SECONDS, Post
from face_pipeline.parts import Parts
from face_pipeline.store import deliveries
from face_pipeline.store.deliveries import Job, Tried
from face_pipeline.store.hooks import HOOKS_MOST
from face_pipeline.store.models import DeliveryState
from face_pipeline.telemetry.systemd import notify

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
# Before the second, third, … try; the last one before every later one, until the event is given up.
# Source: Standard Webhooks 1.0.0, "Retry schedule".
PAUSES = tuple(timedelta(seconds=each) for each in (5, 30, 120, 600, 3600, 10_800))
# Deliveries of a hook after which the oldest ones are looked for and forgotten.
TIDY_EVERY = 100


def body_of(job: Job) -> bytes:
    """What is sent: the envelope of Standard Webhooks, in it the event as the API tells of it."""
    data: dict[str, Any] = {"hook_id": str(job.hook_id)}
    at = job.created_at.isoformat(timespec="milliseconds")
    if job.event is not None:
        data = as_json(job.event)
        at = data["at"]
    return json.dumps({"type": job.kind, "timestamp": at, "data": data}, ensure_ascii=False).encode()


def headers_of(job: Job, body: bytes, key: str, now: datetime) -> dict[str, str]:
    """The headers with which the receiver sees that it was us, and whether it had this event before.

    Source: Standard Webhooks 1.0.0, "Signature scheme".
    """
    seconds = str(int(now.timestamp()))
    signed = b".".join((str(job.event_id).encode(), seconds.encode(), body))
    signatures = (
        base64.b64encode(hmac.digest(secret_of(key, job.hook_id, salt), signed, hashlib.sha256)).decode()
        for salt in job.salts
    )
    return {
        "Content-Type": "application/json",
        "User-Agent": f"face-pipeline/{__version__}",
        "webhook-id": str(job.event_id),
        "webhook-timestamp": seconds,
        "webhook-signature": " ".join(f"v1,{each}" for each in signatures),
    }


class Sender:
    """Sends what is due; `tick` looks once. `pauses`: PAUSES, and `timeout` of one try, seconds."""

    def __init__(
        self, parts: Parts, *, pauses: Sequence[timedelta] = PAUSES, timeout: float = TIMEOUT_SECONDS
    ) -> None:
        self._database = parts.database
        self._rules = Rules.of(parts.settings)
        self._key = parts.settings.credential(CREDENTIAL)
        self._pauses = pauses
        self._timeout = timeout
        self._only = deliveries.OnlySender(parts.database)
        self._sends = False
        self._threads = ThreadPoolExecutor(HOOKS_MOST, thread_name_prefix="hook")
        self._busy: dict[uuid.UUID, Future[None]] = {}
        self._ending = threading.Event()
        self._trouble: str | None = None

    def tick(self) -> None:
        """Give each hook that has something due to a thread, unless it has one; wait for none of them."""
        try:
            self._look()
        except Unavailable as error:
            self._say(in_full(error))
        else:
            self._say(None)

    def run(self) -> None:
        """Look every second until `end`."""
        while not self._ending.is_set():
            self.tick()
            self._ending.wait(LOOK_SECONDS)
        self.close()

    def end(self) -> None:
        """Begin nothing more."""
        self._ending.set()

    def close(self) -> None:
        """End what is being sent, and let another process send."""
        self._ending.set()
        self._threads.shutdown()
        try:
            self._only.close()
        except Unavailable:
            log.debug("the database took the lock back by itself", exc_info=True)

    def _look(self) -> None:
        if not self._holds():
            return
        with self._database.reading() as session:
            due = deliveries.due(session)
        self._busy = {hook_id: work for hook_id, work in self._busy.items() if not work.done()}
        for hook_id in due:
            if hook_id not in self._busy:
                self._busy[hook_id] = self._threads.submit(self._drain, hook_id)

    def _holds(self) -> bool:
        was, self._sends = self._sends, False
        self._sends = self._only.holds()
        if self._sends and not was:
            log.info("web hooks are told from here", extra={"operation": "hooks"})
        return self._sends

    def _drain(self, hook_id: uuid.UUID) -> None:
        """Send to one hook, one event after the other, until nothing is due."""
        post = Post(self._rules, self._timeout)
        sent = 0
        try:
            while self._sends and not self._ending.is_set():
                job = self._database.in_transaction(lambda session: deliveries.take(session, hook_id))
                if job is None:
                    break
                self._deliver(post, job)
                sent += 1
                if sent % TIDY_EVERY == 0:
                    self._tidy(hook_id)
            if sent:
                self._tidy(hook_id)
        except Unavailable as error:
            self._say(in_full(error))
        except Exception:
            log.exception("a web hook cannot be told", extra={"operation": "hooks"})
        finally:
            post.close()

    def _tidy(self, hook_id: uuid.UUID) -> None:
        self._database.in_transaction(lambda session: deliveries.forget_deliveries(session, hook_id))

    def _deliver(self, post: Post, job: Job) -> None:
        began = time.monotonic()
        tried = self._try(post, job)
        state = self._database.in_transaction(
            lambda session: deliveries.record(session, job, tried, self._pauses)
        )
        fields = {
            "operation": "hooks", "outcome": state, "status": tried.status,
            "duration_seconds": round(time.monotonic() - began, 4),
        }  # fmt: skip
        if state == DeliveryState.DELIVERED:
            log.debug("%s delivered to hook %s", job.kind, job.hook_id, extra=fields)
        else:
            log.warning("%s not delivered to hook %s: %s", job.kind, job.hook_id, tried.error, extra=fields)

    def _try(self, post: Post, job: Job) -> Tried:
        try:
            # Rules may have changed since the hook was made.
            target = self._rules.check_url(job.url)
        except BadRequest as error:
            return Tried(False, error=error.message)
        body = body_of(job)
        return post.send(target, body, headers_of(job, body, self._key, datetime.now(UTC)))

    def _say(self, trouble: str | None) -> None:
        """Log a trouble when it begins, and when it is over (None)."""
        if trouble is None and self._trouble is not None:
            log.info("the database answers again", extra={"operation": "hooks"})
        elif trouble is not None and self._trouble is None:
            log.warning("no web hook is told for now: %s", trouble, extra={"operation": "hooks"})
        self._trouble = trouble


def run(parts: Parts) -> None:
    """Tell web hooks of events until SIGTERM."""
    sender = Sender(parts)
    signal.signal(signal.SIGTERM, lambda *_: sender.end())
    log_level.follow("face-hooks", parts.settings.log_level, lambda: parts.queue)
    notify("READY=1")
    sender.run()
    notify("STOPPING=1")
