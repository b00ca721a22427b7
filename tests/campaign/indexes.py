"""Whether the indexes answer as a scan of the tables does, on each host that holds the database.

Of B-trees PostgreSQL's own amcheck asks it, for every row. A vector index gives the nearest that it finds on
its way, so it has to find the share that the product promises: of made-up people with so many faces that the
campaign's collection has such an index before the first fault. Clients add to it and delete from it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tests.campaign.hosts import DATABASES, CommandFailed, Guest, Site
from tests.patience import PATIENCE

# As the product has them, which is not installed where campaigns run: so many faces have a vector index, and
# it finds this share of the true matches.
INDEX_FROM_FACES, FOUND_ENOUGH = 16_000, 0.995
FACES_OF_PERSON = 5
PEOPLE = INDEX_FROM_FACES // FACES_OF_PERSON + 200
# Of two photos of one person, on average, as bench/indexes.py has it; strangers are never so alike.
ALIKE, MATCHES = 0.69, 0.5
QUESTIONS = 200
BUILD_SECONDS = 600.0
FOLLOW_SECONDS = 120.0

Embeddings = npt.NDArray[np.float32]

B_TREES = """
SELECT bt_index_check(pg_index.indexrelid, true)
FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_am ON pg_am.oid = relam
WHERE amname = 'btree' AND relpersistence = 'p' AND indisready AND indisvalid;
"""
# Rows of the one that the other lacks, or has otherwise.
COPIES = """
SELECT count(*) FROM (
  SELECT id, embedding::text FROM faces WHERE collection_id = {id}
  EXCEPT SELECT face_id, embedding::text FROM face_vectors WHERE collection_id = {id}) AS missing;
SELECT count(*) FROM (
  SELECT face_id, embedding::text FROM face_vectors WHERE collection_id = {id}
  EXCEPT SELECT id, embedding::text FROM faces WHERE collection_id = {id}) AS more;
