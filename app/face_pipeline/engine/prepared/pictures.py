"""Pictures made of photos of faces: what a detector in 8 bits is calibrated on, and judged by."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import cv2
import numpy as np

from face_pipeline.engine.types import FloatArray, Image

# A photo with one face, and its box in pixels.
Portrait = tuple[Image, FloatArray]

# A tile of a mosaic is so many faces wide.
TILE = 2.4
GREY, TURN_DEGREES = 128, 15.0
# Widths of the faces of mosaics to calibrate on, pixels of what the detector looks at.
WIDTHS = (12, 16, 20, 26, 32, 40, 56, 80, 112)
# How many pictures to calibrate on are whole photos, and parts of them.
WHOLE, PARTS = 4, 8


def mosaic(
    portraits: Sequence[Portrait], width: int, side: int, random: np.random.Generator
) -> tuple[Image, FloatArray]:
    """A square of faces `width` pixels wide, turned, mirrored, lighter and darker, and the middle of each:
    float32, shape (n, 2)."""
    canvas = np.full((side, side, 3), GREY, np.uint8)
    tile = math.ceil(TILE * width)
    centres = []
    for top, left in itertools.product(range(0, side - tile, tile), repeat=2):
        pixels, box = portraits[int(random.integers(len(portraits)))]
        scale = width / float(box[2] - box[0])
        # Averaged first: one step of a warp would leave pixels out.
        small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        middle = (box[:2] + box[2:]) / 2 * scale
        turn = cv2.getRotationMatrix2D(middle.tolist(), random.uniform(-TURN_DEGREES, TURN_DEGREES), 1.0)
        turn[:, 2] = turn[:, 2] + tile / 2 - middle
        cut = cv2.warpAffine(small, turn, (tile, tile), borderMode=cv2.BORDER_REPLICATE)
        cut = cut[:, ::-1] if random.random() < 0.5 else cut
        canvas[top : top + tile, left : left + tile] = np.clip(cut * random.uniform(0.6, 1.2), 0, 255)
        centres.append((left + tile / 2, top + tile / 2))
    return canvas, np.array(centres, np.float32)


def varied(photo: Image, random: np.random.Generator, least: int = 200, most: int = 640) -> Image:
    """A part of a photo, mirrored, lighter or darker, with a longer side of `least` to `most` pixels."""
    height, width = photo.shape[:2]
    rows, columns = (max(1, int(each * random.uniform(0.4, 1))) for each in (height, width))
    top, left = random.integers(height - rows + 1), random.integers(width - columns + 1)
    part = photo[top : top + rows, left : left + columns]
    part = part[:, ::-1] if random.random() < 0.5 else part
    light = np.clip(part * random.uniform(0.45, 1.5) + random.uniform(-30, 30), 0, 255).astype(np.uint8)
    return scaled(light, int(random.integers(least, most + 1)))


def to_calibrate(
    photos: Sequence[Image], portraits: Sequence[Portrait], side: int, random: np.random.Generator
) -> list[Image]:
    """uint8, shape (side, side, 3), BGR: photos, parts of them, and mosaics of their faces."""
    whole = [scaled(photos[int(number)], side) for number in random.permutation(len(photos))[:WHOLE]]
    parts = [varied(photos[int(random.integers(len(photos)))], random, 200, side) for _ in range(PARTS)]
    mosaics = [mosaic(portraits, width, side, random)[0] for width in WIDTHS]
    return [_padded(each, side) for each in whole + parts] + mosaics


def scaled(photo: Image, longer: int) -> Image:
    """A photo with a longer side of so many pixels."""
    scale = longer / max(photo.shape[:2])
    size = [max(1, round(each * scale)) for each in photo.shape[1::-1]]
    return np.asarray(cv2.resize(photo, size), np.uint8)


def _padded(photo: Image, side: int) -> Image:
    """As the detector lays a photo into its square: at the top left, on black."""
    canvas = np.zeros((side, side, 3), np.uint8)
    canvas[: photo.shape[0], : photo.shape[1]] = photo[:side, :side]
    return canvas
