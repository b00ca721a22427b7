"""Running `face-pipeline …` as a person does, against an installation of the tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.photos import ROOT


@dataclass(frozen=True)
class Person:
    """Somebody at a shell, whose key and state lie in `home`."""

    home: Path
    environment: dict[str, str]

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "face_pipeline.cli", *arguments]

    def types(self, *arguments: str | Path, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*map(str, arguments)), env={**self.environment, **extra},
            capture_output=True, text=True, check=False, timeout=300, cwd=self.home,
        )  # fmt: skip

    def starts(self, *arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*map(str, arguments)), env=self.environment, cwd=self.home,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            # Tests in the background of a shell ignore Ctrl-C, and so would what they start.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip


def person_at(url: str, home: Path, key: str) -> Person:
    (home / "key").write_text(key + "\n")
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    return Person(
        home,
        {
            **kept, "HOME": str(home), "XDG_STATE_HOME": str(home / "state"), "FACE_URL": url,
            "FACE_API_KEY_FILE": str(home / "key"), "PYTHONPATH": str(ROOT / "app"), "LC_CTYPE": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )  # fmt: skip
