"""face.target is all that was installed on a host: which units it names, and in which order they start.

That it stops and starts them, and waits, is seen on hosts (tests/hosts/test_face_target.py).
"""

from __future__ import annotations

import configparser
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "roles" / "base"
GROUPS = ("proxy", "web", "workers", "postgres", "redis", "monitoring", "logging")
LOGS = {"elasticsearch.service", "logstash.service", "kibana.service", "filebeat.service"}
FILES = ("face.target", "face-start.service", "face-stop.service", "face-units")


def written(directory: Path, groups: dict[str, list[str]], **variables: Any) -> dict[str, dict[str, str]]:
    """The text of each file, by host."""
    (directory / "group_vars").symlink_to(ROOT / "group_vars")
    children = {
        group: {"hosts": {name: {"ansible_connection": "local"} for name in names}}
        for group, names in groups.items()
    }
    (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": children}}))
    tasks: list[dict[str, Any]] = [
        {"ansible.builtin.include_vars": str(BASE / part / "main.yml")} for part in ("defaults", "vars")
    ]
    tasks.append(
        {
            "ansible.builtin.template": {
                "src": f"{BASE}/templates/{{{{ item }}}}.j2",
                "dest": f"{directory}/{{{{ inventory_hostname }}}}-{{{{ item }}}}",
                "mode": "0644",
            },
            "loop": list(FILES),
        }
    )
    (directory / "play.yml").write_text(
        yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks}])
    )
    given = {"ansible_facts": {"memtotal_mb": 16000}, **variables}
    command = [ROOT / ".venv/bin/ansible-playbook", "-i", directory / "hosts.yml", directory / "play.yml"]
    done = subprocess.run(
        [*command, "-e", json.dumps(given)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    names = {name for members in groups.values() for name in members}
    return {name: {file: (directory / f"{name}-{file}").read_text() for file in FILES} for name in names}


def value(text: str, section: str, key: str) -> str:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser[section].get(key, "")


@pytest.mark.campaign("the scenario `default` does it on a host")
@pytest.mark.parametrize(
    ("variables", "missing"),
    [
        ({}, set()),
        ({"face_logging_enabled": False}, LOGS),
        ({"face_monitoring_enabled": False}, {"face-monitoring.target"}),
    ],
)
def test_one_target_names_all_that_was_installed(
    tmp_path: Path, variables: dict[str, Any], missing: set[str]
) -> None:
    everything = [
        "postgresql.service", "postgresql@17-main.service",
        "redis-server.service", "redis-server@scratch.service",
        "elasticsearch.service",
        "logstash.service", "kibana.service", "filebeat.service", "face-pipeline.target", "nginx.service",
        "face-monitoring.target",
    ]  # fmt: skip
    expected = [unit for unit in everything if unit not in missing]
    files = written(tmp_path, {group: ["one"] for group in GROUPS}, **variables)["one"]
    assert value(files["face.target"], "Unit", "Wants").split() == expected
    assert value(files["face.target"], "Unit", "PropagatesStopTo").split() == expected
    assert f'units="{" ".join(expected)}"' in files["face-units"]


@pytest.mark.campaign("the scenario `cluster` installs so, on hosts")
def test_each_host_has_its_own_part(tmp_path: Path) -> None:
    elsewhere = {"workers": ["main", "worker1"], "monitoring": ["watch"]}
    files = written(tmp_path, {**{group: ["main"] for group in GROUPS}, **elsewhere})
    units = {name: value(texts["face.target"], "Unit", "Wants").split() for name, texts in files.items()}
    assert units["worker1"] == ["filebeat.service", "face-pipeline.target", "face-monitoring.target"]
    assert "postgresql@17-main.service" in units["main"]
    assert "nginx.service" not in units["watch"]


def test_the_target_is_ordered_with_what_waits_and_with_nothing_else(tmp_path: Path) -> None:
    """Ordered with a unit it would wait for that unit's start, or for its stop: never for both."""
    files = written(tmp_path, {group: ["one"] for group in GROUPS})["one"]
    target = files["face.target"]
    assert value(target, "Unit", "DefaultDependencies") == "no"
    assert value(target, "Unit", "After") == value(target, "Unit", "Requires") == "face-start.service"
    assert value(target, "Unit", "Before") == "shutdown.target"
    assert value(files["face-stop.service"], "Unit", "After") == "face.target"
    assert value(files["face-start.service"], "Unit", "OnFailure") == "face-start-failed.service"
    for waiting in ("face-start.service", "face-stop.service"):
        assert value(files[waiting], "Unit", "PartOf") == "face.target"


def test_the_units_of_one_host_are_listed_by_a_valid_program(tmp_path: Path) -> None:
    program = written(tmp_path, {group: ["one"] for group in GROUPS})["one"]["face-units"]
    (tmp_path / "face-units").write_text(program)
    shown = subprocess.run(["sh", tmp_path / "face-units"], capture_output=True, text=True, check=False)
    assert shown.returncode == 2
    assert [line.split()[1] for line in shown.stderr.splitlines()] == ["list", "status", "start", "stop"]


SYSTEMCTL = """#!/bin/sh
# A stand-in: one unit is there, and its stop lasts until the host has shut down.
case $1 in
  show) [ "$4" = loaded ] || echo loaded ;;
  is-system-running) cat "$STATE"; exit 1 ;;
  stop) echo stopping >"$STATE"; exec sleep 600 ;;
esac
"""


def test_a_host_that_shuts_down_is_not_held_up(tmp_path: Path) -> None:
    """Its own stop of a unit may come after this program's end."""
    program = written(tmp_path, {group: ["one"] for group in GROUPS})["one"]["face-units"]
    (tmp_path / "face-units").write_text(program)
    (tmp_path / "systemctl").write_text(SYSTEMCTL)
    (tmp_path / "systemctl").chmod(0o755)
    (tmp_path / "state").write_text("running\n")
    done = subprocess.run(
        ["sh", tmp_path / "face-units", "stop"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "STATE": str(tmp_path / "state")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0
