"""`face-pipeline import`: what an export holds (docs/export.md), into a collection of this service."""

from __future__ import annotations

import json
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Protocol

import click

from face_pipeline.cli import compreface, moving
from face_pipeline.cli.common import Door, connected, examples, print_json
from face_pipeline.cli.exporting import GO_ON, LINES, check
from face_pipeline.cli.ingest import SHOWN, bar, patient, stoppable
from face_pipeline.words import counted

if TYPE_CHECKING:
    from face_pipeline.client import Client, File

# Of one request: it is sent again as a whole.
RECORDS = 50
LINES_BYTES = 8 * 1024**2
FILES_BYTES = 64 * 1024**2
# A line is read no further: no record is so long.
LINE_MOST = 32 * 1024**2
# Of a request as a whole: fewer records may pass.
TOO_MUCH = ("request_too_large", "too_many_photos", "too_many_fields", "too_many_records")


class Source(Protocol):
    """An export. `size`: bytes of its lines."""

    size: int

    def lines(self) -> IO[bytes]:
        """The lines, from the first."""

    def original(self, name: str) -> File | None:
        """A file of it; None: there is none."""


class Directory:
    def __init__(self, root: Path) -> None:
        self._root, self._lines = root, root / LINES
        if not self._lines.is_file():
            raise _no_export(root)
        self.size = self._lines.stat().st_size

    def lines(self) -> IO[bytes]:
        return self._lines.open("rb")

    def original(self, name: str) -> File | None:
        from face_pipeline.client.multipart import file_of

        path = self._root / name
        return file_of(path) if path.is_file() else None


class Archive:
    def __init__(self, file: Path) -> None:
        try:
            self._tar = tarfile.open(file, "r:")  # noqa: SIM115  (open until the end)
            self._members = {each.name: each for each in self._tar.getmembers() if each.isfile()}
        except tarfile.TarError as error:
            raise click.ClickException(f"{file} is no tar archive that can be read: {error}") from None
        if LINES not in self._members:
            raise _no_export(file)
        self.size = self._members[LINES].size

    def lines(self) -> IO[bytes]:
        return self._open(self._members[LINES])

    def _open(self, member: tarfile.TarInfo) -> IO[bytes]:
        found = self._tar.extractfile(member)
        assert found is not None
        return found

    def original(self, name: str) -> File | None:
        from face_pipeline.client import File

        member = self._members.get(name)
        if member is None:
            return None
        return File(name, member.size, lambda: self._open(member))  # type: ignore[arg-type,return-value]


def _no_export(path: Path) -> click.ClickException:
    return click.ClickException(
        f"{path} holds no {LINES}: it is no export, or one that was stopped; run that export again"
    )


@dataclass(frozen=True)
class Line:
    """A record on its way, with the number of its line."""

    number: int
    text: bytes
    record: dict[str, Any]
    original: File | None

    @property
    def file_size(self) -> int:
        return self.original.size if self.original else 0


@dataclass
class Report:
    """How an import ended. complete: the export was whole."""

    collection: str
    made: Counter[str] = field(default_factory=Counter)
    there: Counter[str] = field(default_factory=Counter)
    refused: list[dict[str, Any]] = field(default_factory=list)
    remarks: Counter[str] = field(default_factory=Counter)
    complete: bool = False

    def refuse(self, line: int, code: str | None, message: str | None) -> None:
        self.refused.append({"line": line, "code": code, "message": message})


