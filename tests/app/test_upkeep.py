"""Failed photos get another try, and photos change their collection with all that belongs to them."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from face_pipeline.parts import Parts
from face_pipeline.store.models import BatchPhoto, Collection, Photo
from sqlalchemy import select, text, update

from tests.app import stock
from tests.installation import App
from tests.photos import astronaut_again, astronaut_jpeg


def post(app: App, path: str, body: Any = None, **options: Any) -> requests.Response:
    return app.request("POST", f"/api/v1/photos/{path}", json=body, **options)


def code(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def state(parts: Parts, photo_id: uuid.UUID) -> str:
    with parts.database.transaction() as session:
        return session.get_one(Photo, photo_id).state


def move(app: App, photo_id: Any, collection: str, **options: Any) -> dict[str, Any]:
    answer = post(app, f"{photo_id}/move", {"collection": collection}, **options)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


# Another try


def test_a_failed_photo_is_processed_again(web_app: App, parts: Parts) -> None:
    photo_id = stock.photo(parts, data=astronaut_jpeg(), named="Eileen", state="failed")
    answer = post(web_app, f"{photo_id}/retry")
    told = answer.json()
    assert (answer.status_code, told["state"], told["reason"], told["attempts"]) == (202, "received", None, 0)
    assert told["person"]["name"] == "Eileen"
    again = post(web_app, f"{photo_id}/retry")
    assert code(again) == (409, "photo_not_failed")
    assert again.json()["error"]["details"] == {"state": "queued"}
    web_app.start_worker()
    assert web_app.wait_finished(told["batch_id"])["states"]["done"] == 1
    assert web_app.get(f"/api/v1/photos/{photo_id}").json()["faces"][0]["person"]["name"] == "Eileen"
    assert code(post(web_app, f"{photo_id}/retry")) == (409, "photo_not_failed")
    assert stock.audit(parts, "photo.retry")[-1]["subject"] == str(photo_id)


def test_all_photos_that_failed_for_a_reason_are_tried_again(web_app: App, parts: Parts) -> None:
    def failed(reason: str, collection: str) -> uuid.UUID:
        photo_id = stock.photo(parts, state="failed", collection=collection)
        with parts.database.transaction() as session:
            session.execute(update(Photo).where(Photo.id == photo_id).values(reason_code=reason))
        return photo_id

    lost, broken = failed("worker_lost", "default"), failed("broken_image", "default")
    elsewhere, done = failed("worker_lost", "other"), stock.photo(parts, None)

    def states() -> list[bool]:
        return [state(parts, each) == "failed" for each in (lost, broken, elsewhere)]

    assert post(web_app, "retry", {"reason": "nothing_known"}).json() == {"retried": 0}
    both = post(web_app, "retry", {"reason": "worker_lost", "collection": "default"})
    assert (both.status_code, both.json(), states()) == (202, {"retried": 1}, [False, True, True])
    assert post(web_app, "retry", {"reason": "worker_lost"}).json() == {"retried": 1}
    assert states() == [False, True, False]
    assert post(web_app, "retry", {"collection": "default"}).json() == {"retried": 1}
    assert states() == [False, False, False]
    assert state(parts, done) == "done"
    assert parts.queue.llen("ingest") == 3
    entry = stock.audit(parts, "photo.retry")[-1]
    assert (entry["collection"], entry["details"]) == ("default", {"photos": 1, "reason": None})


def test_many_are_tried_again_once_each_by_however_many_ask(web_app: App, parts: Parts) -> None:
    stock.photo(parts, state="failed")
    with parts.database.transaction() as session:
        session.execute(
            text(
                "INSERT INTO photos (id, collection_id, batch_id, sha256, filename, media_type, byte_size,"
                " width, height, state) SELECT gen_random_uuid(), collection_id, batch_id,"
                " lpad(to_hex(n), 64, '0'), filename, media_type, byte_size, width, height, state"
                " FROM photos, generate_series(1, 2400) n"
            )
        )
    before = len(stock.audit(parts, "photo.retry"))
    start = threading.Barrier(3)

    def ask(_: int) -> int:
        start.wait(30)
        answer = post(web_app, "retry", {"collection": "default"})
        assert answer.status_code == 202, answer.text
        retried: int = answer.json()["retried"]
        return retried

    with ThreadPoolExecutor(3) as clients:
        assert sum(clients.map(ask, range(3))) == 2401
    assert parts.queue.llen("ingest") == 2401
    steps = [each["details"]["photos"] for each in stock.audit(parts, "photo.retry")[before:]]
    assert sum(steps) == 2401
    assert max(steps) <= 1000


@pytest.mark.parametrize(
    "body",
    [
        {}, {"collection": None, "reason": None}, {"reason": 7}, {"reason": "a" * 10_000}, {"reason": "\0"},
        {"reason": ["worker_lost"]}, {"resaon": "worker_lost"}, {"collection": 1},
    ],
)  # fmt: skip
def test_nobody_tries_all_again_by_accident(web_app: App, parts: Parts, body: dict[str, Any]) -> None:
    photo_id = stock.photo(parts, state="failed")
    assert code(post(web_app, "retry", body)) == (400, "parameter")
    assert state(parts, photo_id) == "failed"


def test_a_retry_that_is_no_json_or_of_no_collection_is_told(web_app: App) -> None:
    for data in (b"", b"collection=default", b"[]", b'{"reason": "\xff"}', b'{"reason": "\\ud800"}'):
        answer = web_app.request("POST", "/api/v1/photos/retry", data=data)
        assert code(answer) == (400, "body_malformed"), data
    assert code(post(web_app, "retry", {"collection": "Not A Name"})) == (400, "collection_name")
    assert code(post(web_app, "retry", {"collection": "none"})) == (404, "collection_not_found")


def test_the_address_of_a_retry_is_no_photo(web_app: App) -> None:
    for method in ("GET", "DELETE", "PUT"):
        answer = web_app.request(method, "/api/v1/photos/retry")
        assert code(answer) == (405, "method_not_allowed")
        assert set(answer.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}


# Another collection


def test_a_moved_photo_is_found_there_and_no_longer_here(live_app: App, parts: Parts) -> None:
    sent = live_app.upload(("a.jpg", astronaut_jpeg()), person="Eileen Collins").json()
    live_app.wait_finished(sent["batch_id"])
    photo_id = sent["photos"][0]["id"]
    there = stock.person(parts, "EILEEN collins", "other")
    assert live_app.search(astronaut_again()).json()["faces"][0]["matches"]
    told = move(live_app, photo_id, "other")
    assert (told["photo"]["collection"], told["unnamed"], told["remark"]) == ("other", 0, None)
    assert told["photo"]["person"]["id"] == str(there)
    assert [face["person"]["id"] for face in told["photo"]["faces"]] == [str(there)]
    assert live_app.search(astronaut_again()).json()["faces"][0]["matches"] == []
    (match,) = live_app.search(astronaut_again(), collection="other").json()["faces"][0]["matches"]
    assert (match["photo_id"], match["person_name"]) == (photo_id, "EILEEN collins")
    stock.check_consistent(parts)
    # Its upload was of another collection, and shows it no more.
    assert live_app.get(f"/api/v1/batches/{sent['batch_id']}").json()["total"] == 0
    moved_to = live_app.get(f"/api/v1/batches/{told['photo']['batch_id']}").json()
    assert (moved_to["collection"], moved_to["total"]) == ("other", 1)
    # Nothing of it hangs on the collection it came from.
    assert live_app.request("DELETE", "/api/v1/collections/default").status_code == 200
    assert live_app.get(f"/api/v1/photos/{photo_id}").ok
    stock.check_consistent(parts)


def test_no_cached_answer_of_the_collection_it_left_tells_of_a_moved_photo(
    live_app: App, parts: Parts
) -> None:
    sent = live_app.upload(("a.jpg", astronaut_jpeg())).json()
    live_app.wait_finished(sent["batch_id"])
    stock.person(parts, "Anybody", "other")
    live_app.search(astronaut_again())
    assert len(parts.scratch.keys("face:search:answer:*")) == 1  # type: ignore[arg-type]
    move(live_app, sent["photos"][0]["id"], "other")
    assert parts.scratch.keys("face:search:answer:*") == []


def test_faces_whose_person_is_not_there_become_nobodys_and_the_answer_says_so(
    web_app: App, parts: Parts
) -> None:
    anna, ben = stock.person(parts, "Anna"), stock.person(parts, "Ben")
    bens_namesake = stock.person(parts, "ben", "other")
    photo_id = stock.photo(parts, anna, ben, None, anna, named="Anna")
    told = move(web_app, photo_id, "other")
    assert told["unnamed"] == 2
    assert told["remark"]["code"] == "person_not_there"
    assert "'other'" in told["remark"]["message"]
    assert told["photo"]["person"] is None
    owners = [face["person"] and face["person"]["id"] for face in told["photo"]["faces"]]
    assert owners == [None, str(bens_namesake), None, None]
    assert len(stock.rows(parts)["persons"]) == 3, "nobody is made"
    entry = stock.audit(parts, "photo.move")[-1]
    assert (entry["collection"], entry["subject"]) == ("other", str(photo_id))
    assert entry["details"] == {"from": "default", "faces": 4, "unnamed": 2}
    stock.check_consistent(parts)


def test_a_photo_that_waits_is_processed_where_it_is_by_then(web_app: App, parts: Parts) -> None:
    stock.person(parts, "Anybody", "other")
    sent = web_app.upload(("a.jpg", astronaut_jpeg())).json()
    told = move(web_app, sent["photos"][0]["id"], "other")
    web_app.start_worker()
    web_app.wait_finished(told["photo"]["batch_id"])
    assert web_app.search(astronaut_again()).json()["faces"][0]["matches"] == []
    assert len(web_app.search(astronaut_again(), collection="other").json()["faces"][0]["matches"]) == 1
    stock.check_consistent(parts)


def test_a_photo_that_cannot_be_moved_stays_as_it_is(web_app: App, parts: Parts) -> None:
    here = stock.photo(parts, None, data=b"the same")
    there = stock.photo(parts, None, data=b"the same", collection="other")
    busy = stock.photo(parts, state="processing")
    stock.person(parts, "Anybody", "old")
    with parts.database.transaction() as session:
        session.execute(update(Collection).where(Collection.name == "old").values(contract_id="another"))
    before = stock.rows(parts)
    for photo_id, target, expected in (
        (here, "other", (409, "photo_exists")), (busy, "other", (409, "photo_processing")),
        (here, "old", (409, "contract_mismatch")), (here, "none", (404, "collection_not_found")),
        (here, "No Name", (400, "collection_name")), (here, "a" * 10_000, (400, "collection_name")),
        (uuid.uuid4(), "other", (404, "photo_not_found")), ("none", "other", (404, "photo_not_found")),
    ):  # fmt: skip
        answer = post(web_app, f"{photo_id}/move", {"collection": target})
        assert code(answer) == expected, (target, answer.text)
    exists = post(web_app, f"{here}/move", {"collection": "other"}).json()["error"]["details"]
    assert exists == {"photo_id": str(there)}
    for body in (
        {},
        {"collection": None},
        {"collection": 5},
        {"collection": "other", "person": "Anna"},
        [],
        "x",
    ):
        assert post(web_app, f"{here}/move", body).status_code == 400, body
    # To where it is: nothing to do, and no error for who sends it twice.
    assert move(web_app, here, "default")["photo"]["collection"] == "default"
    assert stock.rows(parts) == before


def test_a_key_moves_and_retries_within_its_collections_alone(web_app: App, parts: Parts) -> None:
    mine, others = stock.photo(parts, state="failed"), stock.photo(parts, state="failed", collection="other")
    bound = stock.key(parts, "write", collections=["default", "third"])
    stock.person(parts, "Anybody", "third")
    before = stock.rows(parts)
    for answer, expected in (
        (post(web_app, f"{others}/move", {"collection": "default"}, headers=bound), (404, "photo_not_found")),
        (
            post(web_app, f"{mine}/move", {"collection": "other"}, headers=bound),
            (403, "collection_forbidden"),
        ),
        (post(web_app, f"{mine}/move", {"collection": "nine"}, headers=bound), (403, "collection_forbidden")),
        (post(web_app, f"{others}/retry", headers=bound), (404, "photo_not_found")),
        (post(web_app, "retry", {"collection": "other"}, headers=bound), (403, "collection_forbidden")),
        (post(web_app, f"{mine}/retry", headers=stock.key(parts, "read", "erase")), (403, "scope_missing")),
    ):
        assert code(answer) == expected
    assert stock.rows(parts) == before
    assert post(web_app, "retry", {"reason": "engine_error"}, headers=bound).json() == {"retried": 1}
    assert (state(parts, mine) != "failed", state(parts, others)) == (True, "failed")
    assert move(web_app, mine, "third", headers=bound)["photo"]["collection"] == "third"


def test_photos_moved_to_and_fro_while_they_are_sent_and_erased_stay_whole(
    web_app: App, parts: Parts
) -> None:
    for collection in ("default", "other"):
        stock.person(parts, "Eileen", collection)
    photos = [(f"{number}.jpg", astronaut_jpeg(number)) for number in range(6)]
    web_app.start_worker()
    ended = threading.Event()
    statuses: set[int] = set()

    def send() -> None:
        while not ended.is_set():
            statuses.add(web_app.upload(*photos[:3], person="Eileen").status_code)
            statuses.add(web_app.upload(*photos[3:], collection="other").status_code)

    def change(target: str, number: int) -> None:
        while not ended.wait(0.01):
            for each in web_app.get("/api/v1/photos").json()["photos"]:
                if number == 2:
                    answer = web_app.request("DELETE", f"/api/v1/photos/{each['id']}")
                else:
                    answer = post(web_app, f"{each['id']}/move", {"collection": target})
                statuses.add(answer.status_code)

    with ThreadPoolExecutor(4) as clients:
        tasks = [clients.submit(send)]
        tasks += [clients.submit(change, *each) for each in (("default", 0), ("other", 1), ("", 2))]
        ended.wait(8)
        ended.set()
        for task in tasks:
            task.result()
    assert statuses <= {200, 202, 404, 409}, statuses
    sent = web_app.upload(*photos, person="Eileen").json()
    web_app.wait_finished(sent["batch_id"])
    stock.check_consistent(parts)
    with parts.database.transaction() as session:
        astray = session.execute(
            text(
                "SELECT p.id FROM photos p JOIN batches b ON b.id = p.batch_id"
                " WHERE b.collection_id != p.collection_id"
            )
        ).all()
        assert not astray
        assert session.scalars(select(BatchPhoto.photo_id)).all()
