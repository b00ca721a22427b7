"""How sure it is that each face of a person is theirs: its likeness to the mean of their other faces.

PostgreSQL computes it from two sums. With n faces e of length 1, their mean m and s = n·m, the mean of the
others has the direction of s - e, so that

    cosine(e, s - e) = (n·(e·m) - 1) / |s - e|,    |s - e|² = n²·(m·m) - 2n·(e·m) + 1

One pass over the person's faces for the mean, one for the products: 10,000 faces of 128 dimensions take some
ten milliseconds. Embeddings are of half precision: the last digits are noise.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import Double, case, cast, func, literal, select, tuple_
from sqlalchemy.orm import Session, defer

from face_pipeline.store.models import Face, Person


@dataclass(frozen=True)
class SurePlace:
    """Where a face stands among those of a person, the least sure one first."""

    certainty: float
    face_id: uuid.UUID


# An only face is like no other: it comes last, and nothing is told of it.
ALONE = 2.0


def faces_page(
    session: Session, person: Person, *, limit: int, after: SurePlace | None
) -> tuple[list[tuple[Face, float | None]], SurePlace | None]:
    """At most `limit` of the person's faces on photos behind `after`, the least sure one first.

    Each with its certainty (cosine, -1 to 1; None: they have no other face), and where the next page is. It
    is of the faces that are there now: one that is taken off between two pages moves the others a little.
    """
    certainty = _certainty(person.id)
    of_face = select(Face.id.label("face_id"), certainty.label("certainty")).where(
        Face.person_id == person.id, Face.photo_id.is_not(None)
    )
    sure = of_face.subquery("sure")
    query = (
        select(Face, sure.c.certainty)
        .join(sure, sure.c.face_id == Face.id)
        .options(defer(Face.embedding))
        .order_by(sure.c.certainty, Face.id)
        .limit(limit + 1)
    )
    if after is not None:
        query = query.where(tuple_(sure.c.certainty, Face.id) > (after.certainty, after.face_id))
    rows: Sequence[Any] = session.execute(query).all()
    found = [(face, None if value == ALONE else value) for face, value in rows[:limit]]
    if len(rows) <= limit:
        return found, None
    last, value = rows[limit - 1]
    return found, SurePlace(value, last.id)


def _certainty(person_id: uuid.UUID) -> Any:
    """Of a face of this person, as an expression over `faces`."""
    all_of = (
        select(func.count().label("n"), func.avg(Face.embedding, type_=HALFVEC).label("mean"))
        .where(Face.person_id == person_id)
        .cte("all_of")
    )
    # Computed once, whatever the number of faces.
    n = cast(select(all_of.c.n).scalar_subquery(), Double)
    mean = select(all_of.c.mean).scalar_subquery()
    dot = -cast(Face.embedding.op("<#>", return_type=Double())(mean), Double)
    own = -cast(mean.op("<#>", return_type=Double())(mean), Double)
    length = func.sqrt(func.greatest(n * n * own - 2 * n * dot + 1, 1e-6))
    likeness = func.greatest(-1.0, func.least(1.0, (n * dot - 1) / length))
    return cast(case((n > 1, likeness), else_=literal(ALONE)), Double)
