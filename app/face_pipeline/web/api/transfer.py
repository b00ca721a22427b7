"""Whole collections, out and in; and one person, out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, request
from werkzeug.datastructures import FileStorage

from face_pipeline.actions import transfer
from face_pipeline.errors import BadRequest, Unprocessable
from face_pipeline.store import events, models, person_exports
from face_pipeline.store.exports import Place, Stage
from face_pipeline.store.imports import Outcome, Verdict
from face_pipeline.store.models import Scope
from face_pipeline.telemetry.metrics import web as metrics
from face_pipeline.web.api import cursors, files, parameters, records, views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import answers
from face_pipeline.web.contract import transfer as contract
from face_pipeline.web.current import actor, parts
from face_pipeline.words import counted

bp = Blueprint("transfer", __name__)

# Of a number of an embedding: so many bring back the very half-precision number.
DECIMALS = 9


@bp.get("/collections/<collection>/export")
@requires(Scope.ADMIN)
def give(collection: str) -> Response:
    query = parameters.read(contract.ExportQuery, request.args)
    place = cursors.read(query.cursor, _place)[0] if query.cursor is not None else Place()
    page = transfer.export(parts(), collection, limit=query.limit, place=place, by=actor())
    return views.answer(
        contract.ExportPage.model_construct(
            format=contract.FORMAT,
            version=contract.VERSION,
            collection=_collection(page.collection),
            records=[
                *map(_person, page.persons),
                *(_photo(each, each.faces) for each in page.photos),
                *map(_alone, page.faces),
            ],
            next_cursor=cursors.make(f"{page.following.stage}:{page.following.after or ''}")
            if page.following
            else None,
        )
    )


def _place(value: Any) -> Place:
    stage, _, after = cursors.text(value).partition(":")
    if not after:
        return Place(Stage(stage))
    return Place(Stage(stage), after if stage == Stage.PHOTOS else cursors.identifier(after))


@bp.get("/persons/<person_id>/export")
@requires(Scope.ADMIN)
def give_person(person_id: str) -> Response:
    query = parameters.read(contract.ExportQuery, request.args)
    begin = person_exports.Place()
    place = cursors.read(query.cursor, _person_place)[0] if query.cursor is not None else begin
    wanted = parameters.identifier(person_id, what="person")
    page = transfer.export_person(parts(), wanted, limit=query.limit, place=place, by=actor())
    return views.answer(
        contract.PersonExportPage.model_construct(
            format=contract.PERSON_FORMAT,
            version=contract.VERSION,
            collection=_collection(page.person.collection),
            records=[
                *([_person(page.person)] if page.first else []),
                *map(_merge, page.merges),
                *(_photo(each, page.faces.get(each.id, ()), of=wanted) for each in page.photos),
                *map(_alone, page.faces.get(None, ())),
                *map(_event, page.events),
                *map(_entry, page.entries),
            ],
            next_cursor=_cursor(page.following) if page.following else None,
        )
    )


def _cursor(place: person_exports.Place) -> str:
    after = place.after
    if isinstance(after, events.Place):
        return cursors.make(f"{place.stage}:{after.xid}:{after.number}")
    return cursors.make(f"{place.stage}:{'' if after is None else after}")


def _person_place(value: Any) -> person_exports.Place:
    stage, _, after = cursors.text(value).partition(":")
    found = person_exports.Stage(stage)
    return person_exports.Place(found, _AFTER[found](after) if after else None)


def _number(text: str) -> int:
    number = cursors.number(int(text))
    if number < 0:
        raise ValueError
    return number


def _event_place(text: str) -> events.Place:
    xid, _, number = text.partition(":")
    return events.Place(_number(xid), _number(number))


# How what is behind the stage in a cursor is read.
_AFTER: dict[person_exports.Stage, Callable[[str], person_exports.After]] = {
    person_exports.Stage.PERSON: cursors.identifier,
    person_exports.Stage.PHOTOS: cursors.text,
    person_exports.Stage.FACES: cursors.identifier,
    person_exports.Stage.EVENTS: _event_place,
    person_exports.Stage.AUDIT: _number,
}


def _collection(row: models.Collection) -> contract.ExportedCollection:
    return contract.ExportedCollection.model_construct(
        name=row.name,
        contract_id=row.contract_id,
        dimension=row.dimension,
        created_at=row.created_at.isoformat(),
    )


def _person(row: models.Person) -> contract.ExportedPerson:
    return contract.ExportedPerson.model_construct(
        kind="person",
        id=str(row.id),
        name=row.name,
        external_id=row.external_id,
        metadata=row.details,
        created_at=row.created_at.isoformat(),
        updated_at=row.updated_at.isoformat(),
    )


def _photo(
    row: models.Photo, faces: Sequence[models.Face], *, of: UUID | None = None
) -> contract.ExportedPhoto:
    """`of`: nothing of anybody else's is told."""
    person_id = row.person_id if of in (None, row.person_id) else None
    reason = None
    if row.reason_code is not None:
        reason = answers.Reason.model_construct(code=row.reason_code, message=row.reason_message or "")
    return contract.ExportedPhoto.model_construct(
        kind="photo",
        id=str(row.id),
        sha256=row.sha256,
        filename=row.filename,
        media_type=row.media_type,
        byte_size=row.byte_size,
        width=row.width,
        height=row.height,
        state=row.state,
        person_id=_id(person_id),
        attempts=row.attempts,
        reason=reason,
        received_at=row.received_at.isoformat(),
        finished_at=row.finished_at.isoformat() if row.finished_at else None,
        faces=[_face(each) for each in faces],
    )


