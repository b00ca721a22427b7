"""A bucket of an object store that speaks S3 over HTTPS: put, get, head, delete and list, nothing else of it.

Signed by AWS Signature Version 4 (docs.aws.amazon.com, "Authenticating Requests"). The hash of what is put is
part of what is signed, so that a store that follows it takes no other bytes than those that were sent.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import logging
import re
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from urllib.parse import quote

import urllib3
import urllib3.exceptions

from face_pipeline.network import store_pool
from face_pipeline.telemetry.metrics import buckets as metrics

log = logging.getLogger(__name__)

# A store that failed is left alone for so long, but for one request that tries it: or each would wait for it.
AWAY_SECONDS = 10.0
# What failed at once is asked once more, after a moment.
AGAIN_SECONDS = 0.2
# A whole answer, however slowly it comes.
ANSWER_SECONDS = 30.0
CHUNK_BYTES = 1 << 16
# Objects that are listed by one request.
PAGE = 1000
# What stores say of an error is a few lines; more is not read.
ERROR_BYTES = 16384
EMPTY = hashlib.sha256().hexdigest()
UNRESERVED = "-_.~"
# Beside what is wrong: what an operator does about it.
ADVICE = {
    "InvalidAccessKeyId": "look at key_id of face_originals_s3",
    "SignatureDoesNotMatch": "look at key_id and secret of face_originals_s3, and at its region",
    "AccessDenied": "the access key has to read, write, delete and list in the bucket",
    "NoSuchBucket": "make the bucket, or look at bucket and path_style of face_originals_s3",
    "RequestTimeTooSkewed": "the clock of this host and that of the store differ by more than 15 minutes",
    "AuthorizationHeaderMalformed": "look at region of face_originals_s3",
    "PermanentRedirect": "look at endpoint and region of face_originals_s3",
}
_CODE = re.compile(r"<Code>(\w+)</Code>")


class BucketError(Exception):
    """The store does not do what it is asked; the text says what is wrong and what to do."""


class BucketAway(BucketError):
    """It does not answer, or it cannot prove who it is, or says that something is wrong with itself."""


class BucketRefuses(BucketError):
    """It answers, and will not: a wrong key, no such bucket."""


@dataclass(frozen=True)
class Place:
    """Where a bucket is. `path`: what all its names begin with; `path_style`: ENDPOINT/BUCKET, else
    BUCKET.ENDPOINT. `authority`: the file of the one certificate by which the store proves who it is; empty:
    by those that this host trusts."""

    endpoint: str
    port: int
    bucket: str
    region: str
    path: str
    path_style: bool
    authority: str
    key_id: str

    @property
    def host(self) -> str:
        name = self.endpoint if self.path_style else f"{self.bucket}.{self.endpoint}"
        return name if self.port == 443 else f"{name}:{self.port}"

    @property
    def root(self) -> str:
        """What a path of a request begins with."""
        return f"/{self.bucket}" if self.path_style else ""

    def __str__(self) -> str:
        return f"{self.host}, bucket {self.bucket}"


class Listed(NamedTuple):
    """An object: its name below the path, and when it was put, seconds since 1970."""

    name: str
    put_at: float


class Bucket:
    """Any number of threads may use it at once. All methods raise BucketError, within seconds."""

    def __init__(self, place: Place, secret: str) -> None:
        self.place = place
        self._secret = secret
        self._path = place.path.strip("/")
        self._breaker = _Breaker()
        self._http = store_pool(place.authority)

    def put(self, name: str, data: bytes) -> None:
        """Once this returns, the store has confirmed that it holds these bytes."""
        md5 = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        digest = hashlib.sha256(data).hexdigest()
        with self._call("put", "PUT", name, data=data, digest=digest, headers={"content-md5": md5}) as answer:
            if "etag" not in answer.headers:
                raise BucketRefuses(f"{self.place} does not answer as a store; look at face_originals_s3")

    def get(self, name: str) -> bytes | None:
        """None: there is no such object."""
        with self._call("get", "GET", name, missing=True) as answer:
            if answer.status == 404:
                return None
            # Its value is its own buffer: the object is in memory once.
            found = io.BytesIO()
            for chunk in _chunks(answer):
                found.write(chunk)
            return found.getvalue()

    def digest(self, name: str) -> str | None:
        """SHA-256 of the object, read for it and not kept; None: there is none."""
        with self._call("get", "GET", name, missing=True) as answer:
            if answer.status == 404:
                return None
            found = hashlib.sha256()
            for chunk in _chunks(answer):
                found.update(chunk)
            return found.hexdigest()

    def has(self, name: str) -> bool:
        with self._call("head", "HEAD", name, missing=True) as answer:
            there: bool = answer.status == 200
        return there

    def delete(self, name: str) -> None:
        """Also where there is none."""
        with self._call("delete", "DELETE", name, missing=True):
            pass

    def names(self, prefix: str) -> Iterator[Listed]:
        """All objects whose name begins so, in their order."""
        whole, after = self._key(prefix), ""
        while True:
            query = {"list-type": "2", "prefix": whole, "max-keys": str(PAGE)} | (
                {"start-after": after} if after else {}
            )
            with self._call("list", "GET", None, query=query) as answer:
                body = b"".join(_chunks(answer))
            listed, more = _listed(body)
            for key, put_at in listed:
                yield Listed(key[len(self._path) + 1 :] if self._path else key, put_at)
            if not more or not listed:
                return
            after = listed[-1][0]

    def _key(self, name: str) -> str:
        return f"{self._path}/{name}" if self._path else name

    @contextmanager
    def _call(
        self,
        call: str,
        method: str,
        name: str | None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes = b"",
        digest: str = EMPTY,
        missing: bool = False,
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """The answer, of which the caller reads the body. `missing`: an object that is not there is no error.

        `call` is what it is counted as.
        """
        path = self.place.root + (
            "/" if name is None else f"/{quote(self._key(name), safe='/' + UNRESERVED)}"
        )
        asked = _Asked(method, path, query or {}, headers or {}, data, digest, missing)
        try:
            self._breaker.check(self.place)
        except BucketAway:
            metrics.failures.labels(call, "away").inc()
            raise
        began = time.monotonic()
        try:
            answer = self._ask(asked)
            try:
                yield answer
            except BaseException as error:
                answer.close()
                if isinstance(error, urllib3.exceptions.HTTPError):
                    raise BucketAway(
                        f"{self.place} breaks off its answer ({type(error).__name__})"
                    ) from error
                raise
            answer.drain_conn()
        except BucketRefuses as error:
            self._tell(call, "refused", error)
            self._breaker.answers()
            raise
        except BucketAway as error:
            self._tell(call, "away", error)
            self._breaker.fails()
            raise
        else:
            self._breaker.answers()
        finally:
            metrics.duration.labels(call).observe(time.monotonic() - began)

    def _tell(self, call: str, reason: str, error: BucketError) -> None:
        metrics.failures.labels(call, reason).inc()
        log.warning("%s", error, extra={"operation": "originals", "reason_code": reason})

    def _ask(self, asked: _Asked) -> urllib3.BaseHTTPResponse:
        try:
            return self._once(asked)
        except _Again:
            time.sleep(AGAIN_SECONDS)
            return self._once(asked)

    def _once(self, asked: _Asked) -> urllib3.BaseHTTPResponse:
        url = f"https://{self.place.host}{asked.path}"
        if asked.query:
            url += f"?{_query(asked.query)}"
        try:
            answer = self._http.request(
                asked.method,
                url,
                body=asked.data or None,
                headers=signed(asked, self.place, self._secret, time.time()),
                preload_content=False,
                redirect=False,
            )
        except urllib3.exceptions.SSLError as error:
            raise BucketAway(
                f"{self.place} cannot prove who it is ({error}); look at authority of face_originals_s3"
            ) from error
        except urllib3.exceptions.ReadTimeoutError as error:
            # It has had its ten seconds.
            raise BucketAway(f"{self.place} does not answer in time") from error
        except urllib3.exceptions.HTTPError as error:
            raise _Again(f"{self.place} does not answer ({type(error).__name__})") from error
        if answer.status in (200, 204, 206):
            return answer
        return self._other(asked, answer)

    def _other(self, asked: _Asked, answer: urllib3.BaseHTTPResponse) -> urllib3.BaseHTTPResponse:
        try:
            told = answer.read(ERROR_BYTES).decode("utf-8", "replace")
        except urllib3.exceptions.HTTPError as error:
            raise _Again(f"{self.place} breaks off its answer ({type(error).__name__})") from error
        finally:
            answer.release_conn()
        found = _CODE.search(told)
        code = found.group(1) if found else ""
        # HEAD has no body; any other answer without the code is not of a store.
        if answer.status == 404 and asked.missing and (code == "NoSuchKey" or asked.method == "HEAD"):
            return answer
        words = f"answers {answer.status} {code}".rstrip() + f" to {asked.method}"
        if answer.status >= 500 or answer.status == 429:
            raise _Again(f"{self.place} {words}")
        advice = ADVICE.get(code, "look at face_originals_s3")
        raise BucketRefuses(f"{self.place} {words}; {advice}")


class _Again(BucketAway):
    """May go better at once."""


class _Breaker:
    """Lets nobody wait for a store that failed a moment ago, but for one at a time who looks again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed = False
        self._until = 0.0

    def check(self, place: Place) -> None:
        """Raises BucketAway."""
        with self._lock:
            if not self._failed:
                return
            now = time.monotonic()
            if now < self._until:
                raise BucketAway(f"{place} did not answer a moment ago")
            self._until = now + AWAY_SECONDS

    def answers(self) -> None:
        with self._lock:
            self._failed = False

    def fails(self) -> None:
        with self._lock:
            self._failed = True
            self._until = time.monotonic() + AWAY_SECONDS


