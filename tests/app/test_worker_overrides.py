"""What an operator sets for one worker (`systemctl edit celery@2`) holds against what is set for all."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
from face_pipeline.parts import Parts
from kombu import Connection

from tests.hardening import calls
from tests.installation import BIN, START_SECONDS, App, wait_until
from tests.photos import ROOT
from tests.services.process import free_port

UNIT = ROOT / "roles/worker/templates/celery@.service.j2"


def _lines(key: str, *texts: str) -> list[str]:
    return [
        line.partition("=")[2] for text in texts for line in text.splitlines() if line.startswith(f"{key}=")
    ]


def _every_unit() -> list[str]:
    """Lines of the drop-in of all units, but for those of its profile."""
    (given,) = calls("app")
    return [f"{name}={value}" for name, value in given["hardening_service"].items()]


def _as_systemd_does(settings: Path, drop_in: str) -> tuple[list[str], dict[str, str]]:
    """Command and environment of celery@1: Environment= in turn, then EnvironmentFile= over all of them."""
    texts = [UNIT.read_text(), "\n".join(_every_unit()), drop_in]
    environment: dict[str, str] = {}
    for words in _lines("Environment", *texts):
        environment |= dict(word.split("=", 1) for word in shlex.split(words))
    if _lines("EnvironmentFile", *texts):
        environment |= dict(line.split("=", 1) for line in settings.read_text().splitlines())
    (command,) = _lines("ExecStart", UNIT.read_text())
    command = (
        command.replace("{{ face_current }}/venv/bin", str(BIN)).replace("%i", "1").replace("%H", "tests")
    )
    command = re.sub(r"\$\{(\w+)\}", lambda found: environment.get(found[1], ""), command)
    del environment["FACE_TURNS_DIR"]
    return shlex.split(command), environment | {"FACE_WORKER_INSTANCE": "1"}


@pytest.mark.parametrize(
    ("drop_in", "threads"),
    [("", 3), ("[Service]\nEnvironment=FACE_WORKER_CONCURRENCY=1\n", 1)],
    ids=["as all", "edited"],
)
def test_threads_set_for_one_worker_hold_against_those_of_all(
    web_app: App,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    drop_in: str,
    threads: int,
    parts: Parts,
    to_workers: Connection,
) -> None:

    port = free_port()
    settings = tmp_path / "face-pipeline.env"
    settings.write_text(f"FACE_WORKER_CONCURRENCY=3\nFACE_METRICS_PORT_BASE={port - 1}\n")
    command, environment = _as_systemd_does(settings, drop_in)
    # The tests' own settings of an installation are in this environment: what the file says is not.
    left = {"FACE_WORKER_CONCURRENCY", "FACE_METRICS_PORT_BASE", "FACE_ENV_FILE"} - set(environment)
    given = {name: value for name, value in web_app.installation.environment.items() if name not in left}
    monkeypatch.setattr(web_app.installation, "environment", given)
    worker = web_app.installation.spawn(
        "override.log", *command, **environment, FACE_ENV_FILE=str(settings), PATH=os.environ["PATH"]
    )
    web_app.workers[1] = worker

    def found() -> int | None:
        asked = parts.celery.control.inspect(["worker1@tests"], timeout=1, connection=to_workers)
        stats = asked.stats()
        return stats["worker1@tests"]["pool"]["max-concurrency"] if stats else None

    wait_until(lambda: worker.poll() is not None or found(), START_SECONDS, "the worker to say its threads")
    assert worker.poll() is None, web_app.installation.log("override.log")[-2000:]
    assert found() == threads
    # As `top` and `journalctl _COMM=celery` have it.
    assert Path(f"/proc/{worker.pid}/comm").read_text() == "celery\n"


def test_no_unit_reads_the_settings_where_they_would_win() -> None:
    """EnvironmentFile= wins over every Environment=, an operator's too: the application reads the file."""
    for role in ROOT.glob("roles/*"):
        for call in calls(role.name):
            assert "face-pipeline.env" not in str(call.get("hardening_service")), role
    for unit in ROOT.glob("roles/*/templates/*.j2"):
        text = unit.read_text()
        assert "face-pipeline.env" not in "".join(_lines("EnvironmentFile", text)), unit
        assert "${FACE_" not in "".join(_lines("ExecStart", text)), unit
