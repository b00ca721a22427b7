"""What an ingest takes photos from: a directory, a ZIP archive that stays packed, or a CSV table of paths."""

from __future__ import annotations

import codecs
import csv
import io
import os
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO

from face_pipeline.client import File
from face_pipeline.client.errors import ClientError
from face_pipeline.client.multipart import CHUNK_BYTES

# Of the formats that the service takes. It looks at the content itself; these keep notes and videos at home.
ENDINGS = frozenset((".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".heic", ".heif", ".avif"))
# No photo is larger; nginx takes no larger request either (face_request_max_bytes).
LARGEST_BYTES = 256 * 1024 * 1024
# Photos are compressed already: what unpacks to so many times its size, and to so much, is none.
BOMB_RATIO = 100
BOMB_BYTES = 10 * 1024 * 1024
# In the flags of an entry: it is encrypted; its name is UTF-8 (APPNOTE.TXT 6.3.10, 4.4.4).
ENCRYPTED = 0x1
UTF8 = 0x800
PATH_COLUMN, PERSON_COLUMN = "path", "person"
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class SourceUnusable(ClientError):
    """The directory, archive or table itself cannot be read."""

    code = "source_unusable"


@dataclass(frozen=True)
class Entry:
    """A file to put in. `where`: what people call it; `mark`: another one when its content may be another."""

    where: str
    file: File
    person: str | None
    mark: str


@dataclass(frozen=True)
class Unusable:
    """A file that cannot be sent."""

    where: str
    code: str
    message: str


@dataclass(frozen=True)
class Found:
    """All of a source. left_out: files that are no photos by their names."""

    items: list[Entry | Unusable]
    left_out: int = 0


# The folders between the source and the file, from the outside -> the person.
Naming = Callable[[tuple[str, ...]], str | None]


def nobody(_: tuple[str, ...]) -> str | None:
    return None


def by_folder(folders: tuple[str, ...]) -> str | None:
    """The first folder: `Anna/2020/a.jpg` shows Anna."""
    return folders[0] if folders else None


def directory(root: Path, naming: Naming, *, everything: bool = False, without: Iterable[str] = ()) -> Found:
    """The photos in and below a directory, by their endings unless `everything`; hidden ones are left out.

    without: folders of the directory itself that are not looked into.
    """
    if not os.access(root, os.R_OK | os.X_OK):
        raise SourceUnusable(f"{root} may not be read")
    items: list[Entry | Unusable] = []
    left_out = 0
    for folder, folders, names in os.walk(root):
        apart = set(without) if Path(folder) == root else set()
        folders[:] = sorted(each for each in folders if not each.startswith(".") and each not in apart)
        for name in sorted(names):
            path = Path(folder, name)
            if name.startswith(".") or not (everything or _is_photo(name)):
                left_out += 1
                continue
            inside = path.relative_to(root)
            items.append(on_disk(path, str(inside), naming(inside.parent.parts)))
    return Found(items, left_out)


def on_disk(path: Path, where: str, person: str | None) -> Entry | Unusable:
    try:
        status = path.stat()
    except FileNotFoundError:
        return Unusable(where, "missing", "there is no such file")
    except OSError as error:
        return Unusable(where, "unreadable", f"cannot be read: {error.strerror}")
    if not path.is_file():
        return Unusable(where, "unreadable", "is no file")
    if not os.access(path, os.R_OK):
        return Unusable(where, "unreadable", "may not be read by you")
    file = File(path.name, status.st_size, lambda: path.open("rb"))
    return _bounded(Entry(where, file, person, f"{status.st_size}:{status.st_mtime_ns}"))


def _bounded(entry: Entry) -> Entry | Unusable:
    if entry.file.size <= LARGEST_BYTES:
        return entry
    size = entry.file.size // 1024**2
    return Unusable(entry.where, "too_large", f"has {size} MB; no photo is so large")


def _is_photo(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in ENDINGS


# ZIP


def archive(path: Path, naming: Naming, *, everything: bool = False) -> Found:
    """The photos of a ZIP archive, read where they are: nothing of it is unpacked to a disk.

    Names of entries are names alone: an absolute path or one with `..` leads nowhere.
    """
    try:
        packed = zipfile.ZipFile(path)
    except OSError as error:
        raise SourceUnusable(f"{path} cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise SourceUnusable(f"{path} is no ZIP archive that can be read: {error}") from error
    wanted: list[tuple[zipfile.ZipInfo, PurePosixPath]] = []
    left_out = 0
    for info in packed.infolist():
        if info.is_dir():
            continue
        name = PurePosixPath(_name(info).replace("\\", "/"))
        hidden = any(each.startswith((".", "__MACOSX")) and each != ".." for each in name.parts)
        if hidden or not (everything or _is_photo(name.name)):
            left_out += 1
        else:
            wanted.append((info, name))
    folders = _folders([name for _, name in wanted])
    items = [_packed(packed, info, name, naming(folders(name))) for info, name in wanted]
    return Found(items, left_out)


def _name(info: zipfile.ZipInfo) -> str:
    """As it was meant: many programs write UTF-8 without saying so, which is read as code page 437."""
    if info.flag_bits & UTF8:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def _folders(names: list[PurePosixPath]) -> Callable[[PurePosixPath], tuple[str, ...]]:
    """The folders of an entry, without one around all of them where each photo has another inside it."""

    def inside(name: PurePosixPath) -> tuple[str, ...]:
        return tuple(each for each in name.parent.parts if each not in ("/", ".."))

    every = [inside(name) for name in names]
    around = len({each[:1] for each in every}) == 1 and all(len(each) > 1 for each in every)
    return (lambda name: inside(name)[1:]) if around else inside


def _packed(
    packed: zipfile.ZipFile, info: zipfile.ZipInfo, name: PurePosixPath, person: str | None
) -> Entry | Unusable:
    where = str(name)
    if info.flag_bits & ENCRYPTED:
        return Unusable(where, "encrypted", "is encrypted; unpack the archive with its password first")
    if info.file_size > BOMB_BYTES and info.file_size > BOMB_RATIO * max(info.compress_size, 1):
        times = info.file_size // max(info.compress_size, 1)
        return Unusable(where, "zip_bomb", f"unpacks to {times} times its size; no photo does that")
    file = File(name.name, info.file_size, lambda: _unpacked(packed, info))
    return _bounded(Entry(where, file, person, f"{info.file_size}:{info.CRC:08x}"))


def _unpacked(packed: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    """The content of an entry as a stream; every way in which it can be broken is an OSError."""
    try:
        return io.BufferedReader(_Checked(packed.open(info)), CHUNK_BYTES)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise OSError(0, f"damaged or packed in an unknown way ({error})") from error


class _Checked(io.RawIOBase):
    """A stream out of an archive, whose errors are those of files."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(len(buffer))
        except Exception as error:
            # zlib's, lzma's and bz2's own, EOFError, BadZipFile for a wrong checksum.
            raise OSError(0, f"damaged in the archive ({error})") from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


# CSV


def table(path: Path, person: str | None, *, from_column: bool, encoding: str | None = None) -> Found:
    """The files that a table names in its column `path`, beside the table itself unless they are absolute.

    The column `person` says who is on each, unless `person` says it of all.
    """
    text = _text(path, encoding)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    columns = [(each or "").strip().lower() for each in rows.fieldnames or ()]
    rows.fieldnames = columns
    if PATH_COLUMN not in columns:
        told = ", ".join(filter(None, columns)) or "none"
        raise SourceUnusable(f"{path} has no column {PATH_COLUMN!r} in its first line; its columns: {told}")
    if from_column and PERSON_COLUMN not in columns:
        raise SourceUnusable(f"{path} has no column {PERSON_COLUMN!r} in its first line")
    return Found(list(_rows(rows, path, person)))


def _rows(rows: csv.DictReader[str], table: Path, person: str | None) -> Iterator[Entry | Unusable]:
    try:
        for row in rows:
            line = f"{table.name} line {rows.line_num}"
            named = (row.get(PATH_COLUMN) or "").strip()
            who = person or (row.get(PERSON_COLUMN) or "").strip() or None
            if not named:
                if any((value or "") for key, value in row.items() if key):
                    yield Unusable(line, "no_path", f"has nothing in the column {PATH_COLUMN!r}")
                continue
            if "\0" in named:
                yield Unusable(line, "missing", "names a path with a NUL character")
                continue
            yield on_disk(table.parent / named, f"{line}: {named}", who)
    except csv.Error as error:
        raise SourceUnusable(f"{table} line {rows.line_num} cannot be read: {error}") from error


def _text(path: Path, encoding: str | None) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceUnusable(f"{path} cannot be read: {error.strerror}") from error
    marked = next((name for mark, name in BYTE_ORDER_MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding or marked)
    except LookupError:
        raise SourceUnusable(f"there is no encoding {encoding!r}; try utf-8, cp1252 or latin-1") from None
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SourceUnusable(
            f"{path} line {line} is not {encoding or 'UTF-8'}; say what it is, "
            "for Excel's tables often --encoding cp1252"
        ) from None


def _delimiter(text: str) -> str:
    """Of the first line, the one that it has most of: Excel writes `;` in half of the world."""
    first = text.partition("\n")[0]
    return max(",;\t", key=first.count)
