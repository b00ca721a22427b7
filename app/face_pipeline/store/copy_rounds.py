"""Which hosts keep copies of the originals, and how far each is compared with the ledger (ops/copies.py)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from face_pipeline.store.models import CopyRound, Photo

# The first of two numbers of PostgreSQL's advisory locks; the second is of the host that is compared.
TURNS = 0x636F7079
# A round goes through the first two digits of names.
PREFIXES = tuple(f"{number:02x}" for number in range(256))


def only(session: Session, hosts: Collection[str]) -> Sequence[CopyRound]:
    """A row for each of these hosts, by name; those of others go."""
    session.execute(delete(CopyRound).where(CopyRound.host.not_in(hosts)))
    for host in hosts:
        session.execute(insert(CopyRound).values(host=host).on_conflict_do_nothing())
    return every(session)


def of(session: Session, host: str) -> CopyRound:
    return session.scalars(select(CopyRound).where(CopyRound.host == host)).one()


def every(session: Session) -> Sequence[CopyRound]:
    return session.scalars(select(CopyRound).order_by(CopyRound.host)).all()


def begin(session: Session, host: str) -> None:
    session.execute(_of(host).values(place=0, found=0, lacking=0))


def went_on(session: Session, host: str, *, found: int, lacking: int) -> None:
    """One more prefix was compared: of its originals `found` have a copy there now, `lacking` have none."""
    session.execute(
        _of(host).values(
            place=CopyRound.place + 1, found=CopyRound.found + found, lacking=CopyRound.lacking + lacking,
            away_since=None,
        )
    )  # fmt: skip


def end(session: Session, host: str) -> None:
    session.execute(
        _of(host).values(place=0, held=CopyRound.found, missing=CopyRound.lacking, ended_at=func.now())
    )


def answers(session: Session, host: str) -> None:
    session.execute(_of(host).values(away_since=None))


def is_away(session: Session, host: str) -> None:
    session.execute(_of(host).values(away_since=func.coalesce(CopyRound.away_since, func.now())))


def names(session: Session, prefix: str) -> set[str]:
    """The originals whose names begin with `prefix`, that there should be."""
    query = select(Photo.sha256).where(
        Photo.sha256 >= prefix, Photo.sha256 < prefix + "g", Photo.original_removed_at.is_(None)
    )
    return set(session.scalars(query))


def turn(host: str) -> tuple[int, Any]:
    """The lock of whoever compares that host, for one web host does at a time."""
    return TURNS, func.hashtext(host)


def _of(host: str) -> Any:
    return update(CopyRound).where(CopyRound.host == host).execution_options(synchronize_session=False)
