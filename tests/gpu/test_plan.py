"""What the role `nvidia` decides for hosts with and without cards: a directory stands for each host's files.

No card is here: which packages a decision names is shown, not that their driver runs.
"""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "roles/nvidia/files/nvidia.py"
TOOL = runpy.run_path(str(SCRIPT), run_name="nvidia")
HOPPER, VOLTA, PASCAL, BLACKWELL = "0x2330", "0x1db4", "0x1b38", "0x2901"
SYSTEMS = {
    "debian-12": ("debian", "12", "bookworm"),
    "debian-13": ("debian", "13", "trixie"),
    "ubuntu-24.04": ("ubuntu", "24.04", "noble"),
    "fedora-40": ("fedora", "40", ""),
}
WISHES = {
    "wanted": "auto",
    "driver": "distribution",
    "branch": "",
    "workers": True,
    "pack_engine": "insightface",
}


def host(
    root: Path, *cards: str, system: str = "debian-13", running: str = "", modules: str = "", **more: Any
) -> Path:
    """The files of a host that the decision looks at; other devices are on its bus too."""
    devices = [("0x8086", "0x030000", "0x0001"), ("0x10de", "0x040300", "0x10f0")]
    devices += [("0x10de", "0x030200", card) for card in cards]
    for number, values in enumerate(devices):
        device = root / f"sys/bus/pci/devices/0000:{number:02x}:00.0"
        device.mkdir(parents=True)
        for name, value in zip(("vendor", "class", "device"), values, strict=True):
            (device / name).write_text(f"{value}\n")
    name, version, codename = SYSTEMS[system]
    files = {
        "etc/os-release": f'ID={name}\nVERSION_ID="{version}"\nVERSION_CODENAME={codename}\n',
        "etc/apt/sources.list": more.get("sources", f"deb http://mirror.example/debian {codename} main\n"),
        "proc/modules": "".join(f"{module} 1 0 - Live 0x0\n" for module in ["ext4", *modules.split()]),
    }
    if running:
        files["proc/driver/nvidia/version"] = (
            f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {running}  Release Build\n"
            if more.get("open")
            else f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {running}  Tue Jan 1\n"
        )
    if more.get("container"):
        files["run/systemd/container"] = "systemd-nspawn"
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    if more.get("secure_boot"):
        variables = root / "sys/firmware/efi/efivars"
        variables.mkdir(parents=True)
        (variables / "SecureBoot-8be4df61").write_bytes(b"\x06\0\0\0\x01")
    return root


def plan(root: Path, machine: str = "x86_64", **wishes: Any) -> dict[str, Any]:
    facts = {**TOOL["survey"](root), "machine": machine}
    found: dict[str, Any] = TOOL["plan"](facts, {**WISHES, **wishes})
    return found


def test_a_host_without_a_card_is_none_of_its_business(tmp_path: Path) -> None:
    found = plan(host(tmp_path))
    assert found == {
        "use": False, "error": "", "note": "", "branch": 0, "cuda": "", "packages": [], "source": "none",
        "parts": [], "reboot": False, "cards": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("system", "card", "wishes", "branch", "cuda", "kernel"),
    [
        ("debian-13", HOPPER, {}, 550, "cuda12", "nvidia-kernel-dkms"),
        ("debian-13", VOLTA, {}, 550, "cuda12", "nvidia-kernel-dkms"),
        ("debian-13", PASCAL, {"branch": "535"}, 535, "cuda12", "nvidia-tesla-535-kernel-dkms"),
        ("debian-12", HOPPER, {}, 535, "cuda12", "nvidia-kernel-dkms"),
        ("debian-13", HOPPER, {"driver": "nvidia"}, 580, "cuda13", "nvidia-kernel-open-dkms"),
        (
            "debian-12",
            HOPPER,
            {"driver": "nvidia", "branch": "570"},
            570,
            "cuda12",
            "nvidia-kernel-open-dkms",
        ),
        ("ubuntu-24.04", HOPPER, {}, 550, "cuda12", "nvidia-headless-550-server"),
        ("ubuntu-24.04", HOPPER, {"branch": "580"}, 580, "cuda13", "nvidia-headless-580-server"),
    ],
)
def test_branch_cuda_and_packages_follow_system_card_and_wish(
    system: str, card: str, wishes: dict[str, str], branch: int, cuda: str, kernel: str, tmp_path: Path
) -> None:
    found = plan(host(tmp_path, card, system=system), **wishes)
    assert (found["use"], found["error"], found["note"]) == (True, "", "")
    assert (found["branch"], found["cuda"]) == (branch, cuda)
    assert kernel in found["packages"]
    assert any(name.startswith("linux-headers") for name in found["packages"])
    assert not found["reboot"]
    # The parts of Debian that it does not ship by itself, where its own driver is wanted.
    assert bool(found["parts"]) == (found["source"] == "distribution" and system.startswith("debian"))


