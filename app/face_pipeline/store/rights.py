"""What each role of the database may do there, in one table, and how the database is brought to it.

The role that `face-pipeline migrate` signs in as owns every table and needs no right; the indexer is it too,
for nobody else may build an index. A table that is not named here is the owner's alone. Who locks a row needs
the right to change some column of it.

A release grants what the release before it needs too, for that one may come back: a right goes one release
after its last use. What a migration adds to the statements of others (a trigger's function) is SECURITY
DEFINER from the beginning: they go on while it runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.orm import Session

from face_pipeline.errors import ConfigurationError


class Role(StrEnum):
    """A role of the database; the role `postgres` of Ansible makes them, and says what each may take."""

    WEB = "face_web"
    WORKER = "face_worker"
    # The reconciler and the clusterer.
    UPKEEP = "face_upkeep"
    HOOKS = "face_hooks"
    AUTOSCALER = "face_autoscaler"
    REEMBED = "face_reembed"


READ = "SELECT"
ADD = "SELECT, INSERT"
CHANGE = "SELECT, INSERT, UPDATE"
ALL = "SELECT, INSERT, UPDATE, DELETE"

# As GRANT has them.
RIGHTS: dict[Role, dict[str, str]] = {
    Role.WEB: {
        "alembic_version": READ,
        "api_keys": CHANGE,
        "audit": ADD,
        "audit_brought": ADD,
        "audit_checks": READ,
        "audit_seals": READ,
        "audit_unsealed": READ,
        "batch_photos": "SELECT, INSERT, DELETE",
        "batches": "SELECT, INSERT, DELETE",
        "cluster_faces": READ,
        "cluster_runs": READ,
        "clusters": "SELECT, UPDATE",
        "collections": ALL,
        "copy_rounds": READ,
        "erasures": CHANGE,
        "events": ADD,
        "face_vectors": READ,
        "faces": ALL,
        "hook_deliveries": "SELECT, INSERT, DELETE",
        "hooks": ALL,
        "kept_answers": ALL,
        "key_addresses": ALL,
        "merges": ALL,
        "original_rounds": READ,
        "persons": ALL,
        "photo_usage": READ,
        "photos": ALL,
        "reembeddings": READ,
        "removals": "SELECT, INSERT, DELETE",
        "second_vectors": READ,
        "sessions": CHANGE,
        "thumbnails": CHANGE,
    },
    # It writes faces and reads none: of its own rows what it is told of them when it wrote them.
    Role.WORKER: {
        "collections": "SELECT, UPDATE (version, face_count)",
        # SQLAlchemy asks for the key of a row that it adds alone.
        "events": "SELECT (xid, number), INSERT",
        "faces": "SELECT (id, photo_id, person_id, position), INSERT",
        "photos": (
            "SELECT, UPDATE (state, claim, worker, attempts, started_at, lease_until, finished_at,"
            " reason_code, reason_message)"
        ),
        "thumbnails": CHANGE,
    },
    Role.UPKEEP: {
        "audit": READ,
        "audit_seals": ADD,
        "audit_unsealed": "SELECT, DELETE",
        "cluster_faces": CHANGE,
        "cluster_runs": CHANGE,
        "clusters": ALL,
        "collections": "SELECT, UPDATE (created_at)",
        "events": "SELECT (xid, number), INSERT",
        # The clusterer asks the indexes of large collections.
        "face_vectors": READ,
        "faces": "SELECT, UPDATE (position)",
        "photos": (
            "SELECT, UPDATE (state, claim, worker, attempts, queued_at, lease_until, finished_at,"
            " reason_code, reason_message)"
        ),
        "second_vectors": READ,
    },
    Role.HOOKS: {
        "audit": "SELECT (id), INSERT",
        "collections": "SELECT (id, name)",
        "events": READ,
        "hook_deliveries": ALL,
        "hooks": "SELECT, UPDATE (enabled, disabled_reason, xid, number, version, updated_at)",
        "persons": "SELECT (id, name)",
    },
    Role.AUTOSCALER: {
        "photos": "SELECT (state)",
    },
    # It decodes photos, and writes what another pack makes of them beside what is searched.
    Role.REEMBED: {
        "audit": "SELECT (id), INSERT",
        "collections": "SELECT, UPDATE (other_contract_id)",
        "face_embeddings": CHANGE,
        # It asks both packs what people search.
        "face_vectors": READ,
        "faces": "SELECT, UPDATE (position)",
        "photos": "SELECT, UPDATE (lease_until)",
        "reembedding_photos": ADD,
        "reembeddings": (
            "SELECT, UPDATE (agreed, faces_left, looked_at, photos_damaged, photos_done, photos_missing,"
            " photos_refused, photos_waiting, right_source, right_target, searches, shadow_face,"
            " shadow_faces, shadow_person, shadow_searches, shadow_shared, shadow_unfound, through_at)"
        ),
        "second_vectors": READ,
    },
}

# What the database does itself when rows of others change, in tables that those may not write to.
OWNERS_FUNCTIONS = (
    "audit_to_be_sealed",
    "count_photo_moved",
    "count_photos_in",
    "count_photos_out",
    "keep_changed_vector",
    "keep_new_vectors",
    "keep_other_vector",
)
_RIGHT = re.compile(r"([A-Z]+)(?: \(([a-z0-9_, ]+)\))?")


class Right(NamedTuple):
    """`column` None: on the whole table."""

    role: str
    table: str
    verb: str
    column: str | None = None


class RolesMissing(ConfigurationError):
    """The database lacks roles."""


def wanted() -> set[Right]:
    """The table `RIGHTS`, right by right."""
    return {
        Right(role, table, verb, column)
        for role, tables in RIGHTS.items()
        for table, told in tables.items()
        for verb, columns in _RIGHT.findall(told)
        for column in (columns.split(", ") if columns else (None,))
    }


_OURS = """
relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
AND relowner = (SELECT datdba FROM pg_database WHERE datname = current_database())
"""
_GIVEN = text(f"""
SELECT grantee, relname, privilege_type, attname FROM (
  SELECT relname, NULL AS attname, relacl AS acl FROM pg_class WHERE {_OURS}
  UNION ALL
  SELECT relname, attname, attacl FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
  WHERE {_OURS} AND NOT attisdropped
) AS each, aclexplode(acl)
WHERE grantee = 0 OR grantee IN (SELECT oid FROM pg_roles WHERE rolname IN :roles)
""").bindparams(bindparam("roles", expanding=True))  # noqa: S608  (a constant)
PUBLIC = "PUBLIC"


def given(session: Session | Connection) -> set[Right]:
    """The rights that the roles have now, and those of everybody (`PUBLIC`)."""
    names = {row.oid: row.rolname for row in session.execute(text("SELECT oid, rolname FROM pg_roles"))}
    rows = session.execute(_GIVEN, {"roles": [role.value for role in Role]})
    return {
        Right(names.get(row.grantee, PUBLIC), row.relname, row.privilege_type, row.attname) for row in rows
    }


def check_roles(connection: Connection) -> None:
    """Raises RolesMissing."""
    there = set(connection.scalars(text("SELECT rolname FROM pg_roles")))
    if missing := [role for role in Role if role not in there]:
        raise RolesMissing(
            f"the database has no role {', '.join(missing)}: run ./face-ansible playbooks/data.yml, which"
            " makes the roles, and then what you ran"
        )


def apply(connection: Connection) -> bool:
    """Give each role what the table says, and take the rest; returns whether there was anything to do.

    By the owner, in the transaction of the migrations. What other roles have stays theirs.
    """
    statements = [*_of_the_schema(connection), *_of_tables(connection), *_of_functions(connection)]
    for statement in statements:
        connection.execute(text(statement))
    return bool(statements)


def _of_the_schema(connection: Connection) -> Iterator[str]:
    everybody = (
        "SELECT count(*) FROM pg_namespace, aclexplode(nspacl) WHERE nspname = 'public' AND grantee = 0"
    )
    if connection.scalar(text(everybody)):
        yield "REVOKE ALL ON SCHEMA public FROM PUBLIC"
    direct = text(
        "SELECT rolname FROM pg_namespace, aclexplode(nspacl) JOIN pg_roles ON pg_roles.oid = grantee"
        " WHERE nspname = 'public' AND privilege_type = 'USAGE'"
    )
    may_use = set(connection.scalars(direct))
    for role in Role:
        if role not in may_use:
            yield f"GRANT USAGE ON SCHEMA public TO {role}"


def _of_tables(connection: Connection) -> Iterator[str]:
    there = set(connection.scalars(text(f"SELECT relname FROM pg_class WHERE {_OURS}")))  # noqa: S608
    named = text(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
    )
    columns = {(table, column) for table, column in connection.execute(named)}
    # Migrated to an earlier schema, a database lacks tables and columns.
    right = {
        each
        for each in wanted()
        if each.table in there and (each.column is None or (each.table, each.column) in columns)
    }
    differing = {(each.role, each.table) for each in right ^ given(connection)}
    for role, table in sorted(differing):
        yield f'REVOKE ALL ON TABLE "{table}" FROM {role}'
        if told := _told(each for each in right if (each.role, each.table) == (role, table)):
            yield f'GRANT {told} ON TABLE "{table}" TO {role}'


def _told(rights: Iterator[Right]) -> str:
    """Rights of one role on one table, as GRANT has them."""
    return ", ".join(
        each.verb if each.column is None else f"{each.verb} ({each.column})"
        for each in sorted(rights, key=str)
    )


def _of_functions(connection: Connection) -> Iterator[str]:
    """Triggers' functions do their part as the owner, whoever changes a row."""
    query = text(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname IN :names"
        " AND NOT (prosecdef AND proconfig IS NOT NULL) ORDER BY proname"
    ).bindparams(bindparam("names", expanding=True))
    for name in connection.scalars(query, {"names": OWNERS_FUNCTIONS}):
        yield f"ALTER FUNCTION {name}() SECURITY DEFINER SET search_path = public, pg_temp"
