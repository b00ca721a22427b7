"""The table of what is wanted and what is reached: runs its rows, keeps what they measured, and prints it.

    python -m bench.table                              # all rows, 5 rounds each: an hour on two quiet cores
    python -m bench.table --rows ingest_exact_0.3mp,accuracy --rounds 3
    python -m bench.table --rows scale -i inventory/quickstart/hosts.yml
    python -m bench.table --show                       # measures nothing

A row is a benchmark of this directory, by itself and in turns with what it is compared with. Its figures go
to bench/results/ROW.json, with the machine and its load at the begin and the end; the table is made of these
files. Photos of another size are the labelled ones, enlarged or reduced (Lanczos, JPEG of quality 90): more
pixels, and not more detail. Rows with faces need the small InsightFace pack (--pack), YuNet (--opencv) and
dlib (--dlib); the last two are made as the tests make them where none is named.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.common import ROOT, load, parser, write
from bench.machine import described
from bench.runtimes import prepared

RESULTS = ROOT / "bench" / "results"
Figures = dict[str, Any]

TWO_CALLERS = "FaceAnalysis' loop from two threads"
AS_INSTALLED = "--workers 2 --concurrency 4"
INGEST = f"bench.ingest --rounds {{rounds}} --photos-count {{count}} {AS_INSTALLED} --photos {{photos}} "


# Of the true matches.
SHARE = 0.995


@dataclass(frozen=True)
class Row:
    """`command`: the benchmark, with places for what the options name; `told`: its figure, in words."""

    name: str
    work: str
    today: str
    wanted: str
    command: str
    told: Callable[[Figures], str] = field(repr=False)


def ratio(figures: Figures) -> str:
    return f"{figures['ratio']:.2f}"


def accuracy(figures: Figures) -> str:
    """Of each way but the originals': faces missed and added of all, the worst cosine, and pairs."""
    words = []
    for name, engine in figures["engines"].items():
        if "refused" in engine:
            words.append(f"{name}: refused ({engine['refused']})")
            continue
        whole = [row for size, row in engine["sizes"].items() if not size.startswith("photos, ")]
        faces, missed, added = (sum(row[key] for row in whole) for key in ("FaceAnalysis", "missed", "added"))
        least = min((row["cosine worst"] for row in whole if row["cosine worst"] is not None), default=None)
        cosine = "" if least is None else f", cosine {least:.4f} at worst"
        photos = engine["sizes"]["photos"]
        alike = photos["alike of 300"]
        words.append(
            f"{name}: {missed} missed and {added} added of {faces}{cosine}"
            + ("" if alike is None else f", {alike:.1f} of 300 pairs alike")
        )
    return "; ".join(words)


def worker_memory(figures: Figures) -> str:
    return (
        f"{figures['highest between large photos']:.0f}; {figures['peak of a large photo']:.0f}, and "
        f"{figures['highest after a large photo']:.0f} after it"
    )


def runtimes(figures: Figures) -> str:
    against = ", against FaceAnalysis, threads"
    words = []
    for name, value in figures.items():
        if name.endswith(against):
            words.append(f"{name.removesuffix(against)}: {value:.2f}")
        elif name.endswith(": refused"):
            words.append(f"{name} ({value})")
    return "; ".join(words)


def index(figures: Figures) -> str:
    """What the fewest candidates find that reach SHARE, how quickly, and what it costs to build."""
    reached = (
        key.removesuffix(": found")
        for key, share in figures.items()
        if key.endswith(": found") and share >= SHARE
    )
    best = next(reached, None)
    build = next(value for key, value in figures.items() if key.endswith(": build s"))
    if best is None:
        return f"{SHARE} is not reached; built in {build:.0f} s"
    times = " / ".join(f"{figures[f'{best}: {part} ms']:.1f}" for part in ("p50", "p95"))
    found, candidates = figures[f"{best}: found"], best.split(", ")[-1]
    return f"{found:.3f} in {times} ms (p50 / p95), {candidates}; built in {build:.0f} s"


