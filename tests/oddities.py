"""Files that no camera makes and users still send: made here from ordinary ones, byte by byte."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence

import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener()

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
EXIF_PREFIX = b"Exif\0\0"


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def with_segment(photo: bytes, content: bytes, marker: int = 0xE1) -> bytes:
    """The JPEG with a segment where cameras put EXIF."""
    return photo[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content + photo[2:]


def xmp_orientation(orientation: int) -> bytes:
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="%d"/>'
        b"</rdf:RDF></x:xmpmeta>" % orientation
    )


def exif_of_bad_tags(count: int, orientation: int | None = None) -> bytes:
    """A directory whose tags point outside the file; the orientation, if any, is the last."""
    entries = [struct.pack("<HHII", 0x8000 + number, 2, 10_000, 0x7FFFFFF0) for number in range(count)]
    if orientation:
        entries.append(struct.pack("<HHIHH", 0x0112, 3, 1, orientation, 0))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)


def with_frame_header(photo: bytes, **changes: int) -> bytes:
    """The JPEG with `marker`, `precision`, `height` or `components` of its frame header changed."""
    made = bytearray(photo)
    at = next(at for at in range(len(photo)) if photo[at] == 0xFF and photo[at + 1] in (0xC0, 0xC1, 0xC2))
    made[at + 1] = changes.get("marker", made[at + 1])
    made[at + 4] = changes.get("precision", made[at + 4])
    made[at + 9] = changes.get("components", made[at + 9])
    if "height" in changes:
        made[at + 5 : at + 7] = struct.pack(">H", changes["height"])
    return bytes(made)


def with_many_scans(image: Image.Image, count: int) -> bytes:
    """A progressive JPEG whose last scan comes `count` times more."""
    photo = saved(image, "JPEG", progressive=True)
    last = photo.rfind(b"\xff\xda")
    return photo[:-2] + photo[last:-2] * count + photo[-2:]


def png_chunk(kind: bytes, content: bytes, *, sound: bool = True) -> bytes:
    check = zlib.crc32(kind + content) ^ (0 if sound else 1)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def with_chunk(photo: bytes, kind: bytes, content: bytes, *, sound: bool = True) -> bytes:
    """The PNG with a chunk behind its header."""
    return photo[:33] + png_chunk(kind, content, sound=sound) + photo[33:]


def png_chunks(photo: bytes) -> list[tuple[bytes, bytes]]:
    position, found = len(PNG_SIGNATURE), []
    while position < len(photo):
        length, kind = struct.unpack_from(">I4s", photo, position)
        found.append((kind, photo[position + 8 : position + 8 + length]))
        position += 12 + length
    return found


def animation_beside_default(
    default: Image.Image, frame: Image.Image, offset: tuple[int, int] = (0, 0)
) -> bytes:
    """An APNG whose default picture is not part of its animation of one frame."""
    chunks = png_chunks(saved(default, "PNG"))
    pixels = [content for kind, content in png_chunks(saved(frame, "PNG")) if kind == b"IDAT"]
    control = struct.pack(">IIIIIHHBB", 0, *frame.size, *offset, 1, 10, 0, 0)
    parts = [PNG_SIGNATURE, png_chunk(*chunks[0]), png_chunk(b"acTL", struct.pack(">II", 1, 0))]
    parts += [png_chunk(*each) for each in chunks[1:-1]]
    parts.append(png_chunk(b"fcTL", control))
    parts += [png_chunk(b"fdAT", struct.pack(">I", 1 + number) + each) for number, each in enumerate(pixels)]
    return b"".join((*parts, png_chunk(b"IEND", b"")))


def deep_png(image: Image.Image, mode: str) -> bytes:
    """A PNG of 16 bits a channel: `L`, `LA`, `RGB` or `RGBA`."""
    import numpy as np

    pixels = np.asarray(image.convert(mode)).astype(">u2") * 257
    rows = pixels.astype(">u2").reshape(image.height, -1)
    kind = {"L": 0, "LA": 4, "RGB": 2, "RGBA": 6}[mode]
    header = struct.pack(">IIBBBBB", *image.size, 16, kind, 0, 0, 0)
    # A row like the one above it is stored as its difference, so that a photo scaled up stays small.
    same = [number > 0 and bool((rows[number] == rows[number - 1]).all()) for number in range(len(rows))]
    nothing = b"\2" + bytes(rows[0].nbytes)
    raw = b"".join(nothing if alike else b"\0" + row.tobytes() for alike, row in zip(same, rows, strict=True))
    return b"".join(
        (PNG_SIGNATURE, png_chunk(b"IHDR", header), png_chunk(b"IDAT", zlib.compress(raw, 1)),
         png_chunk(b"IEND", b""))
    )  # fmt: skip


def flat_png(size: tuple[int, int], depth: int = 8, kind: int = 2) -> bytes:
    """A PNG of one colour, of any size at next to no bytes."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[kind]
    row = bytes(1 + size[0] * channels * depth // 8)
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(row) for _ in range(size[1])) + packer.flush()
    header = struct.pack(">IIBBBBB", *size, depth, kind, 0, 0, 0)
    return b"".join(
        (PNG_SIGNATURE, png_chunk(b"IHDR", header), png_chunk(b"IDAT", pixels), png_chunk(b"IEND", b""))
    )


