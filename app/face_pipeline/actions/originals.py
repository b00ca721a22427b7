"""Originals that no row names any more: removed now, and remembered where that could not be."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

from face_pipeline.parts import Parts
from face_pipeline.store import removals
from face_pipeline.store.originals import Removed


def remove(
    parts: Parts,
    names: Collection[str],
    named: Callable[[Collection[str]], Collection[str]],
    *,
    until: float = math.inf,
) -> Removed:
    """Remove originals and their copies, but for those that rows name, as `named` tells.

    Those for which there is no time, or of which a host that is away has a copy, are removed by the indexer.
    """
    files = parts.originals.remove(names, named, until=until)
    if files.later:
        parts.database.in_transaction(lambda session: removals.remember(session, files.later))
    return files
