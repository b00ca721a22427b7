"""What a host lacks, one line each: probe.py JSON. Changes nothing but apt's package lists."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypedDict

TIMEOUT = 20


def memory(least_mb: int) -> Iterator[str]:
    (found,) = re.findall(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    total = int(found) // 1024
    if total < least_mb:
        yield f"memory is {total} MB, {least_mb} MB are needed"


def disk(least_mb: int) -> Iterator[str]:
    for path in ("/", "/var/lib"):
        free = shutil.disk_usage(path).free // 1024**2
        if free < least_mb:
            yield f"{free} MB are free under {path}, {least_mb} MB are needed"


class Port(TypedDict):
    """A port, and the program that is to have it."""

    port: int
    process: str


def ports(wanted: Iterable[Port]) -> Iterator[str]:
    for port, program in ((each["port"], each["process"]) for each in wanted):
        held = subprocess.run(
            ["ss", "-Hltnp", "sport", "=", f":{port}"], capture_output=True, text=True
        ).stdout
        names = set(re.findall(r'\("([^"]+)"', held))
        units = {unit(pid) for pid in re.findall(r"pid=(\d+)", held)}
        # A Java program has no name of its own, but a unit.
        if held and f"{program}.service" not in units and not any(name.startswith(program) for name in names):
            holder = ", ".join(sorted(names)) or "another program"
            yield f"port {port} is held by {holder}; end it or give {program} another one in face_ports"


def unit(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cgroup").read_text().strip().rpartition("/")[2]
    except OSError:
        return ""


def package_source() -> Iterator[str]:
    result = subprocess.run(
        [
            "apt-get",
            "--quiet",
            "update",
            "--option",
            "APT::Update::Error-Mode=any",
            "--option",
            f"Acquire::http::Timeout={TIMEOUT}",
            "--option",
            "Acquire::Retries=1",
        ],
        capture_output=True,
        text=True,
    )
    if result.returncode:
        lines = result.stderr.splitlines() or [""]
        first = next((line for line in lines if line.startswith(("E:", "W:"))), lines[0])
        yield f"apt cannot read its package sources ({first}); mend /etc/apt/sources.list* or name a mirror"


def python_index(url: str, default: str) -> Iterator[str]:
    settings = pip_settings()
    url = url or os.environ.get("PIP_INDEX_URL") or settings.get("index-url") or ""
    # With these pip goes other ways, which only pip itself knows.
    if not url and not {"find-links", "no-index", "proxy", "extra-index-url"} & set(settings):
        url = default
    if not url:
        return
    try:
        urllib.request.urlopen(url.rstrip("/") + "/pip/", timeout=TIMEOUT).close()
    except (OSError, urllib.error.URLError, ValueError) as error:
        # It answers, with a certificate that pip may have its own list for.
        if isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
            return
        shown = re.sub(r"//[^/@]*@", "//", url)
        yield f"package index {shown} does not answer ({error}); set face_pip_index_url or face_wheel_dir"


def postgres_repository(url: str, release: str) -> Iterator[str]:
    address = f"{url.rstrip('/')}/dists/{release}-pgdg/InRelease"
    try:
        urllib.request.urlopen(address, timeout=TIMEOUT).close()
    except (OSError, urllib.error.URLError, ValueError) as error:
        yield (
            f"PostgreSQL's package repository does not answer at {address} ({error}); "
            "set face_postgres_repository to a mirror"
        )


def pip_settings() -> dict[str, str]:
    parser = configparser.ConfigParser()
    parser.read(["/etc/pip.conf", Path("~/.config/pip/pip.conf").expanduser()])
    return dict(parser["global"]) if parser.has_section("global") else {}


def main(wanted: dict[str, Any]) -> None:
    problems = [*memory(int(wanted["memory_mb"])), *disk(int(wanted["disk_mb"])), *ports(wanted["ports"])]
    if not Path(wanted["release_marker"]).exists():
        problems += package_source()
        if not wanted["offline"]:
            problems += python_index(wanted["pip_index"], wanted["pip_default"])
    if wanted["postgres_repository"] and not Path(wanted["postgres_marker"]).exists():
        problems += postgres_repository(wanted["postgres_repository"], wanted["postgres_release"])
    print("\n".join(problems))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
