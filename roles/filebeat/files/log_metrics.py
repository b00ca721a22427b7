"""Numbers of the log path for node_exporter: log_metrics.py FILE --filebeat URL [--logstash URL].

Asks Filebeat's /stats and Logstash's /_node/stats/pipelines, and writes them as a text file of Prometheus in
one step. One that does not answer is `up 0`, and has no other number.
"""

import argparse
import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECONDS = 5
Sample = tuple[str, dict[str, str], float]
# Path in the answer, name, type, meaning.
FILEBEAT = (
    (
        "libbeat.output.events.acked",
        "face_filebeat_events_acked_total",
        "counter",
        "Events that Logstash took",
    ),
    ("libbeat.output.events.dropped", "face_filebeat_events_dropped_total", "counter", "Events given up"),
    (
        "libbeat.output.events.failed",
        "face_filebeat_events_failed_total",
        "counter",
        "Events sent again",
    ),
    (
        "libbeat.output.write.errors",
        "face_filebeat_write_errors_total",
        "counter",
        "Broken writes to Logstash",
    ),
    (
        "libbeat.pipeline.events.active",
        "face_filebeat_events_active",
        "gauge",
        "Events read and not yet taken",
    ),
    ("libbeat.pipeline.events.published", "face_filebeat_events_published_total", "counter", "Events read"),
    (
        "libbeat.pipeline.queue.max_events",
        "face_filebeat_queue_max_events",
        "gauge",
        "Events that may be held",
    ),
    ("libbeat.pipeline.queue.filled.events", "face_filebeat_queue_events", "gauge", "Events held"),
    ("filebeat.harvester.running", "face_filebeat_harvesters_running", "gauge", "Files being read"),
    ("filebeat.harvester.open_files", "face_filebeat_open_files", "gauge", "Files held open"),
    (
        "registrar.writes.fail",
        "face_filebeat_registry_errors_total",
        "counter",
        "Places not kept",
    ),
)
LOGSTASH = (
    ("events.in", "face_logstash_events_in_total", "counter", "Events taken"),
    ("events.out", "face_logstash_events_out_total", "counter", "Events that the outputs took"),
    ("queue.events_count", "face_logstash_queue_events", "gauge", "Events in the queue"),
    ("queue.queue_size_in_bytes", "face_logstash_queue_bytes", "gauge", "Bytes of the queue on disk"),
    ("queue.max_queue_size_in_bytes", "face_logstash_queue_max_bytes", "gauge", "Bytes it may have"),
    ("dead_letter_queue.queue_size_in_bytes", "face_logstash_dead_letter_bytes", "gauge", "Bytes refused"),
    ("dead_letter_queue.dropped_events", "face_logstash_dead_letter_dropped_total", "counter", "Events lost"),
    ("reloads.failures", "face_logstash_reload_failures_total", "counter", "Reloads that failed"),
    ("reloads.successes", "face_logstash_reloads_total", "counter", "Reloads"),
)  # fmt: skip
UP = {
    "face_filebeat_up": "Whether Filebeat answers",
    "face_logstash_up": "Whether Logstash answers",
}


def ask(url: str) -> dict[str, Any] | None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=SECONDS) as answer:
            found = json.load(answer)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def at(answer: dict[str, Any], path: str) -> float | None:
    value: Any = answer
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return float(value) if isinstance(value, int | float) else None


def filebeat(url: str) -> Iterator[Sample]:
    answer = ask(f"{url}/stats")
    yield "face_filebeat_up", {}, answer is not None
    for path, name, _, _ in FILEBEAT:
        if answer is not None and (value := at(answer, path)) is not None:
            yield name, {}, value


def logstash(url: str) -> Iterator[Sample]:
    answer = ask(f"{url}/_node/stats/pipelines")
    yield "face_logstash_up", {}, answer is not None
    for pipeline, numbers in sorted((answer or {}).get("pipelines", {}).items()):
        for path, name, _, _ in LOGSTASH:
            if (value := at(numbers, path)) is not None:
                yield name, {"pipeline": pipeline}, value


def text(samples: list[Sample]) -> str:
    kinds = {name: ("gauge", meaning) for name, meaning in UP.items()}
    kinds |= {name: (kind, meaning) for _, name, kind, meaning in (*FILEBEAT, *LOGSTASH)}
    lines: list[str] = []
    for name, (kind, meaning) in kinds.items():
        if mine := [sample for sample in samples if sample[0] == name]:
            lines += [f"# HELP {name} {meaning}.", f"# TYPE {name} {kind}"]
        for _, labels, value in mine:
            shown = ",".join(f'{key}="{label}"' for key, label in labels.items())
            lines.append(f"{name}{{{shown}}} {float(value):.16g}" if shown else f"{name} {float(value):.16g}")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--filebeat")
    parser.add_argument("--logstash")
    given = parser.parse_args()
    samples: list[Sample] = []
    if given.filebeat:
        samples += filebeat(given.filebeat)
    if given.logstash:
        samples += logstash(given.logstash)
    temporary = given.file.with_name(f".{given.file.name}.{os.getpid()}")
    temporary.write_text(text(samples))
    temporary.chmod(0o644)
    temporary.replace(given.file)


if __name__ == "__main__":
    main()
