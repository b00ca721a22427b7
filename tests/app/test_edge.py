"""The service as clients meet it: the role's own nginx before gunicorn, over HTTP/1.1 and HTTP/2."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from face_pipeline.web.ui import assets

from tests.app.test_flower import ROLES, render
from tests.installation import ADMIN_KEY, BIN, Installation, wait_until
from tests.photos import astronaut_jpeg
from tests.services import Nginx
from tests.services.process import free_port

# nginx's certificate is made on the spot.
pytestmark = pytest.mark.filterwarnings("ignore:Unverified HTTPS request")

LARGE = 2 * 1024**2
PHOTOS = "/api/v1/photos"
KEY = f"Authorization: Bearer {ADMIN_KEY}"
REQUEST_BYTES = 4 * 1024**2
# Requests of one address, small enough to be reached.
BURST, CONNECTIONS = 50, 20


@dataclass
class Answer:
    """What came back on a connection, as far as the first answer goes."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def error(self) -> dict[str, Any]:
        """The envelope, checked."""
        assert self.headers["content-type"].startswith("application/json"), (self.status, self.body[:300])
        envelope = json.loads(self.body)
        assert set(envelope) == {"error", "request_id"}
        assert set(envelope["error"]) == {"code", "message", "details"}
        assert envelope["error"]["message"]
        assert self.headers["x-request-id"] == envelope["request_id"]
        assert self.headers["cache-control"] == "no-store"
        error: dict[str, Any] = envelope["error"]
        return error


@dataclass
class Edge:
    installation: Installation
    nginx: Nginx
    http_port: int
    web: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://localhost:{self.nginx.port}"

    @property
    def socket(self) -> Path:
        return self.nginx.directory / "web.sock"

    def start_web(self) -> None:
        multiproc = self.installation.directory / f"metrics-edge-{uuid.uuid4().hex}"
        multiproc.mkdir()
        self.web = self.installation.spawn(
            "edge.log", str(BIN / "gunicorn"), "--config", "python:face_pipeline.web.gunicorn_conf",
            "--bind", f"unix:{self.socket}", "face_pipeline.web:create_app()",
            PROMETHEUS_MULTIPROC_DIR=str(multiproc), FACE_ACCEL_REDIRECT="true",
            FACE_ORIGINALS_DIR=str(self.nginx.directory / "originals"),
            FACE_REQUEST_MAX_BYTES=str(REQUEST_BYTES),
        )  # fmt: skip
        wait_until(lambda: self.get("/health/live").ok, 60, "the service behind nginx")

    def stop_web(self) -> None:
        assert self.web
        self.installation.end(self.web)

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.request("GET", path, **options)

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(
            method, self.url + path, verify=False, allow_redirects=False, timeout=60, **options
        )

    def connect(self, source: str = "127.0.0.1") -> ssl.SSLSocket:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = socket.create_connection(
            ("127.0.0.1", self.nginx.port), timeout=30, source_address=(source, 0)
        )
        return context.wrap_socket(plain, server_hostname="localhost")

    def asked_as(
        self, host: str, path: str, *headers: str, source: str = "127.0.0.1", port: int | None = None
    ) -> Answer:
        """The answer to a GET that names `host` as the server it wants; `port`: of plain HTTP."""
        head = "\r\n".join((f"GET {path} HTTP/1.1", f"Host: {host}", *headers, "", "")).encode()
        connection = socket.create_connection(("127.0.0.1", port), 30) if port else self.connect(source)
        with connection:
            connection.sendall(head)
            return read_answer(connection)

    def send(self, head: str, *headers: str, port: int | None = None) -> Answer:
        """Send a head and nothing after it; the answer must come all the same."""
        lines = "\r\n".join((head, "Host: localhost", *headers, "", "")).encode("latin1")
        connection = socket.create_connection(("127.0.0.1", port), 30) if port else self.connect()
        with connection:
            connection.sendall(lines)
            return read_answer(connection)

    def http2(self, count: int, method: str, path: str, *headers: str, body: Path) -> set[int]:
        """The statuses of `count` requests over HTTP/2, each on a connection of its own."""
        one = ["--request", method, "--data-binary", f"@{body}", "--output", "/dev/null"]
        shown = "%{http_version} %{http_code}"
        arguments = ["curl", "--silent", "--insecure", "--http2", "--write-out", shown]
        for header in headers:
            one += ["--header", header]
        seen = set()
        for _ in range(count):
            done = subprocess.run(
                [*arguments, *one, self.url + path], capture_output=True, text=True, check=False
            )
            version, status = done.stdout.split()
            assert version == "2", done.stdout
            seen.add(int(status))
        return seen


