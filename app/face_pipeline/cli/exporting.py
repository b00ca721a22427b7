"""`face-pipeline export`: a collection, or all of one person, as files to read (docs/export.md)."""

from __future__ import annotations

import enum
import hashlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import click

from face_pipeline.cli.common import Door, connected, examples
from face_pipeline.cli.ingest import bar, patient, stoppable
from face_pipeline.cli.people import id_of

if TYPE_CHECKING:
    from face_pipeline.client import Client, ExportPage

LINES = "export.jsonl"
FORMAT, VERSION = "face-pipeline-export", 1
# Of one person: others' faces are missing, so that it cannot be imported.
PERSON_FORMAT = "face-pipeline-person"
# What a photo is kept as; the name says it to who has no program of ours.
ENDINGS = {
    "image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "image/heic": ".heic",
    "image/heif": ".heif", "image/avif": ".avif",
}  # fmt: skip
# Photos that are asked for, and in memory, at a time.
AT_ONCE = 4
GO_ON = "Stopped. Run the same command again: it goes on where it was."
KINDS = ("person", "photo", "face")
# What an export of one person has besides, and how each is counted.
TOLD = {"merge": "merges", "event": "events", "audit": "audit"}


class Target(Protocol):
    """Where an export goes. `lines` and `state` are files of one that is not at its end."""

    lines: Path
    state: Path
    done: Path

    def open(self, size: int) -> None:
        """Go on behind the first `size` bytes of what settle() told of."""

    def add(self, name: str, data: bytes) -> None:
        """Keep a file."""

    def settle(self) -> int:
        """What was added survives a power cut; returns how many bytes it has."""

    def finish(self) -> None:
        """Make it the export that it is to be."""


