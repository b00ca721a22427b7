"""Take files out of a zip archive, whatever directory they lie in: unpack.py ARCHIVE TARGET NAME..."""

import shutil
import sys
import zipfile
from pathlib import Path, PurePosixPath


def main(archive: Path, target: Path, names: list[str]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as packed:
        inside = {PurePosixPath(entry).name: entry for entry in packed.namelist()}
        for name in names:
            if name not in inside:
                sys.exit(f"{archive} holds no {name}")
            with packed.open(inside[name]) as source, (target / name).open("wb") as file:
                shutil.copyfileobj(source, file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
