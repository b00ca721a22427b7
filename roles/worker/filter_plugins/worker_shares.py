"""Spread a number of workers over hosts, by the rule of the autoscaler."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ansible.errors import AnsibleFilterError

RULE = Path(__file__).resolve().parents[3] / "app/face_pipeline/ops/autoscaler/spread.py"
NAME = "face_pipeline_spread"


def _rule() -> ModuleType:
    """The rule's own file: the application is installed on the hosts alone."""
    if NAME not in sys.modules:
        spec = importlib.util.spec_from_file_location(NAME, RULE)
        if spec is None or spec.loader is None:
            raise AnsibleFilterError(f"{RULE} cannot be read; is this a whole checkout?")
        module = importlib.util.module_from_spec(spec)
        # A dataclass looks its own module up.
        sys.modules[NAME] = module
        try:
            spec.loader.exec_module(module)
        except OSError as error:
            del sys.modules[NAME]
            raise AnsibleFilterError(f"{RULE} cannot be read; is this a whole checkout?") from error
    return sys.modules[NAME]


def _hosts(weights: Mapping[str, Any], maximum: int) -> list[Any]:
    hosts = []
    for name, weight in weights.items():
        try:
            number = float(weight)
        except (TypeError, ValueError):
            number = -1.0
        if not 0 <= number < float("inf"):
            raise AnsibleFilterError(f"face_worker_weight of {name} is '{weight}': a number from 0 is needed")
        hosts.append(_rule().Host(str(name), number, int(maximum)))
    return hosts


def worker_places(weights: Mapping[str, Any], maximum: int) -> int:
    """The most workers that the hosts may run together, `maximum` each; a host of weight 0 runs none."""
    return int(_rule().places(_hosts(weights, maximum)))


def worker_shares(total: int, weights: Mapping[str, Any], maximum: int) -> dict[str, int]:
    """Workers of each host, in proportion to the weights, none above `maximum`."""
    hosts = _hosts(weights, maximum)
    try:
        return dict(_rule().spread(int(total), hosts))
    except _rule().NoRoom as error:
        raise AnsibleFilterError(f"{error} (face_workers_max is {maximum} a host)") from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"worker_shares": worker_shares, "worker_places": worker_places}
