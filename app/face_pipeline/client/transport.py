"""Requests over one pool of connections: trust, retries, and errors of our own for what comes back."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import urllib3

from face_pipeline.client.errors import Refused, Unreachable

CONNECT_SECONDS = 10.0
# Longer than the service lets a search wait for a worker.
READ_SECONDS = 60.0
# How often a call is made, and the longest pause that a service may ask for between two.
ATTEMPTS = 4
LONGEST_PAUSE_SECONDS = 30
DEFAULT_PORTS = {"http": 80, "https": 443}

Field = tuple[str, str | tuple[str, bytes, str]]


class Transport:
    """One service. `ca`: certificates to trust, PEM, instead of the system's; `address`: where the connection
    goes, with the name of `url` in the certificate and in the request."""

    def __init__(self, url: str, headers: Mapping[str, str], *, ca: str = "", address: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
            raise ValueError(f"{url!r} is not an http or https address")
        self.url = url.rstrip("/")
        port = parts.port or DEFAULT_PORTS[parts.scheme]
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self._path = parts.path.rstrip("/")
        self._headers = {**headers, "Host": host if port == DEFAULT_PORTS[parts.scheme] else f"{host}:{port}"}
        options: dict[str, Any] = {
            "maxsize": 4,
            "block": False,
            "retries": False,
            "timeout": urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
        }
        self._pool: urllib3.HTTPConnectionPool
        if parts.scheme == "http":
            self._pool = urllib3.HTTPConnectionPool(address or parts.hostname, port, **options)
        else:
            self._pool = urllib3.HTTPSConnectionPool(
                address or parts.hostname,
                port,
                ssl_context=_trust(ca),
                server_hostname=parts.hostname,
                **options,
            )

    def ask(self, method: str, path: str, fields: Sequence[Field] | None = None, *, again: bool) -> bytes:
        """The body of a good answer.

        `again`: the call may be made again where the service names a time for that (Retry-After). Raises
        Refused, Unreachable.
        """
        for attempt in range(1, ATTEMPTS + 1):
            status, headers, body = self.once(method, path, fields)
            if status < 400:
                return body
            error = refusal(method, path, status, headers, body)
            wait = error.retry_after
            if not again or wait is None or wait > LONGEST_PAUSE_SECONDS or attempt == ATTEMPTS:
                raise error
            time.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def once(
        self, method: str, path: str, fields: Sequence[Field] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of any answer; raises Unreachable."""
        try:
            answer = self._pool.request(
                method, self._path + path, fields=fields, headers=self._headers, redirect=False
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unreachable(f"{self.url} cannot be reached: {error}") from error
        return answer.status, answer.headers, answer.data


def _trust(ca: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ca or None)
    # A certificate that is named is trusted by itself, whoever signed it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # Python 3.13 asks of authorities what those of many companies lack.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def refusal(method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> Refused:
    """The error of an answer; one without the service's envelope is told by its status and first words."""
    text = body.decode(errors="replace").strip()
    try:
        envelope = json.loads(text)
        told = envelope["error"]
        code, message, details = told["code"], told["message"], told.get("details")
        request_id = envelope.get("request_id")
    except (ValueError, KeyError, TypeError):
        code, message, details = "http_error", f"{method} {path} answered {status}: {text[:300]}", None
        request_id = headers.get("X-Request-ID")
    wait = headers.get("Retry-After", "")
    return Refused(
        message,
        status=status,
        code=code,
        details=details,
        request_id=request_id,
        retry_after=int(wait) if wait.isdecimal() else None,
    )
