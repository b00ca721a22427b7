"""What an operator sees who types `face-pipeline …`, also with a wrong configuration."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.installation import Installation, seal_all
from tests.packs import insightface_pack
from tests.services.process import free_port


def _run(installation: Installation, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "face_pipeline.cli", *arguments],
        env={**installation.environment, **extra}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_migrating_and_ensuring_twice_changes_nothing(installation: Installation) -> None:
    assert installation.run("migrate").stdout == "unchanged\n"
    arguments = ("keys", "ensure", "--name", "admin", "--scopes", "admin", "--credential", "admin_api_key")
    assert installation.run(*arguments).stdout == "unchanged\n"


def test_keys_are_made_listed_and_revoked(installation: Installation) -> None:
    key = installation.run("keys", "create", "--name", "camera", "--scopes", "write,read").stdout.strip()
    assert key.startswith("fp_")
    listed = installation.run("keys", "list").stdout
    assert "camera" in listed
    assert key not in listed
    again = installation.run("keys", "create", "--name", "camera", "--scopes", "read", check=False)
    assert again.returncode == 1
    assert "camera" in again.stderr
    installation.run("keys", "revoke", "--name", "camera")
    assert "revoked" in installation.run("keys", "list").stdout
    assert installation.run("keys", "revoke", "--name", "camera", check=False).returncode == 1


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("FACE_LOG_LEVEL", "LOUD", "FACE_LOG_LEVEL"),
        ("FACE_DATABASE_PORT", "many", "FACE_DATABASE_PORT"),
        ("FACE_PROFILE", "quick", "FACE_PROFILE: Input should be 'exact' or 'fast'"),
        ("FACE_CREDENTIALS_DIR", "/nonexistent", "database_password"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(
    installation: Installation, variable: str, value: str, words: str
) -> None:
    result = _run(installation, "migrate", **{variable: value})
    assert result.returncode == 78
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_unreachable_database_is_one_line(installation: Installation) -> None:
    result = _run(installation, "migrate", FACE_DATABASE_PORT=str(free_port()))
    assert result.returncode == 1
    assert "database cannot be reached: connection to server" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_unreachable_redis_is_one_line_that_says_how_it_failed(installation: Installation) -> None:
    port = free_port()
    result = _run(installation, "queues", FACE_REDIS_PORT=str(port))
    assert result.returncode == 1
    assert result.stderr.startswith("face-pipeline: the task queue cannot be reached: ")
    assert str(port) in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_the_doctor_finds_a_healthy_installation_healthy(clean: Installation) -> None:
    seal_all(clean.parts)
    findings = json.loads(clean.run("doctor", "--format", "json").stdout)
    assert [finding for finding in findings if not finding["ok"]] == []
    assert "ok   redis" in clean.run("doctor").stdout


def test_the_doctor_names_a_worker_that_could_not_compute_on_its_card(clean: Installation) -> None:
    seal_all(clean.parts)
    said = clean.run("doctor").stdout
    assert "ok   device           workers compute on the CPU" in said
    result = _run(clean, "doctor", FACE_DEVICE="cuda")
    assert result.returncode != 0
    assert (
        "FACE_DEVICE is cuda, and this release has the CPU's onnxruntime;"
        " run ./face-ansible site.yml" in result.stdout
    )


@pytest.mark.campaign("it prepares a pack for each runtime")
def test_the_doctor_tells_what_computes(clean: Installation, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(insightface_pack(), tmp_path / "small"))
    where = {"FACE_MODELS_DIR": str(tmp_path), "FACE_MODEL_PACK": "small"}

    def found(**more: str) -> tuple[str, str]:
        findings = json.loads(_run(clean, "doctor", "--format", "json", **where, **more).stdout)
        (its,) = [each for each in findings if each["check"] == "runtime"]
        return its["state"], its["message"]

    assert found() == ("ok", "onnxruntime runs the pack's models as they came")
    # Nothing was prepared: no worker computes on this host.
    assert found(FACE_PROFILE="fast") == found()
    assert _run(clean, "pack", "prepare", str(directory), "--runtime", "onnxruntime").returncode == 0
    state, message = found(FACE_RUNTIME="onnxruntime")
    assert state == "ok"
    assert message.startswith(
        "onnxruntime runs the prepared models: onnxruntime is quickest here (ms a photo"
    )
    state, message = found(FACE_RUNTIME="onnxruntime", FACE_PROFILE="fast")
    assert state == "warn"
    assert "the profile exact is used instead of fast: it was not prepared (./face-ansible" in message
    assert message.endswith("; set face_profile to exact, if it is to stay so")
    (directory / "prepared/exact/detection.onnx").write_bytes(b"another")
    state, message = found()
    assert state == "warn"
    assert message.endswith("those prepared do not fit their record; run ./face-ansible site.yml")


def test_the_doctor_names_a_damaged_pack_and_a_lost_table(clean: Installation, tmp_path: Path) -> None:
    seal_all(clean.parts)
    pack = tmp_path / "dlib"
    shutil.copytree((clean.directory / "models" / "dlib").resolve(), pack)
    model = next(pack.glob("*resnet*.dat"))
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    result = _run(clean, "doctor", FACE_MODELS_DIR=str(tmp_path), FACE_REDIS_PORT=str(free_port()))
    assert result.returncode == 1
    failed = [line for line in result.stdout.splitlines() if line.startswith("FAIL")]
    assert [line.split()[1] for line in failed] == ["model", "redis"]
    assert model.name in failed[0]


@pytest.mark.parametrize("damage", ["missing", "changed", "no pack"])
def test_a_worker_without_a_good_pack_does_not_run(clean: Installation, tmp_path: Path, damage: str) -> None:
    if damage != "no pack":
        pack = tmp_path / "dlib"
        shutil.copytree((clean.directory / "models" / "dlib").resolve(), pack)
        model = next(pack.glob("*resnet*.dat"))
        if damage == "missing":
            model.unlink()
        else:
            model.write_bytes(b"something else")
    result = subprocess.run(
        [sys.executable, "-m", "face_pipeline.worker", "--hostname", "broken@tests"],
        env={**clean.environment, "FACE_MODELS_DIR": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 78
    critical = [line for line in result.stdout.splitlines() if '"CRITICAL"' in line]
    assert len(critical) == 1
    assert "dlib" in json.loads(critical[0])["message"]


def test_a_worker_that_cannot_serve_its_metrics_does_not_run(clean: Installation) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = subprocess.run(
            [sys.executable, "-m", "face_pipeline.worker", "--hostname", "deaf@tests"],
            env={**clean.environment, "FACE_METRICS_PORT_BASE": str(port), "FACE_WORKER_INSTANCE": "0"},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert result.returncode == 78
    assert str(port) in result.stdout
