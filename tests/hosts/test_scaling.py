"""Scaling an installed host with the operator's own commands, while photos are under way."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hosts.test_host import SUMMARY, Host, wait
from tests.patience import PATIENCE
from tests.photos import ROOT

INVENTORY = os.environ.get("FACE_HOST_INVENTORY")
pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(
        not (SUMMARY and INVENTORY),
        reason="needs an installed host and its inventory (FACE_HOST_SUMMARY, FACE_HOST_INVENTORY)",
    ),
]


def playbook(
    name: str,
    *,
    checkout: Path = ROOT,
    inventory: Path | str | None = INVENTORY,
    check: bool = False,
    extra: Path | None = None,
    **variables: object,
) -> subprocess.CompletedProcess[str]:
    """With the strategy FACE_REPEAT_STRATEGY, where it is given: `./check campaign` has Ansible's own."""
    options = ["--check"] if check else []
    # A file of variables: what is secret is in no command line.
    options += ["-e", f"@{extra}"] if extra else []
    given = [
        part
        for variable, value in variables.items()
        for part in (
            "-e",
            json.dumps({variable: value}) if isinstance(value, list) else f"{variable}={value}",
        )
    ]
    ansible = str(Path(sys.executable).parent / "ansible-playbook")
    # As an operator types it, with the project's own ansible.cfg: a test tool around this one has another.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    if strategy := os.environ.get("FACE_REPEAT_STRATEGY"):
        environment["ANSIBLE_STRATEGY"] = strategy
    return subprocess.run(
        [ansible, "-i", str(inventory), f"playbooks/{name}.yml", *options, *given],
        cwd=checkout, capture_output=True, text=True, timeout=600 * PATIENCE, check=False,
        env={**environment, "ANSIBLE_NOCOLOR": "1"},
    )  # fmt: skip


def scale(workers: object) -> str:
    done = playbook("scale", workers=workers)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def running(host: Host) -> int:
    units = host.run("systemctl list-units --plain --no-legend --state=active 'celery@*.service'")
    return len(units.splitlines())


def wait_until_finished(host: Host, batch: str) -> None:
    wait(lambda: (host.batch(batch) or {}).get("finished"), 240, f"batch {batch}")


def test_scaling_under_load_loses_no_photo_and_ends_none_twice(host: Host) -> None:
    began = host.run("date +%s").strip()
    batches = [host.upload_many("scaling") for _ in range(4)]
    for workers in (4, 1, 2):
        scale(workers)
        assert running(host) == workers
    for batch in batches:
        wait_until_finished(host, batch)
        photos = host.call("GET", f"/api/v1/photos?batch={batch}&limit=200").json()["photos"]
        assert {photo["state"] for photo in photos} == {"done"}
        assert {photo["face_count"] for photo in photos} == {1}
    # systemd's words on a worker that did not end by itself.
    journal = host.run(f"journalctl -u 'celery@*' -o cat --no-pager --since @{began}")
    assert not re.search("Killing process|Failed with result", journal)


@pytest.mark.campaign("the scenario `cluster` repeats all of site.yml")
def test_the_same_number_again_changes_nothing(host: Host) -> None:
    scale(2)
    assert "changed=0" in scale(2)
    assert running(host) == 2


@pytest.mark.parametrize(
    "workers",
    [
        "11",
        *(
            pytest.param(each, marks=pytest.mark.campaign("a number too high is tested"))
            for each in ("many", "-1", "2.5", "")
        ),
    ],
)
def test_a_wrong_number_is_one_clear_line_and_changes_nothing(host: Host, workers: str) -> None:
    before = host.run("cat /etc/face-pipeline/workers.json; systemctl list-units --plain 'celery@*'")
    done = playbook("scale", workers=workers)
    assert done.returncode != 0
    assert f"workers is '{workers}': a whole number from 0 to 10 is needed" in re.sub(
        r"\s+", " ", done.stdout
    )
    assert host.run("cat /etc/face-pipeline/workers.json; systemctl list-units --plain 'celery@*'") == before


