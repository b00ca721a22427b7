"""A host whose second repository is a bucket: its data come back from there, at last onto an empty host."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.given import check, give
from tests.hosts.test_host import SUMMARY, Host
from tests.hosts.test_releasing import words
from tests.hosts.test_restore import HOSTS, RECIPIENT, make_anew, over_ssh, put_in, restore, states, whole
from tests.hosts.test_scaling import INVENTORY, playbook
from tests.services.swift import Swift

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(
        not (SUMMARY and INVENTORY and RECIPIENT) or len(HOSTS) != 1,
        reason="needs one installed guest of this machine, its inventory, and a key (FACE_HOST_SUMMARY,"
        " FACE_HOST_INVENTORY, FACE_HOST_RECIPIENT): molecule/restore",
    ),
]
NAME, BUCKET, PATH = "store.test", "face", "/site"
DISK = {"kind": "directory", "path": "/mnt/backup"}


@dataclass
class Bucket:
    """A store that this machine lends the guest, and the files of variables which name it."""

    swift: Swift
    address: str
    beside: Path
    alone: Path

    def make_known(self, host: Host) -> None:
        """As an operator without a name server does."""
        host.run(f"grep -q {NAME} /etc/hosts || echo {self.address} {NAME} >>/etc/hosts")


@pytest.fixture(scope="module")
def bucket(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    directory = tmp_path_factory.mktemp("bucket")
    address = host.run("ip -4 route show default").split()[2]
    swift = Swift(NAME, address)
    try:
        swift.start()
        swift.make_bucket(BUCKET)
        repository = {
            "kind": "s3", "endpoint": NAME, "port": swift.port, "authority": str(swift.authority),
            "bucket": BUCKET, "region": swift.region, "path": PATH, "key_id": swift.key_id,
            "secret": "bucket_secret", "addresses": [address],
        }  # fmt: skip
        told = Bucket(swift, address, directory / "beside.json", directory / "alone.json")
        for file, repositories in ((told.beside, [DISK, repository]), (told.alone, [repository])):
            file.touch(mode=0o600)
            secrets = {"bucket_secret": swift.secret}
            file.write_text(
                json.dumps({"face_backup_repositories": repositories, "face_own_secrets": secrets})
            )
        told.make_known(host)
        yield told
    finally:
        swift.close()


def succeeds(name: str, **variables: Any) -> str:
    done = playbook(name, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return words(done)


def test_a_bucket_gets_all_of_it_and_a_trial_brings_it_back(host: Host, bucket: Bucket) -> None:
    succeeds("../site", extra=bucket.beside)
    put_in(host, "bucket")
    succeeds("backup", extra=bucket.beside)
    figures = host.run("cat /var/lib/prometheus/node-exporter/face_backup_*.prom")
    for part in ("database", "originals", "configuration"):
        assert f'face_backup_last_success_timestamp_seconds{{part="{part}",repository="2"}}' in figures
    assert "repository 2: restored in" in succeeds("drill", extra=bucket.beside)


def test_what_was_there_comes_back_from_the_bucket(host: Host, bucket: Bucket) -> None:
    photo = put_in(host, "bucket")
    succeeds("backup", extra=bucket.beside)
    late = put_in(host, "bucket")
    sha256 = host.call("GET", f"/api/v1/photos/{photo}").json()["sha256"]
    host.run(f"rm -f /var/lib/face-pipeline/originals/{sha256[:2]}/{sha256[2:4]}/{sha256}")
    assert not whole(host)
    done = restore(repository=2, extra=bucket.beside)
    assert done.returncode == 0, done.stdout + done.stderr
    assert states(host, photo, late) == [200, 200]
    assert whole(host)
    done = restore(do="forget", extra=bucket.beside)
    assert done.returncode == 0, done.stdout + done.stderr


# The last one: the host is another one afterwards.
def test_a_host_that_is_lost_with_its_controller_comes_back_from_the_bucket_alone(
    host: Host, bucket: Bucket
) -> None:
    """Left are the bucket, its access key, and one private key."""
    given = give(host)
    succeeds("backup", extra=bucket.beside)
    secrets = Path(host.ca).parent
    make_anew(*HOSTS)
    assert not secrets.exists()

    bucket.make_known(host)
    host.run("apt-get -qq update && apt-get -qq install -y age >/dev/null")
    # As any client for S3 fetches it.
    sealed = bucket.swift.ask("GET", f"{BUCKET}{PATH}/sealed/secrets.tar.age")
    over_ssh(HOSTS[0], "cat >secrets.tar.age", sealed)
    opened = over_ssh(HOSTS[0], "age --decrypt -i - secrets.tar.age", Path(str(RECIPIENT)).read_bytes())
    secrets.mkdir(mode=0o700)
    with tarfile.open(fileobj=io.BytesIO(opened)) as archive:
        archive.extractall(secrets, filter="data")

    # The other repository was a disk of that host: without it until the data are back.
    succeeds("../site", extra=bucket.alone)
    assert host.call("GET", f"/api/v1/photos/{given['erased']}").status_code == 404
    done = restore(extra=bucket.alone)
    assert done.returncode == 0, done.stdout + done.stderr
    check(host, given)
    assert whole(host)
    # Beside what was given, which is compared once more.
    put_in(host, "bucket")
    done = restore(do="forget", extra=bucket.alone)
    assert done.returncode == 0, done.stdout + done.stderr
    host.run(f"mkdir -p {DISK['path']}")
    succeeds("../site", extra=bucket.beside)
    succeeds("backup", extra=bucket.beside)
    check(host, given)