def read_answer(connection: socket.socket) -> Answer:
    with connection.makefile("rb") as stream:
        status = int(stream.readline().split()[1])
        headers = {}
        while line := stream.readline().strip().decode("latin1"):
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = stream.read(int(headers.get("content-length", "0")))
    return Answer(status, headers, body.decode())


@pytest.fixture(scope="module")
def edge(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    directory = tmp_path_factory.mktemp("edge")
    http_port = free_port()
    site = render(
        directory, face_flower_enabled=False,
        face_ports={"http": http_port, "https": "{port}", "flower": free_port()},
        face_current=str(directory), face_config_dir="{directory}", face_tls_dir="{directory}",
        face_web_socket="{directory}/web.sock", face_originals_dir="{directory}/originals",
        face_request_max_bytes=REQUEST_BYTES, face_hsts=True, nginx_requests_per_second=1,
        nginx_requests_burst=BURST, nginx_connections_per_address=CONNECTIONS,
    )["face-pipeline.conf"]  # fmt: skip
    nginx = Nginx(f"events {{}} http {{ {site.replace('/var/log/nginx', '{directory}')} }}")
    (nginx.directory / "originals").mkdir()
    subprocess.run(
        [sys.executable, ROLES / "certificates/files/make_certificate.py", directory / "tls", "localhost"],
        check=True,
    )
    tls = directory / "tls"
    nginx.write("server.pem", (tls / "server.key").read_text() + (tls / "server.crt").read_text())
    made = Edge(installation, nginx, http_port)
    with nginx:
        made.start_web()
        yield made
        made.stop_web()


@pytest.fixture(scope="module")
def reader(installation: Installation) -> str:
    made = installation.run("keys", "create", "--name", f"edge-{uuid.uuid4()}", "--scopes", "read")
    return made.stdout.strip()


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("body") / "body"
    path.write_bytes(b"x" * LARGE)
    return path


def _signed_in(edge: Edge) -> str:
    answer = edge.request("POST", "/session", json={"api_key": ADMIN_KEY})
    assert answer.status_code == 200
    return f"Cookie: face_session={answer.cookies['face_session']}"


def test_a_refused_upload_is_answered_before_its_body(edge: Edge, reader: str) -> None:
    length = f"Content-Length: {REQUEST_BYTES}"
    for head, headers, status, code in (
        (f"POST {PHOTOS}", [], 401, "api_key_missing"),
        (f"POST {PHOTOS}", ["Authorization: Bearer fp_wrong"], 401, "api_key_invalid"),
        (f"POST {PHOTOS}?person=a", ["X-API-Key: fp_wrong"], 401, "api_key_invalid"),
        (f"POST {PHOTOS}", [f"X-API-Key: {reader}"], 403, "scope_missing"),
        (f"POST {PHOTOS}", [_signed_in(edge)], 403, "csrf_token"),
        (f"GET {PHOTOS}", [], 401, "api_key_missing"),
        (f"PUT {PHOTOS}", [KEY], 405, "method_not_allowed"),
        ("POST /api/v1/nothing", [KEY], 404, "not_found"),
        ("POST /api//v1/photos", [KEY], 404, "not_found"),
        ("POST //api/v1/photos", [], 401, "api_key_missing"),
        ("POST /api/v1/search", [], 401, "api_key_missing"),
        ("POST /%61pi/v1/search", [], 401, "api_key_missing"),
        ("POST /api/v1/photos/%00", [KEY], 400, "bad_request"),
        ("POST /api/", [], 404, "not_found"),
    ):
        for expect in ([], ["Expect: 100-continue"]):
            answer = edge.send(f"{head} HTTP/1.1", length, *headers, *expect)
            assert (answer.status, answer.error["code"]) == (status, code), (head, headers, expect)
            assert ("allow" in answer.headers) == (status == 405)
    answer = edge.send(f"POST {PHOTOS} HTTP/1.1", length, "X-Request-ID: refuse-me-98765")
    assert json.loads(answer.body)["request_id"] == "refuse-me-98765"
    chunked = edge.send(f"POST {PHOTOS} HTTP/1.1", "Transfer-Encoding: chunked")
    assert chunked.error["code"] == "api_key_missing"


def test_a_welcome_body_is_asked_for(edge: Edge) -> None:
    with edge.connect() as connection:
        head = f"POST {PHOTOS} HTTP/1.1\r\nHost: localhost\r\n{KEY}\r\nContent-Length: 4"
        connection.sendall(f"{head}\r\nExpect: 100-continue\r\n\r\n".encode())
        assert read_answer(connection).status == 100
        connection.sendall(b"none")
        assert read_answer(connection).error["code"] == "photos_missing"


def test_a_refusal_reaches_a_client_that_sends_a_large_body_over_http2(edge: Edge, body: Path) -> None:
    if not shutil.which("curl"):
        pytest.skip("needs curl, which is not on this machine")
    assert edge.http2(40, "POST", PHOTOS, body=body) == {401}
    assert edge.http2(40, "POST", "/api/v1/nothing", KEY, body=body) == {404}
    assert edge.http2(40, "PUT", PHOTOS, KEY, body=body) == {405}
    assert edge.http2(40, "POST", PHOTOS, KEY, body=body) == {400}
    assert edge.http2(10, "POST", "/", body=body) == {413}


def test_the_service_reads_a_body_to_its_end_before_it_hangs_up(edge: Edge) -> None:
    for path, status in (("/", 405), ("/nothing", 404), (PHOTOS, 401)):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(edge.socket))
            head = f"POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {LARGE}\r\n\r\n"
            connection.sendall(head.encode() + b"x" * LARGE)
            assert read_answer(connection).status == status


