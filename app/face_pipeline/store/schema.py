"""Bringing the database to this release's schema."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from face_pipeline.store.database import engine

MIGRATIONS = Path(__file__).parent / "migrations"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def current_revision() -> str | None:
    with engine().connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def head_revision() -> str | None:
    return ScriptDirectory.from_config(_config()).get_current_head()


def migrate() -> tuple[str | None, str | None]:
    """Run what is missing; returns the revisions before and after."""
    before = current_revision()
    if before != head_revision():
        command.upgrade(_config(), "head")
    return before, current_revision()
