"""What a process prints past its loggers, as log lines: C libraries, the interpreter, `print`.

Descriptors 1 and 2 become a pipe that a thread of this process reads. The log lines themselves, and a crash's
last words (faulthandler), go where these two led before, so that neither needs that thread.

- A C library prints on the thread that works. Before a thread takes or drops an id (telemetry/context.py)
  the pipe is emptied, so that a line has the id of its work where one alone is done, and none where more are.
- The pipe never blocks who writes: a library may print while it holds the interpreter's lock, for which the
  reading thread would wait. What does not fit is lost (256 KiB at once).
- One work's lines are one line, the first, and without an id there are few: a file can make a decoder print a
  line for each of its bytes. What ends a process is always let through.
- What a process printed just before it crashed or was killed is still in the pipe: a shell that waits for the
  process to end writes it out, as plain text. It takes 200 KB.
"""

from __future__ import annotations

import atexit
import contextvars
import faulthandler
import fcntl
import io
import json
import logging
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, TextIO

from face_pipeline.telemetry import context

PIPE_BYTES = 256 * 1024
# A line without an end is told after this time, or from this length on.
UNENDED_SECONDS = 1.0
LINE_MAX = 8000
# Lines that belong together are written within this time.
GATHER_SECONDS = 0.02
# Without an id: each line once in this time, and so many different ones.
WINDOW_SECONDS = 60.0
LINES_PER_WINDOW = 20
IDS_KEPT = 256
# Waits on 0 for the process to end, and copies what is left in 2 to 1.
KEEPER = "read _; exec cat <&2 2>/dev/null"
_DIES = re.compile(
    r"Fatal |Traceback |terminate called|\s*what\(\):|free\(\)|malloc|realloc|munmap|double free|corrupted "
    r"|\*\*\* |Segmentation|Aborted|.*Assertion .* failed|.*[Oo]ut of memory"
)


class _Unblocked(io.RawIOBase):
    """A descriptor that may be full: what does not fit is dropped, for `print` must never fail."""

    def __init__(self, descriptor: int):
        self.descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.descriptor

    def write(self, data: Any) -> int:
        with suppress(OSError):
            os.write(self.descriptor, data)
        return len(data)


class _Handler(logging.StreamHandler[TextIO]):
    def handleError(self, record: logging.LogRecord) -> None:
        """Stay silent: what it said would come back as the next line."""


