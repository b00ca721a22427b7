"""InsightFace's SCRFD detector and ArcFace recogniser, on any runtime.

The library's own model classes, with sessions made here: its `FaceAnalysis` downloads what is missing and
opens every model it finds, and its defaults give each session all cores.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from insightface.model_zoo.arcface_onnx import ArcFaceONNX
from insightface.model_zoo.scrfd import SCRFD

from face_pipeline.engine.alignment import ALIGNED_SIDE, align
from face_pipeline.engine.batching import SIZES, Batcher
from face_pipeline.engine.border import bordered
from face_pipeline.engine.decode import decode, room_for
from face_pipeline.engine.memory import UNLIMITED, Budget
from face_pipeline.engine.pack import Pack, PackFile, contract_id
from face_pipeline.engine.prepared.models import PreparedDetector, PreparedRecogniser
from face_pipeline.engine.prepared.record import Profile
from face_pipeline.engine.quality import quality
from face_pipeline.engine.runtimes import Runtime
from face_pipeline.engine.thumbnails import of_analysed
from face_pipeline.engine.turns import Turns
from face_pipeline.engine.types import (
    Analysis,
    DetectedFace,
    EngineError,
    FloatArray,
    Image,
    ModelRefused,
    go_on,
)

DETECTION_THRESHOLD = 0.5
# Width of the smallest faces that are found, pixels of what the detector looks at.
LEAST_FACE = 10
# On a CPU a larger batch costs more for each face.
EMBEDDING_BATCH = 4
# A face inside a border has to be surer: those of photos cut to a face reach 0.6 to 0.9.
LEAST_BORDERED_SCORE = 0.6


class InsightFaceEngine:
    """One set of sessions, shared by all threads of the process (`InferenceSession.run` is thread-safe).

    A session computes on the thread that calls it: with a photo for each core that is the quickest. For one
    photo that somebody waits for, a second session of the detector, where most of the time goes, takes
    `prompt_threads` cores.

    `callers`: how many photos are computed at once. `prepared`: the pack's prepared models by their role,
    which are used instead of the originals, of this `profile`; on a card the detector's alone, for the
    recogniser's takes one face at a time.
    """

    def __init__(
        self,
        pack: Pack,
        runtime: Runtime,
        prompt_threads: int = 1,
        turns: Turns | None = None,
        memory: Budget | None = None,
        callers: int = 1,
        prepared: Mapping[str, Path] | None = None,
        profile: Profile = "exact",
    ):
        self.pack = pack
        # From here on even the smallest face has as many pixels as it is embedded from. Half of a smaller
        # photo costs the small faces of groups who they are: cosine to the whole 0.96 at the median, 0.53 at
        # worst.
        self._halved_from = math.ceil(ALIGNED_SIDE * pack.detector_side / LEAST_FACE)
        self._prepared = dict(prepared or {})
        if runtime.on_card:
            self._prepared.pop("recognition", None)
        self._memory = memory or Budget(UNLIMITED)
        self.contract_id = contract_id(pack)
        self.dimension = pack.dimension
        self.match_threshold = pack.match_threshold
        self.profile: str = profile
        self.runtime = runtime
        self.providers: tuple[str, ...] = (runtime.provider,)
        self._detector = self._prompt_detector = self._make_detector(1, callers)
        if not runtime.on_card and prompt_threads > 1:
            self._prompt_detector = self._make_detector(prompt_threads, 1)
        self._recogniser = self._make_recogniser(callers)
        # A model whose batch has a fixed size takes one face at a time.
        self._sizes = SIZES if not isinstance(self._recogniser.input_shape[0], int) else (1,)
        self._batch = min(EMBEDDING_BATCH, self._sizes[-1])
        self._batcher = Batcher(self._recogniser.get_feat, self._sizes)
        if isinstance(self._recogniser.output_shape[-1], int):
            _check_dimension(pack, self._recogniser.output_shape[-1])
        # SCRFD keeps anchors of sizes it has seen in a plain dict.
        self._first = threading.Lock()
        # Threads beyond those that compute write the last photo and fetch the next one.
        self._turns = turns or Turns()

    def _make_detector(self, threads: int, callers: int) -> Any:
        return self._detector_of(self._session(self._file("detection"), threads, callers))

    def _make_recogniser(self, callers: int) -> Any:
        return self._recogniser_of(self._session(self._file("recognition"), 1, callers))

    def _file(self, role: str) -> Path:
        return self._prepared.get(role) or self.pack.file(role)

    def _detector_of(self, session: Any) -> Any:
        if "detection" in self._prepared:
            return PreparedDetector(session, self.pack.detector_side, DETECTION_THRESHOLD)
        return self.make_detector(session)

    def _recogniser_of(self, session: Any) -> Any:
        return (
            PreparedRecogniser(session) if "recognition" in self._prepared else self.make_recogniser(session)
        )

    def make_detector(self, session: Any) -> Any:
        """What has `detect`: of a photo (BGR), boxes with scores, shape (n, 5), and landmarks, (n, 5, 2)."""
        made = SCRFD(str(self.pack.file("detection")), session, static_shape_sessions=False)
        _normalise_as(made, self.pack, "detection")
        side = self.pack.detector_side
        made.prepare(0, input_size=(side, side), det_thresh=DETECTION_THRESHOLD)
        _check_detector(self.pack, made)
        return made

    def make_recogniser(self, session: Any) -> Any:
        """What has `get_feat`: of n aligned crops, raw vectors, shape (n, dimension)."""
        made = ArcFaceONNX(str(self.pack.file("recognition")), session)
        _normalise_as(made, self.pack, "recognition")
        return made

    def blanks(self) -> list[Image]:
        """A photo of each size that the detector has to see before the first real one."""
        side = self.pack.detector_side
        return [np.zeros((side, side, 3), np.uint8)]

    def detect(self, pixels: Image) -> tuple[FloatArray, FloatArray]:
        """Of a photo (BGR), boxes with scores, float32, shape (n, 5), and landmarks, (n, 5, 2), pixels."""
        boxes, landmarks = self._detector.detect(pixels)
        return boxes, landmarks

    def _session(self, path: Path, threads: int, callers: int) -> Any:
        try:
            return self.runtime.session(path, threads, callers)
        except ModelRefused as error:
            raise EngineError(f"pack {self.pack.name}: {error.message}") from error

    def normalisation(self, role: str) -> tuple[float, float]:
        """Mean and std that the original model of a role takes pixels with."""
        model = {"detection": self._detector, "recognition": self._recogniser}[role]
        return float(model.input_mean), float(model.input_std)

    def warm_up(self) -> None:
        """Raises EngineError where a model loads but does not run, or makes another number of dimensions."""
        crop = np.zeros((ALIGNED_SIDE, ALIGNED_SIDE, 3), np.uint8)
        # On a card each size takes its memory now, and not under load.
        sizes = reversed(self._sizes) if self.runtime.on_card else [1]
        try:
            if self.runtime.on_card:
                self._audit(self.blanks()[-1], crop)
            with self._first:
                for detector in {self._detector, self._prompt_detector}:
                    for blank in self.blanks():
                        detector.detect(blank)
                for size in sizes:
                    made = self._recogniser.get_feat([crop] * size)
        except EngineError:
            raise
        except Exception as error:
            # As in load_engine: onnxruntime's classes are its own, and the start of a worker has to end.
            raise EngineError(f"pack {self.pack.name}: its models do not run: {error}") from error
        _check_dimension(self.pack, made.shape[-1])

    def _audit(self, nothing: Image, crop: Image) -> None:
        """Raises EngineError where the runtime computes a model elsewhere than on its device."""
        for role, infer in (
            ("detection", lambda session: self._detector_of(session).detect(nothing)),
            ("recognition", lambda session: self._recogniser_of(session).get_feat([crop])),
        ):
            self.runtime.audit(self._file(role), infer)

    def analyse(
        self,
        data: bytes,
        *,
        promptly: bool = False,
        check: Callable[[], None] = go_on,
        thumbnail: bool = False,
    ) -> Analysis:
        if promptly or self.runtime.on_card:
            with room_for(data, self._memory, halved_from=self._halved_from, promptly=promptly):
                # There may have been no room for long.
                check()
                return self._analyse(data, self._prompt_detector, check, thumbnail)
        with self._turns(), room_for(data, self._memory, halved_from=self._halved_from):
            check()
            return self._analyse(data, self._detector, check, thumbnail)

    def _analyse(self, data: bytes, detector: Any, check: Callable[[], None], thumbnail: bool) -> Analysis:
        began = time.perf_counter()
        photo = decode(data, halved_from=self._halved_from)
        decoded = time.perf_counter()
        check()
        boxes, landmarks = detector.detect(photo.pixels)
        if len(boxes) == 0:
            check()
            boxes, landmarks = self._look_again(photo.pixels, detector)
        detected = time.perf_counter()
        check()
        crops = [align(photo.pixels, points) for points in landmarks]
        aligned = time.perf_counter()
        faces = [] if len(boxes) == 0 else self._faces(crops, photo.scale, boxes, landmarks, check)
        embedded = time.perf_counter()
        timings = {
            "decode": decoded - began, "detect": detected - decoded,
            "align": aligned - detected, "embed": embedded - aligned,
        }  # fmt: skip
        picture = of_analysed(photo, faces) if thumbnail else None
        return Analysis(faces, photo.width, photo.height, timings, picture)

    def _look_again(self, pixels: Image, detector: Any) -> tuple[FloatArray, FloatArray]:
        """Boxes (n, 5) and landmarks (n, 5, 2) of a face that fills the photo."""
        again = bordered(pixels, self.pack.detector_side)
        none = np.empty((0, 5), np.float32), np.empty((0, 5, 2), np.float32)
        if again is None:
            return none
        boxes, landmarks = detector.detect(again.pixels)
        found = [
            (again.cut(box[:4]), box[4], again.back(points))
            for box, points in zip(boxes, landmarks, strict=True)
        ]
        found = [each for each in found if each[1] >= LEAST_BORDERED_SCORE and again.is_filled_by(each[0])]
        if not found:
            return none
        return (
            np.array([[*box, score] for box, score, _ in found], np.float32),
            np.array([points for _, _, points in found], np.float32),
        )

    def _faces(
        self,
        crops: list[Image],
        scale: float,
        boxes: FloatArray,
        landmarks: FloatArray,
        check: Callable[[], None],
    ) -> list[DetectedFace]:
        raw = self.embed(crops, check)
        norms = np.linalg.norm(raw, axis=1, keepdims=True)
        faces = []
        for box, points, crop, vector, norm in zip(boxes, landmarks, crops, raw, norms, strict=True):
            if not np.isfinite(norm[0]) or norm[0] == 0:
                # A vector without direction is like nobody and cannot be compared.
                continue
            full = (points * scale).astype(np.float32)
            faces.append(
                DetectedFace(
                    bbox=(box[:4] * scale).astype(np.float32),
                    landmarks=full,
                    detection_score=float(box[4]),
                    quality=quality(crop, full, float(box[4])),
                    embedding=(vector / norm).astype(np.float32),
                )
            )
        return faces

    def embed(self, crops: list[Image], check: Callable[[], None] = go_on) -> FloatArray:
        """Raw vectors of the crops, one row each."""
        if self.runtime.on_card:
            return self._batcher(crops)
        made = []
        for start in range(0, len(crops), self._batch):
            check()
            made.append(self._recogniser.get_feat(crops[start : start + self._batch]))
        return np.concatenate(made)


def _check_detector(pack: Pack, detector: Any) -> None:
    if not detector.use_kps:
        raise EngineError(f"pack {pack.name}: the detector gives no landmarks, which faces are aligned by")
    fixed, side = detector.static_input_size, pack.detector_side
    if fixed is not None and tuple(fixed) != (side, side):
        raise EngineError(
            f"pack {pack.name}: the detector takes {fixed[0]} x {fixed[1]} pixels alone; "
            f"set detector_side to that in its manifest instead of {side}"
        )


def _check_dimension(pack: Pack, found: int) -> None:
    if found != pack.dimension:
        raise EngineError(
            f"pack {pack.name}: the model makes {found}-d embeddings, the manifest says {pack.dimension}"
        )


def _normalise_as(model: Any, pack: Pack, role: str) -> None:
    """Use the manifest's mean and std, where it has them, instead of what the library guesses."""
    file: PackFile = next(each for each in pack.files if each.role == role)
    if {"mean", "std"} <= set(file.preprocessing):
        model.input_mean, model.input_std = file.preprocessing["mean"], file.preprocessing["std"]
