"""What comes once a year: a stadium on one photo, a person who is erased while two enrol them."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from face_pipeline.ops import clusterer
from face_pipeline.parts import Parts

from tests.app import stock
from tests.app.test_enrolment import a_person, enrol, kept, only_refusal, originals
from tests.installation import App, Installation
from tests.photos import ROOT, astronaut_jpeg

CROWD = 1000


@pytest.fixture
def stadium(web_app: App, installation: Installation) -> App:
    """With a worker that finds a thousand faces on `crowd()`."""
    code = f"{ROOT / 'tests' / 'standins' / 'crowd'}{os.pathsep}{installation.environment['PYTHONPATH']}"
    web_app.start_worker(PYTHONPATH=code)
    return web_app


def crowd(variant: int = 0) -> bytes:
    return astronaut_jpeg(variant) + b"crowd:%d" % CROWD


def test_a_thousand_faces_on_one_photo(stadium: App, parts: Parts) -> None:
    batch = stadium.upload(("stadium.jpg", crowd()), person="Anna").json()
    assert stadium.wait_finished(batch["batch_id"])["states"]["done"] == 1
    photo_id = batch["photos"][0]["id"]
    photo = stadium.get(f"/api/v1/photos/{photo_id}").json()
    assert len(photo["faces"]) == len({each["id"] for each in photo["faces"]}) == CROWD
    # Which of them she is, nobody can say.
    assert {each["person"] for each in photo["faces"]} == {None}
    assert photo["reason"]["code"] == "person_not_assigned"
    assert stadium.get("/api/v1/collections/default").json()["face_count"] == CROWD
    seen, cursor = 0, None
    while page := stadium.get("/api/v1/events", params={"limit": 200, "after": cursor}).json():
        seen += sum(each["kind"] == "face.unknown" for each in page["events"])
        cursor = page["next_cursor"]
        if not page["events"]:
            break
    assert seen == CROWD

    found = stadium.search(crowd(), limit=1).json()
    assert [face["matches"][0]["face_id"] for face in found["faces"]] == [
        each["id"] for each in photo["faces"]
    ]
    assert len(detected(stadium, limit=CROWD)["faces"]) == CROWD
    clusterer.cluster(parts)
    assert stadium.get("/api/v1/clusters").json()["clusters"] == []

    named = stadium.request("PATCH", f"/api/v1/faces/{photo['faces'][500]['id']}", json={"person": "Anna"})
    assert named.status_code == 200, named.text
    erased = stadium.request("DELETE", f"/api/v1/photos/{photo_id}").json()
    assert (erased["photos"], erased["faces"], erased["originals"]) == (1, CROWD, 1)
    stock.check_consistent(parts)
    assert kept(parts) == (0, 0, 0)


def detected(app: App, **form: Any) -> dict[str, Any]:
    answer = app.request("POST", "/api/v1/detect", files={"photo": ("a.jpg", crowd())}, data=form)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_nobody_is_enrolled_from_a_crowd(stadium: App, parts: Parts) -> None:
    anna = a_person(parts)
    refused = only_refusal(enrol(stadium, anna, ("stadium.jpg", crowd())))
    assert refused["code"] == "faces_many"
    assert kept(parts) == (0, 0, 0)


def test_a_person_who_is_erased_while_two_enrol_them_leaves_nothing(live_app: App, parts: Parts) -> None:
    """Whichever comes first: what an enrolment put in goes with the person, or it is told there is none."""
    outcomes = set()
    before = set(originals(live_app.installation))
    for number in range(6):
        anna = a_person(parts, f"Anna {number}")
        start = threading.Barrier(3)

        def send(client: int, person: str = anna, turn: int = number, start: Any = start) -> Any:
            start.wait(30)
            photos = [(f"{n}.jpg", astronaut_jpeg(100 * turn + 10 * client + n)) for n in range(2)]
            return enrol(live_app, person, *photos)

        def erase(person: str = anna, turn: int = number, start: Any = start) -> Any:
            start.wait(30)
            # Each round a little later: before, between and behind what the enrolments do.
            time.sleep(0.15 * turn)
            return live_app.request("DELETE", f"/api/v1/persons/{person}")

        with ThreadPoolExecutor(3) as clients:
            erasing = clients.submit(erase)
            answers = list(clients.map(send, range(2)))
        assert erasing.result().status_code == 200, erasing.result().text
        for answer in answers:
            assert answer.status_code in (200, 404), answer.text
            if answer.status_code == 404:
                assert answer.json()["error"]["code"] == "person_not_found"
        outcomes |= {each.status_code for each in answers}
        assert live_app.get(f"/api/v1/persons/{anna}").status_code == 404
        assert kept(parts) == (0, 0, 0), f"round {number}"
        assert set(originals(live_app.installation)) <= before, f"round {number}"
        stock.check_consistent(parts)
    assert 404 in outcomes
