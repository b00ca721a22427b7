"""What is not to be kept is found nowhere: a name or an embedding in a log, a searched photo on a disk."""

from __future__ import annotations

import concurrent.futures
import io
import os
import re
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import psycopg2
import psycopg2.errors
import pytest
import requests
from face_pipeline.broker import answers
from face_pipeline.parts import Parts
from PIL import Image
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from urllib3.filepost import encode_multipart_formdata

from tests.installation import App, Installation, start_web, wait_until
from tests.monitoring.exporters import ROLES, play, template
from tests.photos import astronaut, astronaut_jpeg, jpeg
from tests.services import Nginx
from tests.services.postgres import BINARIES, Postgres

NAME = "Zaphod Beeblebrox"
# As a statement has it, and as an array does.
VECTOR = re.compile(r"\[-?\d\.\d+(e-\d+)?,")


def _connect(server: Postgres) -> Any:
    return psycopg2.connect(
        host=server.host, port=server.port, user=server.user, password=server.password, dbname=server.database
    )


@pytest.fixture
def told(clean: Installation) -> Any:
    """What PostgreSQL and the application have logged since the test began."""
    logs = [clean.postgres.log, *(clean.directory / name for name in ("web.log", "worker1.log"))]
    before = {log: log.stat().st_size if log.exists() else 0 for log in logs}
    return lambda: {
        log.name: log.read_bytes()[before[log] :].decode(errors="replace") for log in logs if log.exists()
    }


def _slow_photo(app: App) -> None:
    """A photo with a person's name, while somebody else holds the rows for four seconds."""
    with _connect(app.installation.postgres) as holder, concurrent.futures.ThreadPoolExecutor(1) as pool:
        cursor = holder.cursor()
        cursor.execute("LOCK TABLE persons, faces IN EXCLUSIVE MODE")
        answer = pool.submit(app.upload, ("a.jpg", astronaut_jpeg(77)), person=NAME)
        time.sleep(2)
        cursor.execute("COMMIT; BEGIN; LOCK TABLE faces IN EXCLUSIVE MODE")
        batch = answer.result().json()["batch_id"]
        time.sleep(4)
        holder.rollback()
        app.wait_finished(batch)


def _deadlock(server: Postgres) -> None:
    with _connect(server) as one, _connect(server) as other:
        first, second = one.cursor(), other.cursor()
        first.execute("SELECT id FROM persons LIMIT 1")
        (person,) = first.fetchone()
        rename = "UPDATE persons SET name = %s WHERE id = %s"
        lock = "SELECT pg_advisory_xact_lock(42)"
        first.execute(rename, (f"{NAME} I", person))
        second.execute(lock)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(second.execute, rename, (f"{NAME} II", person))
            time.sleep(0.5)
            ended = []
            for work in (lambda: first.execute(lock), waiting.result):
                try:
                    work()
                except psycopg2.errors.DeadlockDetected as error:
                    ended.append(error)
                    (one if work is not waiting.result else other).rollback()
            assert ended, "PostgreSQL ends one of the two"
        one.rollback()
        other.rollback()


def _violation(parts: Parts) -> None:
    again = text(
        "INSERT INTO persons SELECT (jsonb_populate_record("
        "one, jsonb_build_object('id', gen_random_uuid()))).* FROM persons AS one"
    )
    with pytest.raises(DBAPIError) as raised, parts.database.transaction() as session:
        session.execute(again)
    assert isinstance(raised.value.orig, psycopg2.errors.UniqueViolation)


def _cancelled(server: Postgres) -> None:
    with _connect(server) as connection, concurrent.futures.ThreadPoolExecutor(1) as pool:
        cursor = connection.cursor()
        asked = pool.submit(cursor.execute, "SELECT pg_sleep(30), %s", (NAME,))
        time.sleep(0.5)
        connection.cancel()
        with pytest.raises(psycopg2.errors.QueryCanceled):
            asked.result()
        connection.rollback()


