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


def run(directory: Path, *options: str, **environment: str) -> None:
    """pytest on those tests, with nothing of ours but what is tried."""
    (directory / "test_it.py").write_text(TESTS)
    inherited = {name: value for name, value in os.environ.items() if name != "FACE_RESULTS"}
    plugins = ["-p", "xdist", "-p", "tests.results", "-p", "no:cacheprovider"]
    subprocess.run(
        [sys.executable, "-m", "pytest", f"--rootdir={directory}", *plugins, *options, "test_it.py"],
        cwd=directory,
        env={
            **inherited,
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            **environment,
        },
        capture_output=True,
        check=False,
    )


def test_the_numbers_are_those_of_all_runs_and_each_failure_and_reason_is_said(tmp_path: Path) -> None:
    left = tmp_path / "left"
    run(tmp_path, FACE_RESULTS=str(left))
    # In several processes, and a part alone.
    run(tmp_path, "--numprocesses", "2", "-k", "good or elsewhere", FACE_RESULTS=str(left))
    lines = results.summary(results.read(left))
    assert lines[-1] == "2 passed, 2 failed, 2 skipped"
    assert [line for line in lines if line.startswith("FAILED")] == [
        "FAILED test_it.py::test_bad",
        "FAILED test_it.py::test_without_its_server",
    ]
    assert any("the cause" in line for line in lines)
    # Once for each reason.
    assert [line for line in lines if line.startswith("SKIPPED")] == [
        "SKIPPED test_it.py::test_elsewhere and 1 more: needs a card"
    ]


def test_the_cause_of_each_failure_fits_into_a_line(tmp_path: Path) -> None:
    left = tmp_path / "left"
    run(tmp_path, FACE_RESULTS=str(left))
    bad, broken = results.causes(results.read(left))
    assert bad == "test_it.py::test_bad: AssertionError: the cause assert 1 == 2"
    assert broken == "test_it.py::test_without_its_server: RuntimeError: no server"
    many = {"passed": 0, "failed": [[f"test_{n}", "E   why" * 1000] for n in range(9)], "skipped": []}
    lines = results.causes([many])
    assert lines[-1] == "and 3 more"
    assert max(map(len, lines)) < 350


def test_without_a_directory_a_run_leaves_nothing(tmp_path: Path) -> None:
    run(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test_it.py"]
