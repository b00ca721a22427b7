"""What a person sees at a shell: help, suggestions, completion, answers in words and in JSON, errors."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from face_pipeline.cli import front, host

from tests.app.cli import Person
from tests.app.test_cli_ingest import broken_png, small
from tests.installation import App, wait_until
from tests.photos import ROOT, astronaut_again, astronaut_jpeg, no_face
from tests.services.process import free_port

LEAVES = [
    *(("photos", name) for name in ("list", "show", "retry", "move", "delete")),
    *(("persons", name) for name in ("list", "show", "create", "enrol", "rename", "merge", "undo", "delete")),
    *(("collections", name) for name in ("list", "show", "create", "quota", "retention", "delete")),
    *(("clusters", name) for name in ("list", "show", "name", "hide")),
    *(("hooks", name) for name in ("list", "show", "add", "change", "remove", "test", "deliveries")),
    *(
        ("keys", name)
        for name in ("list", "show", "create", "change", "rotate", "revoke", "sessions", "sign-out")
    ),
    *((name,) for name in ("ingest", "watch", "search", "verify", "events", "audit", "export", "import")),
    ("receipt", "verify"),
    *((name,) for name in ("status", "completion")),
]


def alone(*arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Without a service, a key or a configuration."""
    return subprocess.run(
        [sys.executable, "-m", "face_pipeline.cli", *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "app"), **extra},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def there(app: App, path: str, method: str = "post") -> bool:
    """Whether the service has such a call."""
    return method in app.get("/openapi.json").json()["paths"].get(f"/api/v1{path}", ())


def needs(app: App, path: str, method: str = "post") -> None:
    if not there(app, path, method):
        pytest.skip(f"the service has no {method.upper()} {path} yet")


def test_every_command_has_help_with_examples_that_name_it() -> None:
    for leaf in LEAVES:
        done = alone(*leaf, "--help", FACE_URL="https://faces.example.org")
        assert done.returncode == 0, done.stderr
        assert f"face-pipeline {' '.join(leaf)}" in done.stdout.partition("Examples:")[2], leaf
    listed = alone("--help").stdout
    assert set(front.PEOPLE) == {leaf[0] for leaf in LEAVES}
    for name in (*front.PEOPLE, *front.HOST):
        assert f"\n  {name} " in listed


def test_what_only_units_run_is_in_no_list_and_works() -> None:
    listed = alone("--help").stdout
    for name in ("reconcile", "index", "autoscaler", "migrate", "tell-hooks"):
        assert f"  {name} " not in listed
        assert alone(name, "--help").stdout.startswith(f"usage: face-pipeline {name}")
    assert host.names() <= {*front.HOST, *front.UNITS}, "say in front.py whether people or units run it"
    assert alone("version").stdout.startswith("face-pipeline ")


