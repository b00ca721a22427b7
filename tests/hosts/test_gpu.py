"""A host with a card, from nouveau to a driver that runs: the role nvidia on a guest, reboot and all.

The card (files as of /sys and /proc under /srv/card) and the driver's packages are STAND-INs: they show what
the role installs, pins, holds, announces and reboots for, not that a driver builds, loads or computes.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.test_host import SUMMARY, Host
from tests.hosts.test_scaling import INVENTORY, playbook
from tests.packs import insightface_pack

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.skipif(
        not (SUMMARY and INVENTORY),
        reason="needs an installed host and its inventory (FACE_HOST_SUMMARY, FACE_HOST_INVENTORY)",
    ),
    pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb, which builds the stand-ins"),
]

BRANCH, NEWER = "550.163.01-99", "560.35.03-1"
CARD = {
    "sys/bus/pci/devices/0000:65:00.0/vendor": "0x10de\n",
    "sys/bus/pci/devices/0000:65:00.0/class": "0x030200\n",
    "sys/bus/pci/devices/0000:65:00.0/device": "0x2330\n",
    "proc/modules": "nouveau 3000000 1 - Live 0x0000000000000000\n",
}
# As the kernel does at a start: nouveau where nothing forbids it, else what is to be loaded.
LOADER = """\
[Unit]
Description=STAND-IN: what the kernel loads for the card
Before=nvidia-persistenced.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'grep -qx "blacklist nouveau" /etc/modprobe.d/face-nvidia.conf && \
  grep -qx nvidia_uvm /etc/modules-load.d/face-nvidia.conf && mkdir -p /srv/card/proc/driver/nvidia && \
  echo "nvidia_uvm 1 0 - Live 0x0" > /srv/card/proc/modules && \
  echo "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.163.01  X" > /srv/card/proc/driver/nvidia/version'
