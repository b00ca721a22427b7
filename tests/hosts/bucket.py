"""A bucket that this machine lends its guests, for their backups or their photos."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hosts.test_cluster import on
from tests.services.swift import Swift

NAME, BUCKET, PATH = "store.test", "face", "/site"


@dataclass
class Bucket:
    """A store, the address at which guests find it, and a directory for files of variables that name it."""

    swift: Swift
    address: str
    directory: Path

    def make_known(self, *names: str) -> None:
        """To hosts, as an operator without a name server does."""
        for name in names:
            on(name, f"grep -q {NAME} /etc/hosts || echo {self.address} {NAME} >>/etc/hosts")

    def place(self, path: str) -> dict[str, Any]:
        """The bucket, as an inventory names it."""
        return {
            "endpoint": NAME, "port": self.swift.port, "authority": str(self.swift.authority),
            "bucket": BUCKET, "region": self.swift.region, "path": path, "key_id": self.swift.key_id,
            "secret": "bucket_secret", "addresses": [self.address],
        }  # fmt: skip

    def variables(self, name: str, *before: dict[str, str], **others: Any) -> Path:
        """A file for Ansible: the repositories, of which the bucket is the last, and other variables."""
        repositories = [*before, {"kind": "s3", **self.place(PATH)}]
        return self.file(name, face_backup_repositories=repositories, **others)

    def file(self, name: str, **variables: Any) -> Path:
        """A file of variables for Ansible; it holds the bucket's secret, too, and has the mode 0600."""
        file = self.directory / f"{name}.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps({"face_own_secrets": {"bucket_secret": self.swift.secret}, **variables}))
        return file


@contextmanager
def lent(directory: Path, *names: str) -> Iterator[Bucket]:
    """For the block; the hosts of those names know it."""
    address = on(names[0], "ip -4 route show default").split()[2]
    swift = Swift(NAME, address)
    try:
        swift.start()
        swift.make_bucket(BUCKET)
        bucket = Bucket(swift, address, directory)
        bucket.make_known(*names)
        yield bucket
    finally:
        swift.close()
