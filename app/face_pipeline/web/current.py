"""The parts of the application that answers the current request."""

from __future__ import annotations

from typing import cast

from flask import current_app

from face_pipeline.parts import Parts

EXTENSION = "parts"


def parts() -> Parts:
    return cast(Parts, current_app.extensions[EXTENSION])
