"""Many small inferences of many threads as few large ones.

The first thread that comes computes for all that wait; while it does, the next batch gathers by itself. So a
lone photo waits for nobody, and the more is in flight, the larger the batches.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from face_pipeline.engine.types import FloatArray, Image

# Sizes a batch is filled up to. A card's memory holds what each size needs, and no more sizes ever come.
SIZES = (1, 2, 4, 8, 16, 32)


@dataclass
class _Request:
    crops: Sequence[Image]
    done: bool = False
    vectors: FloatArray | None = None
    error: Exception | None = None


class Batcher:
    """`embed` of a list of crops to an array, one row each, called by one thread at a time."""

    def __init__(self, embed: Callable[[list[Image]], FloatArray], sizes: Sequence[int] = SIZES) -> None:
        self._embed, self._sizes = embed, sorted(sizes)
        self._waiting: list[_Request] = []
        self._busy = False
        self._changed = threading.Condition()

    def __call__(self, crops: Sequence[Image]) -> FloatArray:
        """Row i is the vector of crop i. Raises what `embed` raises, for all that were in that batch."""
        request = _Request(crops)
        with self._changed:
            self._waiting.append(request)
            while self._busy and not request.done:
                self._changed.wait()
            if not request.done:
                self._busy = True
                mine, self._waiting = self._waiting, []
        if not request.done:
            self._work(mine)
            with self._changed:
                self._busy = False
                self._changed.notify_all()
        if request.error is not None:
            raise request.error
        assert request.vectors is not None
        return request.vectors

    def _work(self, requests: list[_Request]) -> None:
        """Leaves each request done, whatever happens."""
        crops = [crop for request in requests for crop in request.crops]
        try:
            vectors = self._in_batches(crops)
        except Exception as error:
            for request in requests:
                request.error, request.done = error, True
            return
        at = 0
        for request in requests:
            request.vectors = vectors[at : at + len(request.crops)]
            at += len(request.crops)
            request.done = True

    def _in_batches(self, crops: list[Image]) -> FloatArray:
        largest = self._sizes[-1]
        parts = []
        for start in range(0, len(crops), largest):
            part = crops[start : start + largest]
            size = next(size for size in self._sizes if size >= len(part))
            filled = part + [np.zeros_like(part[0])] * (size - len(part))
            parts.append(self._embed(filled)[: len(part)])
        return np.concatenate(parts)