class _Bound:
    """Which lines are told: `allow` gives the number left out before this one, or None: leave it out."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._seen: set[str] = set()
        self._since = time.monotonic()
        self._left_out = 0

    def allow(self, text: str, ids: Mapping[str, str]) -> int | None:
        if not _DIES.match(text) and not self._is_new(text, ids.get("task_id") or ids.get("request_id")):
            self._left_out += 1
            return None
        left_out, self._left_out = self._left_out, 0
        return left_out

    def _is_new(self, text: str, work: str | None) -> bool:
        if work is not None:
            new = work not in self._ids
            self._ids[work] = None
            while len(self._ids) > IDS_KEPT:
                self._ids.popitem(last=False)
            return new
        now = time.monotonic()
        if now - self._since > WINDOW_SECONDS:
            self._seen, self._since = set(), now
        kind = re.sub(r"\d+", "0", text)
        if kind in self._seen or len(self._seen) >= LINES_PER_WINDOW:
            return False
        self._seen.add(kind)
        return True


class Capture:
    """The streams of this process; made once in it, and anew in a forked child."""

    def __init__(self, service_name: str, outer: tuple[int, int]):
        # Imported here: that module asks this one where its lines go.
        from face_pipeline.telemetry.logging import LineFormatter

        self.process = os.getpid()
        self.outer = outer
        self.output = _text(outer[0])
        self._errors = _text(outer[1])
        self._handler = _Handler(self._errors)
        self._handler.setFormatter(LineFormatter(service_name))
        self._lock = threading.RLock()
        self._bound = _Bound()
        self._rest = b""
        self._reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        with suppress(OSError):
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        for descriptor in (1, 2):
            os.dup2(writer, descriptor)
        os.close(writer)
        self._keep()
        sys.stdout, sys.stderr = (
            io.TextIOWrapper(_Unblocked(number), "utf-8", "backslashreplace", write_through=True)  # type: ignore[type-var]
            for number in (1, 2)
        )
        faulthandler.enable(file=self._errors)
        sys.excepthook = self._ended_by
        threading.excepthook = lambda what: self._ended_by(
            what.exc_type, what.exc_value or what.exc_type(), what.exc_traceback
        )
        threading.Thread(target=self._run, name="stderr", daemon=True).start()

    def _keep(self) -> None:
        waits, self._alive = os.pipe2(os.O_CLOEXEC)
        self._keeper = subprocess.Popen(  # noqa: S603  (a text of ours)
            ["/bin/sh", "-c", KEEPER], stdin=waits, stdout=self.outer[1], stderr=self._reader,
            start_new_session=True,
        )  # fmt: skip
        os.close(waits)

    def settle(self, *, whole: bool = False) -> None:
        """Tell what was printed until now; with `whole` also a line that has not ended."""
        with self._lock:
            while True:
                try:
                    read = os.read(self._reader, 65536)
                except OSError:
                    break
                if not read:
                    break
                self._rest += read
            *lines, self._rest = self._rest.split(b"\n")
            if whole or len(self._rest) > LINE_MAX:
                lines, self._rest = [*lines, self._rest], b""
            if lines:
                ids = context.of_the_only_work()
                for text in _blocks(line.decode(errors="backslashreplace") for line in lines):
                    self._tell(text, ids)

    def close(self) -> None:
        """Lead both streams where they led before, and tell the rest."""
        for number, outer in zip((1, 2), self.outer, strict=True):
            os.dup2(outer, number)
        self.settle(whole=True)
        self._keeper.kill()
        self._keeper.wait()

    def leave(self) -> None:
        """In a forked child: what the parent prints is not this one's to read."""
        os.close(self._reader)
        os.close(self._alive)
        self._keeper.returncode = 0

    def _run(self) -> None:
        waiting = select.poll()
        waiting.register(self._reader, select.POLLIN)
        while True:
            ready = waiting.poll(UNENDED_SECONDS * 1000 if self._rest else None)
            if ready:
                time.sleep(GATHER_SECONDS)
            self.settle(whole=not ready)

    def _tell(self, text: str, ids: Mapping[str, str]) -> None:
        if _is_ours(text):
            with suppress(OSError):
                self._errors.write(f"{text}\n")
            return
        left_out = self._bound.allow(text, ids)
        if left_out is not None:
            level = logging.ERROR if _DIES.match(text) else logging.WARNING
            self._emit(level, text, ids, {"count": left_out} if left_out else {})

    def _ended_by(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if issubclass(kind, SystemExit | KeyboardInterrupt):
            return
        ids = {each.name: value for each in (context.request_id, context.task_id) if (value := each.get())}
        self._emit(logging.CRITICAL, f"ended by {kind.__name__}: {error}", ids, {}, (kind, error, trace))

    def _emit(
        self, level: int, text: str, ids: Mapping[str, str], extra: Mapping[str, Any], error: Any = None
    ) -> None:
        record = logging.LogRecord("stderr", level, "", 0, text, None, error)
        record.__dict__.update(extra)

        def write() -> None:
            # The ids of the line, and not those of the thread that happens to tell it.
            for each in (context.request_id, context.task_id):
                each.variable.set(ids.get(each.name))
            self._handler.handle(record)

        contextvars.copy_context().run(write)


def _text(descriptor: int) -> TextIO:
    return open(descriptor, "w", encoding="utf-8", buffering=1, closefd=False)


def _is_ours(text: str) -> bool:
    """A log line already, of a signal's handler or of a process that this one started."""
    if not text.startswith("{"):
        return False
    try:
        return "log_level" in json.loads(text)
    except ValueError:
        return False


def _blocks(lines: Iterator[str]) -> Iterator[str]:
    """Lines that belong together: those indented, and what a traceback ends with."""
    block: list[str] = []
    for line in lines:
        traced = bool(block) and block[0].startswith("Traceback ") and block[-1].startswith(" ")
        if block and not (line.startswith((" ", "\t")) or traced):
            yield "\n".join(block)
            block = []
        if line.strip():
            block.append(line)
    if block:
        yield "\n".join(block)


_current: Capture | None = None


def capture(service_name: str) -> None:
    """Make log lines of all that this process prints from now on. Again after a fork; else once is enough."""
    global _current
    if _current is not None and _current.process == os.getpid():
        return
    if _current is None:
        outer = (fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3), fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, 3))
        atexit.register(_close)
    else:
        outer = _current.outer
        _current.leave()
    _current = Capture(service_name, outer)
    context.Id.before_change = staticmethod(settle)


def _close() -> None:
    if _current is not None and _current.process == os.getpid():
        _current.close()


def settle() -> None:
    """Tell what this process printed until now, before an id changes or the process ends at once."""
    if _current is not None and _current.process == os.getpid():
        _current.settle()


def output() -> TextIO:
    """Where log lines go: never into the pipe."""
    return sys.stdout if _current is None else _current.output
