"""The statements that an upload runs for its photos and a worker for each, built and planned once: to build
one costs more than to run it.

Each is one round trip. Rows of any number are one JSON parameter, so that the statement stays the same.
"""

from __future__ import annotations

from typing import cast as cast_type

from sqlalchemy import (
    ColumnElement,
    Integer,
    Interval,
    LargeBinary,
    Table,
    TableValuedAlias,
    Text,
    and_,
    any_,
    bindparam,
    case,
    cast,
    column,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSON, UUID
from sqlalchemy.dialects.postgresql import insert as upsert

from face_pipeline.store.models import (
    WAITING,
    BatchPhoto,
    Collection,
    Event,
    EventKind,
    Face,
    Photo,
    Reason,
    State,
    Thumbnail,
)
from face_pipeline.store.prepared import Prepared

_photos, _faces, _collections, _events, _thumbnails, _batch_photos = (
    cast_type(Table, model.__table__) for model in (Photo, Face, Collection, Event, Thumbnail, BatchPhoto)
)


def _rows(parameter: str, name: str, table: Table, *columns: str) -> TableValuedAlias:
    """The rows of a parameter, a list of JSON objects, under a name; types are those of the columns."""
    typed = (column(each, table.c[each].type) for each in columns)
    return (
        func.json_to_recordset(bindparam(parameter, type_=JSON))
        .table_valued(*typed)
        .render_derived(name, with_types=True)
    )


def _is_in(*states: State) -> ColumnElement[bool]:
    """Whether a photo that is found by its id is in one of these states, in words that no index answers.

    A plan that is made while there are few photos, and kept, would take that of unfinished ones, and walk
    over every photo that was in the state since the table was vacuumed.
    """
    return or_(*(_photos.c.state.is_not_distinct_from(each) for each in states))


_sent = _rows(
    "new_photos", "sent", _photos, "id", "sha256", "filename", "media_type", "byte_size", "width", "height"
)

# Of some hashes, the photos that a collection has.
FOUND = Prepared(
    select(_photos.c.id, _photos.c.sha256, _photos.c.state).where(
        _photos.c.collection_id == bindparam("in_collection"),
        _photos.c.sha256 == any_(bindparam("hashes", type_=ARRAY(Text))),
    )
)

# Of photos that are not in the collection yet; rows are written in the order of the parameter.
ADD_PHOTOS = Prepared(
    upsert(_photos)
    .from_select(
        ["collection_id", "batch_id", "request_id", "key_id", "state", "attempts", *_sent.c.keys()],
        select(
            cast(bindparam("in_collection"), _photos.c.collection_id.type),
            cast(bindparam("in_batch"), UUID),
            cast(bindparam("by_request"), Text),
            cast(bindparam("by_key"), UUID),
            literal(State.RECEIVED, _photos.c.state.type),
            literal(0, Integer),
            *_sent.c,
        ),
        include_defaults=False,
    )
    .on_conflict_do_nothing(index_elements=["collection_id", "sha256"])
)

_named = (
    func.json_array_elements_text(bindparam("photo_ids", type_=JSON)).table_valued("value").render_derived()
)

ADD_TO_BATCH = Prepared(
    upsert(_batch_photos)
    .from_select(
        ["batch_id", "photo_id"],
        select(cast(bindparam("in_batch"), UUID), cast(_named.c.value, UUID)),
        include_defaults=False,
    )
    .on_conflict_do_nothing()
)

# A worker may have been quicker: only waiting rows change, locked in the order that all keep.
MARK_QUEUED = Prepared(
    update(_photos)
    .where(
        _photos.c.id.in_(
            select(_photos.c.id)
            .where(
                _photos.c.id == any_(bindparam("queued_photos", type_=ARRAY(UUID))),
                _is_in(*WAITING),
            )
            .order_by(_photos.c.sha256, _photos.c.id)
            .with_for_update(key_share=True)
        )
    )
    .values(state=State.QUEUED, queued_at=func.now())
    # A mark that a crash of the database forgets costs a second message; nothing waits for its disk.
    .returning(func.set_config("synchronous_commit", "off", True))
)

CLAIM = Prepared(
    update(_photos)
    .where(
        _photos.c.id == bindparam("photo_id"),
        _is_in(*WAITING),
        _photos.c.collection_id == _collections.c.id,
        # One that is being moved from or to the worker's pack waits for the workers of the right one.
        or_(
            _collections.c.contract_id == bindparam("in_contract"),
            _collections.c.other_contract_id.is_distinct_from(bindparam("in_contract")),
        ),
    )
    .values(
        state=State.PROCESSING,
        claim=bindparam("token"),
        worker=bindparam("worker_name"),
        attempts=_photos.c.attempts + 1,
        started_at=func.now(),
        lease_until=func.now() + bindparam("lease", type_=Interval()),
    )
    .returning(
        _photos.c.collection_id,
        _collections.c.contract_id,
        _photos.c.sha256,
        _photos.c.request_id,
        # A claim that a crash of the database forgets costs a second try; nothing waits for its disk.
        func.set_config("synchronous_commit", "off", True),
    )
)

_collection = bindparam("in_collection", type_=_collections.c.id.type)
_state, _count = bindparam("end_state", type_=_photos.c.state.type), bindparam("new_count", type_=Integer)

# The person of the row at its end: a later upload may have named the photo while a worker had it.
_unnamed = and_(_state == State.DONE, _photos.c.person_id.is_not(None), _count != 1)

# Whoever moves the collection to another pack waits for this, or this for them, and then it is no more.
_bound = (
    select(_collections.c.id)
    .where(
        _collections.c.id == _collection,
        _collections.c.contract_id == bindparam("in_contract"),
    )
    .with_for_update(read=True, key_share=True)
    .cte("bound")
)

_ended = (
    update(_photos)
    .where(
        select(_bound.c.id).exists(),
        _photos.c.id == bindparam("photo_id"),
        _photos.c.claim == bindparam("token"),
        _is_in(State.PROCESSING),
    )
    .values(
        state=_state,
        reason_code=case((_unnamed, Reason.PERSON_NOT_ASSIGNED), else_=cast(bindparam("code"), Text)),
        reason_message=case(
            (_unnamed, cast(bindparam("why_unnamed"), Text)), else_=cast(bindparam("message"), Text)
        ),
        claim=None,
        lease_until=None,
        finished_at=func.now(),
    )
    .returning(_photos.c.id, _photos.c.person_id, _photos.c.reason_code)
    .cte("ended")
)

_new = _rows(
    "new_faces", "new", _faces,
    "id", "position", "bbox", "landmarks", "detection_score", "quality", "embedding",
)  # fmt: skip

_written = (
    insert(_faces)
    .from_select(
        ["photo_id", "collection_id", "person_id", *_new.c.keys()],
        select(
            _ended.c.id,
            _collection,
            case((_count == 1, _ended.c.person_id), else_=null()),
            *_new.c,
        ).select_from(_ended.join(_new, true())),
        include_defaults=False,
    )
    .returning(_faces.c.id, _faces.c.photo_id, _faces.c.person_id, _faces.c.position)
    .cte("written")
)

# A new version, which no cached answer carries yet. The row stays locked until the commit.
_counted = (
    update(_collections)
    .where(
        _collections.c.id == _collection,
        _count > 0,
        select(_ended.c.id).exists(),
    )
    .values(
        version=_collections.c.version + 1,
        face_count=_collections.c.face_count + _count,
    )
    .cte("counted")
)

# The photo's own event, and one for each face.
_shown = union_all(
    select(
        cast(-1, Integer).label("position"),
        case((_state == State.DONE, EventKind.PHOTO_DONE), else_=EventKind.PHOTO_FAILED).label("kind"),
        _ended.c.id.label("photo_id"),
        cast(null(), UUID).label("face_id"),
        cast(null(), UUID).label("person_id"),
        _count.label("face_count"),
        _ended.c.reason_code.label("reason_code"),
    ),
    select(
        _written.c.position,
        case((_written.c.person_id.is_not(None), EventKind.PERSON_SEEN), else_=EventKind.FACE_UNKNOWN),
        _written.c.photo_id,
        _written.c.id,
        _written.c.person_id,
        cast(null(), Integer),
        cast(null(), Text),
    ),
).subquery("shown")

_told = (
    insert(_events)
    .from_select(
        [
            "collection_id",
            *(column.name for column in _shown.c if column.name != "position"),
        ],
        select(
            _collection,
            *(column for column in _shown.c if column.name != "position"),
        ).order_by(_shown.c.position),
        include_defaults=False,
    )
    .cte("told")
)

# Of a photo that failed, or where none could be made, there is none.
_picture = cast(bindparam("picture"), LargeBinary)
_pictured = upsert(_thumbnails).from_select(
    ["photo_id", "recipe", "picture"],
    select(_ended.c.id, cast(bindparam("recipe"), Integer), _picture).where(_picture.is_not(None)),
    include_defaults=False,
)
_kept = _pictured.on_conflict_do_update(
    index_elements=["photo_id"],
    set_={"recipe": _pictured.excluded.recipe, "picture": _pictured.excluded.picture},
).cte("kept")

# 1 when the claim held, 0 when it was lost, or the collection moved to another pack, and nothing is written.
END = Prepared(select(func.count()).select_from(_ended).add_cte(_written, _counted, _told, _kept))
