"""What the service tells of one photo's life."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from face_pipeline.parts import Parts

from tests.app import stock
from tests.app.test_contract import DOCUMENT
from tests.installation import App
from tests.photos import astronaut_jpeg


def trail(app: App, photo_id: Any, **options: Any) -> dict[str, Any]:
    answer = app.request("GET", f"/api/v1/photos/{photo_id}/trail", **options)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def steps(told: dict[str, Any]) -> list[str]:
    times = [datetime.fromisoformat(each["at"]) for each in told["steps"]]
    assert times == sorted(times)
    return [each["what"] for each in told["steps"]]


def test_a_photo_tells_how_it_came_who_had_it_and_what_was_found(live_app: App, parts: Parts) -> None:
    sent = live_app.upload(("a.jpg", astronaut_jpeg()))
    live_app.wait_finished(sent.json()["batch_id"])
    photo_id = sent.json()["photos"][0]["id"]
    told = trail(live_app, photo_id)
    assert list(told) == list(DOCUMENT["components"]["schemas"]["Trail"]["properties"])
    # A worker may be quicker than the note that the message was sent.
    assert [each for each in steps(told) if each != "queued"] == ["received", "claimed", "done"]
    assert told["request_id"] == sent.headers["X-Request-ID"] == told["steps"][0]["request_id"]
    assert (told["state"], told["attempts"], told["face_count"], told["duplicates"]) == ("done", 1, 1, 0)
    assert told["worker"] == told["steps"][-1]["worker"]
    assert told["worker"].startswith("worker")
    parts_of = told["waited_seconds"] + told["processing_seconds"]
    assert abs(parts_of - told["total_seconds"]) < 0.01
    assert abs((datetime.fromisoformat(told["steps"][0]["at"]) - datetime.now(UTC)).total_seconds()) < 600
    live_app.upload(("again.jpg", astronaut_jpeg()))
    again = trail(live_app, photo_id)
    assert (again["duplicates"], steps(again)[-1]) == (1, "sent_again")


def test_what_people_did_with_it_is_told_and_not_who(web_app: App, parts: Parts) -> None:
    photo_id = stock.photo(parts, None)
    (face_id,) = stock.faces_of(parts, photo_id)
    anna = stock.person(parts, "Anna")
    stock.person(parts, "Somebody", "other")
    for method, path, body in (
        ("PATCH", f"faces/{face_id}", {"person_id": str(anna)}),
        ("PATCH", f"faces/{face_id}", {"person_id": None}),
        ("POST", f"photos/{photo_id}/move", {"collection": "other"}),
    ):
        assert web_app.request(method, f"/api/v1/{path}", json=body).status_code == 200
    told = trail(web_app, photo_id, headers=stock.key(parts, "read"))
    assert steps(told)[-3:] == ["named", "taken_off", "moved"]
    named, taken, moved = told["steps"][-3:]
    assert (named["face_id"], named["person_id"]) == (str(face_id), str(anna)) == (
        taken["face_id"], taken["person_id"],
    )  # fmt: skip
    assert moved["collection"] == told["collection"] == "other"
    assert "actor" not in str(told)
    assert "sent_again" not in steps(told)


def test_a_photo_that_failed_and_starts_again_tells_both(web_app: App, parts: Parts) -> None:
    photo_id = stock.photo(parts, state="failed")
    failed = trail(web_app, photo_id)
    assert steps(failed) == ["received", "claimed", "failed"]
    assert failed["reason"]["code"] == "engine_error"
    assert failed["total_seconds"] >= failed["processing_seconds"] >= 0
    assert web_app.request("POST", f"/api/v1/photos/{photo_id}/retry").status_code == 202
    told = trail(web_app, photo_id)
    assert sorted(steps(told)) == ["queued", "received", "retried", "uploaded"]
    assert steps(told)[0] == "uploaded"
    assert (told["reason"], told["attempts"], told["waited_seconds"]) == (None, 0, None)
    assert (told["processing_seconds"], told["total_seconds"]) == (None, None)


def test_a_photo_beyond_reach_has_no_trail(web_app: App, parts: Parts) -> None:
    photo_id = stock.photo(parts, None)
    headers = stock.key(parts, "read", collections=["other"])
    for path, options in ((photo_id, {"headers": headers}), (uuid.uuid4(), {}), ("none", {})):
        answer = web_app.request("GET", f"/api/v1/photos/{path}/trail", **options)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "photo_not_found")
    assert str(photo_id) not in [each["subject"] for each in stock.audit(parts, "photo.look")]
    trail(web_app, photo_id)
    assert stock.audit(parts, "photo.look")[-1]["subject"] == str(photo_id)
