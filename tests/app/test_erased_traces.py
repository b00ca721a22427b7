"""An erased person is looked for in every file of the service: bytes of the photo, name, hash, vector."""

from __future__ import annotations

import io
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import psycopg2
import pytest
from face_pipeline.parts import Parts
from sqlalchemy import text

from tests.installation import App, Installation
from tests.photos import ROOT, astronaut

# Files of PostgreSQL: those of tables and indexes, and its write-ahead log.
TABLES_FILES, LOG = "postgres/data/base", "postgres/data/pg_wal"


def commands() -> list[str]:
    """The statements that docs/erasure.md gives to the operator."""
    page = (ROOT / "docs/erasure.md").read_text()
    (block,) = re.findall(r"sudo -u postgres psql face(?: *\\\n? +-c '[^']+')+", page)
    return re.findall(r"-c '([^']+)'", block)


def marked(mark: bytes) -> bytes:
    """The photo of somebody, with words in it that are found again."""
    held = io.BytesIO()
    astronaut().save(held, "JPEG", quality=93, comment=mark * 40)
    return held.getvalue()


def places(installation: Installation, marks: Mapping[str, bytes]) -> dict[str, set[str]]:
    """Where each mark is found: kinds of files of the installation and its servers."""
    found: dict[str, set[str]] = {name: set() for name in marks}
    for place, path in _files(installation):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue
        for name, mark in marks.items():
            if mark in data or mark in path.name.encode():
                found[name].add(place)
    return found


def _files(installation: Installation) -> Iterator[tuple[str, Path]]:
    servers = {
        "postgres": installation.postgres,
        "redis": installation.redis,
        "scratch": installation.scratch,
    }
    for name, server in servers.items():
        for path in server.directory.rglob("*"):
            if path.is_file():
                inside = path.relative_to(server.directory).parts
                yield "/".join((name, *inside[:2][: len(inside) - 1])), path
    for path in installation.directory.rglob("*"):
        if path.is_file() and not path.is_symlink() and "models" not in path.parts:
            yield path.relative_to(installation.directory).parts[0], path
    for directory in ("/tmp", "/var/tmp"):
        # Flat, and what spooled uploads of ours are called there.
        for path in Path(directory).glob("tmp*"):
            if path.is_file() and path.stat().st_size < 2**25:
                yield directory, path


def administer(installation: Installation, *statements: str) -> None:
    server = installation.postgres
    connection = psycopg2.connect(
        host=server.host, port=server.port, user=server.admin_user, password=server.admin_password,
        dbname=server.database,
    )  # fmt: skip
    connection.autocommit = True
    try:
        for statement in statements:
            connection.cursor().execute(statement)
    finally:
        connection.close()


@pytest.fixture
def person(live_app: App, parts: Parts) -> tuple[str, dict[str, bytes]]:
    """Somebody who was uploaded, named and searched; their id, and what is looked for."""
    name, mark = f"Zaphod {uuid.uuid4().hex}", f"face-mark-{os.urandom(12).hex()}".encode()
    sent = live_app.upload(("a.jpg", marked(mark)), person=name).json()
    live_app.wait_finished(sent["batch_id"])
    searched = f"face-mark-{os.urandom(12).hex()}".encode()
    (face,) = live_app.search(marked(searched)).json()["faces"]
    assert face["matches"][0]["person_name"] == name
    # What the photo passed through on its way to a picture of it.
    assert live_app.get(f"/api/v1/faces/{face['matches'][0]['face_id']}/crop").status_code == 200
    with parts.database.reading() as session:
        query = text("SELECT embedding::text FROM faces")
        vector = np.array(session.scalars(query).one()[1:-1].split(","), dtype=np.float16)
        thumbnail = bytes(session.scalars(text("SELECT picture FROM thumbnails")).one())
    return face["matches"][0]["person_id"], {
        "photo": mark, "searched": searched, "name": name.encode(),
        "hash": sent["photos"][0]["sha256"].encode(),
        "vector": vector.tobytes()[32:96], "float": vector.astype(np.float32).tobytes()[32:96],
        "thumbnail": thumbnail[len(thumbnail) // 2 :][:64],
    }  # fmt: skip


def test_an_erased_person_is_in_no_file_but_where_the_page_says(
    live_app: App, parts: Parts, person: tuple[str, dict[str, bytes]]
) -> None:
    """At once in no original, log, cache or spooled file; then the page's command cleans the tables."""
    installation = live_app.installation
    identifier, marks = person
    # Also in the statistics of columns, as on a server that has run for a while.
    administer(installation, "ANALYZE", "CHECKPOINT")
    before = places(installation, marks)
    assert before["photo"] == {"originals"}
    assert before["searched"] == set(), "a searched photo is never on a disk"
    for name in ("name", "hash", "vector", "thumbnail"):
        assert TABLES_FILES in before[name], f"the {name} is found while it is there"
    told = live_app.request("DELETE", f"/api/v1/persons/{identifier}").json()
    assert (told["photos"], told["faces"], told["originals"], told["kept"]) == (1, 1, 1, [])
    for name, found in places(installation, marks).items():
        assert found <= {TABLES_FILES, LOG}, name
    administer(installation, *commands())
    for name, found in places(installation, marks).items():
        assert found <= {LOG}, name
