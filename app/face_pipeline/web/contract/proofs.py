"""Signed receipts, and the keys to check them with."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from face_pipeline.store.models import Scope
from face_pipeline.web.contract.answers import Answer, Id, Time
from face_pipeline.web.contract.call import Call, Codes, Reply

What = Literal["photo", "face", "person", "collection"]
_BASE64URL = "^[A-Za-z0-9_-]{%d}$"
KeyId = Annotated[str, Field(pattern=_BASE64URL % 43)]


class Proof(Answer):
    """Who erased what and when, and the signature over the receipt; a dry run has none."""

    id: Annotated[Id, Field(description="Of the receipt; the audit's entries have it too.")]
    at: Time
    by: Annotated[str, Field(description="Name of the key that asked.")]
    what: What
    ids: Annotated[
        list[str], Field(description="What was erased; of a collection its name, of failed photos none.")
    ]
    key_id: Annotated[KeyId, Field(description="`kid` of the key, in `GET /receipts/keys`.")]
    signature: Annotated[
        str,
        Field(
            pattern=_BASE64URL % 86,
            description="Ed25519 (RFC 8032) over the receipt without this field, as RFC 8785 writes it.",
        ),
    ]


class ReceiptKey(Answer):
    """A public key, as RFC 8037 has it."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: Annotated[str, Field(pattern=_BASE64URL % 43)]
    kid: Annotated[KeyId, Field(description="Its thumbprint (RFC 7638).")]
    use: Literal["sig"]
    alg: Literal["EdDSA"]


class ReceiptKeys(Answer):
    """A JWK Set (RFC 7517)."""

    keys: list[ReceiptKey]


CALLS: tuple[Call, ...] = (
    Call(
        "get", "/api/v1/receipts/keys", "list_receipt_keys", "Public keys that receipts are checked with",
        {200: Reply("The keys.", ReceiptKeys)},
        "`face-pipeline receipt verify` checks a receipt. With the answer kept beside it, it "
        "can be checked without the service.",
        scope=Scope.READ,
    ),
)  # fmt: skip

CODES: Codes = {}
