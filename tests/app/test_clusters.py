"""Groups of unknown faces: who is put together, and what happens to a group as photos come and go."""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from face_pipeline.engine import load_engine, read_pack
from face_pipeline.ops import clusterer, indexer
from face_pipeline.parts import Parts
from face_pipeline.store import collections, grouping, indexes
from face_pipeline.store.models import (
    Batch,
    Cluster,
    ClusterFace,
    ClusterRun,
    Collection,
    Face,
    Person,
    Photo,
)
from face_pipeline.store.rights import Role
from sqlalchemy import delete, event, insert, select, text, update

from tests import packs
from tests.installation import MAKE_PARTS, Installation, as_role
from tests.photos import LABELLED, labelled

DIMENSION = 128
Rows = npt.NDArray[np.float32]


def cluster(parts: Parts) -> clusterer.Looked:
    """As its unit does."""
    with as_role(parts, Role.UPKEEP) as upkeep:
        return clusterer.cluster(upkeep)


def unit(rows: npt.NDArray[Any]) -> Rows:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)


def people(number: int, seed: int) -> Rows:
    return unit(np.random.default_rng(seed).normal(size=(number, DIMENSION)))


def faces_of(person: Rows, number: int, seed: int, cosine: float = 0.98) -> Rows:
    """Faces of that cosine to the person's own middle: 0.96 to each other, as dlib's are."""
    random = np.random.default_rng(seed).normal(size=(number, DIMENSION))
    across = unit(random - (random @ person)[:, None] * person)
    return np.asarray(cosine * person + np.sqrt(1 - cosine**2) * across, np.float32)


def put(
    parts: Parts, rows: Rows, *, collection: str = "default", quality: float = 0.8, pack: Any = None
) -> list[uuid.UUID]:
    """A photo with these faces; their ids."""
    batch, photo = uuid.uuid4(), uuid.uuid4()
    ids = [uuid.uuid4() for _ in rows]
    with parts.database.transaction() as session:
        place = collections.open_collection(session, collection, pack or parts.pack)
        session.execute(insert(Batch).values(id=batch, collection_id=place.id))
        session.execute(
            insert(Photo).values(
                id=photo, collection_id=place.id, batch_id=batch, sha256=uuid.uuid4().hex * 2,
                filename="a.jpg", media_type="image/jpeg", byte_size=1, width=1, height=1, state="done",
                attempts=1,
            )
        )  # fmt: skip
        session.execute(
            insert(Face),
            [
                {
                    "id": face, "photo_id": photo, "collection_id": place.id, "position": position,
                    "bbox": [0.0, 0.0, 1.0, 1.0], "landmarks": [[0.0, 0.0]] * 5, "detection_score": 0.9,
                    "quality": quality, "embedding": row,
                }
                for position, (face, row) in enumerate(zip(ids, rows, strict=True))
            ],
        )  # fmt: skip
        touch(session, place.id, len(ids))
    return ids


def touch(session: Any, collection_id: int, more: int = 0) -> None:
    """What every change of faces does."""
    session.execute(
        update(Collection)
        .where(Collection.id == collection_id)
        .values(version=Collection.version + 1, face_count=Collection.face_count + more)
    )


def groups(parts: Parts) -> dict[uuid.UUID, set[uuid.UUID]]:
    """The faces of each group, as they count."""
    found: dict[uuid.UUID, set[uuid.UUID]] = {}
    with parts.database.reading() as session:
        for row in session.execute(
            select(ClusterFace.cluster_id, Face.id)
            .join(Face, grouping.member())
            .where(ClusterFace.cluster_id.is_not(None))
        ):
            found.setdefault(row.cluster_id, set()).add(row.id)
    return found


def sets(parts: Parts) -> set[frozenset[uuid.UUID]]:
    return {frozenset(faces) for faces in groups(parts).values()}


def as_sets(ids: Iterable[Sequence[uuid.UUID]]) -> set[frozenset[uuid.UUID]]:
    return {frozenset(each) for each in ids}


def change(parts: Parts, statement: Any) -> None:
    """As another action does it, which knows nothing of groups."""
    with parts.database.transaction() as session:
        session.execute(statement)
        for collection_id in session.scalars(select(Collection.id)).all():
            touch(session, collection_id)


def name(parts: Parts, face_ids: Iterable[uuid.UUID], whose: uuid.UUID | None) -> None:
    change(parts, update(Face).where(Face.id.in_(list(face_ids))).values(person_id=whose))


def add_person(parts: Parts, collection: str = "default") -> uuid.UUID:
    person_id = uuid.uuid4()
    with parts.database.transaction() as session:
        place = collections.open_collection(session, collection, parts.pack)
        session.execute(insert(Person).values(collection_id=place.id, name=str(person_id), id=person_id))
    return person_id


