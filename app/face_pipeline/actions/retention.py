"""Retention: how long a collection keeps originals and unknown faces; read, changed, and kept to."""

from __future__ import annotations

import logging
from collections.abc import Collection as Some
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from face_pipeline.actions.originals import remove as remove_originals
from face_pipeline.parts import Parts
from face_pipeline.store import collections, erasure, retention
from face_pipeline.store.audit import Actor
from face_pipeline.store.retention import Due, Rules
from face_pipeline.words import counted

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ruled:
    """The rules of a collection, and what they would remove now."""

    collection: str
    rules: Rules
    due: Due


def describe(parts: Parts, name: str, *, by: Actor) -> Ruled:
    """Raises Forbidden where `by` does not reach the collection, NotFound where there is none."""
    return change(parts, name, {}, dry_run=True, by=by)


def change(parts: Parts, name: str, to: Mapping[str, int | None], *, dry_run: bool, by: Actor) -> Ruled:
    """Give the collection other rules (fields of Rules), or say with a dry run what they would remove.

    Nothing is removed here: the next `expire` does. Raises as `describe` does.
    """
    by.check_reaches(name)
    parts.database.in_transaction(lambda session: collections.make_default(session, name, parts.pack))
    if not dry_run:
        parts.database.in_transaction(lambda session: retention.change(session, name, to, by=by))
    with parts.database.reading() as session:
        collection = collections.by_name(session, name)
        rules = replace(retention.rules(collection), **to)
        return Ruled(name, rules, retention.due(session, collection.id, rules))


def expire(parts: Parts) -> Due:
    """Remove what is due in all collections; returns how much it was.

    First the rows say so, then the files go: what a process that ends in between leaves is swept, as an
    original that no row names.
    """
    originals = faces = 0
    with parts.database.reading() as session:
        found = retention.ruled(session)
    for collection in found:
        rules = retention.rules(collection)
        if (days := rules.originals_days) is not None:
            step = partial(
                retention.expire_originals, collection_id=collection.id, name=collection.name, days=days
            )
            while hashes := parts.database.in_transaction(step):
                remove_originals(parts, hashes, partial(_named, parts))
                originals += len(hashes)
        if (days := rules.unknown_faces_days) is not None:
            some = partial(
                retention.expire_faces, collection_id=collection.id, name=collection.name, days=days
            )
            while count := parts.database.in_transaction(some):
                faces += count
    if originals or faces:
        log.info(
            "retention: %s and %s removed", counted(originals, "original"), counted(faces, "unknown face"),
            extra={"operation": "retention", "count": originals + faces},
        )  # fmt: skip
    return Due(originals, faces)


def _named(parts: Parts, hashes: Some[str]) -> Some[str]:
    with parts.database.reading() as session:
        return erasure.named(session, hashes)
