"""What `face-pipeline tune` measured and chose on this host: one JSON file.

Its place and form are those of a local fact of Ansible, `ansible_local.face_tune`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from face_pipeline.engine.pack import Pack, contract_id
from face_pipeline.engine.prepared.record import Choice, Profile, choose, host
from face_pipeline.errors import ConfigurationError

# Grows whenever what is measured or written changes.
FORMAT = 1


@dataclass(frozen=True)
class Basis:
    """What figures belong to: the installed pack and its contract, what computes, and the host."""

    pack: str
    contract: str
    runtime: str
    profile: str
    processor: str
    cores: int


@dataclass(frozen=True)
class Figures:
    """`workers` processes of `threads` threads each: photos a second of all together, and MB of the largest
    process when the time was over and at most."""

    workers: int
    threads: int
    photos_per_second: float
    resident_mb: float
    peak_mb: float

    @property
    def memory_mb(self) -> float:
        """What all of them may take."""
        return self.workers * round(self.peak_mb)


@dataclass(frozen=True)
class Tuned:
    """What was measured and chosen.

    `photos`: what it was measured on. `load`: of the host before, over its cores. `search_ms`: inference of a
    search, median milliseconds by cores.

    Chosen: `workers` and `threads` of each; `worker_photos_per_second` and `worker_memory_mb` (peak) of
    one of them; `worker_memory_max_mb`, at which the kernel is to end one; `autoscale_target`, waiting tasks
    a worker is to have at most.
    """

    format: int
    made_at: str
    basis: Basis
    memory_mb: int
    photos: str
    load: float
    measured: list[Figures]
    search_ms: dict[str, float]
    workers: int
    threads: int
    worker_photos_per_second: float
    worker_memory_mb: int
    worker_memory_max_mb: int
    autoscale_target: int


def basis_of(pack: Pack, runtime: Choice, profile: Profile) -> Basis:
    """Of this host as it is now. Raises EngineError where `runtime` is not installed."""
    use = choose(pack, runtime, profile)
    return Basis(
        pack=pack.name,
        contract=contract_id(pack),
        runtime=use.library,
        profile=use.profile,
        processor=host(())["processor"],
        cores=len(os.sched_getaffinity(0)),
    )


def read(path: Path) -> Tuned | None:
    """None: this host was never tuned. Raises ConfigurationError for a file that is not one of these."""
    try:
        return _parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error.strerror}); run `face-pipeline tune` as root, or "
            "`face-pipeline tune --forget`"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"{path} is not what `face-pipeline tune` writes ({error}); run it again, or "
            "`face-pipeline tune --forget`"
        ) from error


def write(path: Path, tuned: Tuned) -> None:
    """A reader sees the old file or the new one. Raises ConfigurationError where it cannot be written."""
    new = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(as_json(tuned) + "\n", encoding="utf-8")
        # Ansible would run a file that may be executed.
        new.chmod(0o644)
        new.replace(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written ({error.strerror}); run this as root") from error


def forget(path: Path) -> bool:
    """Whether there was one. Raises ConfigurationError where it cannot be removed."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be removed ({error.strerror}); run this as root") from error
    return True


def as_json(tuned: Tuned) -> str:
    return json.dumps(asdict(tuned), indent=2)


def _parse(raw: Mapping[str, Any]) -> Tuned:
    if raw["format"] != FORMAT:
        raise ValueError(f"format {raw['format']} is of another release")
    basis, measured = Basis(**raw["basis"]), [Figures(**each) for each in raw["measured"]]
    return Tuned(**{**raw, "basis": basis, "measured": measured})