def _crashed(server: Postgres) -> None:
    """The kernel ends a process of PostgreSQL, as it does where memory is short."""
    connection = _connect(server)
    cursor = connection.cursor()
    number = connection.info.backend_pid
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(cursor.execute, "SELECT pg_sleep(30), %s", (NAME,))
        time.sleep(0.5)
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        found = [
            int(child)
            for child in children
            if re.search(rf"^NSpid:.*\b{number}$", Path(f"/proc/{child}/status").read_text(), re.MULTILINE)
        ]
        os.kill(found[0], signal.SIGKILL)
        with pytest.raises(psycopg2.OperationalError):
            asked.result()

    def answers() -> bool:
        try:
            _connect(server).close()
        except psycopg2.OperationalError:
            return False
        return True

    wait_until(answers, 30, "PostgreSQL to be back")


def test_no_log_holds_a_name_or_an_embedding(live_app: App, told: Any, parts: Parts) -> None:
    """Slow, deadlocked, refused, cancelled and crashed: PostgreSQL says that it was so, and not of whom."""
    server = live_app.installation.postgres
    _slow_photo(live_app)
    _deadlock(server)
    _violation(parts)
    _cancelled(server)
    _crashed(server)
    with parts.database.transaction() as session:
        embedding = session.execute(text("SELECT embedding::text FROM faces LIMIT 1")).scalar_one()
    logs = told()
    said = logs["server.log"]
    for words in (
        "deadlock detected",
        "duplicate key value",
        "canceling statement",
        "terminated by signal 9",
    ):
        assert words in said, "the fault itself is said"
    for name, log in logs.items():
        assert NAME.split()[-1] not in log, [line for line in log.splitlines() if NAME.split()[-1] in line][
            :3
        ]
        assert not VECTOR.search(log), (name, VECTOR.search(log))
        assert embedding[1:8] not in log, name


@pytest.fixture
def made(live_app: App, tmp_path: Path) -> Postgres:
    """The database after the role's own statements."""
    target = tmp_path / "database.sql"
    server = live_app.installation.postgres
    secrets = {
        f"database_password_{role.removeprefix('face_')}": own for role, own in server.passwords.items()
    }
    variables = [
        {"ansible.builtin.include_vars": str(ROLES / f"postgres/{part}/main.yml")}
        for part in ("defaults", "vars")
    ]
    done = play(
        tmp_path / "play",
        [*variables, template(ROLES / "postgres/templates/database.sql.j2", target)],
        face_secrets={"database_password": server.password, **secrets},
    )
    assert done.returncode == 0, done.stdout
    _psql(server, target.read_text())
    assert "CHANGED" not in _psql(server, target.read_text())
    return server


def _psql(server: Postgres, statements: str) -> str:
    client = [f"{BINARIES}/psql", "-v", "ON_ERROR_STOP=1", "-qAt", "-h", server.host, "-p", str(server.port)]
    return server.run(
        ["env", f"PGPASSWORD={server.admin_password}", "sh", "-c", '"$@" 2>&1', "sh", *client,
         "-U", server.admin_user, "-d", "postgres"],
        stdin=statements,
    )  # fmt: skip


def test_the_statistics_of_statements_name_them_without_their_values(live_app: App, made: Postgres) -> None:
    """What is slow is read there, in the place of a log with every value."""
    batch = live_app.upload(("a.jpg", astronaut_jpeg(78)), person=NAME).json()["batch_id"]
    live_app.wait_finished(batch)
    for number, options in enumerate(({}, {"group_by": "person"}, {"min_quality": "0.1"})):
        assert live_app.search(astronaut_jpeg(79 + number), **options).status_code == 200
    # Her twice: faces of one photo are searched for by one statement.
    twice = Image.new("RGB", (2 * astronaut().width, astronaut().height))
    for place in (0, astronaut().width):
        twice.paste(astronaut(), (place, 0))
    for options in ({}, {"group_by": "person"}):
        assert len(live_app.search(jpeg(twice), **options).json()["faces"]) == 2
    with _connect(made) as connection:
        # What nobody may count: statements that no plan is made for keep their values.
        connection.cursor().execute(f"DO $$ BEGIN PERFORM '{NAME}'; END $$")
    kept = _psql(made, "SELECT query FROM pg_stat_statements;")
    assert re.search(r"INSERT INTO faces", kept, re.IGNORECASE)
    assert re.search(r"<#>", kept), "the search among the faces"
    assert re.search(r"<#> questions\.embedding", kept), "that of several"
    assert NAME.split()[-1] not in kept
    assert not VECTOR.search(kept), [line for line in kept.splitlines() if VECTOR.search(line)]


