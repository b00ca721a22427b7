"""A pack of YuNet and a recogniser, from a photo that is put in to the person that a search finds."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

import pytest

from tests import packs
from tests.installation import App, Installation, start_web
from tests.photos import LABELLED, labelled


@pytest.fixture
def app(clean: Installation) -> Iterator[App]:
    pack = packs.opencv_pack()
    with contextlib.suppress(FileExistsError):
        (clean.directory / "models" / pack.name).symlink_to(pack)
    url, web = start_web(clean, FACE_MODEL_PACK=pack.name)
    app = App(clean, url, web)
    app.start_worker(FACE_MODEL_PACK=pack.name)
    yield app
    for process in (*app.workers.values(), web):
        clean.end(process, signal.SIGKILL)


def test_a_person_that_was_put_in_is_found_on_another_photo(app: App) -> None:
    labels = labelled()
    for name, person in (("obama_1.jpg", "one"), ("biden_1.jpg", "other")):
        answer = app.upload((name, (LABELLED / name).read_bytes()), person=person).json()
        assert app.wait_finished(answer["batch_id"])["states"]["done"] == 1
    assert labels["obama_2.jpg"] == labels["obama_1.jpg"]
    (face,) = app.search((LABELLED / "obama_2.jpg").read_bytes()).json()["faces"]
    assert [match["person_name"] for match in face["matches"]] == ["one"]
    (face,) = app.search((LABELLED / "lacamoire_1.png").read_bytes()).json()["faces"]
    assert face["matches"] == []
