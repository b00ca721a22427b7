"""./bootstrap with the real pip, and a small package in place of Ansible."""

from __future__ import annotations

import hashlib
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = 'def main():\n    print("ansible-playbook [core 0.1]")\n'


def wheel(directory: Path) -> Path:
    directory.mkdir()
    path = directory / "standin-0.1-py3-none-any.whl"
    info = "standin-0.1.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("standin.py", PROGRAM)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: standin\nVersion: 0.1\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/entry_points.txt", "[console_scripts]\nansible-playbook = standin:main\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def bootstrap(directory: Path, *arguments: str, digest: str = "") -> tuple[int, str, str]:
    """Exit status, output and errors; the lock names that package, and pip looks into a place that is not."""
    package = directory / "packages" / "standin-0.1-py3-none-any.whl"
    if not package.exists():
        wheel(package.parent)
    (directory / "requirements").mkdir(exist_ok=True)
    found = digest or hashlib.sha256(package.read_bytes()).hexdigest()
    (directory / "requirements/deploy.lock").write_text(f"standin==0.1 --hash=sha256:{found}\n")
    (directory / "bootstrap").write_text((ROOT / "bootstrap").read_text())
    (directory / "bootstrap").chmod(0o755)
    (directory / "lib.sh").write_text((ROOT / "lib.sh").read_text())
    places = f"file://{directory}/gone {package.parent}"
    done = subprocess.run(
        [directory / "bootstrap", *arguments],
        env={**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": places, "PIP_CONFIG_FILE": "/dev/null"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.campaign("it installs packages")
def test_it_says_what_to_type_next_and_nothing_of_places_that_pip_does_not_find(tmp_path: Path) -> None:
    status, said, errors = bootstrap(tmp_path)
    assert (status, errors) == (0, "")
    assert "bootstrap: ansible-playbook [core 0.1] in .venv-deploy" in said
    assert "./face-ansible site.yml -i inventory/local.yml" in said
    assert bootstrap(tmp_path, "--quiet") == (0, "bootstrap: .venv-deploy is up to date\n", "")


@pytest.mark.campaign("it installs packages")
def test_what_pip_could_not_install_is_still_said(tmp_path: Path) -> None:
    status, _, errors = bootstrap(tmp_path, digest="0" * 64)
    assert status != 0
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in errors
    assert "is ignored" not in errors
    # The next run does not take what is half there for the whole.
    assert bootstrap(tmp_path)[0] == 0


@pytest.mark.parametrize("file", ["bootstrap", "face-ansible", "quickstart"])
def test_the_scripts_are_executable(file: str) -> None:
    assert os.access(ROOT / file, os.X_OK)
