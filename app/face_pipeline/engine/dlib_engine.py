"""dlib: HOG detector, 5-point landmarks, 128-d ResNet descriptor. Its licences allow commercial use.

Detection costs by the pixel: photos are looked at no larger than twice `detector_side`, or `hog_side`. Faces
are cut from the larger. The descriptor is
dlib's (http://dlib.net/face_recognition.py.html), where two faces are one person under a Euclidean distance
of 0.6. Raw descriptors have length 1.4, so that this is a cosine of 0.91: the threshold in the manifest.
"""

from __future__ import annotations

import copy
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import dlib
import numpy as np

from face_pipeline.engine import dlib_descriptor
from face_pipeline.engine.border import bordered
from face_pipeline.engine.decode import decode, room_for
from face_pipeline.engine.dlib_descriptor import CHIP_SIDE, DIMENSION
from face_pipeline.engine.memory import UNLIMITED, Budget
from face_pipeline.engine.pack import Pack, contract_id
from face_pipeline.engine.quality import quality
from face_pipeline.engine.runtimes import Runtime
from face_pipeline.engine.thumbnails import of_analysed
from face_pipeline.engine.types import Analysis, DetectedFace, EngineError, FloatArray, Image, go_on

log = logging.getLogger(__name__)

ALIGNED_SIDE = 112
# HOG finds faces from 80 pixels; small photos are enlarged once so that theirs are found too.
ENLARGE_BELOW_PIXELS = 700
# dlib's HOG score is a margin: 0 is the detector's threshold, frontal faces reach 2 to 3.
HOG_SCORE_SPREAD = 1.0
# Under this margin lie most of the patches that are no face.
HOG_MARGIN = 0.25
# dlib's own default for descriptors.
DESCRIPTOR_PADDING = 0.25


class DlibEngine:
    """A detector for each thread, one predictor for all.

    dlib's objects keep scratch memory: one thread at a time may use each. Detectors run side by side, and so
    do descriptors where the pack has theirs as ONNX. dlib's own holds the interpreter's lock: several would
    take memory and gain nothing.
    """

    def __init__(self, pack: Pack, runtime: Runtime, *, threads: int, memory: Budget | None = None):
        self.pack = pack
        # Pixels of the longer side. Faces are embedded from this picture too: half a photo of twice the side
        # is enough.
        self._looked_side = 2 * pack.detector_side
        self._memory = memory or Budget(UNLIMITED)
        self.contract_id = contract_id(pack)
        self.dimension = pack.dimension
        self.match_threshold = pack.match_threshold
        self.profile = "exact"
        self.providers: tuple[str, ...] = (runtime.provider,)
        if pack.dimension != DIMENSION:
            raise EngineError(
                f"pack {pack.name}: dlib makes {DIMENSION}-d embeddings, the manifest says {pack.dimension}"
            )
        self._detectors: queue.LifoQueue[Any] = queue.LifoQueue()
        # dlib unpacks it for half a second; a copy shares nothing with it and takes 2 ms.
        detector = dlib.get_frontal_face_detector()
        for _ in range(threads):
            self._detectors.put(copy.copy(detector))
        self._aligning = threading.Lock()
        try:
            self._predictor = dlib.shape_predictor(str(pack.file("landmarks")))
            self._descriptor = _descriptor(pack, runtime)
        except RuntimeError as error:
            raise EngineError(f"pack {pack.name}: dlib refuses a model: {error}") from error

    @contextmanager
    def _detector(self) -> Iterator[Any]:
        detector = self._detectors.get()
        try:
            yield detector
        finally:
            self._detectors.put(detector)

    def warm_up(self) -> None:
        with self._detector() as detector:
            detector.run(np.zeros((200, 200, 3), np.uint8), 0, 0.0)
        self._descriptor(np.zeros((CHIP_SIDE, CHIP_SIDE, 3), np.uint8))

    def analyse(
        self,
        data: bytes,
        *,
        promptly: bool = False,
        check: Callable[[], None] = go_on,
        thumbnail: bool = False,
    ) -> Analysis:
        # dlib computes a photo on one core, also where somebody waits for it.
        with room_for(data, self._memory, halved_from=2 * self._looked_side, promptly=promptly):
            # There may have been no room for long.
            check()
            return self._analyse(data, check, thumbnail)

    def _analyse(self, data: bytes, check: Callable[[], None], thumbnail: bool) -> Analysis:
        began = time.perf_counter()
        photo = decode(data, halved_from=2 * self._looked_side)
        pixels, shrink = _bounded(photo.pixels, self._looked_side)
        rgb = np.ascontiguousarray(pixels[:, :, ::-1])
        scale = photo.scale * shrink
        decoded = time.perf_counter()
        check()
        with self._detector() as detector:
            boxes, scores = self._look(rgb, detector)
            if not boxes:
                check()
                boxes, scores = self._look_again(rgb, detector)
        detected = time.perf_counter()
        chips = [self._chip(rgb, box) for box in boxes]
        aligned = time.perf_counter()
        faces = []
        for (shape, chip), box, score in zip(chips, boxes, scores, strict=True):
            check()
            faces.append(self._face(shape, chip, box, score, scale))
        embedded = time.perf_counter()
        timings = {
            "decode": decoded - began, "detect": detected - decoded,
            "align": aligned - detected, "embed": embedded - aligned,
        }  # fmt: skip
        picture = of_analysed(photo, faces) if thumbnail else None
        return Analysis(faces, photo.width, photo.height, timings, picture)

    def _look(self, rgb: Image, detector: Any) -> tuple[list[Any], list[float]]:
        """Boxes and scores of the faces; HOG costs by the pixel."""
        if self.pack.hog_side is None:
            enlarge = 1 if min(rgb.shape[:2]) < ENLARGE_BELOW_PIXELS else 0
            boxes, scores, _ = detector.run(rgb, enlarge, HOG_MARGIN)
            return list(boxes), list(scores)
        small, shrink = _bounded(rgb, self.pack.hog_side)
        boxes, scores, _ = detector.run(small, 0, HOG_MARGIN)
        return [_rectangle(_corners(box) * np.float32(shrink)) for box in boxes], list(scores)

    def _look_again(self, rgb: Image, detector: Any) -> tuple[list[Any], list[float]]:
        """Box and score of a face that fills the photo."""
        again = bordered(rgb, self.pack.detector_side)
        if again is None:
            return [], []
        boxes, scores, _ = detector.run(again.pixels, 0, HOG_MARGIN)
        found = [(again.cut(_corners(box)), score) for box, score in zip(boxes, scores, strict=True)]
        found = [each for each in found if again.is_filled_by(each[0])]
        return [_rectangle(box) for box, _ in found], [score for _, score in found]

    def _chip(self, rgb: Image, box: Any) -> tuple[Any, Image]:
        with self._aligning:
            shape = self._predictor(rgb, box)
            return shape, dlib.get_face_chip(rgb, shape, CHIP_SIDE, DESCRIPTOR_PADDING)

    def _face(self, shape: Any, chip: Image, box: Any, score: float, scale: float) -> DetectedFace:
        raw = self._descriptor(chip)
        detection_score = _share(score)
        aligned = np.asarray(cv2.resize(chip[:, :, ::-1], (ALIGNED_SIDE, ALIGNED_SIDE)), np.uint8)
        full = _five_points(shape) * np.float32(scale)
        return DetectedFace(
            bbox=_corners(box) * np.float32(scale),
            landmarks=full,
            detection_score=detection_score,
            quality=quality(aligned, full, detection_score),
            embedding=raw / np.linalg.norm(raw),
        )


