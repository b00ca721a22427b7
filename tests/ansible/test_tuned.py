"""What was measured on a host is the default of its workers; whatever an operator set wins over it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from face_pipeline.engine import tuned
from face_pipeline.engine.prepared.record import host

from tests.ansible.test_memory_limits import played
from tests.ansible.test_runtime_role import task

ROOT = Path(__file__).resolve().parents[2]
GROUPS = ("proxy", "web", "workers", "postgres", "redis", "monitoring", "logging")
SHOWN = {
    "converge": task("worker", "Run this host's share of the workers")["ansible.builtin.command"],
    "threads": "{{ face_worker_concurrency }}",
    "target": "{{ autoscaler_target }}",
    "memory": "{{ autoscaler_worker_memory_mb }}",
    "limit": "{{ face_worker_memory_max_mb }}",
}
ENVIRONMENT = {
    "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
    "ANSIBLE_FILTER_PLUGINS": str(ROOT / "roles/worker/filter_plugins"),
    "ANSIBLE_NOCOLOR": "1",
    # Mitogen binds what it runs on this machine to one core, which then counts as all there are.
    "ANSIBLE_STRATEGY": "linear",
}
PROGRAM = "/usr/local/sbin/face-workers converge"
MEMORY_MB = int(Path("/proc/meminfo").read_text().split("MemTotal:")[1].split()[0]) // 1024
QUARTER = max(2048, int(MEMORY_MB * 0.25))
# As it was before anything was measured.
UNMEASURED = {
    "converge": f"{PROGRAM} 2", "threads": "4", "target": "10", "memory": "500", "limit": str(QUARTER),
}  # fmt: skip
MEASURED = {
    "converge": f"{PROGRAM} 2 5", "threads": "3", "target": "77", "memory": "900", "limit": str(QUARTER + 64),
}  # fmt: skip
HERE = tuned.Basis(
    "buffalo_l", "of a test", "onnxruntime", "exact", host(())["processor"], len(os.sched_getaffinity(0))
)
FOUND = tuned.Tuned(
    format=tuned.FORMAT, made_at="2026-01-02T03:04:05+00:00", basis=HERE, memory_mb=8000, photos="a portrait",
    load=0.1, measured=[tuned.Figures(5, 3, 38.5, 700.0, 900.0)], search_ms={"1": 40.0}, workers=5, threads=3,
    worker_photos_per_second=7.7, worker_memory_mb=900, worker_memory_max_mb=QUARTER + 64,
    autoscale_target=77,
)  # fmt: skip


class Hosts:
    """Hosts of an inventory, each with a directory of local facts of its own."""

    def __init__(self, directory: Path, **variables: dict[str, Any]) -> None:
        self.directory = directory
        (directory / "group_vars").symlink_to(ROOT / "group_vars")
        (directory / "roles").symlink_to(ROOT / "roles")
        for each in variables:
            (directory / each).mkdir()
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        first = {next(iter(variables)): {}}
        children = {group: {"hosts": first} for group in GROUPS} | {"workers": {"hosts": variables}}
        (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"vars": local, "children": children}}))
        facts = ["!all", "!min", "local", "hardware"]
        tasks = [
            {"ansible.builtin.setup": {
                "fact_path": "{{ playbook_dir }}/{{ inventory_hostname }}", "gather_subset": facts}},
            {"ansible.builtin.copy": {
                "content": "{{ shown | to_json }}",
                "dest": "{{ playbook_dir }}/{{ inventory_hostname }}.json"},
             "check_mode": False, "vars": {"shown": SHOWN}},
        ]  # fmt: skip
        files = [f"{ROOT}/roles/{role}/defaults/main.yml" for role in ("worker", "autoscaler")]
        play = {"hosts": "workers", "gather_facts": False, "vars_files": files, "tasks": tasks}
        (directory / "play.yml").write_text(yaml.safe_dump([play]))

    def tune(self, name: str, found: tuned.Tuned = FOUND) -> None:
        tuned.write(self.directory / name / "face_tune.fact", found)

    def shown(self, *options: str, **given: Any) -> dict[str, dict[str, str]]:
        """What each host gets, in a run with these options and variables."""
        command = [ROOT / ".venv/bin/ansible-playbook", "-i", self.directory / "hosts.yml", "play.yml"]
        done = subprocess.run(
            [*map(str, command), "-e", json.dumps(given), *options],
            cwd=self.directory, env={**os.environ, **ENVIRONMENT},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return {
            file.stem: {key: str(value).strip() for key, value in json.loads(file.read_text()).items()}
            for file in self.directory.glob("*.json")
        }


def test_the_numbers_that_were_measured_are_taken(tmp_path: Path) -> None:
    hosts = Hosts(tmp_path, one={})
    assert hosts.shown() == {"one": UNMEASURED}
    hosts.tune("one")
    assert hosts.shown() == {"one": MEASURED}
    assert hosts.shown("--check") == {"one": MEASURED}


def test_every_host_that_may_work_gets_a_worker(tmp_path: Path) -> None:
    hosts = Hosts(tmp_path, one={}, two={}, three={}, none={"face_worker_weight": 0})
    shown = {name: each["converge"].removeprefix(PROGRAM).strip() for name, each in hosts.shown().items()}
    assert shown == {"one": "1", "two": "1", "three": "1", "none": "0"}


@pytest.mark.parametrize("place", ["inventory", "command line"])
def test_what_the_operator_set_wins(tmp_path: Path, place: str) -> None:
    given = {
        "face_workers": 0, "face_worker_concurrency": 9, "face_autoscale_target": 20,
        "face_worker_memory_max_mb": 1024,
    }  # fmt: skip
    hosts = Hosts(tmp_path, one=given if place == "inventory" else {})
    hosts.tune("one")
    wanted = {"converge": f"{PROGRAM} 0", "threads": "9", "target": "20", "memory": "900", "limit": "1024"}
    assert hosts.shown(**(given if place == "command line" else {})) == {"one": wanted}


@pytest.mark.campaign("the other tests of this file read such a file")
def test_what_was_measured_of_something_else_is_left(tmp_path: Path) -> None:
    others: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "a": ({"pack": "dlib"}, {}),
        "b": ({"cores": HERE.cores + 1}, {}),
        "c": ({"processor": "another"}, {}),
        "d": ({}, {"face_runtime": "openvino"}),
        "e": ({}, {"face_model_pack": "dlib"}),
        "f": ({}, {"nvidia_plan": {"use": True}}),
        "k": ({"profile": "fast"}, {}),
    }
    texts = {"g": "no JSON", "h": "[]", "i": '{"format": 1}', "j": '{"format": 0, "workers": 5}'}
    hosts = Hosts(
        tmp_path, **{name: given for name, (_, given) in others.items()}, **{each: {} for each in texts}
    )
    for name, (basis, _) in others.items():
        hosts.tune(name, replace(FOUND, basis=replace(HERE, **basis)))
    for name, text in texts.items():
        (tmp_path / name / "face_tune.fact").write_text(text)
    for name, shown in hosts.shown().items():
        assert shown == {**UNMEASURED, "converge": f"{PROGRAM} 1"}, name


@pytest.mark.campaign("the other tests of this file read such a file")
def test_each_host_has_its_own_numbers_and_the_others_their_share(tmp_path: Path) -> None:
    hosts = Hosts(tmp_path, one={}, two={}, few={"face_workers_max": 4}, none={"face_worker_weight": 0})
    for name in ("two", "few", "none"):
        hosts.tune(name)
    shown = hosts.shown()
    assert {name: each["converge"].removeprefix(PROGRAM).split() for name, each in shown.items()} == {
        "few": ["1", "4"],
        "none": ["0"],
        "one": ["1"],
        "two": ["1", "5"],
    }
    assert (shown["one"]["threads"], shown["two"]["threads"]) == ("4", "3")


@pytest.mark.parametrize(
    ("number", "said"),
    [("", ""), (10, ""), (11, "face_workers is 11: a whole number"), ("few", "face_workers is few: a whole")],
)
def test_a_number_of_workers_may_be_left_open_and_is_else_checked(
    tmp_path: Path, number: int | str, said: str
) -> None:
    tasks = yaml.safe_load((ROOT / "roles/preflight/tasks/inventory.yml").read_text())
    (check,) = (each for each in tasks if each["name"] == "Check the number of workers")
    status, printed = played(tmp_path, [check], 8000, face_workers=number)
    assert (status == 0) == (said == ""), printed
    assert said in " ".join(printed.split())
