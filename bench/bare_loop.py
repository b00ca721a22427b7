"""The bare decode + detect + embed loop: one process, plain threads, no queue, no database. Prints JSON.

.venv/bin/python -m bench.bare_loop --pack DIR --threads 2 --count 200 PHOTO…
"""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
import json
import resource
import time
from pathlib import Path

from face_pipeline.engine import load_engine


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pack", type=Path, required=True)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--count", type=int, default=100)
    options.add_argument("--profile", choices=("exact", "fast"), default="exact")
    options.add_argument("photos", type=Path, nargs="+")
    arguments = options.parse_args()
    engine = load_engine(arguments.pack, threads=arguments.threads, profile=arguments.profile)
    engine.warm_up()
    photos = [path.read_bytes() for path in arguments.photos]
    work = list(itertools.islice(itertools.cycle(photos), arguments.count))
    began, cpu = time.monotonic(), time.process_time()
    with concurrent.futures.ThreadPoolExecutor(arguments.threads) as pool:
        faces = sum(len(analysis.faces) for analysis in pool.map(engine.analyse, work))
    seconds = time.monotonic() - began
    print(
        json.dumps(
            {
                "photos_per_second": len(work) / seconds,
                "cpu_ms_per_photo": 1000 * (time.process_time() - cpu) / len(work),
                "faces": faces,
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
