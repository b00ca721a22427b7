"""The release before this one works on this one's schema: the way back is open, and two may run side by side.

It runs with this release's Python packages and settings; that its own work is what tests/hosts shows.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import requests
from face_pipeline.errors import ConfigurationError
from face_pipeline.ops.reconciler import seal
from face_pipeline.parts import Parts
from face_pipeline.store import collections, compatible, quotas, schema
from sqlalchemy import text

from tests import previous
from tests.installation import App, start_web
from tests.photos import ROOT, astronaut_jpeg


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The application's directory as it was in the release before."""
    try:
        commit = previous.commit()
    except previous.NotHereError as error:
        pytest.skip(f"no earlier release is in the history here: {error}")
    packed = subprocess.run(
        ["git", "archive", "--format=tar", commit, "app"], cwd=ROOT, capture_output=True, check=True
    )
    directory = tmp_path_factory.mktemp("earlier")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(directory, filter="data")
    return directory / "app"


@pytest.fixture
def environment(earlier: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(earlier)}


@pytest.fixture
def before(web_app: App, environment: dict[str, str]) -> App:
    """The web service and a worker of the release before, on a database of this one."""
    url, web = start_web(web_app.installation, "earlier.log", **environment)
    web_app.url, web_app.web = url, web
    web_app.start_worker(**environment)
    return web_app


def test_the_release_before_is_the_oldest_that_is_said_to_work(earlier: Path) -> None:
    revisions = sorted((earlier / "face_pipeline/store/migrations/versions").glob("[0-9]*.py"))
    assert revisions[-1].name[:4] == compatible.WORKS_WITH
    assert schema.head_revision() > compatible.WORKS_WITH


@pytest.mark.campaign("two releases side by side; that the names of the schemas fit is tested always")
def test_the_release_before_takes_finds_and_erases_on_this_schema(
    before: App, web_url: tuple[str, object], environment: dict[str, str], parts: Parts
) -> None:
    accepted = before.upload(("a.jpg", astronaut_jpeg()), person="Ada").json()
    assert before.wait_finished(accepted["batch_id"])["states"]["done"] == 1
    (photo,) = accepted["photos"]
    (face,) = before.search(astronaut_jpeg()).json()["faces"]
    assert face["matches"][0]["person_name"] == "Ada"

    made = before.request("POST", "/api/v1/keys", json={"name": "camera", "scopes": ["write"]})
    assert made.status_code == 201, made.text
    signed_in = requests.post(f"{before.url}/session", json={"api_key": made.json()["api_key"]}, timeout=60)
    assert signed_in.status_code == 200, signed_in.text
    for command in ("reconcile", "index", "cluster"):
        subprocess.run(
            [sys.executable, "-m", "face_pipeline.cli", command],
            env=before.installation.environment | environment, check=True,
        )  # fmt: skip

    # What one release does is there for the other.
    later = replace(before, url=web_url[0])
    assert later.get(f"/api/v1/photos/{photo['id']}").json()["state"] == "done"
    with parts.database.reading() as session:
        collection = collections.by_name(session, "default")
        assert quotas.used(session, collection_id=collection.id).photos == 1
    assert later.request("PATCH", f"/api/v1/keys/{made.json()['id']}", json={"quota_photos": 5}).ok
    assert before.get(f"/api/v1/keys/{made.json()['id']}").json()["name"] == "camera"
    erased = before.request("DELETE", f"/api/v1/photos/{photo['id']}")
    assert erased.status_code == 200, erased.text
    assert later.get(f"/api/v1/photos/{photo['id']}").status_code == 404
    actions = [each["action"] for each in later.get("/api/v1/audit").json()["entries"]]
    assert {"photo.erase", "key.create", "session.open"} <= set(actions)
    seal(parts)
    # What else is in the chain is of other tests.
    assert " 0 wait for their seal" in later.installation.run("audit", "verify", check=False).stdout


def test_a_release_leaves_the_schema_of_a_later_one_alone_or_says_what_to_do(
    clean: object, parts: Parts
) -> None:
    head = schema.head_revision()

    def as_if(current: str, words: str) -> None:
        with parts.database.transaction() as session:
            session.execute(text(f"UPDATE alembic_version SET version_num = '{current}'"))
            session.execute(text(f"COMMENT ON TABLE alembic_version IS {words}"))

    try:
        as_if("9998", f"'works with releases from schema {head}'")
        done = schema.migrate(parts.database)
        assert (done.before, done.after, done.rights_changed) == ("9998", "9998", False)
        assert schema.state(parts.database).fits
        as_if("9998", "'works with releases from schema 9997'")
        with pytest.raises(
            ConfigurationError, match="install a release that knows 9997 or later, or restore a backup"
        ):
            schema.migrate(parts.database)
        as_if("9998", "NULL")
        with pytest.raises(ConfigurationError, match="knows 9998 or later"):
            schema.migrate(parts.database)
        assert not schema.state(parts.database).fits
    finally:
        as_if(head, f"'works with releases from schema {compatible.WORKS_WITH}'")
    assert schema.migrate(parts.database).after == head
    assert schema.state(parts.database).pending == ()
