"""A request that comes again: after a double click, or after a connection that was cut."""

from __future__ import annotations

import os
import signal
import socket
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from face_pipeline.parts import Parts
from face_pipeline.store import idempotency
from face_pipeline.store.models import ApiKey, Batch, KeptAnswer, Photo
from sqlalchemy import func, select, update
from urllib3.filepost import encode_multipart_formdata

from tests.app.test_enrolment import a_person, enrol, enrolled, kept, key_of, only_refusal
from tests.installation import App, Installation, start_web, wait_until
from tests.photos import astronaut_jpeg

REPLAYED = "Idempotency-Replayed"


def fresh_key() -> dict[str, str]:
    return {"Idempotency-Key": str(uuid.uuid4())}


def make_batch(app: App, headers: dict[str, str], **body: Any) -> requests.Response:
    return app.request("POST", "/api/v1/batches", json=body, headers=headers)


def upload(app: App, headers: dict[str, str], photo: bytes, **form: str) -> requests.Response:
    return app.request(
        "POST", "/api/v1/photos", files=[("photos", ("a.jpg", photo))], data=form, headers=headers
    )


def code(answer: requests.Response) -> str:
    return str(answer.json()["error"]["code"])


def count(parts: Parts, table: type[Batch] | type[Photo]) -> int:
    with parts.database.transaction() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_a_double_click_makes_one_thing(web_app: App, parts: Parts) -> None:
    for _ in range(10):
        before = count(parts, Batch)
        headers, clicks = fresh_key(), 4
        start = threading.Barrier(clicks)

        def click(_: int, start: threading.Barrier = start, headers: dict[str, str] = headers) -> Any:
            start.wait(30)
            return make_batch(web_app, headers)

        with ThreadPoolExecutor(clicks) as clients:
            answers = list(clients.map(click, range(clicks)))
        assert count(parts, Batch) == before + 1
        first = [each for each in answers if each.status_code == 201 and REPLAYED not in each.headers]
        assert len(first) == 1, [
            (each.status_code, each.text, each.headers.get(REPLAYED)) for each in answers
        ]
        for each in answers:
            if each.status_code == 201:
                assert each.json() == first[0].json()
            else:
                assert (each.status_code, code(each)) == (409, "idempotency_in_progress")
                assert each.headers["Retry-After"] == "1"


def test_an_upload_whose_connection_was_cut_is_answered_when_it_comes_again(
    web_app: App, parts: Parts
) -> None:
    headers = fresh_key()
    body, kind = encode_multipart_formdata(
        {"photos": ("a.jpg", astronaut_jpeg()), "person": "Anna"}, boundary="one-of-its-own"
    )
    address = urlsplit(web_app.url)
    head = (
        "POST /api/v1/photos HTTP/1.1", f"Host: {address.netloc}", f"Content-Type: {kind}",
        f"Content-Length: {len(body)}", f"Authorization: Bearer {web_app.api_key}",
        f"Idempotency-Key: {headers['Idempotency-Key']}", "", "",
    )  # fmt: skip
    with socket.create_connection((str(address.hostname), address.port or 0)) as connection:
        connection.sendall("\r\n".join(head).encode() + body)
    wait_until(lambda: count(parts, Photo) == 1, 20, "the upload that nobody waits for")

    def again() -> requests.Response | None:
        answer = upload(web_app, headers, astronaut_jpeg(), person="Anna")
        return None if answer.status_code == 409 else answer

    answer: requests.Response = wait_until(again, 20, "the first request to end")
    assert (answer.status_code, answer.headers[REPLAYED]) == (202, "true")
    assert answer.headers["Content-Type"] == "application/json"
    (photo,) = answer.json()["photos"]
    assert photo["duplicate"] is False, "it is the answer to the first request"
    assert count(parts, Batch) == 1
    assert upload(web_app, {}, astronaut_jpeg(), person="Anna").json()["photos"][0]["duplicate"] is True


