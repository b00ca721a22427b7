"""The kinds of file that are taken, each read without decoding a pixel: one module for each."""

from __future__ import annotations

from dataclasses import replace

from face_pipeline.engine.formats import heif, jpeg, png, webp
from face_pipeline.engine.formats.header import Header
from face_pipeline.engine.types import PhotoRejected

JPEG, PNG, WEBP = jpeg.MEDIA_TYPE, png.MEDIA_TYPE, webp.MEDIA_TYPE
HEIC, AVIF = heif.HEIC, heif.AVIF
MEDIA_TYPES = (JPEG, PNG, WEBP, HEIC, AVIF)
# A face takes a part of both sides, and detectors scale both alike. Panoramas have up to 20.
MOST_SIDE_RATIO = 100

__all__ = ["AVIF", "HEIC", "JPEG", "MEDIA_TYPES", "PNG", "WEBP", "Header", "read_header", "sniff"]


def sniff(data: bytes) -> str | None:
    """Media type by content; None for everything that is not taken."""
    if data[:3] == b"\xff\xd8\xff":
        return JPEG
    if data[:8] == png.SIGNATURE:
        return PNG
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WEBP
    return heif.sniff(data)


def read_header(data: bytes) -> Header:
    """Raises PhotoRejected: unsupported_type, broken_image, truncated, unsupported_jpeg, too_much_work,
    side_ratio."""
    header = _read(data)
    width, height = header.upright_size
    if max(width, height) > MOST_SIDE_RATIO * min(width, height):
        raise PhotoRejected(
            f"the photo has {width} x {height} pixels: one side is more than {MOST_SIDE_RATIO} times the "
            "other, which leaves no room for a face; cut it to the part that shows the face",
            code="side_ratio",
        )
    return replace(header, file_bytes=len(data))


def _read(data: bytes) -> Header:
    media_type = sniff(data)
    if media_type == JPEG:
        return jpeg.read(data)
    if media_type == PNG:
        return png.read(data)
    if media_type == WEBP:
        return webp.read(data)
    if media_type is None:
        raise PhotoRejected("only JPEG, PNG, WebP, HEIC and AVIF photos are taken", code="unsupported_type")
    return heif.read(data, media_type)
