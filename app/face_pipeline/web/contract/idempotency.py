"""Requests that may be sent again: which calls take a key for that, and what they answer because of it."""

from __future__ import annotations

from typing import Any

from face_pipeline.web.contract.call import Call, Codes

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
KEY = r"[!-~]{1,255}"
# They change nothing, and may be made again as they are.
WITHOUT = frozenset(f"/api/v1/{name}" for name in ("search", "verify", "detect", "renditions"))
# Their answers hold a secret, which is shown once: it is not kept.
SECRET = frozenset({"/api/v1/keys", "/api/v1/keys/{key_id}/rotate", "/api/v1/hooks"})

PARAMETER: dict[str, Any] = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "A text of your own for this request, a UUID for example. The same request with the same "
    f"key is not done again within 24 hours: it gets the first answer, with {REPLAYED}: true.",
    "schema": {"type": "string", "pattern": f"^{KEY}$"},
}
ERRORS = {
    400: "The Idempotency-Key is not 1 to 255 visible ASCII characters.",
    409: "The first request with this Idempotency-Key is under way, or its answer is not kept.",
    422: "This Idempotency-Key came with another request.",
}
CALLS: tuple[Call, ...] = ()
CODES: Codes = {
    400: ("idempotency_key",),
    409: ("idempotency_in_progress", "idempotency_not_kept"),
    422: ("idempotency_mismatch",),
}


def takes_key(method: str, path: str) -> bool:
    """Whether a call, its path as in the contract, takes a key."""
    return method.lower() == "post" and path.startswith("/api/v1/") and path not in WITHOUT
