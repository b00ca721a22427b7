"""What happens when the database ends a transaction, refuses a statement, or is away."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from face_pipeline.errors import (
    DatabaseBusy,
    DatabaseUnavailable,
    DiskFull,
    FacePipelineError,
    disk_full,
    root_cause,
)
from face_pipeline.parts import Parts
from face_pipeline.store import database
from face_pipeline.store.database import Address
from face_pipeline.store.models import Collection
from face_pipeline.store.prepared import Prepared
from face_pipeline.telemetry.metrics.database import retries
from sqlalchemy import Connection, Integer, Text, bindparam, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from tests.installation import App, Installation, wait_until
from tests.photos import astronaut_jpeg
from tests.services import Postgres

ADD_ONE = text("UPDATE collections SET version = version + 1 WHERE name = :name")


@pytest.fixture
def two_rows(clean: Installation, parts: Parts) -> None:
    with parts.database.transaction() as session:
        for name in ("one", "two"):
            session.add(Collection(name=name, contract_id="contract", dimension=128))


def _counted(state: str) -> float:
    return float(retries.labels(state)._value.get())


def _versions(parts: Parts) -> list[int]:
    with parts.database.transaction() as session:
        return list(session.scalars(select(Collection.version).order_by(Collection.name)))


@pytest.mark.usefixtures("two_rows")
def test_transactions_that_wait_for_each_other_both_go_through(parts: Parts) -> None:
    before = _counted("40P01")
    both_hold_one = threading.Barrier(2)

    def change(first: str, second: str) -> None:
        runs = 0

        def work(session: Session) -> None:
            nonlocal runs
            runs += 1
            session.execute(ADD_ONE, {"name": first})
            if runs == 1:
                both_hold_one.wait(30)
            session.execute(ADD_ONE, {"name": second})

        parts.database.in_transaction(work)

    threads = [threading.Thread(target=change, args=names) for names in (("one", "two"), ("two", "one"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert _versions(parts) == [2, 2]
    assert _counted("40P01") == before + 1


@pytest.mark.usefixtures("two_rows")
def test_a_serialization_failure_runs_the_whole_transaction_again(parts: Parts) -> None:
    before = _counted("40001")
    runs = 0

    def work(session: Session) -> int:
        nonlocal runs
        runs += 1
        session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        seen = session.scalars(select(Collection.version).where(Collection.name == "one")).one()
        if runs == 1:
            parts.database.in_statements(lambda connection: connection.execute(ADD_ONE, {"name": "one"}))
        session.execute(ADD_ONE, {"name": "one"})
        return seen

    assert parts.database.in_transaction(work) == 1, "the second run saw what the other one wrote"
    assert (runs, _versions(parts)) == (2, [2, 0])
    assert _counted("40001") == before + 1


@pytest.mark.usefixtures("two_rows")
def test_what_fails_for_another_reason_or_too_often_is_not_tried_again(parts: Parts) -> None:
    for state, tries in (("40P01", database.ATTEMPTS), ("55P03", 1), ("23505", 1)):
        runs = 0

        def work(connection: Connection, state: str = state) -> None:
            nonlocal runs
            runs += 1
            connection.execute(text(f"DO $$ BEGIN RAISE SQLSTATE '{state}'; END $$"))

        with pytest.raises((DBAPIError, DatabaseBusy)):
            parts.database.in_statements(work)
        assert runs == tries, state


@pytest.mark.usefixtures("two_rows")
def test_a_prepared_statement_is_planned_once_for_each_connection(parts: Parts) -> None:
    """Also where a transaction that prepared it was undone, and where its table changes under it."""
    named = bindparam("wanted", type_=Text)
    counted = Prepared(
        select(Collection.version + bindparam("more", type_=Integer), func.length(bindparam("wanted"))).where(
            Collection.name == named, Collection.version < 5
        )
    )

    def ask(session: Session, name: str, more: int) -> tuple[Any, ...]:
        [row] = counted.execute(session.connection(), {"wanted": name, "more": more})
        return row

    def plans(session: Session) -> list[int]:
        query = text("SELECT generic_plans + custom_plans FROM pg_prepared_statements WHERE name = :name")
        return list(session.scalars(query, {"name": counted.name}))

    def undone(session: Session) -> None:
        assert ask(session, "one", 1) == (1, 3)
        raise ZeroDivisionError

    parts.database.close()
    with pytest.raises(ZeroDivisionError):
        parts.database.in_transaction(undone)
    with parts.database.transaction() as session:
        assert [ask(session, "one", more) for more in range(8)] == [(more, 3) for more in range(8)]
        assert plans(session) == [9]
    with parts.database.transaction() as session:
        session.execute(text("ALTER TABLE collections ADD COLUMN of_tests integer"))
        assert ask(session, "two", 3) == (3, 3)
        session.execute(text("ALTER TABLE collections DROP COLUMN of_tests"))
        assert ask(session, "two", 4) == (4, 3)
    # A connection that was lost has forgotten it.
    parts.database.close()
    with parts.database.transaction() as session:
        assert plans(session) == []
        assert ask(session, "two", 5) == (5, 3)
        assert plans(session) == [1]


def test_a_prepared_statement_fails_as_every_other_does(parts: Parts) -> None:
    divided = Prepared(select(func.div(1, bindparam("by", type_=Integer))))
    ended = Prepared(select(func.pg_terminate_backend(bindparam("whom", type_=Integer))))

    def end_itself(connection: Connection) -> None:
        ended.execute(connection, {"whom": connection.scalar(select(func.pg_backend_pid()))})

    with pytest.raises(DBAPIError) as wrong:
        parts.database.in_statements(lambda connection: divided.execute(connection, {"by": 0}))
    assert database.sqlstate(wrong.value) == "22012"
    with pytest.raises(DatabaseUnavailable):
        parts.database.in_statements(end_itself)
    # The connection that was lost is given to nobody.
    assert parts.database.in_statements(lambda connection: divided.execute(connection, {"by": 1})) == [(1,)]


def _error_of(parts: Parts, *statements: str) -> BaseException:
    try:
        with parts.database.transaction() as session:
            for statement in statements:
                session.execute(text(statement))
    except (FacePipelineError, DBAPIError) as error:
        return error
    raise AssertionError("the database took it")


def _code(error: BaseException) -> str | None:
    """None: a fault of ours, which stays what it is."""
    return error.code if isinstance(error, FacePipelineError) else None


def test_only_a_database_that_cannot_be_reached_is_called_unavailable(
    clean: Installation, parts: Parts
) -> None:
    del clean
    for state, code in (
        ("40P01", "database_busy"), ("40001", "database_busy"), ("53100", "disk_full"),
        ("53200", None), ("54000", None), ("58030", None), ("42501", None), ("23505", None),
        ("57P01", "database_unavailable"), ("57P03", "database_unavailable"),
        ("53300", "database_unavailable"), ("08006", "database_unavailable"),
    ):  # fmt: skip
        error = _error_of(parts, f"DO $$ BEGIN RAISE SQLSTATE '{state}'; END $$")
        assert _code(error) == code, state
        assert isinstance(error, DatabaseUnavailable) is (code == "database_unavailable"), state
    slow = _error_of(parts, "SET LOCAL statement_timeout = 10", "SELECT pg_sleep(20)")
    assert _code(slow) == "database_busy"
    assert _code(_error_of(parts, "SELECT nothing")) is None
    assert _code(_error_of(parts, "SELECT pg_terminate_backend(pg_backend_pid())")) == "database_unavailable"
    address = Address("127.0.0.1", port=1, name="face", user="face", passwords=("wrong",))
    nowhere = database.Database(address, threads=1)
    for use in (nowhere.transaction, nowhere.reading, nowhere.single_statements):
        with pytest.raises(DatabaseUnavailable), use() as opened:
            opened.execute(text("SELECT 1"))
    with pytest.raises(DatabaseUnavailable) as refused:
        nowhere.in_transaction(lambda session: session.execute(text("SELECT 1")))
    assert "Connection refused" in root_cause(refused.value)


def test_a_full_disk_of_this_server_is_called_so() -> None:
    with pytest.raises(DiskFull) as full, disk_full():
        Path("/dev/full").write_bytes(b"x")
    assert "No space left" in root_cause(full.value)
    with pytest.raises(FileNotFoundError), disk_full():
        Path("/dev/gone").read_bytes()


@contextmanager
def _refused(parts: Parts, table: str, state: str) -> Iterator[None]:
    """Every new row of the table meets this error in the real database; a sequence counts them."""
    with parts.database.transaction() as session:
        for statement in (
            "CREATE SEQUENCE refusals",
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
            f" $$ BEGIN PERFORM nextval('refusals'); RAISE SQLSTATE '{state}'; END $$",
            f"CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse()",
        ):
            session.execute(text(statement))
    try:
        yield
    finally:
        with parts.database.transaction() as session:
            session.execute(text("DROP FUNCTION refuse() CASCADE"))
            session.execute(text("DROP SEQUENCE refusals"))


def _refusals(parts: Parts) -> int:
    with parts.database.transaction() as session:
        return int(
            session.scalar(text("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM refusals"))
        )


@pytest.mark.parametrize(
    ("state", "status", "code"),
    [("53100", 507, "disk_full"), ("40P01", 503, "database_busy"), ("55P03", 503, "database_busy"),
     ("57P01", 503, "database_unavailable"), ("53200", 500, "internal_error")],
)  # fmt: skip
def test_an_upload_that_the_database_refuses_says_why(
    web_app: App, state: str, status: int, code: str, parts: Parts
) -> None:
    with _refused(parts, "photos", state):
        answer = web_app.upload(("a.jpg", astronaut_jpeg()))
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert ("Retry-After" in answer.headers) is (status == 503)
    assert web_app.upload(("a.jpg", astronaut_jpeg())).status_code == 202


def test_a_worker_waits_until_a_full_disk_of_the_database_has_room(live_app: App, parts: Parts) -> None:
    with _refused(parts, "faces", "53100"):
        body = live_app.upload(("a.jpg", astronaut_jpeg())).json()
        wait_until(lambda: _refusals(parts) >= 2, 30, "the worker to try twice")
        assert live_app.get(f"/api/v1/batches/{body['batch_id']}").json()["finished"] is False
    assert live_app.wait_finished(body["batch_id"])["states"]["done"] == 1


def test_a_worker_shows_its_repeated_transactions_from_the_start(live_app: App) -> None:
    url = live_app.workers[1].metrics_url  # type: ignore[attr-defined]
    shown = requests.get(url, timeout=5).text
    for state in ("40P01", "40001"):
        assert f'face_recognition_database_retries_total{{sqlstate="{state}"}} 0.0' in shown


def test_of_several_hosts_the_one_that_takes_changes_is_asked(postgres: Postgres) -> None:
    # Nobody is at the other address, and the order is any.
    for hosts in (f"127.0.0.9,{postgres.host}", f"{postgres.host},127.0.0.9"):
        address = Address(
            hosts, postgres.port, postgres.database, postgres.admin_user, (postgres.admin_password,)
        )
        several = database.Database(address, threads=1)
        try:
            with several.reading() as session:
                assert session.execute(text("SHOW transaction_read_only")).scalar_one() == "off"
        finally:
            several.close()
    assert address.url.query["target_session_attrs"] == "read-write"
    single = Address("127.0.0.1", 5432, "face", "face", ("x",))
    assert (single.url.host, single.url.port, single.url.query) == ("127.0.0.1", 5432, {})