def test_without_workers_photos_wait_and_are_done_later(host: Host) -> None:
    scale(0)
    assert running(host) == 0
    batch = host.upload_many("scaling-zero")
    waiting = json.loads(host.run("face-pipeline queues"))["waiting"]
    assert waiting == 50
    scale(2)
    wait(lambda: (host.batch(batch) or {}).get("finished"), 120, "the waiting photos")


def test_prometheus_is_told_which_workers_there_are(host: Host) -> None:
    for workers in (3, 2):
        scale(workers)
        groups = json.loads(host.run("cat /var/lib/face-pipeline/targets/workers.json"))
        assert len(groups) == workers
        for group in groups:
            assert "celery_tasks_active" in host.run(f"curl -sf http://{group['targets'][0]}/metrics")


@pytest.mark.campaign("tests/ansible/test_worker_restarts.py restarts them, and a deployment does")
def test_a_restart_keeps_all_and_makes_each_new(host: Host) -> None:
    scale(4)
    command = "systemctl show --property MainPID --value 'celery@*.service'"
    before = set(host.run(command).split())
    batch = host.upload_many("scaling-restart")
    done = playbook("workers", do="restart")
    assert done.returncode == 0, done.stdout
    assert running(host) == 4
    assert not before & set(host.run(command).split())
    wait(lambda: (host.batch(batch) or {}).get("finished"), 120, "the photos of the restart")
    scale(2)


@pytest.mark.campaign("face.target stops and starts them, too")
def test_stop_and_start_bring_back_the_same_number(host: Host) -> None:
    assert playbook("workers", do="stop").returncode == 0
    assert running(host) == 0
    assert playbook("workers", do="start").returncode == 0
    assert running(host) == 2


def test_the_status_names_each_worker_and_the_queues(host: Host, tmp_path: Path) -> None:
    table = playbook("workers", do="status").stdout
    for words in ("processed", "2 workers, 8 photos at once", "queues: search 0, ingest 0"):
        assert words in table
    output = tmp_path / "status.json"
    printed = playbook("workers", do="status", format="json", output=output)
    assert printed.returncode == 0
    status = json.loads(output.read_text())
    assert json.loads(printed.stdout).keys() == status.keys()
    assert status["queues"]["ingest"] == 0
    (workers,) = status["hosts"].values()
    assert [(each["instance"], each["state"], each["enabled"]) for each in workers] == [
        (1, "active", True), (2, "active", True),
    ]  # fmt: skip
    assert all(each["memory_bytes"] > 50 * 1024**2 and each["active"] == 0 for each in workers)


def test_what_is_edited_for_one_worker_holds_for_it_alone(host: Host) -> None:
    directory = "/etc/systemd/system/celery@2.service.d"
    edited = "[Service]\\nEnvironment=FACE_WORKER_CONCURRENCY=1\\nMemoryMax=3G\\n"
    # What `systemctl edit celery@2` writes.
    host.run(f"mkdir -p {directory}; printf '{edited}' >{directory}/override.conf; systemctl daemon-reload")
    try:
        host.run("systemctl restart celery@2")
        threads = [
            host.run(f"curl -sf http://127.0.0.1:981{n}/metrics | sed -n 's/^celery_worker_concurrency //p'")
            for n in (1, 2)
        ]
        assert [float(number) for number in threads] == [4, 1]
        limit = host.run("systemctl show --property MemoryMax --value celery@2").strip()
        assert int(limit) == 3 * 1024**3
    finally:
        host.run(f"rm {directory}/override.conf; systemctl daemon-reload; systemctl restart celery@2")


def test_an_unknown_action_is_one_clear_line(host: Host) -> None:
    wrong = playbook("workers", do="explode")
    assert wrong.returncode != 0
    assert "take -e do=status, restart, stop, start or help" in re.sub(r"\s+", " ", wrong.stdout)
