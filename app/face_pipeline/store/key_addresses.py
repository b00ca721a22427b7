"""From where each key is used: a key that turns up somewhere else may have been taken.

Networks and not addresses: a provider gives its customers others of the same network from day to day.
"""

from __future__ import annotations

import ipaddress
import uuid
from datetime import timedelta

from sqlalchemy import delete, func, literal_column, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from face_pipeline.store import audit
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import KeyAddress

IPV4_PREFIX, IPV6_PREFIX = 24, 64
# Of one key: who goes on from one to the next makes no more rows than these.
KEPT_MOST = 100
FORGOTTEN_AFTER = timedelta(days=90)
# For how long a network counts as new.
NEW_FOR = timedelta(hours=1)


def network(address: str | None) -> str | None:
    """The network of an address, as text; None for what is no address."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is None:
            return str(ipaddress.ip_network((int(found), IPV6_PREFIX), strict=False))
        found = found.ipv4_mapped
    return str(ipaddress.ip_network((int(found), IPV4_PREFIX), strict=False))


def note(session: Session, key_id: uuid.UUID, used_from: str, *, by: Actor) -> bool:
    """That the key was used from this network now; says whether that is new for it, and tells the audit.

    The first network of a key is not new, but where it is used.
    """
    own = KeyAddress.key_id == key_id
    before = session.scalars(
        select(KeyAddress.network).where(own).order_by(KeyAddress.last_used_at.desc(), KeyAddress.network)
    ).all()
    is_new = bool(before) and used_from not in before
    added = session.scalar(
        insert(KeyAddress)
        .values(key_id=key_id, network=used_from, is_new=is_new)
        .on_conflict_do_update(index_elements=["key_id", "network"], set_={"last_used_at": func.now()})
        # Another web process may have added it a moment ago, and told of it.
        .returning(literal_column("xmax = 0"))
    )
    is_new = is_new and bool(added)
    too_many = [each for each in before if each != used_from][KEPT_MOST - 1 :]
    if too_many:
        session.execute(delete(KeyAddress).where(own, KeyAddress.network.in_(too_many)))
    if is_new:
        audit.write(session, by, "key.new_address", subject=key_id)
    return is_new


def new(session: Session) -> int:
    """How many networks are new: of all keys, within NEW_FOR."""
    since = func.now() - NEW_FOR
    query = select(func.count()).where(KeyAddress.is_new, KeyAddress.first_used_at > since)
    return session.scalar(query) or 0


def forget(session: Session) -> None:
    """Remove the networks from which a key was not used for FORGOTTEN_AFTER."""
    session.execute(delete(KeyAddress).where(KeyAddress.last_used_at < func.now() - FORGOTTEN_AFTER))
