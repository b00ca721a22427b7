"""What is to be done about a host's NVIDIA cards: nvidia.py WISHES. Prints JSON and changes nothing.

WISHES is JSON: `wanted` (required: it must compute on its cards; auto: if it can; off), `driver`
(distribution, nvidia or none), `branch` (empty: the source's own), `workers` (whether it runs any) and
`pack_engine`. The answer says whether the cards are used, why not, which packages they need and which CUDA
their driver carries. `survey` looks and `plan` decides, so that decisions can be shown for hosts that are not
here.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import TypedDict

VENDOR = "0x10de"
DISPLAY = "0x03"
# The first device that NVIDIA's open kernel modules know (Turing); later branches have no others.
FIRST_OPEN = 0x1E00
# The first device after Ada (Blackwell), and the first branch that knows it.
FIRST_BLACKWELL, BLACKWELL_BRANCH = 0x2900, 570
# Each system's own branch; Ubuntu has several side by side, of which this one is in all its releases here.
DISTRIBUTION = {"debian-12": 535, "debian-13": 550, "ubuntu-22.04": 550, "ubuntu-24.04": 550}
# Debian's second branch, of data centres, under names of its own.
DEBIAN_TESLA = 535
NVIDIA_BRANCH = 580
# The oldest driver of each CUDA (its minor version compatibility), newest first.
CUDA = ((580, "cuda13"), (525, "cuda12"))
DEBIAN_PARTS = ("contrib", "non-free", "non-free-firmware")


class Card(TypedDict):
    """`slot` on the PCI bus; `device`: its number there, as 0x1eb8."""

    slot: str
    device: str


class Survey(TypedDict):
    """A host. `system`: as debian-13; `mirror`: where its packages come from; `running`: its driver."""

    cards: list[Card]
    system: str
    codename: str
    mirror: str
    machine: str
    running: str
    nouveau: bool
    secure_boot: bool
    container: bool


class Wishes(TypedDict):
    """What the inventory says; see above."""

    wanted: str
    driver: str
    branch: str | int
    workers: bool
    pack_engine: str


class Plan(TypedDict):
    """What to do. `error`, `note`: why cards are not used; `parts`: of Debian's archive."""

    use: bool
    error: str
    note: str
    branch: int
    cuda: str
    packages: list[str]
    source: str
    parts: list[str]
    reboot: bool
    cards: int


def read(path: str | Path) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""


def survey(place: str | Path = "/") -> Survey:
    """Cards and driver of the host whose files lie under `place`."""
    root = Path(place)
    cards: list[Card] = []
    for device in sorted((root / "sys/bus/pci/devices").glob("*")):
        if read(device / "vendor") == VENDOR and read(device / "class").startswith(DISPLAY):
            cards.append({"slot": device.name, "device": read(device / "device")})
    system = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', read(root / "etc/os-release"), re.M))
    running = re.search(r"NVRM version:.*?\s(\d{3}\.[\d.]+)", read(root / "proc/driver/nvidia/version"))
    modules = {line.split()[0] for line in read(root / "proc/modules").splitlines() if line}
    secure = b""
    for variable in (root / "sys/firmware/efi/efivars").glob("SecureBoot-*"):
        secure = variable.read_bytes()[-1:]
    return {
        "cards": cards,
        "system": f"{system.get('ID', '')}-{system.get('VERSION_ID', '')}",
        "codename": system.get("VERSION_CODENAME", ""),
        "mirror": mirror(system.get("VERSION_CODENAME", ""), root),
        "machine": platform.machine(),
        "running": running[1] if running else "",
        "nouveau": "nouveau" in modules,
        "secure_boot": secure == b"\x01",
        "container": (root / "run/systemd/container").exists(),
    }


def mirror(codename: str, root: str | Path = "/") -> str:
    """Where the host's own Debian packages come from; empty where its sources do not say."""
    apt = Path(root) / "etc/apt"
    for place in sorted((apt / "sources.list.d").glob("*.sources")):
        for stanza in read(place).split("\n\n"):
            fields: dict[str, str] = dict(re.findall(r"^(\w[\w-]*):[ \t]*(.*)$", stanza, re.M))
            if (
                codename in fields.get("Suites", "").split()
                and "main" in fields.get("Components", "").split()
            ):
                return fields["URIs"].split()[0]
    for place in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list"))]:
        found = re.search(
            rf"^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+{codename}\s+(?:.*\s)?main\b", read(place), re.M
        )
        if found:
            return str(found[1])
    return ""


def plan(facts: Survey, wishes: Wishes) -> Plan:
    """What is to be done about the cards of `facts`."""
    answer: Plan = {
        "use": False, "error": "", "note": "", "branch": 0, "cuda": "", "packages": [], "source": "none",
        "parts": [], "reboot": False, "cards": len(facts["cards"]),
    }  # fmt: skip
    if wishes["wanted"] == "off" or not wishes["workers"]:
        return answer
    reason = obstacle(facts, wishes)
    if reason:
        # Of a host without a card nothing is said, unless somebody said that it has one.
        if wishes["wanted"] == "required":
            answer["error"] = reason
        elif facts["cards"]:
            answer["note"] = reason
        return answer
    answer["use"] = True
    running = int(facts["running"].split(".")[0]) if facts["running"] else 0
    if wishes["driver"] == "none":
        answer["branch"] = running
    else:
        answer["source"] = wishes["driver"]
        answer["branch"] = branch(facts, wishes)
        answer["packages"] = packages(facts, wishes["driver"], answer["branch"])
        if wishes["driver"] == "distribution" and facts["system"].startswith("debian"):
            answer["parts"] = list(DEBIAN_PARTS)
        # Another branch in the kernel than on the disk, or nouveau on the card: only a start makes room.
        answer["reboot"] = facts["nouveau"] or running not in (0, answer["branch"])
    answer["cuda"] = next(name for least, name in CUDA if answer["branch"] >= least)
    return answer


