"""Make a pack's prepared models, compare what they find with what its originals find, and measure both."""

from __future__ import annotations

import logging
import shutil
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx

from face_pipeline.engine.alignment import ALIGNED_SIDE
from face_pipeline.engine.insightface_engine import InsightFaceEngine
from face_pipeline.engine.pack import Pack, contract_id, verify_pack
from face_pipeline.engine.prepared import graphs
from face_pipeline.engine.prepared.record import (
    DIRECTORY,
    ORIGINAL,
    RECIPE,
    ROLES,
    Differences,
    PreparedFile,
    Record,
    host,
    sha256,
    write,
)
from face_pipeline.engine.runtimes import Library, load_runtime
from face_pipeline.engine.types import DetectedFace, EngineError, PhotoBroken, PhotoRejected
from face_pipeline.errors import ConfigurationError

log = logging.getLogger(__name__)

# Embeddings that are as near as this are of one contract: thresholds and collections stay.
LEAST_COSINE = 0.999
# Of the width of a face, by which a box or a landmark may move.
MOST_MOVED = 0.01
ROUNDS = 9
# OpenVINO takes 180 MB of disk and writable code: it has to be worth that.
WORTH = 0.97


class CannotPrepare(Exception):
    """The pack's models are of another kind than the rewritings know; the message names it."""


def prepare(
    pack: Pack, photos: Mapping[str, bytes], libraries: tuple[Library, ...], *, source: str
) -> Record:
    """Prepare the models of an InsightFace pack for `libraries` on this host. `photos`: samples by name, of
    which what is no photo is passed over; `source`: where they came from.

    Raises CannotPrepare, PackError, ConfigurationError where no photo shows a face or the directory cannot be
    written, and EngineError where the prepared models would not find what the originals find.
    """
    verify_pack(pack)
    originals = InsightFaceEngine(pack, load_runtime())
    with replaced(pack.path / DIRECTORY) as directory:
        paths = rewritten(pack, originals, directory)
        engines = {
            library: InsightFaceEngine(pack, load_runtime(library=library), prepared=paths)
            for library in libraries
        }
        differences = _compared(pack, originals, engines, photos, source)
        milliseconds = measured(
            originals, {str(name): each for name, each in engines.items()}, with_face(originals, photos)
        )
        record = Record(
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
            quickest=quickest(milliseconds),
        )
        write(directory, record)
    return record


@contextmanager
def replaced(target: Path) -> Iterator[Path]:
    """A new directory that takes the place of `target` at the end; `target` is gone where none came to be."""
    new = target.with_name(f"{target.name}.new")
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        new.parent.chmod(0o755)
        new.chmod(0o755)
        try:
            yield new
        except BaseException:
            shutil.rmtree(new)
            raise
        finally:
            shutil.rmtree(target, ignore_errors=True)
        new.rename(target)
    except OSError as error:
        raise ConfigurationError(f"{new} cannot be written ({error.strerror}): run this as root") from error


def rewritten(pack: Pack, originals: InsightFaceEngine, directory: Path) -> dict[str, Path]:
    """Writes the prepared models; raises CannotPrepare."""
    rewritings = {
        "detection": (graphs.detector, pack.detector_side),
        "recognition": (graphs.recogniser, ALIGNED_SIDE),
    }
    made = {}
    for role in ROLES:
        original, (rewrite, side) = pack.file(role), rewritings[role]
        try:
            made[role] = rewrite(onnx.load(original), side, *originals.normalisation(role))
        except graphs.GraphUnknown as error:
            raise CannotPrepare(f"{original.name} is of another kind than is known: {error}") from error
    paths = {role: directory / f"{role}.onnx" for role in ROLES}
    for role, path in paths.items():
        onnx.save(made[role], path)
        path.chmod(0o644)
    return paths


def _compared(
    pack: Pack,
    originals: InsightFaceEngine,
    engines: Mapping[Library, InsightFaceEngine],
    photos: Mapping[str, bytes],
    source: str,
) -> dict[str, Differences]:
    """Raises EngineError where an engine does not find what the originals find."""
    found: dict[str, list[tuple[float, float, float]]] = {library: [] for library in engines}
    for name, data in photos.items():
        try:
            expected = originals.analyse(data).faces
        except (PhotoBroken, PhotoRejected) as error:
            log.info("%s is passed over: %s", name, error.message)
            continue
        for library, engine in engines.items():
            try:
                found[library] += _differences(expected, engine.analyse(data).faces)
            except ValueError as error:
                raise EngineError(
                    f"pack {pack.name}: its models prepared for {library} do not find on {name} what the "
                    f"originals find: {error}; the originals stay in use, name another with --runtime "
                    "(face_runtime)"
                ) from error
    made: dict[str, Differences] = {}
    for name, each in found.items():
        if not each:
            raise ConfigurationError(
                f"no face is on the {len(photos)} sample photos ({source}): name a directory of photos of "
                "faces with --photos"
            )
        boxes, points, cosines = zip(*each, strict=True)
        made[name] = Differences(source, len(each), max(boxes), max(points), min(cosines))
    return made


def _differences(expected: list[DetectedFace], found: list[DetectedFace]) -> list[tuple[float, float, float]]:
    """For each face how far its box and its landmarks moved, pixels, and the cosine of its embeddings.

    Raises ValueError where that is too much, with words.
    """
    if len(found) != len(expected):
        raise ValueError(f"{len(found)} faces instead of {len(expected)}")
    made = []
    for face in expected:
        # Two of nearly one score may have changed places.
        other = min(found, key=lambda each: float(np.abs(each.bbox - face.bbox).max()))
        box = float(np.abs(other.bbox - face.bbox).max())
        points = float(np.abs(other.landmarks - face.landmarks).max())
        cosine = float(other.embedding @ face.embedding)
        if max(box, points) > MOST_MOVED * (face.bbox[2] - face.bbox[0]):
            raise ValueError(f"a face moved by {max(box, points):.2f} pixels")
        if cosine < LEAST_COSINE:
            raise ValueError(f"embeddings have a cosine of {cosine:.5f}, {LEAST_COSINE} is the least")
        made.append((box, points, cosine))
    return made


def with_face(engine: InsightFaceEngine, photos: Mapping[str, bytes]) -> bytes:
    """The first photo that shows a face; there is one."""
    for data in photos.values():
        try:
            if engine.analyse(data).faces:
                return data
        except (PhotoBroken, PhotoRejected):
            continue
    raise AssertionError("no photo shows a face")


def measured(
    originals: InsightFaceEngine, engines: Mapping[str, InsightFaceEngine], photo: bytes
) -> dict[str, float]:
    """Processor time of a photo by each engine, ms: medians of rounds in turns, for a host may be busy."""
    all_engines = {ORIGINAL: originals, **engines}
    times: dict[str, list[float]] = {name: [] for name in all_engines}
    for engine in all_engines.values():
        engine.analyse(photo)
    for _ in range(ROUNDS):
        for name, engine in all_engines.items():
            began = time.process_time()
            engine.analyse(photo)
            times[name].append(time.process_time() - began)
    return {name: round(statistics.median(each) * 1000, 2) for name, each in times.items()}


def quickest(milliseconds: Mapping[str, float]) -> Library:
    ours = milliseconds.get("onnxruntime")
    openvino = milliseconds.get("openvino")
    if openvino is not None and (ours is None or openvino < WORTH * ours):
        return "openvino"
    return "onnxruntime"
