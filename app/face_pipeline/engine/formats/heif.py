"""HEIC and AVIF: boxes of ISO/IEC 14496-12 with images as of ISO/IEC 23008-12 (HEIF).

What is read is what tells the size, the turn and whether all bytes are there. Every image of the file counts
for the size: a grid is made of tiles, and a decoder believes them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from face_pipeline.engine.formats.coded import av1_size, hevc_size
from face_pipeline.engine.formats.header import MOST_PARTS, Header, broken, too_many_parts, truncated
from face_pipeline.engine.types import PhotoRejected

HEIC, AVIF = "image/heic", "image/avif"
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"}
AVIF_BRANDS = {b"avif", b"avis"}
# Brands of the container alone: the others say what is in it.
CONTAINER_BRANDS = {b"mif1", b"msf1", b"mif2"}
# Bytes a pixel beside the result, measured: the planes, what the library makes of them, and its copy.
WORKING = {HEIC: 5.0, AVIF: 8.0}
# The same with an alpha plane or more than 8 bits.
WORKING_RICH = {HEIC: 13.0, AVIF: 12.0}
# Of a property, and of the start of a picture: more than what is read of it.
PROPERTY_BYTES, ITEM_BYTES = 1024, 256
ALPHA_URNS = (b"auxiliary:alpha", b"auxid:1")
# Tiles of a grid are at most 256 x 256 of them; phones make 48.
MOST_ITEMS = 4096
# How irot (quarters anticlockwise) and then imir (0 up-down, 1 left-right, None) turn, in EXIF's numbers.
TURNS = {
    (0, None): 1, (1, None): 8, (2, None): 3, (3, None): 6,
    (0, 0): 4, (1, 0): 5, (2, 0): 2, (3, 0): 7,
    (0, 1): 2, (1, 1): 7, (2, 1): 4, (3, 1): 5,
}  # fmt: skip


@dataclass
class _Meta:
    """What is read of a file's items: properties in their order, which item has which, and extents."""

    primary: int = 0
    properties: list[tuple[bytes, bytes]] = field(default_factory=list)
    of_item: dict[int, list[int]] = field(default_factory=dict)
    starts: list[int] = field(default_factory=list)
    last_byte: int = 0

    def of(self, item: int) -> list[tuple[bytes, bytes]]:
        return [
            self.properties[number - 1]
            for number in self.of_item.get(item, [])
            if 1 <= number <= len(self.properties)
        ]


def sniff(data: bytes) -> str | None:
    """Media type by the brands in `ftyp`."""
    if data[4:8] != b"ftyp":
        return None
    length = min(int.from_bytes(data[:4], "big"), 4096)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, min(length, len(data)) - 3, 4))]
    if AVIF_BRANDS & set(brands):
        return AVIF
    if HEIC_BRANDS & set(brands):
        return HEIC
    return None


def read(data: bytes, media_type: str) -> Header:
    """Raises PhotoRejected: broken_image, truncated, too_much_work."""
    try:
        meta = _meta(data)
    except (struct.error, IndexError) as error:
        raise broken("the file has no readable header") from error
    if meta is None:
        raise truncated()
    size: tuple[int, int] | None = None
    angle, axis = 0, None
    for kind, content in meta.of(meta.primary):
        if kind == b"ispe":
            size = _size(content)
        elif kind == b"irot" and content:
            angle = content[0] & 3
        elif kind == b"imir" and content:
            axis = content[0] & 1
    if size is None or not all(size):
        raise broken("the file has no readable header")
    if meta.last_byte > len(data):
        raise truncated()
    # A small picture made of larger ones is as much work as those.
    area = max(wide * high for wide, high in [size, *_sizes(data, meta, media_type)])
    working = _working(meta, media_type) * max(1.0, area / (size[0] * size[1]))
    header = Header(media_type, *size, TURNS[angle, axis], working)
    # libheif turns as it decodes, the library for AVIF does not.
    return Header(media_type, *header.upright_size, working=working) if media_type == HEIC else header


