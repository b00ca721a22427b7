"""How rows look as JSON."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from face_pipeline.store.ledger import Accepted
from face_pipeline.store.models import Face, Person, Photo
from face_pipeline.store.persons import Remark


def time(value: datetime | None) -> str | None:
    return value.isoformat(timespec="milliseconds") if value else None


def person(value: Person | None) -> dict[str, Any] | None:
    return {"id": value.id, "name": value.name} if value else None


def remark(value: Remark | None) -> dict[str, str] | None:
    return {"code": value.code, "message": value.message} if value else None


def accepted(value: Accepted) -> dict[str, Any]:
    return {
        "id": value.photo_id,
        "filename": value.filename,
        "sha256": value.sha256,
        "state": value.state,
        "duplicate": value.duplicate,
        "person": person(value.person),
        "remark": remark(value.remark),
    }


def photo(value: Photo) -> dict[str, Any]:
    reason = {"code": value.reason_code, "message": value.reason_message} if value.reason_code else None
    return {
        "id": value.id,
        "collection": value.collection.name,
        "batch_id": value.batch_id,
        "filename": value.filename,
        "sha256": value.sha256,
        "state": value.state,
        "reason": reason,
        "attempts": value.attempts,
        "width": value.width,
        "height": value.height,
        "media_type": value.media_type,
        "byte_size": value.byte_size,
        "person": person(value.person),
        "received_at": time(value.received_at),
        "finished_at": time(value.finished_at),
    }


def face(value: Face) -> dict[str, Any]:
    return {
        "id": value.id,
        "bbox": value.bbox,
        "landmarks": value.landmarks,
        "detection_score": value.detection_score,
        "quality": value.quality,
        "person": person(value.person),
    }
