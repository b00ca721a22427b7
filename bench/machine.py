"""The machine that figures belong to, in words that name no host and no directory of it."""

from __future__ import annotations

from typing import Any

import psycopg2

from bench.common import computer, installed
from tests.services import Postgres

PACKAGES = (
    "onnxruntime", "openvino", "numpy", "opencv-python-headless", "insightface", "dlib-bin", "pgvector",
)  # fmt: skip


def described() -> dict[str, Any]:
    """What `computer` says, and the versions that figures depend on. Starts a PostgreSQL of its own to ask it
    for its version and that of its extension."""
    return {**computer(), **_servers(), "packages": {name: installed(name) for name in PACKAGES}}


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
