"""What every process that writes to the database counts."""

from __future__ import annotations

from prometheus_client import Counter

retries = Counter(
    "face_recognition_database_retries_total",
    "Transactions that ran again after PostgreSQL ended them in favour of another one.",
    ["sqlstate"],
)