def branch(facts: Survey, wishes: Wishes) -> int:
    if wishes["branch"]:
        return int(wishes["branch"])
    return NVIDIA_BRANCH if wishes["driver"] == "nvidia" else DISTRIBUTION[facts["system"]]


def obstacle(facts: Survey, wishes: Wishes) -> str:
    """Why this host cannot compute on its cards; empty where it can."""
    if not facts["cards"]:
        return "it is in the group gpu and has no NVIDIA card on its PCI bus: take it out of the group"
    if wishes["pack_engine"] != "insightface":
        return "its model pack computes on the CPU alone: choose another pack (face_model_pack)"
    if facts["machine"] != "x86_64":
        return f"onnxruntime has no CUDA for {facts['machine']}"
    if wishes["driver"] not in ("distribution", "nvidia", "none"):
        return f"face_gpu_driver is '{wishes['driver']}': distribution, nvidia or none is needed"
    if not re.fullmatch(r"([1-9]\d\d)?", str(wishes["branch"])):
        return f"face_gpu_driver_branch is '{wishes['branch']}': a number as 550, or nothing, is needed"
    if wishes["driver"] == "none" or facts["container"]:
        if not facts["running"]:
            where = (
                "its host's kernel has no NVIDIA driver" if facts["container"] else "no NVIDIA driver runs"
            )
            return f"{where}: install one there, or set face_gpu_driver to distribution"
        if facts["container"] and wishes["driver"] != "none":
            return "it is a container, whose driver is its host's: set face_gpu_driver to none"
        have = int(facts["running"].split(".")[0])
    else:
        if wishes["driver"] == "distribution" and facts["system"] not in DISTRIBUTION:
            return f"no driver of {facts['system']} is known here: set face_gpu_driver to nvidia"
        if facts["secure_boot"]:
            return (
                "Secure Boot refuses a driver that is built on the host: enrol DKMS' key (mokutil --import"
                " /var/lib/dkms/mok.pub), install the driver yourself and set face_gpu_driver to none"
            )
        have = branch(facts, wishes)
        if facts["system"].startswith("debian") and wishes["driver"] == "distribution":
            if not facts["mirror"]:
                return (
                    f"/etc/apt names no source of {facts['codename']} main, beside which the driver lies:"
                    " name one, or set face_gpu_driver to nvidia"
                )
            own = {DISTRIBUTION[facts["system"]], DEBIAN_TESLA}
            if have not in own:
                return (
                    f"{facts['system']} has the branches {', '.join(map(str, sorted(own)))}, not {have}:"
                    " set face_gpu_driver to nvidia"
                )
        old = [card for card in facts["cards"] if int(card["device"], 16) < FIRST_OPEN]
        if old and wishes["driver"] == "nvidia":
            return (
                f"card {old[0]['device']} is older than NVIDIA's open kernel modules know:"
                " set face_gpu_driver to distribution"
            )
        new = [card for card in facts["cards"] if int(card["device"], 16) >= FIRST_BLACKWELL]
        if new and have < BLACKWELL_BRANCH:
            return (
                f"card {new[0]['device']} is newer than the driver {have} knows:"
                f" set face_gpu_driver to nvidia, whose branch is {NVIDIA_BRANCH}"
            )
    if have < CUDA[-1][0]:
        return f"driver {have} is too old: CUDA 12 needs {CUDA[-1][0]} or newer"
    return ""


def packages(facts: Survey, source: str, number: int) -> list[str]:
    """Kernel modules, libcuda, nvidia-smi and the persistence daemon; nothing of a desktop."""
    if source == "nvidia":
        common = ["nvidia-driver-cuda", "nvidia-kernel-open-dkms", "nvidia-persistenced"]
        return [
            *common,
            "linux-headers-amd64" if facts["system"].startswith("debian") else "linux-headers-generic",
        ]
    if facts["system"].startswith("ubuntu"):
        return [f"nvidia-headless-{number}-server", f"nvidia-utils-{number}-server", "linux-headers-generic"]
    if number == DISTRIBUTION[facts["system"]]:
        # Not nvidia-open-kernel-dkms: 550.163.01 of Debian 13 does not build for its kernel 6.12.117,
        # and both know the same cards.
        modules = "nvidia-kernel-dkms"
        return [modules, "libcuda1", "nvidia-smi", "nvidia-persistenced", "linux-headers-amd64"]
    prefix = f"nvidia-tesla-{number}"
    names = [f"{prefix}-kernel-dkms", f"libnvidia-tesla-{number}-cuda1", f"{prefix}-smi"]
    return [*names, "nvidia-persistenced", "linux-headers-amd64"]


def library() -> str:
    """Version of the driver's library as nvidia-smi tells it; empty where it cannot ask the kernel."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return (done.stdout.split() or [""])[0]


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    found = survey(given.get("root", "/"))
    print(
        json.dumps(
            {
                **plan(found, given),
                "running": found["running"],
                "nouveau": found["nouveau"],
                "codename": found["codename"],
                "mirror": found["mirror"],
                "library": library() if found["running"] else "",
            }
        )
    )
