"""Search among the faces of one collection: exact while it is small, by an HNSW index of its own above.

An index per collection, and not one for all: HNSW filters after it has walked the graph, so that an index
over several collections finds too little in the small ones (docs/architecture.md, Search).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import cache
from typing import Any
from typing import cast as cast_type

import numpy as np
import numpy.typing as npt
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import Index, Select, Table, bindparam, cast, select, text
from sqlalchemy.orm import Session

from face_pipeline.store.models import Collection, Face, Person

# Below this an exact scan of one collection is as quick as the index, and complete.
INDEX_FROM_FACES = 16_000
HNSW_M = 16
HNSW_EF_CONSTRUCTION = 64
# (faces up to, ef_search). Share of true matches found, with faces of 128 dimensions (bench/search.py): 0.997
# at 100,000 faces with 100; at a million 0.911 with 200, 0.993 with 800. Faces of 512 need less. Between and
# beyond these sizes nothing was measured; pgvector takes 1000 at most.
EF_SEARCH_BY_SIZE = ((150_000, 100), (400_000, 400))
EF_SEARCH_MAX = 800


@dataclass(frozen=True)
class Match:
    """A stored face like the one searched for; `similarity` is the cosine, -1 to 1."""

    face_id: uuid.UUID
    photo_id: uuid.UUID
    person_id: uuid.UUID | None
    person_name: str | None
    similarity: float


def index_name(collection_id: int) -> str:
    return f"faces_hnsw_{collection_id}"


def hnsw_index(collection: Collection) -> Index:
    """The partial HNSW index of one collection, over the inner product of unit vectors."""
    embedding = cast(Face.embedding, HALFVEC(collection.dimension))
    return Index(
        index_name(collection.id),
        embedding.label("embedding"),
        postgresql_using="hnsw",
        postgresql_with={"m": HNSW_M, "ef_construction": HNSW_EF_CONSTRUCTION},
        postgresql_ops={"embedding": "halfvec_ip_ops"},
        postgresql_where=Face.collection_id == collection.id,
        _table=cast_type(Table, Face.__table__),
    )


def ef_search(face_count: int) -> int:
    for limit, ef in EF_SEARCH_BY_SIZE:
        if face_count <= limit:
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
    exact: bool | None = None,
) -> list[Match]:
    """The faces most like `embedding` (float32, shape (dimension,), L2 norm 1), best first.

    `exact` True scans the collection, False uses its index, None takes whichever fits the collection. One
    round trip in a session that commits each statement by itself (`database.reading`).
    """
    if exact is None:
        exact = not collection.index_ready
    rows = session.execute(
        _nearest(None if exact else collection.dimension, min_quality > 0),
        {
            "in_collection": collection.id, "searched": embedding, "worst": min_quality, "most": limit,
        },
        execution_options={"local_settings": () if exact else _index_settings(collection, limit)},
    ).all()  # fmt: skip
    return [
        Match(row.id, row.photo_id, row.person_id, row.name, _cosine(row.distance))
        for row in rows
        if -row.distance >= threshold
    ]


@cache
def _nearest(index_dimension: int | None, by_quality: bool) -> Select[Any]:
    """The query, made once for each of its shapes; with a dimension it can use that cast's index."""
    column: Any = Face.embedding
    if index_dimension is not None:
        column = cast(Face.embedding, HALFVEC(index_dimension))
    # `<#>` is the negative inner product; for unit vectors that is the negative cosine.
    # Ordered by its name: of an expression that stands there twice, pg_stat_statements keeps one's values.
    distance = column.max_inner_product(bindparam("searched", type_=HALFVEC())).label("distance")
    query = select(Face.id, Face.photo_id, Face.person_id, distance).where(
        Face.collection_id == bindparam("in_collection")
    )
    if by_quality:
        query = query.where(Face.quality >= bindparam("worst"))
    found = query.order_by(distance).limit(bindparam("most")).subquery()
    return (
        select(found, Person.name)
        .outerjoin(Person, Person.id == found.c.person_id)
        .order_by(found.c.distance)
    )


def _cosine(distance: float) -> float:
    """Half-precision rounding takes equal vectors a little over 1."""
    return round(max(-1.0, min(1.0, -distance)), 4)


def _index_settings(collection: Collection, limit: int) -> tuple[tuple[str, str], ...]:
    return (
        ("hnsw.ef_search", str(max(ef_search(collection.face_count), limit))),
        ("hnsw.iterative_scan", "relaxed_order"),
        # With old statistics the planner may think that sorting the collection is cheaper than its index.
        ("enable_sort", "off"),
    )


def extension_version(session: Session) -> tuple[int, ...]:
    version = session.scalar(text("SELECT extversion FROM pg_extension WHERE extname = 'vector'"))
    return tuple(int(part) for part in str(version or "0").split("."))
