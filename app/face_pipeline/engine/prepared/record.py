"""What was prepared for a pack on this host: which files, how near to the originals, how quick.

A JSON file beside the prepared models. They are used only while the record tells of these originals and of
these files, to the last bit.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from face_pipeline.engine.pack import Pack, contract_id
from face_pipeline.engine.runtimes import LIBRARIES, Library, available, version
from face_pipeline.engine.types import EngineError

# `auto`: whatever was measured as quicker.
Choice = Literal["auto", "onnxruntime", "openvino"]

log = logging.getLogger(__name__)

# `fast`: the detector in 8 bits, see fast.py.
Profile = Literal["exact", "fast"]
DIRECTORY = Path("prepared") / "exact"
FAST = Path("prepared") / "fast"
RECORD = "record.json"
ORIGINAL = "original"
EXACT = "exact"
INSTEAD_OF_FAST = "the profile exact is used instead of fast: {}"
INSTEAD = {"exact": "the pack's originals are used", "fast": "the profile exact is used"}
# Grows whenever the rewritings change what they make.
RECIPE = 1
ROLES = ("detection", "recognition")


@dataclass(frozen=True)
class PreparedFile:
    """A prepared model: its name beside the record, its SHA-256 and that of its original (hex)."""

    name: str
    sha256: str
    original: str


@dataclass(frozen=True)
class Differences:
    """How far the prepared models' faces lie from the originals', at most: `box` and `landmarks` in pixels of
    the photo; `cosine`: the least of the embeddings. `photos`: where they came from.

    Of the profile fast alone: faces `missed` and `added`, the `median` of the cosines, and how many of the
    `pairs` of photos changed their side of the pack's threshold (`turned`).
    """

    photos: str
    faces: int
    box: float
    landmarks: float
    cosine: float
    missed: int = 0
    added: int = 0
    median: float = 1.0
    pairs: int = 0
    turned: int = 0


@dataclass(frozen=True)
class Record:
    """`contract`: the originals and all else that their prepared models depend on, see pack.contract_id.

    `differences` by library. `milliseconds`: processor time of one photo with one face, median, of each
    library with the prepared models, of ORIGINAL: onnxruntime with the originals, and for the profile fast of
    EXACT. `host`: what the times belong to, see host(). `quickest`: the library to use here. `profile`: what
    was prepared. `refused`: why exact is used instead of fast, and there are no files; "" where it is not.
    `photos`: what fast was calibrated and judged on.
    """

    recipe: int
    contract: str
    files: dict[str, PreparedFile]
    differences: dict[str, Differences]
    milliseconds: dict[str, float]
    host: dict[str, str]
    quickest: Library
    profile: Profile = "exact"
    refused: str = ""
    photos: str = ""

    def told(self) -> str:
        """What was found, as one line for people."""
        if self.refused:
            return INSTEAD_OF_FAST.format(self.refused)
        times = ", ".join(
            f"{'originals on onnxruntime' if name == ORIGINAL else name} {value:.1f}"
            for name, value in self.milliseconds.items()
        )
        if self.profile == "fast":
            its = self.differences[self.quickest]
            return (
                f"fast on {self.quickest} (ms a photo: {times}); of {its.faces} faces {its.missed} missed, "
                f"{its.added} added; cosine to the originals {its.median:.4f} at the median, "
                f"{its.cosine:.4f} at worst"
            )
        least = min(each.cosine for each in self.differences.values())
        return f"{self.quickest} is quickest here (ms a photo: {times}); cosine to the originals {least:.6f}"

    def paths(self, pack: Pack) -> dict[str, Path]:
        """The prepared models by their role."""
        return {role: pack.path / directory(self.profile) / each.name for role, each in self.files.items()}


def directory(profile: Profile) -> Path:
    """Where a pack's models of a profile lie, inside the pack."""
    return FAST if profile == "fast" else DIRECTORY


def read(pack: Pack, profile: Profile = "exact") -> Record | None:
    """The record of a pack's prepared models; None: there is none for it. Its files are not looked at."""
    path = pack.path / directory(profile) / RECORD
    try:
        record = _parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s cannot be read (%s): %s", path, error, INSTEAD[profile])
        return None
    originals = {each.role: each.sha256 for each in pack.files}
    if (
        (record.recipe, record.contract, record.profile) != (RECIPE, contract_id(pack), profile)
        or set(record.files) != (set() if record.refused else set(ROLES))
        or any(originals[role] != each.original for role, each in record.files.items())
    ):
        log.warning("%s is of another pack or release: %s", path, INSTEAD[profile])
        return None
    return record


