"""CompreFace's own SDKs, as published, each in a directory of its own; skips where they cannot be had."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.packs import CACHE

HERE = Path(__file__).parent
LOCK = HERE / "python.lock"
JAVASCRIPT = HERE / "javascript"
PATIENCE_SECONDS = 240


def python() -> Path:
    """A Python that has compreface-sdk, which needs an old urllib3."""

    def install(target: Path) -> None:
        _run(sys.executable, "-m", "venv", "--copies", str(target))
        pip = (str(target / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps")
        _run(*pip, "--require-hashes", "--requirement", str(LOCK))

    return _installed("python", LOCK, install) / "bin" / "python"


def javascript() -> Path:
    """A directory whose programs may import @exadel/compreface-js-sdk."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("needs node and npm, which are not on this machine")

    def install(target: Path) -> None:
        target.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(JAVASCRIPT / name, target)
        _run(npm, "ci", "--prefix", str(target), "--ignore-scripts", "--no-audit", "--no-fund")

    return _installed("javascript", JAVASCRIPT / "package-lock.json", install)


def _installed(name: str, lock: Path, install: Callable[[Path], None]) -> Path:
    """Where it is, installed on first use; of each content of its lock there is one."""
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    # Not moved once it is made: programs in there know where they are.
    target = CACHE / "compreface" / f"{name}-{digest}-py{sys.version_info.major}{sys.version_info.minor}"
    mark = target / ".complete"
    if mark.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_suffix(".lock").open("w") as held:
        # Another run may be about to install it.
        fcntl.flock(held, fcntl.LOCK_EX)
        if mark.exists():
            return target
        shutil.rmtree(target, ignore_errors=True)
        try:
            install(target)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"CompreFace's SDK ({name}) cannot be had here: {_told(error)}")
        mark.touch()
    return target


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_SECONDS)


def _told(error: subprocess.SubprocessError) -> str:
    lines = str(getattr(error, "stderr", "") or error).strip().splitlines()
    return lines[-1][:200] if lines else type(error).__name__
