"""What computes on a host: the role models prepares the pack once, the role worker lets its units do it."""

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
from face_pipeline.engine.runtimes import available

from tests.ansible.test_memory_limits import played
from tests.hardening import ROOT, drop_in
from tests.packs import dlib_pack, insightface_pack

# Seconds that a busy machine may need to compile models the first time.
PATIENCE = 300


def task(role: str, name: str) -> dict[str, Any]:
    (found,) = [
        each
        for each in yaml.safe_load((ROOT / f"roles/{role}/tasks/main.yml").read_text())
        if each["name"] == name
    ]
    return {key: value for key, value in found.items() if key != "notify"}


def converged(
    directory: Path, pack: Path, runtime: str, *arguments: str, card: bool = False, profile: str = "exact"
) -> tuple[str, str]:
    """What computes there by the role worker, and how the preparation ended: ok, changed or skipped."""
    directory.mkdir(exist_ok=True)
    program = directory / "current/venv/bin/face-pipeline"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT}/app exec {sys.executable} -m face_pipeline.cli "$@"\n')
    program.chmod(0o755)
    code = drop_in("worker", directory / "20-generated-code.conf", 1)
    tasks = [
        task("models", "Prepare the model pack for the processor of this host"),
        task("worker", "Ask the model pack what computes on this host"),
        {"ansible.builtin.debug": {"msg": "computes by {{ worker_computes_by }}"}},
        {**code, "when": "worker_computes_by == 'openvino'"},
    ]
    files = [f"{ROOT}/roles/{role}/vars/main.yml" for role in ("models", "worker")]
    play = {"hosts": "one", "gather_facts": False, "vars_files": files, "tasks": tasks}
    (directory / "play.yml").write_text(yaml.safe_dump([play]))
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": {"one": local}}}))
    given = {
        "face_current": f"{directory}/current",
        "face_models_dir": str(pack.parent),
        "face_installed_pack": pack.name,
        "face_runtime": runtime,
        "face_profile": profile,
        "face_profile_photos": "",
        "face_services": {"worker": {"hosts": ["one"]}},
        "nvidia_plan": {"use": card, "cards": 1},
    }
    command = [ROOT / ".venv/bin/ansible-playbook", "-i", directory / "hosts.yml", directory / "play.yml"]
    done = subprocess.run(
        [*map(str, command), "-e", json.dumps(given), *arguments],
        cwd=directory, env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    first = done.stdout.partition("TASK [Ask")[0]
    ended = next(word for word in ("skipping", "changed", "ok") if f"{word}: [one]" in first)
    return done.stdout.partition("computes by ")[2].partition('"')[0], ended


@pytest.mark.campaign("the scenario `cluster` runs all of it twice")
@pytest.mark.parametrize("profile", ["exact", "fast"])
def test_a_second_run_prepares_nothing_and_a_check_changes_nothing(tmp_path: Path, profile: str) -> None:
    pack = Path(shutil.copytree(insightface_pack(), tmp_path / "models" / "small"))
    host = tmp_path / "host"
    assert converged(host, pack, "onnxruntime", "--check", profile=profile) == ("onnxruntime", "skipping")
    assert not (pack / "prepared").exists()
    assert converged(host, pack, "onnxruntime", profile=profile) == ("onnxruntime", "changed")
    assert converged(host, pack, "onnxruntime", profile=profile) == ("onnxruntime", "ok")
    assert (pack / "prepared" / profile / "record.json").exists()
    assert not (host / "20-generated-code.conf").exists()


def test_only_openvino_may_write_code(tmp_path: Path) -> None:
    if not available("openvino"):
        pytest.skip("needs openvino, which is not installed here")
    pack = Path(shutil.copytree(insightface_pack(), tmp_path / "models" / "small"))
    host = tmp_path / "host"
    assert converged(host, pack, "openvino") == ("openvino", "changed")
    lines = (host / "20-generated-code.conf").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == [
        "[Service]",
        "MemoryDenyWriteExecute=no",
    ]


@pytest.mark.campaign("tests/gpu has the choice of a runtime")
def test_a_card_runs_the_originals_and_dlibs_descriptor_is_made_for_onnxruntime(tmp_path: Path) -> None:
    assert converged(tmp_path / "one", insightface_pack(), "auto", card=True) == ("onnxruntime", "skipping")
    pack = tmp_path / "models" / "dlib"
    shutil.copytree(dlib_pack(), pack, ignore=shutil.ignore_patterns("descriptor*"))
    assert converged(tmp_path / "two", pack, "auto") == ("onnxruntime", "changed")


def test_a_runtime_that_is_none_is_refused(tmp_path: Path) -> None:
    tasks = yaml.safe_load((ROOT / "roles/preflight/tasks/inventory.yml").read_text())
    (check,) = (each for each in tasks if each["name"] == "Check what computes on the processors")
    status, said = played(tmp_path, [check], 8000, face_runtime="tensorrt")
    assert status == 2
    assert "face_runtime is 'tensorrt': auto, onnxruntime or openvino" in " ".join(said.split())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"face_profile": "quick"}, "face_profile is 'quick' (exact or fast)"),
        ({"face_profile_photos": "photos"}, "face_profile_photos 'photos' (the absolute path of a directory"),
    ],
)
def test_a_profile_that_is_none_is_refused(tmp_path: Path, given: dict[str, str], words: str) -> None:
    tasks = yaml.safe_load((ROOT / "roles/preflight/tasks/inventory.yml").read_text())
    (check,) = (each for each in tasks if each["name"] == "Check the profile of the model pack")
    status, said = played(tmp_path, [check], 8000, **given)
    assert status == 2
    assert words in " ".join(said.split())
