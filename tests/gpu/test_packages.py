"""The packages of a driver by Debian's own archive: they are there, in one branch, and go together.

Debian's apt resolves them against an empty system; nothing is downloaded but lists, and no driver runs.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.gpu.test_plan import HOPPER, PASCAL, TOOL, host, plan
from tests.services.process import ROOT as DEBIAN

pytestmark = pytest.mark.skipif(
    shutil.which("apt-get") is None or not (DEBIAN / ".complete").exists(),
    reason="needs apt and the mirror of tests/services/prepare's Debian 13",
)


@pytest.fixture(scope="module")
def apt(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """apt-get on a Debian 13 with nothing installed, with every part of its archive."""
    directory = tmp_path_factory.mktemp("apt")
    for name in ("state/lists/partial", "cache/archives/partial", "preferences"):
        (directory / name).mkdir(parents=True)
    (directory / "status").touch()
    mirror = TOOL["mirror"]("trixie", DEBIAN)
    parts = " ".join(("main", *TOOL["DEBIAN_PARTS"]))
    (directory / "sources.list").write_text(f"deb [trusted=yes] {mirror} trixie {parts}\n")
    settings = {
        "Dir::Etc::sourcelist": directory / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferencesparts": directory / "preferences",
        "Dir::State": directory / "state",
        "Dir::State::status": directory / "status",
        "Dir::Cache": directory / "cache",
        "APT::Architecture": "amd64",
        "APT::Sandbox::User": "root",
    }
    command = ["apt-get", *(word for key, value in settings.items() for word in ("-o", f"{key}={value}"))]
    done = subprocess.run([*command, "update", "-qq"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"the archive of {mirror} cannot be read: {done.stderr.strip()}")
    return command


@pytest.mark.campaign("it asks the package index for gigabytes of packages that change with a lock alone")
@pytest.mark.parametrize(("card", "branch"), [(HOPPER, ""), (PASCAL, ""), (HOPPER, "535")])
def test_the_packages_of_a_decision_can_be_installed(
    apt: list[str], card: str, branch: str, tmp_path: Path
) -> None:
    found = plan(host(tmp_path, card), branch=branch)
    preferences = Path(next(word.partition("=")[2] for word in apt if "preferencesparts" in word))
    text = (Path(__file__).resolve().parents[2] / "roles/nvidia/templates/face-nvidia.pref.j2").read_text()
    text = text.partition("\n")[2].replace("{{ nvidia_plan.branch }}", str(found["branch"]))
    (preferences / "face-nvidia.pref").write_text(text)
    command = [*apt, "--simulate", "install", "--no-install-recommends", *found["packages"]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    installed = dict(re.findall(r"^Inst (\S+) \((\S+)", done.stdout, re.M))
    assert set(found["packages"]) <= set(installed)
    drivers = [name for name in installed if re.search(r"kernel-dkms$|-smi$|cuda1$", name)]
    assert len(drivers) == 3
    assert {installed[name].partition(".")[0] for name in drivers} == {str(found["branch"])}
