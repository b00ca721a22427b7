"""Faces laid on the five points that ArcFace's recognisers, and SFace, were trained with."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from face_pipeline.engine.types import FloatArray, Image

ALIGNED_SIDE = 112
# Eyes, tip of the nose, corners of the mouth; x and y (insightface/utils/face_align.py, arcface_dst).
_POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
_MIDDLE = _POINTS.mean(axis=0)
_ABOUT_MIDDLE = _POINTS - _MIDDLE


def align(pixels: Image, landmarks: FloatArray) -> Image:
    """uint8, shape (112, 112, 3): the face with these landmarks, shape (5, 2); black beside the photo."""
    return np.asarray(cv2.warpAffine(pixels, similarity(landmarks), (ALIGNED_SIDE, ALIGNED_SIDE)), np.uint8)


def similarity(landmarks: FloatArray) -> npt.NDArray[np.float64]:
    """float64, shape (2, 3): turns, scales and moves landmarks, shape (5, 2), onto ArcFace's points.

    The least squares of Umeyama's, which in the plane need no singular values. Landmarks that are all one
    point make zeros.
    """
    middle = landmarks.mean(axis=0, dtype=np.float64)
    x, y = (landmarks - middle).T
    u, v = _ABOUT_MIDDLE.T
    size = float(x @ x + y @ y)
    if size == 0:
        return np.zeros((2, 3))
    cosine, sine = (x @ u + y @ v) / size, (x @ v - y @ u) / size
    turn = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack([turn, _MIDDLE - turn @ middle])
