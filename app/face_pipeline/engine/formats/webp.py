"""WebP (RFC 9649): chunks of a RIFF file."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from face_pipeline.engine.formats.exif import orientation
from face_pipeline.engine.formats.header import MOST_PARTS, Header, broken, too_many_parts, truncated

MEDIA_TYPE = "image/webp"
LOSSLESS_SIGNATURE = 0x2F
# Of the flags of VP8X.
ALPHA, ANIMATION = 0x10, 0x02
# Bytes a pixel, measured: what libwebp and OpenCV take beside the result.
WORKING_LOSSY, WORKING_ALPHA, WORKING_LOSSLESS, WORKING_ANIMATION = 1.0, 7.0, 6.0, 11.0


def read(data: bytes) -> Header:
    """Raises PhotoRejected: broken_image, truncated."""
    if len(data) < 12 or len(data) < 8 + struct.unpack_from("<I", data, 4)[0]:
        raise truncated()
    size: tuple[int, int] | None = None
    turn, alpha, animated, lossless, pixels = 1, False, False, False, False
    for name, start, length in _chunks(data):
        content = data[start : start + min(length, 16)]
        if name == b"VP8X" and length >= 10 and size is None:
            size = _int24(content, 4) + 1, _int24(content, 7) + 1
            alpha, animated = bool(content[0] & ALPHA), bool(content[0] & ANIMATION)
        elif name == b"VP8 " and length >= 10:
            pixels = True
            size = size or _lossy_size(content)
        elif name == b"VP8L" and length >= 5:
            pixels = lossless = True
            bits = struct.unpack_from("<I", content, 1)[0] if content[0] == LOSSLESS_SIGNATURE else 0
            size = size or ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        elif name == b"ANMF":
            pixels = True
        elif name == b"EXIF":
            turn = orientation(data[start : start + length])
    if size is None or not pixels or not all(size):
        raise broken("the file has no readable header")
    return Header(MEDIA_TYPE, *size, turn, _working(animated, lossless, alpha))


def _working(animated: bool, lossless: bool, alpha: bool) -> float:
    if animated:
        return WORKING_ANIMATION
    if lossless:
        return WORKING_LOSSLESS
    return WORKING_ALPHA if alpha else WORKING_LOSSY


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    position, end = 12, 8 + struct.unpack_from("<I", data, 4)[0]
    for _ in range(MOST_PARTS):
        if position + 8 > end:
            return
        name, length = struct.unpack_from("<4sI", data, position)
        yield name, position + 8, length
        position += 8 + length + (length & 1)
    raise too_many_parts()


def _int24(content: bytes, at: int) -> int:
    return int.from_bytes(content[at : at + 3], "little")


def _lossy_size(content: bytes) -> tuple[int, int] | None:
    if content[3:6] != b"\x9d\x01\x2a":
        return None
    width, height = struct.unpack_from("<HH", content, 6)
    return width & 0x3FFF, height & 0x3FFF
