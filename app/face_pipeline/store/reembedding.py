"""Moving collections from the embeddings of one model pack to those of another.

The other pack looks at each photo once; what it makes of the faces that are stored is kept beside them
(`face_embeddings`), and goes with them. The switch of a collection exchanges the two, in one transaction: the
way back is the same, the other way round. Faces, persons and groups stay who they are. The vectors of large
collections, with their indexes, stay where they are: two tables change places (indexes.py).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import bindparam, case, cast, delete, exists, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from face_pipeline.errors import Conflict, DatabaseBusy, NotFound
from face_pipeline.store import audit, compatible, indexes, vectors
from face_pipeline.store.audit import Actor
from face_pipeline.store.database import Database
from face_pipeline.store.models import (
    Collection,
    Face,
    FaceEmbedding,
    LookOutcome,
    Photo,
    Reembedding,
    ReembeddingPhoto,
    State,
)

# Held by whoever looks at photos, or switches, for as long as that lasts.
LOCK = 7_312_021
# PostgreSQL may notice so much later that one that was killed is gone.
GONE_SECONDS = 5.0
FIRST = uuid.UUID(int=0)

Embedding = npt.NDArray[np.float32]
_COUNTED = {
    LookOutcome.DONE: Reembedding.photos_done,
    LookOutcome.MISSING: Reembedding.photos_missing,
    LookOutcome.DAMAGED: Reembedding.photos_damaged,
    LookOutcome.REFUSED: Reembedding.photos_refused,
}


@dataclass(frozen=True)
class Side:
    """A pack that collections are moved from or to; `pack`: its directory."""

    contract: str
    pack: str
    dimension: int
    threshold: float


@dataclass(frozen=True)
class Way:
    """What collections are moved from, and to. `through`: all photos had been looked at once."""

    source: Side
    target: Side
    through: bool = False


@dataclass(frozen=True)
class Waiting:
    """A photo that the other pack has not looked at."""

    photo_id: uuid.UUID
    sha256: str


@dataclass(frozen=True)
class Stored:
    """A face of a photo; `bbox`: float32, shape (4,), pixels."""

    face_id: uuid.UUID
    bbox: Embedding


@dataclass(frozen=True)
class Looked:
    """What the other pack made of a photo: embeddings of faces that are stored (float32, shape (dimension,),
    L2 norm 1), by their ids, and how many faces it alone found."""

    photo_id: uuid.UUID
    outcome: LookOutcome
    embeddings: dict[uuid.UUID, Embedding] = field(default_factory=dict)
    more_faces: int = 0


@dataclass(frozen=True)
class Left:
    """Faces without an embedding of the other pack, and why: it looked and did not find them (`not_found`,
    those of persons with their photos in `named`), the original is not there, damaged, or of no use to it, or
    they came as embeddings."""

    not_found: int = 0
    missing: int = 0
    damaged: int = 0
    refused: int = 0
    embeddings: int = 0

    @property
    def all(self) -> int:
        return self.not_found + self.missing + self.damaged + self.refused + self.embeddings


@dataclass(frozen=True)
class Progress:
    """How far the collections that are still to be moved are; `waiting` photos have to be looked at.

    `lost`: photos whose original is gone, by what became of it; `named`: photos of persons whom the other
    pack did not find there. `moved`: names of collections that were moved already.
    """

    collections: Sequence[str]
    moved: Sequence[str]
    photos: int
    waiting: int
    faces: int
    embedded: int
    more_faces: int
    left: Left
    lost: dict[str, list[uuid.UUID]]
    named: list[uuid.UUID]


@dataclass(frozen=True)
class Twins:
    """Faces with both embeddings, of one collection: float32, shape (n, dimension), L2 norm 1."""

    photos: list[uuid.UUID | None]
    persons: list[uuid.UUID | None]
    own: Embedding
    other: Embedding


@dataclass(frozen=True)
class Told:
    """How far it is, as whoever looks at photos told last.

    `photos`: by what became of them, and those that `waiting`; `left`: faces without an embedding to move to.
    Both packs find the same person, or nobody, in `agreed` of `searches`. `idle_seconds`: since when nobody
    looked at the photos, though some have to be looked at; 0 once all were. `right_*`: the searches for which
    that pack finds the right person. `shadowed`: what people searched.
    """

    photos: dict[str, int]
    left: int
    searches: int
    agreed: int
    right_source: int
    right_target: int
    shadowed: Shadowed
    idle_seconds: float


class Match(NamedTuple):
    """A stored face like the one searched for; `person_id` None: nobody's."""

    face_id: uuid.UUID
    person_id: uuid.UUID | None


