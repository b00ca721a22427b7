"""Moving what is stored to another model pack: its embeddings are made beside the others, then exchanged."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from face_pipeline.actions import shadows
from face_pipeline.actions.packs import pairs
from face_pipeline.engine import (
    Engine,
    Pack,
    PhotoBroken,
    PhotoRejected,
    contract_id,
    load_engine,
    read_pack,
)
from face_pipeline.errors import BadRequest, ConfigurationError, Conflict, DatabaseBusy, NotFound
from face_pipeline.parts import Parts
from face_pipeline.store import indexes, reembedding
from face_pipeline.store.audit import Actor
from face_pipeline.store.models import LookOutcome
from face_pipeline.store.originals import OriginalDamaged, OriginalMissing
from face_pipeline.store.reembedding import (
    Looked,
    NotYet,
    Progress,
    Shadowed,
    Side,
    Stored,
    Twins,
    Waiting,
    Way,
)

# Of one transaction: what is lost when this is killed, and made again.
PHOTOS_AT_ONCE = 16
# Whatever was measured as quicker: one makes them all, and OpenVINO writes code, which the unit may not.
RUNTIME: Final = "onnxruntime"
# Photos may come in while a collection is switched.
ROUNDS = 10
# Named faces that are searched by both packs, of one collection, and faces that they are searched among.
QUESTIONS = 500
AMONG = 50_000

# Seconds that a switch waits for an index that is being built or measured.
BUILDER_SECONDS = 600.0
# Seconds after which those who ask often are told again how the packs agree: it takes seconds to find out.
TELL_SECONDS = 600.0

Told = Callable[[int, int], None]

log = logging.getLogger(__name__)


@dataclass
class Agreement:
    """Named faces, each searched among the faces of other photos of its collection that have both embeddings.

    Of `searches`, how often the best match is the same person's with the pack that is searched by now
    (`source`) and with the other (`target`), each at its own threshold, and how often both find the same
    person, or nobody. `strangers_*`: how often the best match is another person's.
    """

    searches: int = 0
    source: int = 0
    target: int = 0
    agreed: int = 0
    strangers_source: int = 0
    strangers_target: int = 0


@dataclass(frozen=True)
class Status:
    """`without_embedding`: faces of collections that were moved, which nobody finds there.

    `unindexed`: large collections that are to be moved and have no index yet of what the other pack made.
    `shadowed`: what came of searches of people that it was asked too, `shadow_percent` of a hundred.
    """

    way: Way
    progress: Progress
    agreement: Agreement
    without_embedding: int
    unindexed: Sequence[str]
    shadow_percent: int
    shadowed: Shadowed


@dataclass(frozen=True)
class Switched:
    """`collections`: the names of those that were switched; `left`: faces without an embedding now."""

    way: Way
    collections: list[str]
    left: int


def start(parts: Parts, directory: Path, *, by: Actor) -> Way:
    """Begin to move all collections of the installed pack to the one in `directory`.

    Raises PackError, EngineError, BadRequest where it is the installed pack, Conflict where collections are
    being moved already, ConfigurationError where the originals are on another host.
    """
    _check_host(parts)
    directory = directory.resolve()
    other = read_pack(directory)
    if contract_id(other) == contract_id(parts.pack):
        raise BadRequest(
            f"{directory} makes the embeddings of the installed pack ({contract_id(other)}); name another one"
        )
    # That it can be used is found out now.
    load_engine(directory, threads=1, memory=parts.memory, runtime=RUNTIME)
    way = Way(_side(parts.pack, parts.settings.pack_dir), _side(other, directory))
    parts.database.in_transaction(partial(reembedding.begin, way=way, by=by))
    return way


def _check_host(parts: Parts) -> None:
    if parts.settings.originals_url:
        raise ConfigurationError("the originals are on the web host; run this there")


def _side(pack: Pack, directory: Path) -> Side:
    return Side(contract_id(pack), str(directory), pack.dimension, pack.match_threshold)


def run(parts: Parts, *, threads: int = 1, again: bool = False, by: Actor, progress: Told) -> int:
    """Look with the other pack at all photos that it has not looked at; returns how many.

    It may be ended at any moment and run again. `again`: also at those whose original was gone, or that it
    could not use. `progress` is told how many of how many are done. Raises NotFound where nothing is being
    moved, DatabaseBusy, PackError, EngineError, ConfigurationError.
    """
    _check_host(parts)
    with reembedding.alone(parts.database):
        with parts.database.reading() as session:
            way = reembedding.find(session)
        if again:
            parts.database.in_transaction(reembedding.look_again)
        return _look_at_all(parts, way, threads, by, progress, partial(_tell, parts, way))


def attend(parts: Parts, *, threads: int, every: float, by: Actor, progress: Told) -> None:
    """`run`, and look each `every` seconds for photos that came in meanwhile, until nothing is left to move.

    In between, ask the other pack of what people search, where that is wanted (`shadow`). Whoever switches
    in between is not disturbed. Raises what `run` does, but for NotFound and DatabaseBusy.
    """
    _check_host(parts)
    while True:
        try:
            with reembedding.alone(parts.database):
                with parts.database.reading() as session:
                    way = reembedding.find(session)
                    if not reembedding.to_move(session, way):
                        return
                _look_at_all(parts, way, threads, by, progress, partial(_tell, parts, way))
        except NotFound:
            return
        except DatabaseBusy as error:
            log.info("photos are looked at later: %s", error.message, extra={"operation": "reembed"})
        shadows.attend(parts, every, lambda side: _engine(parts, side, 1))


def _tell(parts: Parts, way: Way) -> None:
    with parts.database.reading() as session:
        found = reembedding.progress(session, way)
    agreement = _agreement(parts, way)
    parts.database.in_transaction(
        partial(
            reembedding.tell, found=found, searches=agreement.searches, agreed=agreement.agreed,
            right_source=agreement.source, right_target=agreement.target,
        )
    )  # fmt: skip


def _look_at_all(
    parts: Parts, way: Way, threads: int, by: Actor, progress: Told, tell: Callable[[], None] = lambda: None
) -> int:
    """`tell`: keeps how far it is for those who ask often, now and then."""
    parts.database.in_transaction(partial(reembedding.mark, way=way))
    with parts.database.reading() as session:
        expected = reembedding.count_waiting(session, way)
    if not expected:
        parts.database.in_transaction(reembedding.is_through)
        return 0
    engine = _engine(parts, way.target, threads)
    # Written before anything is read.
    parts.database.in_transaction(partial(reembedding.tell_run, way=way, by=by, photos=expected))
    tell()
    done, before, after = 0, -1, reembedding.FIRST
    told = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        # Once more from the beginning, until none came in meanwhile.
        while done != before or after != reembedding.FIRST:
            if after == reembedding.FIRST:
                before = done
            with parts.database.reading() as session:
                some = reembedding.waiting(session, way, after, PHOTOS_AT_ONCE)
                stored = reembedding.faces(session, [each.photo_id for each in some])
            looked = pool.map(lambda each: _look(parts, engine, each, stored[each.photo_id]), some)  # noqa: B023
            if some:
                parts.database.in_transaction(partial(reembedding.keep, looked=list(looked)))
            done += len(some)
            after = some[-1].photo_id if some else reembedding.FIRST
            progress(done, max(done, expected))
            if time.monotonic() > told + TELL_SECONDS:
                tell()
                told = time.monotonic()
    tell()
    parts.database.in_transaction(reembedding.is_through)
    return done


def _engine(parts: Parts, side: Side, threads: int) -> Engine:
    directory = Path(side.pack)
    pack = read_pack(directory)
    if contract_id(pack) != side.contract:
        raise ConfigurationError(
            f"{directory} has another pack by now ({contract_id(pack)}); put the one of {side.contract} back"
        )
    return load_engine(directory, threads=threads, memory=parts.memory, runtime=RUNTIME)


def _look(parts: Parts, engine: Engine, photo: Waiting, stored: Sequence[Stored]) -> Looked:
    if not stored:
        # Whom the other pack would find there is nobody's yet.
        return Looked(photo.photo_id, LookOutcome.DONE)
    try:
        detected = engine.analyse(parts.originals.read(photo.sha256)).faces
    except OriginalDamaged:
        return Looked(photo.photo_id, LookOutcome.DAMAGED)
    except OriginalMissing:
        return Looked(photo.photo_id, LookOutcome.MISSING)
    except (PhotoBroken, PhotoRejected):
        return Looked(photo.photo_id, LookOutcome.REFUSED)
    twin_of = pairs([each.bbox for each in stored], [each.bbox for each in detected])
    return Looked(
        photo.photo_id, LookOutcome.DONE,
        {stored[i].face_id: detected[j].embedding for i, j in twin_of.items()},
        len(detected) - len(twin_of),
    )  # fmt: skip


def status(parts: Parts) -> Status:
    """How far it is, and how the two packs agree. Raises NotFound."""
    with parts.database.reading() as session:
        way = reembedding.find(session)
        found = reembedding.progress(session, way)
        without = reembedding.without_embedding(session, way)
        unindexed = indexes.without_other(session, way.source.contract)
        percent, shadowed = reembedding.shadowed(session)
    return Status(way, found, _agreement(parts, way), without, unindexed, percent, shadowed)


def shadow(parts: Parts, percent: int, *, by: Actor) -> None:
    """Have the unit ask the other pack of so many of a hundred searches; 0: of none. It counts anew.

    Raises BadRequest, NotFound where nothing is being moved.
    """
    if not 0 <= percent <= 100:
        raise BadRequest(f"the share is {percent} percent; take 0 to 100")
    parts.database.in_transaction(partial(reembedding.want_shadows, percent=percent, by=by))


def _agreement(parts: Parts, way: Way) -> Agreement:
    agreement = Agreement()
    with parts.database.reading() as session:
        collections = reembedding.to_move(session, way)
    for collection_id, _ in collections:
        with parts.database.reading() as session:
            twins = reembedding.twins(session, collection_id, AMONG)
        _compare(twins, way, agreement)
    return agreement


def _compare(twins: Twins, way: Way, agreement: Agreement) -> None:
    """Exact: each question is compared with all."""
    persons = np.array([0 if each is None else 1 + each.int % 2**61 for each in twins.persons], np.int64)
    photos = np.array(
        [number if each is None else each.int % 2**61 for number, each in enumerate(twins.photos)]
    )
    for number in np.flatnonzero(persons)[:QUESTIONS]:
        others = photos != photos[number]
        if not (others & (persons == persons[number])).any():
            # Nobody could find them.
            continue
        found = [
            _whose(embeddings @ embeddings[number], others, persons, side.threshold)
            for embeddings, side in ((twins.own, way.source), (twins.other, way.target))
        ]
        own = int(persons[number])
        agreement.searches += 1
        agreement.source += found[0] == own
        agreement.target += found[1] == own
        agreement.agreed += found[0] == found[1]
        agreement.strangers_source += found[0] not in (own, 0)
        agreement.strangers_target += found[1] not in (own, 0)


def _whose(
    similar: reembedding.Embedding, others: np.ndarray, persons: np.ndarray, threshold: float
) -> int:  # fmt: skip
    """Whose the best match among the others is, 0: nobody's."""
    best = int(np.where(others, similar, -2).argmax())
    return int(persons[best]) if similar[best] >= threshold else 0


