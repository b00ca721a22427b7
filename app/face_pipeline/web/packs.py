"""The installed model pack as the web process sees it: its manifest, never its models."""

from __future__ import annotations

from functools import cache

from face_pipeline.config import get_settings
from face_pipeline.engine import Pack, PackError, read_pack
from face_pipeline.errors import Unavailable


@cache
def installed() -> Pack:
    try:
        return read_pack(get_settings().pack_dir)
    except PackError as error:
        raise Unavailable(str(error), code="pack_unavailable") from error
