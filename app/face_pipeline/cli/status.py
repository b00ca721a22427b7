"""`face-pipeline status`: how the service is, on one screen."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

import click

from face_pipeline.cli.common import Door, connected, examples

if TYPE_CHECKING:
    from face_pipeline.client import Client, ListedPhoto

# Of each state no more are counted: the service has no call that tells their number.
COUNTED = 200
WAITING = ("received", "queued", "processing")
FAILURES_SHOWN = 5
# What the service tells no key, and who does.
ELSEWHERE = (
    "workers, alerts and disks: on the host, `face-pipeline doctor` and "
    "`./face-ansible playbooks/workers.yml -e do=status`; Grafana shows all of it"
)


@click.command(epilog=examples("status", "status --json"))
@connected
def status(door: Door) -> int:
    """Show whether the service is ready, what waits, and what failed last.

    The exit status is 0 if every part is ready, otherwise 1.
    """
    client = door.client()
    ready = client.ready()
    told: dict[str, Any] = {"url": client.url, "ready": ready.ready, "parts": ready.checks}
    lines = [f"{client.url}: {'ready' if ready.ready else 'NOT READY'}"]
    lines += [f"  {name}: {state}" for name, state in ready.checks.items() if state != "ok"]
    if ready.ready:
        counts, failures = _photos(client)
        told |= {"photos": counts, "failures": [each.model_dump(mode="json") for each in failures]}
        lines += _in_words(counts, failures)
        queues = _queues(client)
        if queues is not None:
            told["queues"] = queues
            lines.append(
                "messages in queues: " + ", ".join(f"{name} {count}" for name, count in queues.items())
            )
    told["not_told_here"] = ELSEWHERE
    lines.append(f"not told here: {ELSEWHERE}")
    door.show(told, "\n".join(lines))
    return 0 if ready.ready else 1


def _photos(client: Client) -> tuple[dict[str, int], list[ListedPhoto]]:
    """Of each state but `done` how many there are, COUNTED at most; and those that failed last."""
    found = {
        state: list(itertools.islice(client.photos(state=state), COUNTED)) for state in (*WAITING, "failed")
    }
    return {state: len(photos) for state, photos in found.items()}, found["failed"][:FAILURES_SHOWN]


def _in_words(counts: dict[str, int], failures: list[ListedPhoto]) -> list[str]:
    told = ", ".join(f"{count}{'+' if count == COUNTED else ''} {state}" for state, count in counts.items())
    lines = [f"photos: {told}"]
    for photo in failures:
        why = photo.reason.code if photo.reason else "no reason is known"
        lines.append(f"  {photo.id}  {photo.collection}  {photo.filename}: {why}")
    return lines


def _queues(client: Client) -> dict[str, int] | None:
    """Lengths of the queues, where this machine may read the metrics."""
    from face_pipeline.client import ClientError

    try:
        text = client.metrics()
    except ClientError:
        return None
    found = re.findall(r'^celery_tasks_pending\{queue="(\w+)"\} ([0-9.e+]+)$', text, re.MULTILINE)
    return {name: int(float(value)) for name, value in found}