def ingest(name: str, size: str, today: str, wanted: str, what: str, options: str) -> Row:
    return Row(
        f"ingest_{name}_{size}mp",
        f"ingest, {what}, photos of {size} MP, against {TWO_CALLERS}",
        today,
        wanted,
        f"{INGEST}--megapixels {size} --against FaceAnalysis --against-pack {{pack}} {options}",
        ratio,
    )


EXACT, FAST = "--pack {prepared}", "--pack {prepared} --profile fast"
ROWS = (
    ingest("exact", "0.3", "1.3", "1.7", "exact", EXACT),
    ingest("exact", "3.1", "1.3", "1.7", "exact", EXACT),
    ingest("fast", "0.3", "-", "2.6", "profile fast", FAST),
    ingest("fast", "3.1", "-", "2.6", "profile fast", FAST),
    ingest("yunet", "0.3", "-", "3", "YuNet and the test recogniser (another model)", "--pack {opencv}"),
    Row(
        "ingest_dlib_0.75mp", "ingest, dlib pack, photos of 0.75 MP, against face_recognition's loop",
        "1", "2.2",
        f"{INGEST}--megapixels 0.75 --against face_recognition --pack {{dlib}}", ratio,
    ),
    Row(
        "pipeline_0.3mp", "pipeline against its own bare loop, exact, photos of 0.3 MP", "0.87", "0.85",
        f"{INGEST}--megapixels 0.3 {EXACT}", ratio,
    ),
    Row(
        "pipeline_fast_0.3mp", "pipeline against its own bare loop, profile fast, photos of 0.3 MP", "-", "-",
        f"{INGEST}--megapixels 0.3 {FAST}", ratio,
    ),
    Row(
        "memory", "memory of a worker over 5,000 photos, MiB at rest and with a photo of 24 MP", "-",
        "flat, under 400",
        "bench.worker_memory --pack {pack} --photos {photos}", worker_memory,
    ),
    Row(
        "index_1m_128", "search among a million faces of 128 dimensions", "0.911 in 20 ms",
        "0.995 at p50 15 ms, p95 30 ms",
        "bench.indexes --sizes 1000000 --dimensions 128 --indexes halfvec:32:128 --ef 50,100,150,200,300,400",
        index,
    ),
    Row(
        "index_1m_512", "search among a million faces of 512 dimensions", "0.996 with ef 200",
        "0.995 at p50 15 ms, p95 30 ms",
        "bench.indexes --sizes 1000000 --dimensions 512 --indexes halfvec:32:128 --ef 50,100,150,200,300,400",
        index,
    ),
    Row(
        "scale", "scale 2 to 10 workers", "5 to 10 s", "8 s",
        "bench.scale --rounds {rounds} -i {inventory}",
        lambda figures: f"{figures['2 -> 10 workers, s']:.1f} s",
    ),
    Row(
        "runtimes", f"engines alone, against {TWO_CALLERS}", "-", "-",
        "bench.runtimes --rounds {rounds} --pack {pack} --photos {photos}", runtimes,
    ),
    Row(
        "runtimes_avx2", "engines alone, OpenVINO kept to AVX2 (onnxruntime is not)", "-", "-",
        "bench.runtimes --rounds {rounds} --pack {pack} --photos {photos} --isa avx2", runtimes,
    ),
    Row(
        "accuracy", "labelled photos and small faces, against FaceAnalysis", "-",
        "exact: none missed or added, cosine 0.999; fast: 0.2 % missed, 299 of 300 pairs alike",
        "bench.accuracy --pack {pack} --photos {photos} --mosaics {mosaics} --opencv {opencv} --dlib {dlib}",
        accuracy,
    ),
    Row(
        "accuracy_avx2", "the same by OpenVINO kept to AVX2", "-", "the same",
        "bench.accuracy --pack {pack} --photos {photos} --mosaics {mosaics} --isa avx2", accuracy,
    ),
)  # fmt: skip


class Missing(Exception):
    """What a row needs is not here; the message says what to name."""


