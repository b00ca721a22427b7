"""Who may do what in Redis: the users of the role `redis`, at real servers.

That each unit gets along with its rights is shown by all other tests, in which units sign in as their users:
`tests/conftest.py` looks for refusals.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import redis
from face_pipeline.broker.redis import reached
from face_pipeline.errors import QueueUnavailable, RedisRefused
from redis.exceptions import AuthenticationError, NoPermissionError

from tests.installation import Installation
from tests.services import Redis
from tests.services.redis import TESTER, passwords, users

# The operator's own are these.
LOOKS = {"ACL LOAD", "CLIENT LIST", "SLOWLOG GET 1"}
# Those of who ends what is left where an address has moved away.
ENDS = {"FLUSHALL", "CLIENT KILL ID 1"}
FORBIDDEN = (
    "FLUSHALL", "FLUSHDB", "SWAPDB 0 1", "KEYS *", "SHUTDOWN NOSAVE", "DEBUG SLEEP 0", "MONITOR",
    "CONFIG SET maxmemory 1", "CONFIG REWRITE", "CONFIG RESETSTAT", "ACL SETUSER web on", "ACL DELUSER web",
    "ACL LIST", "ACL GETUSER web", "ACL SAVE", "CLIENT KILL ID 1", "CLIENT PAUSE 1", "SCRIPT KILL",
    "SCRIPT FLUSH", "EVAL 1 0", "FUNCTION FLUSH", "REPLICAOF 10.0.0.1 6379", "MODULE LOAD /tmp/x.so", "SAVE",
    "BGREWRITEAOF", "MIGRATE 10.0.0.1 6379 ingest 0 1", "RESTORE ingest 0 x", *LOOKS,
)  # fmt: skip
# What each of them would have a use for if somebody took it over.
REFUSED = {
    ("web", "redis"): (
        "BRPOP ingest 0", "LRANGE ingest 0 -1", "DEL ingest", "SET face:log-level:all DEBUG",
        "SET face:worker:1 x", "SET face:autoscaler:assignment {}", "GET face:autoscaler:assignment",
        "PUBLISH /0.celery.pidbox x", "PSUBSCRIBE /0.celeryev/*", "HGET unacked 1", "GET elsewhere",
    ),
    ("web", "scratch"): ("GET elsewhere", "SET elsewhere x", "PUBLISH any x"),
    ("worker", "redis"): (
        "SET face:log-level:all DEBUG", "SET face:autoscaler:assignment {}", "GET face:autoscaler:leader",
        "SUBSCRIBE elsewhere", "GET elsewhere", "CONFIG GET *",
    ),
    ("worker", "scratch"): (
        "GET face:search:answer:1:2:c:x", "DEL face:search:answer:1:2:c:x", "SET face:search:cache:hit 1",
        "DEL face:limits", "SCAN 0", "BLPOP face:search:c:x:to:1 0",
    ),
    ("upkeep", "redis"): ("BRPOP ingest 0", "DEL ingest", "LLEN search", "GET face:worker:1", "GET other"),
    ("upkeep", "scratch"): ("GET face:search:answer:1:2:c:x", "UNLINK face:search:c:x:photo"),
    ("autoscaler", "redis"): ("LPUSH ingest x", "DEL ingest", "SET face:log-level:all x", "GET face:workers"),
    ("hooks", "redis"): ("LLEN ingest", "SET face:log-level:all DEBUG", "GET face:worker:1", "PUBLISH any x"),
    ("flower", "redis"): (
        "GET face:worker:1", "GET face:log-level:all", "SET face:autoscaler:assignment {}", "PUBLISH other x",
    ),
    ("exporter", "redis"): ("GET face:worker:1", "LLEN ingest", "SLOWLOG GET 1", "PUBLISH any x"),
    ("exporter", "scratch"): ("GET face:search:answer:1:2:c:x", "SCAN 0", "SLOWLOG GET 1"),
    ("keepalived", "redis"): ("LLEN ingest", "GET face:worker:1", "DEL ingest", "INFO", "PUBLISH any x"),
    ("keepalived", "scratch"): ("GET face:search:answer:1:2:c:x", "SCAN 0", "UNLINK face:search:c:x:photo"),
    ("operator", "redis"): (),
    ("operator", "scratch"): (),
}  # fmt: skip


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Redis]]:
    with Redis() as queues, Redis(scratch=True) as scratch:
        assert isinstance(queues, Redis)
        assert isinstance(scratch, Redis)
        yield {"redis": queues, "scratch": scratch}


def refused(server: Redis, user: str, command: str) -> bool:
    """Whether Redis would refuse it; nothing is done."""
    with redis.Redis.from_url(server.url_of(TESTER)) as tester:
        answer = tester.execute_command("ACL DRYRUN", user, *command.split())  # type: ignore[no-untyped-call]
    return bool(answer != b"OK")


@pytest.mark.parametrize(("user", "server"), REFUSED)
def test_a_user_may_do_nothing_beyond_its_work(servers: dict[str, Redis], user: str, server: str) -> None:
    own = {"operator": LOOKS, "keepalived": ENDS}.get(user, set())
    assert [each for each in FORBIDDEN if not refused(servers[server], user, each)] == [
        each for each in FORBIDDEN if each in own
    ]
    assert [each for each in REFUSED[user, server] if not refused(servers[server], user, each)] == []


def test_every_user_is_looked_at_and_is_nowhere_else(servers: dict[str, Redis]) -> None:
    assert {(user, server) for user, rights in users().items() for server in rights} == set(REFUSED)
    for user, rights in users().items():
        for server in servers.keys() - rights.keys():
            with (
                pytest.raises(AuthenticationError),
                redis.Redis.from_url(servers[server].url_of(user)) as client,
            ):
                client.ping()


def test_nobody_gets_in_without_a_user(servers: dict[str, Redis]) -> None:
    for server in servers.values():
        for known in ({}, {"password": passwords()["operator"]}, {"password": ""}):
            with pytest.raises(AuthenticationError), redis.Redis(port=server.port, **known) as client:
                client.ping()


def test_a_user_that_would_empty_a_server_is_refused(servers: dict[str, Redis]) -> None:
    for name, server in servers.items():
        with redis.Redis.from_url(server.url_of(TESTER)) as tester:
            tester.set("kept", "yes")
            for user in (user for user, rights in users().items() if name in rights and user != "keepalived"):
                with pytest.raises(NoPermissionError), redis.Redis.from_url(server.url_of(user)) as client:
                    client.flushall()
            assert tester.get("kept") == b"yes"


def test_no_password_can_be_read_in_the_files_of_users(servers: dict[str, Redis]) -> None:
    for server in servers.values():
        text = server.users_file.read_text()
        assert not [password for password in passwords().values() if password in text]


def test_what_is_refused_is_told_in_one_line_that_says_what_mends_it(
    clean: Installation, servers: dict[str, Redis]
) -> None:
    port = str(servers["redis"].port)
    for user, words in (("exporter", "the command LLEN"), ("nobody", "does not let this process's user")):
        directory = clean.directory / "credentials"
        (directory / "redis_password_nobody").write_text("wrong")
        done = subprocess.run(
            [sys.executable, "-m", "face_pipeline.cli", "queues"],
            env={**clean.environment, "FACE_REDIS_PORT": port, "FACE_REDIS_USER": user},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        (line,) = done.stderr.splitlines()
        assert done.returncode == 1
        assert words in line
        assert "run ./face-ansible site.yml" in line


def test_of_many_commands_no_argument_is_told(servers: dict[str, Redis]) -> None:
    with redis.Redis.from_url(servers["scratch"].url_of("upkeep")) as client, client.pipeline() as pipeline:
        pipeline.set("face:search:c:x:photo", "bytes of a photo")
        with pytest.raises(RedisRefused) as told, reached():
            pipeline.execute()  # type: ignore[no-untyped-call]
    assert isinstance(told.value, QueueUnavailable)
    assert "bytes of a photo" not in f"{told.value} {told.value.__cause__}"
