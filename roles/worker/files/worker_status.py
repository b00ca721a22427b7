"""worker_status.py {"address": …, "port_base": …, "authority": …}: this host's workers as JSON.

authority: a file with the certificates by which workers that are asked by TLS are known; empty: they are
asked without. Standard library only.
"""

import json
import re
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

PROPERTIES = "Id,ActiveState,SubState,UnitFileState,ActiveEnterTimestamp,MainPID,MemoryCurrent,NRestarts"


def units() -> list[dict[str, str]]:
    command = ["systemctl", "show", "--property", PROPERTIES, *known()]
    if not command[4:]:
        return []
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [dict(line.split("=", 1) for line in block.splitlines()) for block in text.strip().split("\n\n")]


def known() -> list[str]:
    loaded = ["systemctl", "list-units", "--all", "--plain", "--no-legend", "celery@*.service"]
    installed = ["systemctl", "list-unit-files", "--plain", "--no-legend", "celery@*.service"]
    names = set()
    for command in (loaded, installed):
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        names |= {line.split()[0] for line in lines if re.match(r"celery@\d+\.service", line)}
    return sorted(names, key=number)


def number(unit: str) -> int:
    return int(re.sub(r"\D", "", unit))


# What a worker's metrics say of it, by the key that it has here.
METRICS = {
    "concurrency": "celery_worker_concurrency",
    "active": "celery_tasks_active",
    "processed": "celery_tasks_processed_total",
}


def told(address: str, port: int, authority: str) -> dict[str, int | None]:
    """Photos at once, tasks under way and tasks done, as a worker's own metrics say; None: no answer."""
    url = f"{'https' if authority else 'http'}://{address}:{port}/metrics"
    try:
        trusted = ssl.create_default_context(cafile=authority) if authority else None
        with urllib.request.urlopen(url, timeout=3, context=trusted) as answer:
            lines = answer.read().decode().splitlines()
    except (urllib.error.URLError, OSError):
        return dict.fromkeys(METRICS)
    values = dict.fromkeys(METRICS.values(), 0.0)
    for line in lines:
        if (match := re.match(r"(\w+)(?:\{.*\})? (\S+)", line)) and match[1] in values:
            values[match[1]] += float(match[2])
    return {key: int(values[name]) for key, name in METRICS.items()}


def memory(unit: dict[str, str]) -> int | None:
    """As systemd counts it; without memory accounting, the resident memory of the main process."""
    if unit["MemoryCurrent"].isdigit():
        return int(unit["MemoryCurrent"])
    try:
        lines = Path(f"/proc/{unit['MainPID']}/status").read_text(errors="replace").splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), None)
    except OSError:
        return None


def describe(unit: dict[str, str], address: str, port_base: int, authority: str) -> dict[str, Any]:
    up = unit["ActiveState"] == "active"
    instance = number(unit["Id"])
    return {
        "unit": unit["Id"],
        "instance": instance,
        "state": unit["ActiveState"],
        "enabled": unit["UnitFileState"] == "enabled",
        "since": unit["ActiveEnterTimestamp"] if up else None,
        "memory_bytes": memory(unit) if up else None,
        "restarts": int(unit["NRestarts"] or 0),
        **(told(address, port_base + instance, authority) if up else dict.fromkeys(METRICS)),
    }


def main() -> None:
    wanted = json.loads(sys.argv[1])
    asked = wanted["address"], wanted["port_base"], wanted["authority"]
    workers = [describe(unit, *asked) for unit in units()]
    print(json.dumps([each for each in workers if each["state"] != "inactive" or each["enabled"]]))


if __name__ == "__main__":
    main()
