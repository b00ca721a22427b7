"""YuNet, the face detector of OpenCV's model zoo, on our runtimes.

Decoding follows OpenCV's FaceDetectorYN (modules/objdetect/src/face_detect.cpp), which has the model computed
by OpenCV's dnn, twice as slowly. Wu and others, YuNet: A Tiny Millisecond-level Face Detector (2023).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from face_pipeline.engine.types import EngineError, FloatArray, Image

STRIDES = (8, 16, 32)
OUTPUTS = [f"{name}_{stride}" for name in ("cls", "obj", "bbox", "kps") for stride in STRIDES]
# Under it lie patches that are no face; OpenCV's own default of 0.9 leaves small faces out.
SCORE_THRESHOLD = 0.6
# Intersection over union from which on two boxes are one face's: OpenCV's default.
OVERLAP_THRESHOLD = 0.3
# Of the shorter side of what is looked at: a photo costs by its shape, and a runtime still sees few sizes,
# each of which may take memory. Padding shows a little in a face's points, so that every runtime has these.
SIDE_STEP = 128
# Most boxes before overlapping ones are taken out: OpenCV's default.
MOST_BOXES = 5000


class Yunet:
    """`session`: onnxruntime's interface. May be called from several threads at once."""

    def __init__(self, session: Any, side: int, threshold: float = SCORE_THRESHOLD) -> None:
        """`side`: the longer side of what is looked at, pixels, a multiple of 32. The other follows the
        photo, unless the model has one size. Raises EngineError for another model."""
        (model_input,) = session.get_inputs()
        lacking = sorted(set(OUTPUTS) - {output.name for output in session.get_outputs()})
        if lacking:
            raise EngineError(f"the detector is no YuNet, for it does not give {', '.join(lacking)}")
        fixed = [size for size in model_input.shape[2:] if isinstance(size, int)]
        if fixed not in ([], [side, side]):
            raise EngineError(
                f"the detector takes {fixed} pixels alone; set detector_side to that in its manifest"
            )
        self._session, self._input = session, model_input.name
        self._side, self._threshold = side, threshold
        self._sides = [side] if fixed else [*range(SIDE_STEP, side, SIDE_STEP), side]

    def detect(self, pixels: Image) -> tuple[FloatArray, FloatArray]:
        """Faces on a photo (BGR) of any size, best first: float32, shape (n, 5), x1 y1 x2 y2 and score, and
        shape (n, 5, 2), eyes, nose and corners of the mouth; both in pixels of the photo."""
        height, width = pixels.shape[:2]
        scale = self._side / max(height, width)
        height, width = max(1, round(height * scale)), max(1, round(width * scale))
        padded = np.zeros((self._padded(height), self._padded(width), 3), np.uint8)
        padded[:height, :width] = cv2.resize(pixels, (width, height))
        boxes, landmarks = self.look(padded)
        boxes[:, :4] /= scale
        return boxes, landmarks / np.float32(scale)

    def sizes(self) -> list[tuple[int, int]]:
        """All sizes of what is looked at, height and width in pixels."""
        wide = [(side, self._side) for side in self._sides]
        return wide + [(self._side, side) for side in self._sides[:-1]]

    def _padded(self, side: int) -> int:
        return next(each for each in self._sides if each >= side)

    def look(self, pixels: Image) -> tuple[FloatArray, FloatArray]:
        """As `detect`, at the size that the pixels have: sides that are multiples of 32."""
        batch = pixels.transpose(2, 0, 1)[None].astype(np.float32)
        outputs = [output[0] for output in self._session.run(OUTPUTS, {self._input: batch})]
        parts = [
            self._decoded(pixels.shape, stride, *outputs[number :: len(STRIDES)])
            for number, stride in enumerate(STRIDES)
        ]
        boxes, landmarks = (np.concatenate(each) for each in zip(*parts, strict=True))
        return _without_overlaps(boxes, landmarks, self._threshold)

    def _decoded(
        self,
        shape: tuple[int, ...],
        stride: int,
        classes: FloatArray,
        objects: FloatArray,
        boxes: FloatArray,
        points: FloatArray,
    ) -> tuple[FloatArray, FloatArray]:
        """Boxes and landmarks of the cells of one grid that are over the threshold."""
        scores = np.sqrt(classes[:, 0].clip(0, 1) * objects[:, 0].clip(0, 1))
        sure = np.flatnonzero(scores >= self._threshold)
        cells = np.stack((sure % (shape[1] // stride), sure // (shape[1] // stride)), 1).astype(np.float32)
        centres, half = (cells + boxes[sure, :2]) * stride, np.exp(boxes[sure, 2:]) * (stride / 2)
        landmarks = (points[sure].reshape(-1, 5, 2) + cells[:, None]) * stride
        return np.hstack((centres - half, centres + half, scores[sure, None])), landmarks


def _without_overlaps(
    boxes: FloatArray, landmarks: FloatArray, threshold: float
) -> tuple[FloatArray, FloatArray]:
    """Of boxes that overlap, the best, as OpenCV does: with the corner and the size in whole pixels."""
    corners, sizes = boxes[:, :2].astype(int), (boxes[:, 2:4] - boxes[:, :2]).astype(int)
    whole = np.hstack((corners, sizes)).tolist()
    best = cv2.dnn.NMSBoxes(whole, boxes[:, 4].tolist(), threshold, OVERLAP_THRESHOLD, top_k=MOST_BOXES)
    kept = np.asarray(best, int).ravel()
    return boxes[kept], landmarks[kept]
