"""Web hooks: what a receiver gets, whatever it does, and where nothing is ever sent."""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from face_pipeline.actions import hooks as actions
from face_pipeline.actions.receivers import Rules
from face_pipeline.ops import hooks as sending
from face_pipeline.ops import post
from face_pipeline.parts import Parts
from face_pipeline.store import audit
from face_pipeline.store import hooks as store
from face_pipeline.store.models import EventKind, Hook, HookDelivery
from face_pipeline.store.rights import Role
from sqlalchemy import func, text, update

from tests.app.receivers import Receiver, Receivers, receivers
from tests.app.test_events import end
from tests.app.test_ledger import a_face, add_photo
from tests.installation import App, Installation, as_role, start_web, wait_until
from tests.photos import astronaut_jpeg
from tests.services.process import free_port

pytestmark = pytest.mark.usefixtures("clean")

LOOPBACK = {"hooks_allowed_networks": "127.0.0.0/8 ::1", "hooks_allow_http": True}
SHORT = tuple(timedelta(seconds=each) for each in (0.1, 0.2))
OUTSIDE = "https://events.example.org/in"


@pytest.fixture
def near(parts: Parts) -> Parts:
    """Parts of an installation whose operator lets hooks lead to this machine."""
    return Parts(parts.settings.model_copy(update=LOOPBACK))


@pytest.fixture
def receiver() -> Iterator[Receivers]:
    with receivers() as made:
        yield made


@contextmanager
def sender(parts: Parts, **options: Any) -> Iterator[sending.Sender]:
    with as_role(parts, Role.HOOKS) as own:
        made = sending.Sender(own, **{"pauses": SHORT, "timeout": 2.0, **options})
        thread = threading.Thread(target=made.run)
        thread.start()
        try:
            yield made
        finally:
            made.end()
            thread.join()


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "LOOK_SECONDS", 0.05)


def hook(parts: Parts, to: str, **options: Any) -> tuple[Hook, str]:
    given = {"kinds": list(EventKind), "wanted": None, "enabled": True, **options}
    return actions.create(parts, url=to, by=audit.SERVICE, **given)


def happen(parts: Parts, photos: int = 1) -> list[str]:
    """So many photos without a face end; returns their ids in this order."""
    ids = [add_photo(parts) for _ in range(photos)]
    for each in ids:
        end(parts, each)
    return [str(each) for each in ids]


def photos_of(receiver: Receiver) -> list[str]:
    return [each["data"]["photo_id"] for each in receiver.bodies]


def deliveries(parts: Parts, hook_id: uuid.UUID) -> list[HookDelivery]:
    with parts.database.reading() as session:
        return list(store.deliveries(session, hook_id, limit=200, before=None)[0])


def until(condition: Callable[[], Any], what: str) -> Any:
    return wait_until(condition, 20, what, every=0.02)


def wait_for_error(parts: Parts, made: Hook) -> HookDelivery:
    """The hook's newest delivery once a try of it went wrong."""
    tried: HookDelivery = until(
        lambda: next((each for each in deliveries(parts, made.id) if each.last_error), None),
        "a try that went wrong",
    )
    return tried


