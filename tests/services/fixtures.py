"""Session fixtures; a conftest.py takes them with `pytest_plugins = ["tests.services.fixtures"]`."""

from collections.abc import Iterator

import pytest

from tests.services import Postgres, Redis


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    server = Redis()
    server.start()
    yield server
    server.close()
