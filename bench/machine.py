"""The machine that figures belong to, in words that name no host and no directory of it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psycopg2

from tests.services import Postgres

PACKAGES = (
    "onnxruntime", "openvino", "numpy", "opencv-python-headless", "insightface", "dlib-bin", "pgvector",
)  # fmt: skip


def described() -> dict[str, Any]:
    """Processor, cores that we may use, memory, kernel and the versions that figures depend on. Starts a
    PostgreSQL of its own to ask it for its version and that of its extension."""
    fields: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": fields.get("model name", platform.machine()),
        "instructions": sorted(
            each for each in fields.get("flags", "").split() if "avx" in each or "amx" in each
        ),
        "cores": len(os.sched_getaffinity(0)),
        "memory GB": round(memory / 1e9, 1),
        # What a distribution or a host's owner adds to it is theirs.
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
        **_servers(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def load() -> float:
    """Of the last minute, all processes of the machine together."""
    return round(os.getloadavg()[0], 2)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _servers() -> dict[str, str]:
    postgres = Postgres()
    try:
        postgres.start()
        with psycopg2.connect(postgres.dsn) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT current_setting('server_version'), extversion FROM pg_extension "
                "WHERE extname = 'vector'"
            )
            ((server, extension),) = cursor.fetchall()
            return {"postgresql": server, "postgresql pgvector": extension}
    finally:
        postgres.close()
