"""Looking at uploaded bytes without decoding a pixel: about a millisecond in a web process.

Type by content, size, the work and the memory that decoding will take, and a structure that is complete.
Damage inside the compressed data, and a JPEG whose only scan is cut off, are found when a worker decodes it
(PhotoBroken).
"""

from __future__ import annotations

from dataclasses import dataclass

from face_pipeline.engine.formats import PNG, Header, png, read_header
from face_pipeline.engine.formats.header import truncated
from face_pipeline.engine.memory import too_much_memory
from face_pipeline.engine.types import PhotoRejected

# Scans of the largest photo that is taken: photos have about ten.
MOST_WORK_SCANS = 20


@dataclass(frozen=True)
class PhotoInfo:
    """Type, and size in pixels once the photo is turned upright. `ended`: its end is there; without it, only
    decoding can tell whether all pixels are."""

    media_type: str
    width: int
    height: int
    ended: bool


def inspect(
    data: bytes, *, max_bytes: int, max_pixels: int, max_decode_bytes: int | None = None
) -> PhotoInfo:
    """Check an upload; raises PhotoRejected with the code of the first thing wrong."""
    if not data:
        raise PhotoRejected("the file is empty", code="empty_file")
    if len(data) > max_bytes:
        raise PhotoRejected(
            f"the file is larger than {max_bytes} bytes; send a smaller one", code="too_large"
        )
    header = read_header(data)
    _check_size(header, max_pixels)
    if max_decode_bytes is not None and header.decode_bytes() > max_decode_bytes:
        raise too_much_memory(header.decode_bytes(), max_decode_bytes)
    ended = header.ended
    if header.media_type == PNG and not ended:
        if not png.is_whole(data):
            raise truncated()
        ended = True
    return PhotoInfo(header.media_type, *header.upright_size, ended)


def _check_size(header: Header, max_pixels: int) -> None:
    width, height = header.upright_size
    if width * height > max_pixels:
        raise PhotoRejected(
            f"the photo has {width} x {height} pixels, {max_pixels} are taken; send a smaller one",
            code="too_many_pixels",
        )
    if header.scans * width * height > MOST_WORK_SCANS * max_pixels:
        raise PhotoRejected(
            f"the photo has {header.scans} scans of {width} x {height} pixels, too many to decode in time; "
            "save it again as an ordinary JPEG",
            code="too_much_work",
        )
