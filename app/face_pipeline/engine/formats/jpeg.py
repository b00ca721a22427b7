"""JPEG (ITU-T T.81): its segments are stepped over, compressed data are searched for markers alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from face_pipeline.engine.formats.exif import EXIF_PREFIX, orientation
from face_pipeline.engine.formats.header import MOST_PARTS, Header, broken, too_many_parts, truncated
from face_pipeline.engine.types import PhotoRejected

MEDIA_TYPE = "image/jpeg"
END = b"\xff\xd9"
SOI, EOI, SOS, APP1 = 0xD8, 0xD9, 0xDA, 0xE1
# Markers without a length: TEM, RST0 to RST7, SOI.
BARE = {0x01, *range(0xD0, 0xD9)}
# Frame headers: all of SOF0 to SOF15 but DHT, JPG and DAC, which have numbers among them.
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
PROGRESSIVE, ARITHMETIC = {0xC2, 0xCA}, {0xC9, 0xCA}
# Baseline, extended, progressive, and the latter two with arithmetic coding.
DECODABLE = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
UNDECODABLE = {0xC3: "lossless", 0xCB: "lossless"}
# Fill bytes and strays may stand between segments: decoders look for the next marker, and so do we.
MARKER = re.compile(rb"\xff[\x01-\xfe]")
# A marker inside compressed data: not a stuffed zero, a fill byte or a restart.
MARKER_IN_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
# APP0 to APP15 but Adobe's, which says how colours are kept; COM.
METADATA = {*range(0xE0, 0xF0), 0xFE} - {0xEE}
COEFFICIENT_BYTES = 2
LAST_COEFFICIENT = 63
# As many as libjpeg's own fuzzers allow; photos have about ten.
MOST_SCANS = 500


def unsupported(what: str) -> PhotoRejected:
    return PhotoRejected(
        f"{what} is not supported; save it as an ordinary JPEG, baseline or progressive, 8 bits a channel",
        code="unsupported_jpeg",
    )


def read(data: bytes) -> Header:
    """Raises PhotoRejected: broken_image, truncated, unsupported_jpeg, too_much_work."""
    frame, kind, turn, exif_seen = b"", 0, 1, False
    first_scan, in_scan, seen = len(data), b"", False
    for marker, position, segment in _segments(data):
        seen = True
        if marker == APP1 and not exif_seen and segment.startswith(EXIF_PREFIX):
            exif_seen, turn = True, orientation(segment)
        elif marker in FRAMES:
            if frame:
                raise unsupported("a hierarchical JPEG")
            frame, kind = segment, marker
        elif marker == SOS:
            first_scan, in_scan = position, segment
            break
    else:
        raise truncated() if seen else broken("the file has no readable header")
    if not frame:
        raise broken("the file has no readable header")
    width, height, factors = _frame(kind, frame)
    progressive = kind in PROGRESSIVE
    several = progressive or in_scan[:1] != bytes([len(factors)])
    scans, ended = 1, data.rfind(END, first_scan) > 0
    if several:
        scans, ended = _scans(data, first_scan, len(factors), progressive)
    size = max(h for _, h, _ in factors), max(v for _, _, v in factors)
    samples = sum(h * v for _, h, v in factors) / (size[0] * size[1])
    # All coefficients are kept where several scans add to them; four channels are converted to three.
    working = COEFFICIENT_BYTES * samples if several else 0.0
    return Header(MEDIA_TYPE, width, height, turn, working + (1 if len(factors) == 4 else 0), scans, ended)


def single_scan(data: bytes) -> bytes | None:
    """The JPEG without metadata and without its end mark, where all its pixels are in one scan of Huffman
    codes; None for any other."""
    parts, components = [b"\xff\xd8"], 0
    for marker, position, segment in _segments(data):
        if marker in PROGRESSIVE | ARITHMETIC:
            return None
        if marker in FRAMES and len(segment) > 5:
            components = segment[5]
        if marker == SOS:
            if not segment or segment[0] != components:
                return None
            behind = position + 4 + len(segment)
            end = _next_scan(data, behind)
            return b"".join((*parts, data[position : end[0] if end else len(data)]))
        if marker not in METADATA:
            parts.append(data[position : position + 4] + segment)
    return None


def _segments(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(marker, its position, content) of each segment up to the first scan, which is the last."""
    position = 2
    for _ in range(MOST_PARTS):
        match = MARKER.search(data, position)
        if match is None or match.start() + 4 > len(data) or (marker := data[match.start() + 1]) == EOI:
            return
        position = match.start()
        if marker in BARE:
            position += 2
            continue
        length = max(2, int.from_bytes(data[position + 2 : position + 4], "big"))
        yield marker, position, data[position + 4 : position + 2 + length]
        if marker == SOS:
            return
        position += 2 + length
    raise too_many_parts()


