"""Made-up contents of a whole installation: photos, faces, people, groups, the audit, keys, web hooks."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np
from face_pipeline.ops import indexer
from face_pipeline.parts import Parts
from face_pipeline.store import collections
from face_pipeline.store.models import Collection
from sqlalchemy import text
from sqlalchemy.orm import Session

from bench.search import fill

# Their share of the photos, and of what is on them.
COLLECTIONS = {"default": 0.5, "family": 0.2, "gate": 0.2, "club": 0.1}
# A camera sends only what has faces; of the other photos one in 32 shows nobody.
ALL_WITH_FACES = "gate"
# Photos of a month, of one request each 40; of 500 one waits, and of 50 one failed.
PHOTOS = """
CREATE TEMP TABLE made_batches ON COMMIT DROP AS
SELECT number, gen_random_uuid() AS id, now() - number * 40 * interval '30 days' / :count AS at
FROM generate_series(0, :count / 40) AS number;
INSERT INTO batches (id, collection_id, created_at) SELECT id, :collection, at FROM made_batches;
INSERT INTO photos (id, collection_id, batch_id, sha256, filename, media_type, byte_size, width, height,
                    state, attempts, reason_code, reason_message, received_at, queued_at, started_at,
                    finished_at)
SELECT gen_random_uuid(), :collection, made_batches.id,
       encode(sha256(convert_to(:name || '-' || made.number, 'UTF8')), 'hex'),
       'IMG_' || lpad(made.number::text, 6, '0') || '.jpg', 'image/jpeg', 2500000, 4000, 3000, made.state, 1,
       CASE made.state WHEN 'failed' THEN (ARRAY['worker_lost', 'engine_error', 'out_of_memory',
            'deadline_exceeded', 'image_unreadable'])[1 + made.number / 50 % 5] END,
       CASE made.state WHEN 'failed' THEN 'made up' END,
       made.at, made.at, CASE WHEN made.state <> 'received' THEN made.at END,
       CASE WHEN made.state <> 'received' THEN made.at + interval '3 seconds' END
FROM (SELECT number, now() - number * interval '30 days' / :count AS at,
             CASE WHEN number <= :count / 500 THEN 'received' WHEN number % 50 = 0 THEN 'failed'
                  ELSE 'done' END AS state
      FROM generate_series(1, :count) AS number) AS made
JOIN made_batches ON made_batches.number = made.number / 40;
INSERT INTO batch_photos (batch_id, photo_id)
SELECT batch_id, id FROM photos WHERE collection_id = :collection;
INSERT INTO persons (id, collection_id, name, name_key, by_hand, created_at)
SELECT gen_random_uuid(), :collection, 'Person ' || md5(number::text), 'person ' || md5(number::text), true,
       now() - number * interval '1 minute'
FROM generate_series(0, :persons - 1) AS number;
"""
# The faces lie on the photos one after the other; two of three have names, the first ones that of one person.
FACES = """
CREATE TEMP TABLE made_photos ON COMMIT DROP AS
SELECT id, row_number() OVER (ORDER BY received_at DESC, id) - 1 AS number
FROM photos WHERE collection_id = :collection AND state = 'done' AND filename <> 'made-up'
  AND get_byte(uuid_send(id), 1) >= :faceless;
CREATE TEMP TABLE made_persons ON COMMIT DROP AS
SELECT id, row_number() OVER (ORDER BY created_at DESC) - 1 AS number
FROM persons WHERE collection_id = :collection;
CREATE UNIQUE INDEX ON made_photos (number);
CREATE UNIQUE INDEX ON made_persons (number);
ANALYZE made_photos, made_persons;
UPDATE faces SET photo_id = made_photos.id, position = faces.position / photos.count,
                 person_id = made_persons.id, quality = 0.3 + 0.6 * random(), bbox = '{900,700,1400,1300}'
FROM faces AS old
CROSS JOIN (SELECT count(*) FROM made_photos) AS photos
JOIN made_photos ON made_photos.number = old.position::bigint * 7919 % photos.count
LEFT JOIN made_persons ON old.position % 3 <> 2 AND made_persons.number = CASE
    WHEN old.position < :most * 3 / 2 OR :persons = 1 THEN 0
    ELSE 1 + old.position::bigint * 104729 % (:persons - 1) END
WHERE old.id = faces.id AND faces.collection_id = :collection;
DELETE FROM photos WHERE collection_id = :collection AND filename = 'made-up';
UPDATE photos SET person_id = faces.person_id FROM faces
WHERE faces.photo_id = photos.id AND photos.collection_id = :collection AND faces.position = 0
  AND get_byte(uuid_send(photos.id), 0) < 128;
UPDATE persons SET cover_face_id = faces.id
FROM (SELECT DISTINCT ON (person_id) person_id, id FROM faces ORDER BY person_id, quality DESC) AS faces
WHERE faces.person_id = persons.id AND persons.collection_id = :collection;
"""
# A third of the unknown faces is in groups, the first of which are larger; one group of 20 is hidden.
GROUPS = """
CREATE TEMP TABLE made_groups ON COMMIT DROP AS
SELECT gen_random_uuid() AS id, number FROM generate_series(0, :groups - 1) AS number;
INSERT INTO clusters (id, collection_id, hidden)
SELECT id, :collection, number % 20 = 19 FROM made_groups;
INSERT INTO cluster_faces (face_id, collection_id, cluster_id)
SELECT unknown.id, :collection, made_groups.id
FROM (SELECT id, row_number() OVER (ORDER BY id) AS number FROM faces
      WHERE collection_id = :collection AND person_id IS NULL) AS unknown
