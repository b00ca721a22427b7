"""Face Pipeline: a self-hosted face recognition service."""

import os

# onnxruntime reads this once, when its library is loaded: every process that imports us has it by then.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__version__ = "0.1.0"
