"""PNG and APNG (https://www.w3.org/TR/png-3): chunks are stepped over, and pixels alone are handed on."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from face_pipeline.engine.formats.exif import orientation
from face_pipeline.engine.formats.header import MOST_PARTS, Header, broken, too_many_parts, truncated

MEDIA_TYPE = "image/png"
SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
GREY, PALETTE = 0, 3
DEPTHS = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}
DEEP = 16
PIECE_BYTES = 2**20
MOST_PIXEL_BYTES = 8
FRAME_CONTROL = struct.Struct(">IIIII")


@dataclass(frozen=True)
class Still:
    """The picture that browsers show first, as a PNG of critical chunks alone: decoders have no metadata to
    stumble over. `left`, `top`: where it lies on a canvas of the photo's size."""

    data: bytes
    width: int
    height: int
    left: int = 0
    top: int = 0


def read(data: bytes) -> Header:
    """Raises PhotoRejected: broken_image, truncated."""
    width, height, depth, kind = _basics(data)
    turn, pixels, ended = 1, False, False
    for name, start, length in _chunks(data):
        if name == b"eXIf" and not pixels:
            turn = orientation(data[start : start + length])
        pixels |= name == b"IDAT"
        ended |= name == b"IEND"
    if not pixels:
        raise broken("the file has no pixels") if ended else truncated()
    working = _working(kind, depth, _is_animated(data))
    return Header(MEDIA_TYPE, width, height, turn, working, ended=ended)


def is_whole(data: bytes) -> bool:
    """Whether the compressed pixels are there to their end; costs their decompression, in little memory."""
    width, height, _, _ = _basics(data)
    # More than any picture of that size has: the rest of a bomb is not looked at.
    left = (width + 8) * (height + 8) * MOST_PIXEL_BYTES
    stream = zlib.decompressobj()
    try:
        for name, start, length in _chunks(data):
            if name != b"IDAT":
                continue
            part = data[start : start + length]
            while part and not stream.eof and left > 0:
                left -= len(stream.decompress(part, PIECE_BYTES))
                part = stream.unconsumed_tail
    except zlib.error:
        return False
    return bool(stream.eof or left <= 0)


def first_picture(data: bytes) -> Still:
    """Raises PhotoRejected (broken_image) where the first frame of an animation lies outside its canvas."""
    width, height, _, colour = _basics(data)
    frame, animated = (width, height, 0, 0), _is_animated(data)
    whole = memoryview(data)
    parts: list[bytes | memoryview] = []
    behind_control = False
    for name, start, length in _chunks(data):
        if name == b"fcTL" and length >= FRAME_CONTROL.size:
            if parts:
                break
            _, *frame_values = FRAME_CONTROL.unpack_from(data, start)
            frame = (frame_values[0], frame_values[1], frame_values[2], frame_values[3])
            behind_control = True
        elif name == b"IDAT" and (behind_control or not animated):
            parts.append(whole[start - 8 : start + length + 4])
        elif name == b"fdAT" and behind_control:
            parts.append(_chunk(b"IDAT", data[start + 4 : start + length]))
    wide, high, left, top = frame
    if not wide or not high or left + wide > width or top + high > height:
        raise broken("the animation's first picture lies outside it")
    header = _chunk(b"IHDR", struct.pack(">II", wide, high) + data[24:29])
    colours = [
        data[start - 8 : start + length + 4]
        for name, start, length in _chunks(data)
        if name == b"PLTE" or (name == b"tRNS" and colour == PALETTE and _is_sound(data, start, length))
    ]
    return Still(b"".join((SIGNATURE, header, *colours, *parts, _chunk(b"IEND", b""))), wide, high, left, top)


def _basics(data: bytes) -> tuple[int, int, int, int]:
    """Width, height, bits a channel, colour type."""
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise broken("the file has no readable header")
    width, height, depth, kind = struct.unpack(">IIBB", data[16:26])
    if not width or not height or depth not in DEPTHS.get(kind, ()):
        raise broken("the file has no readable header")
    return width, height, depth, kind


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, length) of the content of each whole chunk, up to the end chunk."""
    position = len(SIGNATURE)
    for _ in range(MOST_PARTS):
        if position + 12 > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, position)
        if position + 12 + length > len(data):
            return
        yield name, position + 8, length
        if name == b"IEND":
            return
        position += 12 + length
    raise too_many_parts()


def _is_animated(data: bytes) -> bool:
    """An animation with a first frame before its pixels' end: what a browser plays."""
    names = [name for name, _, _ in _chunks(data)]
    return b"acTL" in names and b"fcTL" in names and names.index(b"acTL") < _index(names, b"IDAT")


def _index(names: list[bytes], name: bytes) -> int:
    return names.index(name) if name in names else len(names)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _is_sound(data: bytes, start: int, length: int) -> bool:
    (found,) = struct.unpack_from(">I", data, start + length)
    return bool(zlib.crc32(data[start - 4 : start + length]) == found)


def _working(kind: int, depth: int, animated: bool) -> float:
    """Bytes a pixel of what the decoder fills before it is laid over white: four for colour, however many
    channels or bits it has."""
    own = 1 if kind == PALETTE else 4
    if kind == GREY and depth != DEEP:
        own = 1
    # The first picture of an animation is laid on its canvas.
    return own + (3 if animated else 0)
