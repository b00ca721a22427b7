"""What each role of the database may do, and what it is refused.

The tests' installation itself signs in as these roles, each unit as its own: that their rights are enough is
shown by all tests of the application.
"""

from __future__ import annotations

import re
import secrets
import subprocess
import sys
from collections.abc import Iterator

import psycopg2
import pytest
from face_pipeline.errors import ConfigurationError
from face_pipeline.parts import Parts
from face_pipeline.store import rights
from face_pipeline.store.models import Base
from face_pipeline.store.rights import RIGHTS, Role
from sqlalchemy import text

from tests.installation import App, Installation
from tests.photos import ROOT, astronaut_jpeg
from tests.services import Postgres

# Not the name of the role `exporters`: its own tests make that one on the same server.
MONITOR = "face_monitor_of_rights"
# Trigger functions that only refuse, or that only the owner's TRUNCATE starts.
OF_WHO_ASKS = {"audit_only_added", "audit_never_emptied", "count_no_photos"}
REFUSED = {
    Role.WEB: (
        "UPDATE audit SET action = 'nothing'",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "ALTER TABLE audit DISABLE TRIGGER ALL",
        "UPDATE audit_seals SET hash = hash",
        "INSERT INTO audit_seals VALUES (1, 1, sha256(''))",
        "DELETE FROM audit_unsealed",
        "DELETE FROM audit_checks",
        "DELETE FROM erasures",
        "INSERT INTO photo_usage (collection_id, photos, bytes) VALUES (1, -1000, -1000)",
        "DELETE FROM face_vectors",
        "UPDATE alembic_version SET version_num = '0001'",
        "DROP TABLE photos",
        "CREATE TABLE public.mine (id integer)",
        "CREATE TEMPORARY TABLE mine (id integer)",
        "SELECT rolpassword FROM pg_authid",
        "COPY photos TO PROGRAM 'cat'",
        "SET ROLE face",
    ),
    Role.WORKER: (
        "SELECT key_hash FROM api_keys",
        "INSERT INTO api_keys (id, name, key_hash, scopes) VALUES (gen_random_uuid(), 'x', 'x', '{admin}')",
        "SELECT token_hash FROM sessions",
        "SELECT name FROM persons",
        "SELECT embedding FROM faces",
        "UPDATE faces SET person_id = NULL",
        "DELETE FROM photos",
        "UPDATE photos SET sha256 = 'x'",
        "UPDATE collections SET name = 'x'",
        "SELECT id FROM audit",
        "INSERT INTO audit (actor_kind, actor_name, action, outcome) VALUES ('key', 'x', 'x', 'done')",
        "SELECT salt FROM hooks",
    ),
    Role.UPKEEP: (
        "SELECT key_hash FROM api_keys",
        "SELECT token_hash FROM sessions",
        "SELECT name FROM persons",
        "UPDATE faces SET person_id = NULL",
        "DELETE FROM faces",
        "DELETE FROM audit",
        "UPDATE audit_seals SET hash = hash",
    ),
    Role.HOOKS: (
        "SELECT key_hash FROM api_keys",
        "SELECT embedding FROM faces",
        "SELECT id FROM photos",
        "UPDATE hooks SET url = 'https://elsewhere'",
        "SELECT actor_name FROM audit",
        "DELETE FROM events",
    ),
    Role.REEMBED: (
        "SELECT key_hash FROM api_keys",
        "SELECT name FROM persons",
        "UPDATE faces SET embedding = embedding",
        "UPDATE collections SET contract_id = 'x'",
        "UPDATE reembeddings SET target_pack = '/elsewhere'",
        "DELETE FROM face_embeddings",
        "SELECT actor_name FROM audit",
    ),
    Role.AUTOSCALER: ("SELECT filename FROM photos", "UPDATE photos SET state = 'done'"),
    MONITOR: ("SELECT id FROM public.photos", "SELECT action FROM public.audit"),
}  # fmt: skip


@pytest.fixture(scope="module")
def passwords(installation: Installation) -> Iterator[dict[str, str]]:
    """Of each role, and of one that observes, as the role `exporters` makes it."""
    own = secrets.token_urlsafe(24)
    postgres = installation.postgres
    _as_admin(
        postgres, f"CREATE ROLE {MONITOR} LOGIN PASSWORD '{own}' IN ROLE pg_monitor",
        f"GRANT CONNECT ON DATABASE {postgres.database} TO {MONITOR}",
    )  # fmt: skip
    yield {**postgres.passwords, MONITOR: own}
    _as_admin(postgres, f"REVOKE ALL ON DATABASE {postgres.database} FROM {MONITOR}", f"DROP ROLE {MONITOR}")


def _as_admin(postgres: Postgres, *statements: str) -> None:
    _run(postgres, postgres.admin_user, postgres.admin_password, *statements)


