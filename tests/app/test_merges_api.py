"""Two persons who are one: what a client notices that merges them, and takes them apart again."""

from __future__ import annotations

import uuid
from functools import partial

import pytest
from face_pipeline.ops import indexer
from face_pipeline.parts import Parts
from face_pipeline.store import ledger
from face_pipeline.store.models import Collection, Face, Merge, Photo
from sqlalchemy import func, select, text, update

from tests.app.test_contract import _check
from tests.app.test_ledger import a_face, accept_as, take
from tests.app.test_names import owner, send, send_and_wait
from tests.app.test_persons_api import (
    NOBODY,
    PERSONS,
    audited,
    done,
    error,
    found,
    make,
    merge,
    named,
    patch,
    person,
    together,
    undo,
)
from tests.installation import App
from tests.photos import astronaut_again, astronaut_jpeg


def test_two_persons_become_one_and_a_search_says_so(live_app: App, parts: Parts) -> None:
    first = send_and_wait(live_app, astronaut_jpeg(1), person="Eileen")[0]
    second = send_and_wait(live_app, astronaut_jpeg(2), person="E. Collins")[0]
    kept, removed = first["person"]["id"], second["person"]["id"]
    live_app.search(astronaut_again())
    answer = merge(live_app, kept, removed)
    told = answer.json()
    _check(told, "/api/v1/persons/{person_id}/merge", "post", 200)
    assert (told["person"]["name"], told["person"]["face_count"], told["person"]["photo_count"]) == (
        "Eileen",
        2,
        2,
    )
    assert error(live_app.get(f"{PERSONS}/{removed}")) == (404, "person_not_found")
    assert owner(live_app, second["id"]) == ("Eileen", ["Eileen"])
    searched = live_app.search(astronaut_again()).json()
    assert searched["cache"] == "miss", "the answer from before the merge is not found again"
    assert {match["person_name"] for match in searched["faces"][0]["matches"]} == {"Eileen"}
    (_, details) = audited(parts, kept)[-1]
    assert details == {"merge": told["id"], "from": removed, "faces": 1, "photos": 1}
    back = undo(live_app, told["id"])
    _check(back.json(), "/api/v1/merges/{merge_id}/undo", "post", 200)
    assert (back.json()["person"]["id"], back.json()["person"]["name"]) == (removed, "E. Collins")
    assert live_app.search(astronaut_again()).json()["cache"] == "miss"
    assert [owner(live_app, each["id"])[1] for each in (first, second)] == [["Eileen"], ["E. Collins"]]


def test_an_undo_brings_back_the_very_same_person(web_app: App, parts: Parts) -> None:
    for name in ("Anna", "Berta"):
        done(parts, name)
    accept_as(parts, "Berta", "c" * 64)
    anna, berta = named(parts, "Anna"), named(parts, "Berta")
    patch(web_app, berta, external_id="b-2", metadata={"team": "red"})
    before = [person(web_app, each) for each in (anna, berta)]
    etag = web_app.get(f"{PERSONS}/{berta}").headers["ETag"]
    told = merge(web_app, anna, berta).json()
    assert make(web_app, "Carla", external_id="c")["id"]
    answer = undo(web_app, told["id"]).json()
    assert {key: answer[key] for key in ("faces", "photos", "faces_left", "photos_left")} == {
        "faces": 1, "photos": 2, "faces_left": 0, "photos_left": 0,
    }  # fmt: skip
    after = [person(web_app, each) for each in (anna, berta)]
    for each in (*before, *after):
        each.pop("updated_at")
    assert after == before
    assert web_app.get(f"{PERSONS}/{berta}").headers["ETag"] != etag, "a change seen before comes too late"
    assert error(undo(web_app, told["id"])) == (409, "merge_undone")
    assert audited(parts, berta)[-1][0] == "person.unmerge"
    with parts.database.transaction() as session:
        assert session.scalars(select(Merge.removed)).all() == [{}], "nothing of them is kept for longer"


def test_what_was_changed_after_a_merge_stays_as_it_is(web_app: App, parts: Parts) -> None:
    for name in ("Anna", "Berta", "Berta", "Berta"):
        done(parts, name)
    anna, berta = named(parts, "Anna"), named(parts, "Berta")
    told = merge(web_app, anna, berta).json()
    assert told["person"]["face_count"] == 4
    carla = make(web_app, "Carla")["id"]
    with parts.database.transaction() as session:
        kept_ids = session.scalars(select(Merge.faces)).one()
        session.execute(update(Face).where(Face.id == kept_ids[0]).values(person_id=uuid.UUID(carla)))
        gone = session.get_one(Face, kept_ids[1]).photo_id
        session.execute(text("DELETE FROM photos WHERE id = :id"), {"id": gone})
    done(parts, "Anna")
    answer = undo(web_app, told["id"]).json()
    assert (answer["faces"], answer["faces_left"]) == (1, 2)
    assert (answer["photos"], answer["photos_left"]) == (2, 1)
    counts = [person(web_app, each)["face_count"] for each in (anna, berta, carla)]
    assert counts == [2, 1, 1]


