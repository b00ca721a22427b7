"""What runs prepared graphs (graphs.py), with the calls of InsightFace's own classes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from insightface.model_zoo.scrfd import SCRFD

from face_pipeline.engine.prepared.graphs import ANCHORS, STRIDES
from face_pipeline.engine.types import FloatArray, Image


class PreparedDetector(SCRFD):  # type: ignore[misc]
    """InsightFace's detector, whose scaling and suppression of overlaps stay; only `forward` differs."""

    def __init__(self, session: Any, side: int, threshold: float) -> None:
        # Not SCRFD's own, which reads a graph of another shape.
        self.session = session
        self.static_input_size = (side, side)
        self.det_thresh, self.nms_thresh = threshold, 0.4
        self.use_kps = True
        self._input = session.get_inputs()[0].name
        self._outputs = [each.name for each in session.get_outputs()]

    def forward(
        self, img: Image, threshold: float
    ) -> tuple[list[FloatArray], list[FloatArray], list[FloatArray]]:
        """Scores (n, 1), boxes (n, 4) and landmarks (n, 5, 2) of the anchors over the threshold, pixels, for
        each stride; `img`: uint8, shape (side, side, 3)."""
        maps = self.session.run(self._outputs, {self._input: img[None]})
        found = [_over(each[0], stride, threshold) for each, stride in zip(maps, STRIDES, strict=True)]
        scores, boxes, landmarks = (list(each) for each in zip(*found, strict=True))
        return scores, boxes, landmarks


def _over(head: FloatArray, stride: int, threshold: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """What `forward` gives, of a merged head (graphs.py), in SCRFD's order: by row, column and anchor."""
    logits = head[:ANCHORS].transpose(1, 2, 0)
    rows, columns, anchors = np.nonzero(logits >= math.log(threshold / (1 - threshold)))
    cells = head[:, rows, columns]
    every = np.arange(len(rows))
    # All values of one anchor stand together, for each kind of them.
    boxes = cells[ANCHORS : 5 * ANCHORS].reshape(ANCHORS, 4, -1)[anchors, :, every] * stride
    points = cells[5 * ANCHORS : 15 * ANCHORS].reshape(ANCHORS, 10, -1)[anchors, :, every] * stride
    scores = 1 / (1 + np.exp(-logits[rows, columns, anchors]))
    centres = np.stack([columns, rows], axis=-1).astype(np.float32) * stride
    return (
        np.asarray(scores[:, None], np.float32),
        np.hstack([centres - boxes[:, :2], centres + boxes[:, 2:]]).astype(np.float32, copy=False),
        np.asarray(centres[:, None] + points.reshape(-1, 5, 2), np.float32),
    )


class PreparedRecogniser:
    """One face at a time. `input_shape`, `output_shape`: as those of InsightFace's ArcFaceONNX."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.input_shape = session.get_inputs()[0].shape
        self.output_shape = session.get_outputs()[0].shape
        self._input, self._output = session.get_inputs()[0].name, session.get_outputs()[0].name

    def get_feat(self, faces: list[Image]) -> FloatArray:
        """Raw vectors of aligned faces (uint8, BGR), one row each."""
        made = [self.session.run([self._output], {self._input: face[None]})[0] for face in faces]
        return np.concatenate(made)
