"""Batches over several uploads, and their list."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.app.test_enrolment import key_of
from tests.app.test_idempotency import code
from tests.app.test_meeting_uploads import _tiny as tiny
from tests.installation import App
from tests.photos import astronaut_jpeg


def make(app: App, collection: str | None = None, **options: Any) -> requests.Response:
    body = {} if collection is None else {"collection": collection}
    return app.request("POST", "/api/v1/batches", json=body, **options)


def made(app: App, collection: str | None = None) -> str:
    answer = make(app, collection)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_a_batch_counts_the_photos_of_all_uploads_that_name_it(live_app: App) -> None:
    new = make(live_app, "holiday").json()
    assert (new["collection"], new["total"], new["states"]["done"]) == ("holiday", 0, 0)
    for number in range(3):
        answer = live_app.upload(
            (f"{number}.jpg", astronaut_jpeg(number)), ("same.jpg", astronaut_jpeg(9)), batch=new["id"]
        )
        assert (answer.status_code, answer.json()["batch_id"]) == (202, new["id"])
    batch = live_app.wait_finished(new["id"])
    assert (batch["total"], batch["states"]["done"], batch["collection"]) == (4, 4, "holiday")
    page = live_app.get(f"/api/v1/photos?batch={new['id']}").json()["photos"]
    assert {photo["collection"] for photo in page} == {"holiday"}
    assert len(page) == 4


def test_uploads_may_add_to_a_batch_at_once(web_app: App) -> None:
    batch = made(web_app)
    photos = tiny(40, "at once")
    with ThreadPoolExecutor(8) as clients:
        answers = list(
            clients.map(lambda n: web_app.upload(*photos[n * 4 : n * 4 + 8], batch=batch), range(9))
        )
    assert {answer.status_code for answer in answers} == {202}
    assert web_app.get(f"/api/v1/batches/{batch}").json()["total"] == 40


def test_a_batch_of_another_collection_takes_no_photo(web_app: App) -> None:
    batch = made(web_app, "one")
    refused = web_app.upload(("a.jpg", astronaut_jpeg()), batch=batch, collection="two")
    assert (refused.status_code, code(refused)) == (409, "batch_other_collection")
    assert web_app.get("/api/v1/photos").json()["photos"] == []
    assert web_app.upload(("a.jpg", astronaut_jpeg()), batch=batch, collection="one").status_code == 202


@pytest.mark.parametrize("batch", [str(uuid.UUID(int=1)), "none", "%00", "x" * 10_000, "🙂"])
def test_a_batch_that_is_not_there_takes_no_photo(web_app: App, batch: str) -> None:
    refused = web_app.upload(("a.jpg", astronaut_jpeg()), batch=batch)
    assert (refused.status_code, code(refused)) == (404, "batch_not_found")
    assert web_app.get("/api/v1/photos").json()["photos"] == []


def test_an_empty_field_is_no_batch(web_app: App) -> None:
    answers = [web_app.upload(("a.jpg", astronaut_jpeg()), batch="") for _ in range(2)]
    assert len({answer.json()["batch_id"] for answer in answers}) == 2


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"collection": "No Name"}, "collection_name"),
        ({"collection": "x" * 10_000}, "collection_name"),
        ({"collection": "\0"}, "collection_name"),
        ({"collection": "🙂"}, "collection_name"),
        ({"collection": 5}, "parameter"),
        ({"collection": None}, "parameter"),
        ({"name": "x"}, "parameter"),
        ([], "body_malformed"),
        ("x", "body_malformed"),
    ],
)
def test_a_body_that_names_no_collection_is_refused(web_app: App, body: Any, expected: str) -> None:
    answer = web_app.request("POST", "/api/v1/batches", json=body)
    assert (answer.status_code, code(answer)) == (400, expected)


def test_batches_are_listed_newest_first_in_pages(web_app: App) -> None:
    ids = [made(web_app, "one" if number % 2 else "two") for number in range(7)]
    web_app.upload(("a.jpg", astronaut_jpeg()), batch=ids[6])
    seen: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = web_app.get("/api/v1/batches", params={"limit": "2", **cursor}).json()
        seen += page["batches"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert [batch["id"] for batch in seen] == ids[::-1]
    assert [batch["total"] for batch in seen] == [1, 0, 0, 0, 0, 0, 0]
    assert seen[0] == web_app.get(f"/api/v1/batches/{ids[6]}").json()
    ones = web_app.get("/api/v1/batches?collection=one").json()["batches"]
    assert [batch["id"] for batch in ones] == ids[1::2][::-1]
    assert web_app.get("/api/v1/batches?collection=none").json() == {"batches": [], "next_cursor": None}
    for wrong in ("limit=0", "limit=201", "limit=x", "cursor=x"):
        assert code(web_app.get(f"/api/v1/batches?{wrong}")) == "parameter"


def test_a_key_reaches_the_batches_of_its_collections_alone(web_app: App) -> None:
    mine, beyond = made(web_app, "mine"), made(web_app, "beyond")
    bound = key_of(web_app, "bound to mine", "read,write", ["mine"])
    listed = web_app.get("/api/v1/batches", headers=bound).json()["batches"]
    assert [batch["id"] for batch in listed] == [mine]
    assert web_app.get(f"/api/v1/batches/{mine}", headers=bound).status_code == 200
    assert code(web_app.get(f"/api/v1/batches/{beyond}", headers=bound)) == "batch_not_found"
    for refused in (
        web_app.get("/api/v1/batches?collection=beyond", headers=bound),
        make(web_app, "beyond", headers=bound),
        make(web_app, headers=bound),
    ):
        assert (refused.status_code, code(refused)) == (403, "collection_forbidden")
    added = web_app.request(
        "POST", "/api/v1/photos", files=[("photos", ("a.jpg", astronaut_jpeg()))], data={"batch": beyond},
        headers=bound,
    )  # fmt: skip
    assert (added.status_code, code(added)) == (404, "batch_not_found")