def test_a_key_is_for_one_request(web_app: App) -> None:
    headers = fresh_key()
    assert upload(web_app, headers, astronaut_jpeg(1), person="Anna").status_code == 202
    for answer in (
        upload(web_app, headers, astronaut_jpeg(2), person="Anna"),
        upload(web_app, headers, astronaut_jpeg(1), person="Berta"),
        upload(web_app, headers, astronaut_jpeg(1)),
        web_app.request(
            "POST", "/api/v1/photos?a=b", files=[("photos", ("a.jpg", astronaut_jpeg(1)))],
            data={"person": "Anna"}, headers=headers,
        ),
        web_app.request(
            "POST", "/api/v1/photos", files=[("photos", ("b.jpg", astronaut_jpeg(1)))],
            data={"person": "Anna"}, headers=headers,
        ),
        make_batch(web_app, headers),
    ):  # fmt: skip
        assert (answer.status_code, code(answer)) == (422, "idempotency_mismatch")
    assert REPLAYED in upload(web_app, headers, astronaut_jpeg(1), person="Anna").headers


def test_each_api_key_has_keys_of_its_own(web_app: App, parts: Parts) -> None:
    headers = fresh_key()
    mine = make_batch(web_app, headers)
    other = make_batch(web_app, {**headers, **key_of(web_app, "another", "write")})
    assert (mine.status_code, other.status_code) == (201, 201)
    assert mine.json()["id"] != other.json()["id"]


def test_a_refusal_is_given_again_as_it_was(web_app: App) -> None:
    headers = fresh_key()
    first, second = (make_batch(web_app, headers, collection="No Name!") for _ in range(2))
    assert (first.status_code, code(first)) == (400, "collection_name")
    assert (second.status_code, second.json()["error"]) == (400, first.json()["error"])
    assert (REPLAYED in first.headers, second.headers[REPLAYED]) == (False, "true")
    assert second.headers["X-Request-ID"] != first.headers["X-Request-ID"]


def test_a_request_that_found_the_service_down_is_done_when_it_comes_again(
    clean: Installation, parts: Parts
) -> None:
    url, web = start_web(clean, "idempotency.log", FACE_SEARCH_TIMEOUT_SECONDS="1")
    app = App(clean, url, web)
    try:
        anna, headers = a_person(parts), fresh_key()
        down = enrol(app, anna, ("a.jpg", astronaut_jpeg()), headers=headers)
        assert (down.status_code, code(down)) == (503, "search_timeout")
        app.start_worker()
        answer = wait_until(
            lambda: (
                answer
                if (answer := enrol(app, anna, ("a.jpg", astronaut_jpeg()), headers=headers)).status_code
                != 503
                else None
            ),
            60, "a worker to answer in time",
        )  # fmt: skip
        (entry,) = enrolled(answer)
        again = enrol(app, anna, ("a.jpg", astronaut_jpeg()), headers=headers)
        assert (again.headers[REPLAYED], enrolled(again)) == ("true", [entry])
    finally:
        for process in (web, *app.workers.values()):
            clean.end(process, signal.SIGKILL)


@pytest.mark.parametrize("key", ["", "a b", "é", "x" * 256, "a\tb"])
def test_a_key_that_is_none_is_refused(web_app: App, parts: Parts, key: str) -> None:
    answer = make_batch(web_app, {"Idempotency-Key": key.encode("latin-1")})  # type: ignore[dict-item]
    assert (answer.status_code, code(answer)) == (400, "idempotency_key")
    assert count(parts, Batch) == 0


def test_any_visible_text_is_a_key(web_app: App) -> None:
    for key in ("x", "~" * 255, "'; DROP TABLE kept_answers; --".replace(" ", "_"), '"quoted"'):
        assert make_batch(web_app, {"Idempotency-Key": f"{key[:200]}{uuid.uuid4()}"}).status_code == 201
    assert make_batch(web_app, {"Idempotency-Key": uuid.uuid4().hex * 7 + "x" * 31}).status_code == 201