Matches = Sequence[Match]


@dataclass(frozen=True)
class Shadowed:
    """How both packs agree on what people searched, each at its own threshold.

    Of `searches`, the other pack does not find `unfound` faces. Of the `faces` that both find, each counted
    once for each collection, both find the same person, or nobody, for `person`, and the same stored face, or
    none, for `face`; `shared`: the sum of the shares (0 to 1) of their matches that both have.
    """

    searches: int = 0
    faces: int = 0
    unfound: int = 0
    person: int = 0
    face: int = 0
    shared: float = 0.0

    def __add__(self, other: Shadowed) -> Shadowed:
        return Shadowed(**{name: value + getattr(other, name) for name, value in vars(self).items()})


class NotYet(Conflict):
    """Photos of the collection have to be looked at before it can be switched."""


@contextmanager
def alone(database: Database) -> Iterator[None]:
    """While nobody else looks at photos or switches; raises DatabaseBusy."""
    until = time.monotonic() + GONE_SECONDS
    with database.single_statements() as connection:
        while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK}):
            if time.monotonic() > until:
                raise DatabaseBusy("another `face-pipeline reembed` is at work; let it end, or end it, first")
            time.sleep(0.1)
        try:
            yield
        finally:
            # The lock is the connection's; one that broke has lost it.
            if not connection.invalidated:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK})


def find(session: Session) -> Way:
    """Raises NotFound where no collection is being moved."""
    row = session.scalar(select(Reembedding))
    if row is None:
        raise NotFound("no collection is being moved; begin with `face-pipeline reembed start DIR`")
    return Way(
        Side(row.source_contract, row.source_pack, row.source_dimension, row.source_threshold),
        Side(row.target_contract, row.target_pack, row.target_dimension, row.target_threshold),
        row.through_at is not None,
    )


def begin(session: Session, way: Way, by: Actor) -> None:
    """Raises Conflict where collections are being moved already."""
    made = session.execute(
        upsert(Reembedding).values(id=1, **_columns(way)).on_conflict_do_nothing().returning(Reembedding.id)
    )
    if made.one_or_none() is None:
        raise Conflict(
            "collections are being moved already: `face-pipeline reembed status` says where to, and"
            " `face-pipeline reembed end` ends it"
        )
    mark(session, way)
    _tell(session, by, "start", way)


def _columns(way: Way) -> dict[str, Any]:
    return {
        f"{name}_{key}": value
        for name, side in (("source", way.source), ("target", way.target))
        for key, value in vars(side).items()
    }


def _tell(session: Session, by: Actor, verb: str, way: Way, **details: int) -> None:
    contracts = {"source": way.source.contract, "target": way.target.contract}
    # Written out for who looks for the words of each.
    match verb:
        case "start":
            audit.write(session, by, "reembedding.start", details={**contracts, **details})
        case "run":
            audit.write(session, by, "reembedding.run", details={**contracts, **details})
        case "shadow":
            audit.write(session, by, "reembedding.shadow", details={**contracts, **details})
        case "back":
            audit.write(session, by, "reembedding.back", details={**contracts, **details})
        case _:
            audit.write(session, by, "reembedding.end", details={**contracts, **details})


def tell_run(session: Session, way: Way, by: Actor, photos: int) -> None:
    """The entry of looking at so many photos."""
    _tell(session, by, "run", way, photos=photos)


