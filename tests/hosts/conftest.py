from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.hosts.test_host import SUMMARY, Host


@pytest.fixture(scope="module")
def host() -> Host:
    summary = json.loads(Path(str(SUMMARY)).read_text())
    key = summary.get("api_key") or Path(summary["api_key_file"]).read_text().strip()
    return Host(summary["url"], summary["ssh"], summary["ca_file"], key)
