"""The packages of other vendors on a host: what is known of them, and what somebody else installed.

By this machine's own dpkg and apt. That a package is installed, held and purged is shown on hosts.
"""

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

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="needs dpkg")


def play(directory: Path, *tasks: dict[str, Any], **variables: Any) -> None:
    """Run tasks with the role `vendor`, whose handler is left out: it wants a systemd."""
    roles = directory / "roles"
    shutil.copytree(ROOT / "roles/vendor", roles / "vendor", dirs_exist_ok=True)
    handler = {"name": "Forget the units of removed packages", "ansible.builtin.debug": {"msg": "forgotten"}}
    (roles / "vendor/handlers/main.yml").write_text(yaml.safe_dump([handler]))
    # The module apt starts again with an interpreter that has python3-apt, which Mitogen does not know.
    made = [{"hosts": "localhost", "gather_facts": False, "strategy": "linear", "tasks": list(tasks)}]
    (directory / "play.yml").write_text(yaml.safe_dump(made))
    given = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **variables}
    command = [str(ROOT / ".venv/bin/ansible-playbook"), "-i", "localhost,", str(directory / "play.yml")]
    done = subprocess.run(
        [*command, "-e", json.dumps(given)],
        cwd=directory,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_ROLES_PATH": str(roles)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def part(name: str, **variables: Any) -> dict[str, Any]:
    return {"ansible.builtin.import_role": {"name": "vendor", "tasks_from": name}, "vars": variables}


@pytest.mark.campaign("the scenario `cluster` installs so, on hosts")
def test_a_package_lacks_unless_it_is_there_in_the_version_that_is_wanted(tmp_path: Path) -> None:
    command = ["dpkg-query", "--show", "--showformat", "${Version}", "dpkg"]
    there = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    looks = {
        "exact": {"dpkg": there},
        "revision": {"dpkg": f"{there[:3]}*"},
        "shorter": {"dpkg": there[:3]},
        "longer": {"dpkg": f"{there}.1"},
        "lookalike": {"dpkg": there.replace(".", "x")},
        "absent": {"face-nonesuch": "1.0"},
        "both": {"dpkg": there, "face-nonesuch": "1.0"},
    }
    tasks: list[dict[str, Any]] = []
    for name, wanted in looks.items():
        tasks.append(part("look", vendor_packages=list(wanted), vendor_versions=wanted))
        kept = "{{ {'installed': vendor_installed, 'lacking': vendor_lacking} | to_json }}"
        copy = {"content": kept, "dest": str(tmp_path / name), "mode": "0600"}
        tasks.append({"ansible.builtin.copy": copy})
    play(tmp_path, *tasks)
    found = {name: json.loads((tmp_path / name).read_text()) for name in looks}
    assert {name: one["lacking"] for name, one in found.items()} == {
        "exact": [],
        "revision": [],
        "shorter": ["dpkg"],
        "longer": ["dpkg"],
        "lookalike": ["dpkg"],
        "absent": ["face-nonesuch"],
        "both": ["face-nonesuch"],
    }
    assert found["exact"]["installed"] == {"dpkg": there}
    assert found["absent"]["installed"] == {"dpkg": there, "face-nonesuch": ""}


@pytest.mark.skipif(
    os.geteuid() != 0
    or subprocess.run(["/usr/bin/python3", "-c", "import apt"], capture_output=True).returncode != 0,
    reason="needs root and apt for Python",
)
def test_what_somebody_else_installed_stays_with_its_data(tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    for place in (theirs, ours):
        (place / "data").mkdir(parents=True)
        (place / "data/lines").write_text("kept\n")
        (place / "unit.d").mkdir()
    (ours / "unit.d/face-hardening.conf").touch()
    tasks = [part("look", vendor_packages=["face-nonesuch"], vendor_versions={"face-nonesuch": "1.0"})]
    for place in (theirs, ours):
        given = {
            "vendor_package": "face-nonesuch",
            "vendor_unit": "face-nonesuch.service",
            "vendor_user": "face-nonesuch",
            "vendor_sign": str(place / "unit.d/face-hardening.conf"),
            "vendor_paths": [str(place / "data"), str(place / "unit.d")],
        }
        tasks.append(part("remove", **given))
    play(tmp_path, *tasks)
    assert (theirs / "data/lines").read_text() == "kept\n"
    assert list(ours.iterdir()) == []
