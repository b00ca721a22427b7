"""Whom the Overview page asks: what role app writes, and whether the web service's filter lets it through."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ansible.test_memory_limits import DEFAULTS, GROUPS, ROOT
from tests.hardening import drop_in

SETTINGS = ("FACE_PROMETHEUS_URL", "FACE_ALERTMANAGER_URL", "FACE_GRAFANA_URL")


def written(
    directory: Path, hosts: dict[str, str], groups: dict[str, str], **variables: Any
) -> tuple[dict[str, str], list[str]]:
    """The settings and the addresses of the filter, of the host with the web service."""
    for name in ("group_vars", "roles"):
        (directory / name).symlink_to(ROOT / name)
    inventory = {
        "all": {
            "vars": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable},
            "hosts": {name: {"ansible_host": address} for name, address in hosts.items()},
            "children": {group: {"hosts": dict.fromkeys(names.split())} for group, names in groups.items()},
        }
    }
    (directory / "hosts.yml").write_text(yaml.safe_dump(inventory))
    template = {"src": f"{ROOT}/roles/app/templates/face-pipeline.env.j2", "dest": f"{directory}/env"}
    tasks = [{"ansible.builtin.template": template}, drop_in("app", directory / "hardening.conf")]
    play = {"hosts": groups["web"], "gather_facts": False, "vars_files": DEFAULTS, "tasks": tasks}
    (directory / "play.yml").write_text(yaml.safe_dump([play]))
    given = {
        "ansible_facts": {"memtotal_mb": 8000},
        "nvidia_plan": {"use": False, "cuda": ""},
        "face_public_host": "faces.example.org",
        **variables,
    }
    command = [ROOT / ".venv/bin/ansible-playbook", "-i", directory / "hosts.yml", directory / "play.yml"]
    done = subprocess.run(
        [*map(str, command), "-e", json.dumps(given)],
        cwd=directory, env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (directory / "env").read_text().splitlines()
    told = dict(line.split("=", 1) for line in lines if line.startswith(SETTINGS))
    allowed = [
        line.partition("=")[2]
        for line in (directory / "hardening.conf").read_text().splitlines()
        if line.startswith("IPAddressAllow=")
    ]
    return told, " ".join(allowed).split()


ONE = ({"one": "192.0.2.1"}, dict.fromkeys(GROUPS, "one"))


def test_on_one_host_all_of_them_are_on_it(tmp_path: Path) -> None:
    told, allowed = written(tmp_path, *ONE)
    assert told == {
        "FACE_PROMETHEUS_URL": "http://127.0.0.1:9090",
        "FACE_ALERTMANAGER_URL": "http://127.0.0.1:9093",
        "FACE_GRAFANA_URL": "https://faces.example.org/grafana/",
    }
    assert allowed == ["localhost"]


def test_on_a_host_of_their_own_they_can_be_reached(tmp_path: Path) -> None:
    hosts = {"app1": "192.0.2.10", "watch1": "192.0.2.40"}
    groups = {**dict.fromkeys(GROUPS, "app1"), "monitoring": "watch1"}
    told, allowed = written(tmp_path, hosts, groups)
    assert told["FACE_PROMETHEUS_URL"] == "https://192.0.2.40:9090"
    assert told["FACE_ALERTMANAGER_URL"] == "https://192.0.2.40:9093"
    assert "192.0.2.40" in allowed


@pytest.mark.parametrize(
    ("groups", "prometheus"),
    [
        ({"monitoring": "watch1 watch2"}, "https://192.0.2.10:9801/prometheus"),
        ({"monitoring": "watch1", "alertmanagers": "watch2"}, "https://192.0.2.40:9090"),
    ],
    ids=["two of both", "a second Alertmanager"],
)
def test_of_several_nginx_is_asked_which_knows_who_answers(
    tmp_path: Path, groups: dict[str, str], prometheus: str
) -> None:
    hosts = {"app1": "192.0.2.10", "watch1": "192.0.2.40", "watch2": "192.0.2.41"}
    told, allowed = written(tmp_path, hosts, {**dict.fromkeys(GROUPS, "app1"), **groups})
    assert told["FACE_PROMETHEUS_URL"] == prometheus
    assert told["FACE_ALERTMANAGER_URL"] == "https://192.0.2.10:9801/alertmanager"
    assert "192.0.2.10" in allowed


@pytest.mark.parametrize(
    ("variable", "missing"),
    [("face_monitoring_enabled", set(SETTINGS)), ("face_grafana_enabled", {"FACE_GRAFANA_URL"})],
)
def test_what_is_not_installed_is_not_asked(tmp_path: Path, variable: str, missing: set[str]) -> None:
    told, _ = written(tmp_path, *ONE, **{variable: False})
    assert {name for name, value in told.items() if not value} == missing
