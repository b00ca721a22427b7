"""Which faults come, from a seed: the same seed and kinds give the same schedule, however long it is."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path

from tests.campaign.faults import FAULTS, Fault


@dataclass(frozen=True)
class Planned:
    number: int
    kind: str
    target: str
    seconds: float


def plan(
    seed: int,
    count: int,
    kinds: Sequence[str],
    table: Mapping[str, Mapping[str, Fault]] = FAULTS,
    longest: float = inf,
) -> list[Planned]:
    """Each target of these kinds once, in any order, before one of them comes again; none over `longest`."""
    chance = random.Random(seed)
    all_of_them = [(kind, target) for kind in kinds for target in table[kind]]
    made: list[Planned] = []
    while len(made) < count:
        chance.shuffle(all_of_them)
        for kind, target in all_of_them:
            at_least, at_most = table[kind][target].seconds
            seconds = round(min(chance.uniform(at_least, min(at_most, longest)), longest), 1)
            made.append(Planned(len(made) + 1, kind, target, seconds))
    return made[:count]


def write(planned: Sequence[Planned], file: Path) -> None:
    file.write_text("".join(json.dumps(asdict(each)) + "\n" for each in planned), encoding="utf-8")