class Directory:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.done = root / LINES
        self.lines, self.state = root / f"{LINES}.part", root / "export.state"
        root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def open(self, size: int) -> None:
        """Each file is whole, or not there."""

    def add(self, name: str, data: bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write(path, data)

    def settle(self) -> int:
        return 0

    def finish(self) -> None:
        self.lines.replace(self.done)
        self.state.unlink(missing_ok=True)


class Archive:
    """Plain tar, so that each file in it can be read where it lies; the lines come last."""

    def __init__(self, file: Path) -> None:
        self.done = file
        self._part = file.with_name(f"{file.name}.part")
        self.lines, self.state = file.with_name(f"{file.name}.lines"), file.with_name(f"{file.name}.state")
        file.parent.mkdir(parents=True, exist_ok=True)

    def open(self, size: int) -> None:
        self._file: IO[bytes] = os.fdopen(os.open(self._part, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
        self._file.truncate(size)
        self._file.seek(size)
        self._tar = tarfile.TarFile(fileobj=self._file, mode="w")

    def add(self, name: str, data: bytes) -> None:
        self._tar.addfile(_member(name, len(data)), io.BytesIO(data))

    def settle(self) -> int:
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def finish(self) -> None:
        with self.lines.open("rb") as stream:
            self._tar.addfile(_member(LINES, self.lines.stat().st_size), stream)
        self._tar.close()
        self.settle()
        self._file.close()
        self._part.replace(self.done)
        self.lines.unlink()
        self.state.unlink(missing_ok=True)


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, int(datetime.now(UTC).timestamp())
    return member


def write(path: Path, data: bytes) -> None:
    """The file is whole after a power cut too, or as it was; for nobody else to read."""
    aside = path.with_name(f".{path.name}.part")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(path)


@click.command(
    epilog=examples("export staff backup/", "export staff staff.tar", "export --person Anna staff anna/")
)
@click.argument("collection")
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--person", help="All that is held on this person alone, by name or id.")
@click.option(
    "--no-photos", is_flag=True, help="With --person: leave the pictures out, which may show others."
)
@click.option("--fresh", is_flag=True, help="Begin anew where an earlier run was stopped.")
@connected
def export(
    door: Door, collection: str, target: Path, person: str | None, no_photos: bool, fresh: bool
) -> int:
    """Write a collection to a directory or a tar archive: its persons, faces, embeddings and photos.

    With --person: their record, photos and faces, and what events and the audit tell of them; of photos
    that show others too, nothing of these but the picture.

    For a key with the scope admin. Stop it (Ctrl-C, or worse) and run the same command again: it goes on
    where it was. The exit status is 1 if the service has lost an original; one that the collection's
    retention has removed is not lost.
    """
    if no_photos and person is None:
        raise click.UsageError("--no-photos goes with --person: an export without photos is no collection")
    try:
        run = _run(door, collection, target, person, pictures=not no_photos, fresh=fresh)
    except OSError as error:
        raise click.ClickException(
            f"{error.filename or target} cannot be written: {error.strerror}"
        ) from None
    counts = run.told()
    told = {
        "collection": collection, "export": str(target), **counts,
        "expired": run.expired, "missing": run.missing,
    }  # fmt: skip
    words = f"{collection}: " + ", ".join(f"{number} {name}" for name, number in counts.items())
    if run.expired:
        words += f"\n{run.expired} without an original, which the collection's retention has removed"
    if run.missing:
        words += f"\n{len(run.missing)} without an original, which the service has lost:"
        words += "".join(f"\n  {each}" for each in run.missing)
    door.show(told, f"{words}\nin {target}")
    return 1 if run.missing else 0


def _run(
    door: Door, collection: str, target: Path, person: str | None, *, pictures: bool, fresh: bool
) -> Run:
    stop = threading.Event()
    client = door.client(connections=AT_ONCE, retries=patient(stop))
    with stoppable(stop, GO_ON):
        total = sum(client.collection(collection).photos.values())
        person_id = None
        if person is not None:
            found = client.person(id_of(client, person, collection))
            if found.collection != collection:
                raise click.ClickException(f"the person {found.id} is in {found.collection}: name that one")
            person_id, total = str(found.id), found.photo_count
        place: Target = Archive(target) if target.suffix == ".tar" else Directory(target)
        if place.done.exists():
            raise click.ClickException(
                f"{place.done} is an export already; take another target, or remove it"
            )
        run = Run(client, collection, place, person_id=person_id, pictures=pictures)
        run.begin(fresh=fresh)
        with bar(door, max(0, total - run.counts["photo"]), "Photos") as shown:
            while not run.ended:
                before = run.counts["photo"]
                run.page()
                shown(run.counts["photo"] - before)
        run.end()
    return run


class Without(enum.Enum):
    """Why an export has no original of a photo."""

    LOST = enum.auto()
    EXPIRED = enum.auto()
    # With the photo, since the page was read.
    ERASED = enum.auto()


# Of the answer that there is none.
OF_CODES = {"photo_not_found": Without.ERASED, "original_expired": Without.EXPIRED}


class Run:
    """An export on its way. What settled is kept in the state: the cursor, and how long the files are."""

    def __init__(
        self, client: Client, collection: str, target: Target, *, person_id: str | None, pictures: bool
    ) -> None:
        self._client, self._collection, self._target = client, collection, target
        self._person, self._pictures = person_id, pictures
        self._goal: dict[str, Any] = {"version": VERSION, "url": client.url, "collection": collection}
        if person_id is not None:
            self._goal |= {"person": person_id, "pictures": pictures}
        self._cursor: str | None = None
        self._persons: set[str] = set()
        self.counts = dict.fromkeys(KINDS, 0)
        self.faces = 0
        # Photos whose originals the retention removed, and names of those whose originals are lost.
        self.expired = 0
        self.missing: list[str] = []
        self.ended = False

    def begin(self, *, fresh: bool) -> None:
        """Go on where an earlier run was, or begin; raises ClickException where that was of another one."""
        sizes = {"lines": 0, "files": 0}
        state = self._target.state
        if state.exists() and not fresh:
            kept = json.loads(state.read_bytes())
            if kept["goal"] != self._goal:
                raise click.ClickException(
                    f"{state} is of another export, of {_goal_in_words(kept['goal'])} at "
                    f"{kept['goal']['url']}; take another target, or --fresh"
                )
            sizes = kept["sizes"]
            self._cursor, self.ended = kept["cursor"], kept["ended"]
            self.counts, self.faces, self.missing = kept["counts"], kept["faces"], kept["missing"]
            self.expired = kept.get("expired", 0)
        self._target.open(sizes["files"])
        self._lines = os.fdopen(os.open(self._target.lines, os.O_RDWR | os.O_CREAT, 0o600), "r+b")
        claim(self._lines, self._target.lines)
        self._lines.truncate(sizes["lines"])
        for line in self._lines:
            record = json.loads(line)
            if record["kind"] == "person":
                self._persons.add(record["id"])

    def page(self) -> None:
        """One more page; it is on the disk when this returns."""
        if self._person is None:
            page = self._client.export_page(self._collection, self._cursor)
        else:
            page = self._client.person_export_page(self._person, self._cursor)
        check(page.format, page.version, FORMAT if self._person is None else PERSON_FORMAT)
        if self._cursor is None:
            self._write({"kind": "collection", **_header(page)})
        photos = [each for each in page.records if each["kind"] == "photo"]
        without = self._originals(photos) if self._pictures else {}
        for record in page.records:
            if record["kind"] == "person" and record["id"] in self._persons:
                continue
            if record["kind"] == "photo":
                why = without.get(record["id"])
                if why is Without.ERASED:
                    continue
                self.expired += why is Without.EXPIRED
                self.missing += [record["filename"]] * (why is Without.LOST)
                kept = self._pictures and why is None
                record = {**record, "original": name_of(record) if kept else None}
            self._count(record)
            self._write(record)
        self._cursor, self.ended = page.next_cursor, page.next_cursor is None
        self._settle()

    def _count(self, record: dict[str, Any]) -> None:
        self.counts[record["kind"]] = self.counts.get(record["kind"], 0) + 1
        self.faces += len(record["faces"]) if record["kind"] == "photo" else record["kind"] == "face"
        if record["kind"] == "person":
            self._persons.add(record["id"])

    def told(self) -> dict[str, int]:
        """What it has, as its last line says it."""
        found = {"persons": self.counts["person"], "photos": self.counts["photo"], "faces": self.faces}
        if self._person is not None:
            found |= {name: self.counts.get(kind, 0) for kind, name in TOLD.items()}
        return found

    def _originals(self, photos: Iterable[dict[str, Any]]) -> dict[str, Without]:
        """Keep the originals of a page; why there is none, by the photo's id."""
        without: dict[str, Without] = {}
        wanted = list(photos)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for start in range(0, len(wanted), AT_ONCE):
                some = wanted[start : start + AT_ONCE]
                for record, found in zip(some, pool.map(self._original, some), strict=True):
                    if isinstance(found, bytes):
                        self._target.add(name_of(record), found)
                    else:
                        without[record["id"]] = found
        return without

    def _original(self, record: dict[str, Any]) -> bytes | Without:
        from face_pipeline.client import Refused

        try:
            data = self._client.image(record["id"])
        except Refused as error:
            if error.status != 404:
                raise
            return OF_CODES.get(error.code, Without.LOST)
        # Also what a proxy made of a file that is not there.
        return data if hashlib.sha256(data).hexdigest() == record["sha256"] else Without.LOST

    def _write(self, record: dict[str, Any]) -> None:
        self._lines.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")

    def _settle(self) -> None:
        size = self._target.settle()
        self._lines.flush()
        os.fsync(self._lines.fileno())
        kept = {
            "goal": self._goal, "cursor": self._cursor, "ended": self.ended, "counts": self.counts,
            "faces": self.faces, "expired": self.expired, "missing": self.missing,
            "sizes": {"lines": self._lines.tell(), "files": size},
        }  # fmt: skip
        write(self._target.state, json.dumps(kept).encode())

    def end(self) -> None:
        """Say that nothing is missing, and let the export be one."""
        self._write({"kind": "end", **self.told()})
        self._lines.flush()
        os.fsync(self._lines.fileno())
        self._target.finish()
        self._lines.close()


def _goal_in_words(goal: dict[str, Any]) -> str:
    person = f"the person {goal['person']} in " if "person" in goal else ""
    return f"{person}{goal['collection']}"


def _header(page: ExportPage) -> dict[str, Any]:
    return {
        "format": page.format,
        "version": page.version,
        **page.collection.model_dump(mode="json"),
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def check(kind: object, version: object, wanted: str = FORMAT) -> None:
    """Raises ClickException for what this command does not know."""
    if kind == PERSON_FORMAT != wanted:
        raise click.ClickException("this is an export of one person, which makes no collection")
    if kind != wanted or not isinstance(version, int):
        raise click.ClickException("this is no export of a Face Pipeline")
    if version > VERSION:
        raise click.ClickException(f"the export has version {version}, newer than this command: update it")


def name_of(record: dict[str, Any]) -> str:
    """Where the original of a photo lies in an export."""
    sha256 = record["sha256"]
    return f"originals/{sha256[:2]}/{sha256}{ENDINGS.get(record.get('media_type', ''), '')}"


def claim(file: IO[bytes], path: Path) -> None:
    """Nobody else writes it; raises ClickException where somebody does."""
    try:
        import fcntl
    except ImportError:  # Windows, where two runs at once are left to the person who starts them.
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise click.ClickException(f"another run writes {path}; wait until it ends") from None
