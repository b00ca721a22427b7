"""The outbox: what happened is told once, in order, to whoever follows it."""

from __future__ import annotations

import base64
import json
import random
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from face_pipeline.actions import events as actions
from face_pipeline.parts import Parts
from face_pipeline.store import events, keys, ledger
from face_pipeline.store.models import ApiKey, Collection, Event, Person
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.orm import Session

from tests.app.test_ledger import a_face, accept_as, add_photo, take
from tests.installation import App, Installation
from tests.photos import astronaut_jpeg

pytestmark = pytest.mark.usefixtures("clean")


def follow(parts: Parts, after: events.Place | None = None, **wanted: Any) -> list[events.Told]:
    """All that can be read now, three at a time."""
    found: list[events.Told] = []
    while True:
        with parts.database.reading() as session:
            page, after = events.page(session, events.Wanted(**wanted), limit=3, after=after)
        found += page
        if not page:
            return found


def end(parts: Parts, photo_id: uuid.UUID, *faces: Any) -> None:
    held = take(parts, photo_id)
    assert held is not None
    with parts.database.single_statements() as connection:
        ledger.finish(connection, held, faces)


def write(session: Session, *photos: uuid.UUID) -> None:
    collection_id = session.scalars(select(Collection.id)).one()
    events.tell_lost(session, [(collection_id, each) for each in photos])


@pytest.fixture
def collection(clean: Installation, parts: Parts) -> str:
    del clean
    add_photo(parts)
    return "default"


def test_the_end_of_a_photo_tells_of_it_and_of_each_face(live_app: App) -> None:
    batch = live_app.upload(("a.jpg", astronaut_jpeg()), person="Eileen Collins").json()
    live_app.wait_finished(batch["batch_id"])
    photo = live_app.get(f"/api/v1/photos/{batch['photos'][0]['id']}").json()
    told = live_app.get("/api/v1/events").json()["events"]
    assert [each["kind"] for each in told] == ["photo.done", "person.seen"]
    assert {each["photo_id"] for each in told} == {photo["id"]}
    assert {each["collection"] for each in told} == {"default"}
    assert [each["face_count"] for each in told] == [1, None]
    assert [each["face_id"] for each in told] == [None, photo["faces"][0]["id"]]
    assert [each["person"] for each in told] == [None, photo["faces"][0]["person"]]


def test_a_face_of_nobody_is_told_too_and_why_it_was_not_named(parts: Parts) -> None:
    photo = accept_as(parts, "Anna", "a" * 64)
    end(parts, photo.photo_id, a_face(), a_face())
    told = follow(parts)
    assert [(each.kind, each.face_count, each.reason_code) for each in told] == [
        ("photo.done", 2, "person_not_assigned"),
        ("face.unknown", None, None),
        ("face.unknown", None, None),
    ]
    assert len({each.id for each in told}) == 3
    assert all(each.person_id is None for each in told)


def test_a_photo_that_failed_is_told_with_its_reason(parts: Parts) -> None:
    held = take(parts, add_photo(parts))
    assert held is not None
    with parts.database.single_statements() as connection:
        ledger.fail(connection, held, "broken_image", "cannot be decoded")
    lost = add_photo(parts)
    take(parts, lost, lease=-1)
    with parts.database.transaction() as session:
        assert ledger.release_lapsed(session, max_attempts=1) == 0
    again = add_photo(parts)
    take(parts, again, lease=-1)
    with parts.database.transaction() as session:
        assert ledger.release_lapsed(session, max_attempts=3) == 1
    assert [(each.photo_id, each.kind, each.reason_code) for each in follow(parts)] == [
        (held.photo_id, "photo.failed", "broken_image"),
        (lost, "photo.failed", "worker_lost"),
    ], "a photo that is tried again is not told of"


def test_a_run_that_lost_its_photo_tells_nothing(parts: Parts) -> None:
    photo_id = add_photo(parts)
    slow = take(parts, photo_id, lease=-1)
    assert slow is not None
    with parts.database.transaction() as session:
        ledger.release_lapsed(session, max_attempts=3)
    end(parts, photo_id, a_face())
    with pytest.raises(ledger.LeaseLost), parts.database.single_statements() as connection:
        ledger.finish(connection, slow, [a_face(), a_face()])
    assert [each.kind for each in follow(parts)] == ["photo.done", "face.unknown"]


@pytest.mark.usefixtures("collection")
def test_an_event_that_is_committed_late_is_not_missed(parts: Parts) -> None:
    early, late, last = (uuid.uuid4() for _ in range(3))
    with parts.database.transaction() as slow:
        # The smaller number, and the later commit.
        write(slow, early)
        slow.flush()
        with parts.database.transaction() as quick:
            write(quick, late)
        with parts.database.reading() as session:
            seen, place = events.page(session, events.Wanted(), limit=50, after=None)
        assert seen == [], "one that is committed waits for the one before it"
    with parts.database.transaction() as session:
        write(session, last)
    assert [each.photo_id for each in follow(parts, place)] == [early, late, last]


