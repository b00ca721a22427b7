"""The strategy by which ./check runs most playbooks."""

from __future__ import annotations

import os
import re
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

# Each shape of a task that is skipped or includes others, and what later tasks see of it.
SHAPES = """
- hosts: all
  gather_facts: false
  vars: {wanted: false, nothing: [], several: [1, 2]}
  tasks:
    - {name: Skipped, command: /bin/false, when: wanted, register: skipped}
    - {name: Skipped by the second, command: /bin/false, when: [not wanted, wanted], register: other}
    - {name: Skipped for each, command: /bin/false, when: item > 2, loop: "{{ several }}", register: each}
    - {name: Skipped for none, command: /bin/false, when: wanted, loop: "{{ nothing }}", register: empty}
    - {name: Skipped once, command: /bin/false, when: wanted, run_once: true, register: once}
    - {name: Skipped elsewhere, command: /bin/false, when: wanted, delegate_to: other, register: elsewhere}
    - name: Skipped on one host
      command: /bin/true
      when: inventory_hostname == 'a'
      changed_when: true
      notify: [Told, Not told]
    - {name: Included, include_tasks: "{{ 'some' }}.yml", vars: {given: "{{ inventory_hostname }}"}}
    - {name: Included for each, include_tasks: some.yml, vars: {given: "{{ item }}"}, loop: "{{ several }}"}
    - {name: Not included, include_tasks: lacking.yml, when: wanted}
    - name: Role
      include_role: {name: "{{ playbook_dir }}/role", tasks_from: other}
      vars: {given: role}
      register: role
    - {name: Noted, set_fact: {noted: "{{ inventory_hostname }} of {{ several }}"}, register: note}
    - {name: Noted once, set_fact: {noted_once: "{{ inventory_hostname }}"}, run_once: true}
    - {name: Kept to oneself, set_fact: {hidden: secret}, no_log: true}
    - {name: As it should be, ansible.builtin.assert: {that: noted != noted_once, quiet: true}}
    - name: Show all
      debug:
        msg: "{{ [skipped, other, each, empty, once, elsewhere, role, note, noted, noted_once] }}"
    - meta: flush_handlers
    - name: Rescued
      block:
        - {name: Cannot be told, command: /bin/true, when: lacking_variable}
      rescue:
        - {name: Say why, debug: {msg: "{{ ansible_failed_task.name }}: {{ ansible_failed_result.msg }}"}}
    - name: Rescued again
      block:
        - {name: Lacks its file, include_tasks: "{{ wanted_file }}"}
      rescue:
        - {name: Say why, debug: {msg: "{{ ansible_failed_task.name }}: {{ ansible_failed_result.msg }}"}}
    - name: Fails, and the play goes on
      ansible.builtin.assert: {that: wanted, fail_msg: "{{ noted }}"}
      ignore_errors: true
      register: said
    - {name: Fails on one, include_tasks: missing.yml, when: inventory_hostname == 'a'}
    - {name: On the other, debug: {msg: "{{ said }}"}}
  handlers:
    - {name: Told, debug: {msg: told}}
    - {name: Not told, debug: {msg: no}, when: wanted}
"""


def _play(directory: Path, strategy: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / ".venv/bin/ansible-playbook", "-c", "local", *options, directory / "play.yml"],
        cwd=directory,
        env={
            **os.environ,
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "default",
            "ANSIBLE_STRATEGY_PLUGINS": str(ROOT / "plugins/strategy"),
            "ANSIBLE_STRATEGY": strategy,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_tasks_without_a_process_come_to_the_same(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(SHAPES)
    (tmp_path / "some.yml").write_text(
        "- {name: Some, debug: {msg: '{{ given }}'}}\n- {name: No, debug: {}, when: wanted}\n"
    )
    (tmp_path / "role/tasks").mkdir(parents=True)
    (tmp_path / "role/tasks/other.yml").write_text("- {name: Of a role, debug: {msg: '{{ given }}'}}\n")
    told = {}
    for strategy in ("linear", "mitogen_unpinned"):
        done = _play(tmp_path, strategy, "-i", "a,b,", "-v", "--forks=1")
        assert done.returncode == 2, done.stdout + done.stderr
        told[strategy] = re.sub(r"(delta|start|end): .*", r"\1", done.stdout)
    assert told["mitogen_unpinned"] == told["linear"]
    assert "On the other" in told["linear"]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core cannot show that all are used")
def test_what_a_playbook_starts_on_this_machine_has_all_its_cores(tmp_path: Path) -> None:
    """Guests are started so, and tests of hosts: on one core they would wait for each other."""
    (tmp_path / "play.yml").write_text(PLAY)
    done = _play(tmp_path, "mitogen_unpinned", "-i", "localhost,")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"cores={len(os.sched_getaffinity(0))} strategy=mitogen_unpinned" in done.stdout