"""
DAEMON = """\
[Unit]
Description=STAND-IN of the persistence daemon
ConditionPathExists=/srv/card/proc/driver/nvidia/version
[Service]
ExecStart=/usr/bin/sleep infinity
[Install]
WantedBy=multi-user.target
"""
SMI = "#!/bin/sh\n[ -e /srv/card/proc/driver/nvidia/version ] || exit 9\necho 550.163.01\n"
UNITS = "usr/lib/systemd/system"
PACKAGES = {
    "nvidia-kernel-dkms": {
        f"{UNITS}/nvidia-standin.service": LOADER,
        # Started with the host, as its package would.
        f"{UNITS}/multi-user.target.wants/nvidia-standin.service": "../nvidia-standin.service",
    },
    "nvidia-persistenced": {f"{UNITS}/nvidia-persistenced.service": DAEMON},
    "nvidia-smi": {"usr/bin/nvidia-smi": SMI},
    "libcuda1": {},
    "linux-headers-amd64": {},
}


def build(directory: Path, name: str, version: str, files: dict[str, str]) -> None:
    tree = directory / f"{name}-{version}"
    control = (
        f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nSection: misc\nPriority: optional\n"
        "Maintainer: Face Pipeline tests <nobody@example.org>\nDescription: STAND-IN, for tests alone\n"
    )
    for path, text in {"DEBIAN/control": control, **files}.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("../"):
            (tree / path).symlink_to(text)
            continue
        (tree / path).write_text(text)
        (tree / path).chmod(0o755 if text.startswith("#!") else 0o644)
    for path in tree.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
    tree.chmod(0o755)
    subprocess.run(
        ["dpkg-deb", "--build", "--root-owner-group", tree, directory / "repository"],
        check=True, capture_output=True,
    )  # fmt: skip
    shutil.rmtree(tree)


def repository(directory: Path) -> Path:
    """An apt repository of the stand-ins, and of a newer branch that nobody asked for."""
    made = directory / "repository"
    made.mkdir()
    for name, files in PACKAGES.items():
        build(directory, name, "99" if name.startswith("linux") else BRANCH, files)
        if not name.startswith("linux"):
            build(directory, name, NEWER, files)
    entries = []
    for deb in sorted(made.glob("*.deb")):
        field = subprocess.run(["dpkg-deb", "--field", deb], check=True, capture_output=True, text=True)
        content = deb.read_bytes()
        entries.append(
            f"{field.stdout.strip()}\nFilename: ./{deb.name}\nSize: {len(content)}\n"
            f"SHA256: {hashlib.sha256(content).hexdigest()}\n"
        )
    (made / "Packages").write_text("\n".join(entries))
    return made


def unpack(host: Host, archive: bytes) -> None:
    host.run("base64 -d | tar -xzf - --no-same-owner -C /", stdin=base64.b64encode(archive).decode())


@pytest.fixture(scope="module")
def card(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(repository(tmp_path_factory.mktemp("card")), "srv/card-packages")
        for name, text in CARD.items():
            entry = tarfile.TarInfo(f"srv/card/{name}")
            entry.size, entry.mode = len(text), 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    unpack(host, packed.getvalue())
    host.run(
        "mkdir -p /srv/card/etc && "
        "cp -rL /etc/os-release /etc/apt /srv/card/etc/ && "
        "echo 'deb [trusted=yes] file:/srv/card-packages ./' > /etc/apt/sources.list.d/standin.list"
    )
    yield
    host.run(
        f"apt-mark unhold {' '.join(PACKAGES)}; apt-get purge -y -qq {' '.join(PACKAGES)}; "
        "rm -rf /srv/card /srv/card-packages /etc/apt/sources.list.d/standin.list "
        "/etc/apt/sources.list.d/face-nvidia-debian.sources /etc/apt/preferences.d/face-nvidia.pref "
        "/etc/apt/apt.conf.d/52face-nvidia "
        "/etc/modprobe.d/face-nvidia.conf /etc/modules-load.d/face-nvidia.conf; "
        "apt-get update -qq; systemctl daemon-reload; systemctl reset-failed",
        check=False,
    )


def bring_the_driver(**variables: object) -> tuple[int, str]:
    done = playbook("gpu", nvidia_root="/srv/card", face_model_pack="buffalo_l", **variables)
    return done.returncode, re.sub(r"\s+", " ", done.stdout + done.stderr)


def boot(host: Host) -> str:
    return host.run("cat /proc/sys/kernel/random/boot_id")


@pytest.mark.campaign(
    "it installs and starts the host again for minutes; tests/gpu/test_role.py has the steps"
)
@pytest.mark.usefixtures("card")
def test_a_driver_is_installed_held_and_its_reboot_announced_then_done(host: Host) -> None:
    before = boot(host)
    status, said = bring_the_driver()
    assert status != 0
    assert "the driver 550 is installed and counts after a start of the host (nouveau has the card)" in said
    assert "systemctl reboot, then run ./face-ansible site.yml -i " in said
    assert "again; or set face_allow_reboot" in said
    assert boot(host) == before

    versions = host.run("dpkg-query -W -f '${Package} ${Version}\\n' " + " ".join(PACKAGES))
    assert set(versions.split("\n")) >= {f"{name} {BRANCH}" for name in PACKAGES if "linux" not in name}
    assert set(host.run("apt-mark showhold").split()) == set(PACKAGES) - {"linux-headers-amd64"}
    blacklist = host.run("apt-config dump Unattended-Upgrade::Package-Blacklist")
    assert all(f'"{pattern}"' in blacklist for pattern in ("^nvidia-", "^libnvidia-", "^libcuda1$"))
    host.run(f"apt-mark unhold {' '.join(PACKAGES)}")
    upgrade = host.run("apt-get --simulate dist-upgrade")
    assert NEWER not in upgrade, "the pin alone keeps to the branch"

    status, said = bring_the_driver(face_allow_reboot="true")
    assert status == 0, said
    assert boot(host) != before
    assert host.run("systemctl is-active nvidia-persistenced").strip() == "active"

    after = boot(host)
    status, said = bring_the_driver(face_allow_reboot="true")
    assert (status, "changed=0" in said) == (0, True), said
    assert boot(host) == after


def test_a_host_without_a_card_is_left_as_it_is(host: Host) -> None:
    places = "/etc/(apt|modprobe.d|modules-load.d|systemd)/.*"
    files = f"find /etc -regextype posix-extended -type f -regex '{places}' -exec sha256sum {{}} +"
    looked = f"dpkg -l; apt-mark showhold; {files}"
    before = host.run(looked)
    done = playbook("gpu", face_model_pack="buffalo_l")
    assert (done.returncode, "changed=0" in done.stdout) == (0, True), done.stdout
    assert host.run(looked) == before


def test_where_no_card_is_there_is_nothing_to_prove(host: Host) -> None:
    done = playbook("prove_gpu")
    assert "no NVIDIA card is on its PCI bus" in re.sub(r"\s+", " ", done.stdout)
    assert done.returncode != 0
    assert host.run("ls -d /run/face-gpu* /run/systemd/system/face-gpu*", check=False) == ""


@pytest.mark.campaign("it computes for minutes")
def test_the_proof_of_a_card_runs_under_the_workers_limits_and_leaves_nothing(
    host: Host, tmp_path: Path
) -> None:
    """On the CPU, for no card is here: the command, its unit and its judgement work. CUDA is not shown."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(insightface_pack(), "srv/pack")
    unpack(host, packed.getvalue())
    try:
        done = playbook("prove_gpu", device="cpu", pack="/srv/pack", memory_photos=20, output=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        host.run("rm -rf /srv/pack")
    (written,) = tmp_path.glob("*-card0.json")
    figures = json.loads(written.read_text())
    assert figures["computed on"] == "CPUExecutionProvider"
    assert figures["faces compared with the CPU's"] > 0
    assert figures["worst cosine with the CPU's embedding"] > 0.999
    assert host.run("ls -d /run/face-gpu* /run/systemd/system/face-gpu*", check=False) == ""
    assert "face-gpu-proof" not in host.run("systemctl list-units --all --plain --no-legend")
