"""How small a face a detector finds: labelled faces, made smaller, on mosaics of which one knows each place.

    python -m bench.small_faces --pack DIR --against DIR [--photos DIR] [--mosaics 4] [--json FILE]

A face counts as found where the middle of a box is within half a face of its own; what is found elsewhere is
counted too. A mosaic is as large as what the detectors look at, its faces turned, mirrored, made lighter or
darker, and stored as a JPEG: clean faces on plain ground, easier than a crowd.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from face_pipeline.engine import load_engine
from face_pipeline.engine.decode import decode
from face_pipeline.engine.prepared.pictures import mosaic
from face_pipeline.engine.types import FloatArray, Image
from face_pipeline.errors import FacePipelineError

from bench.common import machine, parser, photo_files, report

WIDTHS = (12, 16, 20, 26, 32, 40)
SIDE = 640
QUALITY = 90


def faces_of(engine: Any, files: list[Path]) -> list[tuple[Image, FloatArray]]:
    """Photos with one face, and its box; as this engine sees it."""
    found = []
    for path in files:
        pixels = cv2.imread(str(path))
        boxes, _ = engine._detector.detect(pixels)
        if len(boxes) == 1:
            found.append((np.asarray(pixels, np.uint8), boxes[0, :4]))
    return found


def planted(
    faces: list[tuple[Image, FloatArray]], width: int, random: np.random.Generator
) -> tuple[bytes, FloatArray]:
    """A mosaic of faces of that width, a JPEG, and the middle of each: shape (n, 2), pixels."""
    plain, centres = mosaic(faces, width, SIDE, random)
    return cv2.imencode(".jpg", plain, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes(), centres


def matched(centres: FloatArray, width: int, found: FloatArray) -> tuple[int, int]:
    """How many were found, and how many boxes are of none of them."""
    if not len(found):
        return 0, 0
    middles = (found[:, :2] + found[:, 2:4]) / 2
    distances = np.linalg.norm(middles[:, None] - centres[None], axis=2)
    near = distances.min(axis=1) <= width / 2
    return len(set(distances.argmin(axis=1)[near].tolist())), int((~near).sum())


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument("--against", type=Path, required=True, help="directory of another pack")
    options.add_argument("--mosaics", type=int, default=4, help="of each width")
    given = options.parse_args()
    try:
        engines: list[Any] = [load_engine(pack, threads=1) for pack in (given.pack, given.against)]
    except FacePipelineError as error:
        print(f"bench.small_faces: {error}", file=sys.stderr)
        return 1
    faces = faces_of(engines[0], photo_files(given.photos))
    random = np.random.default_rng(0)
    figures: dict[str, Any] = {"machine": machine()}
    for width in WIDTHS:
        there, counts = 0, np.zeros((len(engines), 2), int)
        for _ in range(given.mosaics):
            stored, centres = planted(faces, width, random)
            canvas = decode(stored).pixels
            there += len(centres)
            for number, engine in enumerate(engines):
                counts[number] += matched(centres, width, engine._detector.detect(canvas)[0])
        for engine, (found, extra) in zip(engines, counts, strict=True):
            figures[f"{width} px, {engine.pack.name}, found of {there}"] = int(found)
            figures[f"{width} px, {engine.pack.name}, elsewhere"] = int(extra)
    report(figures, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