def test_two_persons_that_cannot_be_one_stay_two(web_app: App) -> None:
    anna, berta = make(web_app, "Anna"), make(web_app, "Berta", collection="other")
    assert error(merge(web_app, anna["id"], anna["id"])) == (409, "merge_self")
    assert error(merge(web_app, anna["id"], anna["id"].upper())) == (409, "merge_self")
    assert error(merge(web_app, anna["id"], berta["id"])) == (409, "merge_other_collection")
    assert found(web_app) == ["Anna", "Berta"]
    answer = web_app.request("POST", f"{PERSONS}/{anna['id']}/merge", json={"person": berta["id"]})
    assert error(answer) == (400, "parameter")
    assert "from" in answer.json()["error"]["message"]


def test_an_undo_waits_for_a_name_that_was_taken_meanwhile(web_app: App) -> None:
    anna, berta = make(web_app, "Anna"), make(web_app, "Berta", external_id="7")
    told = merge(web_app, anna["id"], berta["id"]).json()
    other = make(web_app, "BERTA")
    answer = undo(web_app, told["id"])
    assert error(answer) == (409, "person_exists")
    assert answer.json()["error"]["details"] == {"person_id": other["id"]}
    patch(web_app, other["id"], name="Carla", external_id="7")
    assert error(undo(web_app, told["id"])) == (409, "external_id_exists")
    patch(web_app, other["id"], external_id=None)
    assert undo(web_app, told["id"]).json()["person"]["id"] == berta["id"]


def test_a_merge_is_final_after_a_day_and_keeps_nothing_of_who_is_gone(web_app: App, parts: Parts) -> None:
    done(parts, "Berta")
    anna, berta = make(web_app, "Anna")["id"], named(parts, "Berta")
    told = merge(web_app, anna, berta).json()
    assert indexer.forget_lapsed_merges(parts) == 0
    with parts.database.transaction() as session:
        (until,) = session.execute(select(Merge.undo_until - Merge.merged_at)).one()
        assert until.total_seconds() == 24 * 3600
        session.execute(update(Merge).values(undo_until=func.now()))
    assert error(undo(web_app, told["id"])) == (409, "merge_expired")
    assert indexer.forget_lapsed_merges(parts) == 1
    assert indexer.forget_lapsed_merges(parts) == 0
    assert error(undo(web_app, told["id"])) == (409, "merge_expired")
    with parts.database.transaction() as session:
        row = session.scalars(select(Merge)).one()
        assert (row.removed, row.faces, row.photos) == ({}, [], [])
        assert "Berta" not in str(session.execute(text("SELECT merges::text FROM merges")).all())


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["first merge first", "last merge first"])
def test_a_merge_of_a_merge_is_undone_in_any_order(
    web_app: App, parts: Parts, order: tuple[int, int]
) -> None:
    names = ("Anna", "Berta", "Carla")
    photos = [done(parts, name) for name in names]
    anna, berta, carla = (named(parts, name) for name in names)
    made = [merge(web_app, berta, anna).json()["id"], merge(web_app, carla, berta).json()["id"]]
    assert person(web_app, carla)["face_count"] == 3
    for number in order:
        assert undo(web_app, made[number]).status_code == 200
    assert [owner(web_app, photo) for photo in photos] == [(name, [name]) for name in names]
    assert [person(web_app, each)["face_count"] for each in (anna, berta, carla)] == [1, 1, 1]


def test_a_photo_under_work_goes_to_who_was_kept_and_back_with_the_undo(web_app: App, parts: Parts) -> None:
    done(parts, "Anna")
    photo_id = accept_as(parts, "Berta", "d" * 64).photo_id
    held = take(parts, photo_id)
    assert held is not None
    anna, berta = named(parts, "Anna"), named(parts, "Berta")
    told = merge(web_app, anna, berta).json()
    with parts.database.single_statements() as connection:
        ledger.finish(connection, held, [a_face()])
    assert owner(web_app, str(photo_id)) == ("Anna", ["Anna"])
    later = accept_as(parts, "Anna", "d" * 64)
    assert (later.duplicate, later.remark) == (True, None), "it is Anna's"
    answer = undo(web_app, told["id"]).json()
    assert (answer["faces"], answer["photos"], answer["faces_left"]) == (1, 1, 0)
    assert owner(web_app, str(photo_id)) == ("Berta", ["Berta"])
    assert person(web_app, anna)["face_count"] == 1


