"""How usable a face is for recognition, from 0 to 1.

The detection score, lowered by what the face lacks: size (eyes 40 pixels apart are plenty), sharpness
(variance of the Laplacian of the aligned 112 x 112 crop) and pose (how far the nose is from the middle
between the eyes).
"""

from __future__ import annotations

import cv2
import numpy as np

from face_pipeline.engine.types import FloatArray, Image

EYES_APART_PIXELS = 40.0
SHARP_VARIANCE = 120.0
# A nose under one of the eyes is a profile.
PROFILE_OFFSET = 0.5


def quality(aligned: Image, landmarks: FloatArray, detection_score: float) -> float:
    """`aligned`: uint8 (112, 112, 3) BGR; `landmarks`: float32 (5, 2), pixels of the full photo."""
    left_eye, right_eye, nose = landmarks[0], landmarks[1], landmarks[2]
    between = right_eye - left_eye
    apart = float(np.linalg.norm(between))
    if apart == 0:
        return 0.0
    size = min(1.0, apart / EYES_APART_PIXELS)
    offset = abs(float(np.dot(nose - (left_eye + right_eye) / 2, between)) / apart**2)
    pose = max(0.0, 1.0 - offset / PROFILE_OFFSET)
    grey = cv2.cvtColor(aligned, cv2.COLOR_BGR2GRAY)
    sharpness = min(1.0, float(cv2.Laplacian(grey, cv2.CV_32F).var()) / SHARP_VARIANCE)
    return float(np.clip(detection_score * (size * sharpness * pose) ** (1 / 3), 0.0, 1.0))