@dataclass(frozen=True)
class _Asked:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    data: bytes
    digest: str
    missing: bool


def signed(asked: _Asked, place: Place, secret: str, now: float) -> dict[str, str]:
    """The headers of a request that is made `now`, seconds since 1970."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    headers = {
        "host": place.host, "x-amz-content-sha256": asked.digest, "x-amz-date": moment, **asked.headers,
    }  # fmt: skip
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = "\n".join((asked.method, asked.path, _query(asked.query), lines, names, asked.digest))
    scope = f"{moment[:8]}/{place.region}/s3/aws4_request"
    key = f"AWS4{secret}".encode()
    for word in scope.split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    told = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    signature = hmac.digest(key, told.encode(), "sha256").hex()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={place.key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return headers


def _query(values: Mapping[str, str]) -> str:
    each = (
        f"{quote(name, safe=UNRESERVED)}={quote(value, safe=UNRESERVED)}" for name, value in values.items()
    )
    return "&".join(sorted(each))


def _chunks(answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    until = time.monotonic() + ANSWER_SECONDS
    for chunk in answer.stream(CHUNK_BYTES):
        if time.monotonic() > until:
            answer.close()
            raise urllib3.exceptions.TimeoutError
        yield chunk


def _listed(body: bytes) -> tuple[list[tuple[str, float]], bool]:
    """Keys and times of a page, and whether there are more. Raises BucketAway where it is none."""
    try:
        # The store is the operator's own, and the parser takes no entities from elsewhere.
        page = ElementTree.fromstring(body)  # noqa: S314
        found = [
            (each.findtext("{*}Key") or "", _time(each.findtext("{*}LastModified") or ""))
            for each in page.iterfind("{*}Contents")
        ]
    except (ElementTree.ParseError, ValueError) as error:
        raise BucketAway("the store answers no list of S3") from error
    return found, page.findtext("{*}IsTruncated") == "true"


def _time(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
