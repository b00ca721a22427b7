"""The exporters of the roles over the session's PostgreSQL and Redis."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.monitoring.exporters import Observed, observe
from tests.services import Postgres, Redis


@pytest.fixture(scope="session")
def observed(postgres: Postgres, redis_server: Redis) -> Iterator[Observed]:
    with observe(postgres, redis_server) as made:
        yield made
