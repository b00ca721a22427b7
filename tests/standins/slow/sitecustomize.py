"""With this directory first on PYTHONPATH a photo that ends in `slow:SECONDS` takes so long to decode.

It stands for native code that does not return: nothing of Python's can end it.
"""

import json
import os
import re
import time
from typing import Any


def _make_slow() -> None:
    from face_pipeline.engine import decode

    plain = decode.decode

    def slow(data: bytes, **options: Any) -> Any:
        if wanted := re.search(rb"slow:(\d+)$", data[-20:]):
            seconds = int(wanted[1])
            line = {
                "timestamp": "", "service_name": "face-worker", "log_level": "INFO", "logger": "standin",
                "message": f"STANDIN slow {seconds}",
            }  # fmt: skip
            os.write(1, f"{json.dumps(line)}\n".encode())
            time.sleep(seconds)
        return plain(data, **options)

    decode.decode = slow


if os.environ.get("FACE_WORKER_INSTANCE"):
    _make_slow()
