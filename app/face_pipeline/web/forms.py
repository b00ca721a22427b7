"""Forms as people's programs send them: no file is lost for the name it has.

Werkzeug reads a part's header as UTF-8 or not at all, ends a name at its first quote, and takes a form that
it cannot read for an empty one. Here bytes that are no UTF-8 are read as Windows-1252, a name may hold
quotes, backslashes and line breaks, and what cannot be read is said.

Sources: RFC 7578 (multipart/form-data), RFC 2231 (`filename*`), and what browsers escape: `"`, CR and LF as
%22, %0D and %0A (https://html.spec.whatwg.org/#multipart-form-data).
"""

from __future__ import annotations

import codecs
import re
from typing import IO, Any, NoReturn
from urllib.parse import unquote_to_bytes

import flask
from werkzeug.datastructures import FileStorage, Headers, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser, MultiPartParser
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import (
    NEED_DATA,
    Data,
    Epilogue,
    Event,
    Field,
    File,
    MultipartDecoder,
    NeedData,
    State,
)

from face_pipeline.errors import BadRequest, disk_full

# Parts of a form beside its photos.
OTHER_PARTS = 20
CHUNK_BYTES = 128 * 1024
HEADER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+[ \t]*:")
# In a form whose line breaks are CRLF; some programs end a header with LF all the same.
LONE_LF = re.compile(rb"(?<!\r)\n(?!Content-[a-z-]+[ \t]*:)", re.IGNORECASE)
LONE_CR = re.compile(rb"\r(?!\n)")
# What stands behind a boundary's name: the end of its line, or that of the form.
AFTER_BOUNDARY = re.compile(rb"--[^\S\n\r]*(?:\r\n|\n|\r)?|[^\S\n\r]*(?:\r\n|\n|\r)")
PARAMETER = re.compile(r"[\s;]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*")
# What may stand after the quote that ends a value.
AFTER_VALUE = re.compile(r"\s*(?:;\s*[!#$%&'*+.^_`|~0-9A-Za-z-]+\s*=|;?\s*$)")
EXTENDED = re.compile(r"([\w.:-]*)'[\w-]*'(.*)", re.DOTALL)


class FieldTooLarge(BadRequest):
    code = "field_too_large"
    status = 413