def test_an_upload_and_a_page_still_come_through(edge: Edge) -> None:
    files = {"photos": ("a.jpg", astronaut_jpeg(3))}
    assert edge.request("POST", PHOTOS, files=files, headers={"X-API-Key": ADMIN_KEY}).status_code == 202
    assert edge.get("/sign-in").status_code == 200
    assert edge.request("OPTIONS", PHOTOS).status_code == 200
    signed_in = edge.request("POST", "/session", json={"api_key": ADMIN_KEY}).cookies
    page = edge.get("/", cookies=signed_in)
    (token,) = re.findall(r'name="csrf-token" content="([^"]+)"', page.text)
    sent = edge.request("POST", PHOTOS, files=files, headers={"X-CSRF-Token": token}, cookies=signed_in)
    assert sent.status_code == 202
    large = {"photo": ("a.jpg", b"no photo" * 50_000)}
    searched = edge.request("POST", "/api/v1/search", files=large, headers={"X-API-Key": ADMIN_KEY})
    assert searched.json()["error"]["code"] == "unsupported_type", "its body was taken and looked at"
    # From outside there is no gate to ask.
    assert edge.get("/_gate", headers={"X-API-Key": ADMIN_KEY}).status_code == 404


def test_what_is_text_is_sent_small_and_a_change_by_its_tag_still_works(edge: Edge) -> None:
    key = {"X-API-Key": ADMIN_KEY}
    files = ("css/base.css", "lib/api.js", "icons.svg")
    for path in (*map(assets.address, files), "/openapi.json"):
        answer = edge.get(path, headers=key)
        assert (answer.status_code, answer.headers.get("Content-Encoding")) == (200, "gzip"), path
        assert "Accept-Encoding" in answer.headers["Vary"]
        assert "Content-Encoding" not in edge.get(path, headers={"Accept-Encoding": "identity"}).headers
    session = edge.request("POST", "/session", json={"api_key": ADMIN_KEY})
    assert "Content-Encoding" not in session.headers, "it holds the session's secret"
    new = {"name": "Sent small", "metadata": {"text": "many words " * 200}}
    person = edge.request("POST", "/api/v1/persons", json=new, headers=key)
    path = f"/api/v1/persons/{person.json()['id']}"
    seen = edge.get(path, headers=key)
    assert (seen.headers["Content-Encoding"], seen.headers["ETag"][:2]) == ("gzip", "W/")
    change = {"json": {"metadata": {}}, "headers": {**key, "If-Match": seen.headers["ETag"]}}
    assert edge.request("PATCH", path, **change).status_code == 200
    assert edge.request("PATCH", path, **change).status_code == 412


