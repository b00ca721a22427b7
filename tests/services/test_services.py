import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
import redis as redis_client

from bench.postgres import settings as as_installed
from tests.installation import wait_until
from tests.services import Nginx, Postgres, Redis
from tests.services.process import sweep
from tests.services.redis import TESTER, passwords

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def database() -> Iterator[Postgres]:
    server = Postgres()
    server.start()
    yield server
    server.close()


def connect(server: Postgres, password: str | None = None) -> "psycopg2.extensions.connection":
    return psycopg2.connect(
        host=server.host,
        port=server.port,
        user=server.user,
        dbname=server.database,
        password=server.password if password is None else password,
    )


def test_postgres_searches_half_vectors_through_an_hnsw_index(database: Postgres) -> None:
    with connect(database) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE v (id int, e halfvec(3))")
        cursor.execute("INSERT INTO v VALUES (1, '[1,0,0]'), (2, '[0,1,0]')")
        cursor.execute("CREATE INDEX ON v USING hnsw (e halfvec_cosine_ops)")
        cursor.execute("SELECT id FROM v ORDER BY e <=> '[0.9,0.1,0]' LIMIT 1")
        assert cursor.fetchone() == (1,)
        cursor.execute("SHOW server_version_num")
        version = cursor.fetchone()
        assert version is not None
        assert int(version[0]) >= 170000


def test_a_server_of_a_benchmark_has_the_memory_of_an_installations() -> None:
    """An index is built in a tenth of the host's memory, as the role `postgres` has it."""
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with Postgres(settings=as_installed()) as server, connect(server) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_size_bytes(current_setting('maintenance_work_mem'))")
            row = cursor.fetchone()
        assert row is not None
        assert min(max(host / 10, 64 * 2**20), 8 * 2**30) == pytest.approx(row[0], rel=0.01)


def test_a_search_after_a_restart_of_postgres_reads_nothing_from_the_disk() -> None:
    """An installation's server has its vector indexes in memory again, with the rows that they point to."""

    def pages_read() -> int:
        with connect(server) as connection, connection.cursor() as cursor:
            cursor.execute("SET enable_seqscan = off")
            cursor.execute(
                "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT id FROM searched"
                " ORDER BY e <#> array_fill(0.5, ARRAY[64])::halfvec LIMIT 10"
            )
            row = cursor.fetchone()
        assert row is not None
        plan = row[0][0]["Plan"]
        assert "searched_index" in str(plan)
        return int(plan["Shared Read Blocks"])

    with Postgres() as server:
        with connect(server) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE searched (id int, e halfvec(64))")
            cursor.execute(
                "INSERT INTO searched SELECT n, ARRAY(SELECT random() FROM generate_series(1, 64 + n - n))"
                "::halfvec FROM generate_series(1, 2000) AS n"
            )
            cursor.execute("CREATE INDEX searched_index ON searched USING hnsw (e halfvec_ip_ops)")
        assert pages_read() == 0, "it is in memory since it was built"
        server.restart()
        wait_until(lambda: "autoprewarm successfully prewarmed" in server.log.read_text(), 30, "the pages")
        assert pages_read() == 0


def test_postgres_refuses_a_wrong_password(database: Postgres) -> None:
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        connect(database, "wrong")


def test_postgres_keeps_committed_rows_over_a_kill(database: Postgres) -> None:
    with connect(database) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept (n int)")
        cursor.execute("INSERT INTO kept VALUES (7)")
    database.kill()
    assert not database.running
    database.start()
    with connect(database) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT n FROM kept")
        assert cursor.fetchone() == (7,)


def test_redis_keeps_its_data_over_a_kill() -> None:
    server = Redis(appendfsync="always")
    server.start()
    try:
        client = redis_client.Redis.from_url(server.url_of(TESTER))
        assert client.ping()
        client.set("kept", "yes")
        server.kill()
        server.start()
        assert client.get("kept") == b"yes"
        arguments = Path(f"/proc/{server.pid}/cmdline").read_text()
        assert not [password for password in passwords().values() if password in arguments]
    finally:
        server.close()
    assert not server.directory.exists()


def test_nginx_serves_with_the_given_configuration() -> None:
    server = Nginx("events {} http { server { listen 127.0.0.1:{port}; location / { return 200 fine; } } }")
    server.start()
    try:
        with urllib.request.urlopen(f"http://{server.host}:{server.port}/", timeout=5) as answer:
            assert answer.read() == b"fine"
    finally:
        server.close()


def test_servers_end_with_a_killed_test_process() -> None:
    script = "from tests.services import Redis; s = Redis(); s.start(); print(s.pid, flush=True); input()"
    tests = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "app")},
    )
    assert tests.stdout is not None
    server = int(tests.stdout.readline())
    os.kill(tests.pid, signal.SIGKILL)
    tests.wait()
    for _ in range(100):
        if not Path(f"/proc/{server}").exists():
            break
        time.sleep(0.05)
    assert not Path(f"/proc/{server}").exists()
    sweep()
