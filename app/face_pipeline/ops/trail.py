"""`face-pipeline trail ID`: what this host logged about one request, from the journal and nginx's access log.

Two readings. The first finds the lines that name the id; they name others: a request's photos and tasks, a
photo's request. The second finds the lines of those.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from face_pipeline.errors import BadRequest, FacePipelineError, NotFound

ACCESS_LOG = Path("/var/log/nginx/face-pipeline.log")
UNITS = ("face-*", "celery@*")
# What a request id may be (telemetry/context.py); the other ids are UUIDs.
ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
REQUEST, TASK, PHOTO, BATCH = ID_FIELDS = ("request_id", "task_id", "photo_id", "batch_id")
# Shown in columns of their own, or of no use to a person who follows one request.
QUIET_FIELDS = {
    "timestamp", "service_name", "log_level", "logger", "message", "exception", "unit", "duration_seconds",
    "operation", "method", "path", "protocol", "user_agent",
}  # fmt: skip
IDS_SHOWN = 3


class JournalUnreadable(FacePipelineError):
    code = "journal_unreadable"


@dataclass(frozen=True)
class Sources:
    """Where to read: the last `seconds` of the host's journal (or of a directory), and an access log."""

    seconds: int
    journal: Path | None = None
    access_log: Path = ACCESS_LOG

    @property
    def since(self) -> float:
        return time.time() - self.seconds


@dataclass(frozen=True)
class Entry:
    """One line: when it was written, by which unit, and its fields."""

    time: datetime
    unit: str
    fields: dict[str, Any]

    def ids(self, name: str) -> set[str]:
        """The ids in field `name`: a line may name several photos."""
        value = self.fields.get(name)
        values = value if isinstance(value, list) else [value]
        return {one for one in values if isinstance(one, str)}


def follow(wanted: str, sources: Sources) -> list[Entry]:
    """All lines about `wanted`, oldest first; raises where there is none, or the journal cannot be read."""
    if not ID.fullmatch(wanted):
        raise BadRequest(f"{wanted!r} is no id: 8 to 64 letters, digits, '.', '_' and '-'")
    own = [
        entry for entry in _read([wanted], sources) if any(wanted in entry.ids(name) for name in ID_FIELDS)
    ]
    if not own:
        raise NotFound(
            f"nothing about {wanted} in this host's logs of the last {sources.seconds / 3600:g} hours: "
            "is it another host's, or older (--since 7d)?"
        )
    found = {name: {one for entry in own for one in entry.ids(name)} for name in ID_FIELDS}
    asked_request = wanted in found[REQUEST]
    # A request's photos may have been seen by others too, and a photo's request may have had others.
    named = found[REQUEST] | found[TASK] | (found[PHOTO] if asked_request else {wanted})

    def belongs(entry: Entry) -> bool:
        if any(wanted in entry.ids(name) for name in ID_FIELDS) or entry.ids(TASK) & found[TASK]:
            return True
        if asked_request:
            return bool(entry.ids(PHOTO) & found[PHOTO]) and not entry.ids(REQUEST)
        return bool(entry.ids(REQUEST) & found[REQUEST]) and not entry.ids(TASK)

    return sorted(filter(belongs, _read(sorted(named), sources)), key=lambda entry: entry.time)


def _read(ids: list[str], sources: Sources) -> Iterator[Entry]:
    """Lines that name one of `ids`, and some that only look so."""
    yield from _journal(ids, sources)
    yield from _access_log(ids, sources)


