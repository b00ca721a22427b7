"""What hosts said of themselves (files/status_probe.py) as one document, and as one page for people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

GIB = 1024**3
CERTIFICATE_LEAST_DAYS = 14
# The way of the question to a host counts for its clock as well.
DRIFT_MOST_SECONDS = 15.0
# A backup of each part is due once a day, and is read back once a week.
BACKUP_MOST_HOURS, VERIFIED_MOST_DAYS = 26, 9
WORKERS = "worker"

Document = dict[str, Any]


def site_status(results: dict[str, Any], site: dict[str, Any]) -> Document:
    """`results`: what the task returned for each host. `site`: url, backups, autoscaler, now (epoch)."""
    hosts = {name: _host(result) for name, result in results.items()}
    answered = {name: host for name, host in hosts.items() if host["reachable"]}
    document: Document = {"url": site["url"], "well": True, "wrong": [], "hosts": hosts}
    for key in (
        "queues",
        "database",
        "standbys",
        "members",
        "address",
        "redis",
        "certificate_days",
        "alerts",
        "doctor",
    ):
        document[key] = {name: host.pop(key) for name, host in answered.items() if key in host}
    document["backups"] = {
        name: _aged(host.pop("backups"), site["now"]) for name, host in answered.items() if "backups" in host
    }
    document["workers"] = {name: _workers(host, site) for name, host in answered.items() if "workers" in host}
    document["wrong"] = list(_wrong(document, site))
    document["well"] = not document["wrong"]
    return document


def _host(result: dict[str, Any]) -> Document:
    if result.get("unreachable") or "stdout" not in result:
        return {"reachable": False, "reason": _last(result.get("stderr") or result.get("msg") or "no answer")}
    try:
        return {"reachable": True, **json.loads(result["stdout"])}
    except ValueError:
        return {"reachable": False, "reason": _last(result.get("stderr") or "it has no python3 that runs")}


def _last(words: object) -> str:
    """The end of what Ansible or a program said, which is the reason."""
    line = (str(words).strip() or "no answer").splitlines()[-1]
    return line.rpartition("can be reached over ssh: ")[2]


def _workers(host: Document, site: dict[str, Any]) -> Document:
    """How many run, how many are to run, and who decided so."""
    memory = host.pop("workers") or {}
    wanted = memory.get("workers")
    mode = "installed"
    if memory.get("paused"):
        mode = "by hand"
    elif site["autoscaler"]:
        mode = "autoscaler"
    elif memory.get("measured") is not None and memory["measured"] == wanted:
        mode = "measured"
    up = sum(unit["state"] == "active" for unit in host["units"].get(WORKERS, []))
    return {"up": up, "wanted": wanted, "mode": mode}


def _aged(parts: dict[str, Any], now: float) -> Document:
    """Of each copy the hours since it was made, and the days since it was read back; None: never."""
    told: Document = {}
    for part, state in parts.items():
        for what, repositories in (state or {}).items():
            for number, figures in repositories.items():
                made, verified = figures.get("success"), figures.get("verified")
                told[f"{what} in repository {number}"] = {
                    "hours": round((now - made) / 3600, 1) if made else None,
                    "verified_days": round((now - verified) / 86400, 1) if verified else None,
                }
        if not state:
            told[part] = {"hours": None, "verified_days": None}
    return told


def _wrong(document: Document, site: dict[str, Any]) -> Iterator[str]:
    hosts: dict[str, Document] = document["hosts"]
    for name, host in hosts.items():
        if not host["reachable"]:
            yield f"{name} does not answer: {host['reason']}"
            continue
        yield from _wrong_units(name, host, document["workers"].get(name))
        for disk in host["disks"]:
            if disk["free_mb"] < disk["reserve_mb"]:
                room = f"{disk['free_mb']} MB are free at {disk['path']}"
                yield f"{name}: {room}, under the reserve of {disk['reserve_mb']} MB"
        if abs(host["drift_seconds"]) > DRIFT_MOST_SECONDS:
            yield f"{name}: its clock is {host['drift_seconds']:+.0f} s off that of this controller"
    releases = {host["release"] for host in hosts.values() if host.get("release")}
    if len(releases) > 1:
        told = ", ".join(sorted(releases))
        yield f"hosts run {len(releases)} releases: {told}; ./face-ansible playbooks/deploy.yml"
    yield from _wrong_parts(document, site)


def _wrong_units(name: str, host: Document, workers: Document | None) -> Iterator[str]:
    told = set()
    units = [unit for kind, units in host["units"].items() if kind != WORKERS for unit in units]
    if units and all(unit["state"] == "not-found" for unit in units):
        yield f"{name}: nothing is installed there; ./face-ansible site.yml"
        return
    for unit in units:
        if unit["state"] != "active" and unit["unit"] not in told:
            told.add(unit["unit"])
            yield f"{name}: {unit['unit']} is {unit['state']}"
    for unit in host["failed_units"]:
        if unit not in told:
            yield f"{name}: {unit} has failed; journalctl -u {unit}"
    if workers and workers["wanted"] is not None and workers["up"] < workers["wanted"]:
        yield f"{name}: {workers['up']} of {workers['wanted']} workers run"


def _wrong_parts(document: Document, site: dict[str, Any]) -> Iterator[str]:
    for name, findings in document["doctor"].items():
        if findings is None:
            yield f"{name}: `face-pipeline doctor` says nothing; try it there"
        for finding in findings or []:
            if finding["state"] == "fail":
                yield f"{name}: {finding['check']}: {finding['message']}"
    for key, what in (("queues", "the queues"), ("database", "PostgreSQL")):
        for name, value in document[key].items():
            if value is None:
                yield f"{name}: nobody can be asked about {what}"
    for name, found in document["standbys"].items():
        for standby, state in (found or {}).items():
            if state["lost"]:
                yield f"{standby} has to be made anew: ./face-ansible site.yml -e standby_anew={standby}"
            elif not state["follows"]:
                yield f"{standby} does not follow the database on {name}"
    yield from _wrong_members(document["members"])
    yield from _wrong_address(document["address"])
    for name, servers in document["redis"].items():
        yield from (
            f"{name}: Redis ({server}) does not answer" for server, value in servers.items() if not value
        )
    for name, days in document["certificate_days"].items():
        if days is None or days < CERTIFICATE_LEAST_DAYS:
            yield f"{name}: its certificate {'cannot be read' if days is None else f'has {days} days left'}"
    if site["backups"]:
        yield from _wrong_backups(document["backups"])
    for name, alerts in document["alerts"].items():
        if alerts is None:
            yield f"{name}: Alertmanager does not answer"
    for alert in _alerts(document) or []:
        where = f" on {alert['host']}" if alert["host"] else ""
        yield f"alert {alert['name']} ({alert['severity']}){where}: {alert['summary']}".rstrip(": ")


def _alerts(document: Document) -> list[dict[str, str]] | None:
    """What fires, each once: of several Alertmanagers all know the same. None: none of them answers."""
    told = [alerts for alerts in document["alerts"].values() if alerts is not None]
    once = {tuple(alert.items()): alert for alerts in told for alert in alerts}
    return list(once.values()) if told else None


def _wrong_backups(backups: Document) -> Iterator[str]:
    for name, copies in backups.items():
        for copy, age in copies.items():
            if age["hours"] is None:
                yield f"{name}: there is no backup of the {copy} yet"
            elif age["hours"] > BACKUP_MOST_HOURS:
                yield f"{name}: the last backup of the {copy} is {age['hours']:.0f} hours old"
            elif age["verified_days"] is not None and age["verified_days"] > VERIFIED_MOST_DAYS:
                yield f"{name}: the {copy} was last read back {age['verified_days']:.0f} days ago"


def site_page(document: Document) -> list[str]:
    """The page, a line each."""
    lines = [document["url"], ""]
    lines += _table(
        [("host", "answers", "release", "units", "restarts", "workers", "clock", "disk"), *_rows(document)]
    )
    lines += ["", *_table([("units", "host", "up", "restarts", "not up"), *_kinds(document)]), ""]
    lines += _parts(document)
    if document["well"]:
        return [*lines, "", "All is well"]
    return [*lines, "", "Not well:", *(f"  {each}" for each in document["wrong"])]


def _rows(document: Document) -> Iterator[tuple[str, ...]]:
    for name, host in document["hosts"].items():
        if not host["reachable"]:
            yield (name, "no", "-", "-", "-", "-", "-", "-")
            continue
        units = [unit for units in host["units"].values() for unit in units]
        workers = document["workers"].get(name)
        disks = ", ".join(
            f"{disk['path']} {disk['free_mb'] / 1024:.1f} of {disk['total_mb'] / 1024:.0f} GB free"
            f" ({disk['reserve_mb'] / 1024:.1f} reserved)"
            for disk in host["disks"]
        )
        yield (
            name,
            "yes",
            host["release"] or "none",
            f"{sum(unit['state'] == 'active' for unit in units)} up",
            str(sum(unit["restarts"] for unit in units)),
            f"{workers['up']} of {workers['wanted']}, {workers['mode']}" if workers else "-",
            f"{host['drift_seconds']:+.1f} s",
            disks,
        )


def _kinds(document: Document) -> Iterator[tuple[str, ...]]:
    for name, host in document["hosts"].items():
        for kind, units in host.get("units", {}).items():
            workers = document["workers"].get(name)
            if kind == WORKERS and workers and workers["wanted"] is not None:
                down = (
                    [f"{workers['wanted'] - workers['up']} missing"]
                    if workers["up"] < workers["wanted"]
                    else []
                )
            else:
                down = [f"{unit['unit']} {unit['state']}" for unit in units if unit["state"] != "active"]
            up = sum(unit["state"] == "active" for unit in units)
            yield (kind, name, str(up), str(sum(unit["restarts"] for unit in units)), ", ".join(down) or "-")


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _led(members: dict[str, Any]) -> dict[str, Any]:
    """What one host says of all: each of those that answer says the same."""
    return next((found for found in members.values() if found), {})


def _wrong_members(members: dict[str, Any]) -> Iterator[str]:
    known = _led(members)
    if members and not any(state["role"] == "leader" for state in known.values()):
        yield 'nobody leads the database: docs/site.md, "At night"'
        return
    for name in sorted({*members, *known}):
        state = known.get(name, {"role": "", "state": "unknown"})
        if state["role"] != "leader" and state["state"] != "streaming":
            yield f"{name} does not follow the database ({state['state']})"


def _wrong_address(found: dict[str, Any]) -> Iterator[str]:
    holders = [name for name, state in found.items() if state and state["held"]]
    if found and len(holders) != 1:
        told = f"{', '.join(holders)} have it at once" if holders else "no host has it"
        yield f'the address that moves: {told}: docs/site.md, "An address that moves"'
    for name, state in found.items():
        if not state or not state["able"]:
            why = "; ".join(state["faults"]) if state else "nothing looks whether it could"
            yield f"{name} cannot have the address that moves: {why}"


def _parts(document: Document) -> Iterator[str]:
    for found in document["queues"].values():
        if found:
            oldest = found.get("oldest_waiting_seconds")
            since = f", the oldest for {oldest:.0f} s" if oldest is not None else ""
            yield f"queues       search {found['search']}, ingest {found['ingest']}"
            yield (
                f"photos       {found['waiting']} waiting{since}, {found['processing']} under way,"
                f" {found.get('failed', '?')} failed"
            )
    for found in document["database"].values():
        if found:
            used = f"{found['connections']} of {found['connections_most']} connections"
            yield f"database     {found['bytes'] / GIB:.2f} GB, {used}"
    for found in document["standbys"].values():
        for standby, state in (found or {}).items():
            how = "lost" if state["lost"] else "follows" if state["follows"] else "away"
            waits = ", changes wait for it" if state["waited_for"] else ""
            yield f"standby      {standby}: {how}, {state['behind_bytes'] / 1024**2:.1f} MB behind{waits}"
    for name, state in sorted(_led(document["members"]).items()):
        how = "leads" if state["role"] == "leader" else state["state"]
        yield f"database     {name}: {how}"
    for name, state in document["address"].items():
        how = (
            "has it"
            if state and state["held"]
            else "can have it"
            if state and state["able"]
            else "cannot have it"
        )
        yield f"address      {name}: {how}"
    for servers in document["redis"].values():
        for server, found in servers.items():
            if found:
                sizes = f"{found['bytes'] / 1024**2:.0f} of {found['bytes_most'] / 1024**2:.0f} MB"
                yield f"Redis        {server}: {sizes}, {found['clients']} clients"
    for name, days in document["certificate_days"].items():
        yield f"certificate  {name}: {'cannot be read' if days is None else f'{days} days left'}"
    for name, copies in document["backups"].items():
        where = f"{name}: " if len(document["backups"]) > 1 else ""
        for copy, age in copies.items():
            made = "none yet" if age["hours"] is None else f"{age['hours']:.1f} hours ago"
            verified = age["verified_days"]
            read = "not read back yet" if verified is None else f"read back {verified:.1f} days ago"
            yield f"backup       {where}{copy}: {made}, {read}"
    if not document["backups"]:
        yield "backup       none is made (docs/backup.md)"
    if document["alerts"]:
        alerts = _alerts(document)
        fires = ", ".join(each["name"] for each in alerts or []) or "none fires"
        yield f"alerts       {'unknown' if alerts is None else fires}"
    else:
        yield "alerts       there is no monitoring"
    for name, findings in document["doctor"].items():
        for finding in findings or []:
            if finding["state"] in ("warn", "fail"):
                yield f"doctor       {name}: {finding['state']} {finding['check']}: {finding['message']}"


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"site_status": site_status, "site_page": site_page}
