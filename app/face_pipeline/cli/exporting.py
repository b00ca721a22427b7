"""`face-pipeline export`: a collection as files that anything can read (docs/export.md)."""

from __future__ import annotations

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

if TYPE_CHECKING:
    from face_pipeline.client import Client, ExportPage

LINES = "export.jsonl"
FORMAT, VERSION = "face-pipeline-export", 1
# What a photo is kept as; the name says it to who has no program of ours.
ENDINGS = {
    "image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "image/heic": ".heic",
    "image/heif": ".heif", "image/avif": ".avif",
}  # fmt: skip
# Photos that are asked for, and in memory, at a time.
AT_ONCE = 4
GO_ON = "Stopped. Run the same command again: it goes on where it was."
KINDS = ("person", "photo", "face")


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


@click.command(epilog=examples("export staff backup/", "export staff staff.tar"))
@click.argument("collection")
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--fresh", is_flag=True, help="Begin anew where an earlier run was stopped.")
@connected
def export(door: Door, collection: str, target: Path, fresh: bool) -> int:
    """Write a collection to a directory or a tar archive: its persons, faces, embeddings and photos.

    For a key with the scope admin. Stop it (Ctrl-C, or worse) and run the same command again: it goes on
    where it was. The exit status is 1 if the service has lost an original.
    """
    try:
        run = _run(door, collection, target, fresh=fresh)
    except OSError as error:
        raise click.ClickException(
            f"{error.filename or target} cannot be written: {error.strerror}"
        ) from None
    counts = {"persons": run.counts["person"], "photos": run.counts["photo"], "faces": run.faces}
    told = {"collection": collection, "export": str(target), **counts, "missing": run.missing}
    words = f"{collection}: " + ", ".join(f"{number} {name}" for name, number in counts.items())
    if run.missing:
        words += f"\n{len(run.missing)} without an original, which the service has lost:"
        words += "".join(f"\n  {each}" for each in run.missing)
    door.show(told, f"{words}\nin {target}")
    return 1 if run.missing else 0


def _run(door: Door, collection: str, target: Path, *, fresh: bool) -> Run:
    stop = threading.Event()
    client = door.client(connections=AT_ONCE, retries=patient(stop))
    with stoppable(stop, GO_ON):
        total = sum(client.collection(collection).photos.values())
        place: Target = Archive(target) if target.suffix == ".tar" else Directory(target)
        if place.done.exists():
            raise click.ClickException(
                f"{place.done} is an export already; take another target, or remove it"
            )
        run = Run(client, collection, place)
        run.begin(fresh=fresh)
        with bar(door, max(0, total - run.counts["photo"]), "Photos") as shown:
            while not run.ended:
                before = run.counts["photo"]
                run.page()
                shown(run.counts["photo"] - before)
        run.end()
    return run


class Run:
    """An export on its way. What settled is kept in the state: the cursor, and how long the files are."""

    def __init__(self, client: Client, collection: str, target: Target) -> None:
        self._client, self._collection, self._target = client, collection, target
        self._goal = {"version": VERSION, "url": client.url, "collection": collection}
        self._cursor: str | None = None
        self._persons: set[str] = set()
        self.counts = dict.fromkeys(KINDS, 0)
        self.faces = 0
        # Names of photos without an original.
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
                    f"{state} is of another export, of {kept['goal']['collection']} at "
                    f"{kept['goal']['url']}; take another target, or --fresh"
                )
            sizes = kept["sizes"]
            self._cursor, self.ended = kept["cursor"], kept["ended"]
            self.counts, self.faces, self.missing = kept["counts"], kept["faces"], kept["missing"]
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
        page = self._client.export_page(self._collection, self._cursor)
        check(page.format, page.version)
        if self._cursor is None:
            self._write({"kind": "collection", **_header(page)})
        photos = [each for each in page.records if each["kind"] == "photo"]
        lost = self._originals(photos)
        for record in page.records:
            if record["kind"] == "person" and record["id"] in self._persons:
                continue
            if record["kind"] == "photo":
                if record["id"] in lost and lost[record["id"]] is None:
                    continue
                original = None if record["id"] in lost else name_of(record)
                record = {**record, "original": original}
            self._count(record)
            self._write(record)
        self.missing += [name for name in lost.values() if name is not None]
        self._cursor, self.ended = page.next_cursor, page.next_cursor is None
        self._settle()

    def _count(self, record: dict[str, Any]) -> None:
        self.counts[record["kind"]] = self.counts.get(record["kind"], 0) + 1
        self.faces += len(record["faces"]) if record["kind"] == "photo" else record["kind"] == "face"
        if record["kind"] == "person":
            self._persons.add(record["id"])

    def _originals(self, photos: Iterable[dict[str, Any]]) -> dict[str, str | None]:
        """Keep the originals of a page; the file names of those that are lost, None: the photo is too."""
        lost: dict[str, str | None] = {}
        wanted = list(photos)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for start in range(0, len(wanted), AT_ONCE):
                some = wanted[start : start + AT_ONCE]
                for record, found in zip(some, pool.map(self._original, some), strict=True):
                    if isinstance(found, bytes):
                        self._target.add(name_of(record), found)
                    else:
                        lost[record["id"]] = record["filename"] if found else None
        return lost

    def _original(self, record: dict[str, Any]) -> bytes | bool:
        """The original; True: the service lost it, False: the photo was erased meanwhile."""
        from face_pipeline.client import Refused

        try:
            data = self._client.image(record["id"])
        except Refused as error:
            if error.status != 404:
                raise
            return error.code != "photo_not_found"
        # Also what a proxy made of a file that is not there.
        return data if hashlib.sha256(data).hexdigest() == record["sha256"] else True

    def _write(self, record: dict[str, Any]) -> None:
        self._lines.write(json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")

    def _settle(self) -> None:
        size = self._target.settle()
        self._lines.flush()
        os.fsync(self._lines.fileno())
        kept = {
            "goal": self._goal, "cursor": self._cursor, "ended": self.ended, "counts": self.counts,
            "faces": self.faces, "missing": self.missing,
            "sizes": {"lines": self._lines.tell(), "files": size},
        }  # fmt: skip
        write(self._target.state, json.dumps(kept).encode())

    def end(self) -> None:
        """Say that nothing is missing, and let the export be one."""
        counts = {"persons": self.counts["person"], "photos": self.counts["photo"], "faces": self.faces}
        self._write({"kind": "end", **counts})
        self._lines.flush()
        os.fsync(self._lines.fileno())
        self._target.finish()
        self._lines.close()


def _header(page: ExportPage) -> dict[str, Any]:
    return {
        "format": page.format,
        "version": page.version,
        **page.collection.model_dump(mode="json"),
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def check(kind: object, version: object) -> None:
    """Raises ClickException for what this command does not know."""
    if kind != FORMAT or not isinstance(version, int):
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