@pytest.fixture
def parts(parts: Parts, clean: Installation) -> Parts:
    """Of an installation without photos."""
    return parts


def test_faces_of_one_person_are_one_group_and_strangers_are_in_none(parts: Parts) -> None:
    everybody = people(40, 1)
    theirs = [put(parts, faces_of(each, 2 + n % 5, n)) for n, each in enumerate(everybody[:30])]
    put(parts, everybody[30:])
    cluster(parts)
    assert sets(parts) == as_sets(theirs)


def test_a_blurred_face_is_in_no_group(parts: Parts) -> None:
    person = people(1, 1)[0]
    good = put(parts, faces_of(person, 3, 1))
    put(parts, faces_of(person, 3, 2), quality=0.2)
    cluster(parts)
    cluster(parts)
    assert sets(parts) == as_sets([good])


def test_a_group_keeps_its_id_while_it_grows(parts: Parts) -> None:
    one, other, third = people(3, 1)
    first = put(parts, faces_of(one, 4, 1))
    lonely = put(parts, faces_of(third, 1, 2))
    cluster(parts)
    (group,) = groups(parts)
    more = put(parts, faces_of(one, 2, 3))
    others = put(parts, faces_of(other, 2, 4))
    late = put(parts, faces_of(third, 1, 5))
    cluster(parts)
    assert groups(parts)[group] == {*first, *more}
    assert sets(parts) == as_sets([[*first, *more], others, [*lonely, *late]])


def between(one: Rows, other: Rows) -> Rows:
    """The middle of two."""
    return unit((one + other)[None])


def two_halves() -> tuple[Rows, Rows]:
    """One person's faces of two kinds, whose middles are a little too far from each other."""
    one, across = people(2, 1)
    across = unit(across - (across @ one) * one)
    other = unit(0.91 * one + np.sqrt(1 - 0.91**2) * across)
    return one, other


@pytest.mark.parametrize("hide_the_larger", [True, False])
def test_of_two_groups_that_become_one_the_larger_stays_and_a_hidden_one_stays_hidden(
    parts: Parts, hide_the_larger: bool
) -> None:
    one, other = two_halves()
    many, few = put(parts, faces_of(one, 5, 1, 0.999)), put(parts, faces_of(other, 3, 2, 0.999))
    cluster(parts)
    assert sets(parts) == as_sets([many, few])
    larger, smaller = (
        next(key for key, faces in groups(parts).items() if faces == set(x)) for x in (many, few)
    )
    hidden = larger if hide_the_larger else smaller
    change(parts, update(Cluster).where(Cluster.id == hidden).values(hidden=True))
    link = put(parts, between(one, other))
    cluster(parts)
    assert groups(parts) == {larger: {*many, *few, *link}}
    with parts.database.reading() as session:
        assert session.scalars(select(Cluster.hidden)).all() == [True]


def test_one_face_between_two_people_does_not_make_them_one(parts: Parts) -> None:
    """DBSCAN alone would: the face is near enough to both."""
    one, across = people(2, 1)
    across = unit(across - (across @ one) * one)
    other = unit(0.75 * one + np.sqrt(1 - 0.75**2) * across)
    ones, others = put(parts, faces_of(one, 5, 1, 0.999)), put(parts, faces_of(other, 5, 2, 0.999))
    cluster(parts)
    (blurred,) = put(parts, between(one, other))
    cluster(parts)
    found = groups(parts)
    assert len(found) == 2
    assert {frozenset(faces - {blurred}) for faces in found.values()} == as_sets([ones, others])


