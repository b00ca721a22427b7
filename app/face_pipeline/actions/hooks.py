"""Web hooks: who is told of events. The telling itself is the sender's (ops/hooks.py).

A hook's secret is kept nowhere: it is made, when it is needed, of the installation's key (a credential file)
and of random text that lies in the database. Neither of them alone signs anything.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from face_pipeline.actions.receivers import Rules
from face_pipeline.errors import Forbidden
from face_pipeline.parts import Parts
from face_pipeline.store import audit, collections, hooks
from face_pipeline.store.models import Hook, HookDelivery

CREDENTIAL = "hooks_key"
# Source: Standard Webhooks 1.0.0, "Signature scheme": 24 to 64 bytes, base64 behind this.
SECRET_PREFIX = "whsec_"  # noqa: S105  (of every secret)
SALT_BYTES = 16


def secret_of(key: str, hook_id: uuid.UUID, salt: str) -> bytes:
    """The 32 bytes with which events for a hook are signed; `key` is the installation's."""
    return hmac.digest(key.encode(), b"web hook" + hook_id.bytes + salt.encode(), hashlib.sha256)


def shown(secret: bytes) -> str:
    """A secret as its receiver gets it, once."""
    return SECRET_PREFIX + base64.b64encode(secret).decode()


def create(
    parts: Parts,
    *,
    url: str,
    kinds: list[str],
    wanted: list[str] | None,
    enabled: bool,
    by: audit.Actor,
) -> tuple[Hook, str]:
    """Make a hook for the collections `wanted` (None: all); returns it with its secret, shown this once.

    Raises BadRequest for a receiver there cannot be, Forbidden for collections that `by` does not reach.
    """
    Rules.of(parts.settings).check_url(url)
    _check_collections(wanted, by)
    new = hooks.NewHook(url, sorted(set(kinds)), _sorted(wanted), enabled, secrets.token_hex(SALT_BYTES))
    hook = parts.database.in_transaction(lambda session: hooks.create(session, new, by))
    return hook, _secret(parts, hook)


def change(
    parts: Parts,
    hook_id: uuid.UUID,
    changes: Mapping[str, Any],
    *,
    rotate: bool,
    check: Callable[[int], None],
    by: audit.Actor,
) -> tuple[Hook, str | None]:
    """Change the hook; returns it, with its new secret where that is to `rotate`. `check`: hooks.change."""
    wanted = dict(changes)
    if "url" in wanted:
        Rules.of(parts.settings).check_url(wanted["url"])
    if "kinds" in wanted:
        wanted["kinds"] = sorted(set(wanted["kinds"]))
    if "collections" in wanted:
        _check_collections(wanted["collections"], by)
        wanted["collections"] = _sorted(wanted["collections"])
    salt = secrets.token_hex(SALT_BYTES) if rotate else None
    hook = parts.database.in_transaction(
        lambda session: hooks.change(session, hook_id, wanted, by, check=check, salt=salt)
    )
    return hook, _secret(parts, hook) if rotate else None


def remove(parts: Parts, hook_id: uuid.UUID, *, by: audit.Actor) -> None:
    """Remove the hook, and what is known of its deliveries."""
    parts.database.in_transaction(lambda session: hooks.remove(session, hook_id, by))


def test(parts: Parts, hook_id: uuid.UUID, *, by: audit.Actor) -> HookDelivery:
    """Have one event of the kind `test` sent to the hook, whether it is enabled or not."""
    return parts.database.in_transaction(lambda session: hooks.add_test(session, hook_id, by))


def _secret(parts: Parts, hook: Hook) -> str:
    return shown(secret_of(parts.settings.credential(CREDENTIAL), hook.id, hook.salt))


def _sorted(wanted: list[str] | None) -> list[str] | None:
    return None if wanted is None else sorted(set(wanted))


def _check_collections(wanted: list[str] | None, by: audit.Actor) -> None:
    for name in wanted or ():
        by.check_reaches(collections.check_name(name))
    if not hooks.reaches(by, wanted):
        raise Forbidden(
            "this key does not reach every collection; name those of the hook", code="collection_forbidden"
        )
