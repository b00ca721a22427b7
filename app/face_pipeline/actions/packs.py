"""What another model pack would do with the photos that are stored; nothing of it is kept."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from face_pipeline.engine import (
    DetectedFace,
    Engine,
    Pack,
    PhotoBroken,
    PhotoRejected,
    contract_id,
    load_engine,
    read_pack,
)
from face_pipeline.errors import BadRequest, ConfigurationError
from face_pipeline.parts import Parts
from face_pipeline.store import collections, comparing
from face_pipeline.store.audit import Actor
from face_pipeline.store.comparing import Known
from face_pipeline.store.originals import OriginalMissing

# Two boxes that share so much of what they cover together are of one face.
SAME_FACE = 0.3
# Of each face's nearest, how many are compared.
NEAREST = 5

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Judged:
    """How one pack judges pairs of named faces at its threshold: `same` of `same_pairs` it takes for one
    person's, as their names say; `strangers` of `strangers_pairs` too, as their names do not."""

    threshold: float
    same: int
    same_pairs: int
    strangers: int
    strangers_pairs: int


@dataclass
class Faces:
    """Faces of the sample: found by `both`, stored and not found again (`lost`, those with a name in
    `lost_named` with their photos), and found by the other pack alone."""

    both: int = 0
    lost: int = 0
    found: int = 0
    lost_named: list[tuple[uuid.UUID, uuid.UUID]] = field(default_factory=list)


@dataclass(frozen=True)
class Comparison:
    """What a pack would do here. `gone`: ids of photos without their original, which it could not read;
    `embeddings`: faces that never had one. Of the `sampled` photos it could not use the `refused`.

    `searches`: faces that both packs looked for among the others of the sample; `agreed`: how often both
    found the same one, or nobody; `nearest`: the mean share of the nearest faces that both have in common,
    None: nobody was searched. `milliseconds`: processor time of a photo.
    """

    photos: int
    gone: list[uuid.UUID]
    embeddings: int
    sampled: int
    refused: list[uuid.UUID]
    faces: Faces
    searches: int
    agreed: int
    nearest: float | None
    installed: Judged
    other: Judged
    milliseconds: float


class Twin(NamedTuple):
    """A face that both packs found."""

    photo_id: uuid.UUID
    person_id: uuid.UUID | None
    installed: Matrix
    other: Matrix


def compare(
    parts: Parts,
    directory: Path,
    collection: str,
    most: int,
    *,
    by: Actor,
    progress: Callable[[int, int], None],
) -> Comparison:
    """Look at up to `most` stored photos of the collection with the pack in `directory`; `progress` is told
    how many of how many are done.

    Raises PackError, EngineError, NotFound, Conflict where a third pack made the collection, BadRequest where
    the pack is the installed one, ConfigurationError where the originals are on another host.
    """
    if parts.settings.originals_url:
        raise ConfigurationError("the originals are on the web host; run this there")
    other = read_pack(directory)
    if contract_id(other) == contract_id(parts.pack):
        raise BadRequest(
            f"{directory} makes the embeddings of the installed pack ({contract_id(other)}); name another one"
        )
    with parts.database.reading() as session:
        found = collections.find_collection(session, collection, parts.pack)
        stock = comparing.stock(session, found)
        named = comparing.of_persons(session, found, most)
    hashes = dict(stock.photos)
    there = parts.originals.among(set(hashes.values()))
    gone = [each for each, sha256 in stock.photos if each in stock.taken or sha256 not in there]
    sample = _sample(named, stock.photos, frozenset(gone), most)
    engine = load_engine(directory, threads=1, memory=parts.memory)
    # Written before anything is read.
    parts.database.in_transaction(partial(comparing.tell, collection=found, photos=len(sample), by=by))
    with parts.database.reading() as session:
        known = comparing.faces(session, sample)
    faces, twins, refused = Faces(), list[Twin](), list[uuid.UUID]()
    began = time.process_time()
    for number, photo_id in enumerate(sample, 1):
        progress(number, len(sample))
        try:
            detected = _look(engine, parts, hashes[photo_id])
        except (PhotoBroken, PhotoRejected):
            refused.append(photo_id)
        except OriginalMissing:
            # Erased meanwhile: nothing of it is told.
            continue
        else:
            twins += _match(photo_id, known.get(photo_id, []), detected, faces)
    spent = time.process_time() - began
    searches, agreed, nearest = _agreement(twins, parts.pack, other)
    return Comparison(
        len(stock.photos), gone, stock.embeddings, len(sample), refused, faces, searches, agreed, nearest,
        _judge(twins, [each.installed for each in twins], parts.pack),
        _judge(twins, [each.other for each in twins], other),
        1000 * spent / max(1, len(sample)),
    )  # fmt: skip


