"""The engines against the programs that people write, on the same photos and cores: photos a second.

    python -m bench.models --pack INSIGHTFACE [--opencv DIR] [--dlib DIR] [--rounds 5] [--json FILE]

Two programs are what the engines, called from two threads, are measured against: FaceAnalysis as it comes,
from two threads too, and face_recognition's calls (HOG on the whole photo, enlarged once, five landmarks,
dlib's own descriptor) in a plain loop. All take turns, each in a process of its own; the figure is a ratio of
medians, of photos a second and of CPU time. Only decoding, detecting, aligning and embedding is done.
"""

from __future__ import annotations

import concurrent.futures
import io
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.common import machine, parser, photo_files, report

THREADS = 2
FACE_ANALYSIS, FACE_RECOGNITION, ENGINE = "FaceAnalysis", "face_recognition", "engine"


def face_analysis(pack: Path) -> Callable[[bytes], int]:
    """InsightFace's own, with its defaults."""
    import cv2
    import numpy as np
    from insightface.app import FaceAnalysis

    app = FaceAnalysis(name=str(pack), providers=["CPUExecutionProvider"])
    app.prepare(ctx_id=-1)

    def run(data: bytes) -> int:
        return len(app.get(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)))

    return run


def face_recognition(pack: Path) -> Callable[[bytes], int]:
    """What `face_encodings(load_image_file(...))` calls, with the defaults of that library."""
    import dlib
    import numpy as np
    from PIL import Image

    detector = dlib.get_frontal_face_detector()
    landmarks = dlib.shape_predictor(str(pack / "shape_predictor_5_face_landmarks.dat"))
    encoder = dlib.face_recognition_model_v1(str(pack / "dlib_face_recognition_resnet_model_v1.dat"))

    def run(data: bytes) -> int:
        pixels = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
        shapes = [landmarks(pixels, box) for box in detector(pixels, 1)]
        return len([encoder.compute_face_descriptor(pixels, shape, 1) for shape in shapes])

    return run


def engine(pack: Path) -> Callable[[bytes], int]:
    from face_pipeline.engine import load_engine

    made = load_engine(pack, threads=THREADS)
    made.warm_up()
    return lambda data: len(made.analyse(data).faces)


# What makes each, and the threads that call it: dlib's detector serves one at a time, in a plain loop.
KINDS = {
    FACE_ANALYSIS: (face_analysis, THREADS),
    FACE_RECOGNITION: (face_recognition, 1),
    ENGINE: (engine, THREADS),
}


def run(kind: str, pack: Path, photos: list[bytes], seconds: float) -> None:
    """Prints JSON: what one contender did."""
    make, threads = KINDS[kind]
    call = make(pack)
    call(photos[0])
    faces, done, source = 0, 0, itertools.cycle(photos)
    began, cpu = time.monotonic(), time.process_time()
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        while time.monotonic() - began < seconds:
            found = list(pool.map(call, itertools.islice(source, len(photos))))
            faces, done = faces + sum(found), done + len(found)
    wall = time.monotonic() - began
    spent = 1000 * (time.process_time() - cpu) / done
    print(json.dumps({"photos/s": done / wall, "CPU ms a photo": spent, "faces a photo": faces / done}))


def turn(kind: str, pack: Path, photos: Path, seconds: float) -> dict[str, float]:
    """What `run` measured in a process of its own; `photos`: their directory."""
    command = [
        sys.executable, "-m", "bench.models", "--run", kind, "--pack", str(pack.resolve()),
        "--photos", str(photos.resolve()), "--seconds", str(seconds),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"bench.models: {kind}, {pack.name}: {done.stderr[-800:]}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument("--opencv", type=Path, help="directory of a pack of YuNet and a recogniser")
    options.add_argument("--dlib", type=Path, help="directory of the dlib pack")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=4.0, help="of each turn")
    options.add_argument("--run", choices=KINDS, help="one turn, by itself")
    given = options.parse_args()
    files = photo_files(given.photos)
    if given.run:
        run(given.run, given.pack, [path.read_bytes() for path in files], given.seconds)
        return 0
    contenders = {"FaceAnalysis, as it comes": (FACE_ANALYSIS, given.pack)}
    contenders[f"engine, {given.pack.name}"] = (ENGINE, given.pack)
    if given.opencv:
        contenders[f"engine, {given.opencv.name}"] = (ENGINE, given.opencv)
    if given.dlib:
        contenders["face_recognition's calls"] = (FACE_RECOGNITION, given.dlib)
        contenders[f"engine, {given.dlib.name}"] = (ENGINE, given.dlib)
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for _ in range(given.rounds):
        for name, (kind, pack) in contenders.items():
            turns[name].append(turn(kind, pack, given.photos, given.seconds))
    figures: dict[str, Any] = {"machine": machine(), "rounds": given.rounds, "photos": len(files)}
    medians = {
        name: {key: statistics.median(turn[key] for turn in found) for key in found[0]}
        for name, found in turns.items()
    }
    for name, values in medians.items():
        figures |= {f"{name}: {key}": value for key, value in values.items()}
        if contenders[name][0] == ENGINE:
            for against, (kind, _) in contenders.items():
                if kind != ENGINE:
                    other = medians[against]
                    figures[f"{name}, photos/s against {against}"] = values["photos/s"] / other["photos/s"]
                    figures[f"{name}, CPU of {against} against it"] = (
                        other["CPU ms a photo"] / values["CPU ms a photo"]
                    )
    report(figures, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
