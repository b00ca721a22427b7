"""How well a pack tells people apart, and how fast it is, on photos of which one knows who is on them.

    python -m bench.pairs --pack DIR --photos DIR [--json FILE]

DIR/PERSON/PHOTO, or DIR with a `labels.json` ({"photos": {NAME: [PERSON]}}). Of each photo of one person the
largest face counts; each is compared with each other. `playbooks/prove_models.yml` runs it on a host. Ends
with 1 where too few pairs are on their side of the pack's threshold, or faces are missing.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from face_pipeline.engine import load_engine
from face_pipeline.errors import FacePipelineError

from bench.common import parser, report

ENDINGS = {".jpg", ".jpeg", ".png", ".webp"}
LEAST_RIGHT = 0.98
LEAST_FOUND = 0.98


def labelled(directory: Path) -> list[tuple[str, Path]]:
    """Person and photo."""
    labels = directory / "labels.json"
    if labels.is_file():
        photos = json.loads(labels.read_text())["photos"]
        return [
            (who[0], directory / name) for name, who in sorted(photos.items()) if len(who) == 1 and who[0]
        ]
    return [
        (path.parent.name, path)
        for path in sorted(directory.glob("*/*"))
        if path.suffix.lower() in ENDINGS and path.stat().st_size
    ]


def judged(similarities: np.typing.NDArray[Any], same: np.typing.NDArray[Any], threshold: float) -> float:
    """The share of pairs on their side of a threshold; pairs of one person and of two count alike."""
    over = similarities >= threshold
    return float((over[same].mean() + (~over[~same]).mean()) / 2)


def main() -> int:
    given = parser(__doc__ or "").parse_args()
    photos = labelled(given.photos)
    if len({person for person, _ in photos}) < 2 or len(photos) == len({person for person, _ in photos}):
        print(
            f"bench.pairs: {given.photos} needs photos of several people, and several of one: "
            "PERSON/PHOTO, or labels.json",
            file=sys.stderr,
        )
        return 1
    try:
        engine = load_engine(given.pack, threads=1)
        engine.warm_up()
        faces, people, costs = [], [], []
        for person, path in photos:
            began = time.process_time()
            found = engine.analyse(path.read_bytes()).faces
            costs.append(1000 * (time.process_time() - began))
            if found:
                faces.append(max(found, key=lambda face: face.bbox[2] - face.bbox[0]).embedding)
                people.append(person)
    except FacePipelineError as error:
        print(f"bench.pairs: {error}", file=sys.stderr)
        return 1
    pairs = list(itertools.combinations(range(len(faces)), 2))
    similarities = np.array([faces[one] @ faces[other] for one, other in pairs])
    same = np.array([people[one] == people[other] for one, other in pairs])
    if not same.any() or same.all():
        print("bench.pairs: too few faces were found to compare any", file=sys.stderr)
        return 1
    best = max(np.unique(similarities), key=lambda value: judged(similarities, same, value))
    right = judged(similarities, same, engine.match_threshold)
    figures = {
        "pack": engine.pack.name,
        "photos": len(photos),
        "photos with a face": len(faces),
        "pairs of one person": int(same.sum()),
        "pairs of two people": int((~same).sum()),
        "one person, lowest": float(similarities[same].min()),
        "two people, highest": float(similarities[~same].max()),
        "threshold of the pack": engine.match_threshold,
        "pairs on their side of it": right,
        "best threshold": float(best),
        "pairs on their side of that": judged(similarities, same, best),
        "CPU ms a photo, median": statistics.median(costs),
    }
    report(figures, given.json)
    wrong = []
    if len(faces) < LEAST_FOUND * len(photos):
        wrong.append(f"no face was found on {len(photos) - len(faces)} of {len(photos)} photos")
    if right < LEAST_RIGHT:
        wrong.append(f"{right:.4f} of the pairs are on their side of the threshold, {LEAST_RIGHT} are wanted")
    for line in wrong:
        print(f"bench.pairs: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
