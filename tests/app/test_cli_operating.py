"""Events, web hooks, keys and the audit at a shell, at one's own machine and on a host."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from face_pipeline.actions import hooks as actions
from face_pipeline.ops.hooks import Sender
from face_pipeline.parts import Parts
from face_pipeline.store import audit
from face_pipeline.store.models import EventKind, HookDelivery
from sqlalchemy import insert

from tests.app import stock
from tests.app.cli import Person, person_at
from tests.app.receivers import receivers
from tests.app.test_cli_people import alone
from tests.installation import App, wait_until
from tests.photos import ROOT

NO_ID = "0f3c5a7e-9b1d-4c62-a8e0-f1d2c3b4a596"


# Events


def test_events_are_shown_in_words_and_as_lines_of_json(web_app: App, anna: Person, parts: Parts) -> None:
    stock.photo(parts, state="failed")
    photo = stock.photo(parts, None)
    done = anna.types("events")
    assert done.returncode == 0, done.stderr
    failed, finished, seen = done.stdout.splitlines()
    assert "photo.failed  default" in failed
    assert "engine_error" in failed
    assert f"photo.done    default  photo {photo}, 1 face" in finished
    assert "face.unknown" in seen
    lines = [json.loads(line) for line in anna.types("events", "--last", "2", "--json").stdout.splitlines()]
    assert [each["kind"] for each in lines] == ["photo.done", "face.unknown"]
    assert anna.types("events", "--kind", "photo.failed").stdout == failed + "\n"
    assert anna.types("events", "--collection", "none").stdout == ""
    refused = anna.types("events", "--after", "nonsense")
    assert refused.returncode == 1
    assert "400 parameter" in refused.stderr


def test_the_next_run_goes_on_where_the_last_one_was(web_app: App, anna: Person, parts: Parts) -> None:
    command = ("events", "--kind", "photo.failed", "--json", "--place", "place")
    stock.photo(parts, state="failed")
    assert len(anna.types(*command).stdout.splitlines()) == 1
    assert anna.types(*command).stdout == ""
    # More than a page.
    photos = [str(stock.photo(parts, state="failed")) for _ in range(201)]
    told = [json.loads(line)["photo_id"] for line in anna.types(*command).stdout.splitlines()]
    assert told == photos
    assert anna.types(*command).stdout == ""


def test_what_happens_is_followed_until_somebody_stops_it(
    web_app: App, anna: Person, parts: Parts, tmp_path: Path
) -> None:
    stock.photo(parts, state="failed")
    place = tmp_path / "place"
    running = anna.starts("events", "--follow", "--json", "--every", "0.1", "--place", place)
    try:
        wait_until(place.exists, 60, "the first look")
        photo = stock.photo(parts, state="failed")
        assert running.stdout is not None
        assert json.loads(running.stdout.readline())["photo_id"] == str(photo)
    finally:
        running.send_signal(signal.SIGINT)
        said, errors = running.communicate(timeout=60)
    assert (said, errors.strip()) == ("", "face-pipeline: stopped")
    assert running.returncode == 130


# Web hooks


def test_a_hook_is_added_changed_and_removed(web_app: App, anna: Person) -> None:
    added = anna.types("hooks", "add", "https://example.org/in", "--kind", "person.seen")
    assert added.returncode == 0, added.stderr
    assert added.stdout.startswith("https://example.org/in\nid ")
    assert "person.seen in all collections\nsecret whsec_" in added.stdout
    assert added.stderr == "This is the only time the secret is shown.\n"
    (told,) = json.loads(anna.types("hooks", "list", "--json").stdout)
    assert "whsec" not in anna.types("hooks", "show", told["id"]).stdout
    changed = anna.types(
        "hooks", "change", told["id"], "--disable", "--collection", "a", "--collection", "b", "--json"
    )
    assert changed.returncode == 0, changed.stderr
    now = json.loads(changed.stdout)
    assert (now["enabled"], now["collections"], now["kinds"]) == (False, ["a", "b"], ["person.seen"])
    assert "disabled" in anna.types("hooks", "list").stdout
    assert "all collections" in anna.types("hooks", "change", told["id"], "--all-collections").stdout
    assert "whsec_" in anna.types("hooks", "change", told["id"], "--rotate-secret").stdout
    for wrong, words in (
        (("change", told["id"]), "say what is to change"),
        (("change", told["id"], "--all-collections", "--collection", "a"), "and not both"),
        (("add", "https://example.org/in", "--kind", "person.eaten"), "person.eaten"),
    ):
        done = anna.types("hooks", *wrong)
        assert done.returncode == 2
        assert words in done.stderr
    inside = anna.types("hooks", "add", "https://10.0.0.1/")
    assert inside.returncode == 1
    assert "400 hook_url" in inside.stderr
    assert anna.types("hooks", "remove", told["id"]).stdout == f"{told['id']} is removed\n"
    assert "404 hook_not_found" in anna.types("hooks", "show", told["id"]).stderr


@pytest.mark.parametrize(("status", "words"), [(200, "delivered, answered 200"), (500, "not delivered: ")])
def test_a_receiver_is_tried(web_app: App, anna: Person, parts: Parts, status: int, words: str) -> None:
    near = Parts(
        parts.settings.model_copy(update={"hooks_allowed_networks": "127.0.0.0/8", "hooks_allow_http": True})
    )
    with receivers() as make:
        receiver = make()
        receiver.status = status
        hook, _ = actions.create(
            near, url=receiver.url, kinds=list(EventKind), wanted=None, enabled=True, by=audit.SERVICE
        )
        sender = Sender(near)
        thread = threading.Thread(target=sender.run)
        thread.start()
        try:
            done = anna.types("hooks", "test", str(hook.id))
        finally:
            sender.end()
            thread.join()
    assert done.stdout.startswith(words), done.stderr
    assert done.returncode == (0 if status == 200 else 1)
    assert [each["type"] for each in receiver.bodies] == ["test"]


def test_what_a_receiver_answers_says_nothing_to_the_terminal(
    web_app: App, anna: Person, parts: Parts
) -> None:
    hook, _ = actions.create(
        parts, url="https://example.org/in", kinds=list(EventKind), wanted=None, enabled=True,
        by=audit.SERVICE,
    )  # fmt: skip
    with parts.database.transaction() as session:
        session.execute(
            insert(HookDelivery).values(
                hook_id=hook.id, kind="test", event_id=uuid.uuid4(), state="given_up", attempts=1,
                last_status=500, last_error="\x1b]0;owned\x07 500\nnext line",
            )
        )  # fmt: skip
    shown = anna.types("hooks", "deliveries", str(hook.id)).stdout
    assert "given_up" in shown
    assert "?]0;owned? 500?next line" in shown
    assert len(shown.splitlines()) == 2


# Keys


def test_a_key_is_made_changed_rotated_and_revoked(web_app: App, anna: Person, tmp_path: Path) -> None:
    name = f"camera {uuid.uuid4()}"
    made = anna.types(
        "keys", "create", "--name", name, "--scopes", "read,write", "--collections", "a,b",
        "--expires", "90d", "--limit", "600",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    assert made.stderr == "This is the only time the key is shown.\n"
    text = made.stdout.strip()
    home = tmp_path / "camera"
    home.mkdir()
    camera = person_at(web_app.url, home, text)
    assert camera.types("photos", "list").returncode == 0
    refused = camera.types("keys", "list")
    assert "403 scope_missing" in refused.stderr
    shown = anna.types("keys", "show", "--name", name).stdout
    assert "may read, write in a, b" in shown
    assert text not in shown
    told = json.loads(anna.types("keys", "show", "--name", name, "--json").stdout)
    left = datetime.fromisoformat(told["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=89) < left <= timedelta(days=90)
    assert told["requests_per_minute"] == 600
    changed = anna.types(
        "keys", "change", "--name", name, "--expires", "never", "--all-collections", "--scopes", "read"
    )
    assert "may read in all collections\nexpires never" in changed.stdout
    rotated = anna.types("keys", "rotate", "--name", name, "--grace", "1h")
    assert rotated.stdout.strip() != text
    assert name in anna.types("keys", "list").stdout
    assert camera.types("photos", "list").returncode == 0
    assert anna.types("keys", "revoke", "--name", name).stdout == f"revoked {name}\n"
    assert "401 api_key_invalid" in camera.types("photos", "list").stderr
    assert "there is no key named" in anna.types("keys", "show", "--name", name).stderr
    old = str(uuid.uuid4())
    (tmp_path / "old.key").write_text(old + "\n")
    moved = anna.types(
        "keys", "create", "--name", f"{name} moved", "--compreface", "recognition", "--collection", "door",
        "--uuid-file", tmp_path / "old.key",
    )  # fmt: skip
    assert (moved.returncode, moved.stdout) == (0, f"{old}\n"), moved.stderr
    assert (
        "for clients of CompreFace's recognition alone"
        in anna.types("keys", "show", "--name", f"{name} moved").stdout
    )
    assert "compreface recognition" in anna.types("keys", "list").stdout
    for wrong, words in (
        (("create", "--name", "x", "--compreface", "recognition"), "name it with --collection"),
        (
            ("create", "--name", "x", "--scopes", "read", "--collection", "a"),
            "are for keys with --compreface",
        ),
        (("create", "--name", "x"), "say what it may do"),
        (("create", "--name", "x", "--scopes", "read", "--expires", "soon"), "is no duration"),
        (("change", "--name", "admin"), "say what is to change"),
        (("rotate", "--name", "admin", "--grace", "-1h"), "is no duration"),
    ):
        done = anna.types("keys", *wrong)
        assert done.returncode == 2, wrong
        assert words in done.stderr
    for wrong, words in (
        (("create", "--name", "x", "--scopes", "root"), "400 scope"),
        (("create", "--name", "x", "--scopes", "read", "--collections", ""), "collection"),
        (("rotate", "--name", "admin", "--grace", "8d"), "grace_seconds"),
    ):
        done = anna.types("keys", *wrong)
        assert done.returncode == 1, wrong
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_who_is_signed_in_is_listed_and_signed_out(web_app: App, anna: Person) -> None:
    name = f"Mia {uuid.uuid4()}"
    key = anna.types("keys", "create", "--name", name, "--scopes", "read").stdout.strip()
    host = web_app.installation.run

    def sign_in() -> str:
        answer = web_app.request("POST", "/session", json={"api_key": key})
        return str(answer.json()["id"])

    first, second, third, last = (sign_in() for _ in range(4))
    listed = anna.types("keys", "sessions", "--name", name).stdout.splitlines()
    assert [each.split()[0] for each in listed] == ["ID", last, third, second, first]
    assert "127.0.0.1" in listed[1]
    assert last in anna.types("keys", "sessions").stdout
    shown = json.loads(host("keys", "sessions", "--name", name, "--json").stdout)
    assert [each["id"] for each in shown] == [last, third, second, first]
    assert anna.types("keys", "sign-out", first).stdout == f"ended {first}\n"
    assert host("keys", "sign-out", second).stdout == f"ended {second}\n"
    left = host("keys", "sessions", "--name", name).stdout.splitlines()
    assert [each.split()[0] for each in left] == ["ID", last, third]
    assert "404 session_not_found" in anna.types("keys", "sign-out", first).stderr
    assert "keys sessions" in host("keys", "sign-out", "x", check=False).stderr
    assert anna.types("keys", "sign-out", "--name", name).stdout == f"ended the sessions of {name}\n"
    assert len(anna.types("keys", "sessions", "--name", name).stdout.splitlines()) == 1
    sign_in()
    assert host("keys", "sign-out", "--name", name).returncode == 0
    assert len(host("keys", "sessions", "--name", name).stdout.splitlines()) == 1
    for wrong in ((), (first, "--name", name)):
        assert anna.types("keys", "sign-out", *wrong).returncode == 2
        assert host("keys", "sign-out", *wrong, check=False).returncode == 2


def test_the_audit_is_asked_who_what_and_whom(web_app: App, anna: Person, parts: Parts) -> None:
    photo = stock.photo(parts, None)
    assert anna.types("photos", "show", photo).returncode == 0
    told = anna.types("audit", "--whom", str(photo), "--what", "photo.", "--who", "admin")
    assert told.returncode == 0, told.stderr
    head, entry = told.stdout.splitlines()
    assert head.split() == ["TIME", "(UTC)", "WHO", "FROM", "ACTION", "OUTCOME", "WHAT"]
    assert entry.split()[2:6] == ["admin", "127.0.0.1", "photo.look", "done"]
    assert str(photo) in entry
    (line,) = anna.types("audit", "--subject", str(photo), "--json").stdout.splitlines()
    assert json.loads(line)["action"] == "photo.look"
    assert len(anna.types("audit", "--limit", "1").stdout.splitlines()) == 2
    assert anna.types("audit", "--who", "nobody at all").stdout == head + "\n"
    assert anna.types("audit", "--since", "yesterday").returncode == 2


# The same words on a host


def test_on_a_host_root_needs_no_key_and_names_no_service(web_app: App, anna: Person) -> None:
    """Unless FACE_URL or --url says which service is meant."""
    name = f"host {uuid.uuid4()}"
    run = web_app.installation.run
    run("keys", "create", "--name", name, "--scopes", "read")
    assert name in anna.types("keys", "list").stdout
    created = json.loads(run("audit", "--what", "key.create", "--limit", "1", "--json").stdout)
    assert created["actor_kind"] == "command"
    environment = {name: value for name, value in anna.environment.items() if name != "FACE_URL"}
    command = anna.command("audit", "--limit", "1", "--json", f"--url={web_app.url}")
    for kind in ("command", "key"):
        # The newest entry is of who read the audit before.
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        told = json.loads(done.stdout)
        assert (told["action"], told["actor_kind"]) == ("audit.read", kind)
    # These are a host's alone, whatever is set.
    for arguments in (("keys", "ensure"), ("audit", "prune")):
        done = alone(*arguments, FACE_URL=web_app.url)
        assert f"usage: face-pipeline {' '.join(arguments)}" in done.stderr


def test_hooks_are_told_by_a_command_of_another_name() -> None:
    unit = (ROOT / "roles/hooks/templates/face-hooks.service.j2").read_text()
    (command,) = re.findall(r"^ExecStart=.*/face-pipeline (\S+)$", unit, re.MULTILINE)
    assert "face-hooks.service" in alone(command, "--help").stdout
    assert "deliveries" in alone("hooks", "--help").stdout
