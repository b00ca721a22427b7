"""Security updates on an installed host."""

from __future__ import annotations

import time

from tests.hosts.test_host import Host, pytestmark  # noqa: F401


def test_only_security_updates_come_by_themselves(host: Host) -> None:
    said = host.run("unattended-upgrade --dry-run --verbose 2>&1 | grep -i 'allowed origins'")
    assert "-security" in said
    assert "label=Debian," not in said
    assert host.run("systemctl is-enabled apt-daily-upgrade.timer").strip() == "enabled"


def test_what_runs_replaced_code_is_restarted_and_nothing_else(host: Host) -> None:
    """redis-exporter's program is replaced by a copy of itself, as an update does."""
    unit, others = "prometheus-redis-exporter.service", "face-web nginx postgresql@17-main redis-server"
    program = "/usr/bin/prometheus-redis-exporter"
    before = host.run(f"systemctl show -P MainPID {others}")
    was = host.run(f"systemctl show -P MainPID {unit}")
    host.run(f"cp -p {program} {program}.new && mv {program}.new {program}")
    host.run("systemctl start face-updates.service")
    time.sleep(1)
    assert host.run(f"systemctl show -P MainPID {unit}") != was
    assert host.run(f"systemctl is-active {unit}").strip() == "active"
    assert host.run(f"systemctl show -P MainPID {others}") == before