def _descriptor(pack: Pack, runtime: Runtime) -> Callable[[Image], FloatArray]:
    """float32, shape (128,), not normalised, of a chip; may be called from several threads at once."""
    model = dlib_descriptor.stored(pack)
    if model is not None:
        return dlib_descriptor.Descriptor(model, runtime)
    log.warning(
        "pack %s has no %s that was made from it: dlib computes descriptors itself, 24 times as slowly; "
        "run ./face-ansible site.yml, which makes it",
        pack.name,
        dlib_descriptor.MODEL,
    )
    recogniser, alone = dlib.face_recognition_model_v1(str(pack.file("recognition"))), threading.Lock()

    def describe(chip: Image) -> FloatArray:
        with alone:
            return np.array(recogniser.compute_face_descriptor(chip), np.float32)

    return describe


def _corners(box: Any) -> FloatArray:
    return np.array([box.left(), box.top(), box.right(), box.bottom()], np.float32)


def _rectangle(box: FloatArray) -> Any:
    return dlib.rectangle(*map(int, box.round()))


def _share(margin: float) -> float:
    """HOG's margin as a score from 0 to 1."""
    return float(1 / (1 + np.exp(-margin / HOG_SCORE_SPREAD)))


def _bounded(pixels: Image, side: int) -> tuple[Image, float]:
    """The photo with its longer side at most `side`; and full size divided by that size."""
    longer = max(pixels.shape[:2])
    if longer <= side:
        return pixels, 1.0
    shrink = longer / side
    size = (round(pixels.shape[1] / shrink), round(pixels.shape[0] / shrink))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8), shrink


def _five_points(shape: Any) -> FloatArray:
    """Eyes, nose and mouth corners from dlib's points: both corners of each eye, and the base of the nose.

    dlib has no mouth points: they are put where they lie on an average face, turned with the head.
    """
    points = np.array([[point.x, point.y] for point in shape.parts()], np.float32)
    # dlib: 0, 1 the viewer's right eye (outer, inner), 2, 3 the left one (outer, inner), 4 the nose.
    right, left, nose = points[0:2].mean(axis=0), points[2:4].mean(axis=0), points[4]
    down = nose - (left + right) / 2
    mouth = nose + down * 0.55
    half = (right - left) * 0.38
    return np.stack([left, right, nose, mouth - half, mouth + half]).astype(np.float32)
