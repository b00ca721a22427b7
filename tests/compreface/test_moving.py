"""docs/from-compreface.md: what it says of calls and of moving is what happens."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import threading
import uuid
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from face_pipeline.web.compreface.calls import CALLS

from tests.app.cli import Person, person_at
from tests.app.test_compreface import Client, new_key
from tests.installation import App, wait_until
from tests.photos import ROOT, astronaut_jpeg
from tests.services import Postgres

pytestmark = pytest.mark.one_worker

PAGE = (ROOT / "docs/from-compreface.md").read_text()
PROGRAMS = re.findall(r"```(python|sh)\n(.*?)```", PAGE, re.DOTALL)
# As CompreFace 1.2 makes them (db.changelog-0.1.7.yaml of exadel-inc/CompreFace).
TABLES = """
CREATE TABLE subject (id uuid PRIMARY KEY, api_key varchar(36), subject_name varchar(255));
CREATE TABLE img (id uuid PRIMARY KEY, content bytea NOT NULL);
CREATE TABLE embedding (id uuid PRIMARY KEY, subject_id uuid REFERENCES subject, embedding float8[] NOT NULL,
                        calculator varchar(255) NOT NULL, img_id uuid REFERENCES img);
"""


def program(language: str, holding: str) -> str:
    (found,) = [text for kind, text in PROGRAMS if kind == language and holding in text]
    return found


def test_the_page_has_the_calls_that_there_are() -> None:
    told = set(re.findall(r"^\| `([A-Z]+) (/\S+)` \|", PAGE, re.MULTILINE))
    paths = {(each.method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", each.path)) for each in CALLS}
    assert told == paths


@dataclass(frozen=True)
class Move:
    """From an old server to this one.

    This service's own calls for CompreFace's clients stand in for a CompreFace: the contract is the same, and
    nothing else is shown by it.
    """

    old: Client
    person: Person
    key_file: Path

    def command(self, *more: str) -> tuple[str, ...]:
        url = self.old.app.url
        return ("import", "--from", "compreface", url, "--source-key-file", str(self.key_file),
                "--collection", "new", *more)  # fmt: skip

    def run(self, *more: str, **environment: str) -> tuple[int, dict[str, Any]]:
        done = self.person.types(*self.command("--json", *more), **environment)
        assert done.stdout, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return done.returncode, told

    def moved(self) -> list[tuple[str, str]]:
        """(person, SHA-256) of each photo in the new collection that is somebody's."""
        app = self.old.app
        photos = app.get("/api/v1/photos", params={"collection": "new", "limit": 200}).json()["photos"]
        shown = [app.get(f"/api/v1/photos/{each['id']}").json() for each in photos]
        return sorted((face["person"]["name"], each["sha256"]) for each in shown for face in each["faces"])


@pytest.fixture
def move(live_app: App, tmp_path: Path) -> Move:
    key = new_key(live_app.installation, "recognition", "old")
    (tmp_path / "old.key").write_text(key + "\n")
    person = person_at(live_app.url, tmp_path, live_app.api_key)
    return Move(Client(live_app, key), person, tmp_path / "old.key")


def sha256(number: int) -> str:
    return hashlib.sha256(astronaut_jpeg(number)).hexdigest()


def test_subjects_and_images_are_moved_and_moved_once(move: Move) -> None:
    move.old.send("POST", "recognition/subjects", json={"subject": "Zoe without images"})
    for number, subject in enumerate(("Ann", "Bob%20Lee", "Ann")):
        move.old.add(subject, astronaut_jpeg(number))
    # All show one face, so that each is like the others' person, too.
    allowed = ("--on-conflict", "allow")
    status, told = move.run("--dry-run", *allowed)
    assert (status, told["subjects"], told["images"], told["persons_made"]) == (0, 3, 3, 3)
    assert move.old.app.get("/api/v1/collections/new").status_code == 404, "a dry run makes nothing"
    status, told = move.run(*allowed)
    assert (status, told["new"], told["refused"]) == (0, 3, [])
    wanted = [("Ann", sha256(0)), ("Ann", sha256(2)), ("Bob Lee", sha256(1))]
    assert move.moved() == sorted(wanted)
    persons = move.old.app.get("/api/v1/persons", params={"collection": "new"}).json()["persons"]
    assert sorted(each["name"] for each in persons) == ["Ann", "Bob Lee", "Zoe without images"]
    status, told = move.run(*allowed)
    assert (status, told["earlier"], told["new"], told["persons_there"]) == (0, 3, 0, 3)
    status, told = move.run("--fresh", *allowed)
    assert (status, told["earlier"], told["new"], told["duplicates"]) == (0, 0, 0, 3)
    assert move.moved() == sorted(wanted)
    # What came meanwhile is moved by the next run.
    move.old.add("Zoe without images", astronaut_jpeg(3))
    status, told = move.run(*allowed)
    assert (status, told["earlier"], told["new"]) == (0, 3, 1)


def test_a_move_that_is_killed_goes_on_where_it_was(move: Move) -> None:
    for number in range(6):
        move.old.add("Ann", astronaut_jpeg(number))
    state = move.person.home / "state.jsonl"
    options = ("--state", str(state), "--workers", "1")
    process = move.person.starts(*move.command(*options))
    # A header, and at least one image.
    wait_until(lambda: state.exists() and state.read_bytes().count(b"\n") > 1, 60, "the first image")
    process.kill()
    process.communicate()
    status, told = move.run(*options)
    assert status == 0
    assert told["earlier"] > 0
    assert told["earlier"] + told["new"] + told["duplicates"] == 6
    assert move.moved() == sorted(("Ann", sha256(number)) for number in range(6))


