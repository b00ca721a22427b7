"""Numbers and nouns in sentences that people read."""

from __future__ import annotations


def counted(number: int, noun: str, verb: str = "") -> str:
    """`1 photo waits`, `2 photos wait`, `0 photos wait`; for nouns and verbs that take an s."""
    if number == 1:
        return f"1 {noun} {verb}s" if verb else f"1 {noun}"
    return f"{number} {noun}s {verb}".rstrip()