@click.command(
    "import",
    epilog=examples(
        "import backup/",
        "import staff.tar --collection team",
        "import old.tar --reprocess",
        "import --from compreface http://OLD:8000 --source-key-file old.key --collection door --dry-run",
    ),
)
@click.argument("source")
@click.option("--collection", help="Where to. Left out: its own name; from CompreFace, `default`.")
@click.option("--reprocess", is_flag=True, help="Find the faces anew, whatever made those of the export.")
@moving.options
@connected
def take(
    door: Door,
    source: str,
    collection: str | None,
    reprocess: bool,
    origin: str | None,
    source_key_file: str | None,
    source_ca: Path | None,
    **how: Any,
) -> int:
    """Put in what an export holds, or (--from compreface) the subjects and images of a CompreFace.

    An export needs a key with the scope admin. What is there stays as it is. Stop it (Ctrl-C, or worse) and
    run the same command again: it goes on where it was. The exit status is 1 if a line or an image is
    refused.
    """
    if origin is not None:
        if reprocess:
            raise click.UsageError("--reprocess is for exports; faces of CompreFace are always found anew")
        key = compreface.source_key(source_key_file)
        return moving.move(door, source, key, source_ca, moving.Wish(collection or "default", **how))
    if source_key_file or source_ca or how != moving.NOT_SAID:
        raise click.UsageError("that is for --from compreface; --help shows what an export takes")
    path = click.Path(exists=True, path_type=Path).convert(source, None, click.get_current_context())
    return _take(door, Path(path), collection, reprocess=reprocess)


def _take(door: Door, source: Path, collection: str | None, *, reprocess: bool) -> int:
    from face_pipeline.client import Refused

    stop = threading.Event()
    client = door.client(retries=patient(stop))
    try:
        found: Source = Directory(source) if source.is_dir() else Archive(source)
        with found.lines() as stream:
            header = _header(stream.readline(LINE_MOST))
    except OSError as error:
        raise click.ClickException(f"{source} cannot be read: {error.strerror}") from None
    run = Run(client, collection or header["name"], header["contract_id"], reprocess=reprocess)
    try:
        with stoppable(stop, GO_ON), bar(door, found.size, "Import") as shown, found.lines() as stream:
            run.open()
            for group in run.groups(stream, found, shown):
                run.send(group)
    except Refused as error:
        # Not where the collection that is there is of another one: that takes nothing.
        if error.code == "contract_mismatch" and "collection" not in error.details:
            raise click.ClickException(
                f"{error.message}; with --reprocess the service finds the faces of the photos anew"
            ) from None
        raise
    run.report.refused.sort(key=lambda each: int(each["line"]))
    tell(door, run.report)
    return 0 if run.report.complete and not run.report.refused else 1


def _header(line: bytes) -> dict[str, Any]:
    record = _parsed(line) or {}
    if record.get("kind") != "collection":
        raise click.ClickException(f"line 1 of {LINES} is damaged: it should tell of the collection")
    check(record.get("format"), record.get("version"))
    for name in ("name", "contract_id"):
        if not isinstance(record.get(name), str):
            raise click.ClickException(f"line 1 of {LINES} is damaged: it has no {name}")
    return record


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


