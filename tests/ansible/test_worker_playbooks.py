"""playbooks/workers.yml and scale.yml as an operator types them: help, wrong words, JSON for a program."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.vars.reserved import get_reserved_names

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOKS = sorted([ROOT / "site.yml", *(ROOT / "playbooks").glob("*.yml")])
AWAY = {"ansible_host": "192.0.2.1", "ansible_ssh_common_args": "-o ConnectTimeout=1 -o ProxyCommand=false"}


class Workers:
    def __init__(self, directory: Path, hosts: dict[str, dict[str, Any]]) -> None:
        self.directory = directory
        one = {"hosts": {next(iter(hosts)): None}}
        children = {"workers": {"hosts": hosts}, **dict.fromkeys(("proxy", "web", "redis", "postgres"), one)}
        inventory = {"all": {"children": children}}
        (directory / "hosts.yml").write_text(yaml.safe_dump(inventory))
        # Without systemd here there is nobody to ask: a host on which no worker was ever started.
        (directory / "bin").mkdir()
        (directory / "bin" / "systemctl").write_text("#!/bin/sh\n")
        (directory / "bin" / "systemctl").chmod(0o755)

    def play(self, name: str, *options: str) -> subprocess.CompletedProcess[str]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        path = f"{self.directory / 'bin'}:{ROOT / '.venv/bin'}:{os.environ['PATH']}"
        return subprocess.run(
            ["ansible-playbook", "-i", str(self.directory / "hosts.yml"), f"playbooks/{name}.yml", *options],
            cwd=ROOT, env={**environment, "PATH": path, "ANSIBLE_NOCOLOR": "1"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip


@pytest.fixture
def here(tmp_path: Path) -> Workers:
    return Workers(tmp_path, {name: {"ansible_connection": "local"} for name in ("w1", "w2")})


@pytest.fixture
def away(tmp_path: Path) -> Workers:
    return Workers(tmp_path, {"w1": AWAY})


def test_help_names_each_verb_and_asks_no_host(away: Workers) -> None:
    done = away.play("workers", "-e", "do=help")
    assert done.returncode == 0, done.stdout + done.stderr
    for verb in ("status", "restart", "stop", "start", "help"):
        assert f"\ndo={verb} " in done.stdout
    assert "\n./face-ansible playbooks/workers.yml -e do=status -e format=json | jq" in done.stdout


def test_an_unknown_verb_is_one_line_that_lists_them(here: Workers) -> None:
    done = here.play("workers", "-e", "do=explode")
    assert done.returncode != 0
    words = "do is 'explode' and format 'table': take -e do=status, restart, stop, start or help"
    assert words in done.stdout
    assert "Origin:" not in done.stdout + done.stderr
    assert here.play("workers", "-e", "do=help", "-e", "format=xml").returncode != 0


def test_the_old_name_of_the_verb_says_the_new_one(here: Workers) -> None:
    done = here.play("workers", "-e", "action=restart")
    assert done.returncode != 0
    assert "type -e do=restart" in done.stdout


def test_the_status_as_json_is_all_that_is_printed(here: Workers) -> None:
    done = here.play("workers", "-e", "do=status", "-e", "format=json")
    assert done.returncode == 0, done.stdout + done.stderr
    status = json.loads(done.stdout)
    assert status["hosts"] == {"w1": [], "w2": []}
    assert status["unreachable"] == []
    assert "WARNING" not in done.stderr


def test_the_status_as_a_table_is_plain_lines(here: Workers) -> None:
    done = here.play("workers")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    first = lines.index("w1        no worker")
    assert lines[first + 1 : first + 3] == ["w2        no worker", "0 workers, 0 photos at once"]


@pytest.mark.parametrize(
    ("name", "options", "code"),
    [
        ("workers", ("do=explode",), "option_unknown"),
        ("workers", ("action=status",), "option_renamed"),
        ("scale", ("workers=many",), "option_unknown"),
        ("scale", ("workers=21",), "option_unknown"),
        ("scale", ("workers=3",), "not_installed"),
    ],
)
def test_an_error_is_json_too_for_who_asked_for_json(
    here: Workers, name: str, options: tuple[str, ...], code: str
) -> None:
    given = [part for option in (*options, "format=json") for part in ("-e", option)]
    done = here.play(name, *given)
    assert done.returncode != 0
    error = json.loads(done.stdout)["error"]
    assert error["code"] == code
    assert "nothing was changed" in error["message"]


def test_a_host_that_does_not_answer_is_json_too(away: Workers) -> None:
    done = away.play("workers", "-e", "format=json")
    assert done.returncode == 4
    assert json.loads(done.stdout)["error"]["code"] == "host_unreachable"


def test_an_error_of_ansible_itself_is_json_too(here: Workers) -> None:
    done = here.play("workers", "-e", "format=json", "-e", "worker_metrics_address={{ nowhere }}")
    assert done.returncode != 0
    assert "nowhere" in json.loads(done.stdout)["error"]["message"]


def test_more_workers_than_the_hosts_may_run_name_the_bound(tmp_path: Path) -> None:
    local = {"ansible_connection": "local"}
    hosts = Workers(tmp_path, {"w1": local, "w2": {**local, "face_worker_weight": 0}})
    done = hosts.play("scale", "-e", "workers=11")
    assert done.returncode != 0
    assert "workers is '11': a whole number from 0 to 10 is needed" in done.stdout


# What face-pipeline does on a host, without a measurement of minutes: tests/app/test_tune.py has that.
TUNED = """#!/bin/sh
echo "1 worker x 1 thread" >&2
case "$*" in
  *--show*) echo '{"workers": 3}'; exit ;;
  *--anyway*) ;;
  *) echo "face-pipeline: this host is busy; add --anyway" >&2; exit 1 ;;
