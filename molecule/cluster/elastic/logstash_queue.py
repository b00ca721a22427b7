"""Logstash's queues on disk, and the locks that keep a second Logstash away from them.

For the STAND-IN alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import threading
from pathlib import Path
from typing import IO, Any

from logstash_java import Refused

BATCH = 125
# 1.6 MB at most in one request, however long the lines.
BATCH_BYTES = 1_600_000
# A page of a queue is made as large as this at once, unless queue.page_capacity says less.
PAGE = "64mb"
# Kept open as long as the program runs.
LOCKS: list[IO[str]] = []


def size_of(text: Any) -> int:
    text = str(text).lower()
    for unit, factor in (("kb", 10), ("mb", 20), ("gb", 30)):
        if text.endswith(unit):
            return int(text.removesuffix(unit)) << factor
    return int(text)


def lock(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    file = (directory / ".lock").open("w")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise Refused(f"Lock held by another program on lock path: {directory}/.lock") from None
    LOCKS.append(file)


class Queue:
    """Events on disk, one JSON object a line, and how far they were written on."""

    def __init__(self, directory: Path, limit: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.pages, self.mark, self.limit = directory / "page.jsonl", directory / "acked", limit
        self.lock = threading.Condition()
        self.pages.touch()
        data = self.pages.read_bytes()
        # A line that a killed process left half was never acknowledged to Filebeat.
        if whole := data[: data.rfind(b"\n") + 1] if not data.endswith(b"\n") and data else None:
            self.pages.write_bytes(whole)
        elif data and b"\n" not in data:
            self.pages.write_bytes(b"")
        self.acked = int(self.mark.read_text() or 0) if self.mark.exists() else 0
        self.size = self.pages.stat().st_size
        self.acked = min(self.acked, self.size)
        with self.pages.open("rb") as file:
            file.seek(self.acked)
            self.count = sum(1 for _ in file)

    def check_disk(self) -> None:
        if shutil.disk_usage(self.pages.parent).free < self.limit - self.size:
            raise Refused(
                f"Unable to allocate {self.limit - self.size} more bytes for persisted queue "
                f"on top of its current usage of {self.size} bytes"
            )

    def full(self, data: bytes) -> bool:
        return bool(self.limit) and self.size - self.acked + len(data) > self.limit

    def put(self, events: list[Any], wait: bool = True) -> bool:
        data = "".join(json.dumps(event) + "\n" for event in events).encode()
        with self.lock:
            while wait and self.full(data) and self.size > self.acked:
                self.lock.wait(1)
            if not wait and self.full(data):
                return False
            with self.pages.open("ab") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            self.size += len(data)
            self.count += len(events)
            self.lock.notify_all()
        return True

    def take(self) -> tuple[list[Any], int]:
        """A batch and where it ends, as soon as there is one."""
        with self.lock:
            while self.size <= self.acked:
                self.lock.wait()
            with self.pages.open("rb") as file:
                file.seek(self.acked)
                events, end = [], self.acked
                for line in file:
                    events.append(json.loads(line))
                    end += len(line)
                    if len(events) >= BATCH or end - self.acked > BATCH_BYTES:
                        break
            return events, end

    def done(self, end: int, count: int) -> None:
        with self.lock:
            self.acked = end
            self.count -= count
            if end == self.size:
                self.pages.write_bytes(b"")
                self.acked = self.size = 0
            self.mark.write_text(str(self.acked))
            self.lock.notify_all()
