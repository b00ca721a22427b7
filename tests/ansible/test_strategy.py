"""The strategy by which ./check runs most playbooks."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.command: nproc
      register: cores
    - ansible.builtin.debug:
        msg: "cores={{ cores.stdout }} strategy={{ lookup('config', 'DEFAULT_STRATEGY') }}"
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core cannot show that all are used")
def test_what_a_playbook_starts_on_this_machine_has_all_its_cores(tmp_path: Path) -> None:
    """Guests are started so, and tests of hosts: on one core they would wait for each other."""
    (tmp_path / "play.yml").write_text(PLAY)
    done = subprocess.run(
        [ROOT / ".venv/bin/ansible-playbook", "-i", "localhost,", "-c", "local", tmp_path / "play.yml"],
        cwd=tmp_path,
        env={
            **os.environ,
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "default",
            "ANSIBLE_STRATEGY_PLUGINS": str(ROOT / "plugins/strategy"),
            "ANSIBLE_STRATEGY": "mitogen_unpinned",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"cores={len(os.sched_getaffinity(0))} strategy=mitogen_unpinned" in done.stdout
