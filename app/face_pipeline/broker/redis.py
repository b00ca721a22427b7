"""Clients of Redis. They are made here alone, so that each of them notices that the other host is gone."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from kombu.exceptions import OperationalError
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.retry import Retry

from face_pipeline import network
from face_pipeline.errors import QueueUnavailable, RedisRefused

OPTIONS: dict[str, Any] = {
    "socket_connect_timeout": network.CONNECT_TIMEOUT_SECONDS,
    "socket_keepalive": True,
    "socket_keepalive_options": {
        socket.TCP_KEEPIDLE: network.IDLE_SECONDS,
        socket.TCP_KEEPINTVL: network.INTERVAL_SECONDS,
        socket.TCP_KEEPCNT: network.PROBES,
        socket.TCP_USER_TIMEOUT: network.GIVE_UP_SECONDS * 1000,
    },
}
# Longer than the BRPOP of a second that a worker waits in; an upload waits no longer for a silent Redis.
SOCKET_TIMEOUT_SECONDS = 5
# A connection that idled for so long is asked before it is used.
HEALTH_CHECK_SECONDS = 25


class NotProven(redis.ConnectionError):
    """What answers by TLS is not the Redis that was asked for, as far as its certificate says."""


class ProvenConnection(redis.SSLConnection):
    """By TLS, to a Redis that proves by a certificate of the authority alone that it has this address.

    redis-py's own trusts what this host trusts as well.
    """

    def _wrap_socket_with_ssl(self, sock: socket.socket) -> ssl.SSLSocket:
        try:
            return network.trust(self.ca_certs).wrap_socket(sock, server_hostname=self.host)
        except (ssl.SSLCertVerificationError, FileNotFoundError) as error:
            missing = f"there is no {self.ca_certs}"
            reason = error.verify_message if isinstance(error, ssl.SSLError) else missing
            raise NotProven(
                f"Redis at {self.host}:{self.port} cannot prove who it is ({reason}); "
                "run ./face-ansible site.yml, which gives it and this host certificates of one authority"
            ) from error


def tls_options(authority: str) -> dict[str, Any]:
    """Of a connection by TLS. They say what ProvenConnection does as well, for Flower has one of its own."""
    return {
        "ssl_ca_certs": authority,
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
        "ssl_check_hostname": True,
        "ssl_min_version": ssl.TLSVersion.TLSv1_3,
    }


def connect(url: str, *, timeout: float, authority: str = "") -> redis.Redis:
    """A client with a pool of its own; `timeout` is the longest wait for one answer, seconds.

    With `authority`, the file of one's certificate, Redis is asked by TLS and has to prove who it is.
    It connects when it is first used. A command whose connection has ended is sent once more, by a new one:
    those that idled while the address moved to another host end so. What is done twice does no harm.
    """
    proven = {"connection_class": ProvenConnection, **tls_options(authority)} if authority else {}
    return redis.Redis.from_url(
        url, socket_timeout=timeout, health_check_interval=HEALTH_CHECK_SECONDS,
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
        retry_on_error=[redis.ConnectionError], **OPTIONS, **proven,
    )  # fmt: skip


@contextmanager
def reached() -> Iterator[None]:
    """Raise QueueUnavailable where Redis cannot be asked, RedisRefused where it may not; also a decorator."""
    try:
        yield
    # kombu has an error of its own for the same, and a socket may fail before either.
    except (RedisError, OperationalError, OSError) as error:
        check_refused(error)
        raise QueueUnavailable("the task queue cannot be reached; send the request again") from error


def check_refused(error: BaseException) -> None:
    """Raise RedisRefused where this is what Redis meant."""
    for each in (error, error.__cause__):
        if isinstance(each, NotProven):
            raise RedisRefused(str(each)) from None
        if isinstance(each, AuthenticationError):
            raise RedisRefused(
                "Redis does not let this process's user (FACE_REDIS_USER) in; run ./face-ansible site.yml, "
                "which gives Redis and this host the same users and passwords"
            ) from None
        if isinstance(each, NoPermissionError):
            # Of the text no more than this: where many commands were sent, their arguments are in it.
            command = re.search("to run the '([a-z|]+)' command", str(each))
            what = f"the command {command[1].upper()}" if command else "a key or channel"
            raise RedisRefused(
                f"Redis refuses {what} to this process's user (FACE_REDIS_USER); "
                "run ./face-ansible site.yml, which gives users the rights that this release needs"
            ) from None
