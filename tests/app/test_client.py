"""The typed client and the smoke test, against a whole installation and its nginx."""

from __future__ import annotations

import hashlib
import io
import json
import os
import socketserver
import subprocess
import sys
import threading
import uuid
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from face_pipeline.client import (
    Client,
    File,
    FileUnreadable,
    Misconfigured,
    NotAnAnswer,
    Refused,
    Retries,
    Unfinished,
    Unreachable,
    base,
)
from face_pipeline.ops import sample
from face_pipeline.parts import Parts
from PIL import Image

from tests.app import stock
from tests.app.test_edge import Edge, edge  # noqa: F401 (a fixture)
from tests.installation import ADMIN_KEY, App, Installation
from tests.photos import ROOT, astronaut_jpeg
from tests.services.process import free_port

# Of the fixture, which looks whether nginx answers.
pytestmark = [
    pytest.mark.one_worker,
    pytest.mark.filterwarnings("ignore:Unverified HTTPS request"),
]


def client_of(app: App) -> Client:
    return Client(app.url, ADMIN_KEY)


def test_a_photo_goes_in_and_its_person_is_found(live_app: App) -> None:
    client = client_of(live_app)
    assert client.ready().ready
    taken = client.upload({"é.jpg": sample.first(), "b.txt": b"no"}, collection="c", person=sample.PERSON)
    assert [(each.filename, each.duplicate) for each in taken.photos] == [("é.jpg", False)]
    assert [(each.filename, each.code) for each in taken.rejected] == [("b.txt", "unsupported_type")]
    batch = client.wait_finished(taken.batch_id)
    assert (batch.total, batch.states["done"], batch.collection) == (1, 1, "c")
    photo = client.photo(taken.photos[0].id)
    assert photo.person is not None
    assert photo.person.name == sample.PERSON
    (face,) = photo.faces
    found = client.search(sample.second(), collection="c", limit=3, threshold=0.3, group_by="person")
    (match,) = found.faces[0].matches
    assert (match.person_name, match.face_id, match.face_count) == (sample.PERSON, face.id, 1)
    assert found.threshold == pytest.approx(0.3)
    assert client.image(photo.id) == sample.first()
    with Image.open(io.BytesIO(client.crop(face.id, 64))) as crop:
        assert max(crop.size) == 64
    assert "face_recognition_files_uploaded_total" in client.metrics()