LEFT JOIN made_groups ON (unknown.number % 3 = 0 OR :groups = 1)
  AND made_groups.number = floor(:groups * power(unknown.number::bigint * 7919 % 1000 / 1000.0, 2));
INSERT INTO cluster_runs (collection_id, version, unknown_faces, clusters, seconds)
SELECT id, version, 0, :groups, 1 FROM collections WHERE id = :collection;
"""
# What happened to the photos is still there for who asks for events, and the audit tells of a month.
HISTORY = """
INSERT INTO events (at, kind, collection_id, photo_id, face_count, reason_code)
SELECT finished_at, 'photo.' || state, collection_id, id, 1, reason_code FROM photos
WHERE finished_at IS NOT NULL ORDER BY finished_at;
INSERT INTO audit (at, actor_kind, actor_id, actor_name, address, action, collection, subject, outcome)
SELECT now() - (:entries - number) * interval '2 minutes', 'session', api_keys.id, api_keys.name, '192.0.2.7',
       (ARRAY['search.run', 'photo.look', 'photo.upload', 'person.rename', 'face.assign', 'cluster.name',
              'session.sign_in'])[1 + number % 7],
       (ARRAY['default', 'family', 'gate', 'club'])[1 + number % 4], gen_random_uuid(),
       CASE WHEN number % 50 = 0 THEN 'refused' ELSE 'done' END
FROM generate_series(1, :entries) AS number,
     (SELECT id, name FROM api_keys ORDER BY created_at LIMIT 1) AS api_keys;
INSERT INTO api_keys (id, name, key_hash, scopes)
SELECT gen_random_uuid(), 'Key ' || number, md5(number::text), '{read}'
FROM generate_series(1, :keys) AS number;
INSERT INTO hooks (id, url, kinds, enabled, salt, xid, number, version)
SELECT gen_random_uuid(), 'https://hook' || number || '.example/', '{photo.done}', true, 'salt', '0', 0, 1
FROM generate_series(1, :hooks) AS number;
INSERT INTO hook_deliveries (id, hook_id, kind, event_id, xid, number, state, attempts, first_tried_at,
                             last_tried_at, last_status)
SELECT gen_random_uuid(), hooks.id, 'photo.done', gen_random_uuid(), '1', tries, 'delivered', 1, now(),
       now(), 204
FROM hooks, generate_series(1, :tries) AS tries;
"""


@dataclass(frozen=True)
class Contents:
    """How much an installation has. `most`: faces of the person who has the most."""

    photos: int
    faces: int
    persons: int
    most: int
    groups: int
    entries: int
    keys: int = 40
    hooks: int = 10
    tries: int = 500


# As little as lets every page have something to open.
LEAST = Contents(photos=1, faces=6, persons=1, most=6, groups=1, entries=1, keys=1, hooks=1, tries=1)


def seed(parts: Parts, contents: Contents, *, indexed: bool) -> None:
    """Fill the installation, which has nothing yet; `indexed`: build its vector indexes too."""
    random = np.random.default_rng(1)
    for name, share in COLLECTIONS.items() if contents.photos > 1 else (("default", 1.0),):
        _fill_collection(parts, name, share, contents, random)
    with parts.database.transaction() as session:
        _all(session, HISTORY, **vars(contents))
    with parts.database.single_statements() as connection:
        connection.execute(text("VACUUM ANALYZE"))
    if indexed:
        indexer.build_indexes(parts)


def _fill_collection(
    parts: Parts, name: str, share: float, contents: Contents, random: np.random.Generator
) -> None:
    def part(count: int) -> int:
        return max(1, int(count * share))

    persons = part(contents.persons)
    faceless = 0 if contents.photos == 1 or name == ALL_WITH_FACES else 256 // 32
    with parts.database.transaction() as session:
        collection: Collection = collections.open_collection(session, name, parts.pack)
        number = collection.id
        _all(session, PHOTOS, collection=number, name=name, count=part(contents.photos), persons=persons)
    fill(parts.database, collection, part(contents.faces), random)
    most = part(contents.most) if name != "default" else contents.most
    with parts.database.transaction() as session:
        _all(session, FACES, collection=number, faceless=faceless, persons=persons, most=most)
        _all(session, GROUPS, collection=number, groups=part(contents.groups))


def _all(session: Session, statements: str, **values: Any) -> None:
    """Execute each of the statements, with those of the values that it names."""
    for statement in filter(None, (each.strip() for each in statements.split(";"))):
        clause = text(statement)
        session.execute(clause, {name: values[name] for name in clause.compile().params})


def one(parts: Parts, query: str, **values: object) -> Any:
    """The first value that a query finds, as text where it is an id."""
    with parts.database.reading() as session:
        value = session.scalar(text(query), values)
    return str(value) if isinstance(value, uuid.UUID) else value
