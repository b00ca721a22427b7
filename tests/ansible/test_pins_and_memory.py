"""What would not fit into a host is left out and said; a version nobody looked at for long is named."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.order import in_campaign

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / ".venv/bin/ansible-playbook"
GROUPS = ("proxy", "web", "workers", "postgres", "redis", "monitoring", "logging")
SHOWN = ("face_logging_hosts", "face_logging_unfit", "face_grafana_hosts", "face_grafana_unfit")


def decided(directory: Path, memory_mb: int, **variables: Any) -> dict[str, list[str]]:
    """What a host with that memory gets."""
    (directory / "group_vars").symlink_to(ROOT / "group_vars")
    groups = {group: {"hosts": {"one": {"ansible_connection": "local"}}} for group in GROUPS}
    (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": groups}}))
    content = "{{ dict(" + ", ".join(f"{name}={name}" for name in SHOWN) + ") | to_json }}"
    task = {"ansible.builtin.copy": {"content": content, "dest": str(directory / "decided"), "mode": "0600"}}
    (directory / "play.yml").write_text(
        yaml.safe_dump([{"hosts": "one", "gather_facts": False, "tasks": [task]}])
    )
    given = {"ansible_facts": {"memtotal_mb": memory_mb}, **variables}
    subprocess.run(
        [TOOL, "-i", directory / "hosts.yml", directory / "play.yml", "-e", json.dumps(given)],
        check=True,
        capture_output=True,
    )
    found: dict[str, list[str]] = json.loads((directory / "decided").read_text())
    return found


@pytest.mark.parametrize(
    ("memory_mb", "variables", "fits"),
    [
        (4000, {}, False),
        *in_campaign(
            "what does not fit is tested",
            (7600, {}, True),
            (4000, {"face_elasticsearch_heap_mb": 256, "face_logstash_heap_mb": 256}, True),
        ),
    ],
)
def test_the_log_path_is_left_out_where_it_would_not_fit(
    tmp_path: Path, memory_mb: int, variables: dict[str, int], fits: bool
) -> None:
    found = decided(tmp_path, memory_mb, **variables)
    assert (found["face_logging_hosts"] == ["one"]) == fits
    assert found["face_grafana_hosts"] == ["one"]
    if not fits:
        (said,) = found["face_logging_unfit"]
        assert said.startswith("it needs 3500 MB of memory on one, and 2200 MB are left beside the pipeline")
        assert "lower face_elasticsearch_heap_mb" in said


def test_a_small_host_is_left_without_grafana(tmp_path: Path) -> None:
    found = decided(tmp_path, 1900, face_logging_enabled=False)
    assert found["face_grafana_hosts"] == found["face_logging_unfit"] == []
    assert found["face_grafana_unfit"][0].startswith("it needs 150 MB of memory on one, and 100 MB are left")


def pins(days: int) -> tuple[int, str]:
    done = subprocess.run(
        [TOOL, "playbooks/pins.yml", "-e", f"days={days}"],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_a_version_that_nobody_looked_at_for_long_is_named() -> None:
    status, said = pins(days=100_000)
    assert status == 0, said
    versions = yaml.safe_load((ROOT / "group_vars/all/versions.yml").read_text())
    assert f"version: {versions['face_grafana_version']} what: Grafana" in said
    status, said = pins(days=-1)
    assert status == 2
    for pin in versions["face_pins"]:
        assert pin["name"].split("'")[0] in said
    assert "was last looked at" in said
    assert 'docs/development.md, "Raising a version"' in said
