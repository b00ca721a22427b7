"""A key that is used from somewhere else is told of: once, and with where it was."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from face_pipeline.ops import indexer
from face_pipeline.parts import Parts
from face_pipeline.store import key_addresses
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import ActorKind, KeyAddress
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from tests.app import stock
from tests.app.test_keys_api import by, make
from tests.installation import App, wait_until

AT_WORK, ELSEWHERE = "192.0.2.7", "198.51.100.9"


def use(app: App, key: dict[str, Any], address: str) -> None:
    answer = app.get("/api/v1/photos", headers={**by(key), "X-Real-IP": address})
    assert answer.status_code == 200, answer.text


def told(parts: Parts, key: dict[str, Any]) -> list[str]:
    """Addresses of the key's entries."""
    query = text("SELECT address FROM audit WHERE action = 'key.new_address' AND subject = :key ORDER BY id")
    with parts.database.transaction() as session:
        return list(session.scalars(query, {"key": key["id"]}))


def networks(parts: Parts, key: dict[str, Any]) -> list[str]:
    with parts.database.transaction() as session:
        query = select(KeyAddress.network).where(KeyAddress.key_id == uuid.UUID(key["id"]))
        return sorted(session.scalars(query))


def new_now(app: App) -> float:
    for line in app.get("/metrics").text.splitlines():
        if line.startswith("face_recognition_key_new_addresses "):
            return float(line.split()[1])
    raise AssertionError("no such metric")


def test_a_key_that_turns_up_elsewhere_is_told_of_once(web_app: App, parts: Parts) -> None:
    before = new_now(web_app)
    key = make(web_app, scopes=["read"])
    use(web_app, key, AT_WORK)
    wait_until(lambda: networks(parts, key) == ["192.0.2.0/24"], 10, "where it is used")
    # Another one of the same office.
    use(web_app, key, "192.0.2.200")
    assert told(parts, key) == []
    assert new_now(web_app) == before
    for _ in range(3):
        use(web_app, key, ELSEWHERE)
    wait_until(lambda: told(parts, key) == [ELSEWHERE], 10, "the entry")
    assert new_now(web_app) == before + 1
    use(web_app, key, AT_WORK)
    use(web_app, key, "2001:db8:1:2:3::4")
    wait_until(lambda: len(told(parts, key)) == 2, 10, "the entry of the third")
    assert networks(parts, key) == ["192.0.2.0/24", "198.51.100.0/24", "2001:db8:1:2::/64"]
    # An hour later.
    with parts.database.transaction() as session:
        session.execute(update(KeyAddress).values(first_used_at=func.now() - timedelta(minutes=61)))
    assert new_now(web_app) == 0


def test_of_a_key_that_goes_around_the_last_networks_are_kept(web_app: App, parts: Parts) -> None:
    key = make(web_app, scopes=["read"])
    actor = Actor(ActorKind.KEY, key["name"], uuid.UUID(key["id"]), AT_WORK)

    def note(network: str) -> bool:
        return parts.database.in_transaction(
            lambda session: key_addresses.note(session, uuid.UUID(key["id"]), network, by=actor)
        )

    assert [note(f"10.0.{number}.0/24") for number in range(103)] == [False] + [True] * 102
    kept = networks(parts, key)
    assert len(kept) == key_addresses.KEPT_MOST
    assert "10.0.102.0/24" in kept
    assert "10.0.0.0/24" not in kept


def test_two_web_processes_at_once_tell_of_a_network_once(web_app: App, parts: Parts) -> None:
    key = make(web_app, scopes=["read"])
    actor = Actor(ActorKind.KEY, key["name"], uuid.UUID(key["id"]), ELSEWHERE)

    def note(session: Session) -> bool:
        return key_addresses.note(session, uuid.UUID(key["id"]), "198.51.100.0/24", by=actor)

    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    use(web_app, key, AT_WORK)
    wait_until(lambda: networks(parts, key) == ["192.0.2.0/24"], 10, "where it is used")
    with ThreadPoolExecutor(1) as pool, parts.database.transaction() as first:
        assert note(first)
        second = pool.submit(parts.database.in_transaction, note)
        with parts.database.reading() as looking:
            wait_until(lambda: looking.scalar(waiting), 10, "the second to wait for the first")
        first.commit()
        assert not second.result(60)
    assert told(parts, key) == [ELSEWHERE]


def test_what_was_not_used_for_long_is_forgotten(web_app: App, parts: Parts) -> None:
    key = make(web_app, scopes=["read"])
    for address in (AT_WORK, ELSEWHERE):
        use(web_app, key, address)
    wait_until(lambda: len(networks(parts, key)) == 2, 10, "both")
    with parts.database.transaction() as session:
        session.execute(
            update(KeyAddress)
            .where(KeyAddress.network == "192.0.2.0/24", KeyAddress.key_id == uuid.UUID(key["id"]))
            .values(last_used_at=func.now() - timedelta(days=91))
        )
    indexer.forget_addresses(parts)
    assert networks(parts, key) == ["198.51.100.0/24"]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.1.2.3", "10.1.2.0/24"), ("::ffff:10.1.2.3", "10.1.2.0/24"), ("2001:db8::1", "2001:db8::/64"),
        ("", None), (None, None), ("unix:", None),
    ],
)  # fmt: skip
def test_an_address_is_of_one_network(address: str | None, network: str | None) -> None:
    assert key_addresses.network(address) == network


def test_where_the_audit_takes_no_entry_it_is_told_later(web_app: App, parts: Parts) -> None:
    from face_pipeline.errors import AuditUnavailable

    from tests.app.test_audited import without_audit

    key = make(web_app, scopes=["read"])
    actor = Actor(ActorKind.KEY, key["name"], uuid.UUID(key["id"]), ELSEWHERE)

    def note(network: str) -> bool:
        return parts.database.in_transaction(
            lambda session: key_addresses.note(session, uuid.UUID(key["id"]), network, by=actor)
        )

    note("192.0.2.0/24")
    with without_audit(parts), pytest.raises(AuditUnavailable):
        note("198.51.100.0/24")
    assert networks(parts, key) == ["192.0.2.0/24"]
    assert note("198.51.100.0/24")
    assert stock.audit(parts, "key.new_address")[-1]["subject"] == key["id"]