def switch(
    parts: Parts, *, leave_behind: int = 0, index_later: bool = False, threads: int = 1, by: Actor,
    progress: Told,
) -> Switched:  # fmt: skip
    """Exchange the embeddings of all collections for those of the other pack, collection by collection.

    Photos that came in since the last look are looked at first. Raises what `run` does, and Conflict where
    all were never looked at, where more than `leave_behind` faces would be found by nobody any more, and,
    unless `index_later`, where a large collection has no index of what the other pack made.
    """
    _check_host(parts)
    with reembedding.alone(parts.database):
        with parts.database.reading() as session:
            way = reembedding.find(session)
        if not way.through:
            raise Conflict("not all photos were looked at; run `face-pipeline reembed run` to its end first")
        look = partial(_look_at_all, parts, way, threads, by, progress)
        return _switch(parts, way, leave_behind, index_later, look, by)


def _switch(
    parts: Parts, way: Way, leave_behind: int, index_later: bool, look: Callable[[], int], by: Actor
) -> Switched:
    look()
    with _no_builder(parts):
        with parts.database.reading() as session:
            collections = reembedding.to_move(session, way)
            expected = reembedding.left_behind(session, way).all
            unindexed = indexes.without_other(session, way.source.contract)
        if expected > leave_behind:
            raise reembedding.too_many(expected, leave_behind)
        if unindexed and not index_later:
            raise Conflict(
                f"{', '.join(unindexed)}: no index yet of what the other pack made; face-indexer.service "
                "builds it, every ten minutes. Where exact searches will do until then, add --index-later"
            )
        left = 0
        for collection_id, _ in collections:
            left += _switch_one(
                parts, look,
                partial(
                    reembedding.switch,
                    way=way, collection_id=collection_id, allowed=leave_behind - left, by=by,
                ),
            )  # fmt: skip
    return Switched(way, [name for _, name in collections], left)


