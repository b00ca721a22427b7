"""Search among the faces of one collection: exact while it is small, by an HNSW index of its own above."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple, Required, TypeAlias, TypedDict, Unpack

import numpy as np
import numpy.typing as npt
from pgvector import HalfVector
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Double,
    FromClause,
    Row,
    Select,
    Text,
    bindparam,
    case,
    cast,
    column,
    func,
    literal,
    select,
    true,
)
from sqlalchemy.orm import Session

from face_pipeline.store.models import Collection, Face, FaceVector, Person, SecondVector, Vector

# (faces up to, ef_search), until the index of the collection is measured (probing.py). Share of true matches
# found, with faces of 128 dimensions (bench/search.py): 0.997 at 100,000 faces with 100; at a million 0.911
# with 200, 0.993 with 800. Faces of 512 need less.
EF_SEARCH_BY_SIZE = ((150_000, 100), (400_000, 400))
EF_SEARCH_MAX = 800
# pgvector takes no more.
EF_SEARCH_LIMIT = 1000
# Faces the index is asked for, to find among them the best of each person; the next when these were too few.
FACES_FOR_PEOPLE = (200, EF_SEARCH_LIMIT)
# Faces of a photo that are compared by one statement.
QUESTIONS_AT_ONCE = 25
# What a statement of several searches for. PostgreSQL scans for one question with several processes.
QUESTIONS = (
    func.unnest(cast(bindparam("searched", type_=Text()), ARRAY(HALFVEC)))
    .table_valued(column("embedding", HALFVEC()), with_ordinality="number", name="questions")
    .render_derived(name="questions")
)


Embedding: TypeAlias = npt.NDArray[np.float32]


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
    """Which statement it is: of several questions or one, by the index of a dimension (None: of all faces) in
    the first table of vectors or the second, with or without bounds."""

    several: bool
    index_dimension: int | None
    turned: bool
    by_quality: bool
    without_one: bool
    named: bool


def table_of(collection: Collection) -> type[Vector]:
    """Where the rows are of which the collection's index is made."""
    return SecondVector if collection.vectors_turned else FaceVector


def ef_search(collection: Collection) -> int:
    """Candidates that a search of its index keeps: as many as found enough when it was measured."""
    if collection.index_ef is not None:
        return collection.index_ef
    for limit, ef in EF_SEARCH_BY_SIZE:
        if collection.face_count <= limit:
            return ef
    return EF_SEARCH_MAX


class Wanted(TypedDict, total=False):
    """Which matches of a face are wanted: at most `limit`, whose cosine reaches `threshold`.

    `exact` True scans the collection, False asks its index alone. Left out, whichever fits the collection is
    taken, and where faces that are not wanted keep the index from giving enough, all are scanned after it. Of
    an index `ef` candidates are kept; left out, as many as the collection needs. `except_face` is not found,
    nor are faces under `min_quality`, nor those of nobody where only `named` ones are wanted.
    """

    limit: Required[int]
    threshold: Required[float]
    min_quality: float
    except_face: uuid.UUID | None
    exact: bool | None
    ef: int | None
    named: bool


def nearest(
    session: Session, collection: Collection, embedding: Embedding, **wanted: Unpack[Wanted]
) -> list[Match]:
    """The faces most like `embedding` (float32, shape (dimension,), L2 norm 1), best first."""
    (matches,) = nearest_to_each(session, collection, [embedding], **wanted)
    return matches


def nearest_people(
    session: Session, collection: Collection, embedding: Embedding, **wanted: Unpack[Wanted]
) -> list[Match]:
    """The people most like `embedding`, as `nearest_people_to_each` has them."""
    (matches,) = nearest_people_to_each(session, collection, [embedding], **wanted)
    return matches


def nearest_to_each(
    session: Session, collection: Collection, embeddings: Sequence[Embedding], **wanted: Unpack[Wanted]
) -> list[list[Match]]:
    """For each of `embeddings` (float32, shape (dimension,), L2 norm 1) the faces most like it, best first.

    One round trip for every `QUESTIONS_AT_ONCE` of them, in a session that commits each statement by itself
    (`database.reading`), but for those that an index gives too few faces.
    """
    found: dict[int, list[Match]] = {}
    for most in _ways(collection, wanted, (wanted["limit"],)):
        for number, rows in _ask(session, collection, embeddings, found, wanted, _nearest, most):
            matches = [
                Match(row.id, row.photo_id, row.person_id, row.name, _cosine(row.distance))
                for row in rows
                if -row.distance >= wanted["threshold"]
            ]
            # One that does not match says that none is missing before it.
            if most is None or len(rows) >= wanted["limit"] or len(matches) < len(rows):
                found[number] = matches
    return [found.get(number, []) for number in range(len(embeddings))]