def test_what_is_slow_is_read_with_the_command_of_the_documentation(live_app: App, made: Postgres) -> None:
    del live_app
    page = (ROLES.parent / "docs/operations.md").read_text()
    found = re.search(r'sudo -u postgres psql -c "(SELECT [^"]*pg_stat_statements[^"]*)"', page)
    assert found, "operations.md says how"
    assert "|" in _psql(made, found[1] + ";")


def _marked() -> tuple[bytes, bytes]:
    """A photo that no other is like, larger than a buffer, with a comment that is found again."""
    mark = b"face-mark-" + os.urandom(12).hex().encode()
    noise = np.random.default_rng().integers(0, 255, (900, 900, 3), dtype=np.uint8)
    picture = io.BytesIO()
    Image.fromarray(noise).save(picture, "JPEG", quality=92, comment=mark * 40)
    return picture.getvalue(), mark


def _files_with(directories: list[Path], mark: bytes) -> list[str]:
    files = [path for directory in directories for path in directory.rglob("*") if path.is_file()]
    assert files
    # Whose names of keys users may touch: written by the role `redis`, not by the server.
    return [str(path) for path in files if path.name != "users.acl" and mark in path.read_bytes()]


def test_a_searched_photo_its_vector_and_its_answer_are_in_no_file(live_app: App) -> None:
    installation = live_app.installation
    photo, mark = _marked()
    batch = live_app.upload(("a.jpg", astronaut_jpeg(80)), person=NAME).json()["batch_id"]
    live_app.wait_finished(batch)
    assert live_app.search(photo).status_code == 200
    found = live_app.search(astronaut_jpeg(81)).json()["faces"][0]["matches"][0]
    assert found["person_name"] == NAME
    time.sleep(1.5)  # an append-only file is synced each second
    directories = [installation.redis.directory, installation.scratch.directory, installation.directory]
    assert _files_with(directories, mark) == []
    for secret in (found["face_id"].encode(), b'"embedding"', b"face:search:"):
        assert _files_with(directories[:2], secret) == []


def test_neither_is_what_a_web_process_holds_of_it_meanwhile(web_app: App) -> None:
    """Uploads of photos that are kept are spooled on a disk; a search stays in memory."""
    photo, _ = _marked()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        # No worker: it waits.
        search = pool.submit(web_app.search, photo)
        time.sleep(3)
        open_files = _open_files(web_app.web.pid)
        assert search.result().status_code == 503
    temporary = [name for name in open_files if name.startswith(("/tmp", "/var/tmp")) and "(deleted)" in name]
    assert temporary == []


