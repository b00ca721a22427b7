"""The workers' units as the roles write them for hosts with and without cards, read by systemd itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.hardening import drop_in

ROOT = Path(__file__).resolve().parents[2]
PLAN = {
    "use": True, "error": "", "note": "", "branch": 550, "cuda": "cuda12", "packages": [], "source": "none",
    "parts": [], "reboot": False, "cards": 2, "running": "550.163.01",
}  # fmt: skip


def rendered(directory: Path, **variables: Any) -> Path:
    """Unit, limits and drop-ins of workers 1 to 4, in a directory as /etc/systemd/system."""
    units = directory / "units"
    names = {
        "celery@.service": "worker/templates/celery@.service.j2",
        "face-workers.slice": "worker/templates/face-workers.slice.j2",
    }
    tasks = [
        {"ansible.builtin.template": {"src": f"{ROOT}/roles/{source}", "dest": f"{units}/{name}"}}
        for name, source in names.items()
    ]
    limits = units / "celery@.service.d"
    tasks += [drop_in("app", limits / "10-hardening.conf"), drop_in("worker", limits / "20-gpu.conf")]
    tasks += [
        {
            "ansible.builtin.template": {
                "src": f"{ROOT}/roles/worker/templates/20-card.conf.j2",
                "dest": f"{units}/celery@{number}.service.d/20-card.conf",
            },
            "vars": {"item": number},
        }
        for number in range(1, 5)
    ]
    for name in ("celery@.service.d", *(f"celery@{number}.service.d" for number in range(1, 5))):
        (units / name).mkdir(parents=True)
    files = [
        f"{ROOT}/roles/{role}/{part}/main.yml" for role in ("worker", "app") for part in ("defaults", "vars")
    ]
    (directory / "group_vars").symlink_to(ROOT / "group_vars")
    play = {"hosts": "all", "gather_facts": False, "vars_files": files, "tasks": tasks}
    (directory / "play.yml").write_text(yaml.safe_dump([play]))
    groups = ("proxy", "web", "workers", "postgres", "redis")
    children = {group: {"hosts": {"one": {}}} for group in groups}
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": local, "children": children}}))
    given = {
        "nvidia_plan": PLAN,
        "face_logging_enabled": False,
        "ansible_facts": {"memtotal_mb": 8000},
        **variables,
    }
    command = [ROOT / ".venv/bin/ansible-playbook", "-i", directory / "hosts.yml", directory / "play.yml"]
    done = subprocess.run(
        [*map(str, command), "-e", json.dumps(given)],
        cwd=directory, env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return units


@pytest.mark.parametrize(("per_card", "cards"), [(1, ["0", "1", "0", "1"]), (2, ["0", "0", "1", "1"])])
def test_each_worker_has_its_card(per_card: int, cards: list[str], tmp_path: Path) -> None:
    units = rendered(tmp_path, face_gpu_workers_per_card=per_card)
    found = [
        (units / f"celery@{number}.service.d/20-card.conf").read_text().strip().rpartition("=")[2]
        for number in range(1, 5)
    ]
    assert found == cards


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_takes_the_units_and_what_cuda_needs_is_open(tmp_path: Path) -> None:
    units = rendered(tmp_path)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(units / "celery@1.service")],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:/usr/lib/systemd/system"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    complaints = [
        line
        for line in done.stderr.splitlines()
        # The release is not on this machine.
        if str(units) in line or ("celery@1" in line and "is not executable" not in line)
    ]
    assert complaints == [], done.stderr
    gpu = (units / "celery@.service.d/20-gpu.conf").read_text()
    for line in (
        "PrivateDevices=no", "MemoryDenyWriteExecute=no", "DevicePolicy=closed",
        "DeviceAllow=char-nvidia-uvm rw", "DeviceAllow=char-nvidiactl rw", "SystemCallFilter=@resources",
    ):  # fmt: skip
        assert f"\n{line}\n" in gpu
    # What is not named stays as it is for every unit of the pipeline.
    assert "CapabilityBoundingSet" not in gpu
    assert "ProtectSystem" not in gpu