def nearest_people_to_each(
    session: Session, collection: Collection, embeddings: Sequence[Embedding], **wanted: Unpack[Wanted]
) -> list[list[Match]]:
    """For each of `embeddings` the people most like it: of each the best face, and how many of theirs match.

    A face of nobody stands for itself, or is left out where only `named` ones are wanted. `limit` counts
    people (and such faces) and is always honoured: where the faces that the index gives belong to fewer, it
    is asked for more, and in the end all are scanned. Round trips as of `nearest_to_each`.
    """
    found: dict[int, list[Match]] = {}
    for most in _ways(collection, wanted, FACES_FOR_PEOPLE):
        for number, rows in _ask(session, collection, embeddings, found, wanted, _nearest_people, most):
            matches = [
                Match(row.id, row.photo_id, row.person_id, row.name, _cosine(row.distance), row.face_count)
                for row in rows
                if -row.distance >= wanted["threshold"]
            ]
            if (
                most is None
                or len(matches) >= wanted["limit"]
                or (rows and rows[0].over_threshold < rows[0].given)
            ):
                found[number] = matches
    return [found.get(number, []) for number in range(len(embeddings))]


def _ways(collection: Collection, wanted: Wanted, by_index: Sequence[int]) -> Sequence[int | None]:
    """How many faces an index is asked for, in turn while they are too few; None: all are scanned."""
    exact = wanted.get("exact")
    if exact or (exact is None and not collection.index_ready):
        return (None,)
    return tuple(by_index) if exact is False else (*by_index, None)


def _ask(
    session: Session,
    collection: Collection,
    embeddings: Sequence[Embedding],
    answered: Container[int],
    wanted: Wanted,
    statement: Callable[[Shape], Select[Any]],
    most: int | None,
) -> Iterator[tuple[int, list[Row[Any]]]]:
    """The number of each question that is not `answered` yet, and its rows."""
    min_quality, except_face = wanted.get("min_quality", 0.0), wanted.get("except_face")
    settings = () if most is None else index_settings(wanted.get("ef") or ef_search(collection), most)
    left = [number for number in range(len(embeddings)) if number not in answered]
    for first in range(0, len(left), QUESTIONS_AT_ONCE):
        some = left[first : first + QUESTIONS_AT_ONCE]
        shape = Shape(
            len(some) > 1, None if most is None else collection.dimension,
            most is not None and collection.vectors_turned, min_quality > 0, except_face is not None,
            wanted.get("named", False),
        )  # fmt: skip
        rows_of: dict[int, list[Row[Any]]] = {number: [] for number in some}
        searched = _as_text([embeddings[each] for each in some]) if shape.several else embeddings[some[0]]
        values = {
            "in_collection": collection.id, "worst": min_quality, "most": wanted["limit"],
            "left_out": except_face, "fetched": most, "farthest": -wanted["threshold"],
            "searched": searched,
        }  # fmt: skip
        for row in session.execute(
            statement(shape), values, execution_options={"local_settings": settings}
        ).all():
            rows_of[some[row.number - 1]].append(row)
        yield from rows_of.items()


def _as_text(embeddings: Sequence[Embedding]) -> str:
    """One value for all, of which pg_stat_statements knows one statement, however many there are."""
    return "{" + ",".join(f'"{HalfVector(each).to_text()}"' for each in embeddings) + "}"


def nearest_of_person(
    session: Session,
    person_id: uuid.UUID,
    embedding: npt.NDArray[np.float32],
    *,
    limit: int,
    except_face: uuid.UUID | None = None,
) -> Likeness:
    """The faces of one person that are most like `embedding`, and how many they have beside `except_face`."""
    stored: Any = Face.embedding
    distance = stored.max_inner_product(bindparam("searched", type_=HALFVEC())).label("distance")
    query = select(Face.id, Face.photo_id, func.count().over().label("faces"), distance)
    query = query.where(Face.person_id == person_id)
    if except_face is not None:
        query = query.where(Face.id != except_face)
    rows = session.execute(query.order_by(distance, Face.id).limit(limit), {"searched": embedding}).all()
    return Likeness(
        rows[0].faces if rows else 0,
        [Match(row.id, row.photo_id, person_id, None, _cosine(row.distance)) for row in rows],
    )


