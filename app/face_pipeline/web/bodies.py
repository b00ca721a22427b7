"""Where a request's files wait to be read: those of uploads, which are kept, on a disk; all others in memory.

A searched photo reaches no disk. In memory no more of it is held than is read of it later, of no more files
than any call asks for.
"""

from __future__ import annotations

import io
from typing import IO, Any

from werkzeug.formparser import default_stream_factory

from face_pipeline.web import forms
from face_pipeline.web.current import parts

# Endpoints whose files are kept anyway.
SPOOLED = {"api.photos.upload", "api.enrolment.enrol", "api.transfer.take"}
# The most files that a call which keeps none takes.
FILES_IN_MEMORY = 2


class Head(io.BytesIO):
    """Takes everything and keeps the first `limit` bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def write(self, data: Any, /) -> int:
        super().write(data[: max(0, self._limit - self.tell())])
        return len(data)


class PhotoRequest(forms.Request):
    """A request of the application."""

    _files_in_memory = 0

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        if self.endpoint in SPOOLED:
            return default_stream_factory(total_content_length, content_type, filename, content_length)
        self._files_in_memory += 1
        # One byte more than a photo may have: so that it is seen to be too large.
        limit = parts().settings.upload_max_bytes + 1
        return Head(limit if self._files_in_memory <= FILES_IN_MEMORY else 0)
