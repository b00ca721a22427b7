"""docs/from-compreface.md: what it says of calls and of moving is what happens."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from face_pipeline.web.compreface.calls import CALLS

from tests.app.test_compreface import Client, new_key
from tests.installation import App
from tests.photos import ROOT, astronaut_jpeg, no_face
from tests.services import Postgres

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


def test_subjects_and_images_are_moved_by_the_program_and_moved_once(live_app: App, tmp_path: Path) -> None:
    keys = [new_key(live_app.installation, "recognition", name) for name in ("old", "new")]
    old, new = (Client(live_app, key) for key in keys)
    old.send("POST", "recognition/subjects", json={"subject": "Zoe without images"})
    for number, subject in enumerate(("Ann", "Bob%20Lee", "Ann")):
        old.add(subject, astronaut_jpeg(number))
    taken = live_app.upload(("n.jpg", no_face()), collection="old")
    assert taken.status_code == 202
    (tmp_path / "move.py").write_text(program("python", "import requests"))
    told = [live_app.url, keys[0], live_app.url, keys[1]]
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "move.py", *told], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        assert "3 of 3 images moved" in done.stderr
    assert sorted(new.subjects()) == ["Ann", "Bob Lee", "Zoe without images"]
    moved = {}
    for face in new.send("GET", "recognition/faces").json()["faces"]:
        shown = new.send("GET", f"recognition/faces/{face['image_id']}/img").content
        moved[hashlib.sha256(shown).hexdigest()] = face["subject"]
    wanted = {0: "Ann", 1: "Bob Lee", 2: "Ann"}
    assert moved == {
        hashlib.sha256(astronaut_jpeg(number)).hexdigest(): subject for number, subject in wanted.items()
    }


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
