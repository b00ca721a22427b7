"""Collections: made on first use, bound to the engine contract they were made under."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from face_pipeline.engine import Pack, contract_id
from face_pipeline.errors import BadRequest, Conflict, NotFound
from face_pipeline.store.models import Collection

DEFAULT_COLLECTION = "default"
NAME_PATTERN = re.compile(r"[a-z0-9_][a-z0-9_-]{0,63}")


# Asked with every upload and every search.
_BY_NAME = select(Collection).where(Collection.name == bindparam("wanted_name"))


def check_name(name: str) -> str:
    if not NAME_PATTERN.fullmatch(name):
        raise BadRequest(
            "collection names have 1 to 64 lower-case letters, digits, '_' or '-'", code="collection_name"
        )
    return name


def open_collection(session: Session, name: str, pack: Pack) -> Collection:
    """The collection `name`, made now if there is none; Conflict when another engine made its embeddings."""
    row = {"name": check_name(name), "contract_id": contract_id(pack), "dimension": pack.dimension}
    session.execute(insert(Collection).values(row).on_conflict_do_nothing(index_elements=["name"]))
    return find_collection(session, name, pack)


def find_collection(session: Session, name: str, pack: Pack) -> Collection:
    """The collection `name`; NotFound when there is none, Conflict on another contract."""
    collection = session.scalar(_BY_NAME, {"wanted_name": check_name(name)})
    if collection is None:
        raise NotFound(f"there is no collection {name!r}", code="collection_not_found")
    if collection.contract_id != contract_id(pack):
        raise Conflict(
            f"collection {name!r} holds embeddings of {collection.contract_id}, this installation makes "
            f"{contract_id(pack)}; use another collection or install the pack it was made with",
            code="contract_mismatch",
            details={"collection": collection.contract_id, "installed": contract_id(pack)},
        )
    return collection


def exists(session: Session, name: str) -> bool:
    return session.scalar(select(Collection.id).where(Collection.name == name)) is not None


def hold(session: Session, collection: Collection) -> None:
    """Keep others from deleting the collection until this transaction ends; NotFound when one did."""
    held = select(Collection.id).where(Collection.id == collection.id)
    if session.scalar(held.with_for_update(read=True, key_share=True)) is None:
        raise NotFound(f"the collection {collection.name!r} was deleted", code="collection_not_found")


def version(session: Session, collection: Collection) -> int | None:
    """Its version by now, whatever this session has read before; None: it is gone."""
    return session.scalar(select(Collection.version).where(Collection.id == collection.id))


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
