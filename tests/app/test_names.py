"""Whose photo is it? What a client notices that names persons, also on photos that are known already."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
import uuid
from typing import Any

import psycopg2
import pytest
from face_pipeline.parts import Parts
from face_pipeline.store.models import Collection, Person, Photo
from PIL import Image
from sqlalchemy import select

from tests.app.test_ledger import a_face, accept_as, add_photo, take
from tests.app.test_meeting_uploads import at_once
from tests.installation import MAKE_PARTS, App, Installation
from tests.photos import astronaut, astronaut_again, astronaut_jpeg, jpeg, no_face

NAME = "Eileen Collins"
COMPOSED = unicodedata.normalize("NFC", "André Łoś")
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


def send(app: App, *photos: bytes, **form: str) -> list[dict[str, Any]]:
    """Upload; the entries of the answer."""
    answer = app.upload(*((f"{number}.jpg", photo) for number, photo in enumerate(photos)), **form)
    assert answer.status_code == 202, answer.text
    entries: list[dict[str, Any]] = answer.json()["photos"]
    return entries


def send_and_wait(app: App, *photos: bytes, **form: str) -> list[dict[str, Any]]:
    answer = app.upload(*((f"{number}.jpg", photo) for number, photo in enumerate(photos)), **form)
    app.wait_finished(answer.json()["batch_id"])
    entries: list[dict[str, Any]] = answer.json()["photos"]
    return entries


def owner(app: App, photo_id: str) -> tuple[str | None, list[str | None]]:
    """Whose the photo is, and whose each of its faces."""

    def name(value: dict[str, Any]) -> str | None:
        return value["person"] and value["person"]["name"]

    photo = app.get(f"/api/v1/photos/{photo_id}").json()
    return name(photo), [name(face) for face in photo["faces"]]


def persons(parts: Parts) -> list[str]:
    with parts.database.transaction() as session:
        return list(session.scalars(select(Person.name).order_by(Person.name)))


def two_faces() -> bytes:
    both = Image.new("RGB", (1024, 512))
    both.paste(astronaut(), (0, 0))
    both.paste(astronaut(), (512, 0))
    return jpeg(both)


def test_a_name_for_a_known_photo_is_given_to_its_only_face(live_app: App) -> None:
    (first,) = send_and_wait(live_app, astronaut_jpeg())
    assert (first["person"], first["remark"]) == (None, None)
    (unknown,) = live_app.search(astronaut_again()).json()["faces"]
    assert unknown["matches"][0]["person_name"] is None
    (again,) = send(live_app, astronaut_jpeg(), person=NAME)
    assert (again["duplicate"], again["state"], again["remark"]) == (True, "done", None)
    assert again["person"]["name"] == NAME
    assert owner(live_app, first["id"]) == (NAME, [NAME])
    answer = live_app.search(astronaut_again()).json()
    assert answer["cache"] == "miss", "the answer from before the name is not found again"
    assert answer["faces"][0]["matches"][0]["person_name"] == NAME


def test_the_same_name_again_changes_nothing_however_it_is_spelled(live_app: App, parts: Parts) -> None:
    (first,) = send_and_wait(live_app, astronaut_jpeg(), person=COMPOSED)
    assert first["person"]["name"] == COMPOSED
    for spelling in (COMPOSED, DECOMPOSED, COMPOSED.upper(), DECOMPOSED.lower(), f"  {COMPOSED}\n"):
        (again,) = send(live_app, astronaut_jpeg(), person=spelling)
        assert (again["person"], again["remark"]) == (first["person"], None), repr(spelling)
    assert persons(parts) == [COMPOSED]
    assert owner(live_app, first["id"]) == (COMPOSED, [COMPOSED])


def test_a_photo_of_somebody_else_stays_theirs_and_the_answer_says_so(live_app: App, parts: Parts) -> None:
    (first,) = send_and_wait(live_app, astronaut_jpeg(), person=NAME)
    new, old = send(live_app, astronaut_jpeg(1), astronaut_jpeg(), person="Sally Ride")
    assert (new["person"]["name"], new["remark"]) == ("Sally Ride", None)
    assert (old["person"], old["remark"]["code"]) == (None, "person_differs")
    assert old["remark"]["message"]
    (only,) = send(live_app, astronaut_jpeg(), person="Mae Jemison")
    assert only["remark"]["code"] == "person_differs"
    assert NAME not in str(only), "a key that may only write does not learn who it is"
    assert persons(parts) == [NAME, "Sally Ride"], "nobody is made whom no photo shows"
    assert owner(live_app, first["id"]) == (NAME, [NAME])


def test_photos_of_several_faces_or_none_say_that_the_name_was_not_given(live_app: App, parts: Parts) -> None:
    group, empty = send_and_wait(live_app, two_faces(), no_face())
    answers = send(live_app, two_faces(), no_face(), person=NAME)
    assert [each["remark"]["code"] for each in answers] == ["person_not_assigned"] * 2
    assert "2 faces" in answers[0]["remark"]["message"]
    assert "no face" in answers[1]["remark"]["message"]
    assert persons(parts) == []
    assert owner(live_app, group["id"]) == (None, [None, None])
    assert owner(live_app, empty["id"]) == (None, [])


def test_a_photo_that_waits_takes_the_name_that_comes_after_it(web_app: App) -> None:
    (first,) = send(web_app, astronaut_jpeg())
    (again,) = send(web_app, astronaut_jpeg(), person=NAME)
    assert (again["id"], again["person"]["name"], again["remark"]) == (first["id"], NAME, None)
    (other,) = send(web_app, astronaut_jpeg(), person="Sally Ride")
    assert other["remark"]["code"] == "person_differs"
    answer = web_app.upload(("same.jpg", astronaut_jpeg()), person=NAME)
    web_app.start_worker()
    web_app.wait_finished(answer.json()["batch_id"])
    assert owner(web_app, first["id"]) == (NAME, [NAME])


@pytest.mark.parametrize("faces", [1, 2])
def test_a_name_is_not_lost_while_a_worker_has_the_photo(web_app: App, faces: int, parts: Parts) -> None:
    from face_pipeline.store import ledger

    photo_id = add_photo(parts, sha256="a" * 64)
    held = take(parts, photo_id)
    assert held is not None
    accepted = accept_as(parts, NAME, "a" * 64)
    assert (accepted.photo_id, accepted.duplicate, accepted.remark) == (photo_id, True, None)
    with parts.database.single_statements() as connection:
        ledger.finish(connection, held, [a_face()] * faces)
    photo = web_app.get(f"/api/v1/photos/{photo_id}").json()
    names = [face["person"] and face["person"]["name"] for face in photo["faces"]]
    if faces == 1:
        assert (names, photo["reason"]) == ([NAME], None)
    else:
        assert (names, photo["reason"]["code"]) == ([None, None], "person_not_assigned")
        assert "2 faces" in photo["reason"]["message"]


def test_a_failed_photo_sent_again_takes_the_new_name(clean: Installation, parts: Parts) -> None:
    from face_pipeline.store import ledger

    photo_id = accept_as(parts, "Wrong Name", "b" * 64).photo_id
    held = take(parts, photo_id)
    assert held is not None
    with parts.database.single_statements() as connection:
        ledger.fail(connection, held, "broken_image", "cannot be decoded")
    again = accept_as(parts, NAME, "b" * 64)
    assert (again.photo_id, again.state, again.remark) == (photo_id, "received", None)
    assert again.person is not None
    with parts.database.transaction() as session:
        assert session.get_one(Photo, photo_id).person_id == again.person.id
    assert accept_as(parts, "Third Name", "b" * 64).remark is not None
    assert persons(parts) == [NAME], "who has no photo any more is gone"


def test_who_has_another_photo_stays_when_a_failed_one_is_taken_over(
    clean: Installation, parts: Parts
) -> None:
    photo_ids = [accept_as(parts, "Wrong Name", letter * 64).photo_id for letter in "bc"]
    with parts.database.transaction() as session:
        session.get_one(Photo, photo_ids[0]).state = "failed"
    assert accept_as(parts, NAME, "b" * 64).remark is None
    assert persons(parts) == [NAME, "Wrong Name"]


def test_of_four_names_for_one_new_photo_at_once_one_is_taken(web_app: App, parts: Parts) -> None:
    for number in range(5):
        names = [f"person {number} of client {client}" for client in range(4)]
        photo = [("a.jpg", astronaut_jpeg(number))]
        answers = at_once(web_app, [(photo, {"person": name}) for name in names])
        assert [answer.status_code for answer in answers] == [202] * 4
        entries = [answer.json()["photos"][0] for answer in answers]
        given = [entry["person"]["name"] for entry in entries if entry["person"]]
        assert len(given) == 1
        assert [entry["remark"]["code"] for entry in entries if entry["remark"]] == ["person_differs"] * 3
        assert [name for name in persons(parts) if name in names] == given


def test_one_new_name_from_four_clients_is_one_person(web_app: App, parts: Parts) -> None:
    spellings = [COMPOSED, DECOMPOSED, COMPOSED.upper(), COMPOSED.lower()]
    answers = at_once(
        web_app,
        [
            ([(f"{client}.jpg", astronaut_jpeg(client))], {"person": name})
            for client, name in enumerate(spellings)
        ],
    )
    entries = [answer.json()["photos"][0] for answer in answers]
    assert len({entry["person"]["id"] for entry in entries}) == 1
    assert len(persons(parts)) == 1


def test_the_same_new_photo_twice_in_a_request_is_one_photo_of_the_person(web_app: App, parts: Parts) -> None:
    first, second = send(web_app, astronaut_jpeg(), astronaut_jpeg(), person=NAME)
    assert first["id"] == second["id"]
    assert (first["duplicate"], second["duplicate"]) == (False, True)
    assert first["person"] == second["person"] != None  # noqa: E711  (both, and a person)
    assert persons(parts) == [NAME]


@pytest.mark.parametrize(
    "name",
    [
        "Zoë \U0001f469\u200d\U0001f680", "می\u200cخواهم", "O'Connor-Ñandú, Jr. (3)", "王小明", "İpek",
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "x" * 200, "Straße",
    ],
)  # fmt: skip
def test_names_of_all_scripts_are_kept_as_typed(web_app: App, name: str, parts: Parts) -> None:
    (entry,) = send(web_app, astronaut_jpeg(), person=name)
    assert entry["person"]["name"] == name
    assert persons(parts) == [name]


BAD_NAMES = {
    "blank": "   ", "no-break spaces": "\u00a0\u2003", "joiners alone": "\u200d\u200c", "too long": "x" * 201,
    "newline": "Anna\nBerta", "tab": "A\tB", "carriage return": "A\rB", "nul": "A\0B", "nul alone": "\0",
    "escape": "A\x1b[31mB", "delete": "A\x7fB", "next line": "A\x85B", "line separator": "A\u2028B",
    "paragraph separator": "A\u2029B", "override": "A\u202eB", "embedding": "A\u202aB",
    "isolate": "A\u2066B", "end of isolate": "A\u2069B", "mark": "A\u200fB", "arabic mark": "A\u061cB",
    "zero width space": "A\u200bB",
    "byte order mark": "A\ufeffB", "soft hyphen": "A\u00adB", "private": "A\ue000B",
    "no character": "A\uffffB", "replacement": "A\ufffdB",
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES.keys())
def test_a_name_that_cannot_be_shown_is_refused_and_nothing_is_kept(
    web_app: App, name: str, parts: Parts
) -> None:
    answer = web_app.upload(("a.jpg", astronaut_jpeg()), person=name)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "person_name"), answer.text
    assert answer.json()["error"]["message"].isprintable()
    assert persons(parts) == []
    assert web_app.get("/api/v1/photos").json()["photos"] == []


def test_a_name_in_another_encoding_is_refused_and_not_spoilt(web_app: App) -> None:
    answer = web_app.request(
        "POST", "/api/v1/photos", files={"photos": ("a.jpg", astronaut_jpeg())}, data={"person": b"Andr\xe9"}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "person_name")
    assert "UTF-8" in answer.json()["error"]["message"]


@pytest.mark.parametrize("field", ["person", "collection"])
def test_of_two_names_in_one_request_none_is_lost_in_silence(web_app: App, field: str) -> None:
    photo = ("photos", ("a.jpg", astronaut_jpeg()))
    for files, form in (
        ([photo], [(field, "anna"), (field, "berta")]),
        ([photo, (field, ("name.txt", b"anna"))], []),
    ):
        answer = web_app.request("POST", "/api/v1/photos", files=files, data=form)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, f"{field}_name"), answer.text
    same = web_app.request("POST", "/api/v1/photos", files=[photo], data=[(field, "anna"), (field, "anna")])
    assert same.status_code == 202


def test_an_empty_field_names_nobody(web_app: App, parts: Parts) -> None:
    (entry,) = send(web_app, astronaut_jpeg(), person="")
    assert (entry["person"], entry["remark"]) == (None, None)
    assert persons(parts) == []


@pytest.mark.parametrize(
    "name", ["name\n", "\nname", "name\0", "Name", "na me", "x" * 65, "näme", "name\u2028"]
)
def test_a_bad_collection_name_is_refused_wherever_it_is_asked_for(
    web_app: App, name: str, parts: Parts
) -> None:
    for answer in (
        web_app.upload(("a.jpg", astronaut_jpeg()), collection=name),
        web_app.search(astronaut_jpeg(), collection=name),
        web_app.get("/api/v1/photos", params={"collection": name}),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "collection_name"), answer.text
    with parts.database.transaction() as session:
        assert session.scalars(select(Collection.name)).all() == []


def test_persons_of_before_survive_the_upgrade_each_with_its_name(clean: Installation) -> None:
    postgres = clean.postgres
    name = f"upgrade_{uuid.uuid4().hex[:8]}"
    admin = {"host": postgres.host, "port": postgres.port, "user": postgres.admin_user,
             "password": postgres.admin_password}  # fmt: skip
    for database, statement in (
        ("postgres", f"CREATE DATABASE {name} OWNER face"),
        (name, "CREATE EXTENSION vector"),
    ):
        connection = psycopg2.connect(dbname=database, **admin)
        connection.autocommit = True
        connection.cursor().execute(statement)
        connection.close()

    def run(script: str) -> str:
        environment = {**clean.environment, "FACE_DATABASE_NAME": name}
        result = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
        return result.stdout + result.stderr

    run(f"{MAKE_PARTS}from face_pipeline.store import schema; schema.migrate(parts.database, '0002')")
    connection = psycopg2.connect(dbname=name, **admin)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute(
        "INSERT INTO collections (name, contract_id, dimension) VALUES ('one', 'c', 128), ('two', 'c', 128)"
    )
    rows = [("Anna", 1), ("anna", 1), ("ANNA", 2), (COMPOSED, 1), (DECOMPOSED, 1), ("Berta", 1)]
    for minutes, (person, collection) in enumerate(rows):
        cursor.execute(
            "INSERT INTO persons (id, collection_id, name, created_at)"
            " VALUES (gen_random_uuid(), %s, %s, now() + %s * interval '1 minute')",
            (collection, person, minutes),
        )
    said = run("import sys; from face_pipeline.cli import main; sys.exit(main(['migrate']))")
    assert "2 of the persons" in said
    # What the release before this one writes, after a rollback.
    cursor.execute("INSERT INTO persons (id, collection_id, name) VALUES (gen_random_uuid(), 1, 'Carla')")
    found = run(f"""{MAKE_PARTS}
from face_pipeline.store import persons
from face_pipeline.store.models import Collection
with parts.database.transaction() as session:
    collection = session.get(Collection, 1)
    for name in ("Anna", "anna", "aNNa", "CARLA", {COMPOSED!r}, {DECOMPOSED!r}, {COMPOSED.upper()!r}):
        print(persons.open_person(session, collection, name).name)
""").splitlines()  # fmt: skip
    assert found == ["Anna", "anna", "Anna", "Carla", COMPOSED, DECOMPOSED, COMPOSED]
    cursor.execute("SELECT count(*), count(name_key) FROM persons")
    assert cursor.fetchone() == (7, 5)
    connection.close()
