"""CPU, memory, IO and OOM kills of units for node_exporter: unit_metrics.py FILE STATE PATTERN...

Where the kernel counts memory by unit (cgroup v2) the numbers are its own. Elsewhere they are sums over the
unit's processes (`face_unit_metrics_source` says which): a process that lives between two looks is not seen,
the memory is the proportional share (PSS) without page cache, and nobody tells of OOM kills.

STATE is a directory. It keeps what ended processes used, so that no sum falls, and the OOM kills, which the
cgroup of a restarted unit no longer knows.
"""

import errno
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypedDict

METRICS = {
    "face_unit_cpu_seconds_total": "CPU time of the unit",
    "face_unit_memory_bytes": "Memory of the unit, with the page cache where its cgroup counts",
    "face_unit_memory_anonymous_bytes": "Memory of the unit that no file backs",
    "face_unit_io_read_bytes_total": "Bytes the unit read from disks",
    "face_unit_io_written_bytes_total": "Bytes the unit wrote to disks",
    "face_unit_tasks": "Threads of the unit",
    "face_unit_oom_kills_total": "Times the kernel's OOM killer took a process of the unit",
    "face_unit_metrics_source": "Where the numbers come from; always 1",
}
# systemd's message "A process of this unit has been killed by the OOM killer."
OOM_MESSAGE = "fe6faa94e7774663a0da52717891d8ef"
# A service of this host: below slices alone, and not in a container's tree.
SERVICE = re.compile(r"/(?:[^/]+\.slice/)*([^/]+\.service)(?:/|$)")
TICKS = os.sysconf("SC_CLK_TCK")

Numbers = dict[str, float]


class State(TypedDict):
    boot: str
    # By unit, and by `unit process start`: counters as they were at the last look.
    totals: dict[str, Numbers]
    processes: dict[str, Numbers]
    oom_kills: dict[str, int]
    journal_read: float


def pairs(text: str, separator: str | None = None) -> dict[str, str]:
    """`key value` lines as a dictionary."""
    return {line.split(separator)[0]: line.split(separator)[1].strip() for line in text.splitlines() if line}


