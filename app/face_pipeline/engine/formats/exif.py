"""The orientation in EXIF, and nothing else of it: no tag that points elsewhere is followed."""

from __future__ import annotations

import struct

EXIF_PREFIX = b"Exif\0\0"
ORIENTATION_TAG, SHORT = 0x0112, 3
ENTRY_BYTES = 12


def orientation(exif: bytes) -> int:
    """1 to 8 as browsers read it: the first directory's tag 274, one SHORT; 1 for whatever is not that.

    `exif` is a TIFF structure, with or without the prefix that JPEG puts before it.
    """
    tiff = exif.removeprefix(EXIF_PREFIX)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return 1
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    if start + 2 > len(tiff):
        return 1
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    last = min(start + 2 + count * ENTRY_BYTES, len(tiff) - ENTRY_BYTES + 1)
    for at in range(start + 2, last, ENTRY_BYTES):
        tag, kind, values, value = struct.unpack_from(f"{order}HHIH", tiff, at)
        if tag == ORIENTATION_TAG:
            return int(value) if kind == SHORT and values == 1 and 1 <= value <= 8 else 1
    return 1
