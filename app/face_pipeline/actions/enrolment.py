"""Enrolment: photos that are to show one person are looked at, judged and kept, while the client waits.

Workers analyse them as they analyse a search; what they find is kept only where the photo is a good one.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from face_pipeline.actions import originals, uploads
from face_pipeline.actions.analysis import analyse
from face_pipeline.actions.uploads import Upload
from face_pipeline.broker.messages import FoundFace
from face_pipeline.engine import DetectedFace, PhotoRejected
from face_pipeline.errors import FacePipelineError, Unavailable, Unprocessable
from face_pipeline.parts import Parts
from face_pipeline.store import collections, enrolment, erasure, judging
from face_pipeline.store.audit import Actor
from face_pipeline.store.judging import Rules
from face_pipeline.store.models import Person, State
from face_pipeline.telemetry import context
from face_pipeline.words import counted

log = logging.getLogger(__name__)

PHOTOS_MOST = 20
# Of one request, so that it does not take every worker from the searches of others.
AT_ONCE = 4
# After that no photo is begun: with the time of the last one the answer comes before nginx gives up waiting.
BEGIN_SECONDS = 30.0


@dataclass(frozen=True)
class Enrolled:
    """A photo whose face is the person's now; `duplicate`: the collection had it, or this request twice."""

    photo_id: uuid.UUID
    face_id: uuid.UUID
    filename: str
    quality: float
    duplicate: bool


@dataclass(frozen=True)
class Refused:
    """A file that was not enrolled; `code` is stable."""

    filename: str
    code: str
    message: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Enrolment:
    """What became of the files of a request, each in one of the lists, in their order."""

    person: Person
    enrolled: list[Enrolled]
    refused: list[Refused]


# A photo's faces as a worker found them, or why there are none.
Analysed = list[DetectedFace] | FacePipelineError
Verdict = enrolment.Enrolled | judging.Refused | FacePipelineError


def enrol(
    parts: Parts,
    person_id: uuid.UUID,
    files: Iterable[tuple[str, bytes]],
    rules: Rules,
    *,
    by: Actor,
    gone: Callable[[], bool],
) -> Enrolment:
    """Give the person the face of each of these files, a name and bytes each, where the rules allow it.

    Raises NotFound for the person, Conflict where the collection has another engine contract, Unprocessable
    when no file could be enrolled, Unavailable when that is for want of a worker, ClientGone once `gone` says
    that nobody waits for the answer. What was enrolled survives a power cut.
    """
    person = find_person(parts, person_id, by=by)
    checked = [(filename, _check(parts, filename, data)) for filename, data in files]
    photos = {each.row.sha256: each for _, each in checked if isinstance(each, Upload)}
    with parts.database.reading() as session:
        known = enrolment.known(session, person.collection_id, photos)
    wanted = [each for sha256, each in photos.items() if known.get(sha256) in (None, State.FAILED)]
    analysed = _analyse_all(parts, wanted, gone)
    verdicts: dict[str, Verdict] = dict(_refused_already(parts, person, analysed, rules))
    candidates = [
        enrolment.Candidate(each.row, found if isinstance(found, list) else None)
        for sha256, each in photos.items()
        if sha256 not in verdicts
        for found in (analysed.get(sha256),)
    ]
    written = {each.photo.sha256 for each in candidates if each.faces is not None}
    # Outside a transaction: nothing is locked while the disk works.
    parts.originals.write({sha256: photos[sha256].data for sha256 in written})
    try:
        if candidates:
            request_id = context.request_id.get()
            kept = parts.database.in_transaction(
                lambda session: enrolment.keep(
                    session, person_id, candidates, rules, by=by, request_id=request_id, pack=parts.pack
                )
            )
            verdicts |= {each.photo.sha256: verdict for each, verdict in zip(candidates, kept, strict=True)}
    finally:
        _remove(parts, {each for each in written if not isinstance(verdicts.get(each), enrolment.Enrolled)})
    _write_again(parts, photos, verdicts)
    return _told(person, checked, verdicts)


def find_person(parts: Parts, person_id: uuid.UUID, *, by: Actor) -> Person:
    """The person with their collection, whose engine contract is the installed one; NotFound also where the
    collection is none that `by` reaches."""
    with parts.database.reading() as session:
        person = enrolment.find_person(session, person_id)
        if not by.reaches(person.collection.name):
            raise enrolment.no_person(person_id)
        collections.find_collection(session, person.collection.name, parts.pack)
    return person


def _check(parts: Parts, filename: str, data: bytes) -> Upload | PhotoRejected:
    try:
        return uploads.check(parts, filename, data)
    except PhotoRejected as error:
        return error


