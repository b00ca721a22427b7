"""The page of the whole site, on an installed host."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.hosts.test_host import SUMMARY, Host
from tests.hosts.test_scaling import INVENTORY, playbook

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(
        not (SUMMARY and INVENTORY),
        reason="needs an installed host and its inventory (FACE_HOST_SUMMARY, FACE_HOST_INVENTORY)",
    ),
]
# An exporter: nobody misses it for a moment.
UNIT = "prometheus-nginx-exporter.service"


@contextmanager
def stopped(host: Host) -> Iterator[None]:
    host.run(f"systemctl stop {UNIT}")
    try:
        yield
    finally:
        host.run(f"systemctl start {UNIT}")


def test_the_page_names_what_does_not_run_and_changes_nothing(host: Host) -> None:
    with stopped(host):
        done = playbook("status")
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"{UNIT} is inactive" in done.stdout
    assert "changed=0" in done.stdout


def test_a_program_reads_the_same_as_json(host: Host) -> None:
    done = playbook("status", format="json")
    found = json.loads(done.stdout)
    assert done.returncode == (0 if found["well"] else 2)
    assert found["well"] is (not found["wrong"])
    (queues,) = found["queues"].values()
    assert {"search", "ingest", "waiting", "processing", "failed"} <= set(queues)
    assert all(workers["up"] == workers["wanted"] for workers in found["workers"].values())
    assert all(each["bytes"] > 0 for each in found["database"].values())
