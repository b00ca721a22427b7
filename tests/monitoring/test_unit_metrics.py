"""roles/unit_metrics' script over a made-up cgroup tree, made-up and real processes, and promtool.

Not every machine has a kernel that counts by unit: the tree's files are written as cgroup v2 has them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.services.exporters import samples
from tests.services.process import ROOT as SERVICES

SCRIPT = Path(__file__).resolve().parents[2] / "roles/unit_metrics/files/unit_metrics.py"
PATTERNS = ["celery@*.service", "nginx.service", "face-*.service"]
BOOT = "0f0f-boot"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The script's functions; `journalctl` is one that knows the lines of the file `journal`."""
    tool = tmp_path / "bin" / "journalctl"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>{tmp_path}/asked\ncat {tmp_path}/journal\n')
    tool.chmod(0o755)
    (tmp_path / "journal").touch()
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    module: dict[str, Any] = {"__name__": "unit_metrics"}
    exec(compile(SCRIPT.read_text(), str(SCRIPT), "exec"), module)
    return module


def cgroup(root: Path, path: str, **files: str) -> Path:
    directory = root / path
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name.replace("_", ".", 1)).write_text(text)
    return directory


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "cgroup"
    numbers = {
        "cpu_stat": "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n",
        "memory_current": "1000\n",
        "memory_stat": "anon 600\nfile 300\nanon_thp 0\n",
        "pids_current": "7\n",
        "io_stat": "254:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0\n8:0 rbytes=5 wbytes=0 rios=1 wios=0\n",
    }
    cgroup(root, "face.slice/face-workers.slice/celery@1.service", **numbers)
    cgroup(root, "system.slice/nginx.service", **{**numbers, "io_stat": ""})
    cgroup(root, "system.slice/face-a\\x2db.service", **{**numbers, "memory_current": "2\n"})
    # Another's unit, one below a unit, and one of a container.
    cgroup(root, "system.slice/cron.service", **numbers)
    cgroup(
        root,
        "user.slice/user-0.slice/user@0.service/app.slice/nginx.service",
        **{**numbers, "pids_current": "9\n"},
    )
    cgroup(
        root, "machine.slice/machine-a.scope/system.slice/nginx.service", **{**numbers, "pids_current": "8\n"}
    )
    (root / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    return root


def state(script: dict[str, Any], directory: Path) -> Any:
    return script["load"](directory / "none.json")


def values(script: dict[str, Any], units: dict[str, Any], source: str) -> dict[str, float]:
    text = script["text"](units, source)
    checked = subprocess.run(
        [SERVICES / "usr/bin/promtool", "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, ""), text
    return samples(text)


def test_a_units_numbers_are_its_cgroups(script: dict[str, Any], tree: Path, tmp_path: Path) -> None:
    units, source = script["collect"](tree, tmp_path / "none", PATTERNS, state(script, tmp_path), 1000.0)
    assert set(units) == {"celery@1.service", "nginx.service", "face-a\\x2db.service"}
    found = values(script, units, source)
    worker = {name.partition("{")[0]: value for name, value in found.items() if "celery@1.service" in name}
    assert worker == {
        "face_unit_cpu_seconds_total": 2.5,
        "face_unit_memory_bytes": 1000,
        "face_unit_memory_anonymous_bytes": 600,
        "face_unit_tasks": 7,
        "face_unit_io_read_bytes_total": 15,
        "face_unit_io_written_bytes_total": 20,
        "face_unit_oom_kills_total": 0,
    }
    assert found['face_unit_tasks{unit="nginx.service"}'] == 7
    assert found['face_unit_io_read_bytes_total{unit="nginx.service"}'] == 0
    assert found['face_unit_memory_bytes{unit="face-a\\\\x2db.service"}'] == 2
    assert found['face_unit_metrics_source{source="cgroup"}'] == 1


def test_what_the_kernel_does_not_count_is_absent(script: dict[str, Any], tree: Path, tmp_path: Path) -> None:
    (tree / "system.slice/nginx.service/io.stat").unlink()
    units, source = script["collect"](tree, tmp_path / "none", PATTERNS, state(script, tmp_path), 1000.0)
    found = values(script, units, source)
    assert 'face_unit_io_read_bytes_total{unit="nginx.service"}' not in found
    assert found['face_unit_memory_bytes{unit="nginx.service"}'] == 1000


def test_oom_kills_outlive_the_cgroup_of_a_restarted_unit(
    script: dict[str, Any], tree: Path, tmp_path: Path
) -> None:
    kept = state(script, tmp_path)
    script["collect"](tree, tmp_path, PATTERNS, kept, 1000.0)
    (tmp_path / "journal").write_text(
        '{"UNIT": "celery@1.service"}\n{"UNIT": "celery@1.service"}\n{"UNIT": "a.service"}\n'
    )
    units, _ = script["collect"](tree, tmp_path, PATTERNS, kept, 1015.0)
    assert units["celery@1.service"]["face_unit_oom_kills_total"] == 2
    assert units["nginx.service"]["face_unit_oom_kills_total"] == 0
    (tmp_path / "journal").write_text("")
    # Kept over a run, as JSON.
    units, _ = script["collect"](tree, tmp_path, PATTERNS, json.loads(json.dumps(kept)), 1030.0)
    assert units["celery@1.service"]["face_unit_oom_kills_total"] == 2
    asked = [re.findall(r"@(\S+)", line) for line in (tmp_path / "asked").read_text().splitlines()]
    # No moment is asked for twice, and none is left out.
    assert asked == [["999.000000", "1013.999999"], ["1014.000000", "1028.999999"]]


def test_a_clock_that_was_set_back_asks_for_no_time_that_ends_before_it_begins(
    script: dict[str, Any], tree: Path, tmp_path: Path
) -> None:
    kept = state(script, tmp_path)
    for now in (1000.0, 500.0, 515.0):
        script["collect"](tree, tmp_path, PATTERNS, kept, now)
    assert (tmp_path / "asked").read_text().count("\n") == 1


def test_the_journals_own_tool_takes_these_words() -> None:
    """Only that it understands them; a journal with such a message is on a host whose kernel killed."""
    module: dict[str, Any] = {"__name__": "unit_metrics"}
    exec(compile(SCRIPT.read_text(), str(SCRIPT), "exec"), module)
    try:
        subprocess.run(["journalctl", "--version"], capture_output=True, check=True)
    except OSError:
        pytest.skip("this machine has no journalctl")
    kept = module["load"](Path("/none"))
    for now in (1700000000.5, 1700000015.5):
        module["count_oom_kills"](kept, now)
    assert kept["oom_kills"] == {}


def process(
    proc: Path, pid: int, unit: str, *, ticks: int, start: int = 100, v1: bool = False, **io: int
) -> None:
    directory = proc / str(pid)
    directory.mkdir(parents=True, exist_ok=True)
    own = f"/face-workers.slice/{unit}" if unit else "/user.slice/session-1.scope"
    paths = f"9:name=systemd:{own}\n4:memory:/x\n0::/\n" if v1 else f"4:memory:/x\n0::{own}/sub\n"
    (directory / "cgroup").write_text(paths)
    rest = " ".join(["0"] * 3)
    (directory / "stat").write_text(
        f"{pid} (a) (b) S 1 2 3 4 5 6 7 8 9 10 {ticks} 0 {rest} 0 2 0 {start} 0\n"
    )
    (directory / "io").write_text(
        f"rchar: 1\nread_bytes: {io.get('read', 0)}\nwrite_bytes: {io.get('written', 0)}\n"
    )
    (directory / "smaps_rollup").write_text(
        "55-7f ---p 0 00:00 0 [rollup]\nRss: 9 kB\nPss: 4 kB\nPss_Anon: 3 kB\n"
    )


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    directory = tmp_path / "proc"
    boot = directory / "sys/kernel/random/boot_id"
    boot.parent.mkdir(parents=True)
    boot.write_text(f"{BOOT}\n")
    return directory


@pytest.mark.parametrize("v1", [False, True])
def test_without_it_they_are_sums_over_processes(
    script: dict[str, Any], proc: Path, tmp_path: Path, v1: bool
) -> None:
    tick = os.sysconf("SC_CLK_TCK")
    process(proc, 10, "celery@1.service", ticks=3 * tick, v1=v1, read=100, written=7)
    process(proc, 11, "celery@1.service", ticks=1 * tick, v1=v1)
    process(proc, 12, "", ticks=50 * tick, v1=v1)
    process(proc, 13, "cron.service", ticks=50 * tick, v1=v1)
    units, source = script["collect"](tmp_path, proc, PATTERNS, state(script, tmp_path), 0.0)
    assert list(units) == ["celery@1.service"]
    found = values(script, units, source)
    assert {name.partition("{")[0]: value for name, value in found.items()} == {
        "face_unit_cpu_seconds_total": 4,
        "face_unit_memory_bytes": 8192,
        "face_unit_memory_anonymous_bytes": 6144,
        "face_unit_tasks": 4,
        "face_unit_io_read_bytes_total": 100,
        "face_unit_io_written_bytes_total": 7,
        "face_unit_metrics_source": 1,
    }
    assert 'face_unit_metrics_source{source="process"}' in found


def test_sums_never_fall(script: dict[str, Any], proc: Path, tmp_path: Path) -> None:
    tick = os.sysconf("SC_CLK_TCK")
    kept = state(script, tmp_path)

    def look() -> tuple[float, float]:
        nonlocal kept
        units, _ = script["collect"](tmp_path, proc, PATTERNS, kept, 0.0)
        kept = json.loads(json.dumps(kept))
        worker = units["celery@1.service"]
        return worker["face_unit_cpu_seconds_total"], worker["face_unit_io_read_bytes_total"]

    process(proc, 10, "celery@1.service", ticks=3 * tick, read=100)
    process(proc, 11, "celery@1.service", ticks=1 * tick)
    assert look() == (4, 100)
    process(proc, 10, "celery@1.service", ticks=5 * tick, read=150)
    assert look() == (6, 150)
    # One ends; another gets its number.
    process(proc, 10, "celery@1.service", ticks=1 * tick, start=900, read=1)
    assert look() == (7, 151)
    # The host starts anew, with a process of the same number and start.
    (proc / "sys/kernel/random/boot_id").write_text("another\n")
    assert look() == (9, 152)


def test_a_process_that_ends_meanwhile_is_none(script: dict[str, Any], proc: Path, tmp_path: Path) -> None:
    process(proc, 10, "celery@1.service", ticks=1)
    (proc / "10" / "stat").unlink()
    (proc / "11").mkdir()
    assert script["collect"](tmp_path, proc, PATTERNS, state(script, tmp_path), 0.0) == ({}, "process")


def test_real_processes_of_this_machine_are_understood(script: dict[str, Any], tmp_path: Path) -> None:
    directory = Path("/proc/self")
    start, counters, gauges = script["of_process"](directory)
    assert int(start) > 0
    assert counters["face_unit_cpu_seconds_total"] > 0
    assert gauges["face_unit_tasks"] >= 1
    assert gauges["face_unit_memory_bytes"] >= gauges["face_unit_memory_anonymous_bytes"] > 1e6
    if os.geteuid() == 0:
        found = script["from_processes"](Path("/proc"), ["*.service"], state(script, tmp_path))
        assert all(numbers["face_unit_tasks"] >= 1 for numbers in found.values())


def test_the_file_is_whole_at_any_time_and_readable_by_all(tmp_path: Path) -> None:
    target, kept = tmp_path / "face_units.prom", tmp_path / "state"
    kept.mkdir()
    command = [sys.executable, "-I", "-B", str(SCRIPT), str(target), str(kept), *PATTERNS]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, check=False, umask=0o077)
        assert done.returncode == 0, done.stderr
        assert target.stat().st_mode & 0o777 == 0o644
        assert "face_unit_metrics_source{" in target.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["face_units.prom", "state"]


def test_a_broken_state_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text("{")
    command = [sys.executable, str(SCRIPT), str(tmp_path / "a.prom"), str(tmp_path), *PATTERNS]
    assert subprocess.run(command, check=False).returncode == 0
    assert json.loads((tmp_path / "state.json").read_text())["totals"] is not None


def test_without_its_words_it_says_what_they_are(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "unit_metrics.py FILE STATE PATTERN..." in done.stderr