def _sizes(data: bytes, meta: _Meta, media_type: str) -> list[tuple[int, int]]:
    """Of all pictures in the file, by its own words and by those of the compressed data."""
    found = [_size(content) for kind, content in meta.properties if kind == b"ispe"]
    try:
        if media_type == HEIC:
            coded = [hevc_size(content) for kind, content in meta.properties if kind == b"hvcC"]
        else:
            coded = [av1_size(data[start : start + ITEM_BYTES]) for start in meta.starts]
    except IndexError as error:
        raise broken("the pictures in the file have no readable header") from error
    return found + [each for each in coded if each]


def _working(meta: _Meta, media_type: str) -> float:
    alpha = any(kind == b"auxC" and urn in content for kind, content in meta.properties for urn in ALPHA_URNS)
    # A full box, the number of channels, and the bits of each.
    deep = any(kind == b"pixi" and max(content[5:], default=8) > 8 for kind, content in meta.properties)
    return (WORKING_RICH if alpha or deep else WORKING)[media_type]


def _meta(data: bytes) -> _Meta | None:
    """None where the file ends before its items are described."""
    for name, start, end in _boxes(data, 0, len(data)):
        if end > len(data):
            return None
        if name == b"meta":
            return _items(data, start + 4, end)
    return None


def _items(data: bytes, start: int, end: int) -> _Meta:
    meta = _Meta()
    for name, begin, stop in _boxes(data, start, end):
        if name == b"pitm":
            meta.primary = struct.unpack_from(">I" if data[begin] else ">H", data, begin + 4)[0]
        elif name == b"iprp":
            for inner, first, last in _boxes(data, begin, stop):
                if inner == b"ipco":
                    meta.properties = [
                        (kind, data[at : min(after, at + PROPERTY_BYTES)])
                        for kind, at, after in _boxes(data, first, last)
                    ]
                elif inner == b"ipma":
                    _associations(data, first, last, meta.of_item)
        elif name == b"iloc":
            _locations(data, begin, meta)
    return meta


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, start and end of its content) of the boxes between two places."""
    for _ in range(MOST_PARTS):
        if start + 8 > end:
            return
        length, name = struct.unpack_from(">I4s", data, start)
        content = start + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, content)
            content += 8
        elif length == 0:
            length = end - start
        if length < content - start:
            raise broken("the file has no readable header")
        yield name, content, start + length
        start += length
    raise too_many_parts()


def _associations(data: bytes, start: int, end: int, of_item: dict[int, list[int]]) -> None:
    version, wide = data[start], data[start + 3] & 1
    (count,) = struct.unpack_from(">I", data, start + 4)
    at = start + 8
    for _ in range(_bounded(count)):
        item = struct.unpack_from(">I" if version else ">H", data, at)[0]
        at += 4 if version else 2
        number, at = data[at], at + 1
        for _ in range(number):
            index = struct.unpack_from(">H", data, at)[0] & 0x7FFF if wide else data[at] & 0x7F
            at += 2 if wide else 1
            of_item.setdefault(item, []).append(index)
        if at > end:
            raise broken("the file has no readable header")


def _locations(data: bytes, start: int, meta: _Meta) -> None:
    """Where items begin and where the last byte of any lies, of those that are told from the file's start."""
    version, sizes = data[start], int.from_bytes(data[start + 4 : start + 6], "big")
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    index_size = sizes & 15 if version else 0
    at, wide = start + 6, version >= 2
    count, at = _number(data, at, 4 if wide else 2)
    for _ in range(_bounded(count)):
        at += 4 if wide else 2
        method = 0
        if version:
            method, at = _number(data, at, 2)
        at += 2
        base, at = _number(data, at, base_size)
        extents, at = _number(data, at, 2)
        for number in range(_bounded(extents)):
            at += index_size
            offset, at = _number(data, at, offset_size)
            length, at = _number(data, at, length_size)
            if method & 15 == 0:
                meta.last_byte = max(meta.last_byte, base + offset + length)
                if number == 0:
                    meta.starts.append(base + offset)


def _number(data: bytes, at: int, size: int) -> tuple[int, int]:
    """A number of `size` bytes, and the place behind it."""
    if at + size > len(data):
        raise broken("the file has no readable header")
    return int.from_bytes(data[at : at + size], "big"), at + size


def _bounded(count: int) -> int:
    if count > MOST_ITEMS:
        raise PhotoRejected(
            f"the file has more than {MOST_ITEMS} pictures; export it again as one photo",
            code="too_much_work",
        )
    return count


def _size(ispe: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", ispe, 4)
    return width, height
