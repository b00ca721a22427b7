"""Real servers for the tests: PostgreSQL 17 with pgvector, Redis and nginx on free loopback ports.

They come from the host where it has Debian 13's packages, else from the root that `tests/services/prepare`
builds. No server outlives the test process, however that ends.
"""

from tests.services.nginx import Nginx
from tests.services.postgres import Postgres
from tests.services.process import ServicesMissing
from tests.services.redis import Redis

__all__ = ["Nginx", "Postgres", "Redis", "ServicesMissing"]
