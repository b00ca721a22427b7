"""Celery's thread pool, with the two things it lacks.

It wakes the consumer when a task ended: the consumer takes the next message only when its event loop turns,
and a thread that ends a task does not turn it. With as many messages prefetched as there are threads the
worker would idle up to a second after each task: 1 photo a second instead of 14 on two cores.

And it lets photos wait for searches: threads of their own, at a lower priority of the kernel's scheduler, so
that a search gets its core at once. With two workers of four threads on two cores a search takes 150 ms
instead of 370 while photos are ingested (bench/queues.py).
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from celery.concurrency.base import apply_target
from celery.concurrency.thread import ApplyResult, TaskPool

from face_pipeline.broker.names import TASK_INGEST

# Of threads that ingest, on Linux's scale: others get nine times their share of a busy core.
INGEST_NICENESS = 10


def _give_way() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), INGEST_NICENESS)


class WorkerPool(TaskPool):  # type: ignore[misc]
    """Two sorts of threads, which write to a pipe that the consumer's event loop reads once a task ended.

    The number of tasks at once is the same as with one sort: the consumer takes no more messages.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._background = ThreadPoolExecutor(self.limit, "ingest", initializer=_give_way)

    def on_start(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def on_stop(self) -> None:
        self._background.shutdown()
        super().on_stop()
        os.close(self._writer)
        os.close(self._reader)

    def register_with_event_loop(self, loop: Any) -> None:
        # Called again after each reconnect, with an empty loop.
        loop.add_reader(self._reader, self._drain)

    def on_apply(
        self,
        target: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        callback: Any = None,
        accept_callback: Any = None,
        **_: Any,
    ) -> ApplyResult:
        # Celery hands the task's name over first.
        executor = self._background if args[0] == TASK_INGEST else self.executor
        future = executor.submit(apply_target, target, args, kwargs, callback, accept_callback)
        future.add_done_callback(self._wake)
        return ApplyResult(future)

    def _wake(self, _: Future[Any]) -> None:
        try:
            os.write(self._writer, b"\0")
        except OSError:
            # Full: the loop is to wake anyway. Closed: nobody waits.
            return

    def _drain(self) -> None:
        while True:
            try:
                if len(os.read(self._reader, 4096)) < 4096:
                    return
            except BlockingIOError:
                return
