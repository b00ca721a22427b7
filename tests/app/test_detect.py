"""Detection: the faces of a photo, of which nothing is kept."""

from __future__ import annotations

import pytest
from face_pipeline.parts import Parts
from face_pipeline.store.models import Collection, Photo
from sqlalchemy import func, select

from tests.app.test_search_by_face import bounded_key
from tests.app.test_verify import two_faces
from tests.installation import App
from tests.photos import astronaut_jpeg, no_face


def test_the_faces_of_a_photo_come_largest_first(live_app: App, parts: Parts) -> None:
    def detect(**form: int) -> dict:  # type: ignore[type-arg]
        answer = live_app.request("POST", "/api/v1/detect", files={"photo": two_faces()}, data=form)
        assert answer.status_code == 200, answer.text
        return answer.json()  # type: ignore[no-any-return]

    told = detect()
    assert (told["width"], told["height"]) == (800, 512)
    large, small = told["faces"]
    widths = [face["bbox"][2] - face["bbox"][0] for face in (large, small)]
    assert widths[0] > widths[1]
    assert large["bbox"][2] < 512 < small["bbox"][0]
    assert set(large) == {"bbox", "landmarks", "detection_score", "quality"}, "no embedding leaves"
    assert detect(limit=1)["faces"] == [large]
    assert detect(min_face_size=int(widths[1]) + 5)["faces"] == [large]
    assert detect(min_face_size=1000)["faces"] == []
    # Nothing of it is kept.
    assert list(parts.scratch.scan_iter("face:search:answer:*")) == []
    with parts.database.reading() as session:
        rows = [session.scalar(select(func.count()).select_from(table)) for table in (Photo, Collection)]
    assert rows == [0, 0]


def test_a_photo_without_a_face_is_an_empty_answer_and_half_a_photo_is_none(live_app: App) -> None:
    answer = live_app.request("POST", "/api/v1/detect", files={"photo": no_face()})
    assert (answer.status_code, answer.json()["faces"]) == (200, [])
    cut = live_app.request("POST", "/api/v1/detect", files={"photo": astronaut_jpeg()[:5000]})
    assert (cut.status_code, cut.json()["error"]["code"]) == (422, "truncated")


@pytest.mark.parametrize(
    ("data", "form", "status", "code"),
    [
        (b"", {}, 422, "empty_file"),
        (b"no picture", {}, 415, "unsupported_type"),
        (astronaut_jpeg(), {"limit": "0"}, 400, "parameter"),
        (astronaut_jpeg(), {"limit": "1001"}, 400, "parameter"),
        (astronaut_jpeg(), {"min_face_size": "-1"}, 400, "parameter"),
        (astronaut_jpeg(), {"min_face_size": "1e9"}, 400, "parameter"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(
    web_app: App, data: bytes, form: dict[str, str], status: int, code: str
) -> None:
    answer = web_app.request("POST", "/api/v1/detect", files={"photo": data}, data=form)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_detection_takes_a_photo_and_a_key_that_reads(web_app: App, parts: Parts) -> None:
    assert web_app.request("POST", "/api/v1/detect").json()["error"]["code"] == "photo_missing"
    headers = {"Authorization": f"Bearer {bounded_key(parts, None, 'write')}"}
    answer = web_app.request("POST", "/api/v1/detect", files={"photo": no_face()}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "scope_missing")
