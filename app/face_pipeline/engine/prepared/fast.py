"""The profile fast: a detector in 8 bits, with the recogniser as in exact.

The space of embeddings stays, and so do contract and thresholds; faces are cut out by landmarks that lie a
little elsewhere. How little is measured on this host, and where it is more than the bounds, or does not pay,
the record says so and exact is used.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx

from face_pipeline.engine.alignment import align
from face_pipeline.engine.decode import decode
from face_pipeline.engine.insightface_engine import InsightFaceEngine
from face_pipeline.engine.pack import Pack, contract_id, verify_pack
from face_pipeline.engine.prepared import pictures
from face_pipeline.engine.prepared.graphs import GraphUnknown
from face_pipeline.engine.prepared.pictures import Portrait
from face_pipeline.engine.prepared.preparing import measured, quickest, replaced, rewritten, with_face
from face_pipeline.engine.prepared.quantising import quantised
from face_pipeline.engine.prepared.record import (
    EXACT,
    FAST,
    RECIPE,
    Differences,
    PreparedFile,
    Record,
    host,
    sha256,
    write,
)
from face_pipeline.engine.runtimes import Library, load_runtime
from face_pipeline.engine.types import FloatArray, Image, PhotoBroken
from face_pipeline.errors import ConfigurationError

log = logging.getLogger(__name__)

# One face of the least number is this share.
MOST_MISSED, LEAST_FACES = 0.002, 500
# Calibrations that left pairs of labelled photos where they were had .998 and .96; one that did not, .987.
LEAST_MEDIAN, LEAST_COSINE = 0.99, 0.9
# Of the pairs of photos, how many may change their side of the threshold; one always may.
MOST_TURNED = 1 / 300
# Of exact's time.
WORTH = 0.9
# Instructions for sums of products of bytes: without them 8 bits are no quicker, and may overflow.
DOT_PRODUCTS = {"avx512_vnni", "avx_vnni", "asimddp"}
# Photos to judge by that were not calibrated on need so many.
ENOUGH = 8
# Pixels of a photo's longer side: all of them are in memory at once.
LARGEST = 1280
# Width of the faces of a mosaic, pixels, and how many mosaics.
MOSAICS = {16: 3, 20: 3, 26: 3, 32: 3, 40: 4, 64: 3}
# Embeddings of smaller faces say nothing; of more of one picture, nothing new.
LEAST_EMBEDDED, MOST_EMBEDDED = 32, 20
TO_CALIBRATE, TO_JUDGE = 1, 2


class Refused(Exception):
    """The profile is not to be used here; the message says why."""


def multiplies_bytes(cpuinfo: str) -> bool:
    """Whether a processor, by its /proc/cpuinfo, is quick with 8 bits: VNNI, on ARM asimddp."""
    listed = (line.partition(":") for line in cpuinfo.splitlines())
    return any(
        name.strip() in ("flags", "Features") and DOT_PRODUCTS & set(its.split()) for name, _, its in listed
    )


def prepare_fast(
    pack: Pack,
    exact: Record,
    photos: Mapping[str, bytes],
    libraries: tuple[Library, ...],
    *,
    source: str,
    cpuinfo: str,
) -> Record:
    """Prepare the profile fast of a pack whose exact one is `exact`; arguments as those of `prepare`. What
    is refused is recorded, and no error.

    Raises PackError, and ConfigurationError where too few photos show one face or the directory cannot be
    written.
    """
    verify_pack(pack)
    with replaced(pack.path / FAST) as directory:
        try:
            record = _accepted(pack, exact, photos, libraries, source, cpuinfo, directory)
        except Refused as error:
            for each in directory.iterdir():
                each.unlink()
            record = Record(
                RECIPE, contract_id(pack), {}, {}, {}, host(libraries), exact.quickest,
                profile="fast", refused=str(error), photos=source,
            )  # fmt: skip
        write(directory, record)
    return record


def _accepted(
    pack: Pack,
    exact: Record,
    photos: Mapping[str, bytes],
    libraries: tuple[Library, ...],
    source: str,
    cpuinfo: str,
    directory: Path,
) -> Record:
    """Raises Refused."""
    if not multiplies_bytes(cpuinfo):
        raise Refused("this processor has no VNNI (ARM: asimddp), without which 8 bits are not quicker")
    originals = InsightFaceEngine(pack, load_runtime())
    calibrating, judging = _divided(_decoded(photos))
    paths = rewritten(pack, originals, directory)
    seen = pictures.to_calibrate(
        calibrating, _portraits(originals, calibrating, source), pack.detector_side,
        np.random.default_rng(TO_CALIBRATE),
    )  # fmt: skip
    detector, numbers = onnx.load(pack.file("detection")), originals.normalisation("detection")
    try:
        model = quantised(detector, pack.detector_side, *numbers, seen)
    # The second is what onnx raises for operations that it does not know.
    except (GraphUnknown, RuntimeError) as error:
        raise Refused(f"the detector cannot be made of 8 bits: {error}") from error
    onnx.save(model, paths["detection"])
    paths["detection"].chmod(0o644)
    engines = {
        library: InsightFaceEngine(pack, load_runtime(library=library), prepared=paths)
        for library in libraries
    }
    differences = _judged(originals, engines, judging, source)
    faults = {library: _fault(each) for library, each in differences.items()}
    good: dict[Library, InsightFaceEngine] = {
        library: engine for library, engine in engines.items() if not faults[library]
    }
    if not good:
        raise Refused(" and ".join(f"{library}: {words}" for library, words in faults.items()))
    for library, words in faults.items():
        if words:
            log.warning("pack %s: fast is not used on %s: %s", pack.name, library, words)
    before = min(libraries, key=lambda each: exact.milliseconds[each])
    rival = InsightFaceEngine(pack, load_runtime(library=before), prepared=exact.paths(pack))
    milliseconds = measured(
        originals,
        {EXACT: rival, **{str(name): each for name, each in good.items()}},
        with_face(originals, photos),
    )
    best = quickest({name: value for name, value in milliseconds.items() if name in good})
    if milliseconds[best] > WORTH * milliseconds[EXACT]:
        raise Refused(
            f"it takes {milliseconds[best]:.1f} ms a photo here, exact takes {milliseconds[EXACT]:.1f}"
        )
    return Record(
        recipe=RECIPE,
        contract=contract_id(pack),
        files={
            each.role: PreparedFile(paths[each.role].name, sha256(paths[each.role]), each.sha256)
            for each in pack.files
            if each.role in paths
        },
        differences=differences,
        milliseconds=milliseconds,
        host=host(libraries),
        quickest=best,
        profile="fast",
        photos=source,
    )


def _decoded(photos: Mapping[str, bytes]) -> list[Image]:
    made = []
    for name, data in photos.items():
        try:
            pixels = decode(data).pixels
            made.append(pictures.scaled(pixels, min(LARGEST, max(pixels.shape[:2]))))
        except PhotoBroken as error:
            log.info("%s is passed over: %s", name, error.message)
    return made


def _divided(photos: list[Image]) -> tuple[list[Image], list[Image]]:
    """To calibrate on and to judge by; where there are few, all of them for both."""
    return (photos[::2], photos[1::2]) if len(photos) >= ENOUGH else (photos, photos)


def _portraits(engine: InsightFaceEngine, photos: Sequence[Image], source: str) -> list[Portrait]:
    made = []
    for photo in photos:
        boxes, _ = engine.detect(photo)
        if len(boxes) == 1:
            made.append((photo, boxes[0, :4]))
    if not made:
        raise ConfigurationError(
            f"no photo with exactly one face is among the samples ({source}): name a directory of some with "
            "--photos (face_profile_photos)"
        )
    return made


@dataclass
class _Tally:
    """What one library's models did with the faces of the originals."""

    faces: int = 0
    missed: int = 0
    added: int = 0
    boxes: list[float] = field(default_factory=list)
    landmarks: list[float] = field(default_factory=list)
    cosines: list[float] = field(default_factory=list)
    # Of the largest face of each photo: the originals' embedding, and this one's.
    largest: list[tuple[FloatArray, FloatArray]] = field(default_factory=list)

    def add(self, originals: InsightFaceEngine, engine: InsightFaceEngine, picture: Image) -> None:
        expected, points = originals.detect(picture)
        found, others = engine.detect(picture)
        scale = max(1.0, max(picture.shape[:2]) / originals.pack.detector_side)
        self.faces += len(expected)
        pairs = matched(expected, found)
        self.missed += len(expected) - len(pairs)
        self.added += len(found) - len(pairs)
        # The largest first.
        pairs.sort(key=lambda pair: expected[pair[0], 0] - expected[pair[0], 2])
        for rank, (one, other) in enumerate(pairs):
            self.boxes.append(float(np.abs(expected[one, :4] - found[other, :4]).max()))
            self.landmarks.append(float(np.abs(points[one] - others[other]).max()))
            wide = expected[one, 2] - expected[one, 0] >= LEAST_EMBEDDED * scale
            if rank >= MOST_EMBEDDED or not wide:
                continue
            before = _direction(originals, picture, points[one])
            after = _direction(engine, picture, others[other])
            self.cosines.append(float(before @ after))
            if rank == 0:
                self.largest.append((before, after))

    def turned(self, threshold: float) -> tuple[int, int]:
        """Pairs of photos, and those whose likeness changed its side of the threshold."""
        pairs = list(itertools.combinations(self.largest, 2))
        return len(pairs), sum(
            bool(one[0] @ other[0] >= threshold) != bool(one[1] @ other[1] >= threshold)
            for one, other in pairs
        )