def _run(postgres: Postgres, user: str, password: str, *statements: str) -> None:
    connection = psycopg2.connect(
        host=postgres.host, port=postgres.port, dbname=postgres.database,
        user=user, password=password,
    )  # fmt: skip
    try:
        connection.autocommit = True
        for statement in statements:
            connection.cursor().execute(statement)
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("role", "statement"), [(role, each) for role, statements in REFUSED.items() for each in statements]
)
def test_a_role_is_refused_what_its_unit_has_no_use_for(
    postgres: Postgres, passwords: dict[str, str], role: str, statement: str
) -> None:
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        _run(postgres, role, passwords[role], statement)


def test_each_role_has_what_the_table_says_and_everybody_nothing(parts: Parts) -> None:
    with parts.database.engine.connect() as connection:
        assert rights.given(connection) == rights.wanted()
        # Any role that has no right of its own.
        assert not connection.scalar(text("SELECT has_schema_privilege('pg_monitor', 'public', 'USAGE')"))


def test_other_rights_than_those_of_the_table_are_told_and_taken_back(installation: Installation) -> None:
    owner = (installation.postgres, installation.postgres.user, installation.postgres.password)
    _run(
        *owner, "GRANT DELETE ON audit TO face_web", "REVOKE INSERT ON photos FROM face_web",
        "GRANT SELECT (embedding) ON faces TO face_worker", "GRANT SELECT ON persons TO PUBLIC",
    )  # fmt: skip
    told = installation.run("doctor", check=False).stdout
    assert "roles of the database have other rights than this release gives; run `face-pipeline" in told
    assert installation.run("migrate").stdout == "granted: the roles' rights\n"
    with installation.parts.database.engine.connect() as connection:
        assert rights.given(connection) == rights.wanted()
    assert installation.run("migrate").stdout == "unchanged\n"


def test_each_table_is_said_to_be_somebodys() -> None:
    named = {table for tables in RIGHTS.values() for table in tables}
    assert named == {*Base.metadata.tables, "alembic_version"}


def test_what_a_trigger_writes_it_writes_as_the_owner(parts: Parts) -> None:
    """A role need not write to the tables that the database keeps itself, and cannot."""
    query = text(
        "SELECT proname, prosecdef, proconfig FROM pg_proc"
        " WHERE pronamespace = 'public'::regnamespace AND prorettype = 'trigger'::regtype"
    )
    with parts.database.engine.connect() as connection:
        found = {row.proname: row for row in connection.execute(query)}
    assert set(found) == {*OF_WHO_ASKS, *rights.OWNERS_FUNCTIONS}
    for name in rights.OWNERS_FUNCTIONS:
        assert found[name].prosecdef, name
        assert found[name].proconfig == ["search_path=public, pg_temp"], name


def test_each_unit_signs_in_as_its_own_role(live_app: App, parts: Parts) -> None:
    batch = live_app.upload(("a.jpg", astronaut_jpeg(7))).json()["batch_id"]
    live_app.wait_finished(batch)
    with parts.database.reading() as session:
        signed_in = set(session.scalars(text("SELECT usename FROM pg_stat_activity WHERE datname = 'face'")))
    assert {Role.WEB, Role.WORKER} <= signed_in


def test_without_its_roles_no_database_is_migrated(installation: Installation) -> None:
    with Postgres() as server:
        gone = "face_hooks, face_web"
        _as_admin(server, f"REVOKE ALL ON DATABASE face FROM {gone}", f"DROP ROLE {gone}")
        credentials = server.directory / "credentials"
        credentials.mkdir()
        (credentials / "database_password").write_text(server.password)
        done = subprocess.run(
            [sys.executable, "-m", "face_pipeline.cli", "migrate"],
            env={
                **installation.environment, "FACE_DATABASE_PORT": str(server.port),
                "FACE_CREDENTIALS_DIR": str(credentials),
            },
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == ConfigurationError.exit_status
        assert "has no role face_web, face_hooks: run ./face-ansible playbooks/data.yml" in done.stderr
        with pytest.raises(psycopg2.errors.UndefinedTable):
            _run(server, server.user, server.password, "SELECT FROM alembic_version")


# As docs/security.md has them.
LETTERS = {"SELECT": "r", "INSERT": "a", "UPDATE": "c", "DELETE": "d"}


def _letters(told: str) -> str:
    return " ".join(
        LETTERS[verb] + ("*" if columns else "") for verb, columns in rights._RIGHT.findall(told)
    )  # fmt: skip


def documented() -> list[str]:
    """The rows of the table in docs/security.md."""
    tables = sorted({table for each in RIGHTS.values() for table in each})
    rows = [[table, *(_letters(RIGHTS[role].get(table, "")) for role in Role)] for table in tables]
    return [re.sub(" +", " ", f"| {' | '.join(row)} |") for row in rows]


def test_the_documents_table_of_rights_is_the_one_that_is_granted() -> None:
    lines = (ROOT / "docs/security.md").read_text().splitlines()
    head = f"| table | {' | '.join(role.removeprefix('face_') for role in Role)} |"
    begin = lines.index(head) + 2
    assert lines[begin : lines.index("", begin)] == documented()
