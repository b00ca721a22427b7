"""The list of what was erased: written out, and erased again where a restored backup brought it back."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from face_pipeline.actions import erasure, keys
from face_pipeline.errors import NotFound
from face_pipeline.parts import Parts
from face_pipeline.store import audit, erasures
from face_pipeline.store.audit import Actor
from face_pipeline.store.erasures import Listed, What

AT_ONCE = 200


def export(parts: Parts, *, by: Actor) -> Iterator[Listed]:
    """All that was erased and is not there again, the oldest first."""
    with parts.database.transaction() as session:
        audit.write(session, by, "erasure.list")
    with parts.database.transaction() as session:
        yield from erasures.everything(session)


def apply(
    parts: Parts, listed: Iterable[tuple[What, uuid.UUID]], *, dry_run: bool, by: Actor
) -> Counter[str]:
    """Erase what is listed and there, and revoke the keys that are listed and not revoked.

    Returns how many photos, faces, persons and keys that were, or would be.
    """
    ids: dict[What, list[uuid.UUID]] = {"key": [], "person": [], "photo": [], "face": []}
    for what, identifier in listed:
        ids[what].append(identifier)
    done: Counter[str] = Counter()
    for what, all_of_it in ids.items():
        for start in range(0, len(all_of_it), AT_ONCE):
            some = all_of_it[start : start + AT_ONCE]
            with parts.database.reading() as session:
                there = erasures.present(session, what, some)
            if what == "key":
                done["key"] += len(there)
                for key_id in () if dry_run else there:
                    keys.revoke(parts, key_id, by=by, guarded=False)
                continue
            for receipt in _erase(parts, what, there, dry_run=dry_run, by=by):
                rows = receipt.rows
                done += Counter(photo=rows.photos, face=rows.faces, person=rows.persons)
    return done


def _erase(
    parts: Parts, what: What, ids: Sequence[uuid.UUID], *, dry_run: bool, by: Actor
) -> Iterator[erasure.Receipt]:
    if what == "photo":
        if ids:
            yield from erasure.photos(parts, ids, dry_run=dry_run, by=by, receipt=uuid.uuid4())[0]
        return
    one = erasure.person if what == "person" else erasure.face
    for each in ids:
        # Another one took it along.
        with suppress(NotFound):
            yield one(parts, each, dry_run=dry_run, by=by)