"""
# The ten nearest of each question, by their cosine.
NEAREST = """
{settings}
SELECT coalesce(json_agg(json_build_array(number, cosine)), '[]')
FROM (VALUES {questions}) AS question (number, searched) CROSS JOIN LATERAL (
  SELECT -(embedding::halfvec({dimension}) <#> searched) AS cosine FROM {table}
  WHERE collection_id = {id} ORDER BY embedding::halfvec({dimension}) <#> searched LIMIT 10) AS nearest
WHERE cosine >= {least};
"""
BY_SCAN = "SET enable_indexscan = off;"
BY_INDEX = """SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off;
SET hnsw.iterative_scan = relaxed_order; SET hnsw.ef_search = {ef};"""


def fill(site: Site, collection: str, seed: int) -> None:
    """Give the collection made-up faces, and wait until it has a vector index that was measured."""
    number, dimension = _collection(site.database, collection)
    people = _people(seed, dimension)
    faces = (row for person in people for row in _photos_of(person, seed, FACES_OF_PERSON))
    lines = "".join(
        f"{number}\t{place // FACES_OF_PERSON}\t{_vector(row)}\n" for place, row in enumerate(faces)
    )
    site.database.sql(
        "BEGIN;\n"
        "CREATE TEMP TABLE made (collection bigint, person int, embedding halfvec) ON COMMIT DROP;\n"
        f"COPY made FROM STDIN;\n{lines}\\.\n"
        "CREATE TEMP TABLE people ON COMMIT DROP AS\n"
        "SELECT gen_random_uuid() AS id, person, collection FROM made GROUP BY person, collection;\n"
        "INSERT INTO persons (id, collection_id, name, name_key, by_hand)\n"
        "SELECT id, collection, 'Made up ' || person, 'made up ' || person, true FROM people;\n"
        # As of those that come as embeddings: without a photo.
        "INSERT INTO faces (id, collection_id, person_id, position, bbox, landmarks, detection_score,"
        " quality, embedding)\n"
        "SELECT gen_random_uuid(), made.collection, people.id, 0, '{0,0,0,0}', '[]', 1, 1, embedding\n"
        "FROM made JOIN people USING (person);\n"
        f"UPDATE collections SET face_count = face_count + {len(people) * FACES_OF_PERSON},"
        f" version = version + 1 WHERE id = {number};\n"
        "COMMIT;\nANALYZE faces;"
    )
    _wait_indexed(site, number)


def faults(site: Site, collection: str, seed: int) -> list[str]:
    """What is wrong with the indexes on any host. Of a collection that was not filled, its B-trees alone."""
    leader = site.database
    leader.sql("CREATE EXTENSION IF NOT EXISTS amcheck;")
    try:
        written = leader.sql("SELECT pg_current_wal_lsn();").strip()
        return [
            f"{guest.name}: {fault}"
            for guest in site.of(DATABASES)
            for fault in _faults_of(guest, collection, seed, None if guest is leader else written)
        ]
    finally:
        leader.sql("DROP EXTENSION amcheck;")


def _faults_of(guest: Guest, collection: str, seed: int, written: str | None) -> Iterator[str]:
    if written and not _follows(guest, written):
        yield f"it has not what the leader had {FOLLOW_SECONDS * PATIENCE:.0f} s ago"
        return
    try:
        guest.sql(B_TREES)
    except CommandFailed as error:
        yield f"a B-tree does not fit its table: {error}"
    number, dimension = _collection(guest, collection)
    if not _is_indexed(guest, number):
        return
    missing, more = map(int, guest.sql(COPIES.format(id=number)).split())
    if missing or more:
        yield f"of the rows that the vector index is made of, {missing} are missing and {more} too many"
    # Photos that nobody sent, of each person one.
    asked = _people(seed, dimension)[:QUESTIONS]
    questions = [next(_photos_of(person, seed + 1, 1)) for person in asked]
    found, there = _found(guest, number, dimension, questions)
    if there < QUESTIONS:
        yield f"a scan finds {there} of the made-up faces, fewer than one for each of {QUESTIONS} questions"
    if found < FOUND_ENOUGH * there:
        yield f"the vector index finds {found} of {there} matches, which is less than {FOUND_ENOUGH}"


def _found(guest: Guest, number: int, dimension: int, questions: list[Embeddings]) -> tuple[int, int]:
    """How many of the true matches the index finds, and how many there are: in `faces`, by a scan."""
    values = ",".join(
        f"({place}, '{_vector(row)}'::halfvec({dimension}))" for place, row in enumerate(questions)
    )
    ef = guest.sql(f"SELECT index_ef FROM collections WHERE id = {number};").strip()
    there, found = (
        len(json.loads(guest.sql(NEAREST.format(
            settings=settings, questions=values, dimension=dimension, table=table, id=number, least=MATCHES
        ))))
        for table, settings in (("faces", BY_SCAN), ("face_vectors", BY_INDEX.format(ef=ef)))
    )  # fmt: skip
    return found, there


def _collection(guest: Guest, name: str) -> tuple[int, int]:
    """Its number and the dimension of its embeddings."""
    said = guest.sql(f"SELECT id, dimension FROM collections WHERE name = '{name}';").strip()
    if not said:
        raise CommandFailed(f"{guest.name}: there is no collection {name}")
    number, dimension = said.split("|")
    return int(number), int(dimension)


def _is_indexed(guest: Guest, number: int) -> bool:
    query = f"SELECT vectors_indexed AND index_ef IS NOT NULL FROM collections WHERE id = {number};"
    return guest.sql(query).strip() == "t"


def _wait_indexed(site: Site, number: int) -> None:
    until = time.monotonic() + BUILD_SECONDS * PATIENCE
    while not _is_indexed(site.database, number):
        if time.monotonic() > until:
            raise CommandFailed("the made-up faces got no vector index: look at face-indexer.service")
        # One that runs already may have looked before they were there.
        site.of("web")[0].run("systemctl start face-indexer.service", check=False)
        time.sleep(1)


def _follows(guest: Guest, written: str) -> bool:
    until = time.monotonic() + FOLLOW_SECONDS * PATIENCE
    while guest.sql(f"SELECT pg_last_wal_replay_lsn() >= '{written}'::pg_lsn;").strip() != "t":
        if time.monotonic() > until:
            return False
        time.sleep(1)
    return True


def _people(seed: int, dimension: int) -> Embeddings:
    """What is common to the photos of each: unit vectors, float32, shape (PEOPLE, dimension)."""
    return _unit(np.random.default_rng(seed).normal(size=(PEOPLE, dimension)))


def _photos_of(person: Embeddings, seed: int, number: int) -> Iterator[Embeddings]:
    """Embeddings of so many photos, which are alike on average as ALIKE says."""
    random = np.random.default_rng([seed, int(abs(float(person[0])) * 1e9)])
    spread = (1 / ALIKE - 1) ** 0.5 / len(person) ** 0.5
    for _ in range(number):
        yield _unit(person + spread * random.normal(size=len(person)))


def _unit(vectors: npt.NDArray[np.floating]) -> Embeddings:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)


def _vector(row: Embeddings) -> str:
    return "[" + ",".join(f"{value:.4g}" for value in row) + "]"
