"""What processes print past their loggers: C libraries, the interpreter, `print`. Each becomes a log line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.installation import App, Installation
from tests.photos import ROOT, astronaut_jpeg

BEGIN = """
import ctypes, logging, os, sys, threading, time
from face_pipeline.telemetry import context, streams
from face_pipeline.telemetry.logging import configure_logging
streams.capture("face-worker")
configure_logging("face-worker", "INFO")
def library(text):
    "As libpng and libjpeg write: in C, on the thread that decodes."
    ctypes.CDLL(None).write(2, text.encode(), len(text.encode()))
"""


def run(code: str, code_of_exit: int = 0, **environment: str) -> list[dict[str, Any]]:
    """The log lines of a process that runs `code`."""
    return [json.loads(line) for line in printed(code, code_of_exit, **environment).splitlines()]


def printed(code: str, code_of_exit: int = 0, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code],
        env={**os.environ, "PYTHONPATH": str(ROOT / "app"), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code_of_exit, done.stdout
    return done.stdout


def test_a_c_librarys_line_is_json_with_the_ids_of_the_work() -> None:
    lines = run("""
context.request_id.set("request-1"); context.task_id.set("task-1")
library("Corrupt JPEG data: 7 extraneous bytes before marker 0xd9\\n")
context.task_id.set(None); context.request_id.set(None)
library("nobody's\\n")
""")
    assert [line["message"] for line in lines] == [
        "Corrupt JPEG data: 7 extraneous bytes before marker 0xd9",
        "nobody's",
    ]
    first, second = lines
    assert (first["service_name"], first["log_level"], first["logger"]) == (
        "face-worker",
        "WARNING",
        "stderr",
    )
    assert (first["request_id"], first["task_id"]) == ("request-1", "task-1")
    assert "task_id" not in second
    assert "request_id" not in second


def test_a_line_has_no_id_where_it_may_be_of_either_of_two() -> None:
    lines = run("""
both = threading.Barrier(2)
def work(name):
    context.task_id.set(name)
    both.wait()
    if name == "one":
        library("of one of two\\n")
    both.wait()
    context.task_id.set(None)
threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
for each in threads: each.start()
for each in threads: each.join()
""")
    assert [(line["message"], line.get("task_id")) for line in lines] == [("of one of two", None)]


def test_lines_belong_to_the_work_that_printed_them_however_quickly_the_next_begins() -> None:
    lines = run("""
for number in range(300):
    context.task_id.set(f"task-{number}")
    library(f"line {number}\\n")
    context.task_id.set(None)
""")
    assert [(line["task_id"], line["message"]) for line in lines] == [
        (f"task-{number}", f"line {number}") for number in range(300)
    ]


def test_a_bad_file_makes_one_line() -> None:
    lines = run("""
for task in ("one", "two"):
    context.task_id.set(task)
    for number in range(2000):
        library(f"libpng warning: tag {number} points outside\\n")
    context.task_id.set(None)
""")
    assert [line["task_id"] for line in lines] == ["one", "two"]
    assert lines[1]["count"] >= 1


def test_without_an_id_lines_are_few() -> None:
    lines = run("""
for number in range(5000):
    library(f"libpng warning: tag {number} points outside\\n")
for word in range(1000):
    library("another " + chr(0x4e00 + word) + "\\n")
""")
    assert 2 <= len(lines) <= 20


def test_more_than_the_pipe_takes_stops_nobody() -> None:
    """The interpreter's lock is held while it prints, as by a decoder that does not let go of it."""
    lines = run("""
held = ctypes.PyDLL(None)
line = b"x" * 1000 + b"\\n"
for _ in range(2000):
    held.write(2, line, len(line))
logging.getLogger("face_pipeline").info("goes on")
print("printed " * 100000)
""")
    assert any(line["message"] == "goes on" for line in lines)


def test_a_line_without_an_end_is_told() -> None:
    lines = run("library('no end')")
    assert [line["message"] for line in lines] == ["no end"]


