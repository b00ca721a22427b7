"""Which tests run, and in which order.

A test that is marked `campaign` is skipped unless FACE_CAMPAIGN is set, with the reason of its mark.

The order is that of files where several processes run them: begun last, a long one would run alone.

xdist begins with the file that has most tests (`--loadscope-reorder`); those that run Ansible again and again
have few and take minutes. `./check times` says which take longest.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest

LONGEST_FIRST = (
    "tests/monitoring/test_prometheus_role.py",
    "tests/logs/test_kibana_role.py",
    "tests/logs/test_elasticsearch_role.py",
    "tests/monitoring/test_alertmanager_role.py",
    "tests/logs/test_logstash_role.py",
    "tests/app/test_faults.py",
    "tests/logs/test_elastic_contract.py",
    "tests/monitoring/test_exporters.py",
    "tests/ansible/test_vendor_parts.py",
    "tests/monitoring/test_grafana_sources.py",
    "tests/monitoring/test_rules.py",
    "tests/monitoring/test_dashboards.py",
)


def in_campaign(reason: str, *values: tuple[Any, ...]) -> list[Any]:
    """The values of a parametrised test that `./check` has no time for."""
    return [pytest.param(*each, marks=pytest.mark.campaign(reason)) for each in values]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort whole files: the long ones, then those with most tests; a file's own order stays."""
    if "FACE_CAMPAIGN" not in os.environ:
        for item in items:
            if mark := item.get_closest_marker("campaign"):
                item.add_marker(pytest.mark.skip(reason=f"./check campaign has it: {mark.args[0]}"))
    files = [item.nodeid.partition("::")[0] for item in items]
    place = {file: number for number, file in enumerate(LONGEST_FIRST)}
    tests = Counter(files)
    first = {file: number for number, file in reversed(list(enumerate(files)))}

    def key(number: int) -> tuple[int, int, int, int]:
        file = files[number]
        return place.get(file, len(place)), -tests[file], first[file], number

    items[:] = [items[number] for number in sorted(range(len(items)), key=key)]
