"""Search among the faces of one collection: exact while it is small, by an HNSW index of its own above."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import ColumnElement, Double, Row, Select, bindparam, case, cast, func, select
from sqlalchemy.orm import Session

from face_pipeline.store.models import Collection, Face, FaceVector, Person

# (faces up to, ef_search), until the index of the collection is measured (probing.py). Share of true matches
# found, with faces of 128 dimensions (bench/search.py): 0.997 at 100,000 faces with 100; at a million 0.911
# with 200, 0.993 with 800. Faces of 512 need less.
EF_SEARCH_BY_SIZE = ((150_000, 100), (400_000, 400))
EF_SEARCH_MAX = 800
# pgvector takes no more.
EF_SEARCH_LIMIT = 1000
# Faces the index is asked for, to find among them the best of each person; the next when these were too few.
FACES_FOR_PEOPLE = (200, EF_SEARCH_LIMIT)


class GroupBy(StrEnum):
    """Whether matches are faces, or people with their best face."""

    FACE = "face"
    PERSON = "person"


@dataclass(frozen=True)
class Match:
    """A stored face like the one searched for; `similarity` is the cosine, -1 to 1.

    One that came as an embedding has no photo.
    """

    face_id: uuid.UUID
    photo_id: uuid.UUID | None
    person_id: uuid.UUID | None
    person_name: str | None
    similarity: float
    # Faces of this person over the threshold, where matches are people; 1 for a face of nobody.
    face_count: int | None = None
    # Its name, where several were searched.
    collection: str | None = None


@dataclass(frozen=True)
class Likeness:
    """How like a person's faces a face is: how many they have, and the most similar of them, best first."""

    face_count: int
    matches: list[Match]


class Shape(NamedTuple):
    """Which statement it is: by the index of a dimension (None: of all faces), with or without bounds."""

    index_dimension: int | None
    by_quality: bool
    without_one: bool
    named: bool


def ef_search(collection: Collection) -> int:
    """Candidates that a search of its index keeps: as many as found enough when it was measured."""
    if collection.index_ef is not None:
        return collection.index_ef
    for limit, ef in EF_SEARCH_BY_SIZE:
        if collection.face_count <= limit:
            return ef
    return EF_SEARCH_MAX


def nearest(
    session: Session,
    collection: Collection,
    embedding: npt.NDArray[np.float32],
    *,
    limit: int,
    threshold: float,
    min_quality: float = 0.0,
    except_face: uuid.UUID | None = None,
    exact: bool | None = None,
    ef: int | None = None,
    named: bool = False,
) -> list[Match]:
    """The faces most like `embedding` (float32, shape (dimension,), L2 norm 1), best first.

    `exact` True scans the collection, False uses its index, None takes whichever fits the collection; of an
    index `ef` candidates are kept, None: as many as the collection needs. `except_face` is not found, nor are
    faces of nobody where only `named` ones are wanted. One round trip in a session that commits each
    statement by itself (`database.reading`), but for an index that gives too few named ones.
    """
    if exact is None:
        exact = not collection.index_ready
    shape = Shape(None if exact else collection.dimension, min_quality > 0, except_face is not None, named)
    values = {
        "in_collection": collection.id, "searched": embedding, "worst": min_quality, "most": limit,
        "left_out": except_face,
    }  # fmt: skip
    rows = session.execute(
        _nearest(shape), values,
        execution_options={
            "local_settings": () if exact else _index_settings(ef or ef_search(collection), limit)
        },
    ).all()  # fmt: skip
    if named and not exact and len(rows) < limit:
        # The index may end its scan among faces of nobody.
        rows = session.execute(_nearest(shape._replace(index_dimension=None)), values).all()
    return [
        Match(row.id, row.photo_id, row.person_id, row.name, _cosine(row.distance))
        for row in rows
        if -row.distance >= threshold
    ]


def nearest_people(
    session: Session,
    collection: Collection,
    embedding: npt.NDArray[np.float32],
    *,
    limit: int,
    threshold: float,
    min_quality: float = 0.0,
    except_face: uuid.UUID | None = None,
    exact: bool | None = None,
    named: bool = False,
) -> list[Match]:
    """The people most like `embedding`: of each the best face, and how many of theirs reach the threshold.

    A face of nobody stands for itself, or is left out where only `named` ones are wanted. `limit` counts
    people (and such faces) and is always honoured: where the faces that the index gives belong to fewer, it
    is asked for more, and in the end all are scanned.
    """
    if exact is None:
        exact = not collection.index_ready
    values = {
        "in_collection": collection.id, "searched": embedding, "worst": min_quality, "most": limit,
        "farthest": -threshold, "left_out": except_face,
    }  # fmt: skip
    scan = Shape(None, min_quality > 0, except_face is not None, named)
    for fetched in () if exact else FACES_FOR_PEOPLE:
        rows = session.execute(
            _nearest_people(scan._replace(index_dimension=collection.dimension)),
            {**values, "fetched": fetched},
            execution_options={"local_settings": _index_settings(ef_search(collection), fetched)},
        ).all()
        if len(rows) >= limit or not rows or rows[0].over_threshold < fetched:
            return _people(rows)
    return _people(session.execute(_nearest_people(scan), values).all())


