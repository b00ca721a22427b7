"""What web service and workers say to each other about a search, and about a picture of a photo.

The question travels as the argument of the task: the id under which the photo waits (exchange.py), and for a
picture which one is wanted. The reply is JSON, one of

    {"version": 1, "task_id": …, "contract_id": …, "faces": [{"bbox", "landmarks", …, "embedding"}, …]}
    {"version": 1, "task_id": …, "picture": …}
    {"version": 1, "task_id": …, "error": {"code": …, "message": …}}

While a host is updated, web service and workers of two releases meet. A reply without a version is one of
version 1, written before replies had any. Of another version, or of a form that is not known, nothing is
read: ReplyUnreadable, which the client gets as 503 and may send again. Who adds a field that old readers may
pass over keeps the version; who changes the meaning of one takes the next.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from face_pipeline.engine import DetectedFace
from face_pipeline.errors import Unavailable

VERSION = 1
# Little-endian whatever the host.
EMBEDDING_TYPE = "<f4"
# Of pixels, and of scores and qualities.
PIXEL_DECIMALS = 1
SCORE_DECIMALS = 4


class ReplyUnreadable(Unavailable):
    """A worker of another release answered."""

    code = "search_failed"


@dataclass(frozen=True)
class Question:
    """What is computed once for all who ask at the same time: a photo, in the way of one engine contract."""

    contract_id: str
    sha256: str

    @property
    def id(self) -> str:
        return f"{self.contract_id}:{self.sha256}"

    @classmethod
    def of(cls, search_id: str) -> Question:
        contract_id, _, sha256 = search_id.rpartition(":")
        return cls(contract_id, sha256)


class Kind(StrEnum):
    """What is made of a photo: a face of it, its square with all `boxes` on it, the whole of it."""

    CROP = "crop"
    THUMBNAIL = "thumbnail"
    UPRIGHT = "upright"


@dataclass(frozen=True)
class Wanted:
    """A picture of the photo `sha256`, made once for all who ask for it at the same time.

    `size`: pixels of its longer side at most; a thumbnail's is the recipe's. `boxes`: x1, y1, x2, y2 in
    pixels of the upright photo at its full size; a crop is of the first.
    """

    kind: Kind
    sha256: str
    size: int = 0
    boxes: Sequence[Sequence[float]] = ()

    @property
    def id(self) -> str:
        return f"picture:{hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()}"


@dataclass(frozen=True)
class FoundFace:
    """A face of the searched photo, as `engine.DetectedFace` describes it; numbers are rounded.

    embedding: float32, shape (dimension,), L2 norm 1.
    """

    bbox: list[float]
    landmarks: list[list[float]]
    detection_score: float
    quality: float
    embedding: npt.NDArray[np.float32]

    @classmethod
    def of(cls, face: DetectedFace) -> FoundFace:
        return cls(
            bbox=[round(float(value), PIXEL_DECIMALS) for value in face.bbox],
            landmarks=[[round(float(value), PIXEL_DECIMALS) for value in point] for point in face.landmarks],
            detection_score=round(float(face.detection_score), SCORE_DECIMALS),
            quality=round(float(face.quality), SCORE_DECIMALS),
            embedding=face.embedding,
        )


@dataclass(frozen=True)
class Found:
    """The faces of a photo, made under `contract_id`; none where the worker has another contract."""

    task_id: str | None
    contract_id: str
    faces: list[FoundFace]


@dataclass(frozen=True)
class Made:
    """A picture: the bytes of a JPEG."""

    task_id: str | None
    picture: bytes


@dataclass(frozen=True)
class Failed:
    """Why there is no answer; `code` is stable."""

    task_id: str | None
    code: str
    message: str


Reply = Found | Made | Failed


def to_json(reply: Reply) -> str:
    told: dict[str, Any] = {"version": VERSION, "task_id": reply.task_id}
    if isinstance(reply, Failed):
        return json.dumps({**told, "error": {"code": reply.code, "message": reply.message}})
    if isinstance(reply, Made):
        return json.dumps({**told, "picture": base64.b64encode(reply.picture).decode("ascii")})
    faces = [
        {
            "bbox": face.bbox,
            "landmarks": face.landmarks,
            "detection_score": face.detection_score,
            "quality": face.quality,
            "embedding": base64.b64encode(face.embedding.astype(EMBEDDING_TYPE).tobytes()).decode("ascii"),
        }
        for face in reply.faces
    ]
    return json.dumps({**told, "contract_id": reply.contract_id, "faces": faces})


def from_json(text: str | bytes) -> Reply:
    """The reply; ReplyUnreadable where a worker of another release wrote it in a way of its own."""
    try:
        told = json.loads(text)
        if told.get("version", 1) != VERSION:
            raise ValueError(f"version {told['version']}")
        task_id = told.get("task_id")
        if "error" in told:
            return Failed(task_id, told["error"]["code"], told["error"]["message"])
        if "picture" in told:
            return Made(task_id, base64.b64decode(told["picture"]))
        return Found(task_id, told["contract_id"], [_face(face) for face in told["faces"]])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReplyUnreadable(
            "a worker of another release answered; send the request again once the update is through"
        ) from error


def _face(told: dict[str, Any]) -> FoundFace:
    embedding = np.frombuffer(base64.b64decode(told["embedding"]), dtype=EMBEDDING_TYPE)
    return FoundFace(told["bbox"], told["landmarks"], told["detection_score"], told["quality"], embedding)
