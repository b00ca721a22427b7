"""What is wrong with the settings of backups, in words that say what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# Beside `kind`: what each repository needs, and what it may say.
NEEDED = {
    "directory": {"path"},
    "sftp": {"host", "user", "path", "host_key", "secret", "addresses"},
    "s3": {"endpoint", "bucket", "region", "path", "key_id", "secret", "addresses"},
}
ALLOWED = {"directory": set[str](), "sftp": {"port"}, "s3": {"port", "path_style", "authority"}}
# Of S3: how it is written, and what it is.
WRITTEN = {
    "endpoint": (
        re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?"),
        "the name of a host, such as s3.example.org; its port goes into port, and it is asked by HTTPS",
    ),
    "bucket": (re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]"), "3 to 63 small letters, digits, . and -"),
    "region": (re.compile(r"[\w-]+"), "letters, digits, - and _, such as us-east-1"),
    "key_id": (re.compile(r"[\w+/=.@:-]+"), "the id of an access key, without its secret"),
}
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
    if kind == "s3":
        faults += [f"{name}: {fault}" for fault in s3_faults(given)]
    if "port" in given and not _is_port(given["port"]):
        faults.append(f"{name}: port is {given['port']!r}; it must be a number from 1 to 65535")
    if "secret" in given and given["secret"] not in secrets:
        faults.append(f"{name}: secret names a value of face_own_secrets; {given['secret']} is not there")
    return faults


def s3_faults(given: Mapping[str, Any]) -> list[str]:
    faults = [
        f"{key} is {given[key]!r}; it must be {meant}"
        for key, (pattern, meant) in WRITTEN.items()
        if key in given and not pattern.fullmatch(str(given[key]))
    ]
    if not isinstance(given.get("path_style", True), bool):
        faults.append("path_style is true, for ENDPOINT/BUCKET, or false, for BUCKET.ENDPOINT")
    elif not given.get("path_style", True) and re.fullmatch(r"[\d.]+", str(given.get("endpoint"))):
        faults.append("path_style is false, and an address has no names below it; leave path_style out")
    if "authority" in given:
        file = Path(str(given["authority"]))
        if (
            not file.is_absolute()
            or not file.is_file()
            or b"-----BEGIN CERTIFICATE-----" not in file.read_bytes()
        ):
            faults.append(
                f"authority is {str(file)!r}; it must be a file of this controller, a whole path, with the "
                "certificate of the authority that signed the store's, PEM"
            )
    return faults


def _is_port(given: Any) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and 1 <= given <= 65535


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