def test_images_that_are_refused_are_named_and_asked_for_again(move: Move) -> None:
    app = move.old.app
    image = move.old.add("Ann", astronaut_jpeg(1))
    other = app.upload(("o.jpg", astronaut_jpeg(9)), collection="new", person="Somebody else")
    app.wait_finished(other.json()["batch_id"])
    status, told = move.run()
    (refused,) = told["refused"]
    assert (status, refused["where"], refused["code"]) == (1, f"Ann/{image}", "conflict")
    in_words = move.person.types(*move.command())
    assert in_words.returncode == 1
    assert f"  Ann/{image}: " in in_words.stdout
    assert "(conflict)" in in_words.stdout
    status, told = move.run("--on-conflict", "allow")
    assert (status, told["new"]) == (0, 1)


@pytest.mark.parametrize("way", ["environment", "standard input"])
def test_the_key_comes_by_the_environment_or_standard_input_too(move: Move, way: str) -> None:
    key = move.key_file.read_text().strip()
    named = ("--source-key-file", str(move.key_file))
    command = [each for each in move.command("--dry-run") if each not in named]
    given = {"COMPREFACE_API_KEY": key} if way == "environment" else {}
    done = subprocess.run(
        move.person.command(*command, *([] if given else ["--source-key-file", "-"])), cwd=move.person.home,
        env={**move.person.environment, **given}, input=f"{key}\n",
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "0 subjects for new" in done.stdout


@pytest.mark.parametrize(
    "answers",
    [
        {"subjects": b"<html>"},
        {"subjects": b"[]"},
        {"subjects": b'{"subjects": [1]}'},
        {"faces": b"{}"},
        {"faces": b'{"faces": [1], "total_pages": 1}'},
        {"faces": b'{"faces": [{"image_id": 1, "subject": null}], "total_pages": 1}'},
    ],
    ids=["no-json", "a-list", "names-that-are-none", "no-faces", "faces-that-are-none", "ids-that-are-none"],
)
def test_a_server_that_answers_otherwise_is_told_and_nothing_is_made(
    move: Move, answers: dict[str, bytes]
) -> None:
    good = {"subjects": b'{"subjects": ["Ann"]}', "faces": b'{"faces": [], "total_pages": 0}'}

    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = {**good, **answers}[self.path.rpartition("/")[2].partition("?")[0]]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        told = ("--source-key-file", move.key_file, "--collection", "new")
        done = move.person.types("import", "--from", "compreface", url, *told)
        server.shutdown()
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert "CompreFace" in done.stderr
    assert "Traceback" not in done.stderr
    assert move.old.app.get("/api/v1/collections/new").status_code == 404


def test_what_cannot_be_moved_is_told_in_a_line(move: Move, tmp_path: Path) -> None:
    url = move.old.app.url
    (tmp_path / "wrong.key").write_text(str(uuid.uuid4()))
    (tmp_path / "empty.key").write_text("")
    for arguments, status, words in (
        ((url,), 2, "COMPREFACE_API_KEY"),
        ((url, "--source-key-file", "wrong.key"), 1, "not found"),
        ((url, "--source-key-file", "empty.key"), 1, "is not a key"),
        ((url, "--source-key-file", "nothing.key"), 1, "cannot be read"),
        ((f"{url}/docs", "--source-key-file", "old.key"), 1, "CompreFace"),
        (("old:8000", "--source-key-file", "old.key"), 1, "is not an http or https address"),
        ((url, "--source-key-file", "old.key", "--reprocess"), 2, "--reprocess is for exports"),
    ):
        done = move.person.types("import", "--from", "compreface", *arguments)
        assert (done.returncode, done.stdout) == (status, ""), (arguments, done.stderr)
        assert words in done.stderr, arguments
        assert "Traceback" not in done.stderr
    for arguments, words in (
        (("backup", "--dry-run"), "is for --from compreface"),
        (("nothing-there",), "does not exist"),
    ):
        done = move.person.types("import", *arguments)
        assert done.returncode == 2
        assert words in done.stderr


def test_images_come_out_of_a_restored_database(postgres: Postgres, tmp_path: Path) -> None:
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("needs psql, which is not on this machine")
    schema, key = f"compreface_{uuid.uuid4().hex}", str(uuid.uuid4())
    environment = {**os.environ, "PGOPTIONS": f"--search_path={schema}"}
    rows = [(key, "Ann Lee", b"\xff\xd8one"), (key, "../Bob/ß", b"two\n"), (str(uuid.uuid4()), "other", b"3")]
    statements = [f"CREATE SCHEMA {schema};", TABLES]
    for api_key, name, content in rows:
        subject, image = uuid.uuid4(), uuid.uuid4()
        statements += [
            f"INSERT INTO subject VALUES ('{subject}', '{api_key}', '{name}');",
            f"INSERT INTO img VALUES ('{image}', '\\x{content.hex()}');",
            f"INSERT INTO embedding VALUES ('{uuid.uuid4()}', '{subject}', '{{1}}', 'x', '{image}');",
        ]
    subprocess.run(
        [psql, "--quiet", postgres.dsn], input="\n".join(statements), env=environment, text=True, check=True
    )
    (tmp_path / "images.py").write_text(program("python", "bytes.fromhex"))
    command = program("sh", "psql").replace("OLD-KEY", key).replace("DATABASE", postgres.dsn)
    try:
        subprocess.run(["bash", "-ec", command], cwd=tmp_path, env=environment, check=True)
    finally:
        drop = f"DROP SCHEMA {schema} CASCADE"
        subprocess.run([psql, "--quiet", postgres.dsn, "--command", drop], check=True, capture_output=True)
    found = {path.parent.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*.jpg")}
    assert found == {Path("images/Ann Lee"): b"\xff\xd8one", Path("images/_Bob_ß"): b"two\n"}
