"""OpenCV's YuNet detector and SFace recogniser, both free for any use, on any runtime.

The steps are those of InsightFaceEngine, which these models fit: SFace too takes faces laid on ArcFace's five
points, 112 x 112, RGB. Its pixels go in as they are (OpenCV's FaceRecognizerSF,
modules/objdetect/src/face_recognize.cpp), unless a pack says otherwise.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from face_pipeline.engine.alignment import ALIGNED_SIDE
from face_pipeline.engine.insightface_engine import InsightFaceEngine
from face_pipeline.engine.types import EngineError, FloatArray, Image
from face_pipeline.engine.yunet import Yunet


class OpenCVEngine(InsightFaceEngine):
    """As InsightFaceEngine. YuNet's input follows the shape of the photo, which saves a third."""

    def make_detector(self, session: Any) -> Yunet:
        try:
            return Yunet(session, self.pack.detector_side)
        except EngineError as error:
            raise EngineError(f"pack {self.pack.name}: {error.message}") from error

    def blanks(self) -> list[Image]:
        if not self.runtime.on_card:
            return super().blanks()
        return [np.zeros((*size, 3), np.uint8) for size in self._detector.sizes()]

    def make_recogniser(self, session: Any) -> SFace:
        preprocessing = next(each for each in self.pack.files if each.role == "recognition").preprocessing
        return SFace(session, preprocessing.get("mean", 0.0), preprocessing.get("std", 1.0))


class SFace:
    """A recogniser that takes (pixel - mean) / std. May be called from several threads at once."""

    def __init__(self, session: Any, mean: float, std: float) -> None:
        (model_input,), model_output = session.get_inputs(), session.get_outputs()[0]
        self.input_shape, self.output_shape = model_input.shape, model_output.shape
        self._session, self._input, self._output = session, model_input.name, model_output.name
        self._mean, self._std = mean, std

    def get_feat(self, crops: list[Image]) -> FloatArray:
        """float32, shape (n, dimension), not normalised, of n crops: uint8, shape (112, 112, 3), BGR."""
        size, mean = (ALIGNED_SIDE, ALIGNED_SIDE), (self._mean,) * 3
        batch = cv2.dnn.blobFromImages(crops, 1 / self._std, size, mean, swapRB=True)
        return np.asarray(self._session.run([self._output], {self._input: batch})[0], np.float32)
