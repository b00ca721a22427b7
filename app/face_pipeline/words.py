"""Numbers and nouns in sentences that people read."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """`1 photo`, `2 photos`, `0 photos`; for nouns that take an s."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
