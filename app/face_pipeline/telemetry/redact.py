"""What may never stand in a log line, taken out of every text that goes into one.

Our own code logs none of it. Texts of exceptions are others': a driver may quote a URL with its password, a
database the row it refused.
"""

from __future__ import annotations

import re

HIDDEN = "[hidden]"
# Shorter ones would hide parts of ordinary words; those that site.yml makes are longer by far.
SECRET_MIN_LENGTH = 8
_NUMBER = r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?"

_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        # Bytes of a photo: as base64, in hexadecimal longer than a hash, or escaped.
        r"[A-Za-z0-9+/]{100,}={0,2}",
        r"(?:\\{1,4}x[0-9a-fA-F]{2}[^\\\s]{0,8}){8,}",
        # An embedding, or the first numbers of one that its quoter shortened.
        rf"-?\d+\.\d+(?:e[-+]?\d+)?(?:\s*,\s*{_NUMBER}){{2,}}",
        # User and password of a URL.
        r"(?<=://)[^\s/@'\"]*:[^\s/@'\"]*(?=@)",
        # An API key (store/keys.py).
        r"fp_[A-Za-z0-9_-]{20,}",
        # A web hook's secret (actions/hooks.py).
        r"whsec_[A-Za-z0-9+/=]{20,}",
    )
)
_secrets: set[str] = set()


def conceal(secret: str) -> None:
    """Take `secret` out of every line of this process from now on."""
    if len(secret) >= SECRET_MIN_LENGTH:
        _secrets.add(secret)


def clean(text: str) -> str:
    for secret in _secrets:
        text = text.replace(secret, HIDDEN)
    for pattern in _PATTERNS:
        text = pattern.sub(HIDDEN, text)
    return text
