"""./check: its steps, its table, its line of numbers, and that nothing of it stays behind.

The tools, the tests and the machine containers are not here: stand-ins leave a line of what they were asked.
"""

from __future__ import annotations

import configparser
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.installation import wait_until
from tests.order import LONGEST_FIRST

ROOT = Path(__file__).resolve().parents[2]
# Each says its name and arguments, fails where FAIL names it, and hangs where HANG does.
TOOL = """#!/bin/bash
said="${0##*/} $*"
echo "$said" >>calls
[ -z "${HANG:-}" ] || [[ $said != $HANG* ]] || exec sleep 4711
[ -z "${FAIL:-}" ] || [[ $said != $FAIL* ]] || { echo "fatal: [mol1]: FAILED! => the cause"; exit 2; }
"""
# What the plugin of tests/results.py would have left.
PYTEST = (
    TOOL
    + """
cat >$FACE_RESULTS/$$.json <<JSON
{"passed": 7, "failed": [], "skipped": [["tests/x.py::test_y", "no card here"]], "seconds": {}}
JSON
"""
)
TOOLS = ("ruff", "mypy", "yamllint", "ansible-lint", "molecule", "ansible-playbook")


class Checkout:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("check", "lib.sh", "tests/results.py", "requirements/dev.lock"):
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, directory / name)
        for name in TOOLS:
            self.script(f".venv/bin/{name}", TOOL)
        self.script(".venv/bin/pytest", PYTEST)
        self.script(".venv/bin/python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        self.script("tests/services/prepare", TOOL)
        self.script(
            "roles/machine/files/preflight", '#!/bin/sh\n[ -z "$UNABLE" ] || { echo "$UNABLE"; exit 3; }\n'
        )
        # Whatever of the host's packages is lacking here is not to be installed.
        for name in ("systemd-nspawn", "mmdebstrap", "nft", "ip", "ssh", "gpg"):
            self.script(f"host/{name}", "#!/bin/sh\n")
        digest = subprocess.run(
            ["sha256sum"], stdin=(directory / "requirements/dev.lock").open(), capture_output=True, check=True
        )
        (directory / ".venv/.lock").write_bytes(digest.stdout)

    def script(self, name: str, text: str) -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        self.started = subprocess.Popen(
            [self.directory / "check", *arguments],
            env={**os.environ, "PATH": f"{self.directory}/host:{os.environ['PATH']}", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return self.started

    def run(self, *arguments: str, **environment: str) -> tuple[int, str]:
        process = self.start(*arguments, **environment)
        said, _ = process.communicate()
        return process.returncode, said

    @property
    def calls(self) -> list[str]:
        return (self.directory / "calls").read_text().splitlines()


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    made = Checkout(tmp_path)
    yield made
    made.started.terminate()
    made.started.wait(60)


def table(said: str) -> dict[str, str]:
    """The end of what it prints: how each step ended."""
    lines = said.rstrip().rsplit("\n\n", 1)[-1].splitlines()
    return {line[:28].strip(): line[28:].split()[0] for line in lines if line[28:29] == " "}


def test_it_ends_with_a_table_of_its_steps_and_one_line_of_numbers(checkout: Checkout) -> None:
    status, said = checkout.run()
    assert status == 0, said
    steps = table(said)
    assert {how for step, how in steps.items() if step != "together"} == {"ok"}
    assert {"ruff", "mypy", "ansible-lint", "yamllint", "pytest", "test servers"} < set(steps)
    assert {"molecule default", "molecule cluster"} < set(steps)
    assert "SKIPPED tests/x.py::test_y: no card here" in said.splitlines()
    assert said.splitlines()[-1] == "7 passed, 0 failed, 1 skipped"


def test_what_failed_keeps_no_other_step_from_running_and_is_said_at_the_end(checkout: Checkout) -> None:
    status, said = checkout.run(FAIL="molecule test -s cluster", FACE_CHECK_AT_ONCE="1")
    assert status == 1
    steps = table(said)
    assert steps["molecule cluster"] == "FAILED"
    assert steps["molecule default"] == steps["pytest"] == "ok"
    end = said[said.index("FAILED molecule cluster, all of it in") :]
    assert "the cause" in end
    # Where only the last lines of a long output are kept, they say why.
    assert said.splitlines()[-1] == "check: 'molecule cluster' failed: fatal: [mol1]: FAILED! => the cause "
    # Its guests do not stand in the way of what still runs.
    removal = "ansible-playbook -i molecule/cluster/inventory/hosts.yml playbooks/machines/destroy.yml"
    assert checkout.calls.index(removal) < checkout.calls.index("molecule test -s default")


def test_without_its_tools_it_goes_no_further(checkout: Checkout) -> None:
    status, said = checkout.run(FAIL="prepare")
    assert status == 1
    assert table(said)["test servers"] == "FAILED"
    assert not any(call.startswith("pytest") for call in checkout.calls)


def test_machine_containers_that_cannot_run_here_are_named_with_the_reason(checkout: Checkout) -> None:
    status, said = checkout.run(UNABLE="no new namespaces allowed here")
    assert status == 0
    assert "molecule default             NOT RUN: no new namespaces allowed here" in said.splitlines()
    assert not any(call.startswith("molecule") for call in checkout.calls)


@pytest.mark.parametrize(("at_once", "hanging"), [("1", 1), ("2", 2)])
def test_interrupted_it_leaves_nothing_behind(checkout: Checkout, at_once: str, hanging: int) -> None:
    process = checkout.start(HANG="molecule", FACE_CHECK_AT_ONCE=at_once)
    calls = checkout.directory / "calls"
    wait_until(
        lambda: calls.exists() and sum(call.startswith("molecule") for call in checkout.calls) == hanging,
        30,
        "the scenarios to run",
    )
    wait_until(
        lambda: any(call.startswith("ansible-lint") for call in checkout.calls), 30, "what is beside them"
    )
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    removed = [call for call in checkout.calls if "machines/destroy.yml" in call]
    assert len(removed) == hanging
    left = subprocess.run(["pgrep", "-f", "^sleep 4711"], capture_output=True, text=True, check=False)
    mine = [pid for pid in left.stdout.split() if Path(f"/proc/{pid}/cwd").resolve() == checkout.directory]
    assert mine == []


def test_the_campaign_is_no_part_of_it_and_does_more(checkout: Checkout) -> None:
    assert checkout.run()[0] == 0
    usual = checkout.calls
    assert not any("test_meeting_uploads" in call for call in usual)
    (checkout.directory / "calls").unlink()
    status, said = checkout.run("campaign")
    assert status == 0, said
    assert any("test_meeting_uploads" in call and "test_api_fuzz" in call for call in checkout.calls)
    assert {"molecule default, bookworm", "molecule faults", "molecule cluster, in turn"} < set(table(said))
    assert "molecule update              NOT RUN: no earlier release is in the history here" in said
    assert checkout.run("campaign", FACE_PREVIOUS="1234567")[0] == 0
    assert "molecule test -s update" in checkout.calls
    assert checkout.run("all of it")[0] == 2


def test_it_says_where_the_time_went(checkout: Checkout) -> None:
    assert checkout.run()[0] == 0
    line = {"run": 1, "playbook": "site.yml", "check": True, "play": "p", "task": "base : Install", "at": 5.0}
    (checkout.directory / ".cache/check/times-default.jsonl").write_text(json.dumps({**line, "seconds": 7.5}))
    status, said = checkout.run("times")
    assert status == 0
    assert "default" in said.splitlines()
    assert ["8", "s", "1", "tasks", "site.yml", "--check"] in [line.split() for line in said.splitlines()]
    assert "    7.5 s  site.yml: base : Install" in said.splitlines()


def test_what_the_scripts_share_is_written_once() -> None:
    scripts = ("check", "quickstart", "bootstrap", "face-ansible", "tests/services/prepare")
    for shared in ("apt-get install", "ensurepip", "sha256sum", "--require-hashes -"):
        assert [name for name in scripts if shared in (ROOT / name).read_text()] == []
        assert shared.rstrip("-") in (ROOT / "lib.sh").read_text()


def test_the_longest_files_are_begun_first_and_no_name_of_them_is_out_of_date() -> None:
    assert [file for file in LONGEST_FIRST if not (ROOT / file).exists()] == []
    # It has fewer tests than the other, which is named first.
    long, other = "tests/ansible/test_vendor_parts.py", "tests/ansible/test_pins_and_memory.py"
    collected = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", other, long],
        cwd=ROOT,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    files = [line.partition("::")[0] for line in collected.splitlines() if "::" in line]
    assert list(dict.fromkeys(files)) == [long, other]


def test_each_task_leaves_its_time(tmp_path: Path) -> None:
    task = {"name": "Say it", "ansible.builtin.debug": {"msg": "said"}}
    played = [{"name": "Talk", "hosts": "localhost", "gather_facts": False, "tasks": [task, task]}]
    (tmp_path / "talk.yml").write_text(yaml.safe_dump(played))
    subprocess.run(
        [ROOT / ".venv/bin/ansible-playbook", "--check", "talk.yml"],
        cwd=tmp_path,
        env={
            **os.environ,
            "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "plugins/callback"),
            "ANSIBLE_CALLBACKS_ENABLED": "times",
            "FACE_TASK_TIMES": str(tmp_path / "times.jsonl"),
        },
        capture_output=True,
        check=True,
    )
    lines = [json.loads(line) for line in (tmp_path / "times.jsonl").read_text().splitlines()]
    assert [(line["playbook"], line["play"], line["task"]) for line in lines] == [
        ("talk.yml", "Talk", "Say it")
    ] * 2
    assert all(line["check"] and line["seconds"] > 0 for line in lines)
    assert lines[1]["at"] >= lines[0]["at"] + lines[0]["seconds"] - 0.01


def test_the_scenarios_gather_facts_as_an_operators_runs_do() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "ansible.cfg")
    for file in (ROOT / "molecule").glob("*/molecule.yml"):
        scenario = yaml.safe_load(file.read_text())["ansible"]["cfg"]["defaults"]
        assert scenario["gathering"] == settings["defaults"]["gathering"], file


def test_no_step_of_a_scenario_lacks_its_playbook() -> None:
    """Molecule leaves such a step out with a warning, also where the step names a playbook of its own."""
    for file in (ROOT / "molecule").glob("*/molecule.yml"):
        told = yaml.safe_load(file.read_text())
        playbooks = told["ansible"]["playbooks"]
        for action, *own in map(str.split, told["scenario"]["test_sequence"]):
            assert action in playbooks, f"{file}: {action}"
            for playbook in own or [playbooks[action]]:
                assert (file.parent / playbook).exists(), f"{file}: {playbook}"
