"""The log level at run time: what an operator types reaches running processes, and goes back by itself."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from face_pipeline.broker import log_level
from face_pipeline.parts import Parts
from face_pipeline.telemetry import logging as lines

from tests.installation import App, Installation, wait_until
from tests.services.process import free_port
from tests.services.redis import passwords

# The longest a process may take to see a change, and some for a busy machine.
SEEN = log_level.LOOK_SECONDS + 5


@pytest.fixture
def own_logging() -> Iterator[None]:
    """This process's loggers as they were."""
    loggers = [logging.getLogger(name) for name in ("", "face_pipeline")]
    before = [each.level for each in loggers]
    handlers = list(loggers[0].handlers)
    yield
    loggers[0].handlers[:] = handlers
    for each, old in zip(loggers, before, strict=True):
        each.setLevel(old)


def _changes(app: App, log: str) -> list[dict[str, Any]]:
    entries = (json.loads(line) for line in app.installation.log(log).splitlines() if line.startswith("{"))
    return [entry for entry in entries if entry.get("operation") == "log_level"]


@pytest.mark.campaign("tests/hosts/test_logs.py does it on hosts")
def test_running_processes_change_their_level_and_go_back_by_themselves(live_app: App) -> None:
    installation = live_app.installation
    before = {log: len(_changes(live_app, log)) for log in ("web.log", "worker1.log")}
    # Long enough to be seen by a command that starts slowly.
    assert "for 45 seconds" in installation.run("log-level", "ERROR", "--for", "45s").stdout
    assert "ERROR" in installation.run("log-level").stdout
    processes = {"web.log": int(os.environ.get("FACE_WEB_PROCESSES", "2")), "worker1.log": 1}

    def seen(word: str, times: int) -> bool:
        return all(
            sum(word in entry["message"] for entry in _changes(live_app, log)[before[log] :]) >= times * count
            for log, count in processes.items()
        )

    wait_until(lambda: seen("level is ERROR", 1), SEEN, "both to log errors alone")
    quiet = installation.log("web.log")
    live_app.get("/api/v1/collections")
    assert installation.log("web.log") == quiet
    wait_until(lambda: seen("level is INFO", 1), 45 + SEEN, "both to go back")
    live_app.get("/api/v1/collections")
    wait_until(lambda: len(installation.log("web.log")) > len(quiet), 60, "the request's line")


@pytest.mark.campaign("it waits for several services to look")
def test_one_service_alone_and_back_by_hand(live_app: App) -> None:
    installation = live_app.installation
    web, worker = len(_changes(live_app, "web.log")), len(_changes(live_app, "worker1.log"))
    installation.run("log-level", "DEBUG", "--service", "face-worker")
    wait_until(lambda: len(_changes(live_app, "worker1.log")) > worker, SEEN, "the worker to log more")
    assert "face-worker" in installation.run("log-level").stdout
    installation.run("log-level", "default", "--service", "face-worker")
    wait_until(lambda: len(_changes(live_app, "worker1.log")) > worker + 1, SEEN, "the worker to go back")
    assert len(_changes(live_app, "web.log")) == web
    assert "INFO" in installation.run("log-level").stdout


def test_back_for_all_is_back_for_each(clean: Installation) -> None:
    clean.run("log-level", "DEBUG", "--for", "1h", "--service", "face-worker")
    clean.run("log-level", "ERROR", "--for", "1h")
    said = clean.run("log-level", "default").stdout
    assert "every service" in said
    assert "none is chosen" in clean.run("log-level").stdout


@pytest.mark.campaign("it waits for several services to look")
def test_a_level_for_all_says_which_services_keep_one_of_their_own(clean: Installation) -> None:
    clean.run("log-level", "DEBUG", "--for", "1h", "--service", "face-worker")
    said = clean.run("log-level", "ERROR").stdout
    assert "face-worker keeps its own: DEBUG for 60 more minutes" in said
    assert "keeps" not in clean.run("log-level", "ERROR", "--service", "face-worker").stdout
    assert "every service logs at ERROR for 600 seconds" in said


