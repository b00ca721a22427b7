"""Requests over one pool of connections: trust, retries, and errors of our own for what comes back."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import NameResolutionError, SSLError

from face_pipeline.client.errors import Misconfigured, Refused, Unreachable
from face_pipeline.client.multipart import CHUNK_BYTES, Form

CONNECT_SECONDS = 10.0
# Longer than the service lets a search wait for a worker.
READ_SECONDS = 60.0
# How often a call is made, and the longest pause that a service may ask for between two.
ATTEMPTS = 4
# A limit of requests a minute asks for as much.
LONGEST_PAUSE_SECONDS = 60
# Before a call whose connection broke is made again; the last one from then on.
PAUSES_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
# Of a proxy whose service restarts: who is patient takes them as passing, though they say nothing of it.
PASSING = (502, 503, 504)
DEFAULT_PORTS = {"http": 80, "https": 443}


class Again(Enum):
    """When a call may be made a second time."""

    NEVER = "never"
    # It was refused with Retry-After: nothing was done.
    REFUSED = "refused"
    # Also where no answer came: it changes nothing, or the service knows it again by its Idempotency-Key.
    ALWAYS = "always"


@dataclass(frozen=True)
class Retries:
    """How long a call is tried.

    patience: seconds for which it is made again, however often; None: ATTEMPTS in all. pause: how the
    seconds between two are spent; it may raise to end the call.
    """

    patience: float | None = None
    pause: Callable[[float], object] = time.sleep

    def pauses(self, began: float) -> Iterator[float]:
        """Seconds before each further attempt, as long as there may be one."""
        number = 0
        while number < ATTEMPTS - 1 if self.patience is None else time.monotonic() < began + self.patience:
            yield PAUSES_SECONDS[min(number, len(PAUSES_SECONDS) - 1)]
            number += 1


@dataclass(frozen=True)
class _Way:
    """One address of the service."""

    url: str
    path: str
    headers: Mapping[str, str]
    pool: urllib3.HTTPConnectionPool


class Transport:
    """One service. `url`: its address, or several, separated by spaces: where one does not answer, or refuses
    for a while, and a second call does no harm, the next is asked. `url` of this is the first. `ca`:
    certificates to trust, PEM, instead of the system's; `address`: where the connection goes, with the name
    of `url` in the certificate and in the request; `connections`: kept open at most, to each address."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        ca: str = "",
        address: str = "",
        timeout: float = READ_SECONDS,
        connections: int = 8,
        retries: Retries | None = None,
    ) -> None:
        self._retries = retries or Retries()
        options: dict[str, Any] = {
            "maxsize": connections,
            "block": False,
            "retries": False,
            "timeout": urllib3.Timeout(connect=CONNECT_SECONDS, read=timeout),
            "blocksize": CHUNK_BYTES,
        }
        urls = url.split() or [url]
        if address and len(urls) > 1:
            raise Misconfigured("an address to connect to is for one URL, and several were given")
        self._ways = [_way(each, headers, address, ca, options) for each in urls]
        self._turn = 0
        self.url = self._ways[0].url

    def ask(
        self,
        method: str,
        path: str,
        body: Form | bytes | None = None,
        *,
        again: Again,
        headers: Mapping[str, str] | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """A good answer. Raises Refused, Unreachable, FileUnreadable."""
        pauses = self._retries.pauses(time.monotonic())
        patient = self._retries.patience is not None
        longest = max(LONGEST_PAUSE_SECONDS, self._retries.patience or 0)
        others = len(self._ways) - 1
        while True:
            turn = self._turn
            try:
                answer = self._once(turn, method, path, body, headers)
                if answer.status < 400:
                    return answer
                raise refusal(method, path, answer)
            except Refused as error:
                wait = error.retry_after
                if wait is None and patient and again is Again.ALWAYS and error.status in PASSING:
                    wait = 0
                # A limit of the key's is counted on all addresses.
                if again is not Again.NEVER and error.status in PASSING and others and wait is not None:
                    others -= 1
                    self._go_on(turn)
                    continue
                told = None if wait is None or wait > longest else next(pauses, None)
                if again is Again.NEVER or wait is None or told is None:
                    raise
                # With patience there is no end of attempts, and no use in many of them.
                pause = max(told, wait) if patient else float(wait)
            except Unreachable as error:
                if again is Again.ALWAYS and error.passing and others:
                    others -= 1
                    self._go_on(turn)
                    continue
                told = None if again is not Again.ALWAYS or not error.passing else next(pauses, None)
                if told is None:
                    raise
                pause = told
            self._retries.pause(pause)
            others = len(self._ways) - 1

    def once(
        self,
        method: str,
        path: str,
        body: Form | bytes | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """Any answer, good or bad, read to its end; raises Unreachable, FileUnreadable."""
        return self._once(self._turn, method, path, body, headers)

    def _go_on(self, turn: int) -> None:
        """Ask the next address from now on, unless another thread has found so already."""
        if self._turn == turn:
            self._turn = turn + 1

    def _once(
        self,
        turn: int,
        method: str,
        path: str,
        body: Form | bytes | None,
        headers: Mapping[str, str] | None,
    ) -> urllib3.BaseHTTPResponse:
        way = self._ways[turn % len(self._ways)]
        sent = {**way.headers, **(headers or {})}
        data: bytes | Iterable[bytes] | None
        if isinstance(body, Form):
            sent |= {"Content-Type": body.content_type, "Content-Length": str(body.length)}
            data = body.chunks()
        else:
            data = body
            if body is not None:
                sent["Content-Type"] = "application/json"
        try:
            return way.pool.request(method, way.path + path, body=data, headers=sent, redirect=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unreachable(
                f"{way.url} cannot be reached: {error}",
                passing=not isinstance(error, SSLError | NameResolutionError),
            ) from error


def _way(url: str, headers: Mapping[str, str], address: str, ca: str, options: Mapping[str, Any]) -> _Way:
    parts = urlsplit(url)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise Misconfigured(f"{url!r} is not an http or https address")
    port = _port(url) or DEFAULT_PORTS[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    sent = {**headers, "Host": host if port == DEFAULT_PORTS[parts.scheme] else f"{host}:{port}"}
    pool: urllib3.HTTPConnectionPool
    if parts.scheme == "http":
        pool = urllib3.HTTPConnectionPool(address or parts.hostname, port, **options)
    else:
        pool = urllib3.HTTPSConnectionPool(
            address or parts.hostname,
            port,
            ssl_context=_trust(ca),
            server_hostname=parts.hostname,
            **options,
        )
    return _Way(url.rstrip("/"), parts.path.rstrip("/"), sent, pool)


def _port(url: str) -> int | None:
    try:
        return urlsplit(url).port
    except ValueError:
        raise Misconfigured(f"{url!r} has a port that is no number") from None


def _trust(ca: str) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=ca or None)
    except ssl.SSLError:
        raise Misconfigured("what was given as certificates to trust holds none in PEM") from None
    # A certificate that is named is trusted by itself, whoever signed it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # Python 3.13 asks of authorities what those of many companies lack.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def refusal(method: str, path: str, answer: urllib3.BaseHTTPResponse) -> Refused:
    """The error of an answer; one without the service's envelope is told by its status and first words."""
    text = answer.data.decode(errors="replace").strip()
    try:
        envelope = json.loads(text)
        told = envelope["error"]
        code, message, details = told["code"], told["message"], told.get("details")
        request_id = envelope.get("request_id")
    except (ValueError, KeyError, TypeError):
        code, message, details = "http_error", f"{method} {path} answered {answer.status}: {text[:300]}", None
        request_id = answer.headers.get("X-Request-ID")
    wait = answer.headers.get("Retry-After", "")
    return Refused(
        message,
        status=answer.status,
        code=code,
        details=details,
        request_id=request_id,
        retry_after=int(wait) if wait.isdecimal() else None,
    )
