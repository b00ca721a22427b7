"""Sentences in logs and answers are right for one thing as for several."""

from __future__ import annotations

import pytest
from face_pipeline.ops.autoscaler.rule import Observation, Policy, Rule
from face_pipeline.words import counted

from tests.installation import App
from tests.photos import astronaut_jpeg


@pytest.mark.parametrize(("number", "noun"), [(0, "photos wait"), (1, "photo waits"), (2, "photos wait")])
def test_one_thing_is_one_and_the_others_are_several(number: int, noun: str) -> None:
    assert counted(number, "photo", "wait") == f"{number} {noun}"


def test_one_accepted_photo_is_not_told_as_photos(web_app: App) -> None:
    before = web_app.installation.log("web.log").count("1 photo accepted, 0 refused")
    assert web_app.upload(("a.jpg", astronaut_jpeg())).status_code == 202
    assert web_app.installation.log("web.log").count("1 photo accepted, 0 refused") == before + 1
    assert web_app.upload(("a.jpg", astronaut_jpeg()), ("b.jpg", astronaut_jpeg(1))).status_code == 202
    assert "2 photos accepted, 0 refused" in web_app.installation.log("web.log")
    assert " 1 photos" not in web_app.installation.log("web.log")


def test_the_autoscaler_tells_of_one_worker_and_one_task() -> None:
    rule = Rule(Policy(minimum=1))
    assert rule.decide(Observation(now=0.0, workers=1, waiting=1)).reason == (
        "1 worker stays: 1 waiting task needs 1 worker at 10 each."
    )