esac
echo "$*, $FACE_AUTOSCALE_HOST_MAX at most"
"""


@pytest.mark.campaign("it measures")
def test_each_host_is_measured_and_the_next_command_is_told(tmp_path: Path) -> None:
    program = tmp_path / "current/venv/bin/face-pipeline"
    local = {"ansible_connection": "local", "face_current": str(tmp_path / "current")}
    hosts = Workers(tmp_path, {"w1": {**local, "face_workers_max": 4}, "w2": local})
    done = hosts.play("tune")
    assert done.returncode != 0
    assert "w2 was not measured: it has no release yet: run ./face-ansible site.yml first" in done.stdout
    program.parent.mkdir(parents=True)
    program.write_text(TUNED)
    program.chmod(0o755)
    done = hosts.play("tune")
    assert done.returncode != 0
    for name in ("w1", "w2"):
        words = f"{name} was not measured: face-pipeline: this host is busy; add -e anyway=true"
        assert words in " ".join(done.stdout.split())
    figures = tmp_path / "figures"
    done = hosts.play("tune", "-e", "anyway=true", "-e", "seconds=30", "-e", f"output={figures}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nw1\ntune --seconds 30 --anyway, 4 at most\n" in done.stdout
    assert "\nw2\ntune --seconds 30 --anyway, 10 at most\n" in done.stdout
    assert done.stdout.count("next: ./face-ansible site.yml -i ") == 1
    for name in ("w1", "w2"):
        assert json.loads((figures / f"{name}-tune.json").read_text()) == {"workers": 3}
    checked = hosts.play("tune", "--check")
    assert (checked.returncode, "measured:" in checked.stdout) == (0, False)


def test_no_playbook_makes_ansible_warn_of_a_name_of_its_own() -> None:
    reserved = get_reserved_names()
    for path in [*PLAYBOOKS, *(ROOT / "group_vars").rglob("*.yml"), *(ROOT / "roles").glob("*/*s/main.yml")]:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        named = set(loaded if isinstance(loaded, dict) else ())
        for play in loaded if isinstance(loaded, list) else ():
            named |= set(play.get("vars") or {})
        assert named & reserved == set(), path
    for path in [*PLAYBOOKS, *(ROOT / "docs").rglob("*.md")]:
        for word in path.read_text(encoding="utf-8").split("-e ")[1:]:
            assert word.split("=")[0] not in reserved, path


def test_a_run_prints_what_changed_and_not_what_did_not(tmp_path: Path) -> None:
    tasks = [
        {"name": "Leave it", "ansible.builtin.command": "true", "changed_when": False},
        {"name": "Skip it", "ansible.builtin.command": "true", "when": False},
        {"name": "Change it", "ansible.builtin.command": "true", "changed_when": True},
        {"name": "Tell it", "ansible.builtin.debug": {"msg": ["one line", "another"]}},
        {"name": "Show it", "ansible.builtin.debug": {"msg": [{"part": "a part"}]}},
        {"name": "Bring it (a minute or two)", "ansible.builtin.command": "true", "changed_when": False},
    ]
    play = [{"name": "A play", "hosts": "localhost", "gather_facts": False, "tasks": tasks}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play))

    def printed(*options: str) -> str:
        command = [ROOT / ".venv/bin/ansible-playbook", tmp_path / "play.yml", *options]
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        return subprocess.run(
            command, cwd=ROOT, env={**environment, "ANSIBLE_NOCOLOR": "1"},
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    short = printed()
    assert "PLAY [A play]" in short
    assert "changed: [localhost]" in short
    assert "\none line\nanother\n" in short
    assert "part: a part" in short
    assert "TASK [Bring it (a minute or two)]" in short
    assert "Leave it" not in short
    assert "Skip it" not in short
    assert "Leave it" in printed("-v")
