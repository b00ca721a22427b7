"""Hosts that follow the database, as its users are told of them."""

from __future__ import annotations

import pytest
from face_pipeline.actions import doctor
from face_pipeline.parts import Parts
from face_pipeline.store import standbys

from tests.app.test_erased_traces import administer
from tests.app.test_system import finding
from tests.installation import Installation

SLOT = "face_standby_db2"


@pytest.fixture
def with_standby(clean: Installation) -> Parts:
    told = {"standbys": SLOT, "standby_required": True}
    return Parts(clean.parts.settings.model_copy(update=told))


def test_a_standby_of_which_the_database_knows_nothing_is_away(with_standby: Parts) -> None:
    found = finding(with_standby, "standbys")
    assert (found.state, found.found) == (doctor.State.WARN, "db2: does not follow the database")
    with with_standby.database.reading() as session:
        assert standbys.every(session, [SLOT]) == [standbys.Standby("db2", False, None, False)]


def test_without_standbys_none_is_missed(clean: Installation) -> None:
    assert finding(clean.parts, "standbys").state is doctor.State.OK


def test_what_the_database_keeps_for_a_standby_is_told(clean: Installation, with_standby: Parts) -> None:
    administer(clean, f"SELECT pg_create_physical_replication_slot('{SLOT}', true)")
    try:
        with with_standby.database.reading() as session:
            (found,) = standbys.every(session, [SLOT])
        assert (found.name, found.follows, found.lost) == ("db2", False, False)
        assert found.behind is not None
        assert found.behind >= 0
    finally:
        administer(clean, f"SELECT pg_drop_replication_slot('{SLOT}')")


def test_one_that_was_away_too_long_is_to_be_made_anew(
    with_standby: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standbys, "every", lambda *_: [standbys.Standby("db2", False, None, True)])
    found = finding(with_standby, "standbys")
    assert found.state is doctor.State.WARN
    assert "standby_anew=db2" in found.mend


def test_of_hosts_that_choose_who_leads_the_one_that_does_is_missed_by_nobody(clean: Installation) -> None:
    members = Parts(clean.parts.settings.model_copy(update={"database_members": "db1 db2"}))
    administer(clean, "ALTER ROLE face SET face.member = 'db1'")
    try:
        with members.database.reading() as session:
            assert standbys.of_members(session, ["db1", "db2"]) == (
                "db1", [standbys.Standby("db2", False, None, False)],
            )  # fmt: skip
        found = finding(members, "standbys")
        assert found.state is doctor.State.WARN
        assert found.found == "db2: does not follow db1, which leads the database"
    finally:
        administer(clean, "ALTER ROLE face RESET face.member")