def read(path: Path) -> str:
    """A file's text, empty where the kernel does not keep it or its owner ended."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError, NotADirectoryError):
        return ""
    except OSError as error:
        # What a cgroup that goes away answers.
        if error.errno == errno.ENODEV:
            return ""
        raise


def cgroups(directory: Path) -> Iterator[Path]:
    """Cgroups of services, in whatever slice."""
    for entry in sorted(directory.iterdir()):
        if entry.name.endswith(".service"):
            yield entry
        elif entry.name.endswith(".slice"):
            yield from cgroups(entry)


def of_cgroup(directory: Path) -> Numbers:
    found: Numbers = {}
    if usage := pairs(read(directory / "cpu.stat")).get("usage_usec"):
        found["face_unit_cpu_seconds_total"] = int(usage) / 1e6
    for name, file in (("face_unit_memory_bytes", "memory.current"), ("face_unit_tasks", "pids.current")):
        if text := read(directory / file):
            found[name] = int(text)
    if anonymous := pairs(read(directory / "memory.stat")).get("anon"):
        found["face_unit_memory_anonymous_bytes"] = int(anonymous)
    # A line a disk: 254:0 rbytes=1 wbytes=2 rios=... The file is there, and empty, before the first access.
    if (directory / "io.stat").exists():
        moved = Counter[str]()
        for word in read(directory / "io.stat").split():
            key, _, value = word.partition("=")
            moved[key] += int(value) if value else 0
        found["face_unit_io_read_bytes_total"] = moved["rbytes"]
        found["face_unit_io_written_bytes_total"] = moved["wbytes"]
    return found


def of_process(directory: Path) -> tuple[str, Numbers, Numbers]:
    """Start time, counters and gauges of a process; empty where it ended."""
    # The name, in brackets, may hold anything.
    fields = read(directory / "stat").rpartition(")")[2].split()
    memory = pairs(read(directory / "smaps_rollup").partition("\n")[2], ":")
    moved = pairs(read(directory / "io"), ":")
    if not fields:
        return "", {}, {}
    counters = {
        "face_unit_cpu_seconds_total": (int(fields[11]) + int(fields[12])) / TICKS,
        "face_unit_io_read_bytes_total": float(moved.get("read_bytes", 0)),
        "face_unit_io_written_bytes_total": float(moved.get("write_bytes", 0)),
    }
    gauges = {
        "face_unit_tasks": float(fields[17]),
        "face_unit_memory_bytes": 1024.0 * int(memory.get("Pss", "0").split()[0]),
        "face_unit_memory_anonymous_bytes": 1024.0 * int(memory.get("Pss_Anon", "0").split()[0]),
    }
    return fields[19], counters, gauges


def unit_of(directory: Path) -> str:
    """A process's service; empty for others."""
    for line in read(directory / "cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if (number == "0" or controllers == "name=systemd") and (match := SERVICE.match(path)):
            return match[1]
    return ""


def from_cgroups(root: Path, patterns: list[str]) -> dict[str, Numbers]:
    return {
        directory.name: of_cgroup(directory)
        for directory in cgroups(root)
        if wanted(directory.name, patterns)
    }


def from_processes(proc: Path, patterns: list[str], state: State) -> dict[str, Numbers]:
    """Sums over the processes there are; the counters also over those that ended."""
    boot = read(proc / "sys/kernel/random/boot_id").strip()
    before = state["processes"] if state["boot"] == boot else {}
    state["boot"], state["processes"] = boot, {}
    found: dict[str, Numbers] = {}
    for directory in proc.iterdir():
        if not directory.name.isdigit() or not wanted(unit := unit_of(directory), patterns):
            continue
        start, counters, gauges = of_process(directory)
        if not start:
            continue
        key = f"{unit} {directory.name} {start}"
        state["processes"][key] = counters
        total = state["totals"].setdefault(unit, dict.fromkeys(counters, 0.0))
        for name, value in counters.items():
            total[name] += max(0.0, value - before.get(key, {}).get(name, 0.0))
        sums = found.setdefault(unit, dict.fromkeys(gauges, 0.0))
        for name, value in gauges.items():
            sums[name] += value
    return {unit: {**gauges, **state["totals"][unit]} for unit, gauges in found.items()}


def wanted(unit: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(unit, pattern) for pattern in patterns)


def count_oom_kills(state: State, now: float) -> None:
    """Add those that systemd told its journal of since the last look; at the first look none."""
    # A second ago: what is older has reached the journal.
    since, until = state["journal_read"], now - 1
    state["journal_read"] = until
    # A clock that was set back is as good as a first look.
    if not 0 < since < until:
        return
    command = ["journalctl", "--quiet", "--output=json", "--output-fields=UNIT", f"MESSAGE_ID={OOM_MESSAGE}"]
    between = [f"--since=@{since:.6f}", f"--until=@{until - 1e-6:.6f}"]
    done = subprocess.run([*command, *between], capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        unit = json.loads(line).get("UNIT", "")
        state["oom_kills"][unit] = state["oom_kills"].get(unit, 0) + 1


def text(units: dict[str, Numbers], source: str) -> str:
    samples = {"face_unit_metrics_source": {f'source="{source}"': 1.0}}
    for unit, numbers in sorted(units.items()):
        # systemd escapes with backslashes, and so do labels.
        label = 'unit="{}"'.format(unit.replace("\\", "\\\\"))
        for name, value in numbers.items():
            samples.setdefault(name, {})[label] = value
    lines: list[str] = []
    for name, values in sorted(samples.items()):
        kind = "counter" if name.endswith("_total") else "gauge"
        lines += [f"# HELP {name} {METRICS[name]}.", f"# TYPE {name} {kind}"]
        lines += [f"{name}{{{label}}} {value:.16g}" for label, value in values.items()]
    return "\n".join(lines) + "\n"


def write(path: Path, content: str) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_text(content, encoding="utf-8")
    new.chmod(0o644)
    new.replace(path)


def load(path: Path) -> State:
    empty = State(boot="", totals={}, processes={}, oom_kills={}, journal_read=0.0)
    try:
        kept: Any = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return empty
    return kept if isinstance(kept, dict) and kept.keys() == empty.keys() else empty  # type: ignore[return-value]


def collect(
    root: Path, proc: Path, patterns: list[str], state: State, now: float
) -> tuple[dict[str, Numbers], str]:
    if "memory" not in read(root / "cgroup.controllers").split():
        return from_processes(proc, patterns, state), "process"
    units = from_cgroups(root, patterns)
    count_oom_kills(state, now)
    for unit, numbers in units.items():
        numbers["face_unit_oom_kills_total"] = state["oom_kills"].get(unit, 0)
    return units, "cgroup"


def main(file: Path, directory: Path, patterns: list[str]) -> None:
    kept = directory / "state.json"
    state = load(kept)
    try:
        units, source = collect(Path("/sys/fs/cgroup"), Path("/proc"), patterns, state, time.time())
    except PermissionError as error:
        needs = "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, which playbooks/monitoring.yml gives it"
        sys.exit(f"{error.filename} is not readable: without cgroup v2 this needs {needs}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"journalctl ended with {error.returncode}: {error.stderr.strip()}")
    write(kept, json.dumps(state))
    write(file, text(units, source))


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__.splitlines()[0])
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
