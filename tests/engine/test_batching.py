"""Faces of many photos in few batches: each gets its own vector, whatever the others do."""

from __future__ import annotations

import concurrent.futures
import threading
from typing import Any

import numpy as np
import pytest
from face_pipeline.engine import load_engine
from face_pipeline.engine.batching import SIZES, Batcher
from face_pipeline.engine.types import FloatArray, Image

from tests import packs
from tests.photos import astronaut_jpeg

SIDE = 4


def crop(number: int) -> Image:
    return np.full((SIDE, SIDE, 3), number, np.uint8)


def vectors(crops: list[Image]) -> FloatArray:
    return np.array([[float(each[0, 0, 0]), 1.0] for each in crops], np.float32)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 31, 32, 33, 100])
def test_a_batch_has_one_of_few_sizes_and_each_face_its_vector(count: int) -> None:
    sizes: list[int] = []

    def embed(crops: list[Image]) -> FloatArray:
        sizes.append(len(crops))
        return vectors(crops)

    found = Batcher(embed)([crop(number) for number in range(count)])
    assert found[:, 0].tolist() == list(range(count))
    assert set(sizes) <= set(SIZES)
    assert sum(sizes) < 2 * count + 1


def test_photos_in_flight_share_a_batch_and_a_lone_one_waits_for_nobody() -> None:
    batches: list[int] = []
    first, go_on = threading.Event(), threading.Event()

    def embed(crops: list[Image]) -> FloatArray:
        batches.append(len(crops))
        first.set()
        assert go_on.wait(10)
        return vectors(crops)

    batcher = Batcher(embed)
    with concurrent.futures.ThreadPoolExecutor(9) as pool:
        alone = pool.submit(batcher, [crop(200)])
        assert first.wait(10)
        others = [pool.submit(batcher, [crop(number)]) for number in range(8)]
        while len(batcher._waiting) < 8:
            pass
        go_on.set()
        assert alone.result(10)[0, 0] == 200
        assert [each.result(10)[0, 0] for each in others] == list(range(8))
    assert batches == [1, 8]


def test_under_load_nobody_gets_anothers_vector() -> None:
    batcher = Batcher(vectors)

    def one(number: int) -> bool:
        mine = [crop((number + each) % 256) for each in range(number % 7 + 1)]
        return bool(np.array_equal(batcher(mine), vectors(mine)))

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(one, range(5000)))


def test_an_error_reaches_those_of_its_batch_and_the_next_goes_on() -> None:
    def embed(crops: list[Image]) -> FloatArray:
        if crops[0][0, 0, 0] == 7:
            raise RuntimeError("out of memory")
        return vectors(crops)

    batcher = Batcher(embed)
    with pytest.raises(RuntimeError, match="out of memory"):
        batcher([crop(7)])
    assert batcher([crop(8)])[0, 0] == 8


def test_a_real_model_gives_the_same_embedding_alone_and_in_a_batch() -> None:
    engine = load_engine(packs.insightface_pack(), threads=1)
    (face,) = engine.analyse(astronaut_jpeg()).faces
    crops: list[Image] = []
    plain = engine.embed  # type: ignore[attr-defined]

    def keep(found: list[Image], *rest: Any) -> FloatArray:
        crops.extend(found)
        made: FloatArray = plain(found, *rest)
        return made

    engine.embed = keep  # type: ignore[attr-defined]
    engine.analyse(astronaut_jpeg())
    raw = engine._batcher(crops * 5)  # type: ignore[attr-defined]
    for vector in raw:
        assert np.dot(vector / np.linalg.norm(vector), face.embedding) == pytest.approx(1, abs=1e-4)