@pytest.mark.usefixtures("collection")
def test_an_event_with_a_larger_number_and_an_earlier_transaction_is_not_missed(parts: Parts) -> None:
    first, second = uuid.uuid4(), uuid.uuid4()
    with parts.database.transaction() as session:
        # Its transaction begins to write before the other one's, and writes its event after it.
        session.execute(update(Collection).values(version=Collection.version))
        with parts.database.transaction() as other:
            write(other, second)
            other.flush()
            write(session, first)
            session.commit()
            with parts.database.reading() as reading:
                seen, place = events.page(reading, events.Wanted(), limit=50, after=None)
    assert [each.photo_id for each in [*seen, *follow(parts, place)]] == [first, second]


@pytest.mark.usefixtures("collection")
def test_whoever_follows_gets_all_that_many_write_at_once(parts: Parts) -> None:
    written: list[list[uuid.UUID]] = [[] for _ in range(6)]
    over = threading.Event()

    def writer(own: list[uuid.UUID], seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(40):
            with parts.database.transaction() as session:
                photos = [uuid.uuid4() for _ in range(chance.randrange(1, 4))]
                write(session, *photos)
                time.sleep(chance.random() * 0.01)
            own += photos

    def reader(got: list[uuid.UUID]) -> None:
        place: events.Place | None = None
        while True:
            last = over.is_set()
            with parts.database.reading() as session:
                page, place = events.page(session, events.Wanted(), limit=5, after=place)
            got += [each.photo_id for each in page]
            if last and not page:
                return

    got: list[uuid.UUID] = []
    following = threading.Thread(target=reader, args=(got,))
    writers = [threading.Thread(target=writer, args=(own, seed)) for seed, own in enumerate(written)]
    for thread in (following, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    over.set()
    following.join()
    everything = [each for own in written for each in own]
    assert len(got) == len(everything)
    assert set(got) == set(everything)
    for own in written:
        assert [each for each in got if each in set(own)] == own, "in the order in which each wrote"


def test_a_page_says_where_to_go_on_from(parts: Parts, web_app: App) -> None:
    for _ in range(3):
        end(parts, add_photo(parts), a_face())
    first = web_app.get("/api/v1/events?limit=2").json()
    rest = web_app.get("/api/v1/events", params={"after": first["next_cursor"]}).json()
    kinds = [each["kind"] for each in first["events"] + rest["events"]]
    assert kinds == ["photo.done", "face.unknown"] * 3
    nothing = web_app.get("/api/v1/events", params={"after": rest["next_cursor"]}).json()
    assert nothing["events"] == []
    end(parts, add_photo(parts))
    then = web_app.get("/api/v1/events", params={"after": nothing["next_cursor"]}).json()
    assert [each["kind"] for each in then["events"]] == ["photo.done"]


def test_whoever_comes_late_begins_with_the_newest(parts: Parts, web_app: App) -> None:
    nothing = web_app.get("/api/v1/events?last=5").json()
    assert nothing["events"] == []
    photos = [add_photo(parts) for _ in range(3)]
    for photo in photos:
        end(parts, photo, a_face())
    everything = web_app.get("/api/v1/events").json()
    newest = web_app.get("/api/v1/events?last=2").json()
    assert newest["events"] == everything["events"][-2:]
    assert len(web_app.get("/api/v1/events?last=200").json()["events"]) == 6
    done = web_app.get("/api/v1/events?last=2&kind=photo.done").json()
    assert [each["photo_id"] for each in done["events"]] == [str(each) for each in photos[1:]]
    now = web_app.get("/api/v1/events?last=0").json()
    assert now["events"] == []
    then = add_photo(parts)
    end(parts, then)
    for page in (newest, done, now):
        after = web_app.get("/api/v1/events", params={"after": page["next_cursor"]}).json()
        assert [each["photo_id"] for each in after["events"]] == [str(then)]
    after = web_app.get("/api/v1/events", params={"after": nothing["next_cursor"]}).json()
    assert len(after["events"]) == 7


def test_only_what_is_wanted_is_told_and_the_rest_is_passed_over(parts: Parts, web_app: App) -> None:
    for _ in range(3):
        end(parts, add_photo(parts), a_face())
    page = web_app.get("/api/v1/events?kind=face.unknown&limit=2").json()
    assert [each["kind"] for each in page["events"]] == ["face.unknown"] * 2
    assert web_app.get("/api/v1/events?collection=another").json()["events"] == []
    # It looked at all there was: a new one comes without the old ones being read again.
    passed = web_app.get("/api/v1/events?kind=photo.failed").json()
    assert passed["events"] == []
    after = web_app.get("/api/v1/events", params={"after": passed["next_cursor"]}).json()
    assert after["events"] == []


@pytest.fixture
def narrow_key(parts: Parts) -> Iterator[str]:
    """A key that reads the collection `open` alone."""
    with parts.database.transaction() as session:
        _, key = keys.create(session, "narrow", ["read"])
        session.execute(update(ApiKey).where(ApiKey.name == "narrow").values(collections=["open"]))
    yield key
    with parts.database.transaction() as session:
        session.execute(delete(ApiKey).where(ApiKey.name == "narrow"))


def test_a_key_hears_of_its_own_collections_alone(parts: Parts, web_app: App, narrow_key: str) -> None:
    end(parts, add_photo(parts), a_face())
    own = {"Authorization": f"Bearer {narrow_key}"}
    assert web_app.get("/api/v1/events", headers=own).json()["events"] == []
    refused = web_app.get("/api/v1/events?collection=default", headers=own)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "collection_forbidden")
    with parts.database.transaction() as session:
        session.execute(update(Collection).values(name="open"))
    assert len(web_app.get("/api/v1/events", headers=own).json()["events"]) == 2


def test_a_name_does_not_outlive_its_person(parts: Parts, web_app: App) -> None:
    photo = accept_as(parts, "Anna", "a" * 64)
    end(parts, photo.photo_id, a_face())
    with parts.database.transaction() as session:
        session.execute(update(Person).values(name="Hannah"))
    seen = web_app.get("/api/v1/events?kind=person.seen").json()["events"]
    assert seen[0]["person"]["name"] == "Hannah"
    with parts.database.transaction() as session:
        session.execute(delete(Person))
        assert "Hannah" not in str(session.execute(text("SELECT events::text FROM events")).all())
    (gone,) = web_app.get("/api/v1/events?kind=person.seen").json()["events"]
    assert gone["person"] == {"id": seen[0]["person"]["id"], "name": None}


def test_events_of_a_collection_that_was_deleted_are_not_told(parts: Parts) -> None:
    end(parts, add_photo(parts), a_face())
    with parts.database.transaction() as session:
        session.execute(delete(Collection))
    assert follow(parts) == []


def cursor(*values: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode()


@pytest.mark.parametrize(
    "query",
    [
        {"after": "nonsense"}, {"after": ""}, {"after": cursor(-1, 1)}, {"after": cursor(1, -1)},
        {"after": cursor(1)}, {"after": cursor(2**63, 1)}, {"after": cursor("1", "2")},
        {"after": cursor(True, 1)}, {"kind": "photo.eaten"}, {"kind": "photo.done\0"}, {"limit": "0"},
        {"limit": "201"}, {"limit": "1e9"}, {"collection": "No Name"}, {"collection": "\N{GRINNING FACE}"},
        {"last": "-1"}, {"last": "201"}, {"last": "x"}, {"last": "1", "after": cursor(1, 1)},
    ],
)  # fmt: skip
def test_a_wrong_question_gets_an_answer_that_says_so(web_app: App, query: dict[str, str]) -> None:
    answer = web_app.get("/api/v1/events", params=query)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in ("parameter", "collection_name")


def test_a_cursor_from_the_future_is_one_of_another_server(parts: Parts, web_app: App) -> None:
    end(parts, add_photo(parts), a_face())
    answer = web_app.get("/api/v1/events", params={"after": cursor(2**62, 0)})
    assert [each["kind"] for each in answer.json()["events"]] == ["photo.done", "face.unknown"]


@pytest.mark.usefixtures("collection")
def test_old_events_are_removed_and_new_ones_kept(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "FORGOTTEN_AT_ONCE", 2)
    old, new = [uuid.uuid4() for _ in range(5)], uuid.uuid4()
    with parts.database.transaction() as session:
        write(session, *old)
        session.execute(update(Event).values(at=func.now() - timedelta(days=31)))
    with parts.database.transaction() as session:
        write(session, new)
    assert actions.tidy(parts) == 5
    assert [each.photo_id for each in follow(parts)] == [new]
    assert actions.tidy(parts) == 0


@pytest.mark.usefixtures("collection")
def test_a_database_from_another_server_goes_on(parts: Parts) -> None:
    before, unseen, now = (uuid.uuid4() for _ in range(3))
    with parts.database.transaction() as session:
        write(session, before, unseen)
        # As pg_restore leaves it on a fresh server: by transactions that are still to come there.
        session.execute(update(Event).values(xid=2**62))
        first = session.scalars(select(func.min(Event.number))).one()
    place = events.Place(2**62, first)
    with parts.database.transaction() as session:
        write(session, now)
    actions.tidy(parts)
    assert [each.photo_id for each in follow(parts)] == [before, unseen, now]
    assert [each.photo_id for each in follow(parts, place)] == [unseen, now]
    later = uuid.uuid4()
    with parts.database.transaction() as session:
        write(session, later)
    assert [each.photo_id for each in follow(parts)] == [before, unseen, now, later]