def test_the_help_imports_nothing_that_takes_long() -> None:
    code = (
        "import sys; from face_pipeline.cli import main; main(sys.argv[1:]); "
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    for arguments in (["--help"], ["completion", "bash"], ["ingest", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], env={**os.environ, "PYTHONPATH": str(ROOT / "app")},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        imported = set(done.stdout.splitlines()[-1].split())
        slow = {"pydantic", "urllib3", "pydantic_settings", "sqlalchemy", "celery", "redis", "flask", "numpy"}
        assert imported & slow == set()


def test_a_slip_of_the_pen_is_answered_with_what_was_meant() -> None:
    for arguments, meant in (
        (["ingets"], "ingest"),
        (["doctr"], "doctor"),
        (["persons", "lst"], "list"),
        (["search", "--treshold", "1", "x"], "--threshold"),
    ):
        done = alone(*arguments)
        assert done.returncode == 2
        assert meant in done.stderr.partition("id you mean")[2]
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands(shell: str) -> None:
    script = alone("completion", shell)
    assert "_FACE_PIPELINE_COMPLETE" in script.stdout
    for words, number, wanted in (
        ("face-pipeline in", "1", "ingest"),
        ("face-pipeline persons re", "2", "rename"),
        ("face-pipeline ingest --pers", "2", "--person-from"),
    ):
        done = alone(
            _FACE_PIPELINE_COMPLETE=f"{shell}_complete", COMP_WORDS=words, COMP_CWORD=number
        ) if shell != "fish" else alone(
            _FACE_PIPELINE_COMPLETE="fish_complete", COMP_WORDS=words, COMP_CWORD=words.split()[-1]
        )  # fmt: skip
        assert wanted in done.stdout, (shell, words, done.stderr)


def test_bash_itself_takes_the_completion(tmp_path: Path) -> None:
    """A program by the name, and what bash asks of it."""
    if not shutil.which("bash"):
        pytest.skip("there is no bash here")
    program = tmp_path / "face-pipeline"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m face_pipeline.cli "$@"\n')
    program.chmod(0o755)
    asked = (
        'eval "$(face-pipeline completion bash)"; COMP_WORDS=(face-pipeline stat); COMP_CWORD=1; '
        '_face_pipeline_completion face-pipeline; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", asked], capture_output=True, text=True, check=True,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "app")},
    )  # fmt: skip
    assert done.stdout.split() == ["status"]


def test_what_is_missing_is_named_in_one_line(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("fp_key")
    url = f"http://127.0.0.1:{free_port()}"
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    for options, words in (
        ([], "say where the service is: --url https://HOST, or set FACE_URL"),
        (["--url", url], "say which file holds the API key: --key-file FILE, or set FACE_API_KEY_FILE"),
        (
            ["--url", url, "--key-file", "/nonexistent"],
            "/nonexistent, which is to hold the API key, cannot be",
        ),
        (["--url", "ftp://x", "--key-file", str(key)], "is not an http or https address"),
        (["--url", "http://x:port", "--key-file", str(key)], "has a port that is no number"),
        (["--url", "https://x", "--key-file", str(key), "--ca", str(bad)], "holds none in PEM"),
        (["--url", url, "--key-file", str(key)], f"{url} cannot be reached"),
    ):
        done = alone("status", *options)
        assert done.returncode == 1
        assert done.stderr.startswith("face-pipeline: ")
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1
    key.write_bytes(b"\xff\xfe")
    assert "is no text" in alone("status", "--url", url, "--key-file", str(key)).stderr


def test_without_a_server_the_host_commands_are_absent(tmp_path: Path) -> None:
    """With the files that the client's own package installs."""
    files = tmp_path / "files"
    subprocess.run(
        [sys.executable, "setup.py", "-q", "egg_info", "-e", str(tmp_path), "build_py", "-d", str(files)],
        cwd=ROOT / "clients" / "python", check=True, capture_output=True,
    )  # fmt: skip
    package = files / "face_pipeline"
    assert {each.name for each in package.iterdir()} == {
        "__init__.py",
        "errors.py",
        "proofs.py",
        "words.py",
        "client",
        "cli",
    }
    assert not (package / "cli" / "host.py").exists()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "face_pipeline.cli", *arguments], cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(files)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    listed = run("--help").stdout
    assert "ingest" in listed
    assert "doctor" not in listed
    refused = run("doctor")
    assert refused.returncode == 1
    assert "`face-pipeline doctor` runs on a host of the installation" in refused.stderr
    assert "No such command 'migrate'" in run("migrate").stderr
    assert "say where the service is" in run("status").stderr


def test_a_search_tells_who_is_on_a_photo(live_app: App, anna: Person) -> None:
    known, unknown, empty = (anna.home / name for name in ("known.jpg", "again.jpg", "empty.jpg"))
    known.write_bytes(astronaut_jpeg())
    unknown.write_bytes(astronaut_again())
    empty.write_bytes(no_face())
    done = anna.types("ingest", known, "--person", "Eileen Collins", "--wait")
    assert done.returncode == 0, done.stderr
    found = anna.types("search", unknown)
    assert found.returncode == 0, found.stderr
    first, match = found.stdout.splitlines()
    assert first.startswith("face 1 of 1 at ")
    assert "Eileen Collins" in match
    told = json.loads(anna.types("search", unknown, "--json", "--limit", "1").stdout)
    assert told["faces"][0]["matches"][0]["person_name"] == "Eileen Collins"
    assert "nobody who is known" in anna.types("search", unknown, "--threshold", "0.9999").stdout
    assert anna.types("search", empty).stdout == "empty.jpg: no face was found\n"
    refused = anna.types("search", unknown, "--threshold", "7")
    assert refused.returncode == 1
    assert "threshold must be a number from -1.0 to 1.0" in refused.stderr
    listed = anna.types("photos", "list").stdout.splitlines()
    assert listed[0].split()[:3] == ["ID", "STATE", "FACES"]
    photo_id = listed[1].split()[0]
    shown = anna.types("photos", "show", photo_id).stdout
    assert "known.jpg: done in default" in shown
    assert shown.rstrip().endswith(": Eileen Collins")


def test_the_status_says_what_waits_and_what_failed(live_app: App, anna: Person) -> None:
    (anna.home / "broken.png").write_bytes(broken_png())
    assert anna.types("ingest", anna.home / "broken.png", "--wait").returncode == 1
    done = anna.types("status")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{live_app.url}: ready\n")
    assert "photos: 0 received, 0 queued, 0 processing, 1 failed" in done.stdout
    assert "broken.png: broken_image" in done.stdout
    assert "not told here: workers, alerts and disks" in done.stdout
    told: dict[str, Any] = json.loads(anna.types("status", "--json").stdout)
    assert (told["ready"], told["photos"]["failed"]) == (True, 1)
    assert set(told["queues"]) == {"search", "ingest"}


def test_a_thing_that_is_not_there_is_an_error_in_one_line(web_app: App, anna: Person) -> None:
    done = anna.types("photos", "show", "0f3c5a7e-9b1d-4c62-a8e0-f1d2c3b4a596")
    assert done.returncode == 1
    assert "(404 photo_not_found, request " in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert anna.types("photos", "list", "--json").stdout == "[]\n"


# watch


def test_a_photo_that_comes_into_a_watched_directory_goes_in_once_it_is_complete(
    web_app: App, anna: Person, tmp_path: Path
) -> None:
    inbox = tmp_path / "inbox"
    (inbox / "Anna").mkdir(parents=True)
    running = anna.starts("watch", inbox, "--person-from", "folder", "--every", "0.1")
    photo = small(1)
    growing = inbox / "Anna" / "a.jpg"
    with growing.open("wb") as stream:
        for start in range(0, len(photo), 200):
            stream.write(photo[start : start + 200])
            stream.flush()
    (inbox / "b.jpg").write_bytes(b"no photo")
    done, refused = inbox / "done" / "Anna" / "a.jpg", inbox / "refused" / "b.jpg"
    try:
        wait_until(lambda: done.exists() and refused.exists(), 60, "the files to be moved")
        (inbox / "Anna" / "a.jpg").write_bytes(small(2))
        second = done.with_stem("a-1")
        wait_until(second.exists, 60, "the second file to be moved")
    finally:
        running.send_signal(signal.SIGTERM)
        said, errors = running.communicate(timeout=120)
    assert "Traceback" not in errors
    assert "no photo" not in errors
    assert "1 new" in said
    photos = web_app.get("/api/v1/photos").json()["photos"]
    assert sorted(each["filename"] for each in photos) == ["a.jpg", "a.jpg"]
    assert {each["person"]["name"] for each in photos} == {"Anna"}
    assert done.read_bytes() == photo
    assert second.read_bytes() == small(2)


def test_watched_files_are_deleted_or_stay(web_app: App, anna: Person, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    command = ("watch", inbox, "--once", "--every", "0.1", "--json")
    (inbox / "a.jpg").write_bytes(small(1))
    for again in range(2):
        done = anna.types(*command, "--then", "keep")
        assert done.returncode == 0, done.stderr
        (report,) = [json.loads(line) for line in done.stdout.splitlines()]
        assert (report["accepted"], report["earlier"]) == (1, again)
    assert [each.name for each in inbox.iterdir()] == ["a.jpg"]
    assert anna.types(*command, "--then", "delete").returncode == 0
    assert list(inbox.iterdir()) == []
    assert len(web_app.get("/api/v1/photos").json()["photos"]) == 1


# Calls of the service that came later than these commands


def test_persons_are_made_listed_renamed_merged_and_erased(web_app: App, anna: Person) -> None:
    needs(web_app, "/persons")
    made = json.loads(anna.types("persons", "create", "Anna", "--external-id", "badge-17", "--json").stdout)
    assert (made["name"], made["external_id"], made["collection"]) == ("Anna", "badge-17", "default")
    assert anna.types("persons", "create", "Anne").returncode == 0
    again = anna.types("persons", "create", "anna")
    assert again.returncode == 1
    assert "409 person_exists" in again.stderr
    assert "Anna" in anna.types("persons", "list", "--name", "ann").stdout
    assert anna.types("persons", "rename", "Anna", "Anna Berg").returncode == 0
    assert "Anna Berg in default" in anna.types("persons", "show", made["id"]).stdout
    assert "there is no person 'Ann'; there are " in anna.types("persons", "show", "Ann").stderr
    merged = anna.types("persons", "merge", "Anna Berg", "Anne")
    assert merged.returncode == 0, merged.stderr
    undo = merged.stdout.rpartition("face-pipeline ")[2].split()
    assert anna.types(*undo).returncode == 0
    assert "Anne" in anna.types("persons", "list").stdout


def test_a_person_is_enrolled_and_verified(live_app: App, anna: Person) -> None:
    for path in ("/persons", "/persons/{person_id}/photos", "/verify"):
        needs(live_app, path)
    photo, other = anna.home / "a.jpg", anna.home / "b.jpg"
    photo.write_bytes(astronaut_jpeg())
    other.write_bytes(astronaut_again())
    made = anna.types("persons", "create", "Eileen", "--photo", photo)
    assert made.returncode == 0, made.stderr
    assert "a.jpg: enrolled" in made.stdout
    (anna.home / "empty.jpg").write_bytes(no_face())
    refused = anna.types("persons", "enrol", "Eileen", anna.home / "empty.jpg")
    assert refused.returncode == 1
    assert "empty.jpg: refused: " in refused.stderr
    for arguments in ((photo, other), (other, "--person", "Eileen")):
        done = anna.types("verify", *arguments)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("the same person: similarity ")
    assert anna.types("verify", photo, other, "--threshold", "1").returncode == 1


def test_collections_are_made_and_listed(web_app: App, anna: Person) -> None:
    needs(web_app, "/collections")
    assert anna.types("collections", "create", "staff").stdout == "staff is there\n"
    assert "409 collection_exists" in anna.types("collections", "create", "staff").stderr
    assert "staff" in anna.types("collections", "list").stdout
    assert anna.types("collections", "show", "staff").stdout.startswith("staff: photos none; faces 0")


def test_what_is_erased_is_shown_first(web_app: App, anna: Person) -> None:
    needs(web_app, "/photos/{photo_id}", "delete")
    (anna.home / "a.jpg").write_bytes(small(1))
    anna.types("ingest", anna.home / "a.jpg")
    (photo,) = web_app.get("/api/v1/photos").json()["photos"]
    assert "1 photo" in anna.types("photos", "delete", photo["id"], "--dry-run").stdout
    unasked = anna.types("photos", "delete", photo["id"])
    assert unasked.returncode == 130
    assert len(web_app.get("/api/v1/photos").json()["photos"]) == 1
    assert anna.types("photos", "delete", photo["id"], "--yes").returncode == 0
    assert web_app.get("/api/v1/photos").json()["photos"] == []


def test_an_ingest_may_be_one_batch(web_app: App, anna: Person) -> None:
    needs(web_app, "/batches")
    album = anna.home / "album"
    album.mkdir()
    for number in range(7):
        (album / f"{number}.jpg").write_bytes(small(number))
    done = anna.types("ingest", album, "--batch", "--per-request", "2", "--json")
    assert done.returncode == 0, done.stderr
    batch = json.loads(done.stdout)["batch_id"]
    assert web_app.get(f"/api/v1/batches/{batch}").json()["total"] == 7


def test_groups_of_unknown_faces_are_listed(web_app: App, anna: Person) -> None:
    needs(web_app, "/clusters", "get")
    done = anna.types("clusters", "list")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["ID", "FACES", "COLLECTION", "HIDDEN"]


def test_a_call_that_an_older_service_lacks_is_told_so(web_app: App, anna: Person) -> None:
    if there(web_app, "/clusters", "get"):
        pytest.skip("the service has every call of these commands")
    done = anna.types("clusters", "list")
    assert done.returncode == 1
    assert "The service has no such call: it is older or newer than this command." in done.stderr