def _frame(kind: int, frame: bytes) -> tuple[int, int, list[tuple[int, int, int]]]:
    """Width, height and (id, horizontal, vertical sampling) of each component."""
    if kind not in DECODABLE:
        raise unsupported(f"{UNDECODABLE.get(kind, 'hierarchical')} JPEG")
    if len(frame) < 6 or len(frame) < 6 + 3 * frame[5]:
        raise broken("the file has no readable header")
    bits, count = frame[0], frame[5]
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    if bits != 8:
        raise unsupported(f"{bits}-bit JPEG")
    if count not in (1, 3, 4):
        raise unsupported(f"a JPEG of {count} components")
    if height == 0 and width:
        raise unsupported("a JPEG that tells its height behind its pixels")
    factors = [(frame[at], frame[at + 1] >> 4, frame[at + 1] & 15) for at in range(6, 6 + 3 * count, 3)]
    if not width or not all(1 <= h <= 4 and 1 <= v <= 4 for _, h, v in factors):
        raise broken("the file has no readable header")
    return width, height, factors


def _scans(data: bytes, position: int, components: int, progressive: bool) -> tuple[int, bool]:
    """How many scans there are, and whether an end is behind them.

    Raises `truncated` where scans are missing: each coefficient of each component has to come, to its last
    bit.
    """
    # Per component the bits that each coefficient still lacks; None: it did not come at all.
    lacking: dict[int, list[int | None]] = {}
    scans, ended = 0, False
    while True:
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        scans += 1
        if scans > MOST_SCANS:
            raise PhotoRejected(
                f"the photo has more than {MOST_SCANS} scans; save it again as an ordinary JPEG",
                code="too_much_work",
            )
        _note(lacking, data[position + 4 : position + 2 + length], progressive)
        found = _next_scan(data, position + 2 + length)
        if found is None:
            break
        position, ended = found
        if ended:
            break
    complete = len(lacking) == components and all(
        None not in bits and not any(bits) for bits in lacking.values()
    )
    if not complete:
        raise truncated("the file is cut off: the last scans of the photo are missing")
    return scans, ended


def _next_scan(data: bytes, position: int) -> tuple[int, bool] | None:
    """Where the next scan (False) or the end of the image (True) is; None: neither comes."""
    for _ in range(MOST_PARTS):
        match = MARKER_IN_SCAN.search(data, position)
        if match is None:
            return None
        position, marker = match.start(), data[match.start() + 1]
        if marker in (SOS, EOI):
            return position, marker == EOI
        if marker in BARE:
            position += 2
        else:
            position += 2 + max(2, int.from_bytes(data[position + 2 : position + 4], "big"))
    raise too_many_parts()


def _note(lacking: dict[int, list[int | None]], scan: bytes, progressive: bool) -> None:
    count = scan[0] if scan else 0
    if len(scan) < 4 + 2 * count:
        return
    first, last, bits = scan[1 + 2 * count : 4 + 2 * count]
    chosen: Sequence[int] = range(first, min(last, LAST_COEFFICIENT) + 1)
    if not progressive:
        chosen, bits = range(LAST_COEFFICIENT + 1), 0
    for number in range(count):
        of_component = lacking.setdefault(scan[1 + 2 * number], [None] * (LAST_COEFFICIENT + 1))
        for coefficient in chosen:
            of_component[coefficient] = bits & 15
