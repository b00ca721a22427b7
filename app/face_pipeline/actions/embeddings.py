"""Embeddings that go out and come in: for operators who move faces between systems."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from face_pipeline.engine import Pack, contract_id
from face_pipeline.errors import BadRequest, Conflict
from face_pipeline.parts import Parts
from face_pipeline.store import collections, embeddings
from face_pipeline.store.audit import Actor

# An embedding in half precision is less than this away from the norm 1; one that nobody normalised is more.
NORM_TOLERANCE = 1e-3


def check(pack: Pack, contract: str, given: Sequence[Sequence[float]]) -> npt.NDArray[np.float32]:
    """Embeddings as the installed pack makes them: float32, shape (number, dimension), L2 norm 1.

    Raises Conflict where they are of another contract, BadRequest with the place of the first that has
    another length, an invalid number, or another norm.
    """
    check_contract(pack, contract)
    for place, numbers in enumerate(given):
        if len(numbers) != pack.dimension:
            raise _wrong(f"has {len(numbers)} numbers; those of {contract} have {pack.dimension}", place)
    rows = np.array(given, np.float64)
    with np.errstate(over="ignore"):
        norms = np.linalg.norm(rows, axis=1)
    # Also true of what is not a number.
    if len(wrong := np.flatnonzero(~(np.abs(norms - 1) <= NORM_TOLERANCE))):
        place = int(wrong[0])
        raise _wrong(
            f"has the L2 norm {norms[place]:.6g}; divide it by that: the norm has to be 1, "
            f"give or take {NORM_TOLERANCE}",
            place,
        )
    return np.asarray(rows / norms[:, None], np.float32)


def check_contract(pack: Pack, contract: str) -> None:
    """Raises Conflict unless embeddings of `contract` are comparable with those of the installed pack."""
    if contract != contract_id(pack):
        raise Conflict(
            f"these embeddings are of {contract[:100]!r}, this installation makes {contract_id(pack)}; "
            "embeddings of two contracts cannot be compared",
            code="contract_mismatch",
            details={"installed": contract_id(pack)},
        )


def _wrong(what: str, place: int) -> BadRequest:
    return BadRequest(
        f"the embedding at place {place} {what}", code="embedding_invalid", details={"place": place}
    )


def read(parts: Parts, face_id: uuid.UUID, *, by: Actor) -> embeddings.StoredFace:
    """The embedding of a face. NotFound where there is none that they reach."""
    return parts.database.in_transaction(lambda session: embeddings.read(session, face_id, by))


def export(
    parts: Parts, collection: str, *, limit: int, after: uuid.UUID | None, by: Actor
) -> embeddings.Page:
    """At most `limit` embeddings of a collection, also of one that another model pack made.

    Raises Forbidden for a collection that they do not reach, NotFound where there is none.
    """
    by.check_reaches(collections.check_name(collection))
    return parts.database.in_transaction(
        lambda session: embeddings.page(session, collection, limit=limit, after=after, by=by)
    )


def add(
    parts: Parts, person_id: uuid.UUID, *, contract: str, given: Sequence[Sequence[float]], by: Actor
) -> list[uuid.UUID]:
    """Give a person faces that were made elsewhere, all or none; returns the ids of the faces.

    Raises NotFound where there is no such person that they reach, Conflict where their collection is of
    another model pack, and what `check` raises.
    """
    checked = list(check(parts.pack, contract, given))
    return parts.database.in_transaction(
        lambda session: embeddings.add(session, person_id, parts.pack, checked, by)
    )
