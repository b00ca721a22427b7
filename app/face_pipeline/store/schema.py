"""Bringing the database to this release's schema."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from face_pipeline.store.database import Database, our_errors

MIGRATIONS = Path(__file__).parent / "migrations"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def current_revision(database: Database) -> str | None:
    with our_errors(), database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def head_revision() -> str | None:
    return ScriptDirectory.from_config(_config()).get_current_head()


def migrate(database: Database, target: str | None = None) -> tuple[str | None, str | None]:
    """Run what is missing up to `target`, this release's schema by default; returns before and after."""
    target = target or head_revision()
    before = current_revision(database)
    if target and before != target:
        config = _config()
        # For migrations/env.py.
        config.attributes["engine"] = database.engine
        with our_errors():
            command.upgrade(config, target)
    return before, current_revision(database)
