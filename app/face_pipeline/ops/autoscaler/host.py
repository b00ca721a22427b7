"""What this host runs, has room for, and is told."""

from __future__ import annotations

import subprocess
from pathlib import Path

COUNT_WORKERS = (
    "systemctl", "list-units", "--plain", "--no-legend", "--state=active", "celery@*.service",
)  # fmt: skip
COUNT_TIMEOUT_SECONDS = 5


def running_workers() -> int:
    """Workers up on this host; raises OSError or subprocess.SubprocessError where systemd does not say."""
    done = subprocess.run(  # noqa: S603
        COUNT_WORKERS, capture_output=True, text=True, check=True, timeout=COUNT_TIMEOUT_SECONDS
    )
    return len(done.stdout.splitlines())


def room(running: int, asked: int, *, maximum: int, memory_mb: int, gpu_memory_mb: int) -> int:
    """The most workers this host can take, MB a worker: memory limits those to be added, never those it has.

    `asked` counts as present too: a worker that starts has not taken its memory yet.
    """
    added = available_mb() // memory_mb
    if gpu_memory_mb and (free := gpu_free_mb()) is not None:
        added = min(added, free // gpu_memory_mb)
    return min(maximum, max(asked, running + added))


def available_mb(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Memory that can be had without swapping, MB."""
    lines = meminfo.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) // 1024


def gpu_free_mb() -> int | None:
    """Free memory of the first GPU, MB; None where NVML is not there to ask."""
    try:
        import pynvml  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        free = pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).free
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None
    return int(free) // 1024**2


def tell(path: Path, workers: int) -> None:
    """Write the number face-workers is to run; a reader sees the old one or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(f"{workers}\n", encoding="ascii")
    temporary.replace(path)
