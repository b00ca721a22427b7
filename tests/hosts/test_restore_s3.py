"""A host whose second repository is a bucket: its data come back from there, at last onto an empty host."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.bucket import BUCKET, PATH, Bucket, lent
from tests.hosts.given import check, give
from tests.hosts.test_host import SUMMARY, Host
from tests.hosts.test_releasing import words
from tests.hosts.test_restore import HOSTS, RECIPIENT, make_anew, over_ssh, put_in, restore, states, whole
from tests.hosts.test_scaling import INVENTORY, playbook

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(
        not (SUMMARY and INVENTORY and RECIPIENT) or len(HOSTS) != 1,
        reason="needs one installed guest of this machine, its inventory, and a key (FACE_HOST_SUMMARY,"
        " FACE_HOST_INVENTORY, FACE_HOST_RECIPIENT): molecule/restore",
    ),
]
DISK = {"kind": "directory", "path": "/mnt/backup"}


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with lent(tmp_path_factory.mktemp("bucket"), *HOSTS) as bucket:
        yield bucket


@pytest.fixture(scope="module")
def beside(bucket: Bucket) -> Path:
    """A file of variables with the bucket as the second repository."""
    return bucket.variables("beside", DISK)


@pytest.fixture(scope="module")
def alone(bucket: Bucket) -> Path:
    """A file of variables with the bucket as the only repository."""
    return bucket.variables("alone")


def succeeds(name: str, **variables: Any) -> str:
    done = playbook(name, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return words(done)


def test_a_bucket_gets_all_of_it_and_a_trial_brings_it_back(host: Host, beside: Path) -> None:
    succeeds("../site", extra=beside)
    put_in(host, "bucket")
    succeeds("backup", extra=beside)
    figures = host.run("cat /var/lib/prometheus/node-exporter/face_backup_*.prom")
    for part in ("database", "originals", "configuration"):
        assert f'face_backup_last_success_timestamp_seconds{{part="{part}",repository="2"}}' in figures
    assert "repository 2: restored in" in succeeds("drill", extra=beside)


def test_what_was_there_comes_back_from_the_bucket(host: Host, beside: Path) -> None:
    photo = put_in(host, "bucket")
    succeeds("backup", extra=beside)
    late = put_in(host, "bucket")
    sha256 = host.call("GET", f"/api/v1/photos/{photo}").json()["sha256"]
    host.run(f"rm -f /var/lib/face-pipeline/originals/{sha256[:2]}/{sha256[2:4]}/{sha256}")
    assert not whole(host)
    done = restore(repository=2, extra=beside)
    assert done.returncode == 0, done.stdout + done.stderr
    assert states(host, photo, late) == [200, 200]
    assert whole(host)
    done = restore(do="forget", extra=beside)
    assert done.returncode == 0, done.stdout + done.stderr


# The last one: the host is another one afterwards.
def test_a_host_that_is_lost_with_its_controller_comes_back_from_the_bucket_alone(
    host: Host, bucket: Bucket, beside: Path, alone: Path
) -> None:
    """Left are the bucket, its access key, and one private key."""
    given = give(host)
    succeeds("backup", extra=beside)
    secrets = Path(host.ca).parent
    make_anew(*HOSTS)
    assert not secrets.exists()

    bucket.make_known(*HOSTS)
    host.run("apt-get -qq update && apt-get -qq install -y age >/dev/null")
    # As any client for S3 fetches it.
    sealed = bucket.swift.ask("GET", f"{BUCKET}{PATH}/sealed/secrets.tar.age")
    over_ssh(HOSTS[0], "cat >secrets.tar.age", sealed)
    opened = over_ssh(HOSTS[0], "age --decrypt -i - secrets.tar.age", Path(str(RECIPIENT)).read_bytes())
    secrets.mkdir(mode=0o700)
    with tarfile.open(fileobj=io.BytesIO(opened)) as archive:
        archive.extractall(secrets, filter="data")

    # The other repository was a disk of that host: without it until the data are back.
    succeeds("../site", extra=alone)
    assert host.call("GET", f"/api/v1/photos/{given['erased']}").status_code == 404
    done = restore(extra=alone)
    assert done.returncode == 0, done.stdout + done.stderr
    check(host, given)
    assert whole(host)
    # Beside what was given, which is compared once more.
    put_in(host, "bucket")
    done = restore(do="forget", extra=alone)
    assert done.returncode == 0, done.stdout + done.stderr
    host.run(f"mkdir -p {DISK['path']}")
    succeeds("../site", extra=beside)
    succeeds("backup", extra=beside)
    check(host, given)
