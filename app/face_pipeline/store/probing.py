"""What the vector index of a collection finds of its true matches, and how far a search has to look for that.

What is needed depends on the embeddings, on their dimension and on how many there are, so that each
collection is measured by itself (docs/architecture.md, Search).

Questions are made as new photos of people of the collection would ask them. A stored face is no such
question: it is a node of the graph, from which the walk goes to its neighbours at once. So a question is a
point that is as like the faces of one person, on average, as two photos of one person are like each other: by
named people of the collection where there are enough pairs of their faces, otherwise halfway between the
pack's threshold and 1. The rest of it is noise that has no direction, from which it is harder to find than
from what sets two photos apart. True matches are the nearest faces that reach the threshold, by a scan of
all.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from sqlalchemy import func, or_, select, text, update
from sqlalchemy.orm import Session

from face_pipeline.store import vectors
from face_pipeline.store.database import Database
from face_pipeline.store.models import Collection, Face

Embeddings: TypeAlias = npt.NDArray[np.float32]

PROBES = 200
# Matches that a question has at most.
MATCHES = 10
# Numbers of candidates that are tried, and the share of true matches that is enough.
CANDIDATES = (100, 150, 200, 300, 400, 600, 800)
FOUND_ENOUGH = 0.995
# Faces by which one person is known, and pairs of faces by which a collection is.
FACES_OF_PERSON = 10
PAIRS_ENOUGH = 20
# Of a photo that was put in twice.
SAME_PHOTO = 0.995
# Measured again when so much time has passed, or when so many times the faces are there.
EVERY = timedelta(days=7)
GROWN = 1.5
# An exact scan takes one core, and as long a rest as it took leaves half of it to others.
ONE_CORE = text("SET LOCAL max_parallel_workers_per_gather = 0")
# What rounding takes from a similarity.
ROUNDING = 1e-4


@dataclass(frozen=True)
class Measured:
    """With `ef` candidates the index finds `found` (0 to 1) of the true matches among `faces` faces."""

    ef: int
    found: float
    faces: int


def due(session: Session, contract: str) -> Sequence[Collection]:
    """Collections of that engine contract whose index was not measured lately, or not since they grew."""
    lately = Collection.index_measured_at > func.now() - EVERY
    grown = Collection.face_count > GROWN * Collection.index_faces
    return session.scalars(
        select(Collection)
        .where(
            Collection.index_ready,
            Collection.contract_id == contract,
            or_(Collection.index_measured_at.is_(None), ~lately, grown),
        )
        .order_by(Collection.id)
    ).all()


def measure(
    database: Database, collection: Collection, threshold: float, *, probes: int = PROBES
) -> Measured | None:
    """Find the fewest candidates with which the index of the collection finds enough of its true matches.

    Where no number of `CANDIDATES` does, what the greatest finds; None where no face is left. It reads alone,
    and no statement holds a moment of the database longer than one search. `threshold`: the cosine from
    which on faces match; `probes`: how many questions at most.
    """
    random = np.random.default_rng()
    with database.reading() as session:
        questions = _questions(session, collection, threshold, probes, random)
    truths = [_truth(database, collection, question, threshold) for question in questions]
    expected = sum(map(len, truths))
    if not expected:
        return None
    for ef in CANDIDATES:
        found = sum(
            _found(database, collection, question, truth, ef)
            for question, truth in zip(questions, truths, strict=True)
        )
        if found >= FOUND_ENOUGH * expected:
            break
    return Measured(ef, found / expected, collection.face_count)


def keep(session: Session, collection: Collection, measured: Measured) -> None:
    """Let searches use what was measured."""
    session.execute(
        update(Collection)
        .where(Collection.id == collection.id)
        .values(
            index_ef=measured.ef,
            index_found=measured.found,
            index_faces=measured.faces,
            index_measured_at=func.now(),
        )
        .execution_options(synchronize_session=False)
    )


def _truth(database: Database, collection: Collection, question: Embeddings, threshold: float) -> list[float]:
    """The similarities of the nearest faces that match, best first, by a scan of all."""
    began = time.monotonic()
    with database.transaction() as session:
        session.execute(ONE_CORE)
        matches = vectors.nearest(
            session, collection, question, limit=MATCHES, threshold=threshold, exact=True
        )
    time.sleep(time.monotonic() - began)
    return [match.similarity for match in matches]


def _found(
    database: Database, collection: Collection, question: Embeddings, truth: Sequence[float], ef: int
) -> int:
    """How many of the true matches the index gives; of faces that are equally like, any."""
    if not truth:
        return 0
    with database.reading() as session:
        matches = vectors.nearest(
            session, collection, question, limit=MATCHES, threshold=truth[-1] - ROUNDING, exact=False, ef=ef
        )
    return min(len(matches), len(truth))


def _questions(
    session: Session, collection: Collection, threshold: float, probes: int, random: np.random.Generator
) -> list[Embeddings]:
    sampled = session.execute(
        select(Face.id, Face.person_id, Face.embedding)
        .where(Face.collection_id == collection.id, func.l2_norm(Face.embedding) > 0)
        .order_by(func.random())
        .limit(probes)
    ).all()
    people = [_faces_of(session, row.person_id, row.id, row.embedding) for row in sampled]
    pairs = np.concatenate([faces[1:] @ faces[0] for faces in people]) if people else np.zeros(0)
    pairs = pairs[(pairs >= threshold) & (pairs < SAME_PHOTO)]
    if len(pairs) < PAIRS_ENOUGH:
        pairs = np.array([(1 + threshold) / 2])
    return [_new_photo(faces, float(random.choice(pairs)), random) for faces in people]


def _faces_of(session: Session, person_id: uuid.UUID | None, face_id: uuid.UUID, own: Any) -> Embeddings:
    """The face's embedding, and those of some other faces of its person: float32, shape (n, dimension)."""
    others: Sequence[Any] = ()
    if person_id is not None:
        query = select(Face.embedding).where(Face.person_id == person_id, Face.id != face_id)
        others = session.scalars(query.limit(FACES_OF_PERSON - 1)).all()
    return np.stack([np.asarray(each, np.float32) for each in (own, *others)])


def _new_photo(faces: Embeddings, cosine: float, random: np.random.Generator) -> Embeddings:
    """A unit vector whose cosine to `faces`, shape (n, dimension), is `cosine` on average."""
    middle = _unit(faces.sum(axis=0))
    towards = min(cosine / float((faces @ middle).mean()), 1.0)
    noise = random.normal(size=middle.shape).astype(np.float32)
    across = _unit(noise - (noise @ middle) * middle)
    return _unit(towards * middle + np.sqrt(1 - towards**2) * across)


def _unit(vector: Embeddings) -> Embeddings:
    return np.asarray(vector / np.linalg.norm(vector), np.float32)
