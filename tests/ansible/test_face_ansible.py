"""./face-ansible: the one way in which docs, hints and runbooks say that Ansible is called."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAY = """
- name: Say who and what
  hosts: all
  gather_facts: false
  tasks:
    - name: Say it
      ansible.builtin.debug:
        msg: >-
          host={{ inventory_hostname }} given={{ given | default('nothing') }}
          roles={{ lookup('config', 'DEFAULT_ROLES_PATH') }}
          strategy={{ lookup('config', 'DEFAULT_STRATEGY') }}
"""


class Checkout:
    """A clone, as far as the wrapper looks, with the Ansible of the tests as the installed one."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for part in ("requirements", "inventory/quickstart", "playbooks"):
            (directory / part).mkdir(parents=True)
        for file in ("ansible.cfg", "lib.sh", "requirements/deploy.lock", "inventory/local.yml"):
            (directory / file).write_text((ROOT / file).read_text())
        for file in ("inventory/cluster.example.yml", "inventory/quickstart/hosts.yml"):
            (directory / file).write_text("all: {hosts: {elsewhere: {ansible_connection: local}}}\n")
        shutil.copytree(ROOT / "plugins", directory / "plugins")
        wrapper = directory / "face-ansible"
        if (ROOT / "face-ansible").exists():
            wrapper.write_text((ROOT / "face-ansible").read_text())
            wrapper.chmod(0o755)
        (directory / "site.yml").write_text(SAY)
        (directory / "playbooks/workers.yml").write_text(SAY)

    def bootstrap(self) -> None:
        programs = self.directory / ".venv-deploy/bin"
        programs.mkdir(parents=True)
        for program in (ROOT / ".venv/bin").glob("ansible*"):
            (programs / program.name).symlink_to(program)
        lock = (self.directory / "requirements/deploy.lock").read_bytes()
        (self.directory / ".venv-deploy/.lock").write_text(f"{hashlib.sha256(lock).hexdigest()}  -\n")

    def run(self, *arguments: str, cwd: Path | None = None, **environment: str) -> tuple[int, str]:
        """Exit status, and what it printed in one line; nothing of Ansible's is set but `environment`."""
        callers = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        done = subprocess.run(
            [self.directory / "face-ansible", *arguments],
            cwd=cwd or self.directory,
            env={**callers, "ANSIBLE_NOCOLOR": "1", **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, " ".join((done.stdout + done.stderr).split())


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "face pipeline")


@pytest.fixture
def bootstrapped(checkout: Checkout) -> Checkout:
    checkout.bootstrap()
    return checkout


def test_a_newcomer_who_skipped_bootstrap_is_told_to_run_it(checkout: Checkout) -> None:
    status, said = checkout.run("site.yml", "-i", "inventory/local.yml")
    assert status == 1
    assert f"Ansible is not installed here yet: run {checkout.directory}/bootstrap first" in said


def test_after_an_update_of_the_pins_bootstrap_is_asked_for(bootstrapped: Checkout) -> None:
    (bootstrapped.directory / "requirements/deploy.lock").write_text("ansible-core==0\n")
    status, said = bootstrapped.run("site.yml")
    assert status == 1
    assert f"run {bootstrapped.directory}/bootstrap again" in said


def test_a_command_works_as_printed_from_any_directory(bootstrapped: Checkout, tmp_path: Path) -> None:
    for cwd in (bootstrapped.directory, tmp_path):
        status, said = bootstrapped.run(
            "site.yml", "-i", "inventory/local.yml", "-e", "given='two words'", cwd=cwd
        )
        assert status == 0, said
        assert "host=localhost given=two words" in said
        assert f"{bootstrapped.directory}/roles" in said
    status, said = bootstrapped.run("playbooks/workers.yml", "--inventory=inventory/local.yml", cwd=tmp_path)
    assert (status, "host=localhost" in said) == (0, True), said


def test_playbooks_run_through_mitogen_for_whoever_chooses_it(bootstrapped: Checkout) -> None:
    status, said = bootstrapped.run("site.yml", ANSIBLE_STRATEGY="mitogen_unpinned")
    assert (status, "host=localhost" in said, "strategy=mitogen_unpinned" in said) == (0, True, True), said
    status, said = bootstrapped.run("site.yml")
    assert (status, "host=localhost" in said, "strategy=linear" in said) == (0, True, True), said


def test_the_callers_own_inventory_is_taken_from_the_callers_directory(
    bootstrapped: Checkout, tmp_path: Path
) -> None:
    (tmp_path / "mine.yml").write_text("all: {hosts: {mine: {ansible_connection: local}}}\n")
    status, said = bootstrapped.run("site.yml", "-i", "mine.yml", cwd=tmp_path)
    assert status == 0, said
    assert "host=mine" in said
    status, said = bootstrapped.run("site.yml", cwd=tmp_path, ANSIBLE_INVENTORY=str(tmp_path / "mine.yml"))
    assert "host=mine" in said


def test_without_an_inventory_it_is_this_host_unless_there_is_another(bootstrapped: Checkout) -> None:
    status, said = bootstrapped.run("site.yml")
    assert status == 0, said
    assert "host=localhost" in said
    assert "elsewhere" not in said
    (bootstrapped.directory / "inventory/cluster.yml").write_text(
        "all: {hosts: {other: {ansible_connection: local}}}\n"
    )
    status, said = bootstrapped.run("site.yml", "--check")
    assert status == 1
    assert said == "face-ansible: which hosts? Add -i inventory/local.yml or -i inventory/cluster.yml"
    status, said = bootstrapped.run("site.yml", "-i", "inventory/cluster.yml")
    assert (status, "host=other" in said) == (0, True), said


def test_a_failed_play_keeps_its_exit_status(bootstrapped: Checkout) -> None:
    (bootstrapped.directory / "site.yml").write_text(SAY.replace("debug", "fail"))
    assert bootstrapped.run("site.yml")[0] == 2
    assert bootstrapped.run("nonesuch.yml")[0] != 0


def test_ansibles_other_programs_are_called_in_the_same_way(bootstrapped: Checkout, tmp_path: Path) -> None:
    status, said = bootstrapped.run("ansible-inventory", "--graph", cwd=tmp_path)
    assert status == 0, said
    assert "@workers:" in said
    status, said = bootstrapped.run("ansible", "workers", "-m", "ansible.builtin.debug")
    assert status == 0, said
    status, said = bootstrapped.run("ansible-nonesuch")
    assert status == 1
    assert "Ansible has no program ansible-nonesuch; there are: ansible " in said


def test_called_alone_it_says_how_it_is_called(bootstrapped: Checkout) -> None:
    status, said = bootstrapped.run()
    assert status == 2
    assert "./face-ansible PLAYBOOK [-i INVENTORY]" in said