class Run:
    """An import on its way."""

    def __init__(self, client: Client, collection: str, contract_id: str, *, reprocess: bool) -> None:
        self.report = Report(collection)
        self._client, self._collection = client, collection
        self._contract_id, self._reprocess = contract_id, reprocess
        # Persons who have another id here.
        self._kept: dict[str, str] = {}
        # Photos that were there before this run, by the bytes of their SHA-256.
        self._there: set[bytes] = set()

    def open(self) -> None:
        """Make the collection, or hear why nothing can go into it; see which photos it has."""
        self._ask([])
        self._there = {
            bytes.fromhex(each.sha256) for each in self._client.photos(collection=self._collection)
        }

    def groups(self, stream: IO[bytes], source: Source, shown: Any) -> Iterator[list[Line]]:
        """The records that are to be sent, for one request each."""
        group: list[Line] = []
        for number, text in enumerate(iter(lambda: stream.readline(LINE_MOST), b""), 1):
            line = self._line(number, text, source)
            if line is not None:
                if _is_full(group, line):
                    yield group
                    group = []
                group.append(line)
            shown(len(text))
        if group:
            yield group
        if not self.report.complete:
            self.report.refuse(number, "cut_off", "the export ends here, before its end; export it again")

    def _line(self, number: int, text: bytes, source: Source) -> Line | None:
        """A line that is to be sent; all others are counted."""
        record = _parsed(text)
        if record is None:
            if text.strip():
                self.report.refuse(number, "line_damaged", "this is no object of JSON")
            return None
        kind = record.get("kind")
        if kind in ("collection", "end"):
            self.report.complete |= kind == "end"
            return None
        original = None
        if kind == "photo":
            if self._is_there(record.get("sha256")):
                self.report.there["photo"] += 1
                return None
            if isinstance(record.get("sha256"), str):
                original = _original(source, record.get("original"))
        return Line(number, text.strip(), record, original)

    def _is_there(self, sha256: object) -> bool:
        try:
            return isinstance(sha256, str) and bytes.fromhex(sha256) in self._there
        except ValueError:
            return False

    def send(self, lines: Sequence[Line]) -> None:
        """One request, or several where that is too large."""
        from face_pipeline.client import Refused

        try:
            answer = self._ask(lines)
        except Refused as error:
            if error.code not in TOO_MUCH:
                raise
            if len(lines) == 1:
                self.report.refuse(lines[0].number, error.code, error.message)
                return
            middle = len(lines) // 2
            self.send(lines[:middle])
            self.send(lines[middle:])
            return
        for told in answer.records:
            kind = told.kind or "line"
            if told.outcome == "refused":
                self.report.refuse(lines[told.line - 1].number, told.code, told.message)
                continue
            (self.report.made if told.outcome == "made" else self.report.there)[kind] += 1
            if told.code is not None:
                self.report.remarks[told.code] += 1
            if kind == "person" and told.kept_as != told.id:
                self._kept[str(told.id)] = str(told.kept_as)

    def _ask(self, lines: Sequence[Line]) -> Any:
        return self._client.import_records(
            self._collection,
            [self._text(each) for each in lines],
            {each.record["sha256"]: each.original for each in lines if each.original is not None},
            contract_id=self._contract_id,
            reprocess=self._reprocess,
        )

    def _text(self, line: Line) -> bytes:
        """The line, with the ids that persons have here."""
        record = line.record
        faces = record.get("faces")
        owned = [record, *(faces if isinstance(faces, list) else ())]
        owned = [
            each for each in owned if isinstance(each, dict) and str(each.get("person_id")) in self._kept
        ]
        for each in owned:
            each["person_id"] = self._kept[each["person_id"]]
        return json.dumps(record).encode() if owned else line.text


def _is_full(group: Sequence[Line], line: Line) -> bool:
    """Whether the request would be too large with the line, or begins to need what it asked for."""
    if not group:
        return False
    # Under which id a person is kept, their photos have to know.
    if group[-1].record["kind"] == "person" and line.record.get("kind") != "person":
        return True
    return (
        len(group) >= RECORDS
        or sum(len(each.text) for each in (*group, line)) > LINES_BYTES
        or sum(each.file_size for each in (*group, line)) > FILES_BYTES
    )


def _original(source: Source, name: object) -> File | None:
    """A file of the export itself, and none elsewhere on this machine."""
    if not isinstance(name, str):
        return None
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name or path.parts[:1] != ("originals",):
        return None
    return source.original(name)


def tell(door: Door, report: Report) -> None:
    """The report, in words or as JSON."""
    if door.as_json:
        print_json(vars(report))
        return
    for kind, plural in (("person", "persons"), ("photo", "photos"), ("face", "faces without a photo")):
        if report.made[kind] or report.there[kind]:
            click.echo(
                f"{plural}: {report.made[kind]} new in {report.collection}, {report.there[kind]} there before"
            )
    for code, number in report.remarks.items():
        click.echo(f"{number} with the remark {code}")
    if report.refused:
        click.echo(f"{counted(len(report.refused), 'line')} refused:")
    for each in report.refused[:SHOWN]:
        click.echo(f"  line {each['line']}: {each['message']} ({each['code']})")
    if len(report.refused) > SHOWN:
        click.echo(f"  and {len(report.refused) - SHOWN} more; --json names all")