def mark(session: Session, way: Way) -> None:
    """Say of each collection that has to be moved where to: processes with that pack wait for it."""
    session.execute(
        update(Collection)
        .where(
            Collection.contract_id == way.source.contract,
            Collection.other_contract_id.is_distinct_from(way.target.contract),
        )
        .values(other_contract_id=way.target.contract)
        .execution_options(synchronize_session=False)
    )


def _looked_at() -> Any:
    return exists().where(ReembeddingPhoto.photo_id == Photo.id)


def _of_source(way: Way) -> tuple[Any, ...]:
    return (
        Photo.state == State.DONE,
        Photo.collection_id.in_(select(Collection.id).where(Collection.contract_id == way.source.contract)),
    )


def waiting(session: Session, way: Way, after: uuid.UUID, limit: int) -> list[Waiting]:
    """At most `limit` photos behind `after`, by id, that the other pack has to look at."""
    rows = session.execute(
        select(Photo.id, Photo.sha256)
        .where(*_of_source(way), Photo.id > after, ~_looked_at())
        .order_by(Photo.id)
        .limit(limit)
    )
    return [Waiting(row.id, row.sha256) for row in rows]


def count_waiting(session: Session, way: Way) -> int:
    return session.scalar(select(func.count()).select_from(Photo).where(*_of_source(way), ~_looked_at())) or 0


def faces(session: Session, photo_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, list[Stored]]:
    """The faces of these photos."""
    found: dict[uuid.UUID, list[Stored]] = {each: [] for each in photo_ids}
    query = select(Face.id, Face.photo_id, Face.bbox).where(Face.photo_id.in_(photo_ids))
    for row in session.execute(query.order_by(Face.photo_id, Face.position)):
        found[row.photo_id].append(Stored(row.id, np.asarray(row.bbox, np.float32)))
    return found


def keep(session: Session, looked: Sequence[Looked]) -> None:
    """Keep what the other pack made of these photos; of those that were erased meanwhile nothing."""
    by_id = {each.photo_id: each for each in looked}
    held = session.scalars(
        select(Photo.id)
        .where(Photo.id.in_(by_id))
        .order_by(Photo.sha256, Photo.id)
        .with_for_update(read=True, key_share=True)
    ).all()
    embeddings = {face: each for one in held for face, each in by_id[one].embeddings.items()}
    there = session.scalars(
        select(Face.id)
        .where(Face.id.in_(embeddings))
        .order_by(Face.id)
        .with_for_update(read=True, key_share=True)
    ).all()
    if there:
        written = upsert(FaceEmbedding).values(
            [{"face_id": each, "embedding": embeddings[each]} for each in there]
        )
        session.execute(
            written.on_conflict_do_update(
                index_elements=["face_id"], set_={"embedding": written.excluded.embedding}
            )
        )
    if held:
        outcomes = [
            {"photo_id": each, "outcome": by_id[each].outcome, "more_faces": by_id[each].more_faces}
            for each in held
        ]
        session.execute(upsert(ReembeddingPhoto).values(outcomes).on_conflict_do_nothing())
    _count(session, [each.outcome for each in looked])


def _count(session: Session, outcomes: Sequence[LookOutcome]) -> None:
    """Tell of these photos; `tell` puts right what was erased or looked at again meanwhile."""
    more = {
        column: column + outcomes.count(outcome)
        for outcome, column in _COUNTED.items()
        if outcome in outcomes
    }
    left = func.greatest(Reembedding.photos_waiting - len(outcomes), 0)
    session.execute(
        update(Reembedding).values(
            {Reembedding.looked_at: func.now(), Reembedding.photos_waiting: left, **more}
        )
    )


def is_through(session: Session) -> None:
    """All photos were looked at."""
    session.execute(update(Reembedding).values(through_at=func.now(), looked_at=func.now()))