def usable(pack: Pack, profile: Profile = "exact") -> Record | None:
    """The record whose files are there and unchanged; None: there is none. Says in the log why."""
    record = read(pack, profile)
    for role, each in record.files.items() if record else ():
        path = pack.path / directory(profile) / each.name
        try:
            actual = sha256(path)
        except OSError as error:
            log.warning("%s cannot be read (%s): %s", path, error.strerror, INSTEAD[profile])
            return None
        if actual != each.sha256:
            log.warning(
                "%s (%s) is not what was prepared: %s; run face-pipeline pack prepare %s --profile %s "
                "--again", path, role, INSTEAD[profile], pack.path, profile
            )  # fmt: skip
            return None
    return record


def holds(record: Record, libraries: tuple[Library, ...]) -> bool:
    """Whether these libraries were checked and measured on this host, as it is now."""
    return host(libraries).items() <= record.host.items()


@dataclass(frozen=True)
class Use:
    """What computes: `library`, with the prepared models of `record`; None: with the pack's originals.

    `refusal`: why that is not of the profile that is set, in words; "": it is. `here`: whether it is this
    host that computes with the pack, as far as can be seen: where no worker is, nothing was prepared.
    """

    library: Library
    record: Record | None
    refusal: str = ""
    here: bool = True

    @property
    def profile(self) -> Profile:
        return self.record.profile if self.record else "exact"


def choose(
    pack: Pack,
    runtime: Choice,
    profile: Profile,
    *,
    on_card: bool = False,
    look: Callable[[Pack, Profile], Record | None] = usable,
) -> Use:
    """What computes with a pack on this host, as it is set; `look`: what reads a record.

    Raises EngineError where the runtime that is set is not installed.
    """
    if pack.engine != "insightface":
        why = f"the engine {pack.engine} runs packs as they came"
        return Use("onnxruntime", None, why if profile == "fast" else "")
    if on_card:
        why = "a card has the profile exact alone"
        return Use("onnxruntime", look(pack, "exact"), why if profile == "fast" else "")
    refusal = ""
    if profile == "fast":
        record = look(pack, profile)
        library = library_for(runtime, record)
        refusal = _refusal(pack, record, library)
        if not refusal:
            return Use(library, record)
    record = look(pack, "exact")
    return Use(library_for(runtime, record), record, refusal, here=(pack.path / DIRECTORY).exists())


def _refusal(pack: Pack, fast: Record | None, library: Library) -> str:
    """Why a library does not run the profile fast here; "": it does."""
    again = "(./face-ansible site.yml prepares it where workers run)"
    if fast is None:
        made = (pack.path / FAST / RECORD).exists()
        return f"{'its models do not fit their record' if made else 'it was not prepared'} {again}"
    if fast.refused:
        return fast.refused
    # Without VNNI sums of 8 bits may overflow.
    if not holds(fast, (library,)):
        return f"it was measured on another processor or with another {library} {again}"
    if library not in fast.milliseconds:
        return f"{library} errs too much with it"
    return ""


def host(libraries: tuple[Library, ...]) -> dict[str, str]:
    """The processor and the versions of libraries."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {"processor": models[0] if models else "unknown", **{each: version(each) for each in libraries}}


def candidates(wanted: Choice) -> tuple[Library, ...]:
    """The libraries to check and measure. Raises EngineError where what is wanted is not installed."""
    if wanted == "auto":
        return tuple(each for each in LIBRARIES if available(each))
    return (library_for(wanted, None),)


def library_for(wanted: Choice, record: Record | None) -> Library:
    """What computes on this CPU. Raises EngineError where what is wanted is not installed."""
    if wanted == "auto":
        return record.quickest if record and available(record.quickest) else "onnxruntime"
    if not available(wanted):
        raise EngineError(
            f"FACE_RUNTIME={wanted}, and {wanted} is not installed in this release: run ./face-ansible "
            "site.yml, which installs it on hosts without a card, or set face_runtime to auto"
        )
    return wanted


def write(directory: Path, record: Record) -> None:
    path = directory / RECORD
    path.write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")
    path.chmod(0o644)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parse(raw: dict[str, Any]) -> Record:
    files = {role: PreparedFile(**each) for role, each in raw["files"].items()}
    if any(Path(each.name).name != each.name for each in files.values()):
        raise ValueError("a file lies elsewhere")
    if raw["quickest"] not in LIBRARIES:
        raise ValueError(f"quickest is {raw['quickest']!r}")
    differences = {library: Differences(**each) for library, each in raw["differences"].items()}
    return Record(**{**raw, "files": files, "differences": differences})