def test_the_api_pages_come_through_without_a_key(edge: Edge) -> None:
    for path in ("/docs", "/docs/", "/docs/persons", "/docs?q=undo", "/docs/static/docs.css"):
        answer = edge.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    assert (
        edge.get(
            "/docs/persons", headers={"If-None-Match": edge.get("/docs/persons").headers["ETag"]}
        ).status_code
        == 304
    )
    assert edge.request("POST", "/docs").status_code == 405


ERRORS = (
    ("GET /api/v1/photos", ["Transfer-Encoding: lost"], 501, "not_implemented"),
    ("GET /api/v1/photos", ["Content-Length: many"], 400, "bad_request"),
    ("GET /api/v1/photos", ["Host: localhost"], 400, "bad_request"),
    ("GET /api/v1/../../..", [], 400, "bad_request"),
    ("NO-METHOD\x01 /api/v1/photos", [], 400, "bad_request"),
    ("TRACE /api/v1/photos", [], 405, "method_not_allowed"),
    (f"GET /api/v1/photos?a={'x' * 9000}", [], 414, "uri_too_long"),
    ("GET /api/v1/photos", [f"X-Long: {'x' * 9000}"], 431, "headers_too_large"),
    ("POST /api/v1/photos", [f"Content-Length: {REQUEST_BYTES + 1}"], 413, "request_too_large"),
    ("POST /session", ["Content-Length: 70000"], 413, "request_too_large"),
)


@pytest.mark.parametrize(("head", "headers", "status", "code"), ERRORS)
def test_what_nginx_refuses_itself_has_the_envelope(
    edge: Edge, head: str, headers: list[str], status: int, code: str
) -> None:
    answer = edge.send(f"{head} HTTP/1.1", *headers)
    assert (answer.status, answer.error["code"]) == (status, code)
    assert "nginx/" not in answer.body + answer.headers["server"]


def test_requests_that_are_not_http_have_the_envelope_too(edge: Edge) -> None:
    for head, status in (("GET /api/v1/photos HTTP/3.7", 505), ("hello", 400), ("GET  HTTP/1.1", 400)):
        for port in (None, edge.http_port):
            answer = edge.send(head, port=port)
            assert answer.status == status
            assert answer.error["code"]
    plain = edge.send("GET /api/v1/photos HTTP/1.1", port=edge.nginx.port)
    assert (plain.status, "https://" in plain.error["message"]) == (400, True)


def test_a_long_address_reaches_the_service(edge: Edge) -> None:
    for length in (4100, 8000, 8100):
        answer = edge.get(f"{PHOTOS}?person={'x' * length}", headers={"X-API-Key": ADMIN_KEY})
        assert answer.status_code == 200, answer.text
    many = {f"X-Header-{number}": "x" for number in range(300)}
    assert edge.get(PHOTOS, headers={**many, "X-API-Key": ADMIN_KEY}).status_code == 200


def test_what_the_server_of_the_service_refuses_itself_has_the_envelope(edge: Edge) -> None:
    for head, status, code in (
        ("GET /api/v1/photos HTTP/1.1\r\nHost: a\r\nBad Header: x", 400, "bad_request"),
        ("GET /api/v1/photos", 400, "bad_request"),
        ("GET /api/v1/photos HTTP/1.1\r\nTransfer-Encoding: lost", 501, "not_implemented"),
        ("GET /api/v1/photos HTTP/1.1\r\n" + "A: x\r\n" * 9000 + "B: x", 431, "headers_too_large"),
    ):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(edge.socket))
            connection.sendall(f"{head}\r\n\r\n".encode())
            answer = read_answer(connection)
        assert (answer.status, answer.error["code"]) == (status, code), answer


