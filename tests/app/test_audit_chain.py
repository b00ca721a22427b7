"""The audit's chain: whoever may do anything to the database cannot change what it tells unseen."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from face_pipeline.actions import chain, doctor
from face_pipeline.errors import BadRequest
from face_pipeline.ops import indexer, reconciler
from face_pipeline.parts import Parts
from face_pipeline.store import audit, schema
from face_pipeline.store import chain as stored
from face_pipeline.store.rights import Role
from face_pipeline.web import create_app
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.app.test_audited import without_audit
from tests.installation import Installation, as_role

ME = audit.SERVICE


def seal(parts: Parts) -> int:
    """As the reconciler does."""
    with as_role(parts, Role.UPKEEP) as upkeep:
        return chain.seal(upkeep)


@pytest.fixture(scope="module")
def database(installation: Installation) -> Iterator[Parts]:
    """A database of its own: what is done to its audit is nobody else's."""
    postgres, name = installation.postgres, f"audit_{uuid.uuid4().hex[:8]}"
    admin = {"host": postgres.host, "port": postgres.port, "user": postgres.admin_user,
             "password": postgres.admin_password}  # fmt: skip

    def administer(where: str, statement: str) -> None:
        connection = psycopg2.connect(dbname=where, **admin)
        connection.autocommit = True
        connection.cursor().execute(statement)
        connection.close()

    administer("postgres", f"CREATE DATABASE {name} OWNER face")
    administer(name, "CREATE EXTENSION vector")
    made = Parts(installation.parts.settings.model_copy(update={"database_name": name}))
    schema.migrate(made.database)
    yield made
    made.database.close()
    administer("postgres", f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def parts(database: Parts) -> Parts:
    """With an audit of nobody's."""
    force(database, "TRUNCATE audit, audit_seals, audit_unsealed, audit_checks")
    return database


def force(parts: Parts, *statements: str) -> None:
    """As somebody who owns the database: triggers keep them from nothing."""
    with parts.database.transaction() as session:
        for table in ("audit", "audit_seals"):
            session.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        for statement in statements:
            session.execute(text(statement))
        for table in ("audit", "audit_seals"):
            session.execute(text(f"ALTER TABLE {table} ENABLE TRIGGER USER"))


def write(parts: Parts, count: int = 1) -> None:
    for number in range(count):
        with parts.database.transaction() as session:
            audit.write(session, ME, "photo.look", subject=f"{number} ü", details={"b": 1.5, "a": None})


def ids(parts: Parts) -> list[int]:
    with parts.database.transaction() as session:
        return list(session.scalars(text("SELECT entry FROM audit_seals ORDER BY position")))


def fault(parts: Parts, **options: Any) -> str | None:
    return chain.verify(parts, **options, by=ME).fault


def test_entries_get_their_places_and_fit(parts: Parts) -> None:
    write(parts, 3)
    waiting = chain.verify(parts, by=ME)
    assert (waiting.entries, waiting.waiting, waiting.fault) == (0, 3, None)
    # With that of the check.
    assert seal(parts) == 4
    assert seal(parts) == 0
    assert ids(parts) == sorted(ids(parts))
    found = chain.verify(parts, by=ME)
    assert (found.entries, found.waiting, found.fault, found.newest.position) == (4, 0, None, 4)


def test_a_chain_longer_than_what_is_held_at_once_fits(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "ENTRIES_AT_ONCE", 3)
    write(parts, 10)
    assert seal(parts) == 10
    assert chain.verify(parts, by=ME).entries == 10
    force(parts, f"UPDATE audit SET outcome = 'failed' WHERE id = {ids(parts)[7]}")
    assert f"entry {ids(parts)[7]} at position 8 does not fit" in str(fault(parts))


def test_nobody_waits_for_another_or_for_the_sealer(parts: Parts) -> None:
    """An entry that is committed late gets its place late; its id says nothing about that."""
    begun, go_on = threading.Event(), threading.Event()

    def slowly() -> None:
        with parts.database.transaction() as session:
            audit.write(session, ME, "photo.add", subject="slow")
            begun.set()
            assert go_on.wait(60)

    other = threading.Thread(target=slowly)
    other.start()
    assert begun.wait(60)
    write(parts, 2)
    assert seal(parts) == 2
    go_on.set()
    other.join()
    write(parts)
    assert seal(parts) == 2
    first, second, slow, last = ids(parts)
    assert slow < first < second < last
    assert fault(parts) is None


def test_one_of_several_sealers_seals(parts: Parts) -> None:
    write(parts, 2)
    with parts.database.transaction() as session:
        session.execute(text(f"SELECT pg_advisory_xact_lock({stored.SEALING})"))
        assert seal(parts) == 0
    threads = [threading.Thread(target=seal, args=(parts,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seal(parts)
    assert len(ids(parts)) == 2
    assert fault(parts) is None


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE audit SET outcome = 'failed' WHERE id = {2}", "entry {2} at position 3 does not fit"),
        ("UPDATE audit SET at = at - interval '1 us' WHERE id = {2}", "entry {2} at position 3 does not"),
        ("UPDATE audit SET details = details || '{{\"a\": 1}}' WHERE id = {0}", "at position 1 does not"),
        ("UPDATE audit SET collection = '' WHERE id = {4}", "entry {4} at position 5 does not fit"),
        ("UPDATE audit_seals SET hash = sha256('x') WHERE position = 4", "at position 4 does not fit"),
        ("DELETE FROM audit WHERE id = {1}", "entry {1} at position 2 is missing"),
        ("DELETE FROM audit_seals WHERE position IN (2, 3)", "entries at the positions 2 to 3 are missing"),
        ("DELETE FROM audit WHERE id = {0}", "up to position 1 are missing, and none says"),
        (
            "DELETE FROM audit WHERE id <= {2}; DELETE FROM audit_seals WHERE position <= 2",
            "up to position 3 are missing, and none says",
        ),
        (
            "INSERT INTO audit (actor_kind, actor_name, action, outcome) VALUES ('key', 'x', 'x', 'done')",
            "was added past the chain",
        ),
        (
            "UPDATE audit_seals SET position = 0 WHERE position = 2;"
            "UPDATE audit_seals SET position = 2 WHERE position = 4;"
            "UPDATE audit_seals SET position = 4 WHERE position = 0",
            "entry {3} at position 2 does not fit",
        ),
        (
            "UPDATE audit_seals SET entry = 0 WHERE position = 2;"
            "UPDATE audit_seals SET entry = {1} WHERE position = 3;"
            "UPDATE audit_seals SET entry = {2} WHERE position = 2",
            "entry {2} at position 2 is not the one that was sealed there, which is entry {1}: their order",
        ),
    ],
)  # fmt: skip
def test_the_first_entry_that_does_not_fit_is_named(parts: Parts, statement: str, told: str) -> None:
    write(parts, 5)
    seal(parts)
    before = ids(parts)
    force(parts, statement.format(*before))
    found = fault(parts)
    assert found is not None
    assert told.format(*before) in found


def test_an_entry_that_was_removed_before_its_seal_is_named(parts: Parts) -> None:
    write(parts, 2)
    force(parts, "DELETE FROM audit WHERE id = (SELECT max(id) FROM audit)")
    seal(parts)
    assert "removed before it was sealed" in str(fault(parts))


def test_entries_that_nobody_seals_are_a_fault_after_a_minute(parts: Parts) -> None:
    write(parts, 2)
    force(parts, "UPDATE audit_unsealed SET since = now() - interval '59 seconds'")
    assert fault(parts) is None
    force(parts, "UPDATE audit_unsealed SET since = now() - interval '90 seconds'")
    assert "is face-reconciler.service running?" in str(fault(parts))


@pytest.mark.parametrize("table", ["audit", "audit_seals"])
def test_the_database_refuses_to_change_a_seal_or_an_entry(parts: Parts, table: str) -> None:
    write(parts)
    seal(parts)
    column = "hash" if table == "audit_seals" else "at"
    for statement in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}", f"TRUNCATE {table}"):
        with pytest.raises(DBAPIError, match="only ever added"), parts.database.transaction() as session:
            session.execute(text(statement))


def reach(parts: Parts) -> dict[int, str]:
    """An anchor of the place that the chain has reached."""
    with parts.database.transaction() as session:
        place = stored.newest(session)
    return {place.position: place.hash.hex()}


def test_a_chain_that_was_written_anew_does_not_fit_its_anchors(parts: Parts) -> None:
    write(parts, 3)
    seal(parts)
    anchors = reach(parts)
    write(parts, 2)
    seal(parts)
    anchors |= reach(parts)
    found = chain.verify(parts, anchors, by=ME)
    assert (found.fault, found.anchors, found.pruned) == (None, 2, 0)
    force(
        parts,
        f"UPDATE audit SET actor_name = 'somebody else' WHERE id = {ids(parts)[1]}",
        "INSERT INTO audit_unsealed SELECT id FROM audit ON CONFLICT DO NOTHING", "DELETE FROM audit_seals",
    )  # fmt: skip
    seal(parts)
    assert fault(parts) is None, "by itself it is a chain like any other"
    assert "the anchor of position 3 has another hash" in str(fault(parts, anchors=anchors))


def test_an_end_that_was_cut_off_does_not_fit_its_anchors(parts: Parts) -> None:
    write(parts, 3)
    seal(parts)
    anchors = reach(parts)
    force(
        parts, "DELETE FROM audit_seals WHERE position = 3", f"DELETE FROM audit WHERE id = {ids(parts)[2]}"
    )
    assert fault(parts) is None
    assert "ends at position 2, and an anchor is of position 3" in str(fault(parts, anchors=anchors))


def age(parts: Parts, count: int, days: int) -> None:
    """The first entries as if they had been written and sealed so long ago."""
    force(
        parts, "DELETE FROM audit_seals",
        f"UPDATE audit SET at = at - interval '{days} days'"
        f" WHERE id IN (SELECT id FROM audit ORDER BY id LIMIT {count})",
        "INSERT INTO audit_unsealed SELECT id FROM audit ON CONFLICT DO NOTHING",
    )  # fmt: skip
    seal(parts)


def test_what_pruning_leaves_is_a_chain_and_says_where_it_begins(parts: Parts) -> None:
    write(parts, 5)
    age(parts, 3, 400)
    before = reach(parts)
    assert chain.prune(parts, timedelta(days=365), by=ME)[0] == 3
    found = chain.verify(parts, before, by=ME)
    assert (found.fault, found.entries, found.anchors) == (None, 2, 1)
    seal(parts)
    assert chain.verify(parts, {2: "0" * 64}, by=ME).pruned == 1
    # Again, and of nothing.
    assert chain.prune(parts, timedelta(days=365), by=ME)[0] == 0
    assert chain.prune(parts, timedelta(0), by=ME)[0] > 2
    assert fault(parts) is None
    seal(parts)
    assert fault(parts) is None


def test_who_takes_off_the_beginning_is_not_covered_by_a_prune_of_less(parts: Parts) -> None:
    write(parts, 6)
    age(parts, 2, 400)
    chain.prune(parts, timedelta(days=365), by=ME)
    seal(parts)
    entry = ids(parts)[1]
    force(
        parts, f"DELETE FROM audit WHERE id <= {entry}", "DELETE FROM audit_seals WHERE position < 3",
    )  # fmt: skip
    assert "up to position 3 are missing, and none says" in str(fault(parts))


def test_an_old_entry_behind_a_younger_one_stays(parts: Parts) -> None:
    write(parts, 2)
    force(parts, "UPDATE audit SET at = at - interval '400 days' WHERE id = (SELECT max(id) FROM audit)")
    seal(parts)
    assert chain.prune(parts, timedelta(days=365), by=ME)[0] == 0
    assert fault(parts) is None


def test_entries_of_before_the_upgrade_are_sealed(parts: Parts) -> None:
    write(parts, 3)
    force(parts, "TRUNCATE audit_unsealed", "UPDATE alembic_version SET version_num = '0016'")
    done = schema.migrate(parts.database, "0017")
    assert (done.before, done.after) == ("0016", "0017")
    force(parts, f"UPDATE alembic_version SET version_num = '{schema.head_revision()}'")
    assert seal(parts) == 3
    assert fault(parts) is None


def test_anchors_go_to_the_operators_file_and_to_the_log(
    parts: Parts, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "anchors"
    with_file = Parts(parts.settings.model_copy(update={"audit_anchors": str(file)}))
    write(parts, 3)
    seal(parts)
    with pytest.raises(chain.AnchorsUnwritable, match="install -o face"):
        chain.anchor(with_file)
    reconciler.tell_anchor(with_file)
    assert "no anchor can be added" in caplog.text
    file.touch()
    with caplog.at_level("INFO"):
        chain.anchor(with_file)
    write(parts)
    seal(parts)
    chain.anchor(with_file)
    lines = file.read_text().splitlines()
    assert [json.loads(line)["position"] for line in lines] == [3, 4]
    anchors = chain.read_anchors(["", "no anchor", *lines])
    assert chain.verify(parts, anchors, by=ME).anchors == 2
    # A line of the journal does as well.
    (told,) = [line for line in caplog.messages if line.startswith("audit anchor: position 3 ")]
    assert chain.read_anchors([json.dumps({"message": told})]) == {3: anchors[3]}
    with pytest.raises(BadRequest, match="no anchor in this file"):
        chain.read_anchors(["{}", "[]", "3"])
    with pytest.raises(BadRequest, match="position 3 differ"):
        chain.read_anchors([*lines, json.dumps({"position": 3, "hash": "0" * 64})])


def told_by_doctor(parts: Parts) -> tuple[str, str]:
    (finding,) = [each for each in doctor.examine(parts) if each.check == "audit"]
    return finding.state, finding.message


def metrics(parts: Parts) -> dict[str, float]:
    lines = create_app(parts).test_client().get("/metrics").text.splitlines()
    found = (line.rsplit(" ", 1) for line in lines if line.startswith("face_recognition_audit_"))
    return {name.removeprefix("face_recognition_audit_"): float(value) for name, value in found}


def test_the_installation_checks_each_week_and_tells_how_it_ended(parts: Parts) -> None:
    assert indexer.verify_audit(parts) is None, "there is nothing to check"
    assert metrics(parts) == {"oldest_unsealed_seconds": 0}
    write(parts, 3)
    seal(parts)
    assert told_by_doctor(parts) == ("ok", "entries get their seals; its chain was not checked yet")
    assert indexer.verify_audit(parts) is True
    assert indexer.verify_audit(parts) is None, "a moment ago"
    assert told_by_doctor(parts)[1].startswith("3 positions of its chain fit, checked 2")
    assert metrics(parts)["fits"] == 1
    force(parts, "UPDATE audit_checks SET at = at - interval '16 days'")
    assert told_by_doctor(parts)[0] == "warn"
    force(parts, "UPDATE audit_unsealed SET since = now() - interval '1 hour'")
    assert told_by_doctor(parts)[1].startswith("an entry has waited for its seal for 36")
    assert metrics(parts)["oldest_unsealed_seconds"] >= 3600
    seal(parts)
    assert metrics(parts)["oldest_unsealed_seconds"] == 0
    force(parts, f"UPDATE audit SET address = '10.0.0.1' WHERE id = {ids(parts)[1]}")
    assert indexer.verify_audit(parts) is False
    state, message = told_by_doctor(parts)
    assert state == "fail"
    assert f"entry {ids(parts)[1]} at position 2 does not fit its seal" in message
    assert metrics(parts)["fits"] == 0


def test_the_doctor_says_why_the_audit_takes_no_entry(parts: Parts) -> None:
    with without_audit(parts):
        state, message = told_by_doctor(parts)
    assert state == "fail"
    assert message == "the audit takes no entry, so nothing was done: permission denied for table audit"
    with parts.database.transaction() as session:
        assert session.scalar(text("SELECT count(*) FROM audit")) == 0, "to look leaves none"


@pytest.fixture
def host(installation: Installation, parts: Parts) -> Installation:
    """A host of the database with nothing but what the test puts there."""
    name = parts.settings.database_name
    return replace(installation, environment={**installation.environment, "FACE_DATABASE_NAME": name})


def test_an_operator_prunes_and_verifies_on_the_command_line(
    host: Installation, parts: Parts, tmp_path: Path
) -> None:
    file = tmp_path / "anchors"
    file.touch()
    host.environment["FACE_AUDIT_ANCHORS"] = str(file)
    write(parts, 4)
    age(parts, 2, 400)
    assert host.run("audit", "prune", "--older-than", "365d").stdout == "2 entries removed\n"
    host.run("reconcile")
    with parts.database.transaction() as session:
        (entry,) = audit.page(session, audit.Wanted(action="audit.prune"), limit=2)[0]
        oldest = stored.oldest(session)
    assert entry.details == {
        "entries": 2, "older_than_seconds": 365 * 86400, "position": 2, "hash": oldest.hash.hex()
    }  # fmt: skip
    told = host.run("audit", "verify", "--anchors", str(file)).stdout.splitlines()
    assert told[:2] == ["3 entries fit the chain, 0 wait for their seal", "1 of 1 anchors fit"]
    assert told[2].startswith("audit anchor: position 5 has the hash ")
    assert len(file.read_text().splitlines()) == 2
    force(parts, "UPDATE audit SET address = '10.0.0.1' WHERE action = 'audit.prune'")
    broken = host.run("audit", "verify", check=False)
    assert (broken.returncode, broken.stderr) == (
        1, f"face-pipeline: entry {entry.id} at position 5 does not fit its seal: one of the two was"
        " changed\n",
    )  # fmt: skip
    assert host.run("audit", "prune", check=False).returncode == 2


def test_the_reconciler_seals_and_begins_with_an_anchor(host: Installation, parts: Parts) -> None:
    write(parts, 2)
    done = host.run("reconcile", "--every", "1s", "--for", "2s")
    assert len(ids(parts)) == 2
    assert done.stdout.count("audit anchor: position 2 has the hash ") == 1
