"""Proofs: Ed25519 signatures over what the service answers, and the keys that they are checked with.

A document carries its proof in itself; what is signed is the document without `proof.signature`, in the bytes
of RFC 8785 (JSON Canonicalization Scheme). Sources: RFC 8032 (Ed25519), RFC 7517 and RFC 8037 (keys as JSON),
RFC 7638 (ids of keys).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PROOF, KEY_ID, SIGNATURE = "proof", "key_id", "signature"


class BadProof(Exception):
    """A document is not what the service signed; the message says why."""


class Signer:
    """Signs with the key that an installation's secret makes."""

    def __init__(self, secret: str) -> None:
        # Of 64 random characters: as good as random bytes, and always the same.
        self._key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(secret.encode()).digest())
        self.public = _public(self._key.public_key())

    @property
    def key_id(self) -> str:
        return self.public["kid"]

    def sign(self, document: Mapping[str, Any]) -> str:
        """The signature, base64url; `document` has its proof already, but for this."""
        return _encoded(self._key.sign(_signed_part(document)))


def verify(document: Mapping[str, Any], keys: Iterable[Mapping[str, Any]]) -> None:
    """Raises BadProof where `document` is not as one of `keys` (RFC 7517) signed it."""
    proof = document.get(PROOF)
    if not isinstance(proof, dict) or not isinstance(proof.get(SIGNATURE), str):
        raise BadProof("it is not signed")
    found = next((each for each in keys if each.get("kid") == proof.get(KEY_ID)), None)
    if found is None:
        raise BadProof(f"it was signed with the key {proof.get(KEY_ID)}, which is not one of those given")
    try:
        key = Ed25519PublicKey.from_public_bytes(_decoded(str(found.get("x"))))
        key.verify(_decoded(proof[SIGNATURE]), _signed_part(document))
    except (InvalidSignature, ValueError) as error:
        raise BadProof("it was changed after it was signed") from error


def _public(key: Ed25519PublicKey) -> dict[str, str]:
    """A key as RFC 8037 writes it; its id is its thumbprint (RFC 7638)."""
    named = {"crv": "Ed25519", "kty": "OKP", "x": _encoded(key.public_bytes_raw())}
    return {
        "kty": named["kty"], "crv": named["crv"], "x": named["x"],
        "kid": _encoded(hashlib.sha256(_canonical(named)).digest()), "use": "sig", "alg": "EdDSA",
    }  # fmt: skip


def _signed_part(document: Mapping[str, Any]) -> bytes:
    proof = {name: value for name, value in document[PROOF].items() if name != SIGNATURE}
    return _canonical({**document, PROOF: proof})


def _canonical(value: object) -> bytes:
    """RFC 8785, for values without fractions and with names of ASCII."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", errors="surrogatepass")


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