def test_a_browser_gets_a_page_and_a_program_the_envelope(edge: Edge) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    for method, path, status, options in (
        ("GET", "/nothing-here", 404, {}),
        ("POST", "/", 405, {}),
        ("POST", "/", 413, {"data": b"x" * 70_000}),
        ("TRACE", "/", 405, {}),
    ):
        page = edge.request(method, path, headers=browser, **options)
        assert page.status_code == status
        assert page.headers["Content-Type"].startswith("text/html"), (path, page.text)
        assert "<h1>" in page.text
        assert page.headers["X-Request-ID"] in page.text
        assert "nginx" not in page.text.lower()
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        for style in re.findall(r"<style>(.*?)</style>", page.text):
            assert f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'" in policy
        told = edge.request(method, path, **options)
        assert (told.status_code, told.headers["Content-Type"]) == (status, "application/json")
    # A program's calls stay a program's, wherever they come from.
    assert edge.get("/api/v1/nothing", headers=browser).json()["error"]["code"] == "not_found"


def test_while_the_service_is_away_the_api_says_when_to_try_again(edge: Edge) -> None:
    edge.stop_web()
    try:
        for method, path in (("GET", PHOTOS), ("POST", PHOTOS), ("GET", "/health/live")):
            answer = edge.request(method, path, headers={"X-API-Key": ADMIN_KEY})
            assert answer.json()["error"]["code"] == "service_unavailable"
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        page = edge.get("/", headers={"Accept": "text/html"})
        assert (page.status_code, "<h1>Not available" in page.text) == (503, True)
    finally:
        edge.start_web()


def test_while_the_database_is_away_a_refusal_says_so(edge: Edge) -> None:
    edge.installation.postgres.stop()
    try:
        answer = edge.send(f"POST {PHOTOS} HTTP/1.1", KEY, f"Content-Length: {REQUEST_BYTES}")
        assert (answer.status, answer.error["code"]) == (503, "database_unavailable")
        assert int(answer.headers["retry-after"]) > 0
    finally:
        edge.installation.postgres.start()
    wait_until(lambda: edge.get("/health/ready").ok, 30, "the service to be ready again")


def test_a_photo_keeps_its_safety_headers_through_nginx(edge: Edge, clean: Installation) -> None:
    key = {"X-API-Key": ADMIN_KEY}
    files = {"photos": ('évil ".html', astronaut_jpeg(4))}
    photo_id = edge.request("POST", PHOTOS, files=files, headers=key).json()["photos"][0]["id"]
    # On a host nginx is in the group that may read them.
    for original in (edge.nginx.directory / "originals").rglob("*"):
        original.chmod(0o755)
    path = f"{PHOTOS}/{photo_id}/image"
    image = edge.get(path, headers={**key, "X-Request-ID": "show-me-1234567"})
    assert (image.status_code, image.content) == (200, astronaut_jpeg(4))
    assert image.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert image.headers["X-Content-Type-Options"] == "nosniff"
    assert image.headers["X-Request-ID"] == "show-me-1234567"
    assert image.headers["X-Frame-Options"] == "DENY"
    assert image.headers["Cache-Control"].startswith("private")
    assert image.headers["Content-Type"] == "image/jpeg"
    shown = image.headers["Content-Disposition"]
    assert shown.startswith("inline")
    assert shown.endswith(".html.jpg")
    assert shown.isascii()
    behind = edge.get(path, headers={**key, "Range": "bytes=99999999-"})
    assert (behind.status_code, behind.json()["error"]["code"]) == (416, "range_not_satisfiable")
    newer = edge.get(path, headers={**key, "If-Match": '"another"'})
    assert newer.json()["error"]["code"] == "precondition_failed"
    assert edge.get(f"{PHOTOS}/{photo_id}", headers=key).headers["Cache-Control"] == "no-store"


