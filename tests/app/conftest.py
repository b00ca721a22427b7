"""People of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.app.cli import Person, person_at
from tests.installation import App


@pytest.fixture
def anna(web_app: App, tmp_path: Path) -> Person:
    """With an admin's key and no photos put in."""
    home = tmp_path / "home"
    home.mkdir()
    return person_at(web_app.url, home, web_app.api_key)