def signature(secret: str, got: Any) -> str:
    """As the receiver works it out from what the standard says."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.raw
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def test_a_receiver_is_told_who_was_seen_and_can_check_who_says_so(
    clean: Installation, receiver: Receivers
) -> None:
    near = {"FACE_HOOKS_ALLOWED_NETWORKS": "127.0.0.1/32", "FACE_HOOKS_ALLOW_HTTP": "true"}
    url, web = start_web(clean, log="web-hooks.log", **near)
    app, program = App(clean, url, web), clean.spawn("hooks.log", *command("tell-hooks"), **near)
    told = receiver()
    made = app.request("POST", "/api/v1/hooks", json={"url": told.url})
    assert made.status_code == 201, made.text
    worker = app.start_worker()
    try:
        batch = app.upload(("a.jpg", astronaut_jpeg()), person="Eileen Collins").json()
        until(lambda: len(told.got) >= 2, "two events to arrive")
    finally:
        codes = [clean.end(process) for process in (program, worker, web)]
    assert codes[0] == 0, clean.log("hooks.log")
    done, seen = told.bodies
    assert (done["type"], seen["type"]) == ("photo.done", "person.seen")
    assert done["data"]["photo_id"] == batch["photos"][0]["id"]
    assert seen["data"]["person"]["name"] == "Eileen Collins"
    assert seen["timestamp"] == seen["data"]["at"]
    for got in told.got:
        assert got.headers["content-type"] == "application/json"
        assert got.headers["webhook-id"] == got.body["data"]["id"]
        assert got.headers["webhook-signature"] == signature(made.json()["secret"], got)
    assert "Eileen" not in clean.log("hooks.log")


def command(*arguments: str) -> list[str]:
    import sys

    return [sys.executable, "-m", "face_pipeline.cli", *arguments]


def test_a_receiver_that_fails_for_a_while_gets_everything_in_order(near: Parts, receiver: Receivers) -> None:
    told = receiver()
    told.status, told.answer = 500, b"out of order\0" * 1000
    made, _ = hook(near, told.url)
    ids = happen(near, 5)
    with sender(near):
        tried = wait_for_error(near, made)
        until(lambda: len(told.got) >= 3, "some tries")
        assert set(photos_of(told)) == set(ids[:1]), "nothing overtakes what failed"
        assert (tried.state, tried.last_status, tried.last_error) == ("waiting", 500, "it answered 500")
        assert tried.last_answer == ("out of order " * 1000)[:200]
        assert tried.next_try_at is not None
        told.status, told.answer = 204, b""
        until(lambda: photos_of(told)[-1] == ids[-1], "the last event")
    assert list(dict.fromkeys(photos_of(told))) == ids
    one_id = {each.headers["webhook-id"] for each in told.got if each.body["data"]["photo_id"] == ids[0]}
    assert len(one_id) == 1, "each try has the event's own id"
    rows = deliveries(near, made.id)
    assert [row.state for row in rows] == ["delivered"] * 5
    assert rows[-1].attempts >= 3


def test_a_receiver_that_hangs_keeps_no_other_waiting(near: Parts, receiver: Receivers) -> None:
    stuck, well = receiver(), receiver()
    stuck.hangs.set()
    slow, _ = hook(near, stuck.url)
    hook(near, well.url)
    ids = happen(near, 10)
    with sender(near, timeout=60.0):
        until(lambda: stuck.got, "the first try")
        until(lambda: len(well.got) == 10, "the other receiver to have everything")
        assert len(stuck.got) == 1
        assert deliveries(near, slow.id)[0].attempts == 0, "it still hangs"
        stuck.hangs.clear()
        stuck.answers.set()
        until(lambda: len(stuck.got) == 10, "what it missed")
    assert photos_of(well) == ids
    assert photos_of(stuck) == ids


def test_a_receiver_that_never_answers_is_given_its_time_and_no_more(
    near: Parts, receiver: Receivers
) -> None:
    told = receiver()
    told.hangs.set()
    made, _ = hook(near, told.url)
    happen(near)
    with sender(near, timeout=0.5):
        assert wait_for_error(near, made).last_error == "no answer within 0.5 seconds"
        told.hangs.clear()
        told.answers.set()
        until(lambda: deliveries(near, made.id)[0].state == "delivered", "the event")


@contextmanager
def talker(*pieces: bytes, every: float) -> Iterator[int]:
    """A server that says these pieces again and again to whoever connects; its port."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def talk(connection: socket.socket) -> None:
            with connection:
                connection.recv(65536)
                while not over.is_set():
                    for piece in pieces:
                        try:
                            connection.sendall(piece)
                        except OSError:
                            return
                        over.wait(every)

        def listen() -> None:
            while not over.is_set():
                try:
                    threading.Thread(target=talk, args=(server.accept()[0],), daemon=True).start()
                except OSError:
                    return

        thread = threading.Thread(target=listen)
        thread.start()
        yield server.getsockname()[1]
        over.set()
        socket.create_connection(("127.0.0.1", server.getsockname()[1])).close()
        thread.join()


