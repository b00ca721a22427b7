"""Who is on a photo that is not kept, as far as a worker sees it: its faces and their embeddings.

A worker analyses a photo once for all who ask for it at the same time (broker/exchange.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from face_pipeline.actions import workers
from face_pipeline.actions.uploads import Upload
from face_pipeline.broker.celery import publish_search
from face_pipeline.broker.messages import Failed, Found, FoundFace, Question, Reply, ReplyUnreadable
from face_pipeline.engine import MemoryBusy, contract_id
from face_pipeline.errors import Conflict, QueueUnavailable, Unavailable, Unprocessable
from face_pipeline.parts import Parts
from face_pipeline.store import audit, collections
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import Reason
from face_pipeline.telemetry import context


def shorter_side(bbox: Sequence[float]) -> float:
    """Of a box x1, y1, x2, y2: pixels."""
    return min(bbox[2] - bbox[0], bbox[3] - bbox[1])


def area(bbox: Sequence[float]) -> float:
    """Of a box x1, y1, x2, y2: square pixels."""
    return (bbox[2] - bbox[0]) * (bbox[3] - bbox[1])


def detect(
    parts: Parts, photo: Upload, *, limit: int, min_face_size: float, gone: Callable[[], bool], by: Actor
) -> list[FoundFace]:
    """At most `limit` faces of the photo, largest first; none with a side under `min_face_size` pixels.

    Nothing of it is kept. Raises what `analyse` raises.
    """
    found, _ = analyse(parts, photo, gone)
    with parts.database.reading() as session:
        audit.note(session, by, "detection.run", details={"faces": len(found)})
    large = [face for face in found if shorter_side(face.bbox) >= min_face_size]
    return sorted(large, key=lambda face: area(face.bbox), reverse=True)[:limit]


def analyse(parts: Parts, photo: Upload, gone: Callable[[], bool]) -> tuple[list[FoundFace], bool]:
    """The faces that a worker finds, and whether another request for the same photo had asked it already.

    Raises Unprocessable for a photo that cannot be decoded, Conflict where the worker has another model pack,
    Unavailable where packs are being exchanged, none answers in time, or too many wait, ClientGone once
    `gone` says that nobody does.
    """
    question = Question(contract_id(parts.pack), photo.row.sha256)
    publish = partial(publish_search, parts.celery, question.id)
    timeout = parts.settings.search_timeout_seconds
    try:
        answer = workers.ask(parts, question.id, photo.data, publish, gone, timeout=timeout)
    except QueueUnavailable as error:
        raise Unavailable(
            "the task queue cannot be reached; send the search again", code="search_unavailable"
        ) from error
    if answer is None:
        raise Unavailable(
            f"no worker answered within {timeout:g} seconds; they are busy or stopped", code="search_timeout"
        )
    return _faces(parts, answer.reply), answer.shared


def _faces(parts: Parts, reply: Reply) -> list[FoundFace]:
    """The faces of a worker's reply, or its error raised."""
    contract = contract_id(parts.pack)
    context.task_id.set(reply.task_id)
    if isinstance(reply, Failed):
        if reply.code == Reason.ENGINE_ERROR:
            raise Unavailable("the worker could not analyse the photo", code="search_failed")
        if reply.code == MemoryBusy.code:
            raise Unavailable(reply.message, code=MemoryBusy.code)
        raise Unprocessable(reply.message, code=reply.code)
    if not isinstance(reply, Found):
        raise ReplyUnreadable("a worker answered another question; send the search again")
    if reply.contract_id != contract:
        with parts.database.reading() as session:
            moving = collections.are_moved_between(session, reply.contract_id, contract)
        if moving:
            raise Unavailable(
                f"a worker runs {reply.contract_id}, this server {contract}: the model pack is being "
                "exchanged; send it again later",
                code="pack_changing",
            )
        raise Conflict(
            f"a worker runs {reply.contract_id}, this server {contract}; "
            "run ./face-ansible site.yml so that both have the same model pack",
            code="contract_mismatch",
        )
    return reply.faces
