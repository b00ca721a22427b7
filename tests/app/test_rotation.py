"""While a secret is rotated, what signs in with it knows the value in use and the one before or after it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg2
import pytest
from face_pipeline.actions import keys
from face_pipeline.config import Settings, get_settings
from face_pipeline.errors import ConfigurationError, DatabaseUnavailable
from face_pipeline.parts import Parts
from face_pipeline.store.audit import Actor
from face_pipeline.store.database import Address, Database
from face_pipeline.store.keys import authenticate
from face_pipeline.store.models import ActorKind
from face_pipeline.telemetry import redact
from face_pipeline.web import create_app
from flask.testing import FlaskClient
from sqlalchemy import text

from tests.installation import App
from tests.services import Postgres

# The tests' own: an installation's roles keep their passwords.
ROLE = "rotated"


@pytest.fixture
def address(postgres: Postgres) -> Iterator[Address]:
    """Of a role whose password is `first`."""
    _as_admin(
        postgres, f"CREATE ROLE {ROLE} LOGIN PASSWORD 'first'", f"GRANT CONNECT ON DATABASE face TO {ROLE}"
    )
    yield Address(postgres.host, postgres.port, postgres.database, ROLE, ("first", "second"))
    _as_admin(postgres, f"REVOKE ALL ON DATABASE face FROM {ROLE}", f"DROP ROLE {ROLE}")


def _as_admin(postgres: Postgres, *statements: str) -> None:
    connection = psycopg2.connect(
        host=postgres.host, port=postgres.port, dbname=postgres.database,
        user=postgres.admin_user, password=postgres.admin_password,
    )  # fmt: skip
    try:
        connection.autocommit = True
        for statement in statements:
            connection.cursor().execute(statement)
    finally:
        connection.close()


def test_a_process_goes_on_when_the_servers_password_becomes_the_next_one(
    postgres: Postgres, address: Address
) -> None:
    database = Database(address, threads=1)
    try:
        assert _who(database) == ROLE
        _as_admin(postgres, f"ALTER ROLE {ROLE} PASSWORD 'second'")
        for _ in range(3):
            # What is connected stays; only what connects anew is asked.
            database.close()
            assert _who(database) == ROLE
        _as_admin(postgres, f"ALTER ROLE {ROLE} PASSWORD 'first'")
        database.close()
        assert _who(database) == ROLE
        _as_admin(postgres, f"ALTER ROLE {ROLE} PASSWORD 'third'")
        database.close()
        with pytest.raises(DatabaseUnavailable):
            _who(database)
    finally:
        database.close()


def test_a_host_that_follows_and_does_not_know_the_new_password_yet_keeps_nobody_out(
    postgres: Postgres, address: Address
) -> None:
    follows = Postgres()
    follows.host, follows.port = "127.0.0.2", postgres.port
    try:
        follows.start()
        _as_admin(
            follows,
            f"CREATE ROLE {ROLE} LOGIN PASSWORD 'first'",
            f"GRANT CONNECT ON DATABASE face TO {ROLE}",
            "ALTER SYSTEM SET default_transaction_read_only = on",
            "SELECT pg_reload_conf()",
        )
        _as_admin(postgres, f"ALTER ROLE {ROLE} PASSWORD 'second'")
        hosts = f"{postgres.host},{follows.host}"
        for known in (("first", "second"), ("second", "first")):
            database = Database(replace(address, host=hosts, passwords=known), threads=1)
            # Which host is asked first is left to chance.
            for _ in range(8):
                assert _who(database) == ROLE
                database.close()
    finally:
        follows.close()


def _who(database: Database) -> str:
    with database.reading() as session:
        return str(session.scalar(text("SELECT current_user")))


def test_a_credential_of_several_lines_is_the_one_in_use_first(tmp_path: Path) -> None:
    settings = Settings(credentials_dir=tmp_path)
    (tmp_path / "session_secret").write_text("in use\nbefore\n")
    assert settings.credential("session_secret") == "in use"
    assert settings.credentials("session_secret") == ("in use", "before")
    (tmp_path / "session_secret").write_text("\n\n")
    with pytest.raises(ConfigurationError, match="is empty"):
        settings.credentials("session_secret")


def test_no_log_shows_a_value_that_is_not_in_use_yet(tmp_path: Path) -> None:
    value = secrets.token_hex(30)
    (tmp_path / "originals_token").write_text(f"in use\n{value}\n")
    Settings(credentials_dir=tmp_path).credentials("originals_token")
    assert value not in redact.clean(f"a worker shows {value}")


def test_a_page_made_before_the_rotation_still_changes_things(
    web_app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody who is signed in notices: not in a page that is open, nor where another host made it."""
    credentials = web_app.installation.directory / "credentials"
    for file in credentials.iterdir():
        (tmp_path / file.name).write_text(file.read_text())
    monkeypatch.setenv("FACE_CREDENTIALS_DIR", str(tmp_path))

    def page(*known: str) -> FlaskClient:
        (tmp_path / "session_secret").write_text("\n".join(known))
        return create_app(Parts(get_settings())).test_client()

    first = page("first", "second")
    opened = first.post("/session", json={"api_key": web_app.api_key})
    cookie = first.get_cookie("face_session")
    assert cookie is not None
    csrf = opened.json["csrf_token"]  # type: ignore[index]
    for known, status in ((("first", "second"), 201), (("second", "first"), 201), (("second",), 403)):
        client = page(*known)
        client.set_cookie("face_session", cookie.value)
        answer = client.post(
            "/api/v1/collections",
            json={"name": f"rotated-{known[0]}-{len(known)}"},
            headers={"X-CSRF-Token": csrf},
        )
        assert answer.status_code == status, answer.text


def test_the_admins_earlier_key_works_as_long_as_was_said(parts: Parts) -> None:
    by = Actor(ActorKind.COMMAND, "a test")
    first, second, third = (f"fp_{secrets.token_hex(20)}" for _ in range(3))
    name = f"rotated-{secrets.token_hex(4)}"
    assert keys.ensure(parts, name, ["read"], first, by=by) == "created"
    assert keys.ensure(parts, name, ["read"], second, grace=timedelta(hours=1), by=by) == "changed"
    # As each later run of site.yml does.
    assert keys.ensure(parts, name, ["read"], second, by=by) == "unchanged"
    assert _works(parts, first, second) == [True, True]
    assert keys.ensure(parts, name, ["read"], third, by=by) == "changed"
    assert _works(parts, first, second, third) == [False, False, True]


def _works(parts: Parts, *texts: str) -> list[bool]:
    with parts.database.reading() as session:
        return [authenticate(session, each) is not None for each in texts]