def test_a_refusal_at_the_gate_is_counted_once_and_a_passage_not_twice(edge: Edge) -> None:
    from tests.app.test_telemetry import values

    def counted() -> dict[str, float]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(edge.socket))
            connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            with connection.makefile("rb") as stream:
                return values(stream.read().decode().partition("\r\n\r\n")[2])

    before = counted()
    edge.send(f"POST {PHOTOS} HTTP/1.1", "Content-Length: 5000")
    edge.send(f"PUT {PHOTOS} HTTP/1.1", KEY, "Content-Length: 5000")
    edge.get(PHOTOS, headers={"X-API-Key": ADMIN_KEY})
    after = counted()
    grown = {
        name: after[name] - before.get(name, 0)
        for name in after
        if name.startswith("face_recognition_http_requests_total") and "metrics" not in name
    }
    assert {name.partition("{")[2]: count for name, count in grown.items() if count} == {
        "endpoint=api.photos.upload,method=POST,status=401}": 1,
        "endpoint=none,method=PUT,status=405}": 1,
        "endpoint=api.photos.list_photos,method=GET,status=200}": 1,
    }


def test_a_key_that_asked_too_often_is_refused_before_its_body(edge: Edge) -> None:
    wish = {"name": f"often-{uuid.uuid4()}", "scopes": ["write"], "requests_per_minute": 2}
    made = edge.request("POST", "/api/v1/keys", json=wish, headers={"X-API-Key": ADMIN_KEY}).json()
    key = {"X-API-Key": made["api_key"]}
    for number in range(2):
        files = {"photos": ("a.jpg", astronaut_jpeg(50 + number))}
        assert edge.request("POST", PHOTOS, files=files, headers=key).status_code == 202, "counted once"
    length = f"Content-Length: {REQUEST_BYTES}"
    for expect in ([], ["Expect: 100-continue"]):
        answer = edge.send(f"POST {PHOTOS} HTTP/1.1", f"X-API-Key: {made['api_key']}", length, *expect)
        assert (answer.status, answer.error["code"]) == (429, "too_many_requests")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert answer.headers["ratelimit-policy"] == '"requests";q=2;w=60'
        assert answer.headers["ratelimit"].startswith('"requests";r=0;t=')


def test_who_was_refused_is_told_with_the_address_that_nginx_saw(edge: Edge) -> None:
    key, headers = {"X-API-Key": ADMIN_KEY}, [f"X-API-Key: fp_{uuid.uuid4().hex}", "X-Real-IP: 192.0.2.1"]
    request_id = f"told-{uuid.uuid4().hex}"
    for method, length in (("POST", "5000"), ("GET", "0")):
        answer = edge.send(
            f"{method} {PHOTOS} HTTP/1.1",
            f"Content-Length: {length}",
            f"X-Request-ID: {request_id}",
            *headers,
        )
        assert answer.error["code"] == "api_key_invalid"
    entries = edge.get("/api/v1/audit", params={"action": "access."}, headers=key).json()["entries"]
    told = [each for each in entries if each["request_id"] == request_id]
    assert [(each["actor_name"], each["address"]) for each in told] == [("unknown", "127.0.0.1")] * 2
    assert {each["details"]["call"] for each in told} == {"api.photos.upload", "api.photos.list_photos"}