def test_calls_that_change_nothing_take_no_notice_of_a_key(live_app: App) -> None:
    headers = fresh_key()
    for number in range(2):
        answer = live_app.request(
            "POST", "/api/v1/search", files={"photo": ("q.jpg", astronaut_jpeg(number))}, headers=headers
        )
        assert (answer.status_code, REPLAYED in answer.headers) == (200, False)
        assert live_app.get("/api/v1/batches", headers=headers).status_code == 200


def test_a_body_that_is_too_large_is_refused_with_a_key_as_without(web_app: App) -> None:
    for headers in ({}, fresh_key()):
        answer = make_batch(web_app, headers, collection="x" * (2 * 1024**2))
        assert (answer.status_code, code(answer)) == (413, "request_too_large")
    for headers in ({}, fresh_key()):
        broken = web_app.request("POST", "/api/v1/batches", data=b"{", headers=headers)
        assert (broken.status_code, code(broken)) == (400, "body_malformed")


def test_a_killed_process_blocks_the_key_for_a_minute_at_most(
    clean: Installation, parts: Parts, slow_code: str
) -> None:
    url, web = start_web(clean, "killed.log", FACE_WEB_PROCESSES="1")
    app = App(clean, url, web)
    app.start_worker(PYTHONPATH=slow_code)
    anna, headers = a_person(parts), fresh_key()
    photo = ("a.jpg", astronaut_jpeg() + b"slow:4")
    with ThreadPoolExecutor(1) as client:
        asked = client.submit(enrol, app, anna, photo, headers=headers)
        wait_until(lambda: parts.scratch.keys("face:search:*:waiting"), 20, "the worker to have it")
        for process in [web.pid, *children(web.pid)]:
            os.kill(process, signal.SIGKILL)
        with pytest.raises(requests.ConnectionError):
            asked.result()
    clean.end(web, signal.SIGKILL)
    app.url, app.web = start_web(clean, "killed.log")
    try:
        blocked = enrol(app, anna, photo, headers=headers)
        assert (blocked.status_code, code(blocked)) == (409, "idempotency_in_progress")
        mine = KeptAnswer.key == headers["Idempotency-Key"]
        with parts.database.transaction() as session:
            left = session.scalar(select(KeptAnswer.lease_until - func.now()).where(mine))
            assert left is not None
            assert left.total_seconds() <= 60
            session.execute(update(KeptAnswer).where(mine).values(lease_until=func.now()))
        other = enrol(app, anna, ("a.jpg", astronaut_jpeg()), headers=headers)
        assert (other.status_code, code(other)) == (422, "idempotency_mismatch")
        assert len(enrolled(enrol(app, anna, photo, headers=headers))) == 1
        assert kept(parts) == (1, 1, 1)
    finally:
        for running in (app.web, *app.workers.values()):
            clean.end(running, signal.SIGKILL)