def matched(expected: FloatArray, found: FloatArray) -> list[tuple[int, int]]:
    """Boxes of both, (n, 4) or more columns, that are of one face: no side further away than half its width,
    nearest first, each used once."""
    far = np.abs(expected[:, None, :4] - found[None, :, :4]).max(axis=2)
    widths = expected[:, 2] - expected[:, 0]
    ones, others = np.nonzero(far <= widths[:, None] / 2)
    pairs: dict[int, int] = {}
    for at in np.argsort(far[ones, others], kind="stable"):
        one, other = int(ones[at]), int(others[at])
        if one not in pairs and other not in pairs.values():
            pairs[one] = other
    return list(pairs.items())


def _direction(engine: InsightFaceEngine, picture: Image, points: FloatArray) -> FloatArray:
    (raw,) = engine.embed([align(picture, points)])
    return np.asarray(raw / np.linalg.norm(raw), np.float32)


def _judged(
    originals: InsightFaceEngine,
    engines: Mapping[Library, InsightFaceEngine],
    photos: Sequence[Image],
    source: str,
) -> dict[str, Differences]:
    portraits = _portraits(originals, photos, source)
    random = np.random.default_rng(TO_JUDGE)
    side = originals.pack.detector_side
    mosaics = [
        pictures.mosaic(portraits, width, side, random)[0]
        for width, count in MOSAICS.items()
        for _ in range(count)
    ]
    made: dict[str, Differences] = {}
    for library, engine in engines.items():
        tally = _Tally()
        for picture in photos:
            tally.add(originals, engine, picture)
        pairs, turned = tally.turned(originals.match_threshold)
        for picture in mosaics:
            tally.add(originals, engine, picture)
        made[library] = Differences(
            source,
            tally.faces,
            max(tally.boxes, default=0.0),
            max(tally.landmarks, default=0.0),
            min(tally.cosines, default=0.0),
            tally.missed,
            tally.added,
            float(np.median(tally.cosines)) if tally.cosines else 0.0,
            pairs,
            turned,
        )
    return made


def _fault(found: Differences) -> str:
    """In what the bounds are not met, in words; "": they are."""
    if found.faces < LEAST_FACES:
        return f"{found.faces} faces prove nothing, {LEAST_FACES} are needed"
    if found.missed > MOST_MISSED * found.faces:
        return f"it misses {found.missed} of {found.faces} faces, {MOST_MISSED:.1%} is the most"
    if found.median < LEAST_MEDIAN:
        return f"embeddings have a cosine of {found.median:.4f} at the median, {LEAST_MEDIAN} is the least"
    if found.cosine < LEAST_COSINE:
        return f"embeddings have a cosine of {found.cosine:.4f} at worst, {LEAST_COSINE} is the least"
    if found.turned > max(1, MOST_TURNED * found.pairs):
        return f"{found.turned} of {found.pairs} pairs of photos change their side of the threshold"
    return ""
