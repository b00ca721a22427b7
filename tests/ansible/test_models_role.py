"""The role that installs a model pack, on this machine: from addresses, from a directory, and once."""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import packs
from tests.photos import LABELLED, labelled

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: model packs belong to it")
PACK = "yunet_sface"


class Host:
    """What the role finds: an application with its command, and the repository's variables."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.models = directory / "models"
        program = directory / "current/venv/bin/face-pipeline"
        program.parent.mkdir(parents=True)
        program.write_text(
            f'#!/bin/sh\nPYTHONPATH={ROOT / "app"} exec {sys.executable} -m face_pipeline.cli "$@"\n'
        )
        program.chmod(0o755)
        python = program.with_name("python")
        python.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT / "app"}:$PYTHONPATH exec {sys.executable} "$@"\n')
        python.chmod(0o755)
        (directory / "group_vars").symlink_to(ROOT / "group_vars")
        changed = {"name": "Application changed", "ansible.builtin.debug": {"msg": "the application changed"}}
        for tasks in ("main", "prove"):
            role = {"ansible.builtin.import_role": {"name": "models", "tasks_from": tasks}}
            play = {"hosts": "all", "gather_facts": False, "tasks": [role], "handlers": [changed]}
            (directory / f"{tasks}.yml").write_text(yaml.safe_dump([play]))

    def install(self, **variables: Any) -> tuple[int, str]:
        return self._play("main", variables)

    def prove(self, **variables: Any) -> tuple[int, str]:
        return self._play("prove", variables)

    def _play(self, name: str, variables: dict[str, Any]) -> tuple[int, str]:
        """Exit status, and what was printed as one line."""
        given = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "face_models_dir": str(self.models),
            "face_cache_dir": str(self.directory / "cache"),
            "face_current": str(self.directory / "current"),
            "face_runtime": "onnxruntime",
            "face_services": {"worker": {"hosts": ["one"]}},
            "nvidia_plan": {"use": False, "cards": 0},
            **variables,
        }
        done = subprocess.run(
            [ROOT / ".venv/bin/ansible-playbook", "-i", "one,", self.directory / f"{name}.yml",
             "-e", json.dumps(given)],
            cwd=ROOT,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_ROLES_PATH": str(ROOT / "roles")},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        return done.returncode, re.sub(r"\s+", " ", done.stdout + done.stderr)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture
def zoo(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Address and directory of a server with files as OpenCV's zoo has them."""
    directory = tmp_path / "zoo"
    directory.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(directory))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", directory
    server.shutdown()
    server.server_close()