@pytest.mark.campaign("the other tests of this file send other clients the same way")
def test_clients_of_compreface_come_through_and_are_refused_before_their_body(edge: Edge) -> None:
    made = edge.installation.run(
        "keys", "create", "--name", f"cf-{uuid.uuid4()}", "--compreface", "recognition", "--collection", "cf"
    )
    key = made.stdout.strip()
    path, origin = "/api/v1/recognition/recognize", {"Origin": "https://elsewhere.example"}
    preflight = edge.request("OPTIONS", path, headers=origin)
    assert (preflight.status_code, preflight.headers["Access-Control-Allow-Origin"]) == (204, "*")
    for head, headers, status, number in (
        (f"POST {path}", [], 400, 20),
        (f"POST {path}", ["x-api-key: abc"], 400, 26),
        (f"POST {path}", [f"x-api-key: {uuid.uuid4()}"], 404, 10),
        ("POST /api/v1/detection/detect", [f"x-api-key: {key}"], 404, 10),
        ("POST /api/v1/recognition/none", [f"x-api-key: {key}"], 404, 0),
    ):
        # Without a byte of the body.
        answer = edge.send(f"{head} HTTP/1.1", f"Content-Length: {LARGE}", *headers)
        told = json.loads(answer.body)
        assert (answer.status, told["code"], set(told)) == (status, number, {"message", "code"}), head
        assert answer.headers["access-control-allow-origin"] == "*"
    sent = {"file": ("a.jpg", astronaut_jpeg(5))}
    headers = {"x-api-key": key, **origin}
    answer = edge.request("POST", path, files=sent, headers=headers)
    assert answer.json()["code"] == 41, "its body was taken; there is no worker here"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    large = json.dumps({"file": base64.b64encode(b"x" * LARGE).decode()})
    answer = edge.request("POST", path, data=large, headers={**headers, "Content-Type": "application/json"})
    assert answer.json()["code"] == 28
    # What our own pages read stays theirs.
    ours = edge.get(PHOTOS, headers={"X-API-Key": ADMIN_KEY, **origin})
    assert ours.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in ours.headers
    edge.request("DELETE", "/api/v1/recognition/subjects/Maryam", headers=headers)
    edge.get(f"/api/v1/static/{key}/images/{uuid.uuid4()}")
    log = (edge.nginx.directory / "face-pipeline.log").read_text()
    assert "/api/v1/recognition/subjects/-" in log
    assert not [each for each in ("Maryam", key) if each in log]


OWN_NAMES = ("localhost", "LOCALHOST", "faces.example.org", "127.0.0.1", "[2001:db8::7]", "localhost:8443")
OTHER_NAMES = (
    "elsewhere.example", "localhost.elsewhere.example", "elsewhere.example:443", "127.0.0.2", "[::2]",
)  # fmt: skip


def test_the_server_goes_by_its_own_names_alone(edge: Edge) -> None:
    for host in OWN_NAMES:
        assert edge.asked_as(host, "/health/live").status == 200, host
        there = edge.asked_as(host, "/a?b=c", port=edge.http_port)
        assert (there.status, there.headers["location"].endswith("/a?b=c")) == (301, True), host
    for host in OTHER_NAMES:
        for path in ("/health/live", PHOTOS, "/", "/_error/none", "/metrics"):
            for port in (None, edge.http_port):
                answer = edge.asked_as(host, path, port=port)
                assert (answer.status, answer.error["code"]) == (421, "misdirected_request"), (host, path)
                assert "location" not in answer.headers
        # What nginx goes to by itself for an error leads nowhere from outside.
        assert edge.asked_as(host, "/_error/421.json").error["code"] == "not_found"
    page = edge.asked_as("elsewhere.example", "/", "Accept: text/html")
    assert (page.status, "<h1>That is not a name of this server" in page.body) == (421, True)


def test_a_client_that_asks_too_much_is_told_when_to_ask_again_and_others_go_on(edge: Edge) -> None:
    """127.0.0.1 is a host of our own, which is not counted; the rest of the network are others."""
    for path, headers, code in (
        ("/openapi.json", (), "too_many_requests"),
        (PHOTOS, (KEY,), "too_many_requests"),
    ):
        source = f"127.0.0.{7 + len(headers)}"

        def ask(_: int, path: str = path, headers: tuple[str, ...] = headers, source: str = source) -> Answer:
            return edge.asked_as("localhost", path, *headers, source=source)

        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(ask, range(90)))
        refused = [answer for answer in answers if answer.status == 429]
        assert {answer.status for answer in answers} == {200, 429}
        assert refused[0].error["code"] == code
        assert refused[0].headers["retry-after"] == "5"
        assert len(answers) - len(refused) >= BURST
    assert edge.asked_as("localhost", "/openapi.json", source="127.0.0.9").status == 200
    assert edge.get("/openapi.json").status_code == 200
    page = edge.asked_as("localhost", "/", "Accept: text/html", source="127.0.0.7")
    assert page.status in (302, 429)
    log = (edge.nginx.directory / "face-pipeline.log").read_text().splitlines()
    told = [line for line in log if '"status":429' in line and '"client_address":"127.0.0.7"' in line]
    assert len(told) <= 10, "what was refused does not fill the log"


