"""Security updates: which packages come by themselves, and in what order units run the new code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.ansible.test_hardening import write
from tests.hardening import ROOT

ROLE = ROOT / "roles/updates"
# As the package's own file has it: all of the distribution.
PACKAGED = (
    'Unattended-Upgrade::Origins-Pattern { "origin=Debian,codename=${distro_codename},label=Debian"; };\n'
)
STARTED = ["postgresql@17-main.service", "redis-server.service", "celery@1.service", "celery@2.service"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("updates")
    names = ("security-updates.conf", "needrestart.conf", "face-updates.service", "apt-daily-upgrade.conf")
    tasks = [
        {"ansible.builtin.template": {"src": f"{ROLE}/templates/{name}.j2", "dest": f"{directory}/{name}"}}
        for name in names
    ]
    write(directory, tasks)
    return directory


@pytest.mark.skipif(shutil.which("apt-config") is None, reason="this machine has no apt")
def test_only_security_updates_come_by_themselves_and_pins_are_held(files: Path) -> None:
    both = files / "both.conf"
    both.write_text(PACKAGED + (files / "security-updates.conf").read_text())
    done = subprocess.run(
        ["apt-config", "-c", both, "dump"], capture_output=True, text=True, check=True, env={**os.environ}
    )
    lines = done.stdout.splitlines()
    origins = [line for line in lines if line.startswith("Unattended-Upgrade::Origins-Pattern:: ")]
    assert len(origins) == 2
    assert all("codename}-security" in line for line in origins)
    held = {
        line.split('"')[1] for line in lines if line.startswith("Unattended-Upgrade::Package-Blacklist::")
    }
    assert {"grafana", "elasticsearch", "(lib)?nvidia-"} <= held
    assert 'Unattended-Upgrade::Automatic-Reboot "false";' in lines
    assert 'APT::Periodic::Unattended-Upgrade "1";' in lines


@pytest.mark.skipif(shutil.which("perl") is None, reason="this machine has no Perl")
def test_needrestart_by_itself_restarts_no_unit_of_the_pipeline(files: Path) -> None:
    table = yaml.safe_load((ROOT / "group_vars/all/services.yml").read_text())["face_services"]
    named = [unit for entry in table.values() for unit in entry.get("units", [])]
    postgres = "postgresql@17-main.service"
    known = {"*": "1", "{{ face_postgres_version }}": "17", "{{ face_postgres_unit }}": postgres}
    units = list(named)
    for name, value in known.items():
        units = [unit.replace(name, value) for unit in units]
    # As needrestart.conf reads those beside it.
    program = (
        "our %nrconf; my $fn = shift @ARGV; eval do { local(@ARGV, $/) = $fn; <> }; die $@ if $@; "
        "for my $unit (@ARGV) { my $restart = 1; "
        "for my $re (keys %{$nrconf{override_rc}}) { $restart = 0 if $unit =~ /$re/ } "
        'print "$unit\n" if $restart }'
    )
    done = subprocess.run(
        ["perl", "-e", program, files / "needrestart.conf", *units, "face-updates.service", "ssh.service"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert len(units) > 20
    assert done.stdout.split() == ["ssh.service"], done.stderr


def restart(directory: Path, outdated: list[str], broken: str = "") -> tuple[int, list[str], str]:
    """Exit status of the program, the restarts that it asked for, in order, and its errors."""
    asked = directory / "asked"
    programs = {
        "needrestart": f'[ "$1" = -b ] || echo others >>{asked}\n'
        + "".join(f"echo 'NEEDRESTART-SVC: {unit}'\n" for unit in outdated),
        "face-units": "".join(f"echo {unit}\n" for unit in ["face.target", *STARTED]),
        "systemctl": f'echo "$2" >>{asked}\n[ "$2" != "{broken}" ]\n',
    }
    for name, text in programs.items():
        (directory / name).write_text(f"#!/bin/sh\n{text}")
        (directory / name).chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-I", ROLE / "files/restart_outdated.py"],
        env={"PATH": f"{directory}:{os.environ['PATH']}"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, asked.read_text().split() if asked.exists() else [], done.stderr


def test_what_the_others_need_runs_the_new_code_first(tmp_path: Path) -> None:
    found = ["celery@1.service", "celery@2.service", "postgresql@17-main.service", "ssh.service"]
    assert restart(tmp_path, found) == (
        0,
        ["others", "postgresql@17-main.service", "celery@1.service", "celery@2.service"],
        "",
    )


def test_nothing_is_restarted_where_no_code_was_replaced(tmp_path: Path) -> None:
    assert restart(tmp_path, []) == (0, [], "")


def test_a_worker_goes_on_where_another_does_not_come_back(tmp_path: Path) -> None:
    status, asked, said = restart(
        tmp_path, ["celery@1.service", "celery@2.service"], broken="celery@1.service"
    )
    assert (status, asked) == (1, ["celery@1.service"])
    assert "journalctl -u celery@1.service" in said