def test_a_run_without_news_asks_one_question_and_loads_nothing(parts: Parts) -> None:
    put(parts, faces_of(people(1, 1)[0], 4, 1))
    assert cluster(parts) == clusterer.Looked(faces=4, collections=1)
    asked: list[str] = []

    def remember(_c: Any, _u: Any, statement: str, *_: Any) -> None:
        asked.append(statement)

    pools = parts.database.engine, parts.database._autocommit
    for pool in pools:
        event.listen(pool, "before_cursor_execute", remember)
    try:
        assert clusterer.cluster(parts) == clusterer.Looked()
    finally:
        for pool in pools:
            event.remove(pool, "before_cursor_execute", remember)
    assert [each for each in asked if "advisory" not in each and each != "SELECT 1"] == [asked[1]]
    program = f"{MAKE_PARTS}\nimport sys\nfrom face_pipeline.ops.clusterer import cluster\ncluster(parts)\n"
    done = subprocess.run(
        [sys.executable, "-c", program + "print('sklearn' in sys.modules)"],
        env=_environment(parts), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "False\n"


def _environment(parts: Parts) -> dict[str, str]:
    import os

    from tests.photos import ROOT

    return {**os.environ, "PYTHONPATH": str(ROOT / "app")}


def test_a_face_that_is_named_elsewhere_leaves_its_group_and_comes_back(parts: Parts) -> None:
    faces = put(parts, faces_of(people(1, 1)[0], 4, 1))
    cluster(parts)
    (group,) = groups(parts)
    anna = add_person(parts)
    name(parts, faces[:1], anna)
    assert groups(parts) == {group: set(faces[1:])}
    cluster(parts)
    assert groups(parts) == {group: set(faces[1:])}
    change(parts, delete(Person).where(Person.id == anna))
    cluster(parts)
    assert groups(parts) == {group: set(faces)}


def test_a_group_whose_faces_all_have_names_goes_and_is_made_again_without_them(parts: Parts) -> None:
    faces = put(parts, faces_of(people(1, 1)[0], 4, 1))
    cluster(parts)
    name(parts, faces, add_person(parts))
    cluster(parts)
    with parts.database.reading() as session:
        assert session.scalars(select(Cluster.id)).all() == []
    name(parts, faces, None)
    cluster(parts)
    assert sets(parts) == as_sets([faces])


def test_erased_faces_are_gone_from_their_group(parts: Parts) -> None:
    person = people(1, 1)[0]
    first, second = put(parts, faces_of(person, 3, 1)), put(parts, faces_of(person, 2, 2))
    cluster(parts)
    with parts.database.reading() as session:
        photo = session.scalar(select(Face.photo_id).where(Face.id == first[0]))
    change(parts, delete(Photo).where(Photo.id == photo))
    assert sets(parts) == as_sets([second])
    change(parts, delete(Photo))
    cluster(parts)
    with parts.database.reading() as session:
        assert session.scalars(select(Cluster.id)).all() == []


def test_faces_that_move_to_another_collection_are_grouped_there(parts: Parts) -> None:
    person = people(1, 1)[0]
    stay, go = put(parts, faces_of(person, 3, 1)), put(parts, faces_of(person, 2, 2))
    there = put(parts, faces_of(person, 2, 3), collection="other")
    cluster(parts)
    with parts.database.reading() as session:
        photo = session.scalar(select(Face.photo_id).where(Face.id == go[0]))
        other = session.scalar(select(Collection.id).where(Collection.name == "other"))
    change(parts, update(Photo).where(Photo.id == photo).values(collection_id=other))
    change(parts, update(Face).where(Face.photo_id == photo).values(collection_id=other))
    assert sets(parts) == as_sets([stay, there])
    cluster(parts)
    assert sets(parts) == as_sets([stay, [*there, *go]])


def test_groups_of_two_collections_have_nothing_to_do_with_each_other(parts: Parts) -> None:
    person = people(1, 1)[0]
    here = put(parts, faces_of(person, 3, 1))
    there = put(parts, faces_of(person, 3, 2), collection="other")
    cluster(parts)
    assert sets(parts) == as_sets([here, there])


def test_a_run_that_is_killed_goes_on_where_it_was(parts: Parts) -> None:
    everybody = people(12, 1)
    theirs = [put(parts, faces_of(each, 5, n)) for n, each in enumerate(everybody)]
    program = f"""{MAKE_PARTS}
import os, signal
from face_pipeline.ops import clusterer
from face_pipeline.store import grouping
clusterer.FACES_AT_ONCE = 10
write, written = grouping.write, []
def write_or_die(*arguments):
    write(*arguments)
    written.append(1)
    if len(written) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
grouping.write = write_or_die
clusterer.cluster(parts)
"""
    killed = subprocess.run([sys.executable, "-c", program], env=_environment(parts), check=False)
    assert killed.returncode == -signal.SIGKILL
    with parts.database.reading() as session:
        looked_at = session.scalars(select(ClusterFace.face_id)).all()
        assert session.scalars(select(ClusterRun.version)).all() == []
    assert len(looked_at) == 30, "three parts of the run are kept, the fourth is not"
    before = groups(parts)
    assert cluster(parts).faces == 30
    assert sets(parts) == as_sets(theirs)
    assert before.keys() <= groups(parts).keys()


def test_a_run_that_has_too_much_to_do_is_continued_by_the_next(
    monkeypatch: pytest.MonkeyPatch, parts: Parts
) -> None:
    monkeypatch.setattr(clusterer, "FACES_OF_A_RUN", 20)
    monkeypatch.setattr(clusterer, "FACES_AT_ONCE", 8)
    theirs = [put(parts, faces_of(each, 5, n)) for n, each in enumerate(people(10, 1))]
    assert [cluster(parts).faces for _ in range(4)] == [20, 20, 10, 0]
    assert sets(parts) == as_sets(theirs)


def test_runs_take_turns(parts: Parts) -> None:
    put(parts, faces_of(people(1, 1)[0], 3, 1))
    with parts.database.single_statements() as connection, grouping.only_clusterer(connection) as alone:
        assert alone
        assert cluster(parts) == clusterer.Looked()
    assert cluster(parts).faces == 3


def test_a_run_that_fails_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch, parts: Parts) -> None:
    put(parts, faces_of(people(1, 1)[0], 3, 1))

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(grouping, "neighbours", fail)
        with pytest.raises(RuntimeError):
            cluster(parts)
    assert cluster(parts).faces == 3