def tell(
    session: Session, found: Progress, *, searches: int, agreed: int, right_source: int, right_target: int
) -> None:
    """Keep how far it is for those who ask often."""
    lost = {name: len(ids) for name, ids in found.lost.items()}
    session.execute(
        update(Reembedding).values(
            looked_at=func.now(), photos_waiting=found.waiting,
            photos_done=found.photos - found.waiting - sum(lost.values()),
            **{f"photos_{name}": number for name, number in lost.items()},
            faces_left=found.left.all, searches=searches, agreed=agreed,
            right_source=right_source, right_target=right_target,
        )
    )  # fmt: skip


def told(session: Session) -> Told | None:
    """None: nothing is left to be moved."""
    idle = func.extract("epoch", func.now() - func.coalesce(Reembedding.looked_at, Reembedding.began_at))
    to_move = exists().where(Collection.contract_id == Reembedding.source_contract)
    found = session.execute(select(Reembedding, idle).where(to_move)).one_or_none()
    if found is None:
        return None
    row, seconds = found
    return Told(
        {
            "waiting": row.photos_waiting,
            **{outcome.value: getattr(row, column.key) for outcome, column in _COUNTED.items()},
        },
        row.faces_left, row.searches, row.agreed, row.right_source, row.right_target, _shadowed(row),
        0.0 if row.through_at is not None else max(0.0, float(seconds)),
    )  # fmt: skip


def _shadowed(row: Reembedding) -> Shadowed:
    return Shadowed(**{name: getattr(row, f"shadow_{name}") for name in vars(Shadowed())})


def shadowed(session: Session) -> tuple[int, Shadowed]:
    """Of how many of a hundred searches the other pack is asked too, and what came of it. Raises NotFound."""
    find(session)
    row = session.scalars(select(Reembedding)).one()
    return row.shadow_percent, _shadowed(row)


def want_shadows(session: Session, percent: int, by: Actor) -> None:
    """Have the other pack asked of so many of a hundred searches; what is counted begins anew."""
    way = find(session)
    session.execute(update(Reembedding).values(shadow_percent=percent, **_no_shadows()))
    _tell(session, by, "shadow", way, percent=percent)


def _no_shadows() -> dict[str, float]:
    return {f"shadow_{name}": value for name, value in vars(Shadowed()).items()}


def shadow_wanted(session: Session) -> tuple[Way, int] | None:
    """The way, and of how many of a hundred searches the other pack is to be asked: once it has looked at all
    photos, while some collection is not moved. None: of none."""
    to_move_ = exists().where(Collection.contract_id == Reembedding.source_contract)
    percent = session.scalar(
        select(Reembedding.shadow_percent).where(
            Reembedding.shadow_percent > 0, Reembedding.through_at.is_not(None), to_move_
        )
    )
    return None if percent is None else (find(session), percent)


def count_shadow(session: Session, more: Shadowed) -> None:
    """Count what came of searches that the other pack was asked too."""
    columns = {f"shadow_{name}": value for name, value in vars(more).items()}
    session.execute(
        update(Reembedding).values(
            {name: Reembedding.__table__.c[name] + each for name, each in columns.items()}
        )
    )


def both(
    session: Session, way: Way, collection_id: int, embeddings: tuple[Embedding, Embedding], limit: int
) -> tuple[Matches, Matches] | None:
    """What the pack in use and the other one find of one face in a collection, best first, by the embedding
    that each made of it; None where the collection is gone, or is not to be moved.

    In a session of one moment.
    """
    collection = session.get(Collection, collection_id)
    if collection is None or collection.contract_id != way.source.contract:
        return None
    return (
        _nearest(session, indexes.Side(collection, way.source.dimension), way.source, embeddings[0], limit),
        _nearest(
            session,
            indexes.Side(collection, way.target.dimension, other=True),
            way.target,
            embeddings[1],
            limit,
        ),
    )


