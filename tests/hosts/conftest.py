from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.test_host import SUMMARY, Host


@pytest.fixture(scope="module")
def host() -> Host:
    summary = json.loads(Path(str(SUMMARY)).read_text())
    key = summary.get("api_key") or Path(summary["api_key_file"]).read_text().strip()
    return Host(summary["url"], summary["ssh"], summary["ca_file"], key)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Append what failed to the file that FACE_HOST_REPORT names, for a caller that hides this output."""
    target = os.environ.get("FACE_HOST_REPORT")
    failed = [report for outcome in ("failed", "error") for report in terminalreporter.stats.get(outcome, [])]
    if target and failed:
        with Path(target).open("a") as out:
            for report in failed:
                out.write("\n".join([f"FAILED {report.nodeid}", *report.longreprtext.splitlines()[-25:], ""]))
