"""Passwords as Prometheus and Alertmanager keep them: bcrypt, by the C library's own crypt(3)."""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
from collections.abc import Callable

from ansible.errors import AnsibleFilterError

PREFIX = b"$2b$"
# That of the hash which both compare for a name they do not know: the time of an answer tells no name.
COST = 10
SALT_BYTES = 16


def bcrypt_hash(password: str, user: str) -> str:
    """Hash of a generated password, the same in each run.

    Salts keep equal passwords apart and tables of guesses away; a random password needs neither.
    """
    try:
        library = ctypes.CDLL(ctypes.util.find_library("crypt") or "libcrypt.so.1")
        library.crypt_gensalt.restype = library.crypt.restype = ctypes.c_char_p
    except (OSError, AttributeError) as error:
        raise AnsibleFilterError(
            f"this controller has no libcrypt that knows bcrypt ({error}); "
            "on Debian install libcrypt1, or run this on another controller"
        ) from error
    salt = hashlib.sha256(f"{user}:{password}".encode()).digest()[:SALT_BYTES]
    setting = library.crypt_gensalt(PREFIX, ctypes.c_ulong(COST), salt, ctypes.c_int(SALT_BYTES))
    made: bytes = library.crypt(password.encode(), setting) if setting else b""
    if not made.startswith(PREFIX):
        raise AnsibleFilterError("this controller's libcrypt does not know bcrypt; run this on another one")
    return made.decode()


class FilterModule:
    """For Ansible."""

    def filters(self) -> dict[str, Callable[[str, str], str]]:
        return {"bcrypt_hash": bcrypt_hash}