def _nearest(
    session: Session, of: indexes.Side, pack: Side, embedding: Embedding, limit: int
) -> list[Match]:  # fmt: skip
    """As vectors.py searches, but for names, which who asks may not read."""
    collection = of.collection
    settings: tuple[tuple[str, str], ...] = ()
    searched = bindparam("searched", type_=HALFVEC())
    if collection.other_index_ready if of.other else collection.index_ready:
        settings = vectors.index_settings(
            vectors.EF_SEARCH_MAX if of.other else vectors.ef_search(collection), limit
        )
        stored: Any = cast(of.table.embedding, HALFVEC(of.dimension))
        distance = stored.max_inner_product(searched).label("distance")
        near = select(of.table.face_id.label("id"), distance).where(of.table.collection_id == collection.id)
    else:
        stored = FaceEmbedding.embedding if of.other else Face.embedding
        distance = stored.max_inner_product(searched).label("distance")
        near = select(Face.id, distance).where(Face.collection_id == collection.id)
        if of.other:
            near = near.join(FaceEmbedding, FaceEmbedding.face_id == Face.id)
    found = near.order_by(distance).limit(limit).subquery("found")
    rows = session.execute(
        select(Face.id, Face.person_id, found.c.distance)
        .join(found, found.c.id == Face.id)
        .order_by(found.c.distance, Face.id),
        {"searched": embedding},
        execution_options={"local_settings": settings},
    ).all()
    return [Match(row.id, row.person_id) for row in rows if -row.distance >= pack.threshold]


def look_again(session: Session) -> None:
    """Have those photos looked at again whose original was gone, or that the other pack could not use."""
    session.execute(delete(ReembeddingPhoto).where(ReembeddingPhoto.outcome != LookOutcome.DONE))


def to_move(session: Session, way: Way) -> list[tuple[int, str]]:
    """Ids and names of the collections that are not moved."""
    query = select(Collection.id, Collection.name).where(Collection.contract_id == way.source.contract)
    return [(row.id, row.name) for row in session.execute(query.order_by(Collection.name))]


def progress(session: Session, way: Way) -> Progress:
    """How far it is."""
    outcomes = dict(
        session.execute(
            select(ReembeddingPhoto.outcome, func.count())
            .join(Photo, Photo.id == ReembeddingPhoto.photo_id)
            .where(*_of_source(way))
            .group_by(ReembeddingPhoto.outcome)
        ).all()
    )
    left = count_waiting(session, way)
    lost = session.execute(
        select(ReembeddingPhoto.outcome, ReembeddingPhoto.photo_id)
        .join(Photo, Photo.id == ReembeddingPhoto.photo_id)
        .where(*_of_source(way), ReembeddingPhoto.outcome != LookOutcome.DONE)
        .order_by(ReembeddingPhoto.photo_id)
    ).all()
    more = (
        select(func.coalesce(func.sum(ReembeddingPhoto.more_faces), 0))
        .join(Photo, Photo.id == ReembeddingPhoto.photo_id)
        .where(*_of_source(way))
    )
    mine = Face.collection_id.in_(select(Collection.id).where(Collection.contract_id == way.source.contract))
    has_both = exists().where(FaceEmbedding.face_id == Face.id)
    counted = session.execute(
        select(func.count().label("faces"), func.count().filter(has_both).label("embedded")).where(mine)
    ).one()
    named = session.scalars(
        select(Face.photo_id)
        .join(ReembeddingPhoto, ReembeddingPhoto.photo_id == Face.photo_id)
        .where(
            mine, Face.person_id.is_not(None), ~has_both, ReembeddingPhoto.outcome == LookOutcome.DONE
        )
        .distinct()
        .order_by(Face.photo_id)
    ).all()  # fmt: skip
    moved = session.scalars(
        select(Collection.name)
        .where(
            Collection.contract_id == way.target.contract,
            Collection.other_contract_id == way.source.contract,
        )
        .order_by(Collection.name)
    ).all()
    return Progress(
        [name for _, name in to_move(session, way)], moved,
        sum(outcomes.values()) + left, left, counted.faces, counted.embedded, int(session.scalar(more) or 0),
        left_behind(session, way),
        {
            outcome.value: [row.photo_id for row in lost if row.outcome == outcome]
            for outcome in LookOutcome
            if outcome != LookOutcome.DONE
        },
        [each for each in named if each is not None],
    )  # fmt: skip


