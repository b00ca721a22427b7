"""What an engine takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from face_pipeline.errors import FacePipelineError

if TYPE_CHECKING:
    from face_pipeline.engine.pack import Pack

# Goes up when a thumbnail of the same photo would be cut or coded in another way (thumbnails.py): addresses
# carry it, and pictures of an earlier recipe are made anew.
THUMBNAIL_RECIPE = 2

FloatArray = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]


class PhotoRejected(FacePipelineError):
    """A photo that cannot be used, seen without decoding it; `code` says why, the message what to do."""

    status = 422


class PhotoBroken(FacePipelineError):
    """The photo passed the checks of its upload and still cannot be decoded."""

    code = "broken_image"
    status = 422


class EngineError(FacePipelineError):
    """The model runtime refuses the model or the wanted execution provider."""

    code = "engine_error"


class ModelRefused(EngineError):
    """A runtime cannot load a model."""


@dataclass(frozen=True)
class DetectedFace:
    """One face on a photo; coordinates in pixels of the upright photo at its full size.

    bbox: float32, shape (4,), x1 y1 x2 y2.
    landmarks: float32, shape (5, 2): the person's right and left eye as the viewer sees them from left to
        right, nose, left and right corner of the mouth.
    detection_score: 0 to 1. quality: 0 to 1, see `engine.quality`.
    embedding: float32, shape (dimension,), L2 norm 1.
    """

    bbox: FloatArray
    landmarks: FloatArray
    detection_score: float
    quality: float
    embedding: FloatArray


@dataclass(frozen=True)
class Analysis:
    """The faces of one photo; width and height of the upright photo in pixels; `timings` in seconds for
    `decode`, `detect`, `align` and `embed`. `thumbnail`: a JPEG, where one was asked for and could be
    made."""

    faces: list[DetectedFace]
    width: int
    height: int
    timings: dict[str, float]
    thumbnail: bytes | None = None


def go_on() -> None:
    """What an engine asks between its stages unless it is told what to ask."""


class Engine(Protocol):
    """A loaded pack. `analyse` may be called from several threads at once."""

    pack: Pack
    contract_id: str
    dimension: int
    match_threshold: float
    profile: str
    providers: tuple[str, ...]

    def analyse(
        self,
        data: bytes,
        *,
        promptly: bool = False,
        check: Callable[[], None] = go_on,
        thumbnail: bool = False,
    ) -> Analysis:
        """Decode a photo and find its faces, best detection first.

        Raises PhotoBroken, PhotoRejected, MemoryBusy.

        `promptly`: somebody waits for this one, so it may take more than its share of the cores. `check` is
        called between the stages; what it raises ends the analysis. `thumbnail`: make one of the photo, from
        the pixels that are decoded already.
        """
        ...

    def warm_up(self) -> None:
        """Run once on a blank photo, so that the first real one does not pay for lazy set-up."""
        ...
