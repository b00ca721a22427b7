"""Photos in a store of the operator: which settings are refused, what hosts get, how the store is asked."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from face_pipeline.store import buckets

from tests.ansible.programs import load
from tests.ansible.test_copies_role import CREDENTIALS, GROUPS, played
from tests.app.test_buckets import NO_KEY, Store, certified
from tests.hardening import ROOT, drop_in

__all__ = ["certified"]
faults = load("roles/preflight/filter_plugins/originals_faults.py").originals_faults
PROGRAM = ROOT / "roles/preflight/files/ask_store.py"
S3 = {
    "endpoint": "s3.example.org", "bucket": "face", "region": "eu-1", "path": "/site-a", "key_id": "AKIA",
    "secret": "store_key", "addresses": ["192.0.2.7"],
}  # fmt: skip
OWN = {"store_key": "the-secret-of-the-test"}


@pytest.fixture
def store(certified: Path) -> Iterator[Store]:
    made = Store(certified, answer=lambda *_: (404, NO_KEY))
    made.start()
    yield made
    made.stop()


def given(store: Store, **rest: Any) -> dict[str, Any]:
    place = store.place
    return {
        **S3, "endpoint": place.endpoint, "port": place.port, "bucket": place.bucket, "path": place.path,
        "authority": place.authority, **rest,
    }  # fmt: skip


def ask(store: Store, **rest: Any) -> str:
    told = {**given(store), "secret": "x", "authority": Path(store.place.authority).read_text(), **rest}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.read_text()], input=json.dumps(told),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def test_settings_that_work_have_no_fault() -> None:
    assert faults("disk", "", {}, [], ["keeper"]) == []
    assert faults("s3", "", S3, list(OWN), []) == []
    assert faults("disk", "s3", {**S3, "port": 9000, "path_style": False, "path": "/"}, list(OWN), []) == []


@pytest.mark.parametrize(
    ("store", "wrong", "words"),
    [
        ("S3", {}, "face_originals_store is 'S3'; it must be disk or s3"),
        ("disk", {"before": "disk"}, "face_originals_before is disk, as face_originals_store"),
        ("disk", {"before": "tape"}, "face_originals_before is 'tape'"),
        ("s3", {"bucket": None}, "face_originals_s3: it lacks bucket"),
        ("s3", {"host": "x"}, "face_originals_s3: there is no host"),
        ("s3", {"path": "site"}, "path begins with /"),
        ("s3", {"port": "443"}, "port is '443'"),
        ("s3", {"endpoint": "https://s3.example.org"}, "endpoint is 'https://s3.example.org'"),
        ("s3", {"secret": "nothing"}, "secret names a value of face_own_secrets; nothing is not there"),
        ("s3", {"addresses": "192.0.2.7"}, "addresses is a list"),
        ("s3", {"authority": "/nowhere.crt"}, "authority is '/nowhere.crt'"),
    ],
)
def test_a_wrong_setting_is_named(store: str, wrong: dict[str, Any], words: str) -> None:
    settings = {name: value for name, value in {**S3, **wrong}.items() if value is not None}
    settings.pop("before", None)
    (fault,) = faults(store, wrong.get("before", ""), settings, list(OWN), [])
    assert words in fault


def test_hosts_that_keep_copies_are_refused_beside_a_store() -> None:
    (fault,) = faults("s3", "", S3, list(OWN), ["keeper"])
    assert "keeper: a store keeps copies by itself" in fault


def test_the_preflight_signs_as_the_application_does(store: Store) -> None:
    for path_style in (True, False):
        place = replace(store.place, path_style=path_style)
        now = time.time()
        asked = {**given(store, path_style=path_style), "secret": "s", "key_id": place.key_id}
        _, _, path, headers = load(PROGRAM).asked({**asked, "region": place.region}, now)
        same = buckets._Asked("GET", path, {}, {}, b"", buckets.EMPTY, True)
        assert headers == buckets.signed(same, place, "s", now)
        assert path == f"{place.root}/here/00/00/{'0' * 64}"


def test_a_store_that_cannot_be_used_is_told_with_what_to_do(store: Store) -> None:
    assert ask(store) == ""
    for code, words in (("NoSuchBucket", "make the bucket"), ("SignatureDoesNotMatch", "look at key_id")):
        store.answer = lambda *_, code=code: (403, f"<Code>{code}</Code>".encode())  # type: ignore[misc]
        assert words in ask(store)
    store.answer = lambda *_: (200, b"<html>welcome</html>")
    assert "it answers 200; look at endpoint" in ask(store)
    assert "its certificate is not believed" in ask(store, authority="")
    store.stop()
    assert "it does not answer" in ask(store)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """HOST-FILE -> its text, of a site whose photos are in a store."""
    directory = tmp_path_factory.mktemp("site")
    made = f"{directory}/{{{{ inventory_hostname }}}}"
    sources = {
        "env": "app/templates/face-pipeline.env.j2", "web": "web/templates/face-web.service.j2",
        "worker": "worker/templates/celery@.service.j2",
        "indexer": "reconciler/templates/face-indexer.service.j2",
        "backup": "backup/templates/backup.json.j2",
    }  # fmt: skip
    tasks: list[dict[str, Any]] = [
        {"ansible.builtin.template": {"src": f"{ROOT}/roles/{source}", "dest": f"{made}-{name}"}}
        for name, source in sources.items()
    ]
    tasks.append({"ansible.builtin.copy": {"content": CREDENTIALS, "dest": f"{made}-credentials"}})
    tasks.append(drop_in("app", f"{made}-filter"))
    groups = {**GROUPS, "copies": []}
    status, said = played(
        directory, tasks, groups, face_originals_store="s3", face_originals_s3=S3, face_own_secrets=OWN,
        ansible_managed="made", backup_repositories=[], worker_start_seconds=1, worker_stop_seconds=1,
    )  # fmt: skip
    assert status == 0, said
    return {path.name: path.read_text() for path in directory.iterdir() if "-" in path.name}


@pytest.mark.parametrize("host", ["front", "both"])
def test_web_and_workers_ask_the_store_themselves(written: dict[str, str], host: str) -> None:
    env = written[f"{host}-env"]
    assert "FACE_ORIGINALS_STORE=s3\n" in env
    assert "FACE_ORIGINALS_S3_ENDPOINT=s3.example.org\n" in env
    assert "FACE_ORIGINALS_S3_PORT=443\n" in env
    assert "FACE_ORIGINALS_URL=\n" in env
    assert OWN["store_key"] not in "".join(written.values())
    for unit in ("web", "worker", "indexer"):
        lines = written[f"{host}-{unit}"]
        assert (
            "LoadCredential=originals_s3_secret:/etc/face-pipeline/credentials/originals_s3_secret" in lines
        )
    assert "IPAddressAllow=192.0.2.7" in written[f"{host}-filter"]


def test_backups_have_no_originals_then(written: dict[str, str]) -> None:
    config = json.loads(written["front-backup"])
    program = load("roles/backup/files/backup.py")
    assert program.parts_of(config, "files") == ("configuration",)
    assert program.parts_of({**config, "originals": "/var/lib"}, "files") == ("originals", "configuration")


def test_photos_that_lie_elsewhere_stop_the_change(store: Store, tmp_path: Path) -> None:
    photo = tmp_path / "originals/ab/cd/abcd"
    photo.parent.mkdir(parents=True)
    photo.touch()
    role = {"name": "preflight", "tasks_from": "originals"}
    where = {"face_originals_dir": str(tmp_path / "originals"), "face_config_dir": str(tmp_path)}
    facts = {"memtotal_mb": 8000, "processor_nproc": 2, "python": {"executable": sys.executable}}
    place = tmp_path / "play"
    place.mkdir()
    status, said = played(
        place, [{"ansible.builtin.include_role": role}], {**GROUPS, "copies": []},
        face_originals_store="s3", face_originals_s3=given(store), face_own_secrets=OWN,
        ansible_facts=facts, **where,
    )  # fmt: skip
    assert status != 0
    assert "front: face_originals_store is s3, and there are photos in the place of before; move them" in said
    assert len(store.asked) == 2, "each host that will ask it"
