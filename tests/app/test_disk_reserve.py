"""The last of a disk is not for uploads."""

from __future__ import annotations

import hashlib
import os
import uuid
from pathlib import Path

import pytest
import requests
from face_pipeline.errors import ConfigurationError, StorageFull
from face_pipeline.store.originals import Originals

from tests.installation import ADMIN_KEY, Installation, start_web
from tests.photos import astronaut_jpeg

KEY = {"X-API-Key": ADMIN_KEY}


def free(path: Path) -> int:
    disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


def test_uploads_stop_at_the_reserve_and_all_else_goes_on(clean: Installation, tmp_path: Path) -> None:
    reserve = str(2 * free(tmp_path) // 1024**2)
    url, web = start_web(clean, "web-reserve.log", FACE_DISK_RESERVE_MB=reserve)
    try:
        files = {"photos": ("a.jpg", astronaut_jpeg(8100))}
        full = requests.post(f"{url}/api/v1/photos", files=files, headers=KEY, timeout=30)
        assert (full.status_code, full.json()["error"]["code"]) == (507, "storage_full")
        assert f"reserve of {reserve} MB" in full.json()["error"]["message"]
        listed = requests.get(f"{url}/api/v1/photos", headers=KEY, timeout=30).json()
        assert listed["photos"] == []
        person = {"name": f"Somebody {uuid.uuid4()}"}
        assert requests.post(f"{url}/api/v1/persons", json=person, headers=KEY, timeout=30).ok
        ready = requests.get(f"{url}/health/ready", timeout=30)
        assert (ready.status_code, ready.json()["checks"]["originals"]) == (503, "StorageFull")
        assert requests.get(f"{url}/health/live", timeout=30).ok
    finally:
        clean.end(web)


def test_a_disk_with_room_takes_what_leaves_the_reserve(tmp_path: Path) -> None:
    originals = Originals(tmp_path, reserve_bytes=free(tmp_path) // 2)
    sha256 = hashlib.sha256(b"small").hexdigest()
    originals.write({sha256: b"small"})
    assert originals.read(sha256) == b"small"
    with pytest.raises(StorageFull):
        originals.check_room(free(tmp_path) * 3 // 4)


def test_a_disk_beside_it_counts_and_has_to_be_there(tmp_path: Path) -> None:
    Originals(tmp_path, beside=[tmp_path]).check_room()
    with pytest.raises(ConfigurationError, match="FACE_STORAGE_PATHS"):
        Originals(tmp_path, beside=[tmp_path / "none"]).check_room()