def nearest_of_person(
    session: Session,
    person_id: uuid.UUID,
    embedding: npt.NDArray[np.float32],
    *,
    limit: int,
    except_face: uuid.UUID | None = None,
) -> Likeness:
    """The faces of one person that are most like `embedding`, and how many they have beside `except_face`."""
    column: Any = Face.embedding
    distance = column.max_inner_product(bindparam("searched", type_=HALFVEC())).label("distance")
    query = select(Face.id, Face.photo_id, func.count().over().label("faces"), distance)
    query = query.where(Face.person_id == person_id)
    if except_face is not None:
        query = query.where(Face.id != except_face)
    rows = session.execute(query.order_by(distance, Face.id).limit(limit), {"searched": embedding}).all()
    return Likeness(
        rows[0].faces if rows else 0,
        [Match(row.id, row.photo_id, person_id, None, _cosine(row.distance)) for row in rows],
    )


def _people(rows: Sequence[Row[Any]]) -> list[Match]:
    return [
        Match(row.id, row.photo_id, row.person_id, row.name, _cosine(row.distance), row.face_count)
        for row in rows
    ]


@cache
def _nearest_people(shape: Shape) -> Select[Any]:
    """With a dimension, among the `fetched` faces that its index gives first; else among all."""
    near = (_candidates(shape)[0] if shape.index_dimension is None else _first(shape, "fetched")).cte("near")
    who = func.coalesce(near.c.person_id, near.c.id)
    ranked = (
        select(
            near,
            func.row_number().over(partition_by=who, order_by=(near.c.distance, near.c.id)).label("place"),
            func.count().over().label("over_threshold"),
        )
        .where(near.c.distance <= bindparam("farthest", type_=Double()))
        .subquery("ranked")
    )
    best = (
        select(ranked)
        .where(ranked.c.place == 1)
        .order_by(ranked.c.distance)
        .limit(bindparam("most"))
        .subquery("best")
    )
    # Counted apart: a person may have more faces than were fetched.
    theirs, their_distance = _candidates(shape._replace(index_dimension=None))
    face_count = (
        theirs.with_only_columns(func.count())
        .where(Face.person_id == best.c.person_id, their_distance <= bindparam("farthest", type_=Double()))
        .correlate(best)
        .scalar_subquery()
    )
    return (
        select(
            best,
            Person.name,
            case((best.c.person_id.is_(None), 1), else_=face_count).label("face_count"),
        )
        .outerjoin(Person, Person.id == best.c.person_id)
        .order_by(best.c.distance, best.c.id)
    )


def _candidates(shape: Shape) -> tuple[Select[Any], Any]:
    """Faces of the collection with their distance, and the distance; with a dimension, those of its index,
    whose rows know of no photo and no person."""
    faces: Any = Face if shape.index_dimension is None else FaceVector
    column: Any = faces.embedding
    if shape.index_dimension is not None:
        column = cast(column, HALFVEC(shape.index_dimension))
    # `<#>` is the negative inner product; for unit vectors that is the negative cosine.
    # Ordered by its name: of an expression that stands there twice, pg_stat_statements keeps one's values.
    distance = column.max_inner_product(bindparam("searched", type_=HALFVEC())).label("distance")
    columns = (Face.id, Face.photo_id, Face.person_id) if faces is Face else (FaceVector.face_id.label("id"),)
    query = select(*columns, distance).where(faces.collection_id == bindparam("in_collection"))
    if shape.by_quality:
        query = query.where(faces.quality >= bindparam("worst"))
    if shape.without_one:
        query = query.where((Face.id if faces is Face else FaceVector.face_id) != bindparam("left_out"))
    if shape.named:
        has_one: ColumnElement[bool] = Face.person_id.is_not(None)
        if faces is FaceVector:
            # Asked of each face that the index gives, whose order stays.
            has_one = select(Face.id).where(Face.id == FaceVector.face_id, has_one).exists()
        query = query.where(has_one)
    return query, distance


def _first(shape: Shape, most: str) -> Select[Any]:
    """The nearest faces, as many as the parameter `most` says, with their photos, persons and distances."""
    faces, distance = _candidates(shape)
    faces = faces.order_by(distance).limit(bindparam(most))
    if shape.index_dimension is None:
        return faces
    # Limited first: nobody is looked up whom the index does not give.
    found = faces.subquery("found")
    return select(found.c.id, Face.photo_id, Face.person_id, found.c.distance).join(
        Face, Face.id == found.c.id
    )


@cache
def _nearest(shape: Shape) -> Select[Any]:
    """The query, made once for each of its shapes."""
    near = _first(shape, "most").subquery("near")
    return (
        select(near, Person.name).outerjoin(Person, Person.id == near.c.person_id).order_by(near.c.distance)
    )


def _cosine(distance: float) -> float:
    """Half-precision rounding takes equal vectors a little over 1."""
    return round(max(-1.0, min(1.0, -distance)), 4)


def _index_settings(ef: int, limit: int) -> tuple[tuple[str, str], ...]:
    return (
        ("hnsw.ef_search", str(min(EF_SEARCH_LIMIT, max(ef, limit)))),
        ("hnsw.iterative_scan", "relaxed_order"),
        # With old statistics the planner may think that sorting the collection is cheaper than its index.
        ("enable_sort", "off"),
    )
