"""The secrets of an installation as one archive, for the role: pack_secrets.py DIRECTORY.

Prints JSON: `archive`, a tar in base64, and `mark`, which is another one where the archive is.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import sys
import tarfile
from pathlib import Path

# Who has seen the mark cannot try values of a secret against it.
KEY = "backup_files_key"


def pack(directory: Path) -> bytes:
    """The same bytes as long as the files are the same."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(each for each in directory.rglob("*") if each.is_file()):
            entry = tarfile.TarInfo(str(path.relative_to(directory)))
            content = path.read_bytes()
            entry.size, entry.mode = len(content), 0o600
            archive.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def main(directory: Path) -> None:
    archive = pack(directory)
    mark = hmac.new((directory / KEY).read_bytes(), archive, hashlib.sha256).hexdigest()
    print(json.dumps({"archive": base64.b64encode(archive).decode(), "mark": mark}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
