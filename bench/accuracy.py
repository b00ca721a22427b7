"""What each pack, profile and runtime finds, against InsightFace's FaceAnalysis: one table by size of face.

    python -m bench.accuracy [--opencv DIR] [--dlib DIR] [--mosaics 4] [--isa avx2] [--json FILE]

Of the labelled photos (`labels.json` says who is on each) and of mosaics of their faces, 12 to 40 pixels wide
(bench/small_faces.py). A face is missed where FaceAnalysis has it and the engine does not, and added where it
is the other way round; cosines are of the embeddings of one face by both. Two faces are judged alike where
both engines, each with the threshold of its pack, say the same of them; given out of 300 pairs. FaceAnalysis
gets the pixels that our decoder makes: the models are compared, and not two ways to see a transparent PNG.
The packs of YuNet and dlib are other models, dlib's with embeddings that have no cosine to the others'.
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from face_pipeline.engine import load_engine, read_pack
from face_pipeline.engine.decode import decode
from face_pipeline.engine.prepared.fast import matched
from face_pipeline.engine.prepared.record import candidates, choose
from face_pipeline.engine.types import FloatArray

from bench import small_faces
from bench.common import limit, machine, parser, with_isa, write
from bench.runtimes import prepared, runtime_with

# Boxes (n, 4), pixels, and embeddings (n, dimension) of norm 1.
Seen = tuple[FloatArray, FloatArray]
Look = Callable[[bytes], Seen]
ALL = "photos"
# Sizes of the faces of photos, pixels where the detector looks, and what they are called.
SIZES = ((0, "photos, under 40 px"), (40, "photos, 40 to 111 px"), (112, "photos, 112 px and more"))
SIDE = 640
OF = 300


@dataclass(frozen=True)
class Picture:
    """A photo with `labelled` faces, or a mosaic; `centres`: where its faces are, where that is known."""

    size: str
    data: bytes
    side: int
    labelled: int
    centres: FloatArray | None = None
    width: int = 0


@dataclass
class Tally:
    """What an engine found of the faces of one size."""

    labelled: int = 0
    reference: int = 0
    found: int = 0
    of_labelled: int = 0
    missed: int = 0
    added: int = 0
    # Of each face that both found: FaceAnalysis' embedding, and the engine's.
    both: list[tuple[FloatArray, FloatArray]] = field(default_factory=list)

    def row(self, thresholds: tuple[float, float], one_space: bool) -> dict[str, Any]:
        cosines = [float(one @ other) for one, other in self.both] if one_space else []
        pairs = len(self.both) * (len(self.both) - 1) // 2
        alike = 0
        if pairs:
            ones, others = ([pair[side] for pair in self.both] for side in (0, 1))
            same = _alike(ones, thresholds[0]) == _alike(others, thresholds[1])
            # Each pair stands on both sides of the diagonal, where each face is like itself.
            alike = (int(same.sum()) - len(self.both)) // 2
        return {
            "labelled": self.labelled or None,
            "FaceAnalysis": self.reference,
            "found": self.found,
            "found of labelled": self.of_labelled if self.labelled else None,
            "missed": self.missed,
            "added": self.added,
            "cosine median": float(np.median(cosines)) if cosines else None,
            "cosine worst": min(cosines, default=None),
            "pairs": pairs,
            "pairs judged alike": alike,
            f"alike of {OF}": OF * alike / pairs if pairs else None,
        }


def _alike(embeddings: list[FloatArray], threshold: float) -> np.typing.NDArray[np.bool_]:
    """Shape (n, n)."""
    together = np.array(embeddings)
    return together @ together.T >= threshold


def face_analysis(pack: Path) -> Look:
    from insightface.app import FaceAnalysis

    app: Any = FaceAnalysis(name=str(pack.resolve()), providers=["CPUExecutionProvider"])
    app.prepare(ctx_id=-1, det_size=(SIDE, SIDE))

    def look(data: bytes) -> Seen:
        faces = app.get(decode(data).pixels)
        return _arrays([face.bbox for face in faces], [face.normed_embedding for face in faces])

    return look


def looking(engine: Any) -> Look:
    def look(data: bytes) -> Seen:
        faces = engine.analyse(data).faces
        return _arrays([face.bbox for face in faces], [face.embedding for face in faces])

    return look


def _arrays(boxes: list[FloatArray], embeddings: list[FloatArray]) -> Seen:
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(embeddings, np.float32)


def pictures(directory: Path, engine: Any, mosaics: int) -> Iterator[Picture]:
    """The labelled photos, and mosaics of those that show one face."""
    labels = labelled(directory)
    for name, who in labels.items():
        data = (directory / name).read_bytes()
        yield Picture(ALL, data, max(decode(data).pixels.shape[:2]), len(who))
    faces = small_faces.faces_of(engine, [directory / name for name in labels])
    if not faces:
        sys.exit(f"bench: no photo in {directory} shows exactly one face, of which mosaics could be made")
    random = np.random.default_rng(0)
    for width, _ in itertools.product(small_faces.WIDTHS, range(mosaics)):
        data, centres = small_faces.planted(faces, width, random)
        yield Picture(f"mosaics, {width} px", data, small_faces.SIDE, len(centres), centres, width)


def labelled(directory: Path) -> dict[str, list[str | None]]:
    try:
        photos: dict[str, list[str | None]] = json.loads((directory / "labels.json").read_text())["photos"]
    except (OSError, ValueError, KeyError) as error:
        sys.exit(
            f"bench: {directory} needs a labels.json that says who is on each photo, "
            f'{{"photos": {{NAME: [PERSON or null]}}}} ({type(error).__name__}); name another with --photos'
        )
    return dict(sorted(photos.items()))


def compare(seen: list[Seen], found: list[Seen], shown: list[Picture]) -> dict[str, Tally]:
    """By size of face: what an engine `found` on each picture, against what FaceAnalysis has `seen`."""
    tallies: dict[str, Tally] = {}
    for (boxes, vectors), (theirs, other), picture in zip(seen, found, shown, strict=True):
        pairs = dict(matched(boxes, theirs)) if len(boxes) and len(theirs) else {}
        added = set(range(len(theirs))) - set(pairs.values())

        def of(name: str) -> Tally:
            return tallies.setdefault(name, Tally())

        for each in {picture.size, *(_sizes(picture, boxes) + _sizes(picture, theirs))}:
            tally, here = of(each), [_size_is(picture, box, each) for box in boxes]
            there = [_size_is(picture, box, each) for box in theirs]
            tally.reference += sum(here)
            tally.found += sum(there)
            tally.missed += sum(1 for at, yes in enumerate(here) if yes and at not in pairs)
            tally.added += sum(1 for at in added if there[at])
            tally.both += [(vectors[one], other[two]) for one, two in pairs.items() if here[one]]
        whole = of(picture.size)
        whole.labelled += picture.labelled
        if picture.centres is not None:
            whole.of_labelled += small_faces.matched(picture.centres, picture.width, theirs)[0]
        else:
            whole.of_labelled += min(picture.labelled, len(theirs))
    return tallies


def _sizes(picture: Picture, boxes: FloatArray) -> list[str]:
    return [] if picture.width else [_size(picture, box) for box in boxes]


def _size(picture: Picture, box: FloatArray) -> str:
    width = (box[2] - box[0]) * SIDE / picture.side
    return next(name for least, name in reversed(SIZES) if width >= least)


def _size_is(picture: Picture, box: FloatArray, name: str) -> bool:
    return name == picture.size or _size(picture, box) == name


def by_labels(found: list[Seen], directory: Path, threshold: float) -> tuple[int, int]:
    """Pairs of photos of one person each: how many there are, and how many are on their side."""
    largest = [
        (who[0], vectors[np.argmax(boxes[:, 2] - boxes[:, 0])])
        for (boxes, vectors), who in zip(found, labelled(directory).values(), strict=False)
        if len(who) == 1 and who[0] and len(boxes)
    ]
    pairs = list(itertools.combinations(largest, 2))
    right = sum((one[1] @ other[1] >= threshold) == (one[0] == other[0]) for one, other in pairs)
    return len(pairs), int(right)


def main() -> int:
    options = with_isa(parser(__doc__ or ""))
    options.add_argument("--opencv", type=Path, help="directory of a pack of YuNet and a recogniser")
    options.add_argument("--dlib", type=Path, help="directory of the dlib pack")
    options.add_argument("--mosaics", type=int, default=4, help="of each width")
    given = options.parse_args()
    limit(given.isa)
    original: Any = load_engine(given.pack, threads=1, runtime="onnxruntime")
    shown = list(pictures(given.photos, original, given.mosaics))
    reference = face_analysis(given.pack)
    seen = [reference(picture.data) for picture in shown]
    figures: dict[str, Any] = {
        "machine": machine(),
        "instructions of OpenVINO": given.isa or "all",
        "labelled photos": sum(picture.size == ALL for picture in shown),
        "mosaics": sum(picture.width > 0 for picture in shown),
        "engines": {},
    }

    def add(name: str, engine: Any) -> None:
        look = looking(engine)
        found = [look(picture.data) for picture in shown]
        tallies = compare(seen, found, shown)
        pairs, right = by_labels(found, given.photos, engine.match_threshold)
        thresholds = original.match_threshold, engine.match_threshold
        sizes = {
            size: tallies[size].row(thresholds, one_space=engine.pack.engine != "dlib")
            for size in [ALL, *(name for _, name in SIZES), *(each.size for each in shown if each.width)]
            if size in tallies
        }
        figures["engines"][name] = {
            "pairs of labelled photos": pairs,
            "of them on their side of the threshold": right,
            "sizes": sizes,
        }
        table(name, figures["engines"][name])

    with tempfile.TemporaryDirectory() as directory:
        copy = prepared(given.pack, Path(directory), runtime_with(given.isa))
        if not given.isa:
            add("originals, onnxruntime", original)
        for profile, library in itertools.product(("exact", "fast"), candidates(runtime_with(given.isa))):
            name, chosen = f"{profile}, {library}", {"runtime": library, "profile": profile}
            if refusal := choose(read_pack(copy), **chosen).refusal:  # type: ignore[arg-type]
                figures["engines"][name] = {"refused": refusal}
                print(f"\n{name}: refused: {refusal}")
                continue
            add(name, load_engine(copy, threads=1, **chosen))  # type: ignore[arg-type]
    for pack in () if given.isa else (given.opencv, given.dlib):
        if pack:
            add(f"{pack.name}, onnxruntime", load_engine(pack, threads=1))
    write(figures, given.json)
    return 0


def table(name: str, found: dict[str, Any]) -> None:
    pairs, right = found["pairs of labelled photos"], found["of them on their side of the threshold"]
    print(f"\n{name}: {right} of {pairs} pairs of labelled photos on their side of the threshold\n")
    columns = (
        "labelled", "found of labelled", "FaceAnalysis", "found", "missed", "added", "cosine median",
        "cosine worst", f"alike of {OF}",
    )  # fmt: skip
    print(f"| size | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for size, row in found["sizes"].items():
        print(f"| {size} | {' | '.join(_cell(row[each]) for each in columns)} |")


def _cell(value: float | None) -> str:
    return "" if value is None else str(round(value, 5))


if __name__ == "__main__":
    sys.exit(main())
