"""The smoke test of a run that changes how nginx is asked: which name, port and certificate it takes.

A stand-in for `face-pipeline smoke` leaves its arguments and what it was told to trust: the command itself is
tried behind a real nginx in tests/app/test_client.py, and both on a host in tests/hosts/test_releasing.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.app.test_flower import render
from tests.hardening import ROOT

STAND_IN = """#!/bin/sh
echo "$*" >{asked}
cat >{trusted}
"""


def smoke(directory: Path, **given: Any) -> tuple[list[str], str]:
    """The arguments of the smoke test, and what it is to trust, where nginx is as `directory` has it."""
    program = directory / "current/venv/bin/face-pipeline"
    program.parent.mkdir(parents=True)
    program.write_text(STAND_IN.format(asked=directory / "asked", trusted=directory / "trusted"))
    program.chmod(0o755)
    (directory / "new.pem").write_text("-----BEGIN CERTIFICATE-----\nnew\n-----END CERTIFICATE-----\n")
    (directory / "group_vars").symlink_to(ROOT / "group_vars")
    variables = {
        "face_public_host": "new.example",
        "face_current": str(directory / "current"),
        "face_tls_dir": str(directory),
        "face_tls_certificate": str(directory / "new.pem"),
        "verify_nginx_site": str(directory / "face-pipeline.conf"),
        "verify_parts": ["pipeline"],
        "verify_units": [],
        "face_release_hosts": [],
        **given,
    }
    play = {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [{"ansible.builtin.import_role": {"name": "verify"}}],
    }
    (directory / "play.yml").write_text(yaml.safe_dump([play]))
    done = subprocess.run(
        [ROOT / ".venv/bin/ansible-playbook", "-i", ROOT / "inventory/local.yml", directory / "play.yml",
         "-e", json.dumps({"ansible_python_interpreter": sys.executable, **variables})],
        cwd=directory,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_ROLES_PATH": str(ROOT / "roles")},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return (directory / "asked").read_text().split(), (directory / "trusted").read_text().strip()


def value(arguments: list[str], option: str) -> str:
    return arguments[arguments.index(option) + 1]


def installed(directory: Path) -> None:
    """nginx's own files, of a run before: the role's site, and the pair of key and certificate."""
    ports = yaml.safe_load((ROOT / "group_vars/all/endpoints.yml").read_text())["face_ports"]
    render(directory, face_public_host="old.example", face_ports={**ports, "https": 8443})
    (directory / "server.pem").write_text(
        "-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n"
        "-----BEGIN CERTIFICATE-----\nold\n-----END CERTIFICATE-----\n"
    )


def test_before_nginx_has_its_turn_it_is_asked_as_it_is(tmp_path: Path) -> None:
    installed(tmp_path)
    arguments, trusted = smoke(tmp_path, verify_before_nginx=True)
    assert (value(arguments, "--host"), value(arguments, "--port")) == ("old.example", "8443")
    assert trusted == "-----BEGIN CERTIFICATE-----\nold\n-----END CERTIFICATE-----"


def test_afterwards_it_is_asked_as_its_clients_will(tmp_path: Path) -> None:
    installed(tmp_path)
    arguments, trusted = smoke(tmp_path)
    assert (value(arguments, "--host"), value(arguments, "--port")) == ("new.example", "443")
    assert "\nnew\n" in trusted
