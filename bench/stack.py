"""A pipeline on loopback for a benchmark: durable PostgreSQL, Redis, gunicorn, workers, nothing simulated."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.installation import App, Installation, start_web
from tests.services import Postgres, Redis

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ROOT.parent / "shared" / "photos"
PACK = ROOT.parent / "shared" / "models" / "scrfd2.5g_mobilefacenet"


def parser(text: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=text)
    made.add_argument("--pack", type=Path, default=PACK, help="directory of a model pack")
    made.add_argument("--photos", type=Path, default=PHOTOS, help="directory of photos")
    made.add_argument("--json", type=Path, help="write the figures here")
    return made


@contextmanager
def pipeline(pack: Path, **settings: str) -> Iterator[App]:
    """Start PostgreSQL, Redis and gunicorn; the caller starts the workers it wants."""
    if not pack.is_dir():
        sys.exit(f"bench: no model pack in {pack}; name one with --pack")
    postgres, redis = Postgres(fsync=True), Redis()
    with tempfile.TemporaryDirectory(prefix="face-bench-", dir="/var/tmp") as directory:
        postgres.start()
        redis.start()
        try:
            installation = Installation.make(Path(directory), postgres, redis, pack, **settings)
            url, web = start_web(installation)
            app = App(installation, url, web)
            try:
                yield app
            finally:
                for process in list(installation.processes):
                    installation.end(process, signal.SIGTERM)
        finally:
            redis.close()
            postgres.close()


def photo_files(directory: Path) -> list[Path]:
    files = sorted(path for path in directory.glob("*.jp*g") if path.stat().st_size > 0)
    if not files:
        sys.exit(f"bench: no JPEG photos in {directory}; name a directory with --photos")
    return files


def report(figures: dict[str, Any], path: Path | None) -> None:
    width = max(len(name) for name in figures)
    for name, value in figures.items():
        print(f"{name:{width}}  {value:.4g}" if isinstance(value, float) else f"{name:{width}}  {value}")
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=2) + "\n")
