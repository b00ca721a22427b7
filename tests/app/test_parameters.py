"""Values that look like numbers, ids or cursors and are none: refused, each with a word on what would do."""

from __future__ import annotations

import base64
import json
import uuid

import pytest
import requests

from tests.installation import App
from tests.photos import no_face

ID = "11111111-1111-4111-8111-111111111111"
NO_WHOLE_NUMBERS = (
    "1_0",
    "１２",
    "٣",
    " 5",
    "5 ",
    "+5",
    "5.0",
    "1e1",
    "0x5",
    "",
    "NaN",
    "9" * 5000,
    "5\n",
    "-0",
)
NO_NUMBERS = (
    "nan",
    "NaN",
    "inf",
    "-Infinity",
    "0_1",
    "０.５",
    " 0.5",
    "0.5\n",
    "",
    "1e999",
    "0x0",
    "9" * 5000,
    ".",
)
CURSORS = (
    ["2026-11-25T10:00:00+16:00", ID], ["0001-01-01T00:00:00+23:59", ID], ["9999-12-31T23:59:59-23:59", ID],
    ["2026-11-25T10:00:00", ID], ["2026-11-25T10:00:00+01:00", ID], ["2026-11-25", ID], ["now", ID],
    ["2026-11-25T10:00:00+00:00", "no id"], ["2026-11-25T10:00:00+00:00", ID, ID], [1, ID], {"a": 1}, None,
)  # fmt: skip
RAW_CURSORS = ("", "?", "é", "%00", "a", "=" * 9, "[" * 3000)


def _is_refused(answer: requests.Response, *words: str) -> None:
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["code"] == "parameter"
    assert all(word in error["message"] for word in words)


@pytest.mark.parametrize("value", NO_WHOLE_NUMBERS)
def test_a_whole_number_is_written_in_digits(web_app: App, value: str) -> None:
    _is_refused(web_app.get("/api/v1/photos", params={"limit": value}), "limit", "from 1 to 200")


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_a_number_is_written_in_digits(web_app: App, value: str) -> None:
    _is_refused(web_app.search(no_face(), threshold=value), "threshold", "from -1")


def test_numbers_in_their_bounds_are_taken(live_app: App) -> None:
    for value in ("1", "007", "200"):
        assert live_app.get("/api/v1/photos", params={"limit": value}).status_code == 200
    for value in ("0", "-1", "0.5", ".5", "1.", "5e-1", "-0.0", "0.300000000000000000000000004"):
        assert live_app.search(no_face(), threshold=value).status_code == 200


def test_too_many_photos_are_counted(web_app: App) -> None:
    for number in (61, 100, 130):
        answer = web_app.upload(*((f"{each}.jpg", b"x") for each in range(number)))
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "too_many_photos")
        assert "takes 60 photos" in answer.json()["error"]["message"]


def test_a_cursor_of_no_page_is_refused(web_app: App) -> None:
    made = [base64.urlsafe_b64encode(json.dumps(each).encode()).decode() for each in CURSORS]
    made += [base64.urlsafe_b64encode(" ".join(map(str, each)).encode()).decode() for each in CURSORS if each]
    made += [*RAW_CURSORS, base64.urlsafe_b64encode(b"[" * 6000).decode()]
    for cursor in made:
        _is_refused(web_app.get("/api/v1/photos", params={"cursor": cursor}), "cursor")


def test_an_id_is_written_as_the_service_writes_it(web_app: App) -> None:
    for value in (
        ID.replace("-", ""),
        f"{{{ID}}}",
        f"urn:uuid:{ID}",
        f"{ID}\n",
        "1_1" + ID[3:],
        "１" + ID[1:],
        "x",
    ):
        answer = web_app.get("/api/v1/photos", params={"batch": value})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "batch_not_found"), value
    known = web_app.upload(("a.jpg", no_face())).json()["batch_id"]
    for value in (known, known.upper()):
        assert len(web_app.get("/api/v1/photos", params={"batch": value}).json()["photos"]) == 1


def test_a_nul_is_refused_wherever_it_stands(web_app: App) -> None:
    for answer in (
        web_app.get("/api/v1/photos?collection=%00"),
        web_app.upload(("a.jpg", no_face()), person="\0"),
        web_app.search(no_face(), collection="a\0"),
    ):
        assert answer.status_code == 400, answer.text


def test_a_sign_in_that_is_no_key_is_refused(web_app: App) -> None:
    url = f"{web_app.url}/session"
    for body, status in (
        (b'{"api_key": "\\ud800"}', 401),
        (b"[" * 50_000, 400),
        (b'{"api_key": "' + b"x" * 70_000 + b'"}', 413),
        (b'{"api_key": 5}', 400),
        (b"[]", 400),
        (b"\xff", 400),
    ):
        answer = requests.post(url, data=body, headers={"Content-Type": "application/json"}, timeout=30)
        assert answer.status_code == status, answer.text
        assert answer.json()["error"]["message"]
    assert (
        web_app.get(f"/api/v1/photos/{uuid.uuid4()}", headers={"Cookie": "face_session=x"}).status_code == 404
    )
