"""Verification: what a client is told of two faces."""

from __future__ import annotations

import concurrent.futures
import signal
from typing import Any

import numpy as np
import pytest
import requests
from face_pipeline.parts import Parts
from face_pipeline.store.models import Collection
from PIL import Image
from sqlalchemy import update

from tests.app.test_embeddings import add
from tests.app.test_search_by_face import NOBODY, bounded_key, face_ids
from tests.app.test_single_flight import _undecodable, _waiting
from tests.app.test_vectors import add_person, axis, fill, make_collection, near
from tests.installation import App, wait_until
from tests.photos import LABELLED, astronaut, astronaut_again, astronaut_jpeg, jpeg, labelled, no_face

pytestmark = pytest.mark.one_worker


def verify(app: App, *, key: str | None = None, **given: Any) -> requests.Response:
    """A form where a photo is given, else JSON."""
    files = {name: (f"{name}.jpg", data) for name, data in given.items() if isinstance(data, bytes)}
    rest = {name: value for name, value in given.items() if name not in files}
    body: dict[str, Any] = {"files": files, "data": rest} if files else {"json": rest}
    headers = {"Authorization": f"Bearer {key or app.api_key}"}
    return app.request("POST", "/api/v1/verify", headers=headers, **body)


def two_faces() -> bytes:
    """The same person twice on one photo, on the right at half the size."""
    image = Image.new("RGB", (800, 512))
    image.paste(astronaut(), (0, 0))
    image.paste(astronaut().resize((288, 288)), (512, 0))
    return jpeg(image)


def test_two_photos_of_one_person_are_the_same_and_one_of_another_is_not(live_app: App) -> None:
    answer = verify(live_app, photo=astronaut_jpeg(), other=astronaut_again())
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["same"] is True
    assert body["similarity"] >= body["threshold"] == live_app.installation.parts.pack.match_threshold
    assert [body[side]["faces"] for side in ("face", "other")] == [1, 1]
    assert "person" not in body
    assert "face_id" not in body["face"]
    # What is asked for decides, and the similarity is the same.
    strict = verify(live_app, photo=astronaut_jpeg(), other=astronaut_again(), threshold=0.9999).json()
    assert (strict["same"], strict["similarity"]) == (False, body["similarity"])
    assert strict["threshold"] == 0.9999
    labelled()
    obama, biden = ((LABELLED / f"{name}_1.jpg").read_bytes() for name in ("obama", "biden"))
    assert verify(live_app, photo=obama, other=biden).json()["same"] is False


def test_a_photo_is_compared_with_all_faces_of_a_person(live_app: App, parts: Parts) -> None:
    form = {"collection": "default", "person": "Eileen Collins"}
    batch = live_app.upload(("a.jpg", astronaut_jpeg()), ("b.jpg", astronaut_jpeg(1)), **form).json()
    live_app.wait_finished(batch["batch_id"])
    person = batch["photos"][0]["person"]["id"]
    add(live_app, person, near(axis(0), 2, 0.9, 1).tolist())
    body = verify(live_app, photo=astronaut_again(), person_id=person).json()
    told = body["person"]
    assert body["same"] is True
    assert "other" not in body
    assert (told["id"], told["name"], told["face_count"], told["decides"]) == (
        person, "Eileen Collins", 4, "best",
    )  # fmt: skip
    assert told["best"] == body["similarity"] > told["mean_of_best"], "the third best face is another's"
    assert told["photo_id"] in {photo["id"] for photo in batch["photos"]}
    # A search finds the same face, as similar.
    (match, *_) = live_app.search(astronaut_again()).json()["faces"][0]["matches"]
    assert match["similarity"] == told["best"]


def test_stored_faces_are_compared_without_a_photo(web_app: App, parts: Parts) -> None:
    collection = make_collection(parts, "default")
    rows = np.vstack([axis(0)[None], near(axis(0), 1, 0.97, 1), near(axis(0), 1, 0.5, 2)])
    fill(parts, collection, rows)
    one, alike, other = face_ids(parts, collection)
    near_one = verify(web_app, face_id=one, other_face_id=alike, threshold=0.9).json()
    assert (near_one["same"], near_one["face"]["face_id"], near_one["other"]["face_id"]) == (True, one, alike)
    assert near_one["similarity"] == pytest.approx(0.97, abs=2e-3)
    assert near_one["face"]["bbox"] == [0, 0, 1, 1]
    assert "faces" not in near_one["face"], "it was not looked for on a photo"
    assert verify(web_app, face_id=one, other_face_id=other, threshold=0.9).json()["same"] is False
    # A form without a photo is the same question.
    form = {"face_id": (None, one), "other_face_id": (None, alike)}
    assert (
        web_app.request("POST", "/api/v1/verify", files=form).json()["similarity"] == near_one["similarity"]
    )


def test_a_face_is_not_compared_with_itself_among_a_persons(web_app: App, parts: Parts) -> None:
    person = add_person(parts, make_collection(parts, "default"), "Anna")
    rows = [axis(0), *near(axis(0), 1, 0.8, 1)]
    first, second = add(web_app, person, [row.tolist() for row in rows]).json()["face_ids"]
    told = verify(web_app, face_id=first, person_id=str(person), threshold=0.5).json()
    assert told["similarity"] == pytest.approx(0.8, abs=2e-3)
    assert (told["person"]["face_id"], told["person"]["face_count"]) == (second, 1)
    assert told["person"]["mean_of_best"] == told["person"]["best"]
    # Both came as embeddings.
    assert (told["face"]["photo_id"], told["person"]["photo_id"]) == (None, None)
    assert "bbox" not in told["face"]
    nobody = add_person(parts, make_collection(parts, "default"), "Nobody yet")
    answer = verify(web_app, face_id=first, person_id=str(nobody))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "person_without_faces")


