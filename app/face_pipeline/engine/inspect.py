"""Looking at uploaded bytes without decoding a pixel: about a millisecond in a web process.

Type by content, size, the work and the memory that decoding will take, and a structure that is complete.
Damage inside the compressed data is found when a worker decodes it (PhotoBroken).
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
    """Type, and size in pixels once the photo is turned upright."""

    media_type: str
    width: int
    height: int


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
    if not header.ended and not _pixels_are_whole(data, header.media_type):
        raise truncated()
    return PhotoInfo(header.media_type, *header.upright_size)


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


def _pixels_are_whole(data: bytes, media_type: str) -> bool:
    """Of a file without its end mark: whether all its pixels are there. That takes a part of decoding; whole
    files, nearly all, are not looked into."""
    if media_type == PNG:
        return png.is_whole(data)
    from face_pipeline.engine.decode import jpeg_is_whole

    return jpeg_is_whole(data)