class Places:
    """What stands in the places of commands, made when the first row needs it."""

    def __init__(self, given: argparse.Namespace, directory: Path) -> None:
        self._given, self._directory = given, directory
        self._made: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        if name not in self._made:
            value = getattr(self, f"_{name}", lambda: getattr(self._given, name))()
            self._made[name] = str(value.resolve() if isinstance(value, Path) else value)
        return self._made[name]

    def _pack(self) -> Path:
        if not self._given.pack.is_dir():
            raise Missing("the InsightFace pack is not here: name it with --pack")
        return Path(self._given.pack)

    def _prepared(self) -> Path:
        return prepared(self._pack(), self._directory)

    def _opencv(self) -> Path:
        return self._of_tests("opencv")

    def _dlib(self) -> Path:
        return self._of_tests("dlib")

    def _of_tests(self, engine: str) -> Path:
        if pack := getattr(self._given, engine):
            return Path(pack)
        import pytest

        from tests import packs

        try:
            return {"opencv": packs.opencv_pack, "dlib": packs.dlib_pack}[engine]()
        except (pytest.skip.Exception, subprocess.CalledProcessError, OSError) as error:
            raise Missing(f"no {engine} pack: name one with --{engine} ({error})") from error

    def _inventory(self) -> Path:
        if not self._given.inventory:
            raise Missing("it needs an installed host: name its inventory with -i")
        return Path(self._given.inventory)


def measure(row: Row, places: Places, machine: Figures) -> Figures:
    """Runs a row. Raises Missing, also with what a benchmark said that failed."""
    arguments = [word.format_map(places) for word in row.command.split()]
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        begin = load()
        done = subprocess.run(
            [sys.executable, "-m", *arguments, "--json", file.name],
            cwd=ROOT, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise Missing(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it failed")
        figures = json.loads(Path(file.name).read_text())
    return {
        **{key: value for key, value in asdict(row).items() if key != "told"},
        "measured": row.told(figures),
        "machine": machine,
        "load": {"begin": begin, "end": load()},
        "figures": figures,
    }


def kept(results: Path) -> Figures:
    """By row, what was measured last."""
    files = {row.name: results / f"{row.name}.json" for row in ROWS}
    return {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}


def markdown(measured: Figures) -> str:
    lines = ["| work | today | wanted | measured | load: begin, end |", "|---|---|---|---|---|"]
    for row in ROWS:
        cells = ["not measured", ""]
        if it := measured.get(row.name):
            cells = [it["measured"], f"{it['load']['begin']}, {it['load']['end']}"]
        lines.append(f"| {' | '.join([row.work, row.today, row.wanted, *cells])} |")
    return "\n".join(lines)


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument("--opencv", type=Path, help="directory of a pack of YuNet and a recogniser")
    options.add_argument("--dlib", type=Path, help="directory of the dlib pack")
    options.add_argument("-i", "--inventory", type=Path, help="of an installed host, for the row scale")
    known = [row.name for row in ROWS]
    options.add_argument("--rows", default="", help=f"of {','.join(known)}; all by default")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--count", type=int, default=400, help="photos of a turn of the pipeline")
    options.add_argument("--mosaics", type=int, default=4, help="of each width, for accuracy")
    options.add_argument("--results", type=Path, default=RESULTS, help="directory of what is kept")
    options.add_argument("--show", action="store_true", help="print what is kept, and measure nothing")
    given = options.parse_args()
    wanted = [name for name in given.rows.split(",") if name]
    if unknown := [name for name in wanted if name not in known]:
        options.error(f"no row {', '.join(unknown)}: --rows takes {','.join(known)}")
    failed = False
    if not given.show:
        machine = described()
        with tempfile.TemporaryDirectory(prefix="face-bench-") as directory:
            places = Places(given, Path(directory))
            for row in ROWS:
                if wanted and row.name not in wanted:
                    continue
                print(f"{row.name}: {row.work}", file=sys.stderr)
                try:
                    write(measure(row, places, machine), given.results / f"{row.name}.json")
                except Missing as reason:
                    print(f"bench.table: {row.name} was not measured: {reason}", file=sys.stderr)
                    failed = True
    measured = kept(given.results)
    print(markdown(measured))
    write(measured, given.json)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
