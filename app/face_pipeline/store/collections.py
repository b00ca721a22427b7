"""Collections: made on first use, bound to the engine contract they were made under."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from face_pipeline.engine import Pack, contract_id
from face_pipeline.errors import BadRequest, Conflict, NotFound, Unavailable
from face_pipeline.store import audit
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import Collection, Face, Person, Photo, State
from face_pipeline.store.prepared import Prepared

DEFAULT_COLLECTION = "default"
NAME_PATTERN = re.compile(r"[a-z0-9_][a-z0-9_-]{0,63}")


# Asked with every upload and every search.
_BY_NAME = select(Collection).where(Collection.name == bindparam("wanted_name"))
_HOLD = Prepared(
    select(Collection.contract_id)
    .where(Collection.id == bindparam("held_id"))
    .with_for_update(read=True, key_share=True)
)


def check_name(name: str) -> str:
    if not NAME_PATTERN.fullmatch(name):
        raise BadRequest(
            "collection names have 1 to 64 lower-case letters, digits, '_' or '-'", code="collection_name"
        )
    return name


def open_collection(session: Session, name: str, pack: Pack) -> Collection:
    """The collection `name`, made now if there is none; Conflict when another engine made its embeddings."""
    collection = session.scalar(_BY_NAME, {"wanted_name": check_name(name)})
    if collection is None:
        row = {"name": name, "contract_id": contract_id(pack), "dimension": pack.dimension}
        session.execute(insert(Collection).values(row).on_conflict_do_nothing(index_elements=["name"]))
        return find_collection(session, name, pack)
    check_contract(collection, pack)
    return collection


def find_collection(session: Session, name: str, pack: Pack) -> Collection:
    """The collection `name`; NotFound when there is none, Conflict on another contract."""
    collection = session.scalar(_BY_NAME, {"wanted_name": check_name(name)})
    if collection is None:
        raise NotFound(f"there is no collection {name!r}", code="collection_not_found")
    check_contract(collection, pack)
    return collection


def check_contract(collection: Collection, pack: Pack) -> None:
    """Raises Conflict where the collection's embeddings are not those that `pack` makes, Unavailable where
    they were, or will be: it is moved from one pack to another (reembedding.py)."""
    if collection.contract_id != contract_id(pack) == collection.other_contract_id:
        raise Unavailable(
            f"collection {collection.name!r} is being moved to another model pack: it holds embeddings of "
            f"{collection.contract_id}, this process makes {contract_id(pack)}; send it again later",
            code="pack_changing",
        )
    if collection.contract_id != contract_id(pack):
        raise Conflict(
            f"collection {collection.name!r} holds embeddings of {collection.contract_id}, this installation "
            f"makes {contract_id(pack)}; use another collection or install the pack it was made with",
            code="contract_mismatch",
            details={"collection": collection.contract_id, "installed": contract_id(pack)},
        )


def are_moved_between(session: Session, one: str, other: str) -> bool:
    """Whether collections are moved from one of the contracts to the other, whichever they have by now."""
    there = Collection.contract_id.in_((one, other)) & Collection.other_contract_id.in_((one, other))
    return session.scalar(select(Collection.id).where(there).limit(1)) is not None


def create(session: Session, name: str, pack: Pack, by: Actor) -> Collection:
    """A new, empty collection; Conflict when there is one of this name."""
    row = {"name": check_name(name), "contract_id": contract_id(pack), "dimension": pack.dimension}
    made: Collection | None = session.scalar(
        insert(Collection).values(row).on_conflict_do_nothing(index_elements=["name"]).returning(Collection)
    )
    if made is None:
        # Of another engine contract: that says more.
        find_collection(session, name, pack)
        raise Conflict(f"there is a collection {name!r} already; use it", code="collection_exists")
    audit.write(session, by, "collection.create", collection=name, subject=name)
    return made


def by_name(session: Session, name: str) -> Collection:
    """The collection `name`, whatever engine made its embeddings; NotFound when there is none."""
    collection = session.scalar(_BY_NAME, {"wanted_name": name})
    if collection is None:
        raise NotFound(f"there is no collection {name!r}", code="collection_not_found")
    return collection


def exists(session: Session, name: str) -> bool:
    return session.scalar(select(Collection.id).where(Collection.name == name)) is not None


def make_default(session: Session, name: str, pack: Pack) -> None:
    """Make the collection where it is the one that is there from the start, as far as anybody can tell."""
    if name == DEFAULT_COLLECTION and not exists(session, name):
        open_collection(session, name, pack)


def hold(session: Session, collection: Collection) -> None:
    """Keep others from deleting the collection, or moving it to another model pack, until this transaction
    ends; NotFound when one deleted it, Unavailable when one moved it since it was read."""
    contracts = _HOLD.execute(session.connection(), {"held_id": collection.id})
    if not contracts:
        raise NotFound(f"the collection {collection.name!r} was deleted", code="collection_not_found")
    if contracts != [(collection.contract_id,)]:
        raise Unavailable(
            f"collection {collection.name!r} was moved to another model pack just now; send it again later",
            code="pack_changing",
        )


def renew(session: Session, collection_id: int) -> None:
    """Give the collection a version that no cached answer carries: its faces or their names have changed.

    Its row stays locked until the commit; this is the last that a transaction does.
    """
    session.execute(
        update(Collection)
        .where(Collection.id == collection_id)
        .values(version=Collection.version + 1)
        .execution_options(synchronize_session=False)
    )


def page(
    session: Session, names: Iterable[str] | None, *, limit: int, after: str | None
) -> tuple[list[tuple[Collection, int]], str | None]:
    """At most `limit` collections behind the name `after`, each with its number of persons.

    With the name behind which the next page is, if there is one. `names`: of these alone, None: of all.
    """
    count_persons = select(func.count()).where(Person.collection_id == Collection.id)
    query = (
        select(Collection, count_persons.correlate(Collection).scalar_subquery())
        .order_by(Collection.name)
        .limit(limit + 1)
    )
    if names is not None:
        query = query.where(Collection.name.in_(names))
    if after is not None:
        query = query.where(Collection.name > after)
    rows = [(collection, count) for collection, count in session.execute(query).all()]
    return rows[:limit], rows[limit - 1][0].name if len(rows) > limit else None


@dataclass(frozen=True)
class Counts:
    """What a collection holds. `photos`: how many are in each state; a face is unknown that is nobody's."""

    photos: dict[State, int]
    persons: int
    unknown_faces: int


