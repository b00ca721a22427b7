"""The memory of one worker over many photos, with a large one now and then: whether it grows, and falls back.

python -m bench.worker_memory [--photos-count 5000] [--every 500] [--json bench/results/memory.json]
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from PIL import Image

from bench.common import parser, photo_files, report
from bench.ingest import ingest, resized, variant
from bench.stack import pipeline
from tests.installation import resident_mib

WARM_PHOTOS = 50


def elongation(path: Path) -> float:
    with Image.open(path) as image:
        return max(image.size) / min(image.size)


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--photos-count", type=int, default=5000)
    options.add_argument("--every", type=int, default=500, help="photos between two large ones")
    options.add_argument("--megapixels", type=float, default=24, help="of a large photo")
    options.add_argument("--concurrency", type=int, default=(os.cpu_count() or 1) + 1, help="of the worker")
    arguments = options.parse_args()
    files = photo_files(arguments.photos)
    sources = [path.read_bytes() for path in files]
    with tempfile.TemporaryDirectory(prefix="face-bench-photos-") as scaled:
        # A photo with a very long side is decoded at half its size.
        squarest = min(files, key=elongation)
        large = resized(squarest, arguments.megapixels, Path(scaled)).read_bytes()
    photos = [variant(sources[n % len(sources)], n) for n in range(WARM_PHOTOS)]
    flat: list[float] = []
    peaks: list[float] = []
    after: list[float] = []
    with pipeline(arguments.pack, FACE_UPLOAD_MAX_PHOTOS="100") as app:
        pid = app.start_worker(1, concurrency=arguments.concurrency).pid
        ingest(app, photos)
        started = resident_mib(pid)
        for number in range(0, arguments.photos_count, arguments.every):
            some = range(WARM_PHOTOS + number, WARM_PHOTOS + number + arguments.every)
            ingest(app, [variant(sources[n % len(sources)], n) for n in some])
            flat.append(resident_mib(pid))
            # The kernel counts the peak anew.
            Path(f"/proc/{pid}/clear_refs").write_text("5")
            ingest(app, [variant(large, number)])
            peaks.append(resident_mib(pid, "VmHWM"))
            after.append(resident_mib(pid))
            print(
                f"{number + arguments.every} photos: {flat[-1]:.0f} MiB; a large one: "
                f"{peaks[-1]:.0f} at most, {after[-1]:.0f} after it"
            )
    report(
        {
            "threads of the worker": arguments.concurrency,
            f"resident MiB after {WARM_PHOTOS} photos": started,
            f"after {arguments.photos_count}": flat[-1],
            "highest between large photos": max(flat),
            "peak of a large photo": max(peaks),
            "highest after a large photo": max(after),
        },
        arguments.json,
    )


if __name__ == "__main__":
    main()
