"""What a process is made of: settings are read at its doors, each kind of client is made in one place."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest
from face_pipeline.errors import ConfigurationError

from tests.installation import App, Installation
from tests.photos import ROOT

PACKAGE = ROOT / "app" / "face_pipeline"
# What may be called, and where.
PLACES = {
    "get_settings": {
        "cli/host.py", "copies/__init__.py", "copies/gunicorn_conf.py", "web/__init__.py",
        "web/gunicorn_conf.py", "worker/celery.py",
    },
    "Parts": {
        "cli/host.py", "copies/__init__.py", "web/__init__.py", "web/gunicorn_conf.py", "worker/celery.py",
    },
    "from_url": {"broker/redis.py"},
    "Redis": set(),
    "Celery": {"broker/celery.py"},
    "create_engine": {"store/database.py"},
    "PoolManager": {"network.py"},
}  # fmt: skip


def _callers(name: str) -> set[str]:
    return {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and name in (getattr(node.func, "id", None), getattr(node.func, "attr", None))
    }


@pytest.mark.parametrize("name", PLACES)
def test_parts_are_made_where_they_belong(name: str) -> None:
    assert _callers(name) == PLACES[name]


def _without(installation: Installation, credential: str, directory: Path) -> dict[str, str]:
    """Settings of a host whose credential of this name is gone."""
    shutil.copytree(installation.directory / "credentials", directory)
    (directory / credential).unlink()
    return {"FACE_CREDENTIALS_DIR": str(directory)}


def test_a_command_that_needs_no_redis_works_without_its_password(
    clean: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _without(clean, "redis_password_operator", tmp_path / "credentials")
    monkeypatch.setattr(clean, "environment", {**clean.environment, **settings})
    assert "admin" in clean.run("keys", "list").stdout
    refused = clean.run("queues", check=False)
    assert refused.returncode == ConfigurationError.exit_status
    assert "redis_password_operator" in refused.stderr


def test_a_worker_that_cannot_reach_the_ledger_for_its_password_does_not_start(
    web_app: App, tmp_path: Path
) -> None:
    settings = _without(web_app.installation, "database_password", tmp_path / "credentials")
    worker = web_app.start_worker(9, wait=False, **settings)
    assert worker.wait(300) == ConfigurationError.exit_status
    assert "database_password" in web_app.installation.log("worker9.log")