def test_prints_warnings_and_what_is_json_already() -> None:
    lines = run("""
import warnings
print("printed")
print("wrong", file=sys.stderr)
warnings.warn("old", stacklevel=1)
os.write(1, b'{"log_level": "INFO", "message": "of a signal handler"}\\n')
os.write(1, b'{"no": "line of ours"}\\n')
print('{broken')
""")
    found = {line["message"]: line["log_level"] for line in lines}
    assert found.keys() >= {"printed", "wrong", "of a signal handler", '{"no": "line of ours"}', "{broken"}
    assert found["of a signal handler"] == "INFO"
    assert any("old" in message for message in found)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("raise ValueError('a fault at the start')", 1),
        ("t = threading.Thread(target=lambda: int('a fault at the start')); t.start(); t.join()", 0),
        ("import traceback\ntry: int('a fault at the start')\nexcept ValueError: traceback.print_exc()", 0),
    ],
)
def test_an_exception_that_nobody_caught_is_one_line_with_its_traceback(code: str, status: int) -> None:
    (line,) = run(code, status)
    text = line["message"] + line.get("exception", "")
    assert "Traceback (most recent call last)" in text
    assert "a fault at the start" in text
    assert line["log_level"] in {"CRITICAL", "ERROR"}


def test_what_may_never_be_logged_is_hidden_here_too() -> None:
    (line,) = run("library('postgresql://face:password@host/face refused\\\\n')")
    assert "password" not in line["message"]


def test_the_last_words_of_a_crash_are_kept() -> None:
    """Plain text, of the interpreter itself: nothing of the process is left to make a line of it."""
    text = printed("""
library("libpng error: before\\n")
time.sleep(0.5)
logging.getLogger("face_pipeline").info("still here")
ctypes.CDLL(None).abort()
""", -signal.SIGABRT)  # fmt: skip
    assert "Fatal Python error: Aborted" in text
    assert "still here" in text
    assert "libpng error: before" in text


@pytest.mark.parametrize("number", range(5))
def test_why_a_library_ended_the_process_is_kept(number: int) -> None:
    """Printed and then ended at once: no thread of the process comes to read it."""
    text = printed("""
libc = ctypes.CDLL(None)
libc.free.argtypes = [ctypes.c_void_p]
block = ctypes.create_string_buffer(64)
libc.free(ctypes.addressof(block) + 16)
""", -signal.SIGABRT)  # fmt: skip
    assert "free(): invalid pointer" in text
    assert "Fatal Python error: Aborted" in text


def test_what_was_printed_before_a_kill_is_kept() -> None:
    assert "the last line" in printed("library('the last line\\n'); os.kill(os.getpid(), 9)", -signal.SIGKILL)


def test_nothing_is_left_of_a_process_that_ended() -> None:
    """What waits for its end, ends with it."""
    (line,) = run("print(streams._current._keeper.pid)")
    assert not Path(f"/proc/{line['message']}").exists()


def test_a_forked_process_tells_its_own() -> None:
    lines = run("""
library("of the parent\\n")
streams.settle()
child = os.fork()
if not child:
    streams.capture("face-worker")
    configure_logging("face-worker", "INFO")
    context.task_id.set("child")
    library("of the child\\n")
    context.task_id.set(None)
    streams._close()
    os._exit(0)
os.waitpid(child, 0)
library("of the parent again\\n")
""")
    assert {(line["message"], line.get("task_id")) for line in lines} == {
        ("of the parent", None),
        ("of the child", "child"),
        ("of the parent again", None),
    }


def test_a_worker_and_the_web_service_write_json_alone_whatever_decoders_say(live_app: App) -> None:
    photo = astronaut_jpeg()
    middle = len(photo) // 2
    # Rubbish between two scans: decoders warn and go on.
    broken = photo[:middle] + b"\x00\xff\xfe\x01" * 50 + photo[middle:]
    live_app.request("POST", "/api/v1/photos", files={"photos": ("broken.jpg", broken)})
    live_app.request("POST", "/api/v1/search", files={"photo": ("broken.jpg", broken)})
    body = live_app.upload(("a.jpg", astronaut_jpeg(3))).json()
    live_app.wait_finished(body["batch_id"])
    for log in ("web.log", "worker1.log"):
        lines = live_app.installation.log(log).splitlines()
        assert [line for line in lines if not line.startswith("{")] == []


def test_a_wrong_setting_of_a_unit_is_a_line_of_json(installation: Installation) -> None:
    def said(*command: str) -> list[dict[str, Any]]:
        done = subprocess.run(
            [sys.executable, "-m", *command],
            env={**installation.environment, "FACE_REDIS_PORT": "many"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode
        return [json.loads(line) for line in done.stdout.splitlines()]

    for command in ("reconcile", "index", "autoscaler"):
        lines = said("face_pipeline.cli", command)
        assert any("FACE_REDIS_PORT" in line["message"] for line in lines), lines
    web = said(
        "gunicorn", "--config", "python:face_pipeline.web.gunicorn_conf", "face_pipeline.web:create_app()"
    )
    assert any("FACE_REDIS_PORT" in line["message"] for line in web), web
