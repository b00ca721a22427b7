"""Forms with files, sent from where the files lie: of each no more is in memory than is on its way.

Source: RFC 7578, and the WHATWG's HTML standard for the names of files (multipart/form-data encoding).
"""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from face_pipeline.client.errors import FileUnreadable

# What is read and sent at a time.
CHUNK_BYTES = 64 * 1024
# As browsers send them, and as the service reads them back.
ESCAPES = {ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A"}


@dataclass(frozen=True)
class File:
    """A file to send: its name, its size in bytes, and how to open it; it may be opened several times."""

    name: str
    size: int
    open: Callable[[], BinaryIO]


# Bytes, a path, or anything else that can be read several times.
Source = bytes | Path | File


def file_of(source: Source, name: str = "") -> File:
    """Raises FileUnreadable for a path where nothing can be read."""
    if isinstance(source, File):
        return File(name or source.name, source.size, source.open)
    if isinstance(source, bytes):
        return File(name or "photo", len(source), lambda: io.BytesIO(source))
    try:
        size = source.stat().st_size
    except OSError as error:
        raise FileUnreadable(f"{source} cannot be read: {error.strerror}") from error
    return File(name or source.name, size, lambda: source.open("rb"))


class Form:
    """One form. `length`: its bytes, known before any file is read."""

    def __init__(self, fields: Iterable[tuple[str, str]], files: Iterable[tuple[str, File]] = ()) -> None:
        self._boundary = uuid.uuid4().hex
        self._fields = [self._head(name) + value.encode() + b"\r\n" for name, value in fields]
        self._files = [(self._head(name, file.name), file) for name, file in files]
        self._end = f"--{self._boundary}--\r\n".encode()
        self.content_type = f"multipart/form-data; boundary={self._boundary}"
        self.length = (
            sum(map(len, self._fields))
            + sum(len(head) + file.size + 2 for head, file in self._files)
            + len(self._end)
        )

    def _head(self, name: str, filename: str | None = None) -> bytes:
        lines = [f"--{self._boundary}\r\n".encode()]
        disposition = f'Content-Disposition: form-data; name="{name}"'.encode()
        if filename is None:
            return b"".join((*lines, disposition, b"\r\n\r\n"))
        # A name that is not UTF-8 is sent as the bytes that it is on the disk.
        told = os.fsencode(filename.translate(ESCAPES))
        return b"".join((
            *lines, disposition, b'; filename="', told, b'"\r\n',
            b"Content-Type: application/octet-stream\r\n\r\n",
        ))  # fmt: skip

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the form, anew at each call; raises FileUnreadable."""
        return _gathered(self._pieces())

    def _pieces(self) -> Iterator[bytes]:
        yield from self._fields
        for head, file in self._files:
            yield head
            yield from _contents(file)
            yield b"\r\n"
        yield self._end


def _contents(file: File) -> Iterator[bytes]:
    left = file.size
    try:
        with file.open() as stream:
            while chunk := stream.read(CHUNK_BYTES):
                left -= len(chunk)
                if left < 0:
                    break
                yield chunk
    except OSError as error:
        raise FileUnreadable(f"{file.name} cannot be read: {error.strerror or error}") from error
    if left:
        raise FileUnreadable(f"{file.name} changed while it was sent; send it again once it is complete")


def _gathered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in fewer pieces: each is a packet, or more, of its own."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        if len(waiting) >= CHUNK_BYTES:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)
