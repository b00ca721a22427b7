"""The Celery application: where its messages go, and how they are sent."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from celery import Celery
from kombu import Exchange, Queue
from kombu.serialization import dumps

from face_pipeline.broker.messages import Wanted
from face_pipeline.broker.names import (
    QUEUE_INGEST,
    QUEUE_SEARCH,
    QUEUES,
    TASK_INGEST,
    TASK_PICTURE,
    TASK_SEARCH,
)
from face_pipeline.broker.redis import (
    HEALTH_CHECK_SECONDS,
    OPTIONS,
    SOCKET_TIMEOUT_SECONDS,
    reached,
    tls_options,
)
from face_pipeline.errors import QueueUnavailable
from face_pipeline.network import CONNECT_TIMEOUT_SECONDS

# Of those that one command brings to Redis.
MESSAGES_AT_ONCE = 500
# AMQP's number for messages that a broker keeps on its disk.
PERSISTENT = 2

BROKER_OPTIONS: dict[str, Any] = {
    # kombu would write each message that a worker takes into a hash of Redis, and take it out again, so that
    # it could come back an hour after a worker was lost. The ledger brings it back within half a minute.
    "ack_emulation": False,
    # One list a queue, and not four.
    "priority_steps": [0],
    "queue_order_strategy": "face_pipeline.broker.transport:SearchFirst",
    **OPTIONS,
    "socket_timeout": SOCKET_TIMEOUT_SECONDS,
    "health_check_interval": HEALTH_CHECK_SECONDS,
    # One try: an upload is kept in the ledger when Redis is down, and must not wait for it.
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.2,
    "interval_max": 0.2,
}


def _queue(name: str) -> Queue:
    return Queue(name, Exchange(name, type="direct"), routing_key=name)


def make_app(broker_url: str, authority: str = "") -> Celery:
    """The application as whoever sends a task needs it; `worker.celery` adds what a worker needs.

    With `authority`, the file of one's certificate, the broker is asked by TLS and has to prove who it is.
    """
    app = Celery("face_pipeline", broker=broker_url)
    app.conf.update(
        broker_transport="face_pipeline.broker.transport:Transport",
        task_queues=[_queue(name) for name in QUEUES],
        task_default_queue=QUEUE_INGEST,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=BROKER_OPTIONS,
        broker_use_ssl=tls_options(authority) if authority else False,
        enable_utc=True,
    )
    return app


def publish_ingest(app: Celery, photo_ids: Sequence[uuid.UUID], request_id: str | None) -> list[uuid.UUID]:
    """Send one message for each photo; returns those sent before Redis refused some. QueueUnavailable: none.

    A second message for the same photo does no harm: the first task to claim the row wins.
    """
    sent: list[uuid.UUID] = []
    try:
        with reached(), app.producer_pool.acquire(block=True, timeout=CONNECT_TIMEOUT_SECONDS) as producer:
            channel = producer.channel
            for start in range(0, len(photo_ids), MESSAGES_AT_ONCE):
                some = photo_ids[start : start + MESSAGES_AT_ONCE]
                channel.put_all(QUEUE_INGEST, [_message(app, channel, each, request_id) for each in some])
                sent += some
    except QueueUnavailable:
        if not sent:
            raise
    return sent


def _message(app: Celery, channel: Any, photo_id: uuid.UUID, request_id: str | None) -> dict[str, Any]:
    """What `app.send_task` would put into the queue `ingest`."""
    task = app.amqp.as_task_v2(str(uuid.uuid4()), TASK_INGEST, [str(photo_id)])
    content_type, encoding, body = dumps(task.body, serializer="json")
    message: dict[str, Any] = channel.prepare_message(
        body, content_type=content_type, content_encoding=encoding,
        headers={**task.headers, "request_id": request_id},
        properties={**task.properties, "delivery_mode": PERSISTENT},
    )  # fmt: skip
    return message


@reached()
def publish_search(
    app: Celery, search_id: str, *, task_id: str, request_id: str | None, expires_seconds: float
) -> None:
    """Let a worker compute the search of this id, unless none takes it for `expires_seconds`."""
    _publish_prompt(app, TASK_SEARCH, [search_id], task_id, request_id, expires_seconds)


@reached()
def publish_picture(
    app: Celery, wanted: Wanted, *, task_id: str, request_id: str | None, expires_seconds: float
) -> None:
    """Let a worker make this picture, unless none takes it for `expires_seconds`."""
    # Not the photo's hash: this Redis has a file, which outlives an erasure.
    arguments = [wanted.id, wanted.kind, wanted.size, wanted.boxes]
    _publish_prompt(app, TASK_PICTURE, arguments, task_id, request_id, expires_seconds)


def _publish_prompt(
    app: Celery, task: str, arguments: list[Any], task_id: str, request_id: str | None, expires_seconds: float
) -> None:
    """Somebody waits for these: they have the queue that is served first."""
    app.send_task(
        task,
        args=arguments,
        task_id=task_id,
        queue=QUEUE_SEARCH,
        expires=expires_seconds,
        headers={"request_id": request_id},
        retry=False,
    )
