"""Another model pack is tried on stored photos, with the small InsightFace pack beside dlib's."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from face_pipeline.parts import Parts
from face_pipeline.store import audit
from sqlalchemy import text

from tests import packs
from tests.installation import App
from tests.photos import LABELLED, labelled

PHOTOS = {
    "obama_1.jpg": "one", "obama_2.jpg": "one", "obama_3.jpg": "one",
    "biden_1.jpg": "other", "biden_2.jpg": "other", "miranda_1.png": None, "lacamoire_1.png": "third",
}  # fmt: skip
GONE = "lacamoire_1.png"


@pytest.fixture
def stored(live_app: App, parts: Parts) -> dict[str, uuid.UUID]:
    """The photos' ids by name; the original of one is gone."""
    labelled()
    packs.insightface_pack()
    ids = {}
    for name, person in PHOTOS.items():
        form = {"person": person} if person else {}
        sent = live_app.upload((name, (LABELLED / name).read_bytes()), **form).json()
        assert live_app.wait_finished(sent["batch_id"])["states"]["done"] == 1
        (photo,) = sent["photos"]
        ids[name] = uuid.UUID(photo["id"])
        if name == GONE:
            parts.originals.path(photo["sha256"]).unlink()
    return ids


def compare(app: App, *options: str) -> Any:
    done = app.installation.run(
        "pack", "compare", str(packs.insightface_pack()), "--format", "json", *options
    )
    return json.loads(done.stdout)


def all_rows(parts: Parts) -> list[Any]:
    with parts.database.reading() as session:
        rows = text("SELECT id, person_id, bbox::text, embedding::text FROM faces ORDER BY id")
        return [tuple(row) for row in session.execute(rows)]


@pytest.mark.campaign("two packs look at every photo for minutes")
def test_a_pack_is_compared_on_what_is_stored_and_nothing_changes(
    live_app: App, parts: Parts, stored: dict[str, uuid.UUID]
) -> None:
    before = all_rows(parts)
    found = compare(live_app)
    assert found["gone"] == [str(stored[GONE])]
    assert (found["photos"], found["sampled"], found["refused"]) == (len(PHOTOS), len(PHOTOS) - 1, [])
    # Of the one that is gone none was looked for.
    assert found["faces"] == {"both": len(before) - 1, "lost": 0, "found": 0, "lost_named": []}
    assert found["agreed"] == found["searches"] == len(before) - 1
    assert 0.5 < found["nearest"] <= 1
    # Pairs of three and of two photos; and three times two strangers.
    expected = {"same": 4, "same_pairs": 4, "strangers": 0, "strangers_pairs": 6}
    assert {**found["installed"], "threshold": 0} == {**expected, "threshold": 0}
    assert {**found["other"], "threshold": 0} == {**expected, "threshold": 0}
    assert (found["installed"]["threshold"], found["other"]["threshold"]) == (0.91, 0.38)
    assert all_rows(parts) == before
    with parts.database.reading() as session:
        (entry,), _ = audit.page(session, audit.Wanted(action="pack.compare"), limit=2)
    assert (entry.actor_kind, entry.collection, entry.details) == ("command", "default", {"photos": 6})

    told = live_app.installation.run("pack", "compare", str(packs.insightface_pack()), "--photos", "3").stdout
    print(told)
    assert f"1 without an original, which no other pack can read: {stored[GONE]}\n" in told
    assert "7 photos in the collection, 3 looked at" in told

    # A named face that it does not find where it is stored, and one that is nowhere stored.
    with parts.database.transaction() as session:
        session.execute(
            text("UPDATE faces SET bbox = '{0,0,9,9}' WHERE photo_id = :photo"),
            {"photo": stored["biden_1.jpg"]},
        )
    faces = compare(live_app)["faces"]
    assert (faces["both"], faces["lost"], faces["found"]) == (len(before) - 2, 1, 1)
    ((_, photo),) = faces["lost_named"]
    assert photo == str(stored["biden_1.jpg"])


def test_what_cannot_be_compared_says_what_to_do(live_app: App, parts: Parts) -> None:
    run = live_app.installation.run
    live_app.get("/api/v1/collections")
    same = run("pack", "compare", str(parts.settings.pack_dir), check=False)
    assert same.returncode == 1
    assert "the installed pack" in same.stderr
    assert "name another one" in same.stderr
    absent = run("pack", "compare", "/nonexistent", check=False)
    assert absent.returncode == 78
    assert "there is no model pack in /nonexistent" in absent.stderr
    other = run("pack", "compare", str(packs.insightface_pack()), "--collection", "unknown", check=False)
    assert other.returncode == 1
    assert "there is no collection 'unknown'" in other.stderr
    assert run("pack", "compare", "/x", "--photos", "0", check=False).returncode == 2