def children(process: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_a_request_that_lasts_keeps_its_key(web_app: App, parts: Parts) -> None:
    """What the web service does every 15 seconds while a request lasts."""
    with parts.database.single_statements() as connection:
        key_id = connection.scalar(select(ApiKey.id).where(ApiKey.name == "admin"))
        held = idempotency.begin(connection, key_id, str(uuid.uuid4()), "a")
        assert isinstance(held, idempotency.Held)
        lease = select(KeptAnswer.lease_until > func.now()).where(KeptAnswer.token == held.token)
        connection.execute(update(KeptAnswer).values(lease_until=func.now()))
        assert connection.scalar(lease) is False
        idempotency.renew(connection, held)
        assert connection.scalar(lease) is True
        # Whose lease lapsed, and who was replaced, writes nothing.
        connection.execute(update(KeptAnswer).values(lease_until=func.now()))
        second = idempotency.begin(connection, key_id, held.key, "a")
        assert isinstance(second, idempotency.Held)
        idempotency.keep(connection, held, idempotency.Answer(200, {}, "of the first"))
        idempotency.keep(connection, second, idempotency.Answer(200, {}, "of the second"))
        answer = idempotency.begin(connection, key_id, held.key, "a")
        assert isinstance(answer, idempotency.Answer)
        assert answer.body == "of the second"


def test_what_was_erased_stands_in_no_kept_answer(web_app: App, parts: Parts) -> None:
    headers, others = fresh_key(), fresh_key()
    batch, other = make_batch(web_app, headers).json(), make_batch(web_app, others).json()
    with parts.database.transaction() as session:
        assert idempotency.forget(session, [uuid.UUID(batch["id"])]) == 1
        assert batch["id"] not in str(session.execute(select(KeptAnswer.body)).all())
    gone = make_batch(web_app, headers)
    assert (gone.status_code, code(gone)) == (409, "idempotency_not_kept")
    assert gone.json()["error"]["details"] == {"status": 201, "id": None}
    assert make_batch(web_app, others).json() == other
    with parts.database.transaction() as session:
        assert idempotency.forget(session) >= 1
    assert code(make_batch(web_app, others)) == "idempotency_not_kept"


def test_a_secret_is_not_kept(clean: Installation, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """With batches in the place of keys: their id would be the secret."""
    from face_pipeline.web import create_app
    from face_pipeline.web import idempotency as of_the_web

    monkeypatch.setattr(of_the_web, "SECRET", {"/api/v1/batches"})
    client = create_app(parts).test_client()
    headers = {"Authorization": f"Bearer {clean.api_key}", **fresh_key()}
    made = client.post("/api/v1/batches", json={"collection": "secret"}, headers=headers)
    assert made.status_code == 201
    with parts.database.transaction() as session:
        row = session.scalars(select(KeptAnswer).where(KeptAnswer.key == headers["Idempotency-Key"])).one()
    assert (row.status, row.body) == (201, None)
    again = client.post("/api/v1/batches", json={"collection": "secret"}, headers=headers)
    assert again.status_code == 409
    assert again.json is not None
    assert again.json["error"]["code"] == "idempotency_not_kept"
    assert made.json is not None
    assert again.json["error"]["details"] == {"status": 201, "id": made.json["id"]}


def test_an_answer_is_kept_for_a_day(web_app: App, parts: Parts) -> None:
    headers, others = fresh_key(), fresh_key()
    first, other = make_batch(web_app, headers).json(), make_batch(web_app, others).json()
    old = KeptAnswer.key == headers["Idempotency-Key"]
    with parts.database.transaction() as session:
        session.execute(update(KeptAnswer).where(old).values(created_at=func.now() - idempotency.KEEP))
    second = make_batch(web_app, headers, collection="other")
    assert (second.status_code, second.json()["id"] != first["id"]) == (201, True)
    with parts.database.transaction() as session:
        session.execute(update(KeptAnswer).where(old).values(created_at=func.now() - idempotency.KEEP))
    web_app.installation.run("index")
    with parts.database.transaction() as session:
        assert session.scalar(select(func.count()).where(old)) == 0
    assert make_batch(web_app, others).json() == other


def test_a_key_does_not_show_answers_to_who_may_not_ask(live_app: App, parts: Parts) -> None:
    anna, headers = a_person(parts), fresh_key()
    enrolled(enrol(live_app, anna, ("a.jpg", astronaut_jpeg()), headers=headers))
    with parts.database.transaction() as session:
        session.execute(update(ApiKey).where(ApiKey.name == "admin").values(scopes=["read"]))
    try:
        refused = enrol(live_app, anna, ("a.jpg", astronaut_jpeg()), headers=headers)
        assert (refused.status_code, code(refused)) == (403, "scope_missing")
    finally:
        with parts.database.transaction() as session:
            session.execute(update(ApiKey).where(ApiKey.name == "admin").values(scopes=["admin"]))


def test_a_refused_enrolment_is_given_again_with_its_reasons(live_app: App, parts: Parts) -> None:
    anna, headers = a_person(parts), fresh_key()
    answers = [enrol(live_app, anna, ("a.txt", b"none"), headers=headers) for _ in range(2)]
    assert {only_refusal(each)["code"] for each in answers} == {"unsupported_type"}
    assert [REPLAYED in each.headers for each in answers] == [False, True]
