"""A search says how sure each match is, by the pack's own thresholds, and where it looked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from face_pipeline.engine import Certainty, PackInvalid, read_pack
from face_pipeline.parts import Parts

from tests.installation import App
from tests.photos import astronaut_again, astronaut_jpeg


def test_a_search_says_how_sure_it_is_and_where_it_looked(live_app: App) -> None:
    pack = live_app.installation.parts.pack
    batch = live_app.upload(("a.jpg", astronaut_jpeg()), person="Eileen Collins").json()["batch_id"]
    live_app.wait_finished(batch)
    first, again = (live_app.search(astronaut_again(), threshold="-1").json() for _ in range(2))
    assert (first["cache"], again["cache"]) == ("miss", "hit")
    for told in (first, again):
        match = told["faces"][0]["matches"][0]
        assert match["certainty"] == pack.certainty(match["similarity"]) != "unsure"
        assert told["thresholds"]["likely"] == pack.match_threshold < told["thresholds"]["sure"] < 1
        assert told["searched"]["collections"] == ["default"]
        assert told["searched"]["faces"] >= 1
    face_id = first["faces"][0]["matches"][0]["face_id"]
    body = {"face_id": face_id, "threshold": -1}
    by_face = live_app.request("POST", "/api/v1/search", json=body).json()
    assert by_face["searched"] == first["searched"]


@pytest.mark.parametrize(
    ("more", "expected"),
    [(0.0, Certainty.SURE), (-0.0001, Certainty.LIKELY)],
)
def test_a_match_is_sure_from_the_threshold_on(parts: Parts, more: float, expected: Certainty) -> None:
    assert parts.pack.certainty(parts.pack.sure_threshold + more) == expected


def test_a_match_under_the_pack_s_threshold_is_unsure(parts: Parts) -> None:
    assert parts.pack.certainty(parts.pack.match_threshold) == Certainty.LIKELY
    assert parts.pack.certainty(parts.pack.match_threshold - 0.0001) == Certainty.UNSURE


def manifest(parts: Parts, directory: Path, **ours: Any) -> Path:
    told = json.loads((parts.pack.path / "manifest.json").read_text())
    told["face_pipeline"] |= ours
    (directory / "manifest.json").write_text(json.dumps(told))
    return directory


def test_a_pack_may_say_its_own_thresholds_and_what_was_measured(parts: Parts, tmp_path: Path) -> None:
    pack = read_pack(
        manifest(parts, tmp_path, match_threshold=0.4, sure_threshold=0.45, false_match_rates={"sure": 1e-6})
    )
    assert (pack.certainty(0.44), pack.certainty(0.45)) == (Certainty.LIKELY, Certainty.SURE)
    assert pack.false_match_rates == {Certainty.SURE: 1e-6}


@pytest.mark.parametrize(
    "wrong",
    [
        {"sure_threshold": 0.1}, {"sure_threshold": 1}, {"sure_threshold": "high"},
        {"false_match_rates": {"sure": 2}}, {"false_match_rates": {"certain": 0.1}},
    ],
)  # fmt: skip
def test_a_pack_with_wrong_thresholds_is_refused(parts: Parts, tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(PackInvalid, match="manifest"):
        read_pack(manifest(parts, tmp_path, **wrong))
