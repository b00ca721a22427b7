"""What memory a worker takes with the test pack, and that it keeps none of a large photo's."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import packs
from tests.installation import App, Installation, resident_mib, start_web, wait_until
from tests.photos import LABELLED, astronaut, jpeg, labelled

MOST_MIB = 400
# 69 MiB of pixels, few enough bytes for an upload.
LARGE = (6000, 4000)
LARGE_MIB = 6000 * 4000 * 3 / 2**20


@pytest.fixture
def app(clean: Installation) -> Iterator[App]:
    pack = packs.insightface_pack()
    its = {"FACE_MODELS_DIR": str(pack.parent), "FACE_MODEL_PACK": pack.name}
    app = App(clean, *start_web(clean, **its))
    app.start_worker(concurrency=3, **its)
    yield app
    for process in (*app.workers.values(), app.web):
        clean.end(process, signal.SIGKILL)


def put_in(app: App, *photos: tuple[str, bytes]) -> None:
    sent = app.upload(*photos).json()
    assert app.wait_finished(sent["batch_id"])["states"]["done"] == len(photos)


@pytest.mark.campaign("it looks at large photos for long")
def test_a_worker_stays_small_and_gives_the_memory_of_a_large_photo_back(app: App) -> None:
    pid = app.workers[1].pid
    names = [name for name in sorted(labelled()) if name.endswith(".jpg")]
    put_in(app, *((name, (LABELLED / name).read_bytes()) for name in names))
    before = resident_mib(pid)
    assert before < MOST_MIB
    # From here on the kernel counts the peak anew.
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    put_in(app, ("large.jpg", jpeg(astronaut().resize(LARGE), quality=60)))
    assert resident_mib(pid, "VmHWM") > before + LARGE_MIB / 2
    wait_until(
        lambda: resident_mib(pid) < before + LARGE_MIB / 4, 10,
        f"a worker of {before:.0f} MiB to give a large photo's memory back",
    )  # fmt: skip
    assert resident_mib(pid) < MOST_MIB
