"""What an ingest has put in, on the disk: it goes on where it was stopped, however it was stopped.

A file of lines of JSON. The first says what is put where; each other one tells of a file of which the service
answered. Lines are only ever added, and are on the disk (fsync) before the file counts as done. A line that a
power cut or a kill left half is dropped: that file is sent again, and the service knows it.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from face_pipeline.client.errors import ClientError

try:
    import fcntl
except ImportError:  # Windows, where two runs at once are left to the person who starts them.
    fcntl = None  # type: ignore[assignment]

VERSION = 1
ACCEPTED, DUPLICATE, REFUSED = "accepted", "duplicate", "refused"


class StateUnusable(ClientError):
    code = "state_unusable"


@dataclass(frozen=True)
class Record:
    """What the service said of a file. outcome: accepted, duplicate or refused (`code`, `message`: why).

    `code` of a photo that is in: what was not done with it, and why.
    """

    where: str
    mark: str
    person: str | None
    sha256: str
    outcome: str
    photo: str | None = None
    batch: str | None = None
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True)
class Goal:
    """What is put where: another goal is another file."""

    url: str
    collection: str
    source: str

    def file(self) -> Path:
        """In ~/.local/state (XDG_STATE_HOME)."""
        home = Path(os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser())
        digest = hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:16]
        return home / "face-pipeline" / "ingest" / f"{digest}.jsonl"


class State:
    """The file of one ingest, open for one process. Safe for several threads."""

    def __init__(self, path: Path, goal: Goal, *, fresh: bool = False) -> None:
        """Raises StateUnusable for a file of another ingest, and for one that runs now."""
        self.path = path
        self.records: list[Record] = []
        self.header: dict[str, Any] = {"version": VERSION, **asdict(goal)}
        self._lock = threading.Lock()
        self._by_place: dict[tuple[str, str, str | None], Record] = {}
        self._by_content: dict[tuple[str, str | None], Record] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Names of files and people: for nobody else.
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise StateUnusable(f"{path} cannot be written: {error.strerror}") from error
        self._claim()
        if fresh:
            os.ftruncate(self._file, 0)
        self._load()

    def _claim(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise StateUnusable(
                f"another run puts the same photos in; wait until it ends ({self.path})"
            ) from None

    def _load(self) -> None:
        with self.path.open("rb") as stream:
            data = stream.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(self._file, whole)
        first, *lines = data[:whole].splitlines() or [b""]
        if not first:
            self._append([self.header])
            return
        found = _parsed(first) or {}
        wanted = {name: self.header[name] for name in ("version", "url", "collection", "source")}
        if {name: found.get(name) for name in wanted} != wanted:
            raise StateUnusable(f"{self.path} is of another ingest: {first[:300].decode(errors='replace')}")
        self.header = found
        for line in lines:
            values = _parsed(line)
            if values is None:
                continue
            if "header" in values:
                self.header |= values["header"]
                continue
            try:
                self._remember(Record(**values))
            except TypeError:
                continue

    def note(self, **values: str) -> None:
        """Keep something of the whole ingest."""
        with self._lock:
            self.header |= values
            self._append([{"header": values}])

    def add(self, records: Iterable[Record]) -> None:
        """Keep what became of files; once this returns, they are known after a power cut too."""
        records = list(records)
        if not records:
            return
        with self._lock:
            self._append(
                [
                    {
                        name: value
                        for name, value in asdict(each).items()
                        if value is not None or name == "person"
                    }
                    for each in records
                ]
            )
            for each in records:
                self._remember(each)

    def _append(self, values: list[dict[str, Any]]) -> None:
        lines = b"".join(json.dumps(each).encode() + b"\n" for each in values)
        try:
            while lines:
                lines = lines[os.write(self._file, lines) :]
            os.fsync(self._file)
        except OSError as error:
            raise StateUnusable(f"{self.path} cannot be written: {error.strerror}") from error

    def _remember(self, record: Record) -> None:
        self.records.append(record)
        self._by_place[(record.where, record.mark, record.person)] = record
        if record.outcome != REFUSED:
            self._by_content.setdefault((record.sha256, record.person), record)

    def of_place(self, where: str, mark: str, person: str | None) -> Record | None:
        """What became of this file, unless it changed since."""
        return self._by_place.get((where, mark, person))

    def of_content(self, sha256: str, person: str | None) -> Record | None:
        """What became of a file with this content, which is in."""
        return self._by_content.get((sha256, person))

    def close(self) -> None:
        os.close(self._file)


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        values = json.loads(line)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None
