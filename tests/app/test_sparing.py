"""Who has no key cannot wash out the journal, and what was left out is counted."""

from __future__ import annotations

import logging

import pytest
from face_pipeline.parts import Parts
from face_pipeline.telemetry.sparing import Sparing
from face_pipeline.web import create_app, observe

from tests.installation import App

BURST = 5


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/api/v1/photos", {}),
        ("GET", "/api/v1/photos", {"X-API-Key": "fp_wrong"}),
        ("POST", "/session", {}),
        ("GET", "/nothing", {}),
        ("GET", "/sign-in", {}),
        ("GET", "/openapi.json", {}),
    ],
)
def test_requests_without_a_key_write_a_bounded_number_of_lines(
    web_app: App, parts: Parts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    method: str, path: str, headers: dict[str, str],
) -> None:  # fmt: skip
    now = [0.0]
    monkeypatch.setattr(observe, "STRANGERS", Sparing(1.0, BURST, lambda: now[0]))
    client = create_app(parts).test_client()
    caplog.set_level(logging.INFO, "face_pipeline.request")

    def lines() -> list[logging.LogRecord]:
        return [record for record in caplog.records if record.name == "face_pipeline.request"]

    for _ in range(50):
        client.open(path, method=method, headers=headers)
    assert len(lines()) == BURST
    # Who has a key is told of all the same.
    for _ in range(7):
        assert client.get("/api/v1/photos", headers={"X-API-Key": web_app.api_key}).status_code == 200
    assert len(lines()) == BURST + 7
    now[0] = 1.0
    client.open(path, method=method, headers=headers)
    told = lines()[BURST + 7 :]
    assert [getattr(record, "count", None) for record in told] == [45, None]
    assert told[0].getMessage() == "45 requests without a valid key left no line"


def test_a_line_comes_back_at_the_rate_and_no_more_than_a_burst_is_saved() -> None:
    now = [0.0]
    lines = Sparing(2.0, 3, lambda: now[0])
    assert [lines.take() for _ in range(5)] == [0, 0, 0, None, None]
    now[0] = 0.5
    assert [lines.take() for _ in range(2)] == [2, None]
    now[0] = 100.0
    assert [lines.take() for _ in range(4)] == [1, 0, 0, None]
