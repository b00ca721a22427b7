"""Asking the workers about a photo that is not kept, while somebody waits for the answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from face_pipeline.broker import exchange
from face_pipeline.parts import Parts
from face_pipeline.telemetry import context


class Publish(Protocol):
    """Sends the task that answers, of that id, unless no worker takes it for `expires_seconds`."""

    def __call__(self, *, task_id: str, request_id: str | None, expires_seconds: float) -> None: ...


def ask(
    parts: Parts,
    question: str,
    photo: bytes,
    publish: Publish,
    gone: Callable[[], bool],
    *,
    timeout: float,
) -> exchange.Answer | None:
    """What a worker says of the photo, once for all who ask the same `question` at the same time.

    None where no worker answers within `timeout` seconds. Raises SearchBusy where too many wait already,
    ClientGone once `gone` says that nobody does, QueueUnavailable, ReplyUnreadable.
    """
    began = time.monotonic()
    with parts.searches.turn(timeout=timeout, gone=gone) as ours:
        left = timeout - (time.monotonic() - began)
        if not ours or left <= 0:
            return None

        def send(task_id: str) -> None:
            publish(task_id=task_id, request_id=context.request_id.get(), expires_seconds=left)

        return exchange.ask(
            parts.scratch, question, photo,
            send=send, timeout=left, gone=gone,
            # From here on the request's lines name its task, also where it is never answered.
            told=context.task_id.set,
        )  # fmt: skip
