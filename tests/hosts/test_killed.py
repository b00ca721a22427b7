"""What is killed on an installed host comes back by itself, and the service with it."""

from __future__ import annotations

import pytest

from tests.hosts.test_hardening import SERVICES
from tests.hosts.test_host import Host, pytestmark, wait  # noqa: F401


def test_every_unit_that_stays_up_is_started_again_where_it_fails(host: Host) -> None:
    show = "systemctl show -P Type -P Restart -P TriggeredBy -P UnitFileState $unit | tr '\\n' ' '"
    said = host.run(f"for unit in $({SERVICES}); do echo $unit $({show}); done")
    stay = [line.split() for line in said.splitlines() if "oneshot" not in line and ".timer" not in line]
    assert len(stay) >= 5, said
    assert [unit for unit, _, restart, *_ in stay if restart == "no"] == []


@pytest.mark.parametrize("unit", ["postgresql@17-main.service", "nginx.service"])
def test_what_debian_leaves_down_comes_back(host: Host, unit: str) -> None:
    if "active" not in host.run(f"systemctl is-active {unit}", check=False).splitlines():
        pytest.skip(f"{unit} is on another host")
    before = int(host.run(f"systemctl show -P NRestarts {unit}"))
    host.run(f"systemctl kill --kill-whom=main --signal=KILL {unit}")
    wait(lambda: int(host.run(f"systemctl show -P NRestarts {unit}")) > before, 60, f"{unit} to be restarted")
    wait(
        lambda: host.run(f"systemctl is-active {unit}", check=False) == "active\n", 60, f"{unit} to be active"
    )
    wait(lambda: _ready(host), 120, "the service to be ready")


def _ready(host: Host) -> bool:
    return '"ready"' in host.run("curl -sk https://localhost/health/ready", check=False)
