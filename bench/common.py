"""What every benchmark shares: its options, its photos, and how it reports."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ROOT.parent / "shared" / "photos"
PACK = ROOT.parent / "shared" / "models" / "scrfd2.5g_mobilefacenet"
# What keeps OpenVINO from the instructions of newer processors; read once, when it is loaded. onnxruntime
# asks the processor itself and has no such switch.
ISA, AVX2 = "ONEDNN_MAX_CPU_ISA", "AVX2"


def parser(text: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=text)
    made.add_argument("--pack", type=Path, default=PACK, help="directory of a model pack")
    made.add_argument("--photos", type=Path, default=PHOTOS, help="directory of photos")
    made.add_argument("--json", type=Path, help="write the figures here")
    return made


def with_isa(made: argparse.ArgumentParser) -> argparse.ArgumentParser:
    made.add_argument(
        "--isa", choices=[AVX2.lower()], help="OpenVINO alone, as on a processor with no newer instructions"
    )
    return made


def limit(isa: str | None) -> None:
    """For this process and those that it starts, before OpenVINO is loaded."""
    if isa:
        os.environ[ISA] = isa.upper()


def photo_files(directory: Path) -> list[Path]:
    files = sorted(path for path in directory.glob("*.jp*g") if path.stat().st_size > 0)
    if not files:
        sys.exit(f"bench: no JPEG photos in {directory}; name a directory with --photos")
    return files


def machine() -> str:
    """The processor, its cores that we may use, and how busy they are."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "processor")
    return f"{model}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}"


def computer() -> dict[str, Any]:
    """Processor, cores that we may use, memory, kernel and Python, in words that name no host."""
    fields: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": fields.get("model name", platform.machine()),
        "instructions": sorted(
            each for each in fields.get("flags", "").split() if "avx" in each or "amx" in each
        ),
        "cores": len(os.sched_getaffinity(0)),
        "memory GB": round(memory / 1e9, 1),
        # What a distribution or a host's owner adds to it is theirs.
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
    }


def load() -> float:
    """Of the last minute, all processes of the machine together."""
    return round(os.getloadavg()[0], 2)


def installed(package: str) -> str | None:
    """Its version."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def report(figures: dict[str, Any], path: Path | None) -> None:
    width = max(len(name) for name in figures)
    for name, value in figures.items():
        print(f"{name:{width}}  {value:.4g}" if isinstance(value, float) else f"{name:{width}}  {value}")
    write(figures, path)


def write(figures: dict[str, Any], path: Path | None) -> None:
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=2) + "\n")
