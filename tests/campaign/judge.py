"""Holds what the clients were told against what is there. Each finding begins with the name of its rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tests.campaign.evidence import Evidence, Happened, Row
from tests.campaign.history import Operation

# The longest that users may wait by kind of fault, in seconds of a quiet machine.
BUDGETS: Mapping[str, float] = {
    "kill": 60, "freeze": 60, "restart": 60, "empty": 60, "spoil": 60, "network": 60, "stop": 210,
    "power": 180, "full": 60, "slow": 60, "clock": 60, "release": 60, "install": 60,
    "site": 180,
}  # fmt: skip
ALERT_AFTER = 60.0
# An alert comes with the next evaluations, and goes when what raised it is out of its window.
ALERT_LATE = 900.0


def judge(
    operations: Iterable[Operation],
    evidence: Evidence,
    faults: Sequence[Happened],
    reference: tuple[tuple[int, ...], ...],
    patience: float = 1,
    alerts: bool = True,
) -> list[str]:
    """All that is wrong. `reference`: the faces that each photo of the clients shows.

    `alerts`: whether those of the evidence are all that there were.
    """
    history = list(operations)
    return [
        *_photos(history, evidence),
        *_faces(evidence, reference),
        *_deleted(history, evidence),
        *_files(history, evidence),
        *_copies(evidence),
        *_chain(evidence),
        *(f"index: {each}" for each in evidence.indexes),
        *(_alerts(evidence, faults, patience) if alerts else ()),
        *_outages(history, faults, patience),
        *(f"heal: fault {fault.number}, {fault.kind} of {fault.target}: {fault.error}"
          for fault in faults if fault.error),
    ]  # fmt: skip


def _acknowledged(history: Iterable[Operation], what: str) -> dict[str, str]:
    """Photo -> SHA-256 of what was done for certain."""
    return {each.photo: each.key for each in history if each.what == what and each.outcome == "ok"}


def _may_be_deleted(history: Iterable[Operation]) -> set[str]:
    return {each.photo for each in history if each.what == "delete" and each.outcome != "fail"}


def _photos(history: list[Operation], evidence: Evidence) -> Iterator[str]:
    rows = {row.photo: row for row in evidence.rows}
    gone = _may_be_deleted(history)
    for photo, sha256 in _acknowledged(history, "upload").items():
        if photo in gone:
            continue
        if photo not in rows:
            yield f"lost: photo {photo} was acknowledged and has no row"
        elif rows[photo].sha256 != sha256:
            yield f"other photo: {photo} was acknowledged as {sha256[:12]} and is {rows[photo].sha256[:12]}"
        if evidence.files.get(sha256) is None:
            yield f"lost file: the original of photo {photo} is gone"
    for sha256, number in Counter(row.sha256 for row in evidence.rows).items():
        if number > 1:
            yield f"doubled photo: {sha256[:12]} has {number} rows"
    for row in evidence.rows:
        yield from _end_of(row)


def _end_of(row: Row) -> Iterator[str]:
    if row.state not in {"done", "failed"}:
        yield f"no end: photo {row.photo} is {row.state}"
    elif row.state == "failed":
        if not row.reason:
            yield f"no reason: photo {row.photo} failed, and nothing says why"
        else:
            yield f"failed: a good photo, {row.photo}, failed with {row.reason}"


def _faces(evidence: Evidence, reference: tuple[tuple[int, ...], ...]) -> Iterator[str]:
    for row in evidence.rows:
        if row.state == "done" and row.faces != reference:
            yield f"faces: photo {row.photo} has {row.faces}, and shows {reference}"


def _deleted(history: list[Operation], evidence: Evidence) -> Iterator[str]:
    deleted = _acknowledged(history, "delete")
    for row in evidence.rows:
        if row.photo in deleted:
            yield f"came back: photo {row.photo} was deleted"
    kept = {row.sha256 for row in evidence.rows} | evidence.before
    for photo, sha256 in deleted.items():
        if sha256 in evidence.files and sha256 not in kept:
            yield f"file stays: the original of the deleted photo {photo} is there"


def _files(history: list[Operation], evidence: Evidence) -> Iterator[str]:
    sent = {each.key for each in history if each.what == "upload"}
    for row in evidence.rows:
        if row.sha256 not in sent:
            yield f"not sent: nobody sent photo {row.photo}"
    for name, sha256 in evidence.files.items():
        if name not in sent and name not in evidence.before:
            yield f"not sent: nobody sent the file {name[:12]}"
        if sha256 != name:
            yield f"bytes: the original {name[:12]} has other bytes"


def _copies(evidence: Evidence) -> Iterator[str]:
    """After a comparison of all: each host has what the web host has, and nothing else."""
    for host, copies in evidence.copies.items():
        for name in evidence.files.keys() - copies.keys():
            yield f"no copy: {host} lacks the original {name[:12]}"
        for name in copies.keys() - evidence.files.keys():
            yield f"copy stays: {host} has {name[:12]}, which is no original"
        for name, sha256 in copies.items():
            if sha256 != name:
                yield f"bytes: the copy {name[:12]} of {host} has other bytes"


def _chain(evidence: Evidence) -> Iterator[str]:
    if evidence.chain_fault:
        yield f"audit: {evidence.chain_fault}"


def _alerts(evidence: Evidence, faults: Sequence[Happened], patience: float) -> Iterator[str]:
    late = ALERT_LATE * patience
    for fault in faults:
        if fault.healed - fault.began > ALERT_AFTER and fault.must:
            heard = {
                each.name for each in evidence.alerts if fault.began <= each.began <= fault.healthy + late
            }
            if not heard & set(fault.must):
                lasted = f"{fault.healed - fault.began:.0f} s"
                yield f"silent: fault {fault.number}, {fault.kind} of {fault.target}, took {lasted}; no alert"
    for alert in evidence.alerts:
        explained = any(
            alert.name in (*fault.may, *fault.must) and fault.began <= alert.began <= fault.healthy + late
            for fault in faults
        )
        if alert.name != "Watchdog" and not explained:
            yield f"false alarm: {alert.name} fired, and no fault is its cause"


def outages(history: Iterable[Operation], fault: Happened) -> dict[str, float]:
    """Of each client, the longest from a call that got no answer to the end of its next that did.

    A client that is not answered until the end of the fault's time counts with all of it.
    """
    longest: dict[str, float] = {}
    since: dict[str, float] = {}
    for each in sorted(history, key=lambda one: one.called):
        if each.returned < fault.began:
            continue
        if each.outcome == "ok":
            if each.client in since:
                seconds = each.returned - since.pop(each.client)
                longest[each.client] = max(longest.get(each.client, 0.0), seconds)
            elif each.called <= fault.healthy:
                # Slow, and answered: what it waited is no outage.
                longest.setdefault(each.client, 0.0)
        elif each.called <= fault.healthy:
            since.setdefault(each.client, each.called)
    for client, began in since.items():
        longest[client] = max(longest.get(client, 0.0), fault.healthy - began)
    return longest


def _outages(history: list[Operation], faults: Sequence[Happened], patience: float) -> Iterator[str]:
    for fault in faults:
        budget = BUDGETS[fault.kind] * patience
        for client, seconds in outages(history, fault).items():
            if seconds > budget:
                yield (
                    f"outage: fault {fault.number}, {fault.kind} of {fault.target}: {client} was not answered"
                    f" for {seconds:.0f} s; its budget is {budget:.0f} s"
                )
