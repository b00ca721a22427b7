"""How connections to other hosts notice that the other host is gone.

A host without power closes nothing, and Linux asks a silent connection first after two hours: who waits for
an answer waits as long. So the kernel asks after 3 s of silence, each second, and gives up after 6 s, also
where what was sent is not acknowledged (`man 7 tcp`; TCP_USER_TIMEOUT counts in the place of TCP_KEEPCNT).
"""

from __future__ import annotations

import ssl
from typing import Any

import urllib3

CONNECT_TIMEOUT_SECONDS = 3
IDLE_SECONDS = 3
INTERVAL_SECONDS = 1
PROBES = 3
GIVE_UP_SECONDS = 6

# Arguments of libpq; times in seconds, tcp_user_timeout in milliseconds. It alone is not enough: it counts
# only while something is on its way.
POSTGRES_OPTIONS: dict[str, Any] = {
    "connect_timeout": CONNECT_TIMEOUT_SECONDS,
    "keepalives": 1,
    "keepalives_idle": IDLE_SECONDS,
    "keepalives_interval": INTERVAL_SECONDS,
    "keepalives_count": PROBES,
    "tcp_user_timeout": GIVE_UP_SECONDS * 1000,
}

# Where another host of several answers in the place of one that is silent, within 5 s in all: whoever watches
# them knows first, who waits for an answer next. A connection to one that is lost costs the connecting alone.
WATCH_GIVE_UP_SECONDS, SOON_GIVE_UP_SECONDS = 1.5, 2.5


# Who watches waits longer for a connection: one host costs no other its turn, and a busy one takes its time.
WATCH_CONNECT_SECONDS = 10


def soon(seconds: float) -> dict[str, Any]:
    """Arguments of libpq by which a host that is silent for so long is given up."""
    return {**POSTGRES_OPTIONS, "keepalives_idle": 1, "tcp_user_timeout": round(seconds * 1000)}


# The longest silence in the middle of an answer over HTTP.
HTTP_READ_SECONDS = 10
# Kept open to the other host; a worker has no more threads than this by far.
HTTP_CONNECTIONS = 64


def trust(authority: str) -> ssl.SSLContext:
    """By what servers are asked that have to prove by a certificate of `authority`, a file, who they are.

    Those that this host trusts otherwise are not enough.
    """
    context = ssl.create_default_context(cafile=authority)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def http_pool(authority: str = "") -> urllib3.PoolManager:
    """A client of HTTP for any number of threads. It tries once: who calls it knows when to try again.

    `authority`: file of the certificate by which servers have to prove who they are; empty: those that this
    host trusts.
    """
    if not authority:
        return _pool()
    return _pool(ca_certs=authority, ssl_minimum_version=ssl.TLSVersion.TLSv1_3)


def store_pool(authority: str) -> urllib3.PoolManager:
    """The same for a store that is no host of the installation, and speaks TLS as it was set up."""
    trust = ssl.create_default_context(cafile=authority or None)
    # Newer Pythons refuse authorities that pgBackRest and restic take: those without the extension keyUsage.
    trust.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return _pool(ssl_context=trust)


def _pool(**trust: Any) -> urllib3.PoolManager:
    return urllib3.PoolManager(
        maxsize=HTTP_CONNECTIONS,
        timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_SECONDS, read=HTTP_READ_SECONDS),
        retries=False,
        **trust,
    )
