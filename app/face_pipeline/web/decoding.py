"""The memory that this web process may decode pictures in."""

from __future__ import annotations

from functools import cache

from face_pipeline.config import get_settings
from face_pipeline.engine import Budget


@cache
def memory() -> Budget:
    return Budget(get_settings().decode_memory_bytes)
