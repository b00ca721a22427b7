"""Searches for one photo at once are one piece of work, and nobody's search is no work at all."""

from __future__ import annotations

import concurrent.futures
import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import requests
from face_pipeline.broker import exchange
from face_pipeline.broker.messages import Question
from face_pipeline.engine import contract_id
from face_pipeline.parts import Parts

from tests.installation import App, start_web, wait_until
from tests.photos import astronaut_again, astronaut_jpeg, no_face

ANALYSED = "face_recognition_face_detection_duration_seconds_count"
TASKS = 'celery_tasks_processed_total{status="success",task="face_pipeline.search"}'


@pytest.fixture
def second_web(web_app: App) -> Iterator[App]:
    """Another host's web service on the same Redis and PostgreSQL."""
    url, web = start_web(web_app.installation, "web-second.log")
    yield App(web_app.installation, url, web)
    web_app.installation.end(web)


def _store(parts: Parts) -> redis.Redis:
    return parts.scratch


def _counted(worker: subprocess.Popen[bytes], name: str) -> float:
    url = worker.metrics_url  # type: ignore[attr-defined]
    lines = requests.get(url, timeout=5).text.splitlines()
    found = [float(line.rsplit(" ", 1)[1]) for line in lines if _plain(line).startswith(_plain(name))]
    return found[0] if found else 0.0


def _plain(line: str) -> str:
    """Labels in any order."""
    name, _, rest = line.partition("{")
    labels, _, value = rest.partition("}")
    return f"{name}{{{','.join(sorted(labels.split(',')))}}}{value}" if rest else line


def _blocked(parts: Parts) -> int:
    """Searches that wait for their answer, in all web services."""
    clients: Any = _store(parts).client_list()
    return sum(each["cmd"] == "blpop" and "b" in each["flags"] for each in clients)


def _lines(app: App, log: str, message: str) -> list[dict[str, Any]]:
    entries = (json.loads(line) for line in app.installation.log(log).splitlines() if line.startswith("{"))
    return [entry for entry in entries if entry["message"] == message]


def _gone(app: App) -> list[dict[str, Any]]:
    requests_seen = _lines(app, "web.log", "POST /api/v1/search")
    return [
        line for line in requests_seen if (line["status"], line.get("reason_code")) == (499, "client_gone")
    ]


def _seen_gone(app: App, number: int) -> None:
    wait_until(lambda: len(_gone(app)) >= number, 15, "the web service to see that its client has gone")


def _waiting(parts: Parts, number: int) -> None:
    """Until so many searches wait that have not been answered."""
    wait_until(lambda: _blocked(parts) >= number, 20, f"{number} searches to wait")


def _begin_raw(app: App, photo: bytes) -> socket.socket:
    """A search whose answer is never read: the caller may hang up."""
    prepared = app.prepare_search(photo)
    address = app.url.removeprefix("http://")
    host, port = address.split(":")
    head = "".join(f"{name}: {value}\r\n" for name, value in prepared.headers.items())
    assert isinstance(prepared.body, bytes)
    caller = socket.create_connection((host, int(port)), timeout=30)
    caller.sendall(f"POST /api/v1/search HTTP/1.1\r\nHost: {address}\r\n{head}\r\n".encode() + prepared.body)
    return caller


def test_one_photo_searched_by_many_at_once_is_analysed_once(
    web_app: App, second_web: App, parts: Parts
) -> None:
    worker = web_app.start_worker(concurrency=4)
    query = astronaut_again()
    worker.send_signal(signal.SIGSTOP)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [
            pool.submit((web_app, second_web)[number % 2].search, query, limit=1 + number // 4)
            for number in range(8)
        ]
        _waiting(parts, 8)
        worker.send_signal(signal.SIGCONT)
        answers = [each.result() for each in asked]
    assert [answer.status_code for answer in answers] == [200] * 8, answers[0].text
    assert len({json.dumps(answer.json()["faces"]) for answer in answers}) == 1
    assert _counted(worker, ANALYSED) == 1
    # The reply is there before its task is counted.
    wait_until(lambda: _counted(worker, TASKS), 60, "the task to be counted")
    assert _counted(worker, TASKS) == 1
    outcomes = [
        entry["outcome"]
        for log in ("web.log", "web-second.log")
        for entry in _lines(web_app, log, "search answered")[-4:]
    ]
    assert sorted(outcomes) == ["miss"] + ["shared"] * 7
    # Whoever comes while the others are only comparing takes part too.
    late = web_app.search(query, limit=50)
    assert late.status_code == 200
    assert _counted(worker, ANALYSED) == 1


def test_other_photos_are_analysed_each_for_itself(web_app: App) -> None:
    worker = web_app.start_worker(concurrency=4)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(web_app.search, [astronaut_jpeg(900 + number) for number in range(4)]))
    assert [len(answer.json()["faces"]) for answer in answers] == [1] * 4
    assert _counted(worker, ANALYSED) == 4


