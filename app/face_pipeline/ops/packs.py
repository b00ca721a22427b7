"""Making the dlib pack: its models come in a package of the Python package index, pinned by hash."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from face_pipeline.engine import Pack, PackError, build_dlib_pack
from face_pipeline.engine.pack import KNOWN_PACKS


def install_dlib(target: Path) -> Pack:
    """Fetch the package with pip, whose configuration and mirrors apply, and keep two of its files."""
    with tempfile.TemporaryDirectory(dir=target.parent if target.parent.is_dir() else None) as source:
        result = subprocess.run(  # noqa: S603
            [
                sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
                "--require-hashes", "--target", source, "--requirement", str(KNOWN_PACKS / "dlib.txt"),
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if result.returncode:
            last = (result.stderr.strip() or result.stdout.strip()).splitlines()[-1:]
            raise PackError(f"pip cannot fetch the dlib models: {''.join(last)}")
        return build_dlib_pack(Path(source), target)
