"""`face-pipeline tune`: what it chooses from what it measured, what it keeps, and what it says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from face_pipeline.engine import tuned
from face_pipeline.engine.tuned import Figures
from face_pipeline.errors import ConfigurationError
from face_pipeline.ops.tune import rule
from face_pipeline.ops.tune.measuring import WORKER_ENVIRONMENT

from tests.app.test_worker_overrides import UNIT, _every_unit, _lines
from tests.installation import Installation
from tests.photos import no_face


def rows(cores: int, *figures: tuple[int, float, float]) -> list[Figures]:
    """One thread alone, then (workers, photos a second, MB of one) of each."""
    alone = Figures(1, 1, 10.0, 200.0, 200.0)
    return [alone, *(Figures(n, rule.threads_for(n, cores), rate, mb, mb) for n, rate, mb in figures)]


def chosen(cores: int, memory_mb: int, *figures: tuple[int, float, float]) -> int:
    return rule.choose(rows(cores, *figures), cores, memory_mb).workers


def test_of_what_is_nearly_as_quick_the_one_with_least_memory_is_chosen() -> None:
    assert chosen(8, 32_000, (1, 60, 500), (2, 97.5, 400), (4, 100, 300), (8, 99, 250)) == 2
    assert chosen(8, 32_000, (1, 60, 500), (2, 96.5, 400), (4, 100, 300), (8, 99, 250)) == 4


def test_a_second_worker_is_left_out_only_where_it_has_no_room() -> None:
    assert chosen(2, 8_000, (1, 36, 330), (2, 35, 300)) == 2
    assert chosen(2, 1_000, (1, 36, 330), (2, 35, 300)) == 1
    assert chosen(1, 8_000, (1, 18, 300)) == 1


def test_what_does_not_fit_into_half_of_the_memory_is_not_chosen() -> None:
    assert chosen(8, 2_000, (1, 60, 500), (2, 80, 400), (4, 100, 300)) == 2
    assert chosen(8, 400, (1, 60, 500), (2, 80, 400), (4, 100, 300)) == 1


@pytest.mark.parametrize(
    ("cores", "most", "room_mb", "workers"),
    [(1, 10, 4000, [1]), (2, 10, 4000, [1, 2]), (6, 10, 9000, [1, 2, 4, 6]),
     (64, 10, 99000, [1, 2, 4, 8, 10]),
     (16, 10, 1000, [1, 2, 3]), (2, 10, 100, [1]), (8, 0, 9000, [1])],
)  # fmt: skip
def test_no_more_workers_are_tried_than_have_cores_and_room(
    cores: int, most: int, room_mb: float, workers: list[int]
) -> None:
    tried = rule.combinations(cores, most, room_mb, 300)
    assert [each for each, _ in tried] == workers
    # Every core has a photo to compute.
    assert all(count * threads >= cores for count, threads in tried)


def test_a_worker_of_two_cores_is_that_of_the_defaults_and_a_limit_is_never_below_the_least() -> None:
    assert rule.threads_for(2, 2) == 4
    assert rule.memory_limit_mb(100, 64) == 1024
    assert rule.memory_limit_mb(350, 640) == 1344
    assert (rule.waiting_for(15.2, 4), rule.waiting_for(0.1, 4)) == (152, 4)


def test_it_is_measured_as_the_units_of_workers_are_set() -> None:
    lines = _lines("Environment", UNIT.read_text(), "\n".join(_every_unit()))
    set_there = dict(word.split("=", 1) for line in lines for word in line.split())
    assert set_there.items() >= WORKER_ENVIRONMENT.items()


def tune(
    installation: Installation, file: Path, *arguments: str, check: bool = True, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = {"FACE_TUNE_FILE": str(file), "FACE_AUTOSCALE_HOST_MAX": "2", **variables}
    before = installation.environment
    installation.environment = {**before, **environment}
    try:
        return installation.run("tune", *arguments, check=check)
    finally:
        installation.environment = before


@pytest.mark.campaign("it measures for minutes; test_worker_playbooks.py measures less")
def test_a_host_is_measured_and_what_was_chosen_is_kept_shown_and_forgotten(
    clean: Installation, tmp_path: Path
) -> None:
    file = tmp_path / "facts.d" / "face_tune.fact"
    tried = tune(clean, file, "--seconds", "2", "--anyway", "--dry-run")
    assert "Nothing was kept." in tried.stdout
    assert not file.exists()
    done = tune(clean, file, "--seconds", "2", "--anyway")
    kept: dict[str, Any] = json.loads(file.read_text())
    assert kept["basis"]["pack"] == clean.parts.pack.name
    assert {(each["workers"], each["threads"]) for each in kept["measured"]} >= {
        (1, 1), (kept["workers"], kept["threads"]),
    }  # fmt: skip
    assert all(each["photos_per_second"] > 0 and each["peak_mb"] > 50 for each in kept["measured"])
    assert kept["worker_memory_max_mb"] >= 1024
    # Whoever may execute a local fact is run by Ansible.
    assert file.stat().st_mode & 0o777 == 0o644
    line = f"{kept['workers']} x {kept['threads']} "
    (row,) = [each for each in done.stdout.splitlines() if each.endswith("chosen")]
    assert row.startswith(line)
    given = f"workers of this host: {kept['workers']}, face_worker_concurrency: {kept['threads']},"
    assert given in done.stdout
    assert json.loads(tune(clean, file, "--show", "--json").stdout) == kept
    assert "is gone" in tune(clean, file, "--forget").stdout
    assert not file.exists()
    assert "nothing was kept" in tune(clean, file, "--forget").stdout


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 0}', '{"format": 1}'])
def test_a_file_of_something_else_says_what_to_do(tmp_path: Path, text: str) -> None:
    file = tmp_path / "face_tune.fact"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=r"face_tune\.fact is not what .* run it again, or"):
        tuned.read(file)


@pytest.mark.campaign("it starts the command again and again")
def test_what_cannot_be_measured_is_told_in_one_line(clean: Installation, tmp_path: Path) -> None:
    file, photos = tmp_path / "face_tune.fact", tmp_path / "photos"

    def refused(*arguments: str, **variables: str) -> str:
        done = tune(clean, file, "--seconds", "2", "--anyway", *arguments, check=False, **variables)
        assert done.returncode != 0
        assert "Traceback" not in done.stderr
        assert not file.exists()
        return done.stderr

    assert "cannot be read (No such file or directory)" in refused("--photos", str(photos))
    photos.mkdir()
    assert "holds no file" in refused("--photos", str(photos))
    (photos / "1.jpg").write_bytes(no_face())
    assert "there is no face on the photos" in refused("--photos", str(photos))
    (photos / "1.jpg").write_text("no photo")
    assert "1.jpg: " in refused("--photos", str(photos))
    assert "has no manifest" in refused(FACE_MODEL_PACK="absent") or "absent" in refused(
        FACE_MODEL_PACK="absent"
    )
    assert "compute on a card" in refused(FACE_DEVICE="cuda")
    assert "a number from 2 to 600 is needed" in tune(clean, file, "--seconds", "1", check=False).stderr
    assert "nothing was kept yet" in tune(clean, file, "--show", check=False).stderr


def test_a_host_that_cannot_say_what_waits_is_not_measured(clean: Installation, tmp_path: Path) -> None:
    done = tune(clean, tmp_path / "face_tune.fact", check=False, FACE_REDIS_PORT="1")
    assert done.returncode == 1
    assert "this host is busy" in done.stderr or "nobody can say whether photos wait" in done.stderr
    assert "--anyway" in done.stderr
