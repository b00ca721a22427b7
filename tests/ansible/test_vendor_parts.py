"""A vendor's part that fails costs the others nothing: our playbooks, with roles that do nothing or fail.

What the real roles do is shown on hosts (molecule's scenario `cluster`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("elastic", "elasticsearch", "logstash", "kibana", "filebeat", "grafana")
LOGGING, GRAFANA = "playbooks/logging.yml", "playbooks/grafana.yml"
GROUPS = ("proxy", "web", "workers", "postgres", "redis", "monitoring", "logging")
# How a role may fail: by its own word, in a loop, in a handler, in a task that hides what it printed.
ROLE = """
- name: Configure
  ansible.builtin.command: "{{ 'true' }}"
  changed_when: true
  notify: "Restart {{ vendor_part }}"
- name: Say what is wrong
  ansible.builtin.fail: {msg: "{{ inventory_hostname }}: it does not like {{ vendor_part }}"}
  when: how.get(vendor_part ~ '@' ~ inventory_hostname) == 'word'
- name: Ask in turn
  ansible.builtin.command: "{{ item }}"
  loop: ["true", "sh -c 'echo the second one is bad >&2; exit 3'", "true"]
  changed_when: false
  when: how.get(vendor_part ~ '@' ~ inventory_hostname) == 'loop'
- name: Keep the secret
  ansible.builtin.command: sh -c 'echo SECRET; exit 1'
  changed_when: false
  no_log: true
  when: how.get(vendor_part ~ '@' ~ inventory_hostname) == 'hidden'
- name: Apply
  ansible.builtin.meta: flush_handlers
- name: Write down that it was run
  ansible.builtin.lineinfile:
    path: "{{ ran }}"
    line: "{{ vendor_part }}@{{ inventory_hostname }}"
    create: true
    mode: "0644"
"""
HANDLER = """
- name: Restart {part}
  ansible.builtin.command: "{{{{ 'false' if how.get(part) == 'handler' else 'true' }}}}"
  vars: {{part: "{part}@{{{{ inventory_hostname }}}}"}}
  changed_when: true
"""


class Site:
    def __init__(self, directory: Path, hosts: dict[str, list[str]]) -> None:
        self.directory, self.ran = directory, directory / "ran"
        (directory / "etc").mkdir()
        for part in PARTS:
            for kind, text in (("tasks", ROLE), ("handlers", HANDLER.format(part=part))):
                (directory / "roles" / part / kind).mkdir(parents=True)
                (directory / "roles" / part / kind / "main.yml").write_text(text)
        names = sorted({name for members in hosts.values() for name in members})
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        children = {group: {"hosts": dict.fromkeys(members)} for group, members in hosts.items()}
        inventory = {"all": {"hosts": dict.fromkeys(names, local), "children": children}}
        (directory / "hosts.yml").write_text(yaml.safe_dump(inventory))

    def play(self, playbook: str, *options: str, how: dict[str, str], **variables: Any) -> tuple[int, str]:
        """Exit status, and what it printed in one line."""
        self.ran.unlink(missing_ok=True)
        given = {
            "how": how,
            "ran": str(self.ran),
            "face_config_dir": str(self.directory / "etc"),
            **variables,
        }
        command = [
            ROOT / ".venv/bin/ansible-playbook",
            "-i",
            self.directory / "hosts.yml",
            playbook,
            *options,
        ]
        done = subprocess.run(
            [*command, "-e", json.dumps({"ansible_facts": {"memtotal_mb": 16000}, **given})],
            cwd=ROOT,
            env={
                **os.environ,
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_ROLES_PATH": f"{self.directory / 'roles'}:{ROOT / 'roles'}",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    def parts_that_ran(self) -> set[str]:
        return set(self.ran.read_text().split()) if self.ran.exists() else set()

    def reason(self, part: str) -> str:
        """As it was left on the host."""
        return str(json.loads((self.directory / "etc" / f"failed-{part}.json").read_text())["reason"])


@pytest.fixture
def one_host(tmp_path: Path) -> Site:
    return Site(tmp_path, {group: ["one"] for group in GROUPS})


def test_a_part_that_fails_costs_the_others_only_what_they_need_of_it(one_host: Site) -> None:
    how = {"elasticsearch@one": "loop", "logstash@one": "hidden", "filebeat@one": "handler"}
    status, said = one_host.play(LOGGING, how=how)
    assert status == 2
    assert "Elasticsearch on one failed: the second one is bad. Try it again: ./face-ansible" in said
    assert "playbooks/logging.yml --tags elasticsearch -i " in said
    assert "4 part(s) failed, all else is installed and works" in said
    assert one_host.parts_that_ran() == {"elastic@one"}
    assert one_host.reason("kibana") == "it needs Elasticsearch, which failed"
    assert one_host.reason("filebeat") == "the task 'Restart filebeat' failed"
    hidden = one_host.reason("logstash")
    assert hidden.startswith("the task 'Keep the secret' failed; what it printed may hold a secret")
    assert "SECRET" not in said + hidden

    status, said = one_host.play(LOGGING, how={})
    assert status == 0, said
    assert one_host.parts_that_ran() == {f"{part}@one" for part in PARTS[:5]}
    assert not list((one_host.directory / "etc").iterdir())


def test_a_run_succeeds_where_the_vendors_parts_are_optional(one_host: Site) -> None:
    status, said = one_host.play(GRAFANA, how={"grafana@one": "word"}, face_vendors_optional=True)
    assert status == 0, said
    assert "Grafana on one failed: it does not like grafana. Try it again: " in said


def test_a_host_whose_part_failed_stays_in_the_run(tmp_path: Path) -> None:
    site = Site(tmp_path, {**{group: ["one"] for group in GROUPS}, "workers": ["one", "two"]})
    status, said = site.play(LOGGING, how={"elastic@two": "word", "filebeat@one": "handler"})
    assert status == 2
    assert "3 part(s) failed" in said
    assert site.parts_that_ran() == {f"{part}@one" for part in PARTS[:4]}
    assert "Filebeat on two failed: it needs Elastic" in said


def test_only_the_part_that_was_asked_for_is_run(one_host: Site) -> None:
    status, said = one_host.play(LOGGING, "--tags", "kibana", how={"logstash@one": "word"})
    assert status == 0, said
    assert one_host.parts_that_ran() == {"elastic@one", "kibana@one"}