@pytest.mark.parametrize(
    ("pieces", "every", "error"),
    [
        ((b"HTTP/1.1 200 OK\r\n", b"X-Slow: x\r\n" * 2), 0.1, "no answer within 0.5 seconds"),
        ((b"220 smtp.example.org ESMTP\r\n",), 0.1, "what it answered is no HTTP: BadStatusLine"),
        ((b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 100_000,), 0.0, None),
    ],
    ids=["drop by drop", "another protocol", "without an end"],
)  # fmt: skip
def test_what_a_receiver_answers_is_bounded(
    near: Parts, pieces: tuple[bytes, ...], every: float, error: str | None
) -> None:
    with talker(*pieces, every=every) as port:
        target = Rules.of(near.settings).check_url(f"http://127.0.0.1:{port}/")
        tried = post.Post(Rules.of(near.settings), timeout=0.5).send(target, b"{}", {})
    assert (tried.delivered, tried.error) == (error is None, error)
    assert len(tried.answer or "") <= 200


def test_a_receiver_that_comes_back_gets_what_it_missed(near: Parts, receiver: Receivers) -> None:
    port = free_port()
    made, _ = hook(near, f"http://127.0.0.1:{port}/events")
    ids = happen(near, 3)
    with sender(near):
        assert wait_for_error(near, made).last_error == "no connection: Connection refused"
    # A sender that was started anew goes on where the other one was.
    told = receiver(port=port)
    with sender(near):
        until(lambda: len(told.got) == 3, "what it missed")
        ids += happen(near, 2)
        until(lambda: len(told.got) == 5, "what happened then")
    assert photos_of(told) == ids


def test_a_connection_is_used_for_more_than_one_event(near: Parts, receiver: Receivers) -> None:
    told = receiver()
    hook(near, told.url)
    happen(near, 8)
    with sender(near):
        until(lambda: len(told.got) == 8, "the events")
    assert told.connections < 8


def test_a_receiver_that_is_gone_is_told_nothing_until_somebody_says_so(
    near: Parts, receiver: Receivers, web_app: App
) -> None:
    told = receiver()
    told.status = 410
    made, _ = hook(near, told.url)
    ids = happen(near, 2)
    path = f"/api/v1/hooks/{made.id}"
    with sender(near):
        until(lambda: not web_app.get(path).json()["enabled"], "the hook to be disabled")
        assert web_app.get(path).json()["disabled_reason"] == "gone"
        assert len(told.got) == 1
        told.status = 200
        again = web_app.request("PATCH", path, json={"enabled": True}).json()
        assert (again["enabled"], again["disabled_reason"]) == (True, None)
        until(lambda: len(told.got) == 3, "what waited")
    assert photos_of(told) == [ids[0], *ids]


def test_a_redirect_is_not_followed(near: Parts, receiver: Receivers) -> None:
    told, elsewhere = receiver(), receiver()
    told.status, told.location = 307, elsewhere.url
    made, _ = hook(near, told.url)
    happen(near)
    with sender(near):
        assert wait_for_error(near, made).last_error == post.REDIRECTED
    assert elsewhere.got == []


def test_only_what_a_hook_asked_for_is_sent(near: Parts, receiver: Receivers) -> None:
    kinds, elsewhere, later = receiver(), receiver(), receiver()
    hook(near, kinds.url, kinds=["face.unknown"])
    hook(near, elsewhere.url, wanted=["another"])
    end(near, add_photo(near), a_face())
    hook(near, later.url)
    with sender(near):
        (last,) = happen(near)
        until(lambda: later.got, "the last event")
        until(lambda: kinds.got, "the face")
    assert [each["type"] for each in kinds.bodies] == ["face.unknown"]
    assert elsewhere.got == []
    assert photos_of(later) == [last], "not what happened before it was made"