@contextmanager
def _no_builder(parts: Parts) -> Iterator[None]:
    """While nobody builds or measures indexes; raises DatabaseBusy where that lasts too long."""
    until = time.monotonic() + BUILDER_SECONDS
    with parts.database.single_statements() as connection:
        while True:
            with indexes.only_builder(connection) as alone:
                if alone:
                    yield
                    return
            if time.monotonic() > until:
                raise DatabaseBusy(
                    "indexes are being built or measured; try again once face-indexer.service has ended"
                )
            time.sleep(1)


def _switch_one(parts: Parts, look: Callable[[], int], exchange: Callable[[Any], int]) -> int:
    for _ in range(ROUNDS):
        try:
            return parts.database.in_transaction(exchange)
        except NotYet as error:
            late = error
            look()
    raise late


def back(
    parts: Parts, *, leave_behind: int = 0, index_later: bool = False, threads: int = 1, by: Actor,
    progress: Told,
) -> Switched:  # fmt: skip
    """Exchange the embeddings again, for those that the collections had before.

    Faces that came in since are looked at by the former pack. Where it is refused once the way is turned,
    `switch` goes on. Raises what `switch` does, and Conflict where nothing was switched.
    """
    _check_host(parts)
    with reembedding.alone(parts.database):
        way = parts.database.in_transaction(partial(reembedding.turn, by=by))
        look = partial(_look_at_all, parts, way, threads, by, progress)
        return _switch(parts, way, leave_behind, index_later, look, by)


def end(parts: Parts, *, for_good: bool, by: Actor) -> None:
    """Forget the embeddings of the other pack.

    Raises BadRequest where collections were switched, unless it is `for_good`: there is no way back then.
    """
    with reembedding.alone(parts.database):
        with parts.database.reading() as session:
            way = reembedding.find(session)
            moved = reembedding.progress(session, way).moved
            without = reembedding.without_embedding(session, way)
        if moved and not for_good:
            raise BadRequest(
                f"collections were switched ({', '.join(moved)}), and there is no way back without the "
                f"embeddings that this forgets, also of the {without} faces that have no other: where that "
                "is meant, add --for-good"
            )
        with _no_builder(parts):
            parts.database.in_transaction(partial(reembedding.end, by=by))