def _analyse_all(parts: Parts, photos: Sequence[Upload], gone: Callable[[], bool]) -> dict[str, Analysed]:
    """What workers find on the photos, by sha256; several at a time.

    Once one got no answer, or too much time has gone by, no other is begun.
    """
    request_id, give_up = context.request_id.get(), time.monotonic() + BEGIN_SECONDS
    stopped: list[FacePipelineError] = []
    lock = threading.Lock()

    def work(photo: Upload) -> Analysed:
        with lock:
            if not stopped and time.monotonic() > give_up:
                stopped.append(
                    Unavailable("there was no time left for this photo; send it again", code="search_timeout")
                )
            if stopped:
                return stopped[0]
        context.request_id.set(request_id)
        try:
            found, _ = analyse(parts, photo, gone)
            return [_detected(face) for face in found]
        except Unprocessable as error:
            return error
        except FacePipelineError as error:
            stopped.append(error)
            return error
        finally:
            context.task_id.set(None)
            context.request_id.set(None)

    with ThreadPoolExecutor(AT_ONCE, "enrol") as pool:
        found = dict(zip((each.row.sha256 for each in photos), pool.map(work, photos), strict=True))
    for error in stopped:
        # A client that is gone, a worker of another pack: no photo can do better.
        if not isinstance(error, Unavailable):
            raise error
    return found


def _detected(face: FoundFace) -> DetectedFace:
    return DetectedFace(
        bbox=np.array(face.bbox, np.float32),
        landmarks=np.array(face.landmarks, np.float32),
        detection_score=face.detection_score,
        quality=face.quality,
        embedding=face.embedding,
    )


def _refused_already(
    parts: Parts, person: Person, analysed: Mapping[str, Analysed], rules: Rules
) -> Iterable[tuple[str, judging.Refused | FacePipelineError]]:
    """Those that need not be written to the disk first. The others are judged again when they are kept."""
    with parts.database.reading() as session:
        for sha256, found in analysed.items():
            if isinstance(found, FacePipelineError):
                yield sha256, found
                continue
            verdict = judging.judge(session, person.collection, person.id, judging.shown(found), rules)
            if isinstance(verdict, judging.Refused):
                yield sha256, verdict


def _remove(parts: Parts, hashes: set[str]) -> None:
    """Remove originals that no row names: of photos that were refused, or of a person who is gone."""

    def named(names: Collection[str]) -> Collection[str]:
        with parts.database.reading() as session:
            return erasure.named(session, names)

    try:
        originals.remove(parts, hashes, named)
    except Unavailable:
        log.debug("originals stay until they are swept", exc_info=True)


def _write_again(parts: Parts, photos: Mapping[str, Upload], verdicts: Mapping[str, Verdict]) -> None:
    """An erasure of the same photo may have taken its file before the row was there to see."""
    enrolled = {name for name, verdict in verdicts.items() if isinstance(verdict, enrolment.Enrolled)}
    there = parts.originals.among(enrolled)
    parts.originals.write({name: photos[name].data for name in enrolled - there})


def _told(
    person: Person, checked: Sequence[tuple[str, Upload | PhotoRejected]], verdicts: Mapping[str, Verdict]
) -> Enrolment:
    told = Enrolment(person, [], [])
    seen: set[str] = set()
    away: Unavailable | None = None
    for filename, photo in checked:
        verdict = verdicts[photo.row.sha256] if isinstance(photo, Upload) else photo
        if isinstance(photo, Upload) and isinstance(verdict, enrolment.Enrolled):
            again = verdict.duplicate or photo.row.sha256 in seen
            told.enrolled.append(
                Enrolled(verdict.photo_id, verdict.face_id, filename, verdict.quality, again)
            )
            seen.add(photo.row.sha256)
            continue
        away = verdict if isinstance(verdict, Unavailable) else away
        assert not isinstance(verdict, enrolment.Enrolled)
        told.refused.append(Refused(filename, verdict.code, verdict.message, verdict.details))
    log.info(
        "%s enrolled, %d refused", counted(len(told.enrolled), "photo"), len(told.refused),
        extra={
            "operation": "enrol", "count": len(told.enrolled),
            "photo_id": [str(each.photo_id) for each in told.enrolled],
            "reason_code": sorted({each.code for each in told.refused}) or None,
        },
    )  # fmt: skip
    if not told.enrolled and away is not None:
        raise away
    if not told.enrolled:
        raise Unprocessable(
            "no photo of this request could be enrolled", code="none_enrolled",
            details={"refused": [vars(each) for each in told.refused]},
        )  # fmt: skip
    return told
