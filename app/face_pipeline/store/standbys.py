"""Hosts that follow the database, as it sees them. Any role may ask: their slots are no secret."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

# Of a slot's name; the rest is its host's, with _ for what no slot's name may have.
PREFIX = "face_standby_"
SLOTS = text(
    "SELECT slot_name, active, coalesce(wal_status, '') AS kept,"
    " pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint AS behind"
    " FROM pg_replication_slots WHERE slot_name = ANY (:slots)"
)
# What the host that answers is called itself (roles/postgres, face.conf).
OWN = text("SELECT coalesce(current_setting('face.member', true), '')")


@dataclass(frozen=True)
class Standby:
    """`behind`: bytes of the log that it does not have on its disk; None where nobody knows.

    `lost`: the database no longer has what it missed; it has to be made anew.
    """

    name: str
    follows: bool
    behind: int | None
    lost: bool


def every(session: Session, slots: Collection[str]) -> list[Standby]:
    """One for each of `slots`, by name, also where the database knows nothing of it."""
    rows = {each.slot_name: each for each in session.execute(SLOTS, {"slots": list(slots)})}
    return [
        _standby(slot, *(rows[slot][1:] if slot in rows else (False, "", None))) for slot in sorted(slots)
    ]


def of_members(session: Session, slots: Collection[str]) -> tuple[str, list[Standby]]:
    """Of hosts that choose by themselves who leads, the one that does, and the others."""
    own: str = session.execute(OWN).scalar_one()
    return own, every(session, [slot for slot in slots if slot != own])


def _standby(slot: str, follows: bool, kept: str, behind: int | None) -> Standby:
    return Standby(slot.removeprefix(PREFIX), follows, behind, kept == "lost")
