"""Model packs: a directory with `manifest.json` and the files it names, each with its SHA-256.

The manifest is InsightFace's version 2 (so that one pack serves its library too), with what we add under
`face_pipeline`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from face_pipeline.errors import FacePipelineError

MANIFEST = "manifest.json"
KNOWN_PACKS = Path(__file__).parent / "packs"
# Engine -> the tasks its packs need.
ENGINES = {
    "insightface": {"detection", "recognition"},
    "opencv": {"detection", "recognition"},
    "dlib": {"landmarks", "recognition"},
}
# SCRFD's coarsest grid has one cell for so many pixels.
DETECTOR_STEP = 32
# Grows whenever decoding, alignment or normalisation change what an embedding looks like.
PREPROCESSING_VERSION = 1
DEFAULT_DETECTOR_SIDE = 640
# Of a face that dlib's HOG finds, pixels: it has to look at no less.
LEAST_HOG_SIDE = 80
DEFAULT_DIMENSION = 512
# Cosine over which two ArcFace embeddings are one person: far over what strangers reach (0.25).
DEFAULT_MATCH_THRESHOLD = 0.38
# Of the distance within which two faces may be one person: so near they may be without anybody looking, as
# in a group of unknown faces (ops/clusterer.py).
SURE_SHARE = 0.8


class Certainty(StrEnum):
    """How much a similarity says, by the thresholds of the pack. None of it is a probability."""

    SURE = "sure"
    LIKELY = "likely"
    UNSURE = "unsure"


class PackError(FacePipelineError):
    """The model pack cannot be used; the message says what to do."""

    code = "pack_error"


class PackMissing(PackError):
    pass


class PackInvalid(PackError):
    pass


class PackDamaged(PackError):
    pass


class LicenceNotAccepted(PackError):
    pass


@dataclass(frozen=True)
class PackFile:
    """A model file: its role, name inside the pack, SHA-256 (hex) and preprocessing ((x - mean) / std)."""

    role: str
    name: str
    sha256: str
    preprocessing: dict[str, float]


@dataclass(frozen=True)
class Pack:
    """A model pack as its manifest describes it; `detector_side` in pixels.

    `hog_side`: the longer side of what dlib's detector looks at, pixels; None: twice the `detector_side`, and
    small photos enlarged.

    A cosine that reaches `match_threshold` is likely one person's, from `sure_threshold` on it is surely.
    `false_match_rates`: the share of pairs of strangers that reach each, where somebody measured it.
    """

    name: str
    engine: str
    path: Path
    files: tuple[PackFile, ...]
    dimension: int
    licence: str
    licence_acceptance_required: bool
    match_threshold: float
    detector_side: int
    sure_threshold: float
    false_match_rates: Mapping[Certainty, float]
    hog_side: int | None = None

    def certainty(self, similarity: float) -> Certainty:
        """What a cosine of two embeddings of this pack says."""
        if similarity >= self.sure_threshold:
            return Certainty.SURE
        return Certainty.LIKELY if similarity >= self.match_threshold else Certainty.UNSURE

    def file(self, role: str) -> Path:
        for each in self.files:
            if each.role == role:
                return self.path / each.name
        raise PackInvalid(f"pack {self.name}: the manifest names no file for {role}")


def read_pack(directory: Path) -> Pack:
    """Read a pack's manifest, without its models. Raises PackMissing or PackInvalid."""
    manifest = directory / MANIFEST
    try:
        raw = json.loads(manifest.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PackMissing(
            f"there is no model pack in {directory} ({MANIFEST} is missing);"
            " run ./face-ansible site.yml, which installs it"
        ) from None
    except (OSError, ValueError) as error:
        raise PackInvalid(f"{manifest} cannot be read: {error}; install the pack again") from error
    try:
        return _parse(directory, raw)
    except KeyError as error:
        raise PackInvalid(f"{manifest} is not a model pack's manifest: {error} is missing") from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise PackInvalid(f"{manifest} is not a model pack's manifest: {error}") from error


def _parse(directory: Path, raw: dict[str, Any]) -> Pack:
    if raw["manifest_version"] != 2:
        raise ValueError(f"manifest_version {raw['manifest_version']} is unknown")
    ours = raw.get("face_pipeline", {})
    engine = ours.get("engine", "insightface")
    if engine not in ENGINES:
        raise ValueError(f"engine {engine!r} is unknown; the engines are {', '.join(ENGINES)}")
    files = tuple(_file(role, task) for role, task in sorted(raw["tasks"].items()))
    roles = {each.role for each in files}
    if missing := ENGINES[engine] - roles:
        raise ValueError(f"a pack for {engine} needs the task {', '.join(sorted(missing))}")
    match_threshold = float(ours.get("match_threshold", DEFAULT_MATCH_THRESHOLD))
    pack = Pack(
        name=str(raw["model_id"]),
        engine=engine,
        path=directory,
        files=files,
        dimension=int(raw["tasks"]["recognition"].get("embedding_dimension", DEFAULT_DIMENSION)),
        licence=str(ours.get("licence", raw.get("license", "unknown"))),
        licence_acceptance_required=bool(ours.get("licence_acceptance_required", False)),
        match_threshold=match_threshold,
        detector_side=int(ours.get("detector_side", DEFAULT_DETECTOR_SIDE)),
        sure_threshold=float(ours.get("sure_threshold", 1 - SURE_SHARE * (1 - match_threshold))),
        false_match_rates={
            Certainty(name): float(rate) for name, rate in ours.get("false_match_rates", {}).items()
        },
        hog_side=int(ours["hog_side"]) if "hog_side" in ours else None,
    )
    _check_ranges(pack)
    return pack


def _check_ranges(pack: Pack) -> None:
    if not 0 < pack.match_threshold < 1:
        raise ValueError(f"match_threshold is {pack.match_threshold}, a cosine between 0 and 1 is needed")
    if not pack.match_threshold <= pack.sure_threshold < 1:
        raise ValueError(
            f"sure_threshold is {pack.sure_threshold}, a cosine from match_threshold up to 1 is needed"
        )
    if not all(0 <= rate <= 1 for rate in pack.false_match_rates.values()):
        raise ValueError("false_match_rates are shares from 0 to 1")
    if pack.detector_side <= 0 or pack.detector_side % DETECTOR_STEP:
        raise ValueError(f"detector_side is {pack.detector_side}, a multiple of {DETECTOR_STEP} is needed")
    if pack.hog_side is not None and pack.hog_side < LEAST_HOG_SIDE:
        raise ValueError(f"hog_side is {pack.hog_side}, {LEAST_HOG_SIDE} pixels are needed to see a face")
    if pack.dimension <= 0:
        raise ValueError(f"embedding_dimension is {pack.dimension}, a positive number is needed")
    for each in pack.files:
        if each.preprocessing.get("std") == 0:
            raise ValueError(f"preprocessing std of {each.role} is 0; pixels are divided by it")


def _file(role: str, task: dict[str, Any]) -> PackFile:
    name, sha256 = str(task["file"]), str(task["sha256"]).lower()
    if Path(name).name != name or name.startswith("."):
        raise ValueError(f"file {name!r} is not a plain name inside the pack")
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise ValueError(f"sha256 of {name} is not 64 hexadecimal digits")
    preprocessing = task.get("preprocessing", {})
    if not isinstance(preprocessing, dict):
        preprocessing = {"embedded": 1.0}
    return PackFile(role, name, sha256, {key: float(value) for key, value in preprocessing.items()})


def verify_pack(pack: Pack) -> None:
    """Compare every file with its hash. Raises PackDamaged naming the first that differs."""
    for each in pack.files:
        path = pack.path / each.name
        try:
            with path.open("rb") as file:
                actual = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise PackDamaged(
                f"pack {pack.name}: {path} cannot be read ({error.strerror}); "
                "run ./face-ansible site.yml to install it again"
            ) from error
        if actual != each.sha256:
            raise PackDamaged(
                f"pack {pack.name}: {path} has SHA-256 {actual}, its manifest says {each.sha256}; "
                "run ./face-ansible site.yml to install it again"
            )


def contract_id(pack: Pack) -> str:
    """Name of the way this pack makes embeddings; equal ids are comparable embeddings."""
    ingredients: dict[str, Any] = {
        "engine": pack.engine,
        "files": [[each.role, each.sha256, sorted(each.preprocessing.items())] for each in pack.files],
        "dimension": pack.dimension,
        "detector_side": pack.detector_side,
        "preprocessing": PREPROCESSING_VERSION,
    }
    if pack.hog_side is not None:
        ingredients["hog_side"] = pack.hog_side
    text = json.dumps(ingredients, sort_keys=True, separators=(",", ":"))
    return f"{pack.engine}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def build_dlib_pack(source: Path, target: Path) -> Pack:
    """Make the dlib pack in `target` from a directory that `face_recognition_models` was unpacked into."""
    manifest = KNOWN_PACKS / "dlib.json"
    target.mkdir(parents=True, exist_ok=True)
    for task in json.loads(manifest.read_text(encoding="utf-8"))["tasks"].values():
        found = next(source.rglob(task["file"]), None)
        if found is None:
            raise PackMissing(f"{source} holds no {task['file']}; unpack face_recognition_models into it")
        shutil.copyfile(found, target / task["file"])
    shutil.copyfile(manifest, target / MANIFEST)
    pack = read_pack(target)
    verify_pack(pack)
    return pack


def known_pack(name: str) -> Pack:
    """The manifest we ship for a pack of that name; its files are not here. Raises PackMissing."""
    manifest = KNOWN_PACKS / f"{name}.json"
    if Path(name).name != name or not manifest.is_file():
        known = ", ".join(sorted(path.stem for path in KNOWN_PACKS.glob("*.json")))
        raise PackMissing(
            f"there is no model pack {name!r}; set face_model_pack to one of {known}, or "
            "face_model_pack_source to a directory with a pack"
        )
    return _parse(KNOWN_PACKS, json.loads(manifest.read_text(encoding="utf-8")))


def check_licence(pack: Pack, accepted: str) -> None:
    """Raises LicenceNotAccepted unless the pack is free to use or `accepted` is its name."""
    if pack.licence_acceptance_required and accepted != pack.name:
        raise LicenceNotAccepted(
            f"pack {pack.name} has a restricted licence ({pack.licence}): set face_accept_model_licence to "
            f"{pack.name} if you accept it, or face_model_pack to yunet_sface or dlib, which ask for none"
        )
