"""What a vector index finds, how quickly and at what price: by size, dimension, m, ef_construction and kind.

    python -m bench.indexes [--sizes 20000,100000] [--dimensions 128,512] [--indexes halfvec:16:64,bit:16:64]

Stored faces are made up as those of bench/search.py: people at random on the unit sphere with five samples
each, two of which have cosine 0.69 on average; a question is another sample. True matches are the faces among
the nearest ten whose cosine reaches 0.5, by an exact scan. An index is `kind:m:ef_construction`: `halfvec` as
installed, or `bit`, over the signs of the embedding's components, whose candidates are put into order by
their halfvecs. The server has the settings of an installation on this host; each index is asked alone, with
every number of candidates (ef_search) in turn, once to warm it and once to be measured. It is built by one
process, as pgvector before 0.8.2 has to. The pages of a search are the same however busy the host is. With
few candidates (`--ef 5,10`) a small collection shows what more ways are worth to a large one.
"""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg2

from bench.common import parser, report
from bench.postgres import settings
from bench.search import COPY_CHUNK, MATCH_COSINE, samples, unit
from tests.services import Postgres

FACES_OF_PERSON = 5
MATCHES = 10
# Searches whose pages are counted.
COUNTED = 40
# pgvector takes no more.
CANDIDATES_MOST = 1000
# Of signs, more are looked at than of numbers: the order among them is put right afterwards.
ORDER = {
    "halfvec": "SELECT id, embedding <#> %(searched)s::halfvec({dimension}) FROM stored"
    " ORDER BY 2 LIMIT {matches}",
    "bit": "SELECT id, embedding <#> %(searched)s::halfvec({dimension}) FROM ("
    "SELECT id, embedding FROM stored ORDER BY binary_quantize(embedding)::bit({dimension})"
    " <~> binary_quantize(%(searched)s::halfvec({dimension})) LIMIT {ef}) AS candidates"
    " ORDER BY 2 LIMIT {matches}",
}
OVER = {
    "halfvec": "embedding halfvec_ip_ops",
    "bit": "(binary_quantize(embedding)::bit({dimension})) bit_hamming_ops",
}


