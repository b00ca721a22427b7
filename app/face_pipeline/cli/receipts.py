"""`face-pipeline receipt verify`: is a receipt of an erasure as the service signed it?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from face_pipeline.cli.common import ERASED, FILE, Door, connected, examples, printable
from face_pipeline.words import counted


@click.group()
def receipt() -> None:
    """Check receipts of erasures."""


@receipt.command(
    epilog=examples("receipt verify receipt.json", "receipt verify receipt.json --keys receipt-keys.json")
)
@click.argument("file", type=FILE)
@click.option("--keys", type=FILE, help="Public keys, kept earlier; without it the service is asked.")
@connected
def verify(door: Door, file: Path, keys: Path | None) -> None:
    """Say whether a receipt is as the service signed it.

    FILE is an answer to an erasure, as --json writes it. KEYS are those of GET /api/v1/receipts/keys.
    """
    from face_pipeline.proofs import BadProof
    from face_pipeline.proofs import verify as check

    document = _object(file, "a receipt")
    if keys is None:
        known: Any = door.client().receipt_keys().keys
    else:
        known = _object(keys, "a set of keys").get("keys")
        if not isinstance(known, list) or not all(isinstance(each, dict) for each in known):
            raise click.ClickException(f"{keys} is not what GET /api/v1/receipts/keys answers")
    try:
        check(document, known)
    except BadProof as error:
        raise click.ClickException(f"{file} is not a receipt of this service: {error}") from error
    proof = document["proof"]
    what = ", ".join(counted(document[each], each[:-1]) for each in ERASED if document.get(each))
    door.show(
        {"valid": True, "id": proof["id"], "key_id": proof["key_id"]},
        printable(
            f"receipt {proof['id']} is genuine: {what or 'nothing'} erased at {proof['at']} by {proof['by']}"
        ),
    )


def _object(file: Path, what: str) -> dict[str, Any]:
    try:
        value = json.loads(file.read_bytes())
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise click.ClickException(f"{file} is not {what}: it holds no object of JSON")
    return value
