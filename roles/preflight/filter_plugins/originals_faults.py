"""What is wrong with the settings of the place of the originals, in words that say what to do."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

BACKUP = Path(__file__).parents[2] / "backup/filter_plugins/backup_faults.py"
NEEDED = {"endpoint", "bucket", "region", "path", "key_id", "secret", "addresses"}
ALLOWED = {"port", "path_style", "authority"}


def originals_faults(store: Any, before: Any, s3: Any, secrets: list[str], copies: list[str]) -> list[str]:
    """One text for each fault of face_originals_store, face_originals_before and face_originals_s3.

    `secrets` are the names of the values of face_own_secrets, `copies` the hosts of the group copies.
    """
    if store not in ("disk", "s3"):
        return [f"face_originals_store is {store!r}; it must be disk or s3"]
    if before and before not in ("disk", "s3"):
        return [f"face_originals_before is {before!r}; it must be disk or s3, or empty"]
    if before == store:
        return [
            f"face_originals_before is {before}, as face_originals_store: photos move from one to another"
        ]
    if "s3" not in (store, before):
        return []
    if not isinstance(s3, dict):
        return [f"face_originals_s3 is {s3!r}; it must be {{endpoint: s3.example.org, bucket: …}}"]
    rules = runpy.run_path(str(BACKUP))
    missing, unknown = sorted(NEEDED - s3.keys()), sorted(s3.keys() - NEEDED - ALLOWED)
    faults = [f"it lacks {', '.join(missing)}"] if missing else []
    faults += [f"there is no {', '.join(unknown)}"] if unknown else []
    if not re.fullmatch(r"/[\w./-]*", str(s3.get("path", "/"))):
        faults.append("path begins with / and holds letters, digits and . / - _ alone, such as /site-a")
    faults += rules["s3_faults"](s3)
    if "port" in s3 and not rules["_is_port"](s3["port"]):
        faults.append(f"port is {s3['port']!r}; it must be a number from 1 to 65535")
    if "addresses" in s3 and not (isinstance(s3["addresses"], list) and s3["addresses"]):
        faults.append("addresses is a list of addresses or networks, such as [192.0.2.7]")
    if "secret" in s3 and s3["secret"] not in secrets:
        faults.append(f"secret names a value of face_own_secrets; {s3['secret']} is not there")
    faults = [f"face_originals_s3: {fault}" for fault in faults]
    if copies:
        faults.append(
            f"{', '.join(copies)}: a store keeps copies by itself; where photos are, or were, in one the"
            " group copies is empty"
        )
    return faults


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"originals_faults": originals_faults}