def _look(engine: Engine, parts: Parts, sha256: str) -> list[DetectedFace]:
    return engine.analyse(parts.originals.read(sha256)).faces


def _sample(
    named: Sequence[uuid.UUID],
    photos: Sequence[tuple[uuid.UUID, str]],
    gone: frozenset[uuid.UUID],
    most: int,
) -> list[uuid.UUID]:
    """Half of them of persons who are on several, as far as there are; the rest evenly among all."""
    chosen = [each for each in named if each not in gone][: (most + 1) // 2]
    rest = [each for each, _ in photos if each not in gone and each not in set(chosen)]
    left = most - len(chosen)
    return chosen + (rest[:: len(rest) // left + 1 if len(rest) > left else 1] if left else [])


def _match(
    photo_id: uuid.UUID, stored: Sequence[Known], detected: Sequence[DetectedFace], faces: Faces
) -> list[Twin]:
    """The faces of a photo that are stored and were detected; counts them, and the others. Best pairs first,
    each face in one of them."""
    twin_of = pairs([each.bbox for each in stored], [each.bbox for each in detected])
    faces.both += len(twin_of)
    faces.lost += len(stored) - len(twin_of)
    faces.found += len(detected) - len(twin_of)
    faces.lost_named += [
        (each.face_id, photo_id)
        for i, each in enumerate(stored)
        if i not in twin_of and each.person_id is not None
    ]
    return [
        Twin(photo_id, stored[i].person_id, stored[i].embedding, detected[j].embedding)
        for i, j in sorted(twin_of.items())
    ]


def pairs(stored: Sequence[Matrix], detected: Sequence[Matrix]) -> dict[int, int]:
    """Which box of a face that is stored (its place) is which of those that were detected, best pairs first,
    each in one of them."""
    shared = sorted(
        ((_overlap(old, new), i, j) for i, old in enumerate(stored) for j, new in enumerate(detected)),
        reverse=True,
    )
    twin_of: dict[int, int] = {}
    for part, i, j in shared:
        if part >= SAME_FACE and i not in twin_of and j not in twin_of.values():
            twin_of[i] = j
    return twin_of


def _overlap(one: Matrix, other: Matrix) -> float:
    """Intersection over union of two boxes."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    common = float(np.prod(np.maximum(high - low, 0)))
    together = float(np.prod(one[2:] - one[:2])) + float(np.prod(other[2:] - other[:2])) - common
    return common / together if together > 0 else 0.0


def _agreement(twins: Sequence[Twin], installed: Pack, other: Pack) -> tuple[int, int, float | None]:
    """Each face is searched among those of other photos, by both packs: searches, how many agreed, and the
    mean share of the nearest that both have in common."""
    if not twins:
        return 0, 0, None
    photos = np.array([each.photo_id.int % 2**62 for each in twins])
    similar = [
        np.stack(rows) @ np.stack(rows).T
        for rows in ([each.installed for each in twins], [each.other for each in twins])
    ]
    searches, agreed, shares = 0, 0, list[float]()
    for number in range(len(twins)):
        candidates = np.flatnonzero(photos != photos[number])
        if not len(candidates):
            continue
        searches += 1
        nearest = [candidates[np.argsort(-each[number, candidates], kind="stable")] for each in similar]
        best = [
            int(order[0]) if each[number, order[0]] >= pack.match_threshold else None
            for each, order, pack in zip(similar, nearest, (installed, other), strict=True)
        ]
        agreed += _same(twins, best[0], best[1])
        first, second = ({*map(int, order[:NEAREST])} for order in nearest)
        shares.append(len(first & second) / len(first))
    return searches, agreed, float(np.mean(shares)) if shares else None


def _same(twins: Sequence[Twin], one: int | None, other: int | None) -> bool:
    """Whether both are nobody, or one face, or faces of one person."""
    if one is None or other is None or one == other:
        return one is other or one == other
    return twins[one].person_id is not None and twins[one].person_id == twins[other].person_id


def _judge(twins: Sequence[Twin], embeddings: Sequence[Matrix], pack: Pack) -> Judged:
    named = [number for number, each in enumerate(twins) if each.person_id is not None]
    if len(named) < 2:
        return Judged(pack.match_threshold, 0, 0, 0, 0)
    rows = np.stack([embeddings[number] for number in named])
    reached = rows @ rows.T >= pack.match_threshold
    persons = np.array([str(twins[number].person_id) for number in named])
    alike = persons[:, None] == persons[None, :]
    pairs = np.triu(np.ones_like(alike), 1)
    return Judged(
        pack.match_threshold,
        int((reached & alike & pairs).sum()), int((alike & pairs).sum()),
        int((reached & ~alike & pairs).sum()), int((~alike & pairs).sum()),
    )  # fmt: skip
