"""Where Elastic's metamodel is: FACE_ES_METAMODEL, a copy beside this project, or npm's, which is kept."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

VERSION = "9.5.0"
NAME = f"es_metamodel_{VERSION}.json.gz"
BESIDE = Path(__file__).resolve().parents[4] / "shared" / "specs" / NAME
KEPT = Path(os.environ.get("FACE_CACHE_DIR", "/var/cache/face-pipeline")) / NAME
WITHOUT = (
    f"no {NAME}: neither FACE_ES_METAMODEL, nor {BESIDE}, nor npm's @elastic/request-converter@{VERSION}"
)


def metamodel() -> Path | None:
    given = os.environ.get("FACE_ES_METAMODEL")
    places = [Path(given)] if given else [BESIDE, KEPT]
    for place in places:
        if place.is_file():
            return place
    return None if given else _fetch()


def _fetch() -> Path | None:
    npm = shutil.which("npm")
    if npm is None:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        command = [npm, "pack", "--silent", f"@elastic/request-converter@{VERSION}"]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=False)  # noqa: S603
        packed = sorted(Path(scratch).glob("*.tgz"))
        if done.returncode != 0 or not packed:
            return None
        with tarfile.open(packed[0]) as archive:
            schema = archive.extractfile("package/dist/schema.json")
            if schema is None:
                return None
            content = gzip.compress(schema.read(), mtime=0)
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        temporary = KEPT.with_name(f".{NAME}.{os.getpid()}")
        temporary.write_bytes(content)
        temporary.replace(KEPT)
    return KEPT