def heic_turned(photo: bytes, quarters: int | None = None, axis: int | None = None) -> bytes:
    """The HEIC with `irot` (quarters anticlockwise) and then `imir` on its first picture."""
    made = photo
    for kind, value in ((b"irot", quarters), (b"imir", axis)):
        if value is not None:
            made = _with_property(made, kind, bytes([value]))
    return made


def _with_property(photo: bytes, kind: bytes, content: bytes) -> bytes:
    ipco, ipma = photo.find(b"ipco") - 4, photo.find(b"ipma") - 4
    box = struct.pack(">I", 8 + len(content)) + kind + content
    number = sum(1 for _ in _boxes(photo, ipco)) + 1
    # Version 0, one byte an association: the first item's count grows by one, essential.
    count = ipma + 12 + 4 + 2
    grown = bytearray(photo)
    for name, by in ((b"meta", len(box) + 1), (b"iprp", len(box) + 1), (b"ipco", len(box)), (b"ipma", 1)):
        at = photo.find(name) - 4
        grown[at : at + 4] = struct.pack(">I", struct.unpack_from(">I", photo, at)[0] + by)
    grown[count] += 1
    _shift_extents(grown, len(box) + 1)
    end_of_first = count + 1 + photo[count]
    return bytes(
        grown[:ipco + struct.unpack_from(">I", photo, ipco)[0]] + box
        + grown[ipco + struct.unpack_from(">I", photo, ipco)[0] : end_of_first]
        + bytes([0x80 | number]) + grown[end_of_first:]
    )  # fmt: skip


def _boxes(photo: bytes, parent: int) -> Sequence[int]:
    position, found = parent + 8, []
    while position < parent + struct.unpack_from(">I", photo, parent)[0]:
        found.append(position)
        position += struct.unpack_from(">I", photo, position)[0]
    return found


def _shift_extents(photo: bytearray, by: int) -> None:
    """`iloc` as libheif writes it: version 0 or 1, offsets of four bytes."""
    at = photo.find(b"iloc") + 4
    version, sizes = photo[at], struct.unpack_from(">H", photo, at + 4)[0]
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    (count,) = struct.unpack_from(">H", photo, at + 6)
    at += 8
    for _ in range(count):
        method = struct.unpack_from(">H", photo, at + 2)[0] if version else 0
        at += 2 + (2 if version else 0) + 2 + base_size
        (extents,) = struct.unpack_from(">H", photo, at)
        at += 2
        for _ in range(extents):
            if not method:
                value = int.from_bytes(photo[at : at + offset_size], "big") + by
                photo[at : at + offset_size] = value.to_bytes(offset_size, "big")
            at += offset_size + length_size
