"""Health for load balancers, and what only databases know for Prometheus."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from flask import Blueprint, Response
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from face_pipeline.broker.answers import hit_ratio
from face_pipeline.broker.queues import lengths
from face_pipeline.store import (
    chain,
    clusters,
    copy_rounds,
    deliveries,
    indexes,
    key_addresses,
    ledger,
    original_faults,
    reembedding,
    retention,
    standbys,
)
from face_pipeline.store.models import UNFINISHED, State
from face_pipeline.web.api import views
from face_pipeline.web.contract import answers
from face_pipeline.web.current import parts

log = logging.getLogger(__name__)

bp = Blueprint("health", __name__)


@bp.get("/health/live")
def live() -> Response:
    return views.answer(answers.Live.model_construct(status="live"))


@bp.get("/health/ready")
def ready() -> Response:
    checks = answers.Checks.model_construct(
        database=_check(_database),
        redis=_check(_redis),
        scratch=_check(_scratch),
        originals=_check(_originals),
    )
    good = all(state == "ok" for _, state in checks)
    told = answers.Ready.model_construct(status="ready" if good else "unready", checks=checks)
    return views.answer(told, 200 if good else 503)


def _check(probe: Callable[[], None]) -> str:
    try:
        probe()
    except Exception as error:
        # The text of the error may name hosts; the log has it.
        return type(error.__cause__ or error).__name__
    return "ok"


def _database() -> None:
    with parts().database.transaction() as session:
        ledger.probe(session)


def _redis() -> None:
    parts().queue.ping()


def _scratch() -> None:
    parts().scratch.ping()


def _originals() -> None:
    if not parts().originals.writable():
        raise PermissionError("originals are not writable")
    parts().originals.check_room()


def installation() -> Iterable[Metric]:
    """Values of the whole installation, for `/metrics`."""
    for read in (
        _from_redis,
        _from_scratch,
        _from_database,
        _of_indexes,
        _of_hooks,
        _of_audit,
        _of_spool,
        _of_keys,
        _of_retention,
        _of_originals,
        _of_copies,
        _of_standbys,
        _of_reembedding,
    ):
        try:
            yield from list(read())
        except Exception:
            # Whatever ails one of them: the values of the others are told.
            log.debug("some values of the installation cannot be read", exc_info=True)


def _from_redis() -> Iterator[Metric]:
    pending = GaugeMetricFamily("celery_tasks_pending", "Messages waiting in a queue.", labels=["queue"])
    for queue, length in lengths(parts().queue).items():
        pending.add_metric([queue], length)
    yield pending


def _from_scratch() -> Iterator[Metric]:
    ratio = hit_ratio(parts().scratch)
    if ratio is not None:
        yield GaugeMetricFamily(
            "face_recognition_cache_hit_ratio", "Cached answers of all searches, 0 to 1.", value=ratio
        )


def _from_database() -> Iterator[Metric]:
    with parts().database.transaction() as session:
        states = {**dict.fromkeys(UNFINISHED, 0), **ledger.states(session)}
        states[State.FAILED] = ledger.failed(session)
        oldest = ledger.oldest_waiting(session)
        looked = clusters.totals(session)
    rows = GaugeMetricFamily(
        "face_recognition_ledger_photos", "Photos that are not done, by state.", labels=["state"]
    )
    for state, count in states.items():
        rows.add_metric([state], count)
    yield rows
    age = (datetime.now(UTC) - oldest).total_seconds() if oldest else 0.0
    yield GaugeMetricFamily(
        "face_recognition_oldest_waiting_photo_seconds", "Age of the oldest photo that waits.", value=age
    )
    for name, text, value in (
        ("unknown_faces", "Faces of unknown people, as the last look found them.", looked.unknown_faces),
        ("clusters", "Groups of unknown faces, as the last look found them.", looked.clusters),
        ("clustering_seconds", "The last look at unknown faces, of all collections.", looked.seconds),
    ):
        yield GaugeMetricFamily(f"face_recognition_{name}", text, value=value)


def _of_indexes() -> Iterator[Metric]:
    with parts().database.reading() as session:
        measured = [each for each in indexes.indexed(session) if each.index_measured_at is not None]
    for name, text, value in (
        ("found_ratio", "True matches that the index finds, 0 to 1, as measured last.", "index_found"),
        ("ef_search", "Candidates that a search of the index keeps.", "index_ef"),
    ):
        family = GaugeMetricFamily(f"face_recognition_index_{name}", text, labels=["collection"])
        for collection in measured:
            family.add_metric([collection.name], getattr(collection, value))
        yield family


def _of_hooks() -> Iterator[Metric]:
    with parts().database.reading() as session:
        told = deliveries.summary(session)
    hooks = GaugeMetricFamily("face_recognition_hooks", "Web hooks, by how they are.", labels=["state"])
    for state, count in (("well", told.well), ("failing", told.failing), ("disabled", told.disabled)):
        hooks.add_metric([state], count)
    yield hooks
    yield GaugeMetricFamily(
        "face_recognition_hook_oldest_waiting_seconds",
        "Age of the oldest event that a web hook has not got.",
        value=told.oldest_waiting_seconds,
    )


def _of_audit() -> Iterator[Metric]:
    with parts().database.reading() as session:
        waiting, check = chain.waiting(session), chain.last_check(session)
    yield GaugeMetricFamily(
        "face_recognition_audit_oldest_unsealed_seconds",
        "For how long the first entry of the audit has waited for its seal.",
        value=waiting.seconds,
    )
    if check is not None:
        yield GaugeMetricFamily(
            "face_recognition_audit_fits",
            "1: at the last check all entries of the audit fitted its chain, 0: one did not.",
            value=float(check.fault is None),
        )


def _of_spool() -> Iterator[Metric]:
    spool = parts().spool
    if spool is None:
        return
    kept = spool.kept()
    for name, text, value in (
        (
            "face_recognition_audit_kept_entries",
            "Entries of the audit that wait on a web host for the database.",
            kept.count,
        ),
        (
            "face_recognition_audit_kept_oldest_seconds",
            "For how long the first of the entries that wait has waited.",
            kept.seconds,
        ),
    ):
        yield GaugeMetricFamily(name, text, value=value)


def _of_keys() -> Iterator[Metric]:
    with parts().database.reading() as session:
        found = key_addresses.new(session)
    yield GaugeMetricFamily(
        "face_recognition_key_new_addresses",
        "Networks from which keys were used in the last hour and never before.",
        value=found,
    )


def _of_retention() -> Iterator[Metric]:
    with parts().database.reading() as session:
        found = retention.expired(session)
    removed = CounterMetricFamily(
        "face_recognition_retention_removed",
        "What the retention of a collection has removed: originals, unknown faces.",
        labels=["collection", "what"],
    )
    for each in found:
        removed.add_metric([each.name, "originals"], each.originals_expired)
        removed.add_metric([each.name, "faces"], each.faces_expired)
    yield removed


def _of_originals() -> Iterator[Metric]:
    with parts().database.reading() as session:
        found = original_faults.counts(session)
    family = GaugeMetricFamily(
        "face_recognition_original_faults",
        "Originals that are missing or damaged, as each was read last.",
        labels=["fault"],
    )
    for fault, number in found.items():
        family.add_metric([fault], number)
    yield family


def _of_copies() -> Iterator[Metric]:
    if parts().copies is None:
        return
    with parts().database.reading() as session:
        found = copy_rounds.every(session)
    now = datetime.now(UTC)
    families = [
        GaugeMetricFamily(f"face_recognition_originals_copies_{name}", text, labels=["copy_host"])
        for name, text in (
            ("missing", "Originals that a host has no copy of, as the last comparison left it."),
            ("away_seconds", "For how long a host that keeps copies has not answered; 0: it answers."),
            ("round_age_seconds", "Age of the last comparison of a host's copies with the ledger."),
        )
    ]
    for each in found:
        away = (now - each.away_since).total_seconds() if each.away_since else 0.0
        age = (now - each.ended_at).total_seconds() if each.ended_at else math.inf
        for family, value in zip(families, (each.missing, away, age), strict=True):
            family.add_metric([each.host], value)
    yield from families


def _of_standbys() -> Iterator[Metric]:
    slots = parts().settings.standbys.split()
    if not slots:
        return
    with parts().database.reading() as session:
        found = standbys.every(session, slots)
    families = [
        GaugeMetricFamily(f"face_recognition_database_standby_{name}", text, labels=["standby"])
        for name, text in (
            ("follows", "Whether a standby of the database follows it."),
            ("lost", "Whether the database no longer has what a standby missed, which has to be made anew."),
            ("behind_bytes", "Bytes of the database's log that a standby does not have on its disk."),
        )
    ]
    for each in found:
        for family, value in zip(families, (each.follows, each.lost, each.behind), strict=True):
            if value is not None:
                family.add_metric([each.name], value)
    yield from families


def _of_reembedding() -> Iterator[Metric]:
    with parts().database.reading() as session:
        told = reembedding.told(session)
    if told is None:
        return
    photos = GaugeMetricFamily(
        "face_recognition_reembedding_photos",
        "Photos of collections that are being moved to another model pack, by what became of them.",
        labels=["state"],
    )
    for state, number in told.photos.items():
        photos.add_metric([state], number)
    yield photos
    yield GaugeMetricFamily(
        "face_recognition_reembedding_faces_left",
        "Faces that the other pack has no embedding of, of photos that it looked at.",
        value=told.left,
    )
    if told.searches:
        yield GaugeMetricFamily(
            "face_recognition_reembedding_agreement_ratio",
            "Searches of stored faces by which both packs find the same person, or nobody, 0 to 1.",
            value=told.agreed / told.searches,
        )
        right = GaugeMetricFamily(
            "face_recognition_reembedding_right_ratio",
            "Searches of stored faces by which a pack finds the right person, 0 to 1.",
            labels=["pack"],
        )
        for pack, number in (("in use", told.right_source), ("other", told.right_target)):
            right.add_metric([pack], number / told.searches)
        yield right
    if told.shadowed.faces:
        shadow = GaugeMetricFamily(
            "face_recognition_reembedding_shadow_ratio",
            "How both packs agree on what people searched, 0 to 1.",
            labels=["same"],
        )
        for what, share in (
            ("person", told.shadowed.person), ("face", told.shadowed.face), ("matches", told.shadowed.shared)
        ):  # fmt: skip
            shadow.add_metric([what], share / told.shadowed.faces)
        yield shadow
    yield GaugeMetricFamily(
        "face_recognition_reembedding_idle_seconds",
        "For how long nobody has looked at photos though some have to be looked at.",
        value=told.idle_seconds,
    )