def test_an_error_reaches_everybody_and_the_next_search_is_tried_again(web_app: App, parts: Parts) -> None:
    worker = web_app.start_worker()
    broken = _undecodable()
    worker.send_signal(signal.SIGSTOP)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(web_app.search, broken) for _ in range(3)]
        _waiting(parts, 3)
        worker.send_signal(signal.SIGCONT)
        answers = [each.result() for each in asked]
    assert {(each.status_code, each.json()["error"]["code"]) for each in answers} == {(422, "broken_image")}
    # The reply is there before its task is counted.
    wait_until(lambda: _counted(worker, TASKS), 60, "the task to be counted")
    assert _counted(worker, TASKS) == 1


def _undecodable() -> bytes:
    import io
    import struct
    import zlib

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (300, 300), "white").save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    start = data.index(b"IDAT") + 4
    length = struct.unpack(">I", data[start - 8 : start - 4])[0]
    data[start + 2 : start + length] = b"\xff" * (length - 2)
    data[start + length : start + length + 4] = struct.pack(
        ">I", zlib.crc32(data[start - 4 : start + length])
    )
    return bytes(data)


def test_a_search_whose_web_service_died_is_taken_over_by_those_who_wait(
    web_app: App, second_web: App, parts: Parts
) -> None:
    """The one who asked first is killed before a worker was told: the others do not wait for nothing."""
    worker = web_app.start_worker()
    query = astronaut_again()
    search_id = Question(contract_id(parts.pack), _sha256(query)).id
    # What a web process leaves behind that ends between taking the lead and sending the task.
    exchange.join(_store(parts), search_id, "a-dead-waiter", "a-task-nobody-sent")
    answer = second_web.search(query)
    assert answer.status_code == 200
    assert len(answer.json()["faces"]) == 1
    assert _counted(worker, ANALYSED) == 1


def _sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()


def test_a_search_whose_worker_was_killed_is_answered_by_another(web_app: App, slow_code: str) -> None:
    dying = web_app.start_worker(1, PYTHONPATH=slow_code)
    query = astronaut_jpeg(3) + b"slow:30"
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(web_app.search, query)
        wait_until(lambda: "STANDIN slow 30" in web_app.installation.log("worker1.log"), 20, "the analysis")
        web_app.installation.end(dying, signal.SIGKILL)
        web_app.start_worker(2)
        answer = asked.result()
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["faces"]) == 1


def test_a_search_is_not_begun_when_its_client_hung_up(web_app: App, parts: Parts) -> None:
    worker = web_app.start_worker()
    worker.send_signal(signal.SIGSTOP)
    gone = len(_gone(web_app))
    caller = _begin_raw(web_app, astronaut_jpeg(41))
    _waiting(parts, 1)
    caller.close()
    _seen_gone(web_app, gone + 1)
    worker.send_signal(signal.SIGCONT)
    assert web_app.search(no_face()).status_code == 200
    assert _counted(worker, ANALYSED) == 1, "the other search alone was analysed"


def test_while_one_of_several_still_waits_the_search_goes_on(web_app: App, parts: Parts) -> None:
    worker = web_app.start_worker()
    worker.send_signal(signal.SIGSTOP)
    query = astronaut_jpeg(42)
    gone = len(_gone(web_app))
    first = _begin_raw(web_app, query)
    _waiting(parts, 1)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(web_app.search, query)
        _waiting(parts, 2)
        # The one whose request put the search into the queue.
        first.close()
        _seen_gone(web_app, gone + 1)
        worker.send_signal(signal.SIGCONT)
        answer = asked.result()
    assert answer.status_code == 200
    assert len(answer.json()["faces"]) == 1
    assert _counted(worker, ANALYSED) == 1


def test_a_search_is_left_off_between_its_stages_when_nobody_waits_any_more(
    web_app: App, slow_code: str
) -> None:
    """The picture is decoded when the caller hangs up; its faces are not looked for."""
    worker = web_app.start_worker(PYTHONPATH=slow_code)
    caller = _begin_raw(web_app, astronaut_jpeg(43) + b"slow:4")
    wait_until(lambda: "STANDIN slow 4" in web_app.installation.log("worker1.log"), 20, "the analysis")
    caller.close()
    wait_until(lambda: _lines(web_app, "worker1.log", "search was given up"), 20, "it to be left off")
    assert _counted(worker, ANALYSED) == 0
    assert web_app.search(astronaut_jpeg(43)).status_code == 200


def test_after_its_time_is_over_nothing_of_a_search_stays_behind(web_app: App, parts: Parts) -> None:
    web_app.installation.environment["FACE_SEARCH_TIMEOUT_SECONDS"] = "1"
    try:
        url, web = start_web(web_app.installation, "web-short.log")
        answer = App(web_app.installation, url, web).search(astronaut_jpeg(44))
        web_app.installation.end(web)
    finally:
        del web_app.installation.environment["FACE_SEARCH_TIMEOUT_SECONDS"]
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "search_timeout")
    kept = [key for key in _store(parts).scan_iter("face:search:*") if b":cache:" not in key]
    assert kept == []