def test_of_several_faces_the_largest_is_compared_or_they_are_refused(live_app: App) -> None:
    told = verify(live_app, photo=two_faces(), other=astronaut_jpeg()).json()
    assert (told["face"]["faces"], told["other"]["faces"]) == (2, 1)
    right = told["face"]["bbox"][2]
    assert right < 512, "the larger one is on the left"
    answer = verify(live_app, photo=astronaut_jpeg(), other=two_faces(), which="only")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, "faces_many")
    assert error["details"] == {"photo": "other", "faces": 2}


@pytest.mark.parametrize("bad", ["photo", "other"])
def test_a_photo_that_cannot_be_compared_is_named(live_app: App, bad: str) -> None:
    good = "other" if bad == "photo" else "photo"
    for data, status, code in (
        (no_face(), 422, "no_face"),
        (_undecodable(), 422, "broken_image"),
        (b"no picture", 415, "unsupported_type"),
        (b"", 422, "empty_file"),
    ):
        answer = verify(live_app, **{bad: data, good: astronaut_jpeg()})
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
        assert answer.json()["error"]["details"]["photo"] == bad


def test_both_photos_are_analysed_at_the_same_time(web_app: App, parts: Parts) -> None:
    worker = web_app.start_worker()
    worker.send_signal(signal.SIGSTOP)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(verify, web_app, photo=astronaut_jpeg(), other=astronaut_again())
        _waiting(parts, 2)
        worker.send_signal(signal.SIGCONT)
        assert asked.result().json()["same"] is True


def test_when_one_photo_fails_nobody_waits_for_the_other(web_app: App, parts: Parts) -> None:
    """The worker has one thread: it finds the broken photo while the good one, sent first or not, waits."""
    web_app.start_worker(concurrency=1)
    for photos in ((_undecodable(), astronaut_jpeg(5)), (astronaut_jpeg(6), _undecodable())):
        answer = verify(web_app, photo=photos[0], other=photos[1])
        assert answer.json()["error"]["code"] == "broken_image"
        wait_until(lambda: not list(parts.scratch.scan_iter("face:search:*:waiting")), 10, "nobody to wait")
        assert list(parts.scratch.scan_iter("face:search:*:photo")) == []


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"face_id": NOBODY},
        {"person_id": NOBODY},
        {"other_face_id": NOBODY},
        {"face_id": NOBODY, "other_face_id": NOBODY, "person_id": NOBODY},
        {"photo": b"x"},
        {"photo": b"x", "face_id": NOBODY, "person_id": NOBODY},
        {"photo": b"x", "other": b"x", "person_id": NOBODY},
        {"other": b"x"},
    ],
)
def test_one_thing_is_compared_with_one_other(web_app: App, given: dict[str, Any]) -> None:
    answer = verify(web_app, **given)
    code = answer.json()["error"]["code"]
    assert (answer.status_code, code) in ((400, "verify_sides"), (400, "parameter")), answer.text


@pytest.mark.parametrize(
    ("given", "status", "code"),
    [
        ({"face_id": NOBODY, "other_face_id": NOBODY}, 404, "face_not_found"),
        ({"face_id": "x" * 10_000, "person_id": NOBODY}, 404, "face_not_found"),
        ({"photo": astronaut_jpeg(), "person_id": "🙂"}, 404, "person_not_found"),
        ({"photo": astronaut_jpeg(), "person_id": NOBODY}, 404, "person_not_found"),
        ({"photo": astronaut_jpeg(), "other": astronaut_jpeg(), "threshold": "2"}, 400, "parameter"),
        ({"photo": astronaut_jpeg(), "other": astronaut_jpeg(), "threshold": "nan"}, 400, "parameter"),
        ({"photo": astronaut_jpeg(), "other": astronaut_jpeg(), "which": "all"}, 400, "parameter"),
        ({"face_id": NOBODY, "person_id": NOBODY, "threshold": "0.5"}, 400, "parameter"),
        ({"face_id": NOBODY, "person_id": NOBODY, "which": "only"}, 400, "parameter"),
    ],
)
def test_what_is_wrong_is_said_before_a_worker_is_asked(
    web_app: App, given: dict[str, Any], status: int, code: str
) -> None:
    answer = verify(web_app, **given)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text


def test_faces_and_persons_of_other_collections_and_engines_stay_apart(web_app: App, parts: Parts) -> None:
    theirs, mine = make_collection(parts, "theirs"), make_collection(parts, "mine")
    fill(parts, mine, axis(0)[None])
    (face_id,) = face_ids(parts, mine)
    person = add_person(parts, theirs, "Anna")
    (hidden,) = add(web_app, person, [axis(0).tolist()]).json()["face_ids"]
    key = bounded_key(parts, ["mine"], "read")
    for given, code in (
        ({"face_id": face_id, "person_id": str(person)}, "person_not_found"),
        ({"face_id": face_id, "other_face_id": hidden}, "face_not_found"),
        ({"face_id": hidden, "other_face_id": face_id}, "face_not_found"),
    ):
        answer = verify(web_app, key=key, **given)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, code)
    # Whoever reaches both may compare across collections.
    assert verify(web_app, face_id=face_id, person_id=str(person)).json()["same"] is True
    with parts.database.transaction() as session:
        session.execute(update(Collection).where(Collection.name == "theirs").values(contract_id="other-1"))
    for given in ({"person_id": str(person)}, {"other_face_id": hidden}):
        answer = verify(web_app, face_id=face_id, **given)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "contract_mismatch")