def test_an_event_that_failed_for_three_days_makes_room_for_the_next(
    near: Parts, receiver: Receivers
) -> None:
    told = receiver()
    told.status = 400
    made, _ = hook(near, told.url)
    ids = happen(near, 2)
    with sender(near):
        wait_for_error(near, made)
        with near.database.transaction() as session:
            session.execute(
                update(HookDelivery).values(first_tried_at=func.now() - timedelta(days=3, seconds=1))
            )
        until(lambda: photos_of(told)[-1] == ids[1], "the next event")
        told.status = 200
        until(lambda: deliveries(near, made.id)[0].state == "delivered", "the next event")
    first, second = reversed(deliveries(near, made.id))
    assert (first.state, first.next_try_at, first.last_status) == ("given_up", None, 400)
    assert second.state == "delivered"


def test_an_event_that_is_gone_does_not_stop_the_next(near: Parts, receiver: Receivers) -> None:
    told = receiver()
    told.status = 500
    made, _ = hook(near, told.url)
    happen(near, 1)
    with sender(near):
        wait_for_error(near, made)
        with near.database.transaction() as session:
            session.execute(text("TRUNCATE events"))
        told.status = 200
        (kept,) = happen(near)
        until(lambda: photos_of(told)[-1] == kept, "the next event")
    assert [row.state for row in deliveries(near, made.id)] == ["delivered", "given_up"]


def test_one_of_two_senders_sends_and_the_other_takes_over(near: Parts, receiver: Receivers) -> None:
    told = receiver()
    hook(near, told.url)
    other = Parts(near.settings)
    with sender(near):
        ids = happen(near)
        until(lambda: told.got, "the first event")
        with sender(other) as second:
            ids += happen(near, 5)
            until(lambda: len(told.got) == 6, "the events")
            assert not second._sends
    with sender(other):
        ids += happen(near)
        until(lambda: len(told.got) == 7, "the event after the first sender ended")
    assert photos_of(told) == ids


def test_a_sender_survives_its_database(near: Parts, receiver: Receivers, clean: Installation) -> None:
    told = receiver()
    hook(near, told.url)
    with sender(near):
        ids = happen(near)
        until(lambda: told.got, "the first event")
        with as_role(near, Role.HOOKS) as own, own.database.reading() as session:
            session.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                     " AND usename = current_user")
            )  # fmt: skip
        ids += happen(Parts(near.settings))
        until(lambda: photos_of(told)[-1] == ids[-1], "the event after the cut")
    assert list(dict.fromkeys(photos_of(told))) == ids


def test_a_test_is_sent_once_and_wakes_what_waits(near: Parts, receiver: Receivers, web_app: App) -> None:
    told = receiver()
    told.status = 500
    made, _ = hook(near, told.url)
    path = f"/api/v1/hooks/{made.id}"
    (waits,) = happen(near)
    with sender(near, pauses=[timedelta(days=1)]):
        wait_for_error(near, made)
        sent = web_app.request("POST", f"{path}/test")
        assert (sent.status_code, sent.json()["kind"], sent.json()["state"]) == (202, "test", "waiting")
        until(lambda: deliveries(near, made.id)[0].state == "given_up", "the test to fail")
        assert [each["type"] for each in told.bodies] == ["photo.done", "test"]
        assert told.bodies[1]["data"] == {"hook_id": str(made.id)}
        told.status = 200
        web_app.request("POST", f"{path}/test")
        until(lambda: len(told.got) == 4, "what waited")
    assert told.bodies[3]["data"]["photo_id"] == waits
    listed = web_app.get(f"{path}/deliveries").json()["deliveries"]
    assert [(each["kind"], each["state"]) for each in listed] == [
        ("test", "delivered"), ("test", "given_up"), ("photo.done", "delivered"),
    ]  # fmt: skip


