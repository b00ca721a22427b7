"""A second look at a photo without a face: one that a face fills, cut to its box, shows none to a detector,
which looks for faces with something around them. With plain colour around it the face is found.

How many of such photos are found, and how few others are taken for a face, is in docs/engines.md. A photo
whose faces are found at first is never looked at in this way, so that its embeddings stay what they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from face_pipeline.engine.types import FloatArray, Image

# Of the longer side, on each side of it.
BORDER = 0.5
# A face is up to twice as long as it is wide; a strip of a photo is not one.
LONGEST_SHAPE = 3.0
# What is found has to be the face that fills the photo: so much of its area.
LEAST_PART = 0.3


@dataclass(frozen=True)
class Bordered:
    """The photo made smaller, in its mean colour. A point of it is point * scale - offset on the photo.

    pixels: uint8, shape (side, side, 3). `size`: width and height of the photo, pixels.
    """

    pixels: Image
    scale: float
    offset: FloatArray
    size: FloatArray

    def back(self, points: FloatArray) -> FloatArray:
        """Points (..., 2) on the photo itself; some may lie beside it."""
        return np.asarray(points * self.scale - self.offset, np.float32)

    def is_filled_by(self, box: FloatArray) -> bool:
        """Whether a box (x1 y1 x2 y2, on the photo, cut to it) is a face that fills the photo."""
        area = max(0.0, float(box[2] - box[0])) * max(0.0, float(box[3] - box[1]))
        return area >= LEAST_PART * float(self.size.prod())

    def cut(self, box: FloatArray) -> FloatArray:
        """A box of the bordered picture on the photo, as far as it lies inside."""
        corners = self.back(box.reshape(2, 2))
        return np.asarray(np.clip(corners, 0, self.size).reshape(4), np.float32)


def bordered(pixels: Image, side: int) -> Bordered | None:
    """The photo with half its longer side and more around it, in a square of `side` pixels; None for one of
    a shape that no face has."""
    height, width = pixels.shape[:2]
    longer = max(height, width)
    if longer > LONGEST_SHAPE * min(height, width):
        return None
    scale = longer * (1 + 2 * BORDER) / side
    small = (max(1, round(width / scale)), max(1, round(height / scale)))
    how = cv2.INTER_AREA if scale > 1 else cv2.INTER_LINEAR
    square = np.empty((side, side, 3), np.uint8)
    square[:] = cv2.mean(pixels)[:3]
    left, top = (side - small[0]) // 2, (side - small[1]) // 2
    square[top : top + small[1], left : left + small[0]] = cv2.resize(pixels, small, interpolation=how)
    return Bordered(
        square,
        scale,
        np.array([left * scale, top * scale], np.float32),
        np.array([width, height], np.float32),
    )