def fill(cursor: Any, size: int, dimension: int, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """A table of `size` embeddings; returns the people they belong to, float32 (people, dimension)."""
    cursor.execute("DROP TABLE IF EXISTS stored")
    cursor.execute(f"CREATE TABLE stored (id bigint, embedding halfvec({dimension}))")
    people = unit(random.normal(size=(max(size // FACES_OF_PERSON, 1), dimension)).astype(np.float32))
    for start in range(0, size, COPY_CHUNK):
        owners = np.arange(start, min(start + COPY_CHUNK, size)) % len(people)
        lines = io.StringIO()
        for offset, row in enumerate(samples(people[owners], random)):
            lines.write(f"{start + offset}\t{as_text(row)}\n")
        lines.seek(0)
        cursor.copy_expert("COPY stored FROM STDIN", lines)
    cursor.execute("ANALYZE stored")
    return people


def as_text(embedding: npt.NDArray[np.float32]) -> str:
    return "[" + ",".join(f"{value:.4g}" for value in embedding) + "]"


def ask(cursor: Any, statement: str, question: str) -> tuple[set[int], float]:
    """The ids of the matches, and milliseconds."""
    began = time.perf_counter()
    cursor.execute(statement, {"searched": question})
    rows = cursor.fetchall()
    return {number for number, distance in rows if -distance >= MATCH_COSINE}, 1000 * (
        time.perf_counter() - began
    )


def pages(cursor: Any, statement: str, question: str) -> int:
    """How many a search looks at, in memory or not."""
    cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {statement}", {"searched": question})
    plan = cursor.fetchone()[0][0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def measure(
    cursor: Any, kind: str, dimension: int, ef: int, questions: Sequence[str], truths: Sequence[set[int]]
) -> dict[str, float]:
    statement = ORDER[kind].format(dimension=dimension, matches=MATCHES, ef=ef)
    cursor.execute(f"SET hnsw.ef_search = {ef}")
    cursor.execute("SET enable_seqscan = off")
    for question in questions[:50]:
        ask(cursor, statement, question)
    answers = [ask(cursor, statement, question) for question in questions]
    found = sum(len(truth & matches) for truth, (matches, _) in zip(truths, answers, strict=True))
    times = [milliseconds for _, milliseconds in answers]
    return {
        "found": found / max(sum(map(len, truths)), 1),
        "p50 ms": float(np.percentile(times, 50)),
        "p95 ms": float(np.percentile(times, 95)),
        "pages": float(np.median([pages(cursor, statement, question) for question in questions[:COUNTED]])),
    }


def compare(
    cursor: Any, size: int, dimension: int, indexes: Sequence[str], candidates: Sequence[int], count: int
) -> dict[str, float]:
    random = np.random.default_rng(size + dimension)
    people = fill(cursor, size, dimension, random)
    asked = samples(people[random.integers(0, len(people), size=count)], random)
    questions = [as_text(each) for each in asked]
    exact = ORDER["halfvec"].format(dimension=dimension, matches=MATCHES)
    answers = [ask(cursor, exact, question) for question in questions]
    truths = [matches for matches, _ in answers]
    figures: dict[str, float] = {
        f"{size} x {dimension}: exact p50 ms": float(np.median([each for _, each in answers]))
    }
    for index in indexes:
        kind, m, ef_construction = index.split(":")
        label = f"{size} x {dimension}, {index}"
        cursor.execute("SET max_parallel_maintenance_workers = 0")
        began = time.monotonic()
        cursor.execute(
            f"CREATE INDEX tried ON stored USING hnsw ({OVER[kind].format(dimension=dimension)})"
            f" WITH (m = {int(m)}, ef_construction = {int(ef_construction)})"
        )
        figures[f"{label}: build s"] = time.monotonic() - began
        cursor.execute("SELECT pg_relation_size('tried')")
        figures[f"{label}: MB"] = cursor.fetchone()[0] / 2**20
        for ef in candidates:
            for name, value in measure(cursor, kind, dimension, ef, questions, truths).items():
                figures[f"{label}, ef {ef}: {name}"] = value
        cursor.execute("RESET enable_seqscan")
        cursor.execute("DROP INDEX tried")
    return figures


def numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--sizes", type=numbers, default=[20_000], help="faces, comma-separated")
    options.add_argument("--dimensions", type=numbers, default=[128, 512], help="comma-separated")
    indexes = "halfvec:16:64,halfvec:32:128,bit:16:64"
    options.add_argument("--indexes", default=indexes, help="kind:m:ef_construction,…")
    options.add_argument("--ef", type=numbers, default=[100, 200, 400, 800], help="candidates; 1000 at most")
    options.add_argument("--questions", type=int, default=200)
    arguments = options.parse_args()
    indexes = arguments.indexes.split(",")
    if wrong := [each for each in indexes if each.split(":")[0] not in OVER or each.count(":") != 2]:
        options.error(f"{', '.join(wrong)}: write halfvec:M:EF_CONSTRUCTION or bit:M:EF_CONSTRUCTION")
    if max(arguments.ef) > CANDIDATES_MOST:
        options.error(f"pgvector takes {CANDIDATES_MOST} candidates at most")
    figures: dict[str, float] = {}
    with Postgres(settings=settings()) as server:
        connection = psycopg2.connect(server.dsn)
        connection.autocommit = True
        with connection.cursor() as cursor:
            for size in arguments.sizes:
                for dimension in arguments.dimensions:
                    figures |= compare(cursor, size, dimension, indexes, arguments.ef, arguments.questions)
        connection.close()
    report(figures, arguments.json)


if __name__ == "__main__":
    main()