def test_what_happens_to_faces_during_a_run_counts(monkeypatch: pytest.MonkeyPatch, parts: Parts) -> None:
    """A face is named, one erased and a group gone between the look at them and what is written of it."""
    one, other = people(2, 1)
    old = put(parts, faces_of(other, 2, 3))
    cluster(parts)
    faces, more = put(parts, faces_of(one, 4, 1)), put(parts, faces_of(other, 2, 2))
    anna = add_person(parts)
    write = grouping.write

    def late(*arguments: Any) -> None:
        name(parts, faces[:1], anna)
        change(parts, delete(Face).where(Face.id == faces[1]))
        change(parts, delete(Cluster))
        monkeypatch.setattr(grouping, "write", write)
        write(*arguments)

    monkeypatch.setattr(grouping, "write", late)
    cluster(parts)
    assert sets(parts) == as_sets([faces[2:], more])
    cluster(parts)
    assert sets(parts) == as_sets([faces[2:], [*more, *old]])


def test_a_collection_that_goes_during_a_run_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, parts: Parts
) -> None:
    put(parts, faces_of(people(1, 1)[0], 4, 1))
    write = grouping.write

    def late(*arguments: Any) -> None:
        with parts.database.transaction() as session:
            session.execute(text("TRUNCATE batch_photos, photos, batches CASCADE"))
            session.execute(delete(Collection))
        write(*arguments)

    monkeypatch.setattr(grouping, "write", late)
    cluster(parts)
    with parts.database.reading() as session:
        for table in (Cluster.id, ClusterFace.face_id, ClusterRun.collection_id):
            assert session.scalars(select(table)).all() == []


def test_a_large_collection_is_grouped_by_its_index(monkeypatch: pytest.MonkeyPatch, parts: Parts) -> None:
    monkeypatch.setattr(indexes, "INDEX_FROM_FACES", 500)
    everybody = people(300, 1)
    theirs = [put(parts, faces_of(each, 3, n)) for n, each in enumerate(everybody)]
    assert indexer.build_indexes(parts)
    asked: list[str] = []

    def remember(_c: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "<#>" in statement:
            asked.append(cursor.mogrify(statement, parameters).decode())

    with parts.database.reading() as session:
        pool = session.get_bind().engine
    event.listen(pool, "before_cursor_execute", remember)
    try:
        clusterer.cluster(parts)
    finally:
        event.remove(pool, "before_cursor_execute", remember)
    assert sets(parts) == as_sets(theirs)
    settings, _, question = asked[0].partition("; ")
    explained = f"{settings}; EXPLAIN {question}".replace("%", "%%")
    with parts.database.reading() as session:
        plan = [row[0] for row in session.connection().exec_driver_sql(explained)]
    assert any("faces_hnsw" in line for line in plan), plan


# From left to right, where several are on one photo.
SEVERAL = {
    "obama_and_biden.jpg": ["biden", "obama", "somebody"],
    "harington_and_leslie.jpg": ["leslie", "harington"],
    "two_people.jpg": ["obama", "biden"],
}


def test_labelled_photos_are_grouped_by_who_is_on_them(parts: Parts) -> None:
    """Pairs of faces: of those in one group almost all, and of those of one person most."""
    directory = packs.insightface_pack()
    pack = read_pack(directory)
    settings = parts.settings.model_copy(
        update={"models_dir": directory.parent, "model_pack": directory.name, "cluster_min_quality": 0.3}
    )
    engine = load_engine(directory, threads=1)
    whose: dict[uuid.UUID, str] = {}
    for file, names in labelled().items():
        found = sorted(engine.analyse((LABELLED / file).read_bytes()).faces, key=lambda face: face.bbox[0])
        ids = put(parts, np.stack([face.embedding for face in found]), pack=pack)
        whose |= zip(ids, SEVERAL.get(file, names), strict=True)
    other = Parts(settings)
    assert clusterer.cluster(other).faces == len(whose)
    other.database.close()
    of = {face: group for group, faces in groups(parts).items() for face in faces}
    pairs = list(combinations(whose, 2))
    together = [each for each in pairs if each[0] in of and of[each[0]] == of.get(each[1])]
    right = [each for each in together if whose[each[0]] == whose[each[1]]]
    wanted = [each for each in pairs if whose[each[0]] == whose[each[1]]]
    assert len(right) >= 0.98 * len(together), Counter(whose[each[0]] for each in together)
    assert len(right) >= 0.9 * len(wanted)
