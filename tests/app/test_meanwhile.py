"""Photos go on coming in while much is merged, taken apart, named or erased."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from face_pipeline.actions import erasure, persons
from face_pipeline.ops import clusterer
from face_pipeline.parts import Parts
from face_pipeline.store import audit, clusters, indexes
from face_pipeline.store.models import Cluster, Collection, Face
from sqlalchemy import event, func, select

from tests.app import stock
from tests.app.test_clusters import faces_of, people, put
from tests.installation import App
from tests.order import in_campaign
from tests.photos import astronaut_jpeg

FACES = 40


def merge(parts: Parts, anna: uuid.UUID, berta: uuid.UUID) -> Callable[[], object]:
    return lambda: persons.merge(parts, anna, berta, by=audit.SERVICE)


def undo(parts: Parts, anna: uuid.UUID, berta: uuid.UUID) -> Callable[[], object]:
    made = persons.merge(parts, anna, berta, by=audit.SERVICE)
    return lambda: persons.undo_merge(parts, made.merge.id, by=audit.SERVICE)


def erase(parts: Parts, anna: uuid.UUID, berta: uuid.UUID) -> Callable[[], object]:
    return lambda: erasure.person(parts, berta, dry_run=False, by=audit.SERVICE)


def name(parts: Parts, anna: uuid.UUID, berta: uuid.UUID) -> Callable[[], object]:
    put(parts, faces_of(people(1, 1)[0], FACES, 1))
    clusterer.cluster(parts)
    with parts.database.transaction() as session:
        group = session.scalars(select(Cluster.id)).one()
    return lambda: parts.database.in_transaction(
        lambda session: clusters.name(session, group, berta, audit.SERVICE)
    )


@contextmanager
def before_the_collection_is_changed(parts: Parts, also: Callable[[], None]) -> Iterator[None]:
    """Let `also` happen, once, when a transaction of this process has done all but count and commit."""
    seen: list[str] = []

    def look(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("UPDATE collections") and not seen:
            seen.append(statement)
            also()

    event.listen(parts.database.engine, "before_cursor_execute", look)
    try:
        yield
    finally:
        event.remove(parts.database.engine, "before_cursor_execute", look)
    assert seen, "nothing happened in a transaction"


@pytest.mark.parametrize(
    "prepare", [merge, erase, *in_campaign("faces change hands in the same way", (undo,), (name,))]
)
def test_a_photo_is_analysed_and_kept_while_many_faces_change_hands(
    live_app: App, parts: Parts, prepare: Callable[..., Callable[[], object]]
) -> None:
    """In a collection with an index; the photo ends before the transaction does that was there first."""
    anna, berta = stock.person(parts, "Anna"), stock.person(parts, "Berta")
    for number in range(FACES):
        stock.photo(parts, (anna, berta)[number % 2])
    with parts.database.transaction() as session:
        collection = session.scalars(select(Collection)).one()
    with parts.database.single_statements() as connection:
        indexes.build(connection, collection)
    work = prepare(parts, anna, berta)
    of_berta = select(func.count()).where(Face.person_id == berta)
    with parts.database.reading() as session:
        before = session.scalar(of_berta)
    ended: list[str] = []

    def a_photo_comes() -> None:
        sent = live_app.upload(("a.jpg", astronaut_jpeg()), person="Anna").json()
        live_app.wait_finished(sent["batch_id"], seconds=20)
        (photo,) = sent["photos"]
        ended.append(live_app.get(f"/api/v1/photos/{photo['id']}").json()["state"])
        with parts.database.reading() as session:
            assert session.scalar(of_berta) == before, "the other transaction is not over yet"

    with before_the_collection_is_changed(parts, a_photo_comes):
        work()
    assert ended == ["done"]
    with parts.database.reading() as session:
        assert session.scalar(of_berta) != before
        told, counted = session.execute(
            select(Collection.face_count, select(func.count(Face.id)).scalar_subquery())
        ).one()
    assert told == counted