def pack_of(zoo: Path, manifest: Path) -> dict[str, bytes]:
    """Files in the zoo's places, and a manifest like the published pack's with their hashes."""
    shipped = json.loads((ROOT / f"app/face_pipeline/engine/packs/{PACK}.json").read_text())
    urls = yaml.safe_load((ROOT / "group_vars/all/versions.yml").read_text())["face_model_urls"][PACK]
    files = {}
    for role, task in shipped["tasks"].items():
        files[task["file"]] = role.encode()
        place = zoo / urls[task["file"]].removeprefix("{{ face_opencv_zoo }}/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(role.encode())
        task["sha256"] = hashlib.sha256(role.encode()).hexdigest()
    manifest.parent.mkdir(exist_ok=True)
    manifest.write_text(json.dumps(shipped))
    return files


def test_a_pack_is_fetched_file_by_file_and_once(host: Host, zoo: tuple[str, Path], tmp_path: Path) -> None:
    address, directory = zoo
    manifest = tmp_path / "own/manifest.json"
    files = pack_of(directory, manifest)
    variables = {
        "face_model_pack": PACK, "face_opencv_zoo": address, "models_manifest_file": str(manifest),
    }  # fmt: skip
    status, said = host.install(**variables)
    assert status == 0, said
    assert "the application changed" in said
    installed = {path.name: path.read_bytes() for path in (host.models / PACK).iterdir()}
    assert {name: installed[name] for name in files} == files
    assert "manifest.json" in installed
    status, said = host.install(**variables, face_model_urls={})
    assert status == 0, said
    assert "changed=0" in said


def test_a_file_with_another_hash_is_refused_and_says_what_to_do(host: Host, zoo: tuple[str, Path]) -> None:
    address, directory = zoo
    pack_of(directory, directory / "other/manifest.json")
    status, said = host.install(face_model_pack=PACK, face_opencv_zoo=address)
    assert status != 0
    assert "face_detection_yunet_2026may.onnx" in said
    assert "face_opencv_zoo to a mirror" in said
    assert not list((host.models / PACK).glob("*.onnx"))


def test_without_a_network_the_directory_to_make_is_said(host: Host) -> None:
    status, said = host.install(face_model_pack=PACK, face_opencv_zoo="http://127.0.0.1:9")
    assert status != 0
    assert "face_recognition_sface_2021dec.onnx" in said
    assert "with app/face_pipeline/engine/packs/yunet_sface.json as manifest.json" in said
    assert "face_model_pack_source names" in said


@pytest.mark.campaign("the scenario `default` does it on a host")
def test_a_dlib_pack_of_a_directory_is_prepared_once(host: Host, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(packs.dlib_pack(), source, ignore=shutil.ignore_patterns("descriptor*"))
    status, said = host.install(face_model_pack_source=str(source))
    assert status == 0, said
    assert (host.models / "dlib/descriptor.onnx").is_file()
    status, said = host.install(face_model_pack_source=str(source))
    assert status == 0, said
    assert "changed=0" in said


@pytest.mark.campaign("it prepares a pack for minutes; tests/engine/test_prepared.py prepares one")
def test_fast_is_prepared_once_and_what_became_of_it_is_told(host: Host, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for name in sorted(labelled())[:3]:
        person = photos / name.partition("_")[0]
        person.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(LABELLED / name, person / name)
    source = packs.insightface_pack()
    given = {
        "face_model_pack_source": str(source),
        "face_profile": "fast",
        "face_profile_photos": str(photos),
    }
    status, said = host.install(**{**given, "face_profile_photos": str(tmp_path / "nowhere")})
    assert status != 0
    assert "nowhere cannot be read (No such file or directory)" in said
    assert "on this host (face_profile_photos)" in said
    status, said = host.install(**given)
    assert status == 0, said
    # Only a processor with VNNI accepts it.
    assert "one: fast on onnxruntime" in said or "one: the profile exact is used instead of fast: " in said
    (installed,) = host.models.iterdir()
    record = json.loads((installed / "prepared/fast/record.json").read_text())
    assert record["photos"] == str(photos)
    shutil.rmtree(photos)
    status, said = host.install(**given)
    assert status == 0, said
    assert "changed=0" in said
    status, said = host.install(**{**given, "face_profile": "exact"})
    assert status == 0, said
    assert "changed=0" in said
    assert "fast" not in said.partition("Prepare the model pack for the processor")[2].partition("TASK")[0]


@pytest.mark.campaign("an operator runs it once for a pack")
def test_an_installed_pack_is_proven_with_known_people(host: Host, tmp_path: Path) -> None:
    names = [name for name in labelled() if name.startswith(("obama_1", "obama_2", "biden_", "leslie_"))]
    photos, output = tmp_path / "photos", tmp_path / "figures"
    for name in names:
        person = photos / name.partition("_")[0]
        person.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(LABELLED / name, person / name)
    source = packs.opencv_pack()
    status, said = host.install(face_model_pack_source=str(source))
    assert status == 0, said
    proof = {
        "face_model_pack_source": str(source),
        "models_output": str(output),
        "models_proof_dir": str(tmp_path / "proof"),
    }
    status, said = host.prove(models_proof_photos=str(photos), **proof)
    assert status == 0, said
    assert "changed=0" in said
    (written,) = output.iterdir()
    figures = json.loads(written.read_text())
    assert figures["photos with a face"] == len(names)
    assert figures["pairs on their side of it"] == 1
    assert not (tmp_path / "proof").exists()
    shutil.copyfile(photos / "biden/biden_1.jpg", photos / "leslie/mistaken.jpg")
    status, said = host.prove(models_proof_photos=str(photos), **proof)
    assert status != 0
    assert "of the pairs are on their side of the threshold" in said
    status, said = host.prove(models_proof_photos="", **proof)
    assert status != 0
    assert "-e photos=/the/directory" in said
