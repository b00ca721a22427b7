"""However many search at once, what is no search is answered, and who comes too late is told so at once."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import pytest
import requests
from face_pipeline.broker.admission import Admission, SearchBusy
from face_pipeline.broker.exchange import ClientGone

from tests.installation import ADMIN_KEY, Installation, start_web, wait_until
from tests.photos import astronaut_jpeg

KEY = {"X-API-Key": ADMIN_KEY}
SEARCHES = 200
# Of two processes: at the workers, and waiting.
MOST = 2 * (8 + 24)


@pytest.mark.campaign("two hundred searches take minutes")
def test_health_and_signing_in_answer_while_two_hundred_searches_wait(clean: Installation) -> None:
    """No worker runs: each search that was let in is held until the web service ends."""
    url, web = start_web(clean, "web-admission.log", FACE_SEARCH_TIMEOUT_SECONDS="120")
    photo = astronaut_jpeg(7700)

    def search(_: int) -> requests.Response | None:
        try:
            files = {"photo": ("a.jpg", photo)}
            return requests.post(f"{url}/api/v1/search", files=files, headers=KEY, timeout=180)
        except requests.ConnectionError:
            return None

    with ThreadPoolExecutor(SEARCHES) as pool:
        try:
            sent = [pool.submit(search, number) for number in range(SEARCHES)]
            wait_until(
                lambda: _answered(sent) >= SEARCHES - MOST, 60, "those that are too many to be refused"
            )
            held = [each for each in sent if not each.done()]
            for _ in range(20):
                assert requests.get(f"{url}/health/live", timeout=20).ok
                assert requests.get(f"{url}/health/ready", timeout=20).ok
                session = requests.post(f"{url}/session", json={"api_key": ADMIN_KEY}, timeout=20)
                assert session.status_code == 200
                assert requests.get(f"{url}/api/v1/photos", headers=KEY, timeout=20).ok
            assert len(held) == len([each for each in held if not each.done()]) >= 8 + 24
            refused = [
                answer for answer in (each.result() for each in sent if each.done()) if answer is not None
            ]
            assert Counter(answer.status_code for answer in refused) == {429: len(refused)}
            assert {answer.json()["error"]["code"] for answer in refused} == {"search_busy"}
            assert all(int(answer.headers["Retry-After"]) > 0 for answer in refused)
        finally:
            clean.end(web, signal.SIGKILL)


def _answered(sent: list[Future[Any]]) -> int:
    return sum(each.done() for each in sent)


def _there() -> bool:
    return False


def test_who_waits_gets_the_turn_of_who_leaves_in_the_order_of_coming() -> None:
    admission = Admission(at_once=1, waiting=3)
    order: list[int] = []

    def work(number: int) -> None:
        with admission.turn(timeout=30, gone=_there) as ours:
            assert ours
            order.append(number)

    threads = []
    with admission.turn(timeout=30, gone=_there):
        for number in range(3):
            threads.append(threading.Thread(target=work, args=(number,)))
            threads[-1].start()
            wait_until(lambda: len(admission._queue) == len(threads), 10, "it to wait")
        with pytest.raises(SearchBusy), admission.turn(timeout=30, gone=_there):
            pass
        assert not order
    for thread in threads:
        thread.join(30)
    assert order == [0, 1, 2]


def test_who_gave_up_or_hung_up_keeps_nobody_waiting() -> None:
    admission = Admission(at_once=1, waiting=1)
    for _ in range(3):
        with admission.turn(timeout=30, gone=_there):
            with admission.turn(timeout=0.01, gone=_there) as ours:
                assert not ours
            with pytest.raises(ClientGone), admission.turn(timeout=30, gone=lambda: True):
                pass
        with pytest.raises(ZeroDivisionError), admission.turn(timeout=30, gone=_there):
            raise ZeroDivisionError
    with ThreadPoolExecutor(2) as pool:

        def enter() -> bool:
            with admission.turn(timeout=30, gone=_there) as ours:
                return ours

        done = wait([pool.submit(enter) for _ in range(2)], timeout=30)
    assert [each.result() for each in done.done] == [True, True]
