"""The client's calls about jobs, failures and the installation, against the service itself."""

from __future__ import annotations

import csv
import io

from face_pipeline.client import Client
from face_pipeline.parts import Parts

from tests.app import stock
from tests.installation import ADMIN_KEY, App


def test_the_client_reads_jobs_failures_and_the_system(web_app: App, parts: Parts) -> None:
    photo_id = stock.photo(parts, state="failed")
    client = Client(web_app.url, ADMIN_KEY)
    assert client.jobs().photos.failed == 1
    (failure,) = client.failures(collection="default").failures
    assert (failure.reason, failure.example_photo_id) == ("engine_error", photo_id)
    text = client.failures_csv(reason="engine_error").decode("utf-8-sig")
    assert [row["photo_id"] for row in csv.DictReader(io.StringIO(text))] == [str(photo_id)]
    assert client.erase_failures("engine_error", dry_run=True).photos == 1
    assert client.erase_failures("engine_error").photos == 1
    assert client.failures().total == 0
    audited = client.audit_csv(action="photo.erase").decode("utf-8-sig")
    assert next(csv.DictReader(io.StringIO(audited)))["action"] == "photo.erase"
    assert client.system()["pack"]["name"] == parts.pack.name
    assert "database" in {each.check for each in client.doctor().findings}