def test_photos_are_listed_over_many_pages(web_app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of(web_app)
    monkeypatch.setattr(base, "PAGE", 3)
    client.upload({f"{n}.jpg": astronaut_jpeg(n + 1) for n in range(7)}, collection="many")
    names = sorted(photo.filename for photo in client.photos(collection="many"))
    assert names == [f"{n}.jpg" for n in range(7)]
    assert list(client.photos(collection="many", state="failed")) == []


def test_an_error_has_its_code_and_the_requests_id(web_app: App) -> None:
    with pytest.raises(Refused) as caught:
        client_of(web_app).photo(uuid.uuid4())
    assert (caught.value.status, caught.value.code, caught.value.retry_after) == (
        404,
        "photo_not_found",
        None,
    )
    assert caught.value.request_id
    assert caught.value.request_id in str(caught.value)
    with pytest.raises(Refused, match=r"401 api_key_invalid"):
        Client(web_app.url, "fp_wrong").batch(uuid.uuid4())
    with pytest.raises(Refused) as refused:
        client_of(web_app).upload({"a.txt": b"no"})
    assert refused.value.details["rejected"][0]["filename"] == "a.txt"


def test_who_waits_too_long_is_told_how_far_it_is(web_app: App) -> None:
    client = client_of(web_app)
    taken = client.upload({"a.jpg": astronaut_jpeg()})
    with pytest.raises(Unfinished, match="is not finished after 0 s"):
        client.wait_finished(taken.batch_id, 0)
    with pytest.raises(Unfinished, match=r"the photo is still (received|queued) after 0 s"):
        client.wait_for_photo(taken.photos[0].id, 0)


def test_no_answer_is_an_error_of_its_own() -> None:
    with pytest.raises(Unreachable, match=r"http://127.0.0.1:\d+ cannot be reached"):
        Client(f"http://127.0.0.1:{free_port()}", "key").ready()


class Busy(socketserver.ThreadingTCPServer):
    """A service that says 503 `refusals` times, and when to come again; or hangs up without a word.

    keys: the Idempotency-Keys of all calls. taken: bytes of all bodies.
    """

    def __init__(self, retry_after: str | None, refusals: int, *, hangs_up: bool = False) -> None:
        server = self
        self.asked = 0
        self.taken = 0
        self.keys: list[str | None] = []

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                left = int(self.headers.get("Content-Length") or 0)
                while left:
                    left -= len(data := self.rfile.read(min(left, 65536)))
                    server.taken += len(data)
                server.asked += 1
                server.keys.append(self.headers.get("Idempotency-Key"))
                good = server.asked > refusals
                if hangs_up and not good:
                    return
                self.send_response(200 if good else 503)
                if retry_after is not None:
                    self.send_header("Retry-After", retry_after)
                self.end_headers()
                error = {"code": "database_busy", "message": "later", "details": {}}
                states = {
                    "id": str(uuid.uuid4()),
                    "collection": "c",
                    "total": 1,
                    "states": {},
                    "finished": True,
                }
                self.wfile.write(
                    json.dumps(states if good else {"error": error, "request_id": "r1"}).encode()
                )

            do_GET = do_POST = do_DELETE = answer

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    def __enter__(self) -> Busy:
        threading.Thread(target=self.serve_forever).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def client(self) -> Client:
        return Client(self.url, "key")


def test_a_call_that_changes_nothing_is_made_again_when_the_service_says_so() -> None:
    with Busy("0", 2) as busy:
        assert busy.client.batch(uuid.uuid4()).finished
        assert busy.asked == 3
    with Busy("0", 99) as busy:
        with pytest.raises(Refused, match="later"):
            busy.client.search(b"photo")
        assert busy.asked == 4


def upload_answer(client: Client) -> None:
    """Of `Busy`, which knows no photos: it is asked until it answers, and its answer is none."""
    with pytest.raises(NotAnAnswer):
        client.upload({"a.jpg": b"photo"})


@pytest.mark.parametrize("hangs_up", [False, True])
def test_an_upload_is_sent_again_under_the_same_key(hangs_up: bool) -> None:
    with Busy("0", 2, hangs_up=hangs_up) as busy:
        upload_answer(busy.client)
        upload_answer(busy.client)
    first, second, third, other = busy.keys
    assert first
    assert first == second == third
    assert other != first


@pytest.mark.parametrize("hangs_up", [False, True])
def test_of_several_addresses_the_next_is_asked_at_once_under_the_same_key(hangs_up: bool) -> None:
    paused: list[float] = []
    with Busy("3", 99, hangs_up=hangs_up) as away, Busy(None, 0) as well:
        urls = f"{away.url} {well.url}"
        client = Client(urls, "key", retries=Retries(pause=paused.append))
        upload_answer(client)
        upload_answer(client)
        assert (away.asked, well.asked, paused) == (1, 2, [])
        assert away.keys[0] == well.keys[0] != well.keys[1]
        assert client.url == away.url
        # Whether it was done is not known.
        with pytest.raises((Unreachable, NotAnAnswer, Refused)):
            Client(urls, "key", retries=Retries(pause=paused.append)).erase_person("p")
        assert away.asked == 2
    with Busy("3", 1) as one, Busy("3", 1) as other:
        upload_answer(Client(f"{one.url} {other.url}", "key", retries=Retries(pause=paused.append)))
        assert (one.asked, other.asked, paused) == (1, 2, [3.0])
    with pytest.raises(Misconfigured, match="for one URL"):
        Client("http://a http://b", "key", address="192.0.2.1")


def test_no_call_is_made_twice_that_must_not_be() -> None:
    for retry_after, call in (
        # Longer than anybody wants to be kept by a library.
        ("3600", lambda client: client.batch("b")),
        (None, lambda client: client.batch("b")),
        (None, lambda client: client.upload({"a.jpg": b"photo"})),
    ):
        with Busy(retry_after, 99) as busy:
            with pytest.raises(Refused) as caught:
                call(busy.client)
            assert busy.asked == 1
            assert (caught.value.code, caught.value.request_id) == ("database_busy", "r1")
            assert caught.value.retry_after == (None if retry_after is None else int(retry_after))
    # Whether it was done is not known: a second one might say that there is nothing to erase.
    with Busy(None, 99, hangs_up=True) as busy:
        with pytest.raises(Unreachable):
            busy.client.erase_person("p")
        assert busy.asked == 1


def test_who_is_patient_waits_for_a_service_that_restarts() -> None:
    pauses: list[float] = []
    with Busy("7", 6) as busy:
        client = Client(busy.url, "key", retries=Retries(patience=600, pause=pauses.append))
        assert client.batch("b").finished
    assert len(pauses) == 6
    assert min(pauses) >= 7


STREAMING = """
import sys, threading
from pathlib import Path
from face_pipeline.client import Client, NotAnAnswer
client = Client(sys.argv[1], "key")
client.ready
def peak():
    (line,) = [each for each in open("/proc/self/status") if each.startswith("VmHWM")]
    return int(line.split()[1]) // 1024
def send(path):
    try:
        client.upload({path.name: path})
    except NotAnAnswer:
        pass
before = peak()
threads = [threading.Thread(target=send, args=(Path(each),)) for each in sys.argv[2:]]
for each in threads: each.start()
for each in threads: each.join()
print(peak() - before)
"""


def test_large_files_are_sent_from_the_disk_and_never_held_in_memory(tmp_path: Path) -> None:
    size = 20 * 1024**2
    files = [tmp_path / f"{number}.jpg" for number in range(8)]
    for file in files:
        with file.open("wb") as stream:
            stream.truncate(size)
    with Busy(None, 0) as busy:
        done = subprocess.run(
            [sys.executable, "-c", STREAMING, busy.url, *map(str, files)],
            env={**os.environ, "PYTHONPATH": str(ROOT / "app")}, capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert busy.taken > len(files) * size
    # MB for eight threads and their connections; one of the files has 20.
    assert int(done.stdout) < 16


def test_any_name_of_a_file_arrives(web_app: App, tmp_path: Path) -> None:
    client = client_of(web_app)
    names = [
        'a"b.jpg',
        "line\r\n\r\nbreak.jpg",
        "100%22.jpg",
        "日本.jpg",
        os.fsdecode(b"caf\xe9.jpg"),
        "a;b=c.jpg",
    ]
    for number in range(len(names)):
        (tmp_path / f"{number}").write_bytes(astronaut_jpeg(number))
    taken = client.upload([(name, tmp_path / f"{number}") for number, name in enumerate(names)])
    assert [each.filename for each in taken.photos] == [
        'a"b.jpg', "line␍␊␍␊break.jpg", '100".jpg', "日本.jpg", "café.jpg", "a;b=c.jpg",
    ]  # fmt: skip
    assert [each.sha256 for each in taken.photos] == [
        hashlib.sha256(astronaut_jpeg(number)).hexdigest() for number in range(len(names))
    ]


def test_a_file_that_changes_or_is_gone_is_an_error_and_nothing_is_kept(web_app: App, tmp_path: Path) -> None:
    client = client_of(web_app)
    data = astronaut_jpeg()
    for size in (len(data) - 100, len(data) + 100):
        with pytest.raises(FileUnreadable, match=r"a\.jpg changed while it was sent"):
            client.upload({"a.jpg": File("a.jpg", size, lambda: io.BytesIO(data))})
    with pytest.raises(FileUnreadable, match="No such file"):
        client.upload({"a.jpg": tmp_path / "nowhere.jpg"})
    assert list(client.photos()) == []
    # The connection is none the worse for it.
    assert len(client.upload({"a.jpg": data}).photos) == 1


def test_a_program_finds_its_settings_in_the_environment(
    web_app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Misconfigured, match="FACE_URL"):
        Client.from_environment()
    monkeypatch.setenv("FACE_URL", web_app.url)
    with pytest.raises(Misconfigured, match="FACE_API_KEY_FILE"):
        Client.from_environment()
    (tmp_path / "key").write_text(f"{ADMIN_KEY}\n")
    monkeypatch.setenv("FACE_API_KEY_FILE", str(tmp_path / "key"))
    assert list(Client.from_environment().photos()) == []
    with pytest.raises(Misconfigured, match="the API key is none"):
        Client(web_app.url, "two words")


# Calls that came later: each is tried where the service has it


def test_a_face_is_given_and_taken_off(live_app: App) -> None:
    if "/api/v1/faces/{face_id}" not in live_app.get("/openapi.json").json()["paths"]:
        pytest.skip("the service tells nothing of one face yet")
    client = client_of(live_app)
    taken = client.upload({"a.jpg": sample.first()})
    client.wait_finished(taken.batch_id)
    (face,) = client.photo(taken.photos[0].id).faces
    given = client.give_face(face.id, "Anna")
    assert given.person is not None
    assert (given.person.name, given.photo_id, given.collection) == ("Anna", taken.photos[0].id, "default")
    assert [each.id for each in client.faces_of(given.person.id)] == [face.id]
    assert client.take_off_face(face.id).person is None
    assert client.face(face.id).person is None
    assert client.give_face(face.id, person_id=given.person.id).person == given.person


def test_faces_are_compared_and_embeddings_go_out_and_in(live_app: App) -> None:
    paths = live_app.get("/openapi.json").json()["paths"]
    if "/api/v1/verify" not in paths or "/api/v1/faces/{face_id}/embedding" not in paths:
        pytest.skip("the service neither verifies nor gives embeddings yet")
    client = client_of(live_app)
    taken = client.upload({"a.jpg": sample.first()}, person="Anna")
    client.wait_finished(taken.batch_id)
    photo = client.photo(taken.photos[0].id)
    (face,) = photo.faces
    assert face.person is not None
    assert client.verify(sample.first(), sample.second()).same
    told = client.verify(sample.second(), person_id=face.person.id, which="only")
    assert told.person is not None
    assert (told.same, told.person.name, told.person.face_id) == (True, "Anna", face.id)
    assert not client.verify(sample.second(), other_face_id=face.id, threshold=1.0).same
    found = client.detect(sample.second(), limit=1, min_face_size=20)
    assert len(found.faces) == 1
    embedding = client.embedding(face.id)
    assert len(embedding.embedding) == embedding.dimension
    (match,) = client.search_embedding(embedding.embedding, embedding.contract_id).faces[0].matches
    assert match.face_id == face.id
    assert client.search_face(face.id, limit=3).faces[0].matches == ()
    added = client.add_embeddings(face.person.id, embedding.contract_id, [embedding.embedding])
    assert client.verify_face(added.face_ids[0], face.id).same
    assert {each.face_id for each in client.embeddings("default")} == {face.id, *added.face_ids}
    several = client.search(sample.second(), collection=["default"], min_face_size=10, group_by="person")
    assert several.faces[0].matches[0].person_name == "Anna"


# The smoke test


@pytest.fixture
def behind(edge: Edge, live_app: App, tmp_path: Path) -> tuple[Edge, list[str]]:  # noqa: F811
    """An installation with a worker behind nginx, and the arguments with which it is tried."""
    trusted = tmp_path / "trusted.pem"
    certificate = (edge.nginx.directory / "server.pem").read_text().partition("-----BEGIN CERTIFICATE-----")
    trusted.write_text(certificate[1] + certificate[2])
    return edge, ["smoke", "--host", "localhost", "--port", str(edge.nginx.port), "--trusted", str(trusted)]


def test_the_smoke_test_passes_twice_and_leaves_one_photo(
    behind: tuple[Edge, list[str]], clean: Installation
) -> None:
    edge, arguments = behind  # noqa: F811
    for _ in range(2):
        done = clean.run(*arguments)
        assert (done.stdout, done.stderr) == ("", "")
    listed = edge.get("/api/v1/photos?collection=_verify", headers={"X-API-Key": ADMIN_KEY}).json()
    assert [photo["state"] for photo in listed["photos"]] == ["done"]


def test_the_smoke_test_says_what_is_wrong(behind: tuple[Edge, list[str]], clean: Installation) -> None:
    def wrong(*more: str) -> str:
        done = clean.run(*arguments, *more, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        return done.stderr

    _, arguments = behind
    assert "cannot be reached" in wrong("--host", "another.name")
    (clean.directory / "credentials/admin_api_key").write_text("fp_of_somebody_else")
    try:
        assert "(401 api_key_invalid, request " in wrong()
    finally:
        (clean.directory / "credentials/admin_api_key").write_text(ADMIN_KEY)
    assert "cannot be reached" in wrong("--port", str(free_port()))
    # It never finds out, for it puts in no photo.
    assert clean.run(*arguments, "--no-photo").stderr == ""


def test_what_another_pack_left_in_the_smoke_tests_collection_is_forgotten(
    behind: tuple[Edge, list[str]], clean: Installation, parts: Parts
) -> None:
    from face_pipeline.store.models import Collection

    with parts.database.transaction() as session:
        for name in ("_verify", "of_users"):
            session.add(Collection(name=name, contract_id="of-another-pack", dimension=128))
    done = clean.run(*behind[1])
    # That users have such a collection is worth a word, and no fault.
    assert "of_users" in done.stdout
    assert "_verify" not in done.stdout
    again: subprocess.CompletedProcess[str] = clean.run(*behind[1])
    assert again.stdout == done.stdout


# Events, hooks, keys, the audit


def test_a_limit_of_requests_a_minute_is_waited_for() -> None:
    """The service asks for a minute at most."""
    pauses: list[float] = []
    with Busy("60", 1) as busy:
        client = Client(busy.url, "key", retries=Retries(pause=pauses.append))
        assert client.batch("b").finished
    assert pauses == [60]


def test_a_key_with_a_limit_of_its_own_gets_through_in_the_end(web_app: App) -> None:
    """Against the service itself: what it says is what is waited, and then the call goes through."""
    admin = client_of(web_app)
    key = admin.create_key(f"slow {uuid.uuid4()}", ["read"], requests_per_minute=2)
    told: list[float] = []

    def pause(seconds: float) -> None:
        told.append(seconds)
        # Instead of a minute: a new one.
        web_app.installation.parts.scratch.flushdb()

    client = Client(web_app.url, key.api_key, retries=Retries(pause=pause))
    for _ in range(5):
        assert list(client.photos(collection="none")) == []
    assert len(told) == 2
    assert all(1 <= each <= 60 for each in told)


def test_events_are_read_from_the_first_or_the_newest(web_app: App) -> None:
    client, parts = client_of(web_app), web_app.installation.parts
    photo = stock.photo(parts, None)
    page = client.events()
    assert [(each.kind, each.photo_id) for each in page.events] == [
        ("photo.done", photo),
        ("face.unknown", photo),
    ]
    assert client.events(last=1).events == page.events[1:]
    assert client.events(after=page.next_cursor).events == ()
    assert client.events(last=0).events == ()


def test_whoever_follows_gets_all_that_happens_and_goes_on_where_they_were(web_app: App) -> None:
    client, parts = client_of(web_app), web_app.installation.parts
    stock.photo(parts, state="failed")
    put: list[uuid.UUID] = []

    def three(_: float) -> None:
        put.extend(stock.photo(parts, state="failed") for _ in range(3))

    following = client.follow(kind="photo.failed", pause=three)
    seen = [next(following).photo_id for _ in range(7)]
    # What was there before is not told.
    assert seen == put[:7]
    # The seventh begins a page, of which two are still to be read.
    again = client.follow(after=following.place, kind="photo.failed", pause=three)
    assert [next(again).photo_id for _ in range(3)] == put[6:9]
    assert [next(following).photo_id for _ in range(2)] == put[7:9]


def test_a_hook_is_made_changed_tried_and_removed(web_app: App) -> None:
    client = client_of(web_app)
    made = client.create_hook("https://events.example.org/in", kinds=["photo.done"], collections=["c"])
    assert made.secret is not None
    assert made.secret not in repr(made)
    assert (made.kinds, made.collections, made.enabled) == (("photo.done",), ("c",), True)
    assert [each.id for each in client.hooks()] == [made.id]
    changed = client.change_hook(made.id, collections=None, enabled=False)
    assert (changed.collections, changed.enabled, changed.secret) == (None, False, None)
    rotated = client.change_hook(made.id, rotate_secret=True).secret
    assert rotated is not None
    assert rotated != made.secret
    sent = client.test_hook(made.id)
    assert [(each.id, each.kind, each.state) for each in client.deliveries(made.id)] == [
        (sent.id, "test", "waiting")
    ]
    client.remove_hook(made.id)
    with pytest.raises(Refused, match="404 hook_not_found"):
        client.hook(made.id)


def test_a_key_is_made_changed_rotated_and_revoked_and_the_audit_tells_it(web_app: App) -> None:
    client, name = client_of(web_app), f"client {uuid.uuid4()}"
    ends = datetime.now().astimezone() + timedelta(days=1)
    made = client.create_key(name, ["read", "write"], collections=["c"], expires_at=ends)
    assert made.api_key not in repr(made)
    assert made.expires_at is not None
    assert abs(made.expires_at - ends) < timedelta(milliseconds=2)
    own = Client(web_app.url, made.api_key)
    assert list(own.photos()) == []
    with pytest.raises(Refused, match="403 scope_missing"):
        list(own.api_keys())
    changed = client.change_key(made.id, scopes=("read",), expires_at=None, collections=None)
    assert (changed.scopes, changed.expires_at, changed.collections) == (("read",), None, None)
    rotated = client.rotate_key(made.id, grace_seconds=60)
    assert client.api_key(made.id).previous_until is not None
    assert list(Client(web_app.url, rotated.api_key).photos()) == []
    for _ in range(2):
        web_app.request("POST", "/session", json={"api_key": rotated.api_key}).raise_for_status()
    newest, before = client.sessions(key_id=made.id)
    assert (newest.key_name, newest.address, newest.current) == (name, "127.0.0.1", False)
    client.end_session(newest.id)
    assert [each.id for each in client.sessions(key_id=made.id)] == [before.id]
    client.end_sessions(made.id)
    assert list(client.sessions(key_id=made.id)) == []
    client.revoke_key(made.id)
    assert made.id in {each.id for each in client.api_keys(state="revoked")}
    with pytest.raises(Refused, match="401 api_key_invalid"):
        list(own.photos())
    told = list(client.audit(subject=made.id, since=datetime.now() - timedelta(hours=1)))
    assert [each.action for each in told if not each.action.startswith("session.")] == [
        "key.revoke", "key.rotate", "key.change", "key.create",
    ]  # fmt: skip
    refused = list(client.audit(actor=str(made.id), outcome="refused"))
    assert [each.action for each in refused] == ["access.refuse"]
    assert list(client.audit(subject=made.id, until=datetime.now() - timedelta(hours=1))) == []
