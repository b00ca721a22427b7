"""Which faults come, from a seed: the same seed, count and kinds give the same schedule."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

# Target by kind; which host and which process it is is found out when the fault begins.
TARGETS: dict[str, tuple[str, ...]] = {
    "kill": (
        "gunicorn master", "gunicorn worker", "celery worker", "redis", "scratch redis", "postmaster",
        "postgres backend", "nginx", "nginx worker", "flower", "prometheus", "alertmanager", "node exporter",
    ),
    "freeze": ("gunicorn worker", "celery worker", "redis", "scratch redis", "postmaster", "nginx worker"),
    "restart": ("postgres", "redis", "scratch redis", "web", "workers"),
    "empty": ("redis", "scratch redis"),
    "spoil": ("original",),
    "network": ("both", "to the host", "from the host"),
    "power": ("host",),
}  # fmt: skip
FROZEN_SECONDS = (1.0, 25.0)
CUT_SECONDS = (2.0, 15.0)


@dataclass(frozen=True)
class Planned:
    number: int
    kind: str
    target: str
    seconds: float


def plan(seed: int, count: int, kinds: Sequence[str]) -> list[Planned]:
    """`kinds` in turn, so that a short campaign has each of them."""
    chance = random.Random(seed)
    made = []
    for number in range(1, count + 1):
        kind = kinds[(number - 1) % len(kinds)]
        target = chance.choice(TARGETS[kind])
        low, high = {"freeze": FROZEN_SECONDS, "network": CUT_SECONDS}.get(kind, (0.0, 0.0))
        made.append(Planned(number, kind, target, round(chance.uniform(low, high), 1)))
    return made


def write(planned: Sequence[Planned], file: Path) -> None:
    file.write_text("".join(json.dumps(asdict(each)) + "\n" for each in planned), encoding="utf-8")