def test_signing_in_is_slowed_and_ends(edge: Edge) -> None:
    def sign_in(_: int) -> Answer:
        body = b'{"api_key": ""}'
        with edge.connect("127.0.0.11") as connection:
            head = f"POST /session HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}"
            connection.sendall(f"{head}\r\nContent-Type: application/json\r\n\r\n".encode() + body)
            return read_answer(connection)

    with ThreadPoolExecutor(40) as pool:
        statuses = [answer.status for answer in pool.map(sign_in, range(40))]
    assert set(statuses) == {400, 429}
    # Five at once, twenty that wait, and those whose turn it became meanwhile.
    assert 21 <= statuses.count(400) <= 30
    # Other pages do not wait for it, nor does the look at who is signed in.
    session = edge.asked_as("localhost", "/session", source="127.0.0.11")
    assert session.error["code"] == "api_key_missing"


def test_a_client_that_holds_too_many_requests_at_once_is_refused(edge: Edge) -> None:
    """Each is held by a body that does not come."""
    held = []
    try:
        for _ in range(CONNECTIONS):
            connection = edge.connect("127.0.0.12")
            held.append(connection)
            connection.sendall(
                f"POST {PHOTOS} HTTP/1.1\r\nHost: localhost\r\n{KEY}\r\nContent-Length: 9\r\n\r\n".encode()
            )

        def refused() -> bool:
            return edge.asked_as("localhost", "/health/live", source="127.0.0.12").status == 429

        wait_until(refused, 30, "the limit to be reached")
        assert edge.asked_as("localhost", "/health/live", source="127.0.0.13").status == 200
    finally:
        for connection in held:
            connection.close()


SAFETY = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "x-frame-options": "DENY",
    "cross-origin-resource-policy": "same-origin",
    "strict-transport-security": "max-age=31536000",
}
KEPT_HEADERS = ("content-security-policy", "x-request-id")


def test_every_answer_has_the_safety_headers(edge: Edge, clean: Installation) -> None:
    key = {"X-API-Key": ADMIN_KEY}
    files = {"photos": ("a.jpg", astronaut_jpeg(6))}
    photo = edge.request("POST", PHOTOS, files=files, headers=key).json()["photos"][0]["id"]
    for original in (edge.nginx.directory / "originals").rglob("*"):
        original.chmod(0o755)
    asked = [
        ("GET", path, status)
        for path, status in (
            ("/", 200), ("/sign-in", 302), ("/docs", 200), ("/openapi.json", 200), ("/health/live", 200),
            (assets.address("css/base.css"), 200), ("/nothing", 404), (PHOTOS, 200),
                (f"{PHOTOS}/{photo}", 200),
            (f"{PHOTOS}/{photo}/image", 200), (f"{PHOTOS}/{photo}/image?size=200", 200),
            ("/api/v1/persons", 200), ("/api/v1/audit", 200), ("/api/v1/keys", 200), ("/api/v1/nothing", 404),
        )
    ]  # fmt: skip
    asked += [("TRACE", "/", 405), ("POST", "/", 405), ("GET", "/a" + "b" * 9000, 414)]
    for method, path, status in asked:
        answer = edge.request(method, path, headers=key)
        assert answer.status_code == status, (path, answer.text[:200])
        found = {name.lower(): value for name, value in answer.headers.items()}
        assert SAFETY.items() <= found.items(), (method, path, set(SAFETY.items()) - set(found.items()))
        assert all(found.get(name) for name in KEPT_HEADERS), (method, path)
        # Twice is as bad as not at all: browsers then take neither.
        for name in (*SAFETY, *KEPT_HEADERS):
            assert "," not in found[name], (path, name, found[name])
        if path.startswith("/api/") and "json" in found["content-type"]:
            assert found["cache-control"] == "no-store", path
