"""Reproducible measurements. Each prints a table and ratios measured in one run, and can write JSON.

Run them from the project's root: `.venv/bin/python -m bench.ingest`.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "app"))
