"""Takes the client's files from the application's tree, and leaves the service's there."""

from __future__ import annotations

import os
import re
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
# Relative, as setuptools wants it.
TREE = Path(os.path.relpath(HERE.parents[1] / "app", HERE))
# Of face_pipeline itself; of the command line all but the commands of a host.
SHARED = {"__init__", "errors", "proofs", "words"}
LEFT_OUT = {("face_pipeline.cli", "host")}


class Build(build_py):
    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        found: list[tuple[str, str, str]] = super().find_package_modules(package, package_dir)
        return [
            each
            for each in found
            if (package != "face_pipeline" or each[1] in SHARED) and each[:2] not in LEFT_OUT
        ]


(version,) = re.findall(
    r'^__version__ = "(.+)"$', (HERE / TREE / "face_pipeline/__init__.py").read_text(), re.MULTILINE
)
setup(
    version=version,
    packages=["face_pipeline", "face_pipeline.client", "face_pipeline.cli"],
    package_dir={"": str(TREE)},
    include_package_data=False,
    cmdclass={"build_py": Build},
)
