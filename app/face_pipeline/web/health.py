"""Health for load balancers, and what only databases know for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from flask import Blueprint, Response
from prometheus_client.core import GaugeMetricFamily, Metric
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from face_pipeline.config import get_settings
from face_pipeline.store import ledger
from face_pipeline.store.database import transaction
from face_pipeline.store.originals import Originals
from face_pipeline.web import cache
from face_pipeline.web.api import views
from face_pipeline.web.contract import answers
from face_pipeline.worker import exchange
from face_pipeline.worker.app import QUEUE_INGEST, QUEUE_SEARCH, queue_client

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
    except (SQLAlchemyError, RedisError, OSError) as error:
        # The text of the error may name hosts; the log has it.
        return type(error).__name__
    return "ok"


def _database() -> None:
    with transaction() as session:
        session.execute(text("SELECT 1 FROM photos LIMIT 1"))


def _redis() -> None:
    queue_client().ping()


def _scratch() -> None:
    exchange.client().ping()


def _originals() -> None:
    if not Originals(get_settings().originals_dir).writable():
        raise PermissionError("originals are not writable")


def installation() -> Iterable[Metric]:
    """Values of the whole installation, for `/metrics`."""
    for read in (_from_redis, _from_scratch, _from_database):
        try:
            yield from list(read())
        except (SQLAlchemyError, RedisError):
            continue


def _from_redis() -> Iterator[Metric]:
    connection = queue_client()
    pending = GaugeMetricFamily("celery_tasks_pending", "Messages waiting in a queue.", labels=["queue"])
    for queue in (QUEUE_SEARCH, QUEUE_INGEST):
        pending.add_metric([queue], float(connection.llen(queue)))  # type: ignore[arg-type]
    yield pending


def _from_scratch() -> Iterator[Metric]:
    ratio = cache.hit_ratio(exchange.client())
    if ratio is not None:
        yield GaugeMetricFamily(
            "face_recognition_cache_hit_ratio", "Cached answers of all searches, 0 to 1.", value=ratio
        )


def _from_database() -> Iterator[Metric]:
    with transaction() as session:
        states = {**dict.fromkeys(ledger.UNFINISHED, 0), **ledger.states(session)}
        states["failed"] = ledger.failed(session)
        oldest = ledger.oldest_waiting(session)
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
