"""How faces look to clients of CompreFace. What this service does not know of a face is absent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from face_pipeline.actions.analysis import area
from face_pipeline.engine import contract_id
from face_pipeline.web.compreface.asking import Options
from face_pipeline.web.current import parts

# How steep similarity falls around the threshold; CompreFace's models have 5.3 to 6.6.
STEEPNESS = 6.0
DECIMALS = Decimal("0.00001")


class Seen(Protocol):
    """A face on a photo."""

    @property
    def bbox(self) -> list[float]: ...
    @property
    def landmarks(self) -> list[list[float]]: ...
    @property
    def detection_score(self) -> float: ...


F = TypeVar("F", bound=Seen)


def similarity(cosine: float) -> float:
    """On CompreFace's scale, 0 to 1: 0.5 is the installed pack's match threshold.

    Source: EuclideanDistanceClassifier of exadel-inc/CompreFace, (tanh((c0 - distance) * c1) + 1) / 2 with
    coefficients for each model; of unit vectors the distance is sqrt(2 - 2 cosine).
    """
    centre = _distance(parts().pack.match_threshold)
    return rounded((math.tanh((centre - _distance(cosine)) * STEEPNESS) + 1) / 2)


def _distance(cosine: float) -> float:
    return math.sqrt(max(0.0, 2 - 2 * cosine))


def rounded(value: float) -> float:
    return float(Decimal(repr(value)).quantize(DECIMALS, ROUND_HALF_UP))


def chosen(faces: Iterable[F], options: Options) -> list[F]:
    """Those that are sure enough, the largest first, as many as are wanted."""
    sure = [face for face in faces if options.min_score is None or face.detection_score > options.min_score]
    sure.sort(key=lambda face: area(face.bbox), reverse=True)
    return sure[: options.limit] if options.limit else sure


def face(
    seen: Seen, options: Options, embedding: npt.NDArray[np.float32] | None, seconds: float
) -> dict[str, Any]:
    """`embedding` is told where it was asked for; `seconds`: how long the analysis of the photo took."""
    left, top, right, bottom = (round(value) for value in seen.bbox)
    told: dict[str, Any] = {
        "box": {
            "probability": rounded(seen.detection_score),
            "x_max": right, "y_max": bottom, "x_min": left, "y_min": top,
        }
    }  # fmt: skip
    if "landmarks" in options.plugins:
        told["landmarks"] = [[round(x), round(y)] for x, y in seen.landmarks]
    if "calculator" in options.plugins and embedding is not None:
        told["embedding"] = numbers(embedding)
    if options.status:
        # A worker looks for faces and embeds them in one go, and tells no times of its own.
        told["execution_time"] = {"detector": round(seconds * 1000, 1)}
    return told


def versions(options: Options) -> dict[str, Any]:
    if not options.status:
        return {}
    pack = parts().pack
    return {"plugins_versions": {"detector": f"{pack.engine}.{pack.name}", "calculator": contract_id(pack)}}


def numbers(embedding: Sequence[float] | npt.NDArray[np.float32]) -> list[float]:
    return [float(each) for each in embedding]
