"""What is wrong with the settings of backups, in words that say what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

# Beside `kind`: what each repository needs, and what it may say.
NEEDED = {
    "directory": {"path"},
    "sftp": {"host", "user", "path", "host_key", "secret", "addresses"},
    "s3": {"endpoint", "bucket", "region", "path", "key_id", "secret", "addresses"},
}
ALLOWED = {"directory": set[str](), "sftp": {"port"}, "s3": set[str]()}
RECIPIENT = re.compile(r"age1[0-9a-z]{58}|ssh-(ed25519|rsa) [A-Za-z0-9+/=]+( .*)?")
KEYS = "make one with `age-keygen -o KEY` on a machine of your own and keep KEY there"


def repository_faults(number: int, given: Any, secrets: Any) -> list[str]:
    name = f"face_backup_repositories, number {number}"
    if not isinstance(given, dict) or given.get("kind") not in NEEDED:
        return [f"{name}: kind is one of {', '.join(NEEDED)}, such as {{kind: directory, path: /mnt/backup}}"]
    kind = given["kind"]
    missing = sorted(NEEDED[kind] - given.keys())
    unknown = sorted(given.keys() - NEEDED[kind] - ALLOWED[kind] - {"kind"})
    faults = [f"{name}: it lacks {', '.join(missing)}"] if missing else []
    faults += [f"{name}: {kind} has no {', '.join(unknown)}"] if unknown else []
    # Words of a command on their way to ssh.
    odd = [
        key for key in ("path", "host", "user") if not re.fullmatch(r"[\w./@:-]+", str(given.get(key, "x")))
    ]
    faults += [f"{name}: {key} holds letters, digits and . / - _ alone" for key in odd]
    if not str(given.get("path", "/")).startswith("/"):
        faults.append(f"{name}: path is a whole path, such as /mnt/backup")
    if "secret" in given and given["secret"] not in secrets:
        faults.append(f"{name}: secret names a value of face_own_secrets; {given['secret']} is not there")
    return faults


def backup_faults(repositories: Any, recipients: Any, days: Any, secrets: Any) -> list[str]:
    """One text for each fault of face_backup_repositories, face_backup_recipients and face_backup_days.

    `secrets` are the names of the values of face_own_secrets.
    """
    faults: list[str] = []
    if not isinstance(repositories, list) or not 1 <= len(repositories) <= 2:
        faults.append(
            "face_backup_enabled needs face_backup_repositories, one or two places such as "
            "[{kind: directory, path: /mnt/backup}]"
        )
    else:
        for number, each in enumerate(repositories, 1):
            faults += repository_faults(number, each, secrets)
    if not isinstance(recipients, list) or not recipients:
        faults.append(
            "face_backup_enabled needs face_backup_recipients, whom the secrets are encrypted to: "
            f"public keys of age, better two than one; {KEYS}"
        )
    else:
        for each in recipients:
            if isinstance(each, str) and each.startswith("AGE-SECRET-KEY"):
                faults.append(
                    "face_backup_recipients: this is a secret key; the recipient is the line `public key`"
                )
            elif not isinstance(each, str) or not RECIPIENT.fullmatch(each):
                faults.append(
                    f"face_backup_recipients: {each!r} is no public key (age1… or ssh-ed25519 …); {KEYS}"
                )
    if not isinstance(days, int) or isinstance(days, bool) or not 7 <= days <= 3650:
        faults.append(f"face_backup_days is {days!r}; it must be a number of days from 7 to 3650")
    return faults


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"backup_faults": backup_faults}
