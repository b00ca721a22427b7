"""Files of the pages under addresses that hold a hash of all of them, so that browsers keep them for ever."""

from __future__ import annotations

import hashlib
import posixpath
import re
from functools import cache
from pathlib import Path

from flask import Response, request, send_from_directory

from face_pipeline.web.ui import texts

DIRECTORY = Path(__file__).with_name("static")
# Made of the texts' files.
TEXTS = "texts.js"
FOR_EVER = "public, max-age=31536000, immutable"
_IMPORT = re.compile(r'^(?:import|export)\b[^;"]*?(?:\bfrom\s+)?"(\.[^"]+)"', re.MULTILINE)


@cache
def digest() -> str:
    """One for all files: modules name each other by relative addresses, which stay as they are."""
    made = hashlib.sha256(texts.module())
    for path in sorted(path for path in DIRECTORY.rglob("*") if path.is_file()):
        made.update(f"\0{path.relative_to(DIRECTORY)}\0".encode() + path.read_bytes())
    return made.hexdigest()[:16]


def address(name: str) -> str:
    """Where the file `name` of the directory static is."""
    return f"/static/{digest()}/{name}"


def exists(name: str) -> bool:
    return name == TEXTS or (DIRECTORY / name).is_file()


@cache
def modules(name: str) -> tuple[str, ...]:
    """Every module that `name` loads at once, itself first: a browser can ask for all without reading one."""
    found = [name]
    for each in found:
        if each == TEXTS:
            continue
        for imported in _IMPORT.findall((DIRECTORY / each).read_text(encoding="utf-8")):
            other = posixpath.normpath(posixpath.join(posixpath.dirname(each), imported))
            if other not in found:
                found.append(other)
    return tuple(found)


def send(version: str, name: str) -> Response:
    """The file; one of another version is the one of now, which is not kept. Raises NotFound."""
    if name == TEXTS:
        response = Response(texts.module(), mimetype="text/javascript")
    else:
        response = send_from_directory(DIRECTORY, name)
    response.headers["Cache-Control"] = FOR_EVER if version == digest() else "no-cache"
    return response.make_conditional(request)  # type: ignore[return-value]
