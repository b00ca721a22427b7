"""What waits, who works on it, how fast it goes."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, Response

from face_pipeline.actions import jobs
from face_pipeline.broker.presence import Heard
from face_pipeline.store.models import Scope
from face_pipeline.web.api import views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import jobs as contract
from face_pipeline.web.current import parts

bp = Blueprint("jobs", __name__)

SCALE = "./face-ansible playbooks/scale.yml -e workers=N"
SCALE_WORDS = (
    f"To run another number of workers type on the controller: {SCALE} (N: workers in all; auto: the "
    "autoscaler goes on)."
)

# The window of what workers say, in seconds.
LAST_MINUTE = "60"


@bp.get("/jobs")
@requires(Scope.READ)
def read() -> Response:
    found = jobs.look(parts())
    return views.answer(
        contract.Jobs.model_construct(
            queues=[
                contract.JobQueue.model_construct(name=name, messages=count)
                for name, count in found.queues.items()
            ],
            photos=contract.JobPhotos.model_construct(
                waiting=found.waiting,
                processing=found.processing,
                done_today=found.done_today,
                failed=found.failed,
                oldest_waiting_seconds=found.oldest_waiting_seconds,
            ),
            rates=[_rate(each) for each in found.rates],
            workers=[worker(each) for each in found.workers],
            scaling=contract.JobScaling.model_construct(
                wanted=found.wanted,
                running=found.running,
                by_hand=found.by_hand,
                command=SCALE,
                words=SCALE_WORDS,
            ),
        )
    )


def _rate(rate: jobs.Rate) -> contract.JobRate:
    return contract.JobRate.model_construct(
        seconds=rate.seconds,
        done=rate.done,
        failed=rate.failed,
        done_per_second=round(rate.done / rate.seconds, 3),
        failed_per_second=round(rate.failed / rate.seconds, 3),
    )


def worker(heard: Heard) -> contract.JobWorker:
    said = heard.said
    return contract.JobWorker.model_construct(
        name=said.name,
        host=said.host,
        unit=f"celery@{said.instance}.service" if said.instance else None,
        alive=heard.alive,
        last_heard_seconds=round(heard.ago_seconds, 1),
        started_at=datetime.fromtimestamp(said.started_at, UTC).isoformat(timespec="milliseconds"),
        threads=said.threads,
        busy=said.busy,
        tasks_done=said.tasks,
        photos_last_minute=said.done.get(LAST_MINUTE, 0) + said.failed.get(LAST_MINUTE, 0),
        provider=said.provider,
        pack=said.pack,
        contract_id=said.contract,
        release=said.release,
    )