def test_a_disabled_hook_is_told_when_it_is_enabled(near: Parts, receiver: Receivers, web_app: App) -> None:
    told = receiver()
    made, _ = hook(near, told.url, enabled=False)
    ids = happen(near, 2)
    with sender(near):
        web_app.request("POST", f"/api/v1/hooks/{made.id}/test")
        until(lambda: told.got, "the test")
        assert [each["type"] for each in told.bodies] == ["test"]
        web_app.request("PATCH", f"/api/v1/hooks/{made.id}", json={"enabled": True})
        until(lambda: len(told.got) == 3, "what happened meanwhile")
    assert [each["data"]["photo_id"] for each in told.bodies[1:]] == ids


def test_the_metrics_say_that_a_receiver_does_not_hear(
    near: Parts, receiver: Receivers, web_app: App
) -> None:
    def values() -> dict[str, float]:
        told = [
            line.rsplit(" ", 1)
            for line in web_app.get("/metrics").text.splitlines()
            if line.startswith("face_recognition_hook")
        ]
        return {name: float(value) for name, value in told}

    oldest = "face_recognition_hook_oldest_waiting_seconds"
    told = receiver()
    told.status = 500
    hook(near, told.url)
    hook(near, told.url, kinds=["face.unknown"])
    hook(near, told.url, enabled=False)
    assert values() == {
        'face_recognition_hooks{state="well"}': 2, 'face_recognition_hooks{state="failing"}': 0,
        'face_recognition_hooks{state="disabled"}': 1, oldest: 0,
    }  # fmt: skip
    happen(near)
    with near.database.transaction() as session:
        session.execute(text("UPDATE events SET at = now() - interval '1 hour'"))
    assert values()[oldest] > 3000, "nobody sends"
    with sender(near):
        until(lambda: values()['face_recognition_hooks{state="failing"}'] == 1, "a receiver that fails")
        assert values()[oldest] > 3000
        told.status = 200
        until(lambda: values()[oldest] == 0, "the event to arrive")
    assert values()['face_recognition_hooks{state="well"}'] == 2


def test_a_receiver_that_fails_for_a_day_is_asked_ever_less_often_and_misses_nothing(
    near: Parts, receiver: Receivers
) -> None:
    """The day goes by in the rows: what is due in three hours is due now."""
    told, well = receiver(), receiver()
    told.status = 500
    made, _ = hook(near, told.url)
    hook(near, well.url)
    ids = happen(near, 3)
    gone = timedelta()
    with sender(near, pauses=sending.PAUSES):
        until(lambda: photos_of(well) == ids, "the other receiver to have everything")
        for number in range(1, 40):
            row = until(
                lambda number=number: next(
                    (each for each in deliveries(near, made.id) if each.attempts == number), None
                ),
                f"try {number}",
            )
            pause = row.next_try_at - row.last_tried_at
            wanted = sending.PAUSES[min(number, len(sending.PAUSES)) - 1]
            assert abs(pause - wanted) < timedelta(seconds=1)
            gone += pause
            if gone > timedelta(days=1):
                break
            assert (row.state, row.last_error) == ("waiting", "it answered 500")
            with near.database.transaction() as session:
                session.execute(
                    update(HookDelivery)
                    .where(HookDelivery.id == row.id)
                    .values(
                        next_try_at=func.now(),
                        last_tried_at=HookDelivery.last_tried_at - pause,
                        first_tried_at=HookDelivery.first_tried_at - pause,
                    )
                )
        assert number < 15, "a receiver that is down is not asked all day"
        assert set(photos_of(told)) == {ids[0]}
        told.status = 200
        with near.database.transaction() as session:
            session.execute(update(HookDelivery).values(next_try_at=func.now()))
        until(lambda: photos_of(told)[-1] == ids[-1], "what it missed")
    assert list(dict.fromkeys(photos_of(told))) == ids
    assert [each.state for each in deliveries(near, made.id)] == ["delivered"] * 3
