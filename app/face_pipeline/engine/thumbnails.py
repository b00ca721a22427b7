"""Thumbnails: small square pictures of photos for grids, cut so that the faces are on them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import cv2
import numpy as np

from face_pipeline.engine.decode import Decoded, upright_pixels
from face_pipeline.engine.memory import Budget
from face_pipeline.engine.pictures import PATIENCE_SECONDS, read_photo_header, reduction
from face_pipeline.engine.types import DetectedFace, Image

log = logging.getLogger(__name__)

SIDE = 320
# Of one picture: a page of 24 stays far under 400 kB. Most photos keep the first quality.
MOST_BYTES = 11_500
# Of a JPEG: a WebP has a quarter fewer bytes, for six times the time of coding; Huffman codes of its own
# save a twentieth, for twice the time.
QUALITIES = (62, 54, 44, 30, 15, 1)

Box = Sequence[float]


def of_pixels(pixels: Image, boxes: Sequence[Box]) -> bytes:
    """A JPEG of the photo's square with the faces on it, at most SIDE pixels.

    pixels: uint8, shape (height, width, 3), BGR, upright. boxes: x1, y1, x2, y2 in these pixels. Raises
    ValueError and cv2.error for pixels that cannot be coded.
    """
    left, top, side = square(pixels.shape[1], pixels.shape[0], boxes)
    picture = _at_most(SIDE, pixels[top : top + side, left : left + side])
    for quality in QUALITIES:
        coded = _as_jpeg(picture, quality)
        if len(coded) <= MOST_BYTES:
            break
    return coded


def of_analysed(photo: Decoded, faces: Sequence[DetectedFace]) -> bytes | None:
    """As `of_pixels`, of a photo that is decoded and the faces found on it; None where that fails, for which
    no photo is to fail."""
    try:
        return of_pixels(photo.pixels, [(face.bbox / photo.scale).tolist() for face in faces])
    except (ArithmeticError, OSError, ValueError, cv2.error):
        log.exception("no thumbnail could be made", extra={"operation": "ingest"})
        return None


def of_file(data: bytes, boxes: Sequence[Box], memory: Budget) -> bytes:
    """As `of_pixels`, of a file; boxes in pixels of the upright photo at its full size.

    Raises PhotoBroken where it cannot be decoded, MemoryBusy where others take the memory for it.
    """
    header = read_photo_header(data)
    smaller = reduction(header, min(header.width, header.height) / SIDE)
    with memory.hold(header.decode_bytes(smaller), patience=PATIENCE_SECONDS):
        pixels = upright_pixels(data, header, smaller)
        scale = pixels.shape[1] / header.upright_size[0]
        return of_pixels(pixels, [[value * scale for value in box] for box in boxes])


def square(width: int, height: int, boxes: Sequence[Box]) -> tuple[int, int, int]:
    """Left, top and side of the largest square: in its middle are all faces if they fit, else the largest
    one; the photo's own middle where there is none."""
    side = min(width, height)
    if not boxes:
        return (width - side) // 2, (height - side) // 2, side
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    around = min(lefts), min(tops), max(rights), max(bottoms)
    if max(around[2] - around[0], around[3] - around[1]) > side:
        around = max(((b[0], b[1], b[2], b[3]) for b in boxes), key=lambda b: (b[2] - b[0]) * (b[3] - b[1]))
    left = round((around[0] + around[2] - side) / 2)
    top = round((around[1] + around[3] - side) / 2)
    return min(max(0, left), width - side), min(max(0, top), height - side), side


def _at_most(side: int, square: Image) -> Image:
    """The square with at most so many pixels a side.

    It is halved while it can be, and the rest is interpolated: OpenCV has its quick ways for these two, and
    none for an average of three pixels, or of parts of them.
    """
    if square.shape[0] <= side:
        return square
    while (half := square.shape[0] // 2) >= side:
        whole = square[: 2 * half, : 2 * half]
        square = np.asarray(cv2.resize(whole, (half, half), interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.resize(square, (side, side), interpolation=cv2.INTER_LINEAR), np.uint8)


def _as_jpeg(picture: Image, quality: int) -> bytes:
    done, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError("no JPEG could be made of the picture")
    return coded.tobytes()