def test_back_for_one_says_what_counts_for_it_then(clean: Installation) -> None:
    clean.run("log-level", "DEBUG", "--for", "1h", "--service", "face-worker")
    clean.run("log-level", "ERROR", "--for", "1h")
    said = clean.run("log-level", "default", "--service", "face-worker").stdout
    assert "face-worker logs at ERROR, as every service, for 60 more minutes" in said
    clean.run("log-level", "default")


def test_a_short_process_looks_once(clean: Installation) -> None:
    clean.run("log-level", "DEBUG")
    assert '"log level is DEBUG, was INFO' in clean.run("reconcile").stdout
    clean.run("log-level", "default")
    assert clean.run("reconcile").stdout == ""


def test_a_level_outlives_redis_no_longer_than_its_key_would(
    clean: Installation, own_logging: None, parts: Parts
) -> None:
    lines.configure_logging("tests", "INFO")
    log_level.choose(parts.queue, "DEBUG", "face-web", 3)
    connections = [parts.queue]
    follower = log_level.Follower("face-web", "INFO", lambda: connections[-1])
    follower.look()
    assert lines.current_level() == "DEBUG"
    connections.append(redis.Redis(host="127.0.0.1", port=free_port(), socket_connect_timeout=1))
    follower.look()
    assert lines.current_level() == "DEBUG"
    time.sleep(3)
    follower.look()
    assert lines.current_level() == "INFO"


@pytest.mark.parametrize("value", ["LOUD", "", "debug", b"\xff"])
def test_what_is_no_level_changes_nothing(
    clean: Installation, own_logging: None, value: str | bytes, parts: Parts
) -> None:
    lines.configure_logging("tests", "INFO")
    parts.queue.set("face:log-level:all", value, ex=60)
    log_level.Follower("face-web", "INFO", lambda: parts.queue).look()
    assert lines.current_level() == "INFO"


def test_the_services_own_level_counts_first(clean: Installation, own_logging: None, parts: Parts) -> None:
    lines.configure_logging("tests", "INFO")
    log_level.choose(parts.queue, "ERROR", lines.EVERYONE, 60)
    log_level.choose(parts.queue, "DEBUG", "face-web", 60)
    log_level.Follower("face-web", "INFO", lambda: parts.queue).look()
    assert lines.current_level() == "DEBUG"
    log_level.Follower("face-worker", "INFO", lambda: parts.queue).look()
    assert lines.current_level() == "ERROR"


def test_libraries_stay_silent_about_what_they_carry(
    own_logging: None, capsys: pytest.CaptureFixture
) -> None:
    lines.configure_logging("tests", "DEBUG")
    logging.getLogger("urllib3").debug("GET /_originals/ab/cd")
    logging.getLogger("face_pipeline.store").debug("ours")
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["message"] == "ours"


def test_a_higher_level_silences_loggers_with_a_level_of_their_own(
    own_logging: None, capsys: pytest.CaptureFixture
) -> None:
    lines.configure_logging("tests", "ERROR")
    logging.getLogger("kombu").warning("hidden")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("LOUD",), "invalid choice"),
        (("DEBUG", "--for", "long"), "write 90s, 10m"),
        (("DEBUG", "--for", "0s"), "write 90s, 10m"),
        (("DEBUG", "--service", "sshd"), "invalid choice"),
    ],
)
def test_a_wrong_word_is_explained(
    installation: Installation, arguments: tuple[str, ...], words: str
) -> None:
    done = installation.run("log-level", *arguments, check=False)
    assert done.returncode == 2
    assert words in done.stderr


def test_without_redis_one_line_says_what_to_do(installation: Installation) -> None:
    done: subprocess.CompletedProcess[str]
    environment = dict(installation.environment)
    installation.environment["FACE_REDIS_PORT"] = str(free_port())
    try:
        done = installation.run("log-level", "DEBUG", check=False)
    finally:
        installation.environment = environment
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "face_log_level" in line
    assert passwords()["operator"] not in line