def _journal(ids: list[str], sources: Sources) -> Iterator[Entry]:
    command = [
        "journalctl", "--no-pager", "--output=json", f"--since=@{sources.since:.0f}", "--case-sensitive=true",
        f"--grep={'|'.join(map(re.escape, ids))}", *(f"--unit={unit}" for unit in UNITS),
        "--output-fields=MESSAGE,_SYSTEMD_UNIT",
    ]  # fmt: skip
    if sources.journal:
        command.append(f"--directory={sources.journal}")
    try:
        # errors: a line may be no text at all.
        done = subprocess.run(  # noqa: S603
            command, env={**os.environ, "LC_ALL": "C.UTF-8"},
            capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
    except OSError as error:
        raise JournalUnreadable(f"journalctl does not run here: {error.strerror}") from error
    if "Failed to add filter for units: No data available" in done.stderr:
        # None of our units ever ran on this host.
        return
    # Warnings go there too, and it ends with 1 where nothing matches.
    if "insufficient permissions" in done.stderr or "not seeing messages from other users" in done.stderr:
        raise JournalUnreadable(
            "this user may not read the journal: run as root, or as a member of the group adm"
        )
    if done.returncode and done.stderr.strip():
        raise JournalUnreadable(f"journalctl: {done.stderr.strip().splitlines()[-1]}")
    for line in done.stdout.splitlines():
        record = json.loads(line)
        fields = _fields(record.get("MESSAGE"))
        if fields is not None:
            written = datetime.fromtimestamp(int(record["__REALTIME_TIMESTAMP"]) / 1e6, UTC)
            unit = record.get("_SYSTEMD_UNIT", "").removesuffix(".service")
            yield Entry(_time(fields) or written, unit, fields)


def _access_log(ids: list[str], sources: Sources) -> Iterator[Entry]:
    """From the log and its rotated parts; hosts without nginx have none."""
    for path in sorted(sources.access_log.parent.glob(f"{sources.access_log.name}*")):
        try:
            if path.stat().st_mtime < sources.since:
                continue
            opened = gzip.open if path.suffix == ".gz" else open
            with opened(path, "rt", errors="replace") as lines:
                yield from _access_entries(lines, ids)
        except PermissionError as error:
            raise JournalUnreadable(
                f"this user may not read {path}: run as root, or as a member of the group adm"
            ) from error


def _access_entries(lines: Iterable[str], ids: list[str]) -> Iterator[Entry]:
    for line in lines:
        if not any(one in line for one in ids):
            continue
        fields = _fields(line)
        written = _time(fields or {})
        if fields is not None and written is not None:
            # nginx writes when the answer has left, and names the second: the line belongs at its end.
            yield Entry(written + timedelta(milliseconds=999), "nginx", fields)


def _fields(text: object) -> dict[str, Any] | None:
    """The JSON object of a line; None where somebody else wrote it."""
    try:
        fields = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


def _time(fields: dict[str, Any]) -> datetime | None:
    try:
        return datetime.fromisoformat(fields["timestamp"]).astimezone(UTC)
    except (KeyError, TypeError, ValueError):
        return None


def as_json(entries: list[Entry]) -> Iterator[str]:
    for entry in entries:
        yield json.dumps({**entry.fields, "unit": entry.unit})


def as_table(entries: list[Entry]) -> Iterator[str]:
    """Lines for people: when (UTC), who, how grave, how long it took, what; an exception below its line."""
    yield f"{'TIME (UTC)':23}  {'UNIT':16} {'LEVEL':8} {'SECONDS':>8}  WHAT"
    requests = {one for entry in entries for one in entry.ids(REQUEST)}
    quiet = QUIET_FIELDS | ({REQUEST} if len(requests) == 1 else set())
    for entry in entries:
        fields = entry.fields
        when = f"{entry.time:%Y-%m-%d %H:%M:%S}.{entry.time.microsecond // 1000:03}"
        took = fields.get("duration_seconds")
        took = f"{took:8.3f}" if isinstance(took, int | float) else " " * 8
        what = " ".join([str(fields.get("message", "")), *_details(fields, quiet)])
        level = str(fields.get("log_level", ""))
        yield _printable(f"{when:23}  {entry.unit:16} {level:8} {took}  {what}")
        for line in str(fields.get("exception", "")).splitlines():
            yield _printable(f"{'':23}  | {line}")


def _details(fields: dict[str, Any], quiet: set[str]) -> Iterator[str]:
    for name, value in fields.items():
        if name in quiet or value in (None, "", []):
            continue
        if isinstance(value, list):
            rest = len(value) - IDS_SHOWN
            value = ",".join(map(str, value[:IDS_SHOWN])) + (f",+{rest}" if rest > 0 else "")
        yield f"{name}={value}"


def _printable(text: str) -> str:
    """Clients choose parts of a line: none of them may speak to the terminal."""
    return "".join(character if character.isprintable() else "?" for character in text).rstrip()