def test_who_is_erased_takes_the_memory_of_their_merges_along(web_app: App, parts: Parts) -> None:
    anna, berta = make(web_app, "Anna")["id"], make(web_app, "Berta")["id"]
    told = merge(web_app, anna, berta).json()
    with parts.database.transaction() as session:
        session.execute(text("DELETE FROM persons WHERE id = :id"), {"id": anna})
    assert error(undo(web_app, told["id"])) == (404, "merge_not_found")


def test_two_merged_into_each_other_at_once_leave_one_with_all(web_app: App, parts: Parts) -> None:
    for number in range(8):
        names = [f"{letter}{number}" for letter in "ab"]
        for name in names:
            done(parts, name)
        one, other = (named(parts, name) for name in names)
        answers = together(partial(merge, web_app, one, other), partial(merge, web_app, other, one))
        assert sorted(answer.status_code for answer in answers) == [200, 404]
        (kept,) = (answer.json()["person"] for answer in answers if answer.ok)
        assert kept["face_count"] == 2
        undone = next(undo(web_app, answer.json()["id"]) for answer in answers if answer.ok)
        assert undone.status_code == 200
        assert [person(web_app, each)["face_count"] for each in (one, other)] == [1, 1]


def test_an_undo_asked_for_twice_at_once_is_done_once(web_app: App, parts: Parts) -> None:
    for number in range(5):
        names = [f"{letter}{number}" for letter in "ab"]
        for name in names:
            done(parts, name)
        one, other = (named(parts, name) for name in names)
        merged = merge(web_app, one, other).json()["id"]
        answers = together(*[partial(undo, web_app, merged)] * 3)
        assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
        assert person(web_app, other)["face_count"] == 1


def test_no_photo_is_lost_that_comes_while_its_person_is_merged(web_app: App, parts: Parts) -> None:
    web_app.start_worker()
    sent = 0
    for number in range(6):
        anna, berta = f"Anna {number}", f"Berta {number}"
        first = [
            send(web_app, astronaut_jpeg(sent + each), person=name)[0]
            for each, name in enumerate((anna, berta))
        ]
        sent += 2
        one, other = (each["person"]["id"] for each in first)
        photos = [astronaut_jpeg(sent + each) for each in range(3)]
        sent += 3
        answers = together(
            partial(merge, web_app, one, other),
            *(partial(web_app.upload, ("a.jpg", photo), person=berta) for photo in photos),
        )
        assert [answer.status_code for answer in answers] == [200, 202, 202, 202], [
            each.text for each in answers
        ]
        for answer in answers[1:]:
            web_app.wait_finished(answer.json()["batch_id"])
            photo = answer.json()["photos"][0]
            whose, faces = owner(web_app, photo["id"])
            assert whose in (anna, berta), "it came before the merge, or named somebody new"
            assert faces == [whose]
    with parts.database.transaction() as session:
        assert session.scalar(select(func.count()).where(Photo.person_id.is_(None))) == 0


def test_merges_renames_and_undos_that_meet_end_in_answers_and_keep_every_face(
    web_app: App, parts: Parts
) -> None:
    names = ["Anna", "Berta", "Carla"]
    for name in names * 2:
        done(parts, name)
    for _ in range(6):
        ids = [each["id"] for each in web_app.get(PERSONS).json()["persons"]]
        one, two = ids[0], ids[1]
        third = ids[2] if len(ids) > 2 else NOBODY
        answers = together(
            partial(merge, web_app, one, two),
            partial(merge, web_app, two, third),
            partial(merge, web_app, third, one),
            partial(patch, web_app, two, name=f"New {uuid.uuid4()}"),
            partial(web_app.get, f"{PERSONS}/{one}/faces"),
        )
        assert {answer.status_code for answer in answers} <= {200, 404}, [each.text for each in answers]
        merged = [answer.json()["id"] for answer in answers[:3] if answer.ok]
        assert merged
        undone = together(*(partial(undo, web_app, each) for each in merged * 2))
        assert {answer.status_code for answer in undone} <= {200, 409}, [each.text for each in undone]
        assert len(web_app.get(PERSONS).json()["persons"]) == 3
        assert sum(each["face_count"] for each in web_app.get(PERSONS).json()["persons"]) == 6
    with parts.database.transaction() as session:
        assert session.scalars(select(Collection.face_count)).one() == 6
        assert session.scalar(select(func.count()).where(Face.person_id.is_(None))) == 0
