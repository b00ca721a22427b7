"""Asking another model pack what people search, beside the one in use: how far the two agree on it.

Nobody waits for this, and nobody gets its answers. Of a search its counts are kept, and nothing else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from face_pipeline.actions.packs import pairs
from face_pipeline.broker import shadows
from face_pipeline.broker.shadows import Search
from face_pipeline.engine import Engine, PhotoBroken, PhotoRejected
from face_pipeline.parts import Parts
from face_pipeline.store import reembedding
from face_pipeline.store.reembedding import Shadowed, Side, Way

# Between two looks at whether it is still wanted, and of how many.
LOOK_SECONDS = 20.0
# Matches of each pack that are compared.
MATCHES = 10

log = logging.getLogger(__name__)


def attend(parts: Parts, seconds: float, load: Callable[[Side], Engine]) -> None:
    """Ask for so long, where that is wanted; else wait. `load` makes the engine of a pack, once it is needed;
    it goes at the end, for whoever looks at photos then has one."""
    until = time.monotonic() + seconds
    engines: dict[Side, Engine] = {}
    while (left := until - time.monotonic()) > 0:
        look = min(left, LOOK_SECONDS)
        with parts.database.reading() as session:
            wanted = reembedding.shadow_wanted(session)
        if wanted is None:
            time.sleep(look)
            continue
        way, percent = wanted
        if way.target not in engines:
            engines = {way.target: load(way.target)}
        try:
            _listen(parts, way, engines[way.target], percent, look)
        except OSError as error:
            log.warning("no search can be asked of both packs: %s", error, extra={"operation": "reembed"})
            time.sleep(look)


def _listen(parts: Parts, way: Way, engine: Engine, percent: int, seconds: float) -> None:
    until = time.monotonic() + seconds
    with shadows.listening(parts.settings.shadow_dir, percent) as inbox:
        while (left := until - time.monotonic()) > 0:
            search = inbox.take(left)
            if search is not None and search.contract_id == way.source.contract:
                found = ask(parts, way, engine, search)
                parts.database.in_transaction(partial(reembedding.count_shadow, more=found))


def ask(parts: Parts, way: Way, engine: Engine, search: Search) -> Shadowed:
    """How the packs agree on the faces of one search; those that one alone finds are counted apart."""
    try:
        detected = engine.analyse(search.photo).faces
    except (PhotoBroken, PhotoRejected):
        detected = []
    twin_of = pairs(
        [np.asarray(each.bbox, np.float32) for each in search.faces], [each.bbox for each in detected]
    )
    found = Shadowed(searches=1, unfound=len(search.faces) - len(twin_of))
    for collection_id in search.collections:
        for own, other in twin_of.items():
            embeddings = (search.faces[own].embedding, detected[other].embedding)
            with parts.database.snapshot() as session:
                matches = reembedding.both(session, way, collection_id, embeddings, MATCHES)
            if matches is not None:
                found += _compared(*matches)
    return found


def _compared(own: reembedding.Matches, other: reembedding.Matches) -> Shadowed:
    faces, others = {each.face_id for each in own}, {each.face_id for each in other}
    most = max(len(faces), len(others))
    return Shadowed(
        faces=1,
        person=int((own[0].person_id if own else None) == (other[0].person_id if other else None)),
        face=int((own[0].face_id if own else None) == (other[0].face_id if other else None)),
        shared=len(faces & others) / most if most else 1.0,
    )