def left_behind(session: Session, way: Way, collection_id: int | None = None) -> Left:
    """Faces of the collections that are to be moved, or of one of them, that have no embedding to move to."""
    why = case((Face.photo_id.is_(None), "embeddings"), else_=ReembeddingPhoto.outcome)
    mine = select(Collection.id).where(Collection.contract_id == way.source.contract)
    query = (
        select(why.label("why"), func.count().label("faces"))
        .select_from(Face)
        .outerjoin(ReembeddingPhoto, ReembeddingPhoto.photo_id == Face.photo_id)
        .where(
            Face.collection_id.in_(mine) if collection_id is None else Face.collection_id == collection_id,
            ~exists().where(FaceEmbedding.face_id == Face.id),
        )
        .group_by(why)
    )
    counts = {row.why: row.faces for row in session.execute(query)}
    return Left(
        counts.get("done", 0), counts.get("missing", 0), counts.get("damaged", 0), counts.get("refused", 0),
        counts.get("embeddings", 0),
    )  # fmt: skip


def twins(session: Session, collection_id: int, most: int) -> Twins:
    """At most `most` faces of the collection that have both embeddings; ids are random, so the choice is."""
    rows = session.execute(
        select(
            Face.photo_id, Face.person_id, Face.embedding.label("own"), FaceEmbedding.embedding.label("other")
        )
        .join(FaceEmbedding, FaceEmbedding.face_id == Face.id)
        .where(Face.collection_id == collection_id)
        .order_by(Face.id)
        .limit(most)
    ).all()
    return Twins(
        [row.photo_id for row in rows], [row.person_id for row in rows],
        _matrix([row.own for row in rows]), _matrix([row.other for row in rows]),
    )  # fmt: skip


def _matrix(stored: Sequence[Any]) -> Embedding:
    rows = [np.asarray(each.to_numpy() if hasattr(each, "to_numpy") else each, np.float32) for each in stored]
    if not rows:
        return np.zeros((0, 1), np.float32)
    numbers = np.stack(rows)
    lengths = np.linalg.norm(numbers, axis=1, keepdims=True)
    return np.asarray(numbers / np.where(lengths > 0, lengths, 1), np.float32)


# A face without an embedding to move to gets zeros, which are like nobody; zeros are not kept to move back.
_EXCHANGE = text("""
WITH before AS (
  SELECT faces.id, faces.embedding AS was, other.embedding AS will, l2_norm(faces.embedding) > 0 AS is_one
  FROM faces LEFT JOIN face_embeddings AS other ON other.face_id = faces.id
  WHERE faces.collection_id = :in_collection
), put AS (
  UPDATE faces SET embedding = coalesce(before.will, CAST(:zeros AS halfvec))
  FROM before WHERE faces.id = before.id
), kept AS (
  INSERT INTO face_embeddings (face_id, embedding) SELECT id, was FROM before WHERE is_one
  ON CONFLICT (face_id) DO UPDATE SET embedding = excluded.embedding
)
DELETE FROM face_embeddings USING before WHERE face_embeddings.face_id = before.id AND NOT before.is_one
""")
# For the triggers that keep the tables of vectors (migration 0023), in this transaction.
_TABLES_STAY = text("SELECT set_config('face.exchange', 'on', true)")
_TABLES_FOLLOW = text("SELECT set_config('face.exchange', 'off', true)")
# In one order, after photos and before the collection, as every transaction locks them.
_HOLD_FACES = text("""
SELECT count(*) FROM (
  SELECT id FROM faces WHERE collection_id = :in_collection ORDER BY id FOR NO KEY UPDATE
) AS held
""")


