"""What web service and worker write to each other: read as it was meant, or not at all."""

from __future__ import annotations

import base64
import concurrent.futures
import json

import numpy as np
import pytest
from face_pipeline.broker.messages import (
    Failed,
    Found,
    FoundFace,
    Question,
    ReplyUnreadable,
    from_json,
    to_json,
)
from face_pipeline.engine import DetectedFace
from face_pipeline.parts import Parts

from tests.installation import App, wait_until
from tests.photos import astronaut_jpeg

EMBEDDING = np.eye(4, dtype=np.float32)[2]
# As releases wrote it that knew no version.
OLD = {
    "contract_id": "dlib-1",
    "faces": [
        {
            "bbox": [1.0, 2.5, 30.0, 40.0],
            "landmarks": [[1.0, 2.0], [3.0, 4.0]],
            "detection_score": 0.9876,
            "quality": 0.5,
            "embedding": base64.b64encode(EMBEDDING.astype("<f4").tobytes()).decode(),
        }
    ],
    "task_id": "one",
}


def test_the_faces_of_a_reply_arrive_as_they_were_found() -> None:
    face = DetectedFace(
        bbox=np.array([1.04, 2.46, 30.0, 40.0], np.float32),
        landmarks=np.array([[1.01, 2.0], [3.0, 4.0]], np.float32),
        detection_score=0.98761, quality=0.5, embedding=EMBEDDING,
    )  # fmt: skip
    sent = Found("one", "dlib-1", [FoundFace.of(face)])
    arrived = from_json(to_json(sent))
    assert isinstance(arrived, Found)
    assert (arrived.task_id, arrived.contract_id) == ("one", "dlib-1")
    (told,) = arrived.faces
    assert (told.bbox, told.landmarks) == ([1.0, 2.5, 30.0, 40.0], [[1.0, 2.0], [3.0, 4.0]])
    assert (told.detection_score, told.quality) == (0.9876, 0.5)
    assert np.array_equal(told.embedding, EMBEDDING)
    assert told.embedding.dtype == np.float32


def test_a_failure_arrives_with_its_code() -> None:
    failed = Failed("one", "broken_image", "the photo cannot be decoded")
    assert from_json(to_json(failed)) == failed


def test_a_question_is_known_again_by_its_id() -> None:
    assert Question.of(Question("dlib-1:a", "ab12").id) == Question("dlib-1:a", "ab12")


def test_the_release_before_and_this_one_read_each_other() -> None:
    reply = from_json(json.dumps(OLD))
    assert isinstance(reply, Found)
    assert np.array_equal(reply.faces[0].embedding, EMBEDDING)
    written = json.loads(to_json(reply))
    assert {name: written[name] for name in OLD} == OLD, "what an old reader looks for is where it was"
    assert from_json(json.dumps({"error": {"code": "a", "message": "b"}, "task_id": "one"})) == Failed(
        "one", "a", "b"
    )


@pytest.mark.parametrize(
    "text",
    [json.dumps({**OLD, "version": 2}), json.dumps({"version": 1, "faces": []}), "[]", "no JSON",
     json.dumps({**OLD, "faces": [{}]}), json.dumps({**OLD, "faces": [{**OLD["faces"][0], "embedding": 1}]})],
)  # fmt: skip
def test_nothing_is_read_of_a_reply_in_another_form(text: str) -> None:
    with pytest.raises(ReplyUnreadable):
        from_json(text)


def test_a_search_that_a_later_release_answered_may_be_sent_again(web_app: App, parts: Parts) -> None:
    """No worker runs here: the test answers in its place, as a worker after an update might."""
    store = parts.scratch
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(web_app.search, astronaut_jpeg(61))
        wait_until(lambda: list(store.scan_iter("face:search:*:waiting")), 20, "the search to wait")
        (waiting,) = store.scan_iter("face:search:*:waiting")
        (waiter,) = store.smembers(waiting)
        own = waiting.removesuffix(b"waiting") + b"to:" + waiter
        store.rpush(own, json.dumps({**OLD, "version": 2}))
        answer = asked.result()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "search_failed")
    assert answer.headers["Retry-After"] == "5"
