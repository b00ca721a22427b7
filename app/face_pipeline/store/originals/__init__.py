"""Original photos, named by their content: on disk, in an S3 store, or at another host over HTTP."""

from face_pipeline.store.originals.common import (
    ORPHAN_AFTER_SECONDS,
    WAY_BACK,
    OriginalDamaged,
    OriginalExpired,
    OriginalMissing,
    OriginalsAway,
    OriginalUnavailable,
    Removed,
    relative,
)
from face_pipeline.store.originals.disk import Originals
from face_pipeline.store.originals.http import RemoteOriginals, SeveralOriginals

__all__ = [
    "ORPHAN_AFTER_SECONDS",
    "WAY_BACK",
    "OriginalDamaged",
    "OriginalExpired",
    "OriginalMissing",
    "OriginalUnavailable",
    "Originals",
    "OriginalsAway",
    "RemoteOriginals",
    "Removed",
    "SeveralOriginals",
    "relative",
]
