"""Clients of another host's servers ask who they are, and speak to nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from face_pipeline.errors import DatabaseUnavailable
from face_pipeline.store.database import Address, Database
from sqlalchemy import text

from tests.ansible.programs import load
from tests.services import Postgres

certificates = load("roles/certificates/files/make_certificate.py")


def authority(directory: Path, *names: str) -> Path:
    """The certificate of an authority of its own; of a server with these names beside it, server.crt."""
    leaf = certificates.Leaf(directory, [certificates.general_name(name) for name in names])
    certificates.make(directory, leaf, datetime.now(UTC))
    return directory / "ca.crt"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return authority(tmp_path_factory.mktemp("authority"), "127.0.0.1")


@pytest.fixture(scope="module")
def encrypted(ours: Path) -> Iterator[Postgres]:
    # Relative to the data directory.
    files = {"ssl_cert_file": "'../server.crt'", "ssl_key_file": "'../server.key'"}
    server = Postgres(settings={"ssl": "on", **files})
    for name in ("server.crt", "server.key"):
        server.write(name, (ours.parent / name).read_text())
    with server:
        yield server


def asked(server: Postgres, *, trusted: Path, host: str = "127.0.0.1") -> bool:
    """Whether the connection of a client that trusts this authority is encrypted."""
    address = Address(host, server.port, server.database, server.user, (server.password,), str(trusted))
    database = Database(address, threads=1)
    try:
        with database.reading() as session:
            return bool(session.scalar(text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")))
    finally:
        database.close()


def test_a_database_of_our_authority_is_asked_by_tls(encrypted: Postgres, ours: Path) -> None:
    assert asked(encrypted, trusted=ours)


def test_a_database_of_another_authority_is_refused(encrypted: Postgres, tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"cannot prove.*site\.yml"):
        asked(encrypted, trusted=authority(tmp_path))


def test_a_database_under_another_name_is_refused(encrypted: Postgres, ours: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"cannot prove.*site\.yml"):
        asked(encrypted, trusted=ours, host="localhost")


def test_a_database_without_tls_is_refused(postgres: Postgres, ours: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"cannot prove.*site\.yml"):
        asked(postgres, trusted=ours)
