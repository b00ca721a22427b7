"""Erasure: what people put in goes, and a receipt says what went and what stays."""

from __future__ import annotations

from typing import TypeVar

from flask import Blueprint, Response, request

from face_pipeline.actions import erasure
from face_pipeline.errors import BadRequest
from face_pipeline.store.erasure import Kept, Why
from face_pipeline.store.models import Scope
from face_pipeline.web.api import parameters
from face_pipeline.web.api.proofs import signed
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import erasure as contract
from face_pipeline.web.contract.proofs import What
from face_pipeline.web.current import actor, parts

bp = Blueprint("erasure", __name__)

Q = TypeVar("Q", bound=contract.EraseQuery)

WORDS = {
    Why.SHOWS_OTHERS: "they show somebody else too; the person's faces are gone, the pictures are not",
    Why.FACE_UNKNOWN: "they were put in as the person's and show faces that nobody gave a name; "
    "look at them, and erase those that show the person",
    Why.PHOTO_STAYS: "the photo and its file stay; erase the photo to take them too",
    Why.NAMED_ELSEWHERE: "the same file belongs to another photo",
    Why.REMOVED_SOON: "the disk is slow; the files are removed within ten minutes, and nobody can get them",
    Why.DISK_REFUSED: "the disk did not let the file go; it is removed within two hours",
    Why.CACHE_UNAVAILABLE: "the cache cannot be asked; nobody finds its old answers, which end by themselves",
}


@bp.delete("/photos/<photo:photo_id>")
@requires(Scope.ERASE)
def photo(photo_id: str) -> Response:
    wanted = parameters.identifier(photo_id, "photo")
    return _receipt(erasure.photo(parts(), wanted, dry_run=_dry_run(), by=actor()), "photo", wanted)


@bp.delete("/faces/<face_id>")
@requires(Scope.ERASE)
def face(face_id: str) -> Response:
    wanted = parameters.identifier(face_id, "face")
    return _receipt(erasure.face(parts(), wanted, dry_run=_dry_run(), by=actor()), "face", wanted)


@bp.delete("/persons/<person_id>")
@requires(Scope.ERASE)
def person(person_id: str) -> Response:
    wanted = parameters.identifier(person_id, "person")
    return _receipt(erasure.person(parts(), wanted, dry_run=_dry_run(), by=actor()), "person", wanted)


@bp.delete("/collections/<collection>")
@requires(Scope.ERASE)
def collection(collection: str) -> Response:
    receipt = erasure.collection(parts(), collection, dry_run=_dry_run(), by=actor())
    return _receipt(receipt, "collection", collection)


def _dry_run() -> bool:
    """Whether only the receipt is wanted."""
    return strictly(contract.EraseQuery).dry_run == "true"


def strictly(model: type[Q]) -> Q:
    """The parameters of an erasure. What might be meant for one of them and is not is refused."""
    known = list(model.model_fields)
    others = sorted(set(request.args) - set(known))
    if others:
        alone = f"{known[0]} alone" if len(known) == 1 else " and ".join(known)
        raise BadRequest(f"there is no parameter {others[0]!r}; this call takes {alone}", code="parameter")
    several = next((name for name in known if len(request.args.getlist(name)) > 1), None)
    if several or request.content_length or request.is_json:
        name = several or known[0]
        value = "true" if name == "dry_run" else "NAME"
        raise BadRequest(f"say {name} once, in the address: ?{name}={value}", code="parameter")
    return parameters.read(model, request.args)


def _receipt(value: erasure.Receipt, what: What, identifier: object) -> Response:
    rows = value.rows
    return signed(
        contract.Receipt.model_construct(
            dry_run=value.dry_run,
            collection=rows.collection,
            photos=rows.photos,
            faces=rows.faces,
            persons=rows.persons,
            merges=rows.merges,
            originals=value.originals,
            answers=value.answers,
            tasks=rows.tasks,
            under_way=rows.under_way,
            kept=[kept(each) for each in rows.kept],
            proof=None,
        ),
        rows.receipt,
        what,
        [identifier],
    )


def kept(value: Kept) -> contract.Kept:
    return contract.Kept.model_construct(
        what=value.what,
        code=value.why,
        message=WORDS[value.why],
        count=value.count,
        photos=[str(each) for each in value.photos],
    )
