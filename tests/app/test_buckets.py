"""What is asked of an object store, and what becomes of its answers: a server on loopback in its place."""

from __future__ import annotations

import hashlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from face_pipeline import network
from face_pipeline.config import get_settings
from face_pipeline.errors import ConfigurationError
from face_pipeline.store import buckets
from face_pipeline.store.buckets import Bucket, BucketAway, BucketRefuses, Place
from face_pipeline.store.originals import OriginalMissing, OriginalsAway, Removed, relative
from face_pipeline.store.originals.s3 import S3Originals

from tests.app.test_metrics_serving import certify
from tests.services.process import free_port

# docs.aws.amazon.com, Amazon S3, "Authenticating Requests: Examples of signature calculations".
AMAZONS = Place("s3.amazonaws.com", 443, "examplebucket", "us-east-1", "/", False, "", "AKIAIOSFODNN7EXAMPLE")
AMAZONS_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
AMAZONS_TIME = 1369353600.0
PHOTO = b"a photo"
NAME = hashlib.sha256(PHOTO).hexdigest()
NO_KEY = b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>"


@dataclass
class Store:
    """Answers each request by `answer`, which is given its method and path."""

    directory: Path
    answer: Callable[[str, str], tuple[int, bytes]] = lambda *_: (200, b"")
    asked: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"x"'})
    server: ThreadingHTTPServer | None = None
    port: int = field(default_factory=free_port)

    @property
    def place(self) -> Place:
        authority = str(self.directory / "ca.crt")
        return Place("127.0.0.1", self.port, "photos", "eu-1", "/here", True, authority, "KEY")

    @property
    def bucket(self) -> Bucket:
        return Bucket(self.place, "secret")

    def start(self) -> None:
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _do(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                store.asked.append(f"{self.command} {self.path}")
                status, body = store.answer(self.command, self.path)
                self.send_response(status)
                for name, value in store.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_PUT = do_HEAD = do_DELETE = _do

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.directory / "server.crt", self.directory / "server.key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("store")
    certify(directory)
    return directory


@pytest.fixture
def store(certified: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(buckets, "AGAIN_SECONDS", 0.0)
    made = Store(certified)
    made.start()
    yield made
    made.stop()


def originals(store: Store, tmp_path: Path) -> S3Originals:
    return S3Originals(store.bucket, tmp_path)


@pytest.mark.parametrize(
    ("path", "query", "headers", "signature"),
    [
        (
            "/test.txt", {}, {"range": "bytes=0-9"},
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
        (
            "/", {"max-keys": "2", "prefix": "J"}, {},
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        ),
    ],
)  # fmt: skip
def test_requests_are_signed_as_amazon_shows(
    path: str, query: dict[str, str], headers: dict[str, str], signature: str
) -> None:
    asked = buckets._Asked("GET", path, query, headers, b"", buckets.EMPTY, False)
    told = buckets.signed(asked, AMAZONS, AMAZONS_SECRET, AMAZONS_TIME)
    assert told["authorization"].endswith(f"Signature={signature}")


def test_a_place_is_named_by_its_path_or_its_host() -> None:
    assert (AMAZONS.host, AMAZONS.root) == ("examplebucket.s3.amazonaws.com", "")
    own = replace(AMAZONS, path_style=True, port=9000)
    assert (own.host, own.root) == ("s3.amazonaws.com:9000", "/examplebucket")


def test_a_photo_is_kept_once_the_store_confirms_it(store: Store, tmp_path: Path) -> None:
    originals(store, tmp_path).write({NAME: PHOTO})
    assert store.asked == [f"PUT /photos/here/{relative(NAME)}"]
    store.headers = {}
    with pytest.raises(OriginalsAway) as raised:
        originals(store, tmp_path).write({NAME: PHOTO})
    assert "does not answer as a store" in str(raised.value.__cause__), "200 of something else is no promise"


def test_what_is_not_there_is_missing_only_if_a_store_says_so(store: Store, tmp_path: Path) -> None:
    store.answer = lambda *_: (404, NO_KEY)
    with pytest.raises(OriginalMissing):
        originals(store, tmp_path).read(NAME)
    for said in (b"<html>there is nothing here</html>", NO_KEY.replace(b"NoSuchKey", b"NoSuchBucket")):
        store.answer = lambda *_, said=said: (404, said)  # type: ignore[misc]
        for ask in ("read", "check", "has"):
            with pytest.raises(OriginalsAway):
                getattr(originals(store, tmp_path), ask)(NAME)


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (403, "SignatureDoesNotMatch", "key_id and secret"),
        (403, "AccessDenied", "read, write, delete and list"),
        (400, "AuthorizationHeaderMalformed", "region"),
        (301, "PermanentRedirect", "endpoint and region"),
        (418, "", "face_originals_s3"),
    ],
)
def test_a_refusal_says_what_to_do(store: Store, status: int, code: str, advice: str) -> None:
    store.answer = lambda *_: (status, f"<Error><Code>{code}</Code></Error>".encode())
    bucket = store.bucket
    for _ in range(2):
        with pytest.raises(BucketRefuses, match=advice):
            bucket.get("a")
    assert len(store.asked) == 2, "it is asked again, and each time once"


def test_what_fails_at_once_is_asked_once_more(store: Store) -> None:
    answers = iter([(503, b"<Code>SlowDown</Code>"), (200, PHOTO)])
    store.answer = lambda *_: next(answers)
    assert store.bucket.get("a") == PHOTO


def test_nobody_waits_for_a_store_that_failed_a_moment_ago(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.answer = lambda *_: (500, b"")
    bucket = store.bucket
    with pytest.raises(BucketAway, match="answers 500"):
        bucket.get("a")
    asked = len(store.asked)
    with pytest.raises(BucketAway, match="a moment ago"):
        bucket.get("a")
    assert len(store.asked) == asked == 2
    # After a while one looks again, and no other beside it.
    later = time.monotonic() + buckets.AWAY_SECONDS + 1
    monkeypatch.setattr(buckets.time, "monotonic", lambda: later)
    among = threading.Event()

    def slowly(method: str, path: str) -> tuple[int, bytes]:
        among.wait(10)
        return 200, PHOTO

    store.answer = slowly
    first = threading.Thread(target=bucket.get, args=("a",))
    first.start()
    while len(store.asked) == asked:
        time.sleep(0.01)
    with pytest.raises(BucketAway, match="a moment ago"):
        bucket.get("a")
    among.set()
    first.join()
    assert bucket.get("a") == PHOTO


def test_a_store_that_says_nothing_is_left_in_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "HTTP_READ_SECONDS", 0.2)
    held = threading.Event()
    store.answer = lambda *_: (200, b"") if held.wait(5) else (500, b"")
    with pytest.raises(BucketAway, match="does not answer in time"):
        store.bucket.get("a")
    held.set()
    assert len(store.asked) == 1


def test_a_store_that_is_not_there_or_cannot_prove_who_it_is_is_away(store: Store) -> None:
    with pytest.raises(BucketAway, match=r"cannot prove who it is .*authority of face_originals_s3"):
        Bucket(replace(store.place, authority=""), "secret").get("a")
    store.stop()
    with pytest.raises(BucketAway, match="does not answer"):
        store.bucket.get("a")


def test_a_deletion_that_the_store_does_not_do_is_left_for_later(store: Store, tmp_path: Path) -> None:
    there = {NAME}

    def answer(method: str, path: str) -> tuple[int, bytes]:
        return (200, PHOTO) if method == "GET" else (500, b"") if method == "DELETE" else (200, b"")

    store.answer = answer
    done = originals(store, tmp_path).remove(there, lambda _: [])
    assert done == Removed(0, 0, 0, (NAME,))


def test_a_deletion_of_which_no_answer_came_is_taken_back_for_an_upload(store: Store, tmp_path: Path) -> None:
    """The store may have done it: the upload saw the object, and does not send it again."""
    deleted: list[str] = []

    def answer(method: str, path: str) -> tuple[int, bytes]:
        if method == "DELETE":
            deleted.append(path)
            return 403, b"<Code>AccessDenied</Code>"
        return 200, PHOTO if method == "GET" else b""

    store.answer = answer
    done = originals(store, tmp_path).remove([NAME], lambda names: names if deleted else [])
    assert done == Removed(0, 1, 0)
    assert store.asked[-1] == f"PUT /photos/here/{relative(NAME)}"


def test_settings_that_name_half_a_store_or_copies_beside_it_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FACE_ENV_FILE", "/nonexistent")
    monkeypatch.setenv("FACE_ORIGINALS_STORE", "s3")
    monkeypatch.setenv("FACE_ORIGINALS_S3_ENDPOINT", "s3.example.org")
    with pytest.raises(
        ConfigurationError,
        match="store of originals needs FACE_ORIGINALS_S3_BUCKET, FACE_ORIGINALS_S3_REGION",
    ):
        get_settings()
    monkeypatch.setenv("FACE_ORIGINALS_BEFORE", "s3")
    with pytest.raises(ConfigurationError, match="photos are moved from one to another"):
        get_settings()
    monkeypatch.setenv("FACE_ORIGINALS_BEFORE", "disk")
    for name in ("BUCKET", "REGION", "KEY_ID"):
        monkeypatch.setenv(f"FACE_ORIGINALS_S3_{name}", "x")
    assert get_settings().originals_s3_path_style
    monkeypatch.setenv("FACE_COPIES_URLS", "http://10.0.0.1:9803")
    with pytest.raises(ConfigurationError, match="a store keeps its own copies"):
        get_settings()
