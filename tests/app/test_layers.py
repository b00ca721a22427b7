"""Which part of the application may know of which: read from the imports of every module.

A part imports what lies below it, and itself. What is beside it or above it, it does not know.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "app" / "face_pipeline"

# From the top. Each top-level module and package of face_pipeline stands here once.
LAYERS = (
    # Doors: each makes the parts of its process, reads a request, calls an action, shows the result.
    ("cli",),
    ("web", "worker", "ops", "copies"),
    ("actions",),
    # What a process works with, made at its door.
    ("parts",),
    ("broker", "store", "observation", "config"),
    ("engine", "telemetry", "client", "proofs"),
    ("errors", "network", "words", "kept"),
)
# Who alone may speak to a foreign library; `parts` names the types of what it makes.
KEPT_IN = {
    "sqlalchemy": {"store"},
    "psycopg2": {"store"},
    "alembic": {"store"},
    "pgvector": {"store"},
    "redis": {"broker", "parts"},
    "kombu": {"broker"},
    "celery": {"broker", "worker", "parts"},
    "limits": {"broker"},
    "flask": {"web", "copies"},
    "werkzeug": {"web", "copies"},
    "gunicorn": {"web"},
    "onnx": {"engine"},
    "onnxruntime": {"engine"},
    "openvino": {"engine"},
    "dlib": {"engine"},
    "_dlib_pybind11": {"engine"},
    "insightface": {"engine"},
    "cv2": {"engine"},
    "scipy": {"ops"},
    "sklearn": {"ops"},
    "cryptography": {"proofs"},
    # A smoke test makes a photo of its own.
    "PIL": {"engine", "ops"},
}


class Import(NamedTuple):
    """One imported name, as `package.module.name`, and where it stands."""

    file: Path
    line: int
    name: str
    at_the_top: bool

    @property
    def of(self) -> str:
        """The part of the application that imports."""
        return self.file.relative_to(PACKAGE).parts[0].removesuffix(".py")

    def __str__(self) -> str:
        return f"{self.file.relative_to(PACKAGE.parent)}:{self.line} imports {self.name}"


def imports_of(file: Path) -> Iterator[Import]:
    """All of them: at the top, in functions, and for types alone."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        at_the_top = getattr(node, "col_offset", 0) == 0
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name, at_the_top)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            for alias in node.names:
                yield Import(file, node.lineno, f"{node.module}.{alias.name}", at_the_top)


def every_import() -> list[Import]:
    files = [file for file in sorted(PACKAGE.rglob("*.py")) if file != PACKAGE / "__init__.py"]
    return [each for file in files for each in imports_of(file)]


def own(each: Import) -> str | None:
    """The part of the application that is imported; None for the version and for other packages."""
    head, *rest = each.name.split(".")
    return rest[0] if head == "face_pipeline" and rest and not rest[0].startswith("__") else None


IMPORTS = every_import()
HEIGHT = {name: -depth for depth, names in enumerate(LAYERS) for name in names}


def test_every_part_has_its_place() -> None:
    there = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if not path.name.startswith("__")}
    assert there - set(HEIGHT) == set(), "say in LAYERS where they belong"


def test_a_part_knows_only_what_lies_below_it() -> None:
    wrong = [
        f"{each} ({each.of} does not lie above {part})"
        for each in IMPORTS
        if (part := own(each)) is not None and part != each.of and HEIGHT[each.of] <= HEIGHT[part]
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("library", KEPT_IN)
def test_a_foreign_library_is_known_in_one_place(library: str) -> None:
    wrong = [
        str(each)
        for each in IMPORTS
        if each.name.split(".")[0] == library and each.of not in KEPT_IN[library]
    ]
    assert not wrong, "\n".join(wrong)


# What decodes pixels, or runs models: the web service loads none of it.
DECODERS = {"PIL", "cv2", "pillow_heif", "onnxruntime", "openvino", "dlib", "insightface"}
# Where imports inside functions are a worker's: `load_engine`, `load_runtime`.
WORKERS_OWN = {PACKAGE / "engine" / "__init__.py", PACKAGE / "engine" / "runtimes" / "__init__.py"}


def test_the_web_service_knows_of_no_decoder() -> None:
    """Whatever a module of the web imports, and what that imports in turn."""
    seen: dict[Path, str] = {}
    waiting = [(file, file.name) for file in sorted((PACKAGE / "web").rglob("*.py"))]
    wrong: list[str] = []
    while waiting:
        file, way = waiting.pop()
        if file in seen:
            continue
        seen[file] = way
        for each in imports_of(file):
            if file in WORKERS_OWN and not each.at_the_top:
                continue
            if each.name.split(".")[0] in DECODERS:
                wrong.append(f"{each} ({way})")
            waiting += [(found, f"{way} > {found.name}") for found in files_of(each.name)]
    assert PACKAGE / "actions" / "pictures.py" in seen
    assert not wrong, "\n".join(wrong)


def files_of(name: str) -> Iterator[Path]:
    """The files of ours that an import of this name runs."""
    at, *rest = name.split(".")
    place = PACKAGE
    if at != PACKAGE.name:
        return
    for part in rest:
        place = place / part
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                yield file


def test_the_table_of_subjects_is_true_and_has_every_action() -> None:
    """docs/architecture.md: each name is a module of its layer."""
    page = (PACKAGE.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.split("### Where a subject is")[1].split("\nWhat all calls share")[0]
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 10
    named: set[str] = set()
    for _, web, action, store in rows:
        for column, layers in (
            (web, ("web/contract", "web/api")),
            (action, ("actions",)),
            (store, ("store",)),
        ):
            for name in re.findall(r"`([a-z_/.]+)`", column):
                places = [name] if "/" in name else [f"{layer}/{name}.py" for layer in layers]
                assert any((PACKAGE / place).is_file() for place in places), name
        named |= set(re.findall(r"`([a-z_]+)`", action))
    assert named == {path.stem for path in (PACKAGE / "actions").glob("*.py")} - {"__init__"}


def test_the_walk_of_one_photo_is_true() -> None:
    """docs/architecture.md: each step names a file and functions that are defined there."""
    page = (PACKAGE.parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")
    walk = page.split("## The walk of one photo")[1].split("\n## ")[0]
    steps = re.findall(r"^- `([^`]+\.py)`: (.*(?:\n  .*)*)", walk, re.MULTILINE)
    assert len(steps) > 10
    for file, told in steps:
        tree = ast.walk(ast.parse((PACKAGE / file).read_text(encoding="utf-8")))
        defined = {node.name for node in tree if isinstance(node, ast.FunctionDef)}
        named = [
            name
            for name in re.findall(r"`([a-z_]+)`", told)
            if name not in ("ingest",) or "queue" not in told
        ]
        assert named, file
        assert set(named) <= defined, f"{file} has no {', '.join(sorted(set(named) - defined))}"