def counts(session: Session, collection: Collection) -> Counts:
    states = session.execute(
        select(Photo.state, func.count()).where(Photo.collection_id == collection.id).group_by(Photo.state)
    ).all()
    persons = select(func.count()).where(Person.collection_id == collection.id).scalar_subquery()
    # Known faces by their index, which knows no collection; unknown ones would be read one by one.
    known = (
        select(func.count())
        .select_from(Face)
        .join(Person, Person.id == Face.person_id)
        .where(Person.collection_id == collection.id)
        .scalar_subquery()
    )
    row = session.execute(
        select(persons.label("persons"), (Collection.face_count - known).label("unknown")).where(
            Collection.id == collection.id
        )
    ).one()
    return Counts(dict.fromkeys(State, 0) | {each[0]: each[1] for each in states}, row.persons, row.unknown)


def versions(session: Session, collections: Iterable[Collection]) -> dict[int, tuple[int, str]]:
    """By id, version and contract by now, whatever this session has read; without those gone."""
    asked = select(Collection.id, Collection.version, Collection.contract_id).where(
        Collection.id.in_([each.id for each in collections])
    )
    return {row.id: (row.version, row.contract_id) for row in session.execute(asked)}


def forget_incomparable(session: Session, name: str, pack: Pack) -> None:
    """Delete the collection `name`, and all that is in it, where another engine than `pack`'s made it."""
    session.execute(
        delete(Collection).where(Collection.name == name, Collection.contract_id != contract_id(pack))
    )


def count(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(Collection)) or 0


def of_other_contracts(session: Session, contract: str) -> Sequence[str]:
    """Names of the collections that this contract's embeddings cannot be compared with."""
    return session.scalars(select(Collection.name).where(Collection.contract_id != contract)).all()
