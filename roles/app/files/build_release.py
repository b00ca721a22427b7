"""Pack the application into one archive: build_release.py PROJECT CACHE. Prints {"id", "path"} as JSON.

The id is a digest of what is in it, so that the same source is the same release. Beside each lock lies its
bill of materials (bill_of_materials.py).
"""

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

LOCKS = tuple(f"requirements/app{variant}.lock" for variant in ("", "-cuda12", "-cuda13"))
PARTS = ("app", "pyproject.toml", *LOCKS, "docs/runbooks")
BILLS = Path(__file__).with_name("bill_of_materials.py")
LEFT_OUT = {"__pycache__", ".mypy_cache", ".ruff_cache"}
KEEP = 5


def files(project: Path) -> list[Path]:
    found: list[Path] = []
    for part in PARTS:
        path = project / part
        if path.is_file():
            found.append(path)
            continue
        for directory, names, entries in os.walk(path):
            names[:] = [name for name in names if name not in LEFT_OUT and not name.endswith(".egg-info")]
            found += [Path(directory) / entry for entry in entries if not entry.endswith(".pyc")]
    return sorted(found)


def contents(project: Path) -> dict[str, bytes]:
    """The archive's files, by name in its order."""
    found = {str(path.relative_to(project)): path.read_bytes() for path in files(project)}
    for lock in filter(found.__contains__, LOCKS):
        command = [sys.executable, str(BILLS), str(project), str(project / lock)]
        made = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        found[f"{lock.removesuffix('.lock')}.cdx.json"] = made.stdout
    return dict(sorted(found.items()))


def main(project: Path, cache: Path) -> None:
    digest = hashlib.sha256()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in contents(project).items():
            digest.update(f"{name}\0{len(data)}\0".encode() + data)
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    release = digest.hexdigest()[:12]
    cache.mkdir(parents=True, exist_ok=True)
    target = cache / f"release-{release}.tar.gz"
    if not target.exists():
        temporary = target.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(gzip.compress(buffer.getvalue(), mtime=0))
        temporary.replace(target)
        for old in sorted(cache.glob("release-*.tar.gz"), key=lambda path: path.stat().st_mtime)[:-KEEP]:
            old.unlink()
    print(json.dumps({"id": release, "path": str(target)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