@cache
def _nearest_people(shape: Shape) -> Select[Any]:
    """With a dimension, among the `fetched` faces that its index gives first; else among all that match."""
    near = (_candidates(shape)[0] if shape.index_dimension is None else _first(shape, "fetched")).subquery(
        "near"
    )
    who = func.coalesce(near.c.person_id, near.c.id)
    matching = near.c.distance <= bindparam("farthest", type_=Double())
    each = select(
        near,
        func.row_number().over(partition_by=who, order_by=(near.c.distance, near.c.id)).label("place"),
        func.count().filter(matching).over().label("over_threshold"),
        func.count().over().label("given"),
    )
    # Of an index it is asked whether it gave one that does not match.
    ranked = (each.where(matching) if shape.index_dimension is None else each).subquery("ranked")
    best, origin, number = _of_each(
        shape,
        select(ranked).where(ranked.c.place == 1).order_by(ranked.c.distance).limit(bindparam("most")),
    )
    # Counted apart: a person may have more faces than were fetched.
    theirs, their_distance = _candidates(shape._replace(index_dimension=None, turned=False))
    face_count = (
        theirs.with_only_columns(func.count())
        .where(Face.person_id == best.c.person_id, their_distance <= bindparam("farthest", type_=Double()))
        .correlate(best, QUESTIONS)
        .scalar_subquery()
    )
    return (
        select(
            number,
            best,
            Person.name,
            case(
                (best.c.person_id.is_(None), 1),
                (best.c.distance <= bindparam("farthest", type_=Double()), face_count),
            ).label("face_count"),
        )
        .select_from(origin)
        .outerjoin(Person, Person.id == best.c.person_id)
        .order_by(best.c.distance, best.c.id)
    )


def _candidates(shape: Shape) -> tuple[Select[Any], Any]:
    """Faces of the collection with their distance, and the distance; with a dimension, those of its index,
    whose rows know of no photo and no person."""
    vectors: Any = SecondVector if shape.turned else FaceVector
    faces: Any = Face if shape.index_dimension is None else vectors
    stored: Any = faces.embedding
    if shape.index_dimension is not None:
        stored = cast(stored, HALFVEC(shape.index_dimension))
    searched = QUESTIONS.c.embedding if shape.several else bindparam("searched", type_=HALFVEC())
    # `<#>` is the negative inner product; for unit vectors that is the negative cosine.
    # Ordered by its name: of an expression that stands there twice, pg_stat_statements keeps one's values.
    distance = stored.max_inner_product(searched).label("distance")
    columns = (Face.id, Face.photo_id, Face.person_id) if faces is Face else (vectors.face_id.label("id"),)
    query = select(*columns, distance).where(faces.collection_id == bindparam("in_collection"))
    if shape.by_quality:
        query = query.where(faces.quality >= bindparam("worst"))
    if shape.without_one:
        query = query.where((Face.id if faces is Face else vectors.face_id) != bindparam("left_out"))
    if shape.named:
        has_one: ColumnElement[bool] = Face.person_id.is_not(None)
        if faces is vectors:
            # Asked of each face that the index gives, whose order stays.
            has_one = select(Face.id).where(Face.id == vectors.face_id, has_one).exists()
        query = query.where(has_one)
    return query.correlate(QUESTIONS), distance


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
    near, origin, number = _of_each(shape, _first(shape, "most"))
    return (
        select(number, near, Person.name)
        .select_from(origin)
        .outerjoin(Person, Person.id == near.c.person_id)
        .order_by(near.c.distance)
    )


def _of_each(shape: Shape, answer: Select[Any]) -> tuple[FromClause, FromClause, ColumnElement[int]]:
    """The answer to each question, from where it is selected, and the number of its question, from 1 on."""
    if shape.several:
        each = answer.lateral("answer")
        return each, QUESTIONS.join(each, true()), QUESTIONS.c.number
    one = answer.subquery("answer")
    return one, one, literal(1).label("number")


def _cosine(distance: float) -> float:
    """Half-precision rounding takes equal vectors a little over 1."""
    return round(max(-1.0, min(1.0, -distance)), 4)


def index_settings(ef: int, limit: int) -> tuple[tuple[str, str], ...]:
    """Of one statement that asks an index for so many faces, among `ef` candidates."""
    return (
        ("hnsw.ef_search", str(min(EF_SEARCH_LIMIT, max(ef, limit)))),
        ("hnsw.iterative_scan", "relaxed_order"),
        # With old statistics the planner may think that sorting the collection is cheaper than its index.
        ("enable_sort", "off"),
    )
