"""status_probe.py {"services": …, "paths": …, …}: what this host says of itself, as JSON. It reads only.

What cannot be read is null or left out, and never an end: the page is for the day on which something is
broken. Standard library only.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

SECONDS = 30
PROPERTIES = "Id,LoadState,ActiveState,SubState,NRestarts"


def said(*command: str, seconds: float = SECONDS) -> str:
    """Standard output, whatever the exit status; empty where the program is not there or hangs."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def document(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def file(path: str) -> Any:
    try:
        return document(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None


def expanded(unit: str) -> list[str]:
    """A pattern as the units that it names, in the order of their numbers."""
    if "*" not in unit:
        return [unit]
    listed = said("systemctl", "list-units", "--all", "--plain", "--no-legend", unit).splitlines()
    return sorted((line.split()[0] for line in listed if line.strip()), key=lambda name: (len(name), name))


def shown(units: list[str]) -> list[dict[str, Any]]:
    if not units:
        return []
    text = said("systemctl", "show", "--property", PROPERTIES, *units)
    found = []
    for block in text.strip().split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if unit:
            state = unit["ActiveState"] if unit["LoadState"] == "loaded" else unit["LoadState"]
            found.append({"unit": unit["Id"], "state": state, "restarts": int(unit.get("NRestarts") or 0)})
    # Where systemd itself says nothing, nobody knows.
    return found or [{"unit": unit, "state": "unknown", "restarts": 0} for unit in units]


def failed(ours: str) -> list[str]:
    """Units of ours that failed, those of timers too."""
    listed = said("systemctl", "list-units", "--failed", "--plain", "--no-legend").splitlines()
    return [line.split()[0] for line in listed if line.strip() and re.match(ours, line)]


def release(current: str) -> str | None:
    try:
        return Path(current).readlink().name
    except OSError:
        return None


def disks(paths: list[str], reserve_mb: int) -> list[dict[str, Any]]:
    """Each disk once, by the first of the paths that lies on it."""
    found: dict[int, dict[str, Any]] = {}
    for path in paths:
        try:
            device = Path(path).stat().st_dev
            usage = shutil.disk_usage(path)
        except OSError:
            continue
        found.setdefault(
            device,
            {"path": path, "free_mb": usage.free // 1024**2, "total_mb": usage.total // 1024**2,
             "reserve_mb": reserve_mb},
        )  # fmt: skip
    return list(found.values())


def days_left(certificate: str) -> int | None:
    text = said("openssl", "x509", "-noout", "-enddate", "-in", certificate)
    end = text.strip().partition("=")[2]
    return int((ssl.cert_time_to_seconds(end) - time.time()) // 86400) if end else None


def database(port: int) -> dict[str, int] | None:
    query = (
        "SELECT pg_database_size('face'), (SELECT count(*) FROM pg_stat_activity WHERE datname = 'face'),"
        " current_setting('max_connections')"
    )
    text = said("runuser", "-u", "postgres", "--", "psql", "-XAtq", "-p", str(port), "-c", query)
    values = text.strip().split("|")
    if len(values) != 3:
        return None
    return dict(zip(("bytes", "connections", "connections_most"), map(int, values), strict=True))


def standbys(port: int, slots: dict[str, str]) -> dict[str, dict[str, Any]] | None:
    """Of each host that is to follow the database (slot -> host), how the database sees it."""
    query = (
        "SELECT slot_name, active, coalesce(wal_status, ''),"
        " coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint, 0) FROM pg_replication_slots"
        " UNION ALL SELECT '', current_setting('synchronous_standby_names') <> '', '', 0"
    )
    text = said("runuser", "-u", "postgres", "--", "psql", "-XAtq", "-p", str(port), "-c", query)
    rows = {line.split("|")[0]: line.split("|")[1:] for line in text.splitlines() if line.count("|") == 3}
    if "" not in rows:
        return None
    found = {}
    for slot, host in slots.items():
        follows, kept, behind = rows.get(slot, ("f", "", "0"))
        found[host] = {
            "follows": follows == "t", "lost": kept == "lost", "behind_bytes": int(behind),
            "waited_for": rows[""][0] == "t",
        }  # fmt: skip
    return found


def members(url: str, authority: str) -> dict[str, dict[str, str]] | None:
    """Of each host of a database that fails over by itself, what this one's Patroni knows: role and state."""
    try:
        context = ssl.create_default_context(cafile=authority)
        with urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        ).open(url, timeout=10) as answer:
            told = json.load(answer)["members"]
        return {each["name"]: {"role": each["role"], "state": each["state"]} for each in told}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def redis(options: list[str]) -> dict[str, int] | None:
    """Memory and clients of a server of Redis, asked as the operator."""
    text = said("face-redis", *options, "INFO")
    found = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    try:
        names = {"bytes": "used_memory", "bytes_most": "maxmemory", "clients": "connected_clients"}
        return {key: int(found[name]) for key, name in names.items()}
    except (KeyError, ValueError):
        return None


def opener(access: dict[str, Any]) -> urllib.request.OpenerDirector:
    """Of who asks Alertmanager; by TLS it has to show a certificate of the authority that `access` names."""
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if "tls_config" in access:
        trusted = ssl.create_default_context(cafile=access["tls_config"]["ca_file"])
        handlers.append(urllib.request.HTTPSHandler(context=trusted))
    return urllib.request.build_opener(*handlers)


def alerts(url: str, access: str) -> list[dict[str, str]] | None:
    """What fires and is not silenced; the watchdog fires always."""
    try:
        given = json.loads(Path(access).read_text(encoding="utf-8"))
        who = given["basic_auth"]
        known = base64.b64encode(f"{who['username']}:{who['password']}".encode()).decode()
        request = urllib.request.Request(f"{url}/api/v2/alerts?active=true&silenced=false&inhibited=false")
        request.add_header("Authorization", f"Basic {known}")
        with opener(given).open(request, timeout=10) as answer:
            fires = json.load(answer)
    except (OSError, ValueError, KeyError):
        return None
    told = [
        {
            "name": each["labels"].get("alertname", ""),
            "severity": each["labels"].get("severity", ""),
            "host": each["labels"].get("host", ""),
            "summary": each["annotations"].get("summary", ""),
        }
        for each in fires
    ]
    return sorted((each for each in told if each["severity"] != "none"), key=lambda each: each["name"])


def main() -> None:
    wanted = json.loads(sys.argv[1])
    found: dict[str, Any] = {
        "drift_seconds": round(time.time() - wanted["sent"], 1),
        "release": release(wanted["current"]),
        "pack": (file(wanted["deployment"]) or {}).get("model_pack"),
        "units": {
            kind: shown([name for unit in units for name in expanded(unit)])
            for kind, units in wanted["services"].items()
        },
        "failed_units": failed(wanted["ours"]),
        "disks": disks(wanted["paths"], wanted["reserve_mb"]),
    }
    if wanted["worker"]:
        found["workers"] = file(wanted["workers"])
    if wanted["certificate"]:
        found["certificate_days"] = days_left(wanted["certificate"])
    if wanted["database"]:
        found["database"] = database(wanted["database"])
    if wanted["standbys"]:
        found["standbys"] = standbys(wanted["database"], wanted["standbys"])
    if wanted["members"]:
        found["members"] = members(**wanted["members"])
    if wanted["redis"]:
        found["redis"] = {name: redis(options) for name, options in wanted["redis"].items()}
    if wanted["address"]:
        found["address"] = file(wanted["address"])
    if wanted["backups"]:
        found["backups"] = {
            part: file(f"{wanted['backups']}/{part}/last.json") for part in ("database", "files")
        }
    if wanted["alertmanager"]:
        found["alerts"] = alerts(wanted["alertmanager"], wanted["access"])
    # They take longest, and are asked of one host each.
    if wanted["doctor"]:
        found["doctor"] = document(said("face-pipeline", "doctor", "--format", "json", seconds=120))
    if wanted["queues"]:
        found["queues"] = document(said("face-pipeline", "queues"))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
