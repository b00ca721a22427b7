"""All of a host is stopped and started by one name, as an operator types it."""

from __future__ import annotations

import json

import pytest

from tests.hosts.test_host import SUMMARY, Host, wait

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(not SUMMARY, reason="needs an installed host (FACE_HOST_SUMMARY)"),
]
DATA = ("nginx.service", "postgresql@17-main.service", "redis-server.service")


def states(host: Host) -> dict[str, str]:
    lines = host.run("face-units status", check=False).splitlines()
    return {line.split()[0]: line.split()[1] for line in lines}


def test_one_target_stops_all_and_starts_all_and_waits_for_both(host: Host) -> None:
    before = states(host)
    assert {"face-web.service", "celery@1.service", *DATA} <= set(before)
    assert set(before.values()) == {"active"}
    try:
        host.run("systemctl stop face.target")
        # Asked right after: nothing is on its way any more.
        stopped = states(host)
        assert set(stopped) == set(before)
        assert set(stopped.values()) <= {"inactive", "failed"}, stopped
        left = "systemctl list-units --plain --no-legend --state=active,activating,deactivating"
        assert host.run(f"{left} 'face-*.service' 'celery@*' 'prometheus*.service' 'postgresql@*'") == ""
        assert host.run("systemctl list-jobs --no-legend") == ""
    finally:
        host.run("systemctl start face.target")
    assert states(host) == before
    assert host.run("systemctl is-active face.target").strip() == "active"
    assert host.run("systemctl list-units --plain --no-legend --state=failed 'face-*' 'celery@*'") == ""
    wait(lambda: host.call("GET", "/health/ready").status_code == 200, 60, "the service to be ready")


def test_a_start_brings_back_what_was_stopped_by_hand(host: Host) -> None:
    host.run("systemctl stop redis-server celery@1")
    host.run("systemctl start face.target")
    assert set(states(host).values()) == {"active"}
    wait(lambda: json.loads(host.run("face-pipeline queues"))["search"] == 0, 60, "Redis")


def broken_flower(host: Host) -> str:
    """Let every start of Flower fail, and take its time to end; returns the command that mends it."""
    drop_in = "/run/systemd/system/face-flower.service.d"
    broken = "printf '[Service]\\nExecStartPre=/bin/false\\nExecStopPost=\\nExecStopPost=/bin/sleep 15\\n'"
    host.run(f"mkdir -p {drop_in}; {broken} >{drop_in}/test.conf; systemctl daemon-reload")
    return f"rm {drop_in}/test.conf; systemctl daemon-reload; systemctl reset-failed"


def not_active(host: Host) -> dict[str, str]:
    return {unit: state for unit, state in states(host).items() if state != "active"}


def test_a_start_that_fails_says_so_and_everything_else_runs(host: Host) -> None:
    host.run("systemctl stop face.target")
    mend = broken_flower(host)
    try:
        done = host.run("systemctl start face.target; echo exit $?", check=False)
        assert "exit 1" in done
        assert set(not_active(host)) == {"face-flower.service"}
        # journald may read what a process wrote after what systemd said of its end.
        said = "journalctl -u face-start -n 20 -o cat"
        wait(lambda: "face-flower.service" in host.run(said), 60, "the unit that did not start to be named")
        # One fault is one failed unit.
        state = "systemctl is-failed face-start"
        wait(lambda: host.run(state, check=False).strip() == "inactive", 120, "one failed unit")
    finally:
        host.run(mend)
        host.run("systemctl start face.target")
    assert not_active(host) == {}


@pytest.mark.campaign("it waits for minutes; a start that fails is tested")
@pytest.mark.parametrize("seconds", [60, 10], ids=["in time", "too late"])
def test_a_start_does_not_end_with_the_failure_of_the_one_before(host: Host, seconds: int) -> None:
    host.run("systemctl stop face-flower")
    limits = "/run/systemd/system/face-flower.service.d/limits.conf"
    mend = broken_flower(host)
    host.run(f"printf '[Service]\\nTimeoutStopSec={seconds}\\n' >{limits}; systemctl daemon-reload")
    try:
        host.run("systemctl start --no-block face-flower")
        # On its way down: who forgets its failure now ends its restarts, and its start counts as done.
        down = "systemctl show --value --property SubState face-flower"
        wait(lambda: host.run(down).strip() == "stop-post", 60, "Flower on its way down")
        host.run(f"{mend}; systemctl start face.target")
        assert not_active(host) == {}
    finally:
        host.run(f"rm {limits}; systemctl daemon-reload")
