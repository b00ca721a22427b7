"""The oldest release that this one can be taken back to: `python -m tests.previous` prints its commit.

Found by what it is, the last commit with the schema that `compatible.WORKS_WITH` names, and not by a number
that a clone may lack. The exit status is 1, with a line that says why, where history does not reach so far.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STORE = "app/face_pipeline/store"


class NotHereError(Exception):
    pass


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotHereError(f"git {' '.join(arguments)}: {done.stderr.strip() or 'found nothing'}")
    return done.stdout.strip()


def commit() -> str:
    """Raises NotHereError where this checkout has no such commit: it is no clone, or a shallow one."""
    found = re.search(r'^WORKS_WITH = "(\d{4})"', (ROOT / STORE / "compatible.py").read_text(), re.MULTILINE)
    if found is None:
        raise NotHereError(f"{STORE}/compatible.py names no WORKS_WITH")
    versions = sorted(each.name for each in (ROOT / STORE / "migrations/versions").glob("[0-9]*.py"))
    later = [name for name in versions if name[:4] > found[1]]
    if not later:
        raise NotHereError(f"no migration is later than {found[1]}: every release with it is like this one")
    path = f"{STORE}/migrations/versions/{later[0]}"
    added = _git("log", "--diff-filter=A", "--format=%H", "-1", "--", path)
    if not added:
        raise NotHereError(f"the history here lacks the commit that brought {later[0]}")
    before = _git("rev-parse", "--verify", "--short", f"{added}^1^{{commit}}")
    last = _git("ls-tree", "--name-only", before, f"{STORE}/migrations/versions/").splitlines()
    if f"{STORE}/migrations/versions/{versions[-len(later) - 1]}" not in last:
        raise NotHereError(f"the history here has no commit whose last migration is {found[1]}")
    return before


def main() -> None:
    try:
        print(commit())
    except NotHereError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
