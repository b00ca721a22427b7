"""The table of pages: routes, navigation and titles come from it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

from face_pipeline.store.models import Scope

Group = Literal["main", "admin"]


@dataclass(frozen=True)
class Page:
    """One page. Its template, module, style and texts are named after it.

    scope: what a key needs to see it; None: any key. paths: addresses that it has beside `path`, with a
    parameter `id`, which the page's module reads as `data-id` of `<main>`. On a phone the first four of the
    main group stand in the bar, the others behind "More".
    """

    name: str
    path: str
    icon: str
    scope: Scope | None
    group: Group = "main"
    paths: tuple[str, ...] = ()

    def may_be_seen(self, scopes: Collection[str]) -> bool:
        return self.scope is None or self.scope in scopes or Scope.ADMIN in scopes


PAGES: tuple[Page, ...] = (
    Page("overview", "/", "overview", None),
    Page("photos", "/photos", "photos", Scope.READ, paths=("/photos/<uuid:id>",)),
    Page("people", "/people", "people", Scope.READ, paths=("/people/<uuid:id>",)),
    Page("search", "/search", "search", Scope.READ),
    Page("unknown", "/unknown", "unknown", Scope.READ),
    Page("jobs", "/jobs", "jobs", Scope.READ),
    Page("keys", "/keys", "keys", Scope.ADMIN, "admin"),
    Page("hooks", "/hooks", "hooks", Scope.ADMIN, "admin"),
    Page("audit", "/audit", "audit", Scope.ADMIN, "admin"),
    Page("system", "/system", "system", Scope.ADMIN, "admin"),
)


def seen_by(scopes: Collection[str], group: Group) -> Iterator[Page]:
    return (page for page in PAGES if page.group == group and page.may_be_seen(scopes))
