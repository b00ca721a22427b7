"""Workers are spread by one rule, whether a person or the autoscaler gives the number."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from ansible.errors import AnsibleFilterError
from face_pipeline.ops.autoscaler.spread import Host, NoRoom, places, spread

from tests.ansible.programs import load

ROOT = Path(__file__).resolve().parents[2]
FILTER = ROOT / "roles/worker/filter_plugins/worker_shares.py"


@pytest.fixture(scope="module")
def door() -> ModuleType:
    return load("roles/worker/filter_plugins/worker_shares.py")


def test_equal_hosts_take_the_odd_worker_by_name_whatever_their_order(door: ModuleType) -> None:
    expected = {"w1": 2, "w5": 1, "w9": 1}
    for names in (("w9", "w1", "w5"), ("w1", "w5", "w9"), ("w5", "w9", "w1")):
        assert door.worker_shares(4, dict.fromkeys(names, 1), 10) == expected
        assert spread(4, [Host(name, 1, 10) for name in names]) == expected


def test_a_person_and_the_autoscaler_spread_alike(door: ModuleType) -> None:
    chance = random.Random(15)
    for _ in range(500):
        names = [f"w{n}" for n in chance.sample(range(1, 40), chance.randint(1, 8))]
        weights = {name: chance.choice([0, 0.1, 0.3, 0.5, 1, 1, 1, 2, 3]) for name in names}
        maximum = chance.randint(0, 12)
        hosts = [Host(name, weight, maximum) for name, weight in weights.items()]
        chance.shuffle(hosts)
        assert door.worker_places(weights, maximum) == places(hosts)
        total = chance.randint(0, places(hosts))
        shares = door.worker_shares(total, weights, maximum)
        assert shares == spread(total, hosts)
        assert sum(shares.values()) == total


def test_more_workers_than_there_is_room_for_are_refused_with_the_bound(door: ModuleType) -> None:
    with pytest.raises(NoRoom, match="11 workers are more than the 10 that these hosts may run"):
        spread(11, [Host("w1", 1, 10), Host("w2", 0, 10)])
    with pytest.raises(AnsibleFilterError, match=r"more than the 10 .* may run \(face_workers_max is 10"):
        door.worker_shares(11, {"w1": 1, "w2": 0}, 10)


@pytest.mark.parametrize("weight", ["heavy", None, -1, float("nan"), float("inf")])
def test_a_weight_that_cannot_be_is_named_with_its_host(door: ModuleType, weight: object) -> None:
    with pytest.raises(
        AnsibleFilterError, match=r"face_worker_weight of w2 is .*: a number from 0 is needed"
    ):
        door.worker_shares(2, {"w1": 1, "w2": weight}, 10)


def test_the_rule_needs_nothing_but_python() -> None:
    rule = ROOT / "app/face_pipeline/ops/autoscaler/spread.py"
    subprocess.run([sys.executable, "-I", "-S", str(rule)], check=True)
