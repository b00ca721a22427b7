"""What runs of pytest leave for ./check, and what it says of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests import results

ROOT = Path(__file__).resolve().parents[2]
TESTS = """
import pytest

@pytest.fixture
def broken():
    raise RuntimeError("no server")

def test_good():
    pass

def test_bad():
    assert 1 == 2, "the cause"

def test_without_its_server(broken):
    pass

def test_elsewhere():
    pytest.skip("needs a card")
"""


def run(directory: Path, *options: str) -> None:
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "tests.results",
            "-p",
            "no:cacheprovider",
            *options,
            "test_it.py",
        ],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), "FACE_RESULTS": str(directory / "results")},
        capture_output=True,
        check=False,
    )


def test_the_numbers_are_those_of_all_runs_and_each_failure_and_reason_is_said(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    run(tmp_path)
    # In several processes, and a part alone.
    run(tmp_path, "--numprocesses", "2", "-k", "good or elsewhere")
    lines = results.summary(results.read(tmp_path / "results"))
    assert lines[-1] == "2 passed, 2 failed, 2 skipped"
    assert [line for line in lines if line.startswith("FAILED")] == [
        "FAILED test_it.py::test_bad",
        "FAILED test_it.py::test_without_its_server",
    ]
    assert any("the cause" in line for line in lines)
    assert lines.count("SKIPPED test_it.py::test_elsewhere: needs a card") == 2


def test_without_a_directory_a_run_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    environment = {name: value for name, value in os.environ.items() if name != "FACE_RESULTS"}
    subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.results", "-p", "no:cacheprovider", "test_it.py"],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        check=False,
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test_it.py"]
