"""What units may do: each role's drop-in, as the role `hardening` writes it and systemd takes it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.hardening import ROOT, SHARED, calls, drop_in, tasks_that_call

GROUPS = ("proxy", "web", "workers", "postgres", "redis", "monitoring", "logging")
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if calls(path.name))
CALLS = [(role, number) for role in ROLES for number in range(len(calls(role)))]
EXPORTERS = ("node", "nginx", "postgres", "redis", "blackbox")
# What `systemd-analyze security` gives a bare unit with the drop-in alone; whole units: docs/security.md.
EXPOSED = {
    "app-0": 1.2,
    "worker-2": 1.0,
    "unit_metrics-0": 1.0,
    **{f"{name}-0": 1.4 for name in ("alertmanager", "prometheus")},
    **{f"{name}-0": 1.6 for name in ("elasticsearch", "grafana", "kibana", "logstash")},
    **{f"exporters-{name}": 1.3 for name in EXPORTERS},
    "exporters-node": 2.2,
    "filebeat-0": 3.6,
    "filebeat-1": 1.6,
}
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="this machine has no systemd-analyze"
)


def write(directory: Path, tasks: list[dict[str, Any]]) -> None:
    """Tasks on this machine as the one host with everything, with the variables of all roles."""
    for shared in ("group_vars", "files"):
        (directory / shared).symlink_to(ROOT / shared)
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    children = {group: {"hosts": {"one": {}}} for group in GROUPS}
    (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": local, "children": children}}))
    files = [
        str(path) for part in ("defaults", "vars") for path in sorted(ROOT.glob(f"roles/*/{part}/main.yml"))
    ]
    play = {"hosts": "one", "gather_facts": False, "vars_files": files, "tasks": tasks}
    (directory / "play.yml").write_text(yaml.safe_dump([play]))
    given = {"ansible_facts": {"memtotal_mb": 64000}, "unit_metrics_counted": {"rc": 0}}
    command = [ROOT / ".venv/bin/ansible-playbook", "-i", directory / "hosts.yml", directory / "play.yml"]
    done = subprocess.run(
        [*map(str, command), "-e", json.dumps(given)],
        cwd=directory, env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A unit ROLE-CALL.service with each drop-in that a role writes, and one for each exporter."""
    directory = tmp_path_factory.mktemp("units")
    wanted = {f"{role}-{number}": drop_in(role, "", number) for role, number in CALLS if role != "exporters"}
    wanted |= {f"exporters-{name}": drop_in("exporters", "", exporters_name=name) for name in EXPORTERS}
    for name, task in wanted.items():
        unit = directory / f"{name}.service"
        # As the package's unit has it, where the drop-in does not say.
        user = "" if re.match(r"filebeat|autoscaler|base|unit_metrics", name) else "User=www-data\n"
        unit.write_text(f"[Unit]\nDescription={name}\n[Service]\n{user}ExecStart=/bin/true\n")
        (directory / f"{name}.service.d").mkdir()
        task["ansible.builtin.template"]["dest"] = f"{directory}/{name}.service.d/drop-in.conf"
    write(directory, list(wanted.values()))
    return directory


def analyze(units: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:/usr/lib/systemd/system"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@needs_systemd
def test_systemd_knows_every_directive_and_value(units: Path) -> None:
    files = sorted(map(str, units.glob("*.service")))
    done = analyze(units, "verify", "--man=no", "--recursive-errors=no", *files)
    assert [line for line in done.stderr.splitlines() if "drop-in.conf" in line] == []


@needs_systemd
def test_no_unit_may_more_than_it_did(units: Path) -> None:
    files = [str(units / f"{name}.service") for name in EXPOSED]
    said = analyze(units, "security", "--offline=yes", "--no-pager", *files).stdout
    found = dict(re.findall(r"exposure level for (\S+)[.]service: (\S+)", said))
    assert found.keys() == EXPOSED.keys(), said
    assert {name: level for name, level in found.items() if float(level) > EXPOSED[name]} == {}


def test_a_unit_adds_to_its_profile_repeats_and_takes_away(tmp_path: Path) -> None:
    task = {
        "ansible.builtin.template": {
            "src": str(ROOT / "roles/hardening/templates/hardening.conf.j2"),
            "dest": str(tmp_path / "made.conf"),
        },
        "vars": {
            **SHARED,
            "hardening_unit": {"After": "one.service"},
            "hardening_service": {"PrivateTmp": None, "ProtectClock": False, "DeviceAllow": ["a", "b"]},
            "hardening_addresses": ["192.0.2.1"],
            "hardening_reason": "It is of a test.",
        },
    }
    write(tmp_path, [task])
    text = (tmp_path / "made.conf").read_text()
    lines = text.splitlines()
    assert "# It is of a test." in lines
    assert "\n[Unit]\nAfter=one.service\n" in text
    assert {"ProtectClock=no", "NoNewPrivileges=yes", "CapabilityBoundingSet="} <= set(lines)
    assert [line for line in lines if line.startswith(("PrivateTmp", "DeviceAllow", "IPAddress"))] == [
        "IPAddressDeny=any", "IPAddressAllow=localhost", "IPAddressAllow=192.0.2.1",
        "DeviceAllow=a", "DeviceAllow=b",
    ]  # fmt: skip
    assert text.endswith("\n")


def test_the_default_profile_is_written_in_one_place() -> None:
    """A drop-in of a role's own that repeats it would not follow when it changes."""
    shared = re.compile(r"^(NoNewPrivileges|ProtectKernel\w+|LockPersonality)=", re.MULTILINE)
    written = [
        str(path.relative_to(ROOT))
        for path in ROOT.glob("roles/*/templates/*")
        if path.is_file() and shared.search(path.read_text())
    ]
    assert written == []


def test_each_call_names_a_profile_and_drop_ins() -> None:
    for role, number in CALLS:
        call = calls(role)[number]
        assert call.get("hardening_profile", "default") in SHARED["hardening_profiles"], role
        assert call["hardening_files"], role
        assert call.keys() <= SHARED.keys(), role


def test_no_call_is_looked_at_where_tags_leave_it_out() -> None:
    """Ansible checks a role's arguments under every --tags, where what they are made of is not known yet."""
    for role in ROLES:
        for task in tasks_that_call(role):
            assert task["ansible.builtin.import_role"].get("rolespec_validate") is False, role
