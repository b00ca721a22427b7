"""Web hooks: receivers that are told of events, and what became of each delivery."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from face_pipeline.store.collections import NAME_PATTERN
from face_pipeline.store.hooks import TEST
from face_pipeline.store.models import DeliveryState, EventKind, Scope
from face_pipeline.web.contract.answers import Answer, Count, Id, Time
from face_pipeline.web.contract.call import Call, Codes, Reply
from face_pipeline.web.contract.requests import AsWhole, Body, Request, Text

URL_WORDS = (
    "Where events are sent by POST. https, an address of the internet, no user, no password, no `#`; the "
    "operator may allow http and networks of the site."
)
COLLECTIONS_WORDS = "Names of the collections it hears of; null: all, also those to come."
# As it is written in JSON: the word of a kind.
Kind = Annotated[EventKind, Field(strict=False)]
Kinds = Annotated[list[Kind], Field(min_length=1, max_length=len(EventKind))]
Collections = Annotated[
    list[Annotated[str, Field(json_schema_extra={"pattern": f"^{NAME_PATTERN.pattern}$"})]],
    Field(min_length=1, max_length=100),
]


class NewHook(Body):
    url: str = Field(description=URL_WORDS)
    kinds: Kinds = Field(default_factory=lambda: list(EventKind), description="Left out: every kind.")
    collections: Collections | None = Field(None, description=COLLECTIONS_WORDS)
    enabled: bool = Field(True, description="false: it is told nothing until this is true.")


# A field that is not there; it is told by model_fields_set.
LEFT_OUT: Any = None


class HookChange(Body):
    """What is left out stays as it is."""

    url: str = Field(default=LEFT_OUT, description=URL_WORDS)
    kinds: Kinds = Field(default=LEFT_OUT)
    collections: Collections | None = Field(None, description=COLLECTIONS_WORDS)
    enabled: bool = Field(
        default=LEFT_OUT, description="true also ends the state in which a receiver was gone."
    )
    rotate_secret: bool = Field(
        False, description="Make a new secret and show it once. Both sign for a day, then the new one alone."
    )


class HooksQuery(Request):
    limit: Annotated[int, AsWhole] = Field(50, ge=1, le=200, description="Page size.")
    cursor: Text | SkipJsonSchema[None] = Field(None, description="next_cursor of the page before.")


class Hook(Answer):
    id: Id
    url: str
    kinds: list[Annotated[str, Field(json_schema_extra={"enum": list(EventKind)})]]
    collections: list[str] | None
    enabled: bool
    disabled_reason: str | None = Field(
        description="gone: the receiver answered 410 and is told nothing until `enabled` is set again."
    )
    created_at: Time
    updated_at: Time


class HookWithSecret(Hook):
    # Left out of the answer where none was made.
    secret: str | SkipJsonSchema[None] = Field(
        None, pattern="^whsec_", description="Shown this once, to check signatures with."
    )


class Hooks(Answer):
    hooks: list[Hook]
    next_cursor: str | None = Field(description="Give it back as `cursor` for the next page.")


class HookDelivery(Answer):
    id: Id
    event_id: Id = Field(description="What the receiver gets as `webhook-id`.")
    kind: str = Field(json_schema_extra={"enum": [*EventKind, TEST]})
    state: str = Field(
        json_schema_extra={"enum": list(DeliveryState)},
        description="given_up: it failed for three days, or once where it was a test, or the event is gone.",
    )
    attempts: Count
    created_at: Time
    last_tried_at: Time | None
    next_try_at: Time | None
    last_status: int | None = Field(description="Status of the last answer; null where none came.")
    last_answer: str | None = Field(description="Its first 200 characters.")
    last_error: str | None = Field(description="What was wrong, for people.")


class HookDeliveries(Answer):
    deliveries: list[HookDelivery]
    next_cursor: str | None = Field(description="Give it back as `cursor` for the next page.")


_REACH = "The key lacks the scope, or does not reach the collections."

CALLS = (
    Call(
        "get", "/api/v1/hooks", "list_hooks", "List web hooks, oldest first",
        {200: Reply("A page.", Hooks)},
        scope=Scope.ADMIN, query=(HooksQuery,), errors=(400, 503),
    ),
    Call(
        "post", "/api/v1/hooks", "make_hook", "Make a web hook",
        {201: Reply("Made; its secret is shown this once.", HookWithSecret)},
        "It hears of what happens from now on.",
        scope=Scope.ADMIN, body=NewHook, errors=(400, 409, 413, 503),
        words={403: _REACH, 409: "There are as many hooks as there may be."},
    ),
    Call(
        "get", "/api/v1/hooks/{hook_id}", "get_hook", "A web hook, with its ETag",
        {200: Reply("The hook.", Hook)},
        scope=Scope.ADMIN, errors=(404, 503),
    ),
    Call(
        "patch", "/api/v1/hooks/{hook_id}", "change_hook", "Change a web hook",
        {200: Reply("As it is now; with its secret where that is new.", HookWithSecret)},
        "With If-Match only where nobody changed it meanwhile. An event that waits is tried at once.",
        scope=Scope.ADMIN, body=HookChange, errors=(400, 404, 412, 413, 503), words={403: _REACH},
    ),
    Call(
        "delete", "/api/v1/hooks/{hook_id}", "delete_hook", "Remove a web hook",
        {204: Reply("Removed.")},
        scope=Scope.ADMIN, errors=(404, 503),
    ),
    Call(
        "get", "/api/v1/hooks/{hook_id}/deliveries", "list_hook_deliveries",
        "What became of events for a web hook, newest first",
        {200: Reply("A page; the last thousand of a hook are kept.", HookDeliveries)},
        scope=Scope.ADMIN, query=(HooksQuery,), errors=(400, 404, 503),
    ),
    Call(
        "post", "/api/v1/hooks/{hook_id}/test", "test_hook", "Send one event of the kind `test`",
        {202: Reply("It is sent within seconds, once; its delivery tells how that went.", HookDelivery)},
        scope=Scope.ADMIN, errors=(404, 409, 503),
        words={409: "Too many tests of this hook wait."},
    ),
)  # fmt: skip
CODES: Codes = {
    400: ("hook_url",),
    404: ("hook_not_found",),
    409: ("too_many_hooks", "too_many_tests"),
}
