"""Bringing the database to this release's schema and rights, and which releases work on a schema.

Each release works on the schema of the next ones, so that two run side by side while one takes the place of
the other, and so that there is a way back: a migration adds, and what it takes away nothing has used since.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from face_pipeline.errors import ConfigurationError
from face_pipeline.store import compatible, rights
from face_pipeline.store.database import Database, our_errors

MIGRATIONS = Path(__file__).parent / "migrations"


@dataclass(frozen=True)
class State:
    """`current`: the database's revision, None: it is empty; `head`: this release's.

    `works_with`: the schema of the oldest release that works on the database's; None: it does not say.
    `pending`: each revision that the database lacks, with what it is for.
    """

    current: str | None
    head: str
    works_with: str | None
    pending: tuple[tuple[str, str], ...]

    @property
    def is_newer(self) -> bool:
        """Whether the database was migrated by a later release."""
        return self.current is not None and self.current > self.head

    @property
    def fits(self) -> bool:
        """Whether this release works on it."""
        return self.current == self.head or (
            self.is_newer and self.works_with is not None and self.head >= self.works_with
        )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def current_revision(database: Database) -> str | None:
    with our_errors(), database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def head_revision() -> str:
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise RuntimeError(f"{MIGRATIONS} holds no migration")
    return head


def state(database: Database) -> State:
    """How the database's schema stands to this release."""
    current = current_revision(database)
    with our_errors(), database.engine.connect() as connection:
        works_with = compatible.said(connection)
    scripts = reversed(list(ScriptDirectory.from_config(_config()).walk_revisions()))
    pending = tuple(
        (each.revision, " ".join(each.doc.split())) for each in scripts if each.revision > (current or "")
    )
    return State(current, head_revision(), works_with, pending)


@dataclass(frozen=True)
class Migrated:
    """The revisions before and after, and whether rights of roles had to change (rights.py)."""

    before: str | None
    after: str | None
    rights_changed: bool


def migrate(database: Database, target: str | None = None) -> Migrated:
    """Run what is missing up to `target`, this release's schema by default, and give roles their rights.

    The schema of a later release and its rights stay as they are. Raises ConfigurationError where this
    release does not work on it, and where the database lacks roles.
    """
    found = state(database)
    if found.is_newer:
        if not found.fits:
            raise ConfigurationError(
                f"the database has the schema {found.current} of a later release, and this one knows "
                f"{found.head}: install a release that knows {found.works_with or found.current} or later, "
                "or restore a backup"
            )
        return Migrated(found.current, found.current, rights_changed=False)
    config = _config()
    # For migrations/env.py, which leaves `rights_changed`.
    config.attributes["engine"] = database.engine
    with our_errors():
        with database.engine.connect() as connection:
            rights.check_roles(connection)
        command.upgrade(config, target or found.head)
    if target is None:
        with our_errors(), database.engine.begin() as connection:
            compatible.say(connection)
    return Migrated(found.current, current_revision(database), bool(config.attributes["rights_changed"]))
