"""How faces are laid on ArcFace's points, against InsightFace's own way."""

from __future__ import annotations

import numpy as np
import pytest
from face_pipeline.engine.alignment import align, similarity
from insightface.utils import face_align

from tests.photos import astronaut


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_face_is_laid_as_insightface_lays_it() -> None:
    pixels = np.asarray(astronaut())[:, :, ::-1].copy()
    random = np.random.default_rng(7)
    for _ in range(200):
        angle, size = random.uniform(-np.pi, np.pi), random.uniform(0.1, 4)
        turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        points = (
            face_align.arcface_dst @ turn.T + random.uniform(0, 300, 2) + random.normal(0, 3 * size, (5, 2))
        )
        points = points.astype(np.float32)
        theirs = face_align.estimate_norm(points)
        assert np.abs(similarity(points) - theirs).max() < 1e-4 * np.abs(theirs).max()
        difference = np.abs(align(pixels, points).astype(int) - face_align.norm_crop(pixels, points))
        assert difference.max() <= 2
        assert (difference > 0).mean() < 0.01


def test_a_mirrored_face_is_turned_and_not_mirrored_back() -> None:
    points = (face_align.arcface_dst * [-1, 1] + [112, 0]).astype(np.float32)
    assert np.linalg.det(similarity(points)[:, :2]) > 0


def test_landmarks_that_are_one_point_make_a_picture_all_the_same() -> None:
    points = np.full((5, 2), 40, np.float32)
    assert align(np.zeros((100, 100, 3), np.uint8), points).shape == (112, 112, 3)