def _open_files(process: int) -> list[str]:
    """Names of the files that a process and its children hold open."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    links = [link for pid in (process, *children) for link in Path(f"/proc/{pid}/fd").iterdir()]
    return [str(link.readlink()) for link in links if link.is_symlink()]


def test_a_full_scratch_redis_fails_no_search_that_was_answered(live_app: App, parts: Parts) -> None:
    """It lets old answers go; where it can keep none at all, the answer is given and not kept."""
    assert live_app.search(astronaut_jpeg(82)).json()["cache"] == "miss"
    scratch = parts.scratch
    limit = scratch.config_get("maxmemory")["maxmemory"]  # type: ignore[index]
    scratch.config_set("maxmemory", 3 * 1024**2)
    try:
        for number in range(60):
            answers.put(scratch, f"face:search:answer:{number}", [{"filler": "x" * 100_000}], 3600)
        assert scratch.info("stats")["evicted_keys"] > 0  # type: ignore[index]
        assert live_app.search(astronaut_jpeg(83)).status_code == 200
    finally:
        scratch.config_set("maxmemory", limit)


def test_an_answer_that_cannot_be_kept_is_given(
    clean: Installation, caplog: pytest.LogCaptureFixture, parts: Parts
) -> None:
    del clean
    scratch = parts.scratch
    scratch.set("filler", "x" * 5_000_000)  # it has no end, so that nothing may be let go for it
    limit = scratch.config_get("maxmemory")["maxmemory"]  # type: ignore[index]
    scratch.config_set("maxmemory", 1024**2)
    try:
        answers.put(scratch, "face:search:answer:1", [], 60)
        answers.count_hit(scratch)
    finally:
        scratch.config_set("maxmemory", limit)
        scratch.delete("filler")
    assert [record.reason_code for record in caplog.records] == ["cache_unavailable"] * 2  # type: ignore[attr-defined]


def test_an_upload_is_spooled_in_the_directory_that_the_service_names(
    clean: Installation, tmp_path: Path
) -> None:
    """On a host that is `/var/tmp`, a disk: a large upload takes none of the memory that `/tmp` may be."""
    photo, _ = _marked()
    url, web = start_web(clean, "spool.log", TMPDIR=str(tmp_path))
    try:
        with requests.Session() as session, concurrent.futures.ThreadPoolExecutor(1) as pool:
            body, content_type = encode_multipart_formdata([("photos", ("a.jpg", photo))])
            rest = threading.Event()

            def slowly() -> Any:
                yield body[: len(body) - 200]
                rest.wait(60)
                yield body[len(body) - 200 :]

            headers = {"Authorization": f"Bearer {clean.api_key}", "Content-Type": content_type}
            sent = pool.submit(session.post, f"{url}/api/v1/photos", data=slowly(), headers=headers)

            def spooled() -> bool:
                return any(name.startswith(str(tmp_path)) for name in _open_files(web.pid))

            try:
                wait_until(spooled, 20, "the upload's file")
            finally:
                rest.set()
            assert sent.result().status_code == 202
    finally:
        clean.end(web)


NOT_KEPT = ("/api/v1/search", "/api/v1/detect", "/api/v1/verify")
NGINX = """
events {}
http {
    access_log off;
    upstream face_web { server 127.0.0.1:UPSTREAM; }
    server {
        listen 127.0.0.1:{port};
        client_max_body_size 100m;
        client_body_buffer_size 1m;
        location / { proxy_pass http://face_web; }
        SEARCH
    }
}
"""


def _search_location(directory: Path) -> str:
    """What the role writes for searches, and for other photos that are not kept."""
    source = (ROLES / "nginx/templates/face-pipeline.conf.j2").read_text()
    found = re.search(
        r"location = /api/v1/search \{.*location = /api/v1/verify \{.*?\n    \}\n", source, re.DOTALL
    )
    assert found
    # Who may search is asked in test_edge.py.
    (directory / "search.j2").write_text("{% macro face_asked_first() %}{% endmacro %}" + found[0])
    done = play(directory / "play", [template(directory / "search.j2", directory / "search.conf")])
    assert done.returncode == 0, done.stdout
    return (directory / "search.conf").read_text()


def test_nginx_holds_a_search_in_memory_and_an_upload_in_a_file(tmp_path: Path) -> None:
    photo = b"x" * 3 * 1024**2
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        configuration = NGINX.replace("UPSTREAM", str(upstream.getsockname()[1]))
        nginx = Nginx(configuration.replace("SEARCH", _search_location(tmp_path)))
        try:
            nginx.start()
            found = {}
            for path in ("/api/v1/photos", *NOT_KEPT):
                with socket.create_connection((nginx.host, nginx.port)) as client:
                    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(photo)}\r\n\r\n"
                    client.sendall(head.encode() + photo)
                    # The whole body is there once the web service is asked.
                    asked, _ = upstream.accept()
                    with asked:
                        assert asked.recv(100)
                        found[path] = [name for name in _open_files(nginx.pid) if "/body/" in name]
        finally:
            nginx.close()
    assert len(found["/api/v1/photos"]) == 1
    assert [found[path] for path in NOT_KEPT] == [[], [], []]