def _face(row: models.Face) -> contract.FaceOfExport:
    return contract.FaceOfExport.model_construct(**_face_fields(row))


def _alone(row: models.Face) -> contract.ExportedFace:
    return contract.ExportedFace.model_construct(kind="face", **_face_fields(row))


def _face_fields(row: models.Face) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "person_id": _id(row.person_id),
        "bbox": row.bbox,
        "landmarks": row.landmarks,
        "detection_score": row.detection_score,
        "quality": row.quality,
        "embedding": [round(number, DECIMALS) for number in row.embedding],
    }


def _merge(row: models.Merge) -> contract.ExportedMerge:
    return contract.ExportedMerge.model_construct(
        kind="merge",
        id=str(row.id),
        merged_at=row.merged_at.isoformat(),
        undone_at=row.undone_at.isoformat() if row.undone_at else None,
        removed={name: row.removed.get(name) for name in ("id", "name", "external_id", "metadata")},
    )


def _event(row: models.Event) -> contract.ExportedEvent:
    return contract.ExportedEvent.model_construct(
        kind="event",
        id=str(row.id),
        event=row.kind,
        at=row.at.isoformat(),
        photo_id=str(row.photo_id),
        face_id=_id(row.face_id),
    )


def _entry(row: models.AuditEntry) -> contract.ExportedEntry:
    return contract.ExportedEntry.model_construct(
        kind="audit",
        id=row.id,
        at=row.at.isoformat(),
        action=row.action,
        subject=row.subject or "",
        outcome=models.Outcome(row.outcome),
        actor_kind=models.ActorKind(row.actor_kind),
        actor_id=_id(row.actor_id),
    )


def _id(value: UUID | None) -> str | None:
    return str(value) if value else None


@bp.post("/collections/<collection>/import")
@requires(Scope.ADMIN)
def take(collection: str) -> Response:
    form = parameters.read(contract.ImportForm, _form())
    lines = _lines(files.files_of(request, "records"))
    originals = {file.filename: file for file in files.files_of(request, "originals")}

    def original(sha256: str) -> bytes | None:
        if sha256 not in originals:
            return None
        # A request may name one photo twice.
        originals[sha256].stream.seek(0)
        return files.read(originals[sha256])

    read = {number: _read(line) for number, line in lines}
    good = {number: each for number, each in read.items() if not isinstance(each, records.Malformed)}
    told = transfer.take(
        parts(), collection, [record for _, record in good.values()], original,
        contract=form.contract_id, reprocess=form.reprocess == "true", by=actor(),
    )  # fmt: skip
    verdicts = dict(zip(good, told, strict=True))
    metrics.files_uploaded.inc(
        sum(
            kind == "photo" and verdicts[number].outcome is Outcome.MADE for number, (kind, _) in good.items()
        )
    )
    return views.answer(
        contract.Imported.model_construct(
            collection=collection,
            records=[_told(number, each, verdicts.get(number)) for number, each in read.items()],
        )
    )


def _form() -> dict[str, str]:
    if "contract_id" not in request.form:
        raise BadRequest("send the contract_id of the export in a form field", code="parameter")
    return request.form.to_dict()


def _lines(sent: Sequence[FileStorage]) -> list[tuple[int, bytes]]:
    """The lines that are not empty, with their numbers."""
    if len(sent) != 1:
        raise BadRequest("send one file of lines of JSON in the form field 'records'", code="parameter")
    data = sent[0].stream.read(contract.RECORDS_MAX_BYTES + 1)
    if len(data) > contract.RECORDS_MAX_BYTES:
        raise parameters.BodyTooLarge(
            f"the records of one request have at most {contract.RECORDS_MAX_BYTES} bytes; send fewer"
        )
    found = [(number, line) for number, line in enumerate(data.split(b"\n"), 1) if line.strip()]
    if len(found) > contract.LINES_MOST:
        raise Unprocessable(
            f"one request imports {counted(contract.LINES_MOST, 'record')}, this one has {len(found)}; send "
            "them in several",
            code="too_many_records",
        )
    return found


def _read(line: bytes) -> tuple[str, transfer.Record] | records.Malformed:
    try:
        return records.read(line)
    except records.Malformed as error:
        return error


def _told(
    number: int, line: tuple[str, transfer.Record] | records.Malformed, verdict: Verdict | None
) -> contract.ImportedRecord:
    if isinstance(line, records.Malformed) or verdict is None:
        assert isinstance(line, records.Malformed)
        return contract.ImportedRecord.model_construct(
            line=number, kind=line.kind, id=line.id, kept_as=None, outcome=Outcome.REFUSED, code=line.code,
            message=line.message,
        )  # fmt: skip
    kind, record = line
    given = record.record.id if isinstance(record, transfer.GivenPhoto) else record.id
    return contract.ImportedRecord.model_construct(
        line=number, kind=kind, id=str(given), kept_as=_id(verdict.id), outcome=verdict.outcome,
        code=verdict.code, message=verdict.message,
    )  # fmt: skip
