"""Programs of roles and playbooks as modules, for tests of their functions."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[2]


def programs() -> list[Path]:
    """Every Python file outside a package: of roles, of playbooks, and Ansible's plugins."""
    return sorted(
        file for place in ("roles", "playbooks", "plugins") for file in (ROOT / place).rglob("*.py")
    )


def load(path: Path | str) -> ModuleType:
    """The program at `path` (from the project's root) as a module of its own."""
    file = ROOT / path
    spec = importlib.util.spec_from_file_location(f"program_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A dataclass looks its own module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
