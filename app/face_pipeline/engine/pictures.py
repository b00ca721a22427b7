"""Pictures of a photo for people to look at: a face, and the whole photo as the engines see it."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image as PillowImage

from face_pipeline.engine.decode import upright_pixels
from face_pipeline.engine.formats import JPEG, Header, read_header
from face_pipeline.engine.memory import Budget
from face_pipeline.engine.types import Image, PhotoBroken, PhotoRejected

CROP_MARGIN = 0.25
QUALITY = 85
# What a JPEG can be decoded at.
REDUCTIONS = (8, 4, 2, 1)
# How long a picture waits for memory: a page that shows it asks again.
PATIENCE_SECONDS = 15.0


def face_crop(data: bytes, bbox: Sequence[float], size: int, memory: Budget) -> bytes:
    """A JPEG of the face in `bbox` (x1, y1, x2, y2 of the upright photo), longer side `size` pixels.

    Raises PhotoBroken where the photo cannot be decoded, MemoryBusy where others take the memory for it.
    """
    header = read_photo_header(data)
    longer = max(bbox[2] - bbox[0], bbox[3] - bbox[1], 1.0)
    smaller = reduction(header, longer / size)
    with memory.hold(header.decode_bytes(smaller), patience=PATIENCE_SECONDS):
        upright = upright_pixels(data, header, smaller)
        scale = upright.shape[1] / header.upright_size[0]
        left, top, right, bottom = _box(upright, bbox, longer * CROP_MARGIN, scale)
        crop = _rgb(upright[top:bottom, left:right])
    ratio = size / max(crop.size)
    return _as_jpeg(crop.resize((max(1, round(crop.width * ratio)), max(1, round(crop.height * ratio)))))


def upright(data: bytes, size: int, memory: Budget) -> bytes:
    """A JPEG of the whole photo, turned upright, longer side at most `size` pixels; raises as `face_crop`."""
    header = read_photo_header(data)
    smaller = reduction(header, max(header.width, header.height) / size)
    with memory.hold(header.decode_bytes(smaller), patience=PATIENCE_SECONDS):
        whole = _rgb(upright_pixels(data, header, smaller))
        whole.thumbnail((size, size))
    return _as_jpeg(whole)


def read_photo_header(data: bytes) -> Header:
    """Raises PhotoBroken, also for what was refused as an upload."""
    try:
        return read_header(data)
    except PhotoRejected as error:
        raise PhotoBroken(error.message, code=error.code) from error


def reduction(header: Header, spare: float) -> int:
    """A JPEG is decoded no larger than what is made of it asks for."""
    return next(each for each in REDUCTIONS if each <= max(1.0, spare)) if header.media_type == JPEG else 1


def _box(pixels: Image, bbox: Sequence[float], margin: float, scale: float) -> tuple[int, int, int, int]:
    """The box with its margin, inside the photo and at least a pixel large."""
    height, width = pixels.shape[:2]
    left = min(max(0, round((bbox[0] - margin) * scale)), width - 1)
    top = min(max(0, round((bbox[1] - margin) * scale)), height - 1)
    right = min(width, max(left + 1, round((bbox[2] + margin) * scale)))
    bottom = min(height, max(top + 1, round((bbox[3] + margin) * scale)))
    return left, top, right, bottom


def _rgb(pixels: Image) -> PillowImage.Image:
    return PillowImage.fromarray(pixels[:, :, ::-1].copy())


def _as_jpeg(picture: PillowImage.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