def switch(session: Session, way: Way, collection_id: int, allowed: int, by: Actor) -> int:
    """Exchange the embeddings of the collection's faces for those of the other pack, and bind it to that.

    Returns how many faces are left behind; raises Conflict where they are more than `allowed`, NotYet. By
    whoever keeps others from building indexes. Where there was an index of what the other pack made, searches
    use it from now on; else they are exact until one is built.
    """
    session.execute(_HOLD_FACES, {"in_collection": collection_id})
    # FOR UPDATE: whoever writes faces holds the collection, so that none of the former pack comes in after.
    collection = session.scalar(
        select(Collection)
        .where(Collection.id == collection_id, Collection.contract_id == way.source.contract)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if collection is None:
        # Erased meanwhile.
        return 0
    late = session.scalar(
        select(func.count())
        .select_from(Photo)
        .where(Photo.collection_id == collection_id, Photo.state == State.DONE, ~_looked_at())
    )
    if late:
        raise NotYet(
            f"photos of the collection {collection.name!r} come in more quickly than they are looked at; end "
            "the workers (`face-workers stop`), which loses none, and switch again"
        )
    left = left_behind(session, way, collection_id).all
    if left > allowed:
        raise too_many(left, allowed)
    session.execute(
        update(Collection)
        .where(Collection.id == collection_id)
        .values(
            contract_id=way.target.contract, other_contract_id=way.source.contract,
            dimension=way.target.dimension, version=Collection.version + 1,
            # Where a table is kept at all.
            vectors_turned=Collection.vectors_turned
            != or_(Collection.vectors_kept, Collection.other_vectors_kept),
            vectors_kept=Collection.other_vectors_kept, other_vectors_kept=Collection.vectors_kept,
            index_ready=Collection.other_index_ready, other_index_ready=Collection.index_ready,
            index_ef=None, index_found=None, index_faces=None, index_measured_at=None,
        )
        .execution_options(synchronize_session=False)
    )  # fmt: skip
    zeros = "[" + ",".join(["0"] * way.target.dimension) + "]"
    session.execute(_TABLES_STAY)
    session.execute(_EXCHANGE, {"in_collection": collection_id, "zeros": zeros})
    session.execute(_TABLES_FOLLOW)
    compatible.say(session.connection())
    audit.write(
        session, by, "reembedding.switch", collection=collection.name,
        details={"contract": way.target.contract, "faces": collection.face_count, "left_behind": left},
    )  # fmt: skip
    return left


def too_many(left: int, allowed: int) -> Conflict:
    return Conflict(
        f"{left} faces have no embedding of the other pack, and nobody would find them ({allowed} may be "
        "left behind); `face-pipeline reembed status` says which. They keep their persons and pictures, and "
        f"`reembed back` brings them back: where that will do, add --leave-behind {left}"
    )


def turn(session: Session, by: Actor) -> Way:
    """Turn the way round; raises Conflict where nothing was moved yet."""
    way = find(session)
    moved = select(func.count()).select_from(Collection).where(Collection.contract_id == way.target.contract)
    if not session.scalar(moved):
        raise Conflict("no collection was switched, so that there is no way back; `reembed end` gives it up")
    back = Way(way.target, way.source)
    session.execute(update(Reembedding).values(**_columns(back), looked_at=func.now(), **_no_shadows()))
    mark(session, back)
    _tell(session, by, "back", back)
    return back


def end(session: Session, by: Actor) -> None:
    """Forget the other embeddings, and that collections were moved."""
    way = find(session)
    session.execute(
        update(Collection).values(other_contract_id=None).execution_options(synchronize_session=False)
    )
    _tell(session, by, "end", way)
    indexes.forget_other(session)
    # Their room is free at once.
    session.execute(text("TRUNCATE face_embeddings, reembedding_photos, reembeddings"))


def without_embedding(session: Session, way: Way) -> int:
    """Faces of moved collections that have no embedding of the pack that they were moved to."""
    moved = select(Collection.id).where(
        Collection.contract_id == way.target.contract, Collection.other_contract_id == way.source.contract
    )
    query = select(func.count()).select_from(Face)
    query = query.where(Face.collection_id.in_(moved), func.l2_norm(Face.embedding) == 0)
    return session.scalar(query) or 0
