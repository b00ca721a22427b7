"""Keys, who is signed in with them, and the audit of what was done; for a key with the scope admin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from face_pipeline.client.base import Calls, Id, part
from face_pipeline.client.operating import AuditEntry, BrowserSession, Key, KeyWithText


class KeyCalls(Calls):
    def api_keys(self, *, state: str | None = None) -> Iterator[Key]:
        """By name; state: only those that are `active`, `expired` or `revoked`."""
        return self._pages(Key, "/keys", "keys", state=state)

    def api_key(self, key_id: Id) -> Key:
        return self._read(Key, f"/keys/{part(key_id)}")

    def create_key(
        self,
        name: str,
        scopes: Iterable[str] | None = None,
        *,
        collections: Iterable[str] | None = None,
        expires_at: datetime | None = None,
        requests_per_minute: int | None = None,
        quota_photos: int | None = None,
        quota_bytes: int | None = None,
        service: str | None = None,
        text: str | None = None,
    ) -> KeyWithText:
        """Make a key, which reaches these collections (None: all); its text is told this once.

        service: `recognition`, `detection` or `verification` makes a key for clients of CompreFace, of one
        collection; `scopes` may be left out then, and `text` is the UUID that they have already.
        """
        fields = {
            "name": name,
            "collections": collections,
            "expires_at": expires_at,
            "requests_per_minute": requests_per_minute,
        }
        # A service of an older release knows none of them.
        more = {
            "scopes": scopes, "service": service, "api_key": text,
            "quota_photos": quota_photos, "quota_bytes": quota_bytes,
        }  # fmt: skip
        fields |= {each: value for each, value in more.items() if value is not None}
        return self._make(KeyWithText, "/keys", _body(fields))

    def change_key(self, key_id: Id, **fields: Any) -> Key:
        """Give a key other values of what create_key() takes; None takes a bound away."""
        return self._change(Key, f"/keys/{part(key_id)}", _body(fields))

    def rotate_key(self, key_id: Id, *, grace_seconds: int = 0) -> KeyWithText:
        """A new text, told this once; the old one works for so long still."""
        return self._make(KeyWithText, f"/keys/{part(key_id)}/rotate", {"grace_seconds": grace_seconds})

    def revoke_key(self, key_id: Id) -> None:
        """End a key, and the sessions that were opened with it."""
        self._remove(f"/keys/{part(key_id)}")

    def sessions(self, *, key_id: Id | None = None) -> Iterator[BrowserSession]:
        """Who is signed in to the pages, the newest first; key_id: only with that key."""
        return self._pages(BrowserSession, "/sessions", "sessions", key_id=key_id)

    def end_session(self, session_id: Id) -> None:
        self._remove(f"/sessions/{part(session_id)}")

    def end_sessions(self, key_id: Id) -> None:
        """End the sessions that were opened with the key, which itself works on."""
        self._remove(f"/keys/{part(key_id)}/sessions")

    def audit(
        self,
        *,
        action: str | None = None,
        actor: str | None = None,
        subject: Id | None = None,
        collection: str | None = None,
        outcome: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[AuditEntry]:
        """Who did what, newest first.

        action: how it begins (`person.`). actor: name or id of a key. subject: the id of what was acted on.
        outcome: `done`, `refused` or `failed`.
        """
        return self._pages(
            AuditEntry,
            "/audit",
            "entries",
            action=action,
            actor=actor,
            subject=subject,
            collection=collection,
            outcome=outcome,
            since=moment(since),
            until=moment(until),
        )


def _body(fields: dict[str, Any]) -> dict[str, Any]:
    body = dict(fields)
    for name in ("scopes", "collections"):
        if body.get(name) is not None:
            body[name] = list(body[name])
    if "expires_at" in body:
        body["expires_at"] = moment(body["expires_at"])
    return body


def moment(at: datetime | None) -> str | None:
    """As the service takes it; a time without a zone is one of this machine's."""
    return None if at is None else at.astimezone(UTC).isoformat()
