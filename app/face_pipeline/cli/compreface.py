"""A CompreFace that still runs, as `face-pipeline import --from compreface` asks it.

It is asked by its public API (recognition service), and nothing is written there.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard
from urllib.parse import quote

import click

from face_pipeline.cli.common import printable

if TYPE_CHECKING:
    from face_pipeline.client import Retries

KEY_VARIABLE = "COMPREFACE_API_KEY"
KEY_MOST = 1000
RECOGNITION = "/api/v1/recognition"
PAGE = 1000


@dataclass(frozen=True)
class Image:
    image_id: str
    subject: str

    @property
    def where(self) -> str:
        return f"{self.subject}/{self.image_id}"


class CompreFace:
    """The recognition service that a key belongs to."""

    def __init__(self, url: str, key: str, *, ca: str, connections: int, retries: Retries) -> None:
        from face_pipeline.client.transport import Transport

        base = url.rstrip("/").removesuffix("/api/v1")
        self._transport = Transport(base, {"x-api-key": key}, ca=ca, connections=connections, retries=retries)
        self.url = self._transport.url

    def subjects(self) -> list[str]:
        return _texts(self._told("/subjects").get("subjects"))

    def images(self) -> list[Image]:
        """Of all subjects, each once, also where some come or go meanwhile."""
        found: dict[str, Image] = {}
        page, pages = 0, 1
        while page < pages:
            told = self._told(f"/faces?page={page}&size={PAGE}")
            faces, last = told.get("faces"), told.get("total_pages")
            if not _are_objects(faces) or not isinstance(last, int):
                raise _no_compreface(self.url)
            pages = last
            if not faces:
                break
            for each in faces:
                image_id, subject = _texts([each.get("image_id"), each.get("subject")])
                found[image_id] = Image(image_id, subject)
            page += 1
        return list(found.values())

    def picture(self, image: Image) -> bytes:
        """The file as it was sent; nothing where the image is gone."""
        return self._asked(f"/faces/{quote(image.image_id, safe='')}/img")

    def _told(self, path: str) -> dict[str, Any]:
        try:
            told = json.loads(self._asked(path))
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise _no_compreface(self.url)
        return told

    def _asked(self, path: str) -> bytes:
        from face_pipeline.client import Refused
        from face_pipeline.client.transport import Again

        try:
            return self._transport.ask("GET", RECOGNITION + path, again=Again.ALWAYS).data
        except Refused as error:
            raise click.ClickException(f"CompreFace: {printable(error.message)}") from None


def _are_objects(values: object) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(values, list) and all(isinstance(each, dict) for each in values)


def _texts(values: object) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise click.ClickException("CompreFace: its answer has other fields than those of CompreFace 1.2")
    return values


def _no_compreface(url: str) -> click.ClickException:
    return click.ClickException(
        f"{url} does not answer as CompreFace does; is that its address, with its port?"
    )


def source_key(file: str | None) -> str:
    """The key of CompreFace's recognition service: of a file, standard input (-), or the environment."""
    if file is None:
        key = os.environ.get(KEY_VARIABLE, "")
        if not key:
            raise click.UsageError(
                "say which file holds the key of CompreFace's recognition service: --source-key-file FILE "
                f"(-: standard input), or set {KEY_VARIABLE}"
            )
    else:
        key = read(file, KEY_MOST)
    key = key.strip()
    if not key.isascii() or not key.isprintable() or not key or " " in key:
        raise click.ClickException(
            "what was given is not a key of CompreFace: such a key is a line like 0f3c5a7e-9b1d-…"
        )
    return key


def read(file: str, most: int = -1) -> str:
    """The text of a file, or of standard input (-); at most so many characters of it."""
    try:
        if file == "-":
            return sys.stdin.read(most)
        with Path(file).open(encoding="utf-8") as stream:
            return stream.read(most)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{file} cannot be read: {error}") from None