@pytest.mark.parametrize(
    ("running", "cuda"), [("580.65.06", "cuda13"), ("550.163.01", "cuda12"), ("525.60.13", "cuda12")]
)
@pytest.mark.parametrize("open_modules", [True, False])
def test_a_driver_that_is_there_is_left_alone_and_chooses_cuda(
    running: str, cuda: str, open_modules: bool, tmp_path: Path
) -> None:
    found = plan(host(tmp_path, HOPPER, running=running, open=open_modules), driver="none")
    assert (found["use"], found["cuda"], found["packages"]) == (True, cuda, [])


@pytest.mark.parametrize(
    ("state", "reboot"),
    [
        ({}, False),
        ({"running": "550.163.01", "modules": "nvidia nvidia_uvm"}, False),
        ({"running": "535.216.03"}, True),
        ({"modules": "nouveau"}, True),
    ],
)
def test_only_another_driver_in_the_kernel_wants_a_start_of_the_host(
    state: dict[str, str], reboot: bool, tmp_path: Path
) -> None:
    assert plan(host(tmp_path, HOPPER, **state))["reboot"] is reboot


@pytest.mark.parametrize(
    ("state", "wishes", "words"),
    [
        ({}, {"pack_engine": "dlib"}, "its model pack computes on the CPU alone"),
        ({}, {"driver": "none"}, "no NVIDIA driver runs"),
        ({"container": True}, {}, "its host's kernel has no NVIDIA driver"),
        ({"container": True, "running": "550.1"}, {}, "set face_gpu_driver to none"),
        ({"running": "470.82.01"}, {"driver": "none"}, "driver 470 is too old: CUDA 12 needs 525"),
        ({"secure_boot": True}, {}, "Secure Boot refuses"),
        ({}, {"branch": "570"}, "debian-13 has the branches 535, 550, not 570"),
        ({}, {"branch": "new"}, "a number as 550, or nothing"),
        ({}, {"driver": "cuda"}, "distribution, nvidia or none is needed"),
        (
            {"sources": "deb http://other.example/x stable main\n"},
            {},
            "/etc/apt names no source of trixie main",
        ),
        ({"system": "fedora-40"}, {}, "no driver of fedora-40 is known here"),
    ],
)
def test_why_not_is_said_to_who_asked_and_fails_who_required(
    state: dict[str, Any], wishes: dict[str, str], words: str, tmp_path: Path
) -> None:
    root = host(tmp_path, HOPPER, **state)
    asked, required = plan(root, **wishes), plan(root, wanted="required", **wishes)
    assert words in asked["note"]
    assert words in required["error"]
    assert (asked["error"], required["note"]) == ("", "")
    for found in (asked, required):
        assert (found["use"], found["cuda"], found["packages"]) == (False, "", [])
    assert plan(root, wanted="off", **wishes)["note"] == ""


def test_an_old_card_and_another_machine_are_named(tmp_path: Path) -> None:
    root = host(tmp_path, PASCAL)
    assert "older than NVIDIA's open kernel modules know" in plan(root, driver="nvidia")["note"]
    assert "no CUDA for aarch64" in plan(root, machine="aarch64")["note"]


def test_a_card_newer_than_the_distributions_driver_gets_nvidias(tmp_path: Path) -> None:
    root = host(tmp_path, HOPPER, BLACKWELL)
    assert "set face_gpu_driver to nvidia" in plan(root)["note"]
    assert plan(root, driver="nvidia")["branch"] == 580
    assert plan(root, driver="nvidia", branch="565")["use"] is False


def test_a_host_that_must_have_a_card_and_has_none_fails(tmp_path: Path) -> None:
    assert "has no NVIDIA card on its PCI bus" in plan(host(tmp_path), wanted="required")["error"]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (
            "debian.sources",
            "Types: deb\nURIs: http://mirror.example/debian\nSuites: sid trixie\nComponents: main\n",
        ),
        ("old.list", "deb [signed-by=/x.gpg] http://mirror.example/debian trixie main\n"),
    ],
)
def test_debians_other_parts_come_from_the_hosts_own_mirror(file: str, text: str, tmp_path: Path) -> None:
    sources = tmp_path / "etc/apt/sources.list.d"
    sources.mkdir(parents=True)
    (sources / "face-grafana.sources").write_text(
        "URIs: https://apt.grafana.com\nSuites: stable\nComponents: main\n"
    )
    place = sources / file if file.endswith(".sources") else tmp_path / "etc/apt/sources.list"
    place.write_text(text)
    assert TOOL["mirror"]("trixie", tmp_path) == "http://mirror.example/debian"


def test_the_program_prints_one_answer_and_changes_nothing(tmp_path: Path) -> None:
    root = host(tmp_path / "host", HOPPER, running="550.163.01")
    before = sorted(root.rglob("*"))
    wishes = {**WISHES, "root": str(root)}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), json.dumps(wishes)], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    assert (found["running"], found["use"], found["codename"]) == ("550.163.01", True, "trixie")
    assert sorted(root.rglob("*")) == before