def _western(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    wrong = error.object[error.start : error.end]
    return "".join(_western_byte(byte) for byte in wrong), error.end


def _western_byte(byte: int) -> str:
    try:
        return bytes([byte]).decode("cp1252")
    except UnicodeDecodeError:
        # Five bytes that Windows-1252 leaves out.
        return chr(byte)


codecs.register_error("western", _western)


def readable(raw: bytes) -> str:
    """UTF-8, and bytes that are not valid UTF-8 as Windows-1252."""
    return raw.decode("utf-8", "western")


def disposition(value: str) -> dict[str, str]:
    """The parameters of a Content-Disposition header, names in lower case.

    A quoted value ends at the quote after which another parameter or nothing follows, since some programs
    escape a quote inside it and others do not.
    """
    _, _, rest = value.partition(";")
    found: dict[str, str] = {}
    at = 0
    while (key := PARAMETER.match(rest, at)) is not None:
        at = key.end()
        if rest.startswith('"', at):
            end = _closing_quote(rest, at + 1)
            text = _unescaped(rest[at + 1 : end])
            at = end + 1
        else:
            end = rest.find(";", at)
            end = len(rest) if end == -1 else end
            text = rest[at:end].strip()
            at = end
        found.setdefault(key[1].lower(), text)
    if "filename*" in found:
        found["filename"] = _extended(found["filename*"])
    elif "filename" not in found and any(name.startswith("filename*") for name in found):
        # Continuations (filename*0=…), which Werkzeug puts together.
        found["filename"] = parse_options_header(value)[1].get("filename", "")
    return found


def _closing_quote(text: str, start: int) -> int:
    ends = [each.start() for each in re.finditer('"', text[start:])]
    ends = [start + each for each in ends if AFTER_VALUE.match(text, start + each + 1)]
    plain = [each for each in ends if not _is_escaped(text, each, start)]
    # A name that ends in a backslash looks escaped; one without an end goes on to the end.
    return (plain or ends or [len(text)])[0]


def _is_escaped(text: str, at: int, start: int) -> bool:
    before = text[start:at]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def _unescaped(text: str) -> str:
    text = re.sub(r'\\(["\\])', r"\1", text)
    for code, character in (("%22", '"'), ("%0D", "\r"), ("%0A", "\n")):
        text = text.replace(code, character).replace(code.lower(), character)
    return text


def _extended(text: str) -> str:
    """RFC 2231: charset'language'percent-encoded."""
    parts = EXTENDED.fullmatch(text)
    if parts is None:
        return text
    raw = unquote_to_bytes(parts[2])
    try:
        return raw.decode(parts[1] or "utf-8")
    except (LookupError, UnicodeDecodeError):
        return readable(raw)


class _Found:
    """Where a boundary is, with the calls of a match: group 1 is what stands behind its name."""

    def __init__(self, data: bytes | bytearray, start: int, rest: re.Match[bytes]) -> None:
        self._data, self._start, self._rest = data, start, rest

    def start(self) -> int:
        return self._start

    def end(self) -> int:
        return self._rest.end()

    def group(self, number: int = 0) -> bytes:
        return bytes(self._rest[0] if number else self._data[self._start : self.end()])


class _Boundary:
    """Finds a boundary as Werkzeug's expressions do, which are compiled for each form and try every byte of
    its photos. `on_a_line`: a line break has to come before it."""

    def __init__(self, boundary: bytes, *, on_a_line: bool) -> None:
        self._text = b"--" + boundary
        self._on_a_line = on_a_line

    def search(self, data: bytes | bytearray, start: int = 0) -> _Found | None:
        at = data.find(self._text, start)
        while at != -1:
            before = data[max(start, at - 2) : at]
            lead = 2 if before == b"\r\n" else int(before.endswith((b"\r", b"\n")))
            rest = AFTER_BOUNDARY.match(data, at + len(self._text))
            if rest is not None and (lead or not self._on_a_line):
                return _Found(data, at - lead, rest)
            at = data.find(self._text, at + 1)
        return None


class _Decoder(MultipartDecoder):
    """Werkzeug's, with headers of any bytes."""

    _breaks_are_crlf = False

    def __init__(self, boundary: bytes, max_form_memory_size: int | None) -> None:
        # No form has this boundary: its expressions are compiled once.
        super().__init__(b"", max_form_memory_size)
        self.boundary = boundary
        self.preamble_re: Any = _Boundary(boundary, on_a_line=False)
        self.boundary_re: Any = _Boundary(boundary, on_a_line=True)

    def receive_data(self, data: bytes | None) -> None:
        try:
            super().receive_data(data)
        except RequestEntityTooLarge:
            raise FieldTooLarge(
                "the header of a form field is larger than this server takes; give the file a shorter name",
                code="field_header_too_large",
            ) from None

    def next_event(self) -> Event:
        if self.state == State.PREAMBLE and (match := self.preamble_re.search(self.buffer)):
            self._breaks_are_crlf = match.group().endswith(b"\r\n")
        if self.state == State.PART and self._breaks_are_crlf and not self.complete:
            end = self.buffer.find(b"\r\n\r\n")
            if end == -1:
                return NEED_DATA
            # A line break alone belongs to a name.
            header = LONE_LF.sub(b"%0A", self.buffer[:end])
            self.buffer[:end] = LONE_CR.sub(b"%0D", header)
        return super().next_event()

    def _parse_headers(self, data: bytes | bytearray) -> Headers:
        lines: list[bytes] = []
        for line in bytes(data).splitlines():
            if HEADER.match(line) or not lines:
                lines.append(line)
            elif line[:1] in b" \t":
                lines[-1] += b" " + line.strip(b" \t")
            else:
                # No header and no continuation of one: the rest of a name with a line break.
                lines[-1] += b"%0D%0A" + line
        headers = Headers()
        for line in lines:
            name, _, value = readable(line).partition(":")
            if name.strip():
                # Line breaks of a name are still escaped; others cannot be in a header.
                headers.add(name.strip(), value.strip().replace("\r", "").replace("\n", ""))
        return headers


class _Parser(MultiPartParser):
    """Reads all parts of a form, or says which one it cannot take."""

    max_form_parts: int | None

    def parse(
        self, stream: IO[bytes], boundary: bytes, content_length: int | None
    ) -> tuple[MultiDict[str, str], MultiDict[str, FileStorage]]:
        decoder = _Decoder(boundary, self.max_form_memory_size)
        fields: list[tuple[str, str]] = []
        files: list[tuple[str, FileStorage]] = []
        part: _Part | None = None
        while True:
            chunk = stream.read(CHUNK_BYTES)
            try:
                decoder.receive_data(chunk or None)
                while not isinstance(event := decoder.next_event(), Epilogue | NeedData):
                    if isinstance(event, Field | File):
                        self._check_number(len(files), len(fields))
                        part = self._begin(event, content_length)
                    elif isinstance(event, Data) and part is not None:
                        part.write(event.data, self.max_form_memory_size)
                        if not event.more_data:
                            part.end(fields, files, self)
            except BadRequest:
                _read_to_the_end(stream)
                raise
            if not chunk:
                return self.cls(fields), self.cls(files)

    def _check_number(self, files: int, fields: int) -> None:
        if self.max_form_parts is None or files + fields < self.max_form_parts:
            return
        if files > OTHER_PARTS:
            _too_many_photos(self.max_form_parts - OTHER_PARTS)
        raise BadRequest(f"one form takes {OTHER_PARTS} fields beside its photos", code="too_many_fields")

    def _begin(self, event: Field | File, content_length: int | None) -> _Part:
        told = disposition(event.headers.get("content-disposition", ""))
        name = told.get("name", "")
        if "filename" not in told:
            return _Part(name, None, event.headers, None)
        file = File(name=name, filename=told["filename"], headers=event.headers)
        return _Part(name, told["filename"], event.headers, self.start_file_streaming(file, content_length))


class _Part:
    """A field or, with a stream, a file of a form while it is read."""

    def __init__(self, name: str, filename: str | None, headers: Headers, stream: IO[bytes] | None) -> None:
        self.name, self.filename, self.headers, self.stream = name, filename, headers, stream
        self.text = bytearray()

    def write(self, data: bytes, most: int | None) -> None:
        if self.stream is not None:
            self.stream.write(data)
            return
        self.text += data
        if most is not None and len(self.text) > most:
            raise FieldTooLarge(
                f"the form field {self.name!r} is larger than {most} bytes; send a photo as a file, with a "
                "file name"
            )

    def end(self, fields: list[Any], files: list[Any], parser: MultiPartParser) -> None:
        if self.stream is None:
            charset = parser.get_part_charset(self.headers)
            fields.append((self.name, bytes(self.text).decode(charset, "replace")))
            return
        self.stream.seek(0)
        files.append((self.name, FileStorage(self.stream, self.filename, self.name, headers=self.headers)))


def _too_many_photos(most: int) -> NoReturn:
    raise BadRequest(
        f"one request takes {most} photos, this one has more; send them in several", code="too_many_photos"
    )


def _read_to_the_end(stream: IO[bytes]) -> None:
    """A client that still sends does not read the answer."""
    while stream.read(CHUNK_BYTES):
        pass


class _Forms(FormDataParser):
    def _parse_multipart(
        self, stream: IO[bytes], mimetype: str, content_length: int | None, options: dict[str, str]
    ) -> Any:
        del mimetype
        parser = _Parser(
            stream_factory=self.stream_factory,
            max_form_memory_size=self.max_form_memory_size,
            max_form_parts=self.max_form_parts,
            cls=self.cls,
        )
        try:
            boundary = options.get("boundary", "").encode("ascii")
            if not boundary:
                raise ValueError("no boundary")
            # Photos of an upload wait on a disk.
            with disk_full():
                form, files = parser.parse(stream, boundary, content_length)
        except ValueError as error:
            _read_to_the_end(stream)
            raise BadRequest(
                f"the form cannot be read ({error}); send multipart/form-data that ends with its boundary",
                code="form_malformed",
            ) from error
        return stream, form, files


class Request(flask.Request):
    """A request whose form is read as above."""

    form_data_parser_class = _Forms
