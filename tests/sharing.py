"""What is made once a run, however many processes run the tests."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_places: list[Path] = []


@pytest.fixture(scope="session", autouse=True)
def _shared_directory(tmp_path_factory: pytest.TempPathFactory) -> None:
    own = tmp_path_factory.getbasetemp()
    _places[:] = [own.parent if "PYTEST_XDIST_WORKER" in os.environ else own]


def once_a_run(name: str, make: Callable[[], Any]) -> Any:
    """What `make` returns, as JSON holds it; others wait for who makes it. If it fails, the next tries."""
    kept = _places[0] / f"{name}.json"
    with kept.with_suffix(".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_text(json.dumps(make()))
    return json.loads(kept.read_text())
