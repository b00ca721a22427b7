"""Receipts that can be checked by whoever gets them: signed, with the public key to check them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from flask import Blueprint, Response

from face_pipeline.store.models import Scope
from face_pipeline.web.api import views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import erasure, failures, several
from face_pipeline.web.contract import proofs as contract
from face_pipeline.web.current import actor, parts

Receipt = erasure.Receipt | several.PhotosReceipt | failures.ErasedFailures

bp = Blueprint("proofs", __name__)


@bp.get("/receipts/keys")
@requires(Scope.READ)
def list_keys() -> Response:
    key = contract.ReceiptKey.model_validate(parts().signer.public)
    return views.answer(contract.ReceiptKeys.model_construct(keys=[key]))


def signed(receipt: Receipt, number: uuid.UUID, what: contract.What, ids: Sequence[object]) -> Response:
    """The answer with a receipt of what was erased; of a dry run there is nothing to prove."""
    if not receipt.dry_run:
        signer = parts().signer
        receipt.proof = contract.Proof.model_construct(
            id=str(number),
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            by=actor().name,
            what=what,
            ids=[str(each) for each in ids],
            key_id=signer.key_id,
            signature="",
        )
        receipt.proof.signature = signer.sign(receipt.model_dump(exclude_unset=True))
    return views.answer(receipt)
