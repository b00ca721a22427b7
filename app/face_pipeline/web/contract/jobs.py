"""What waits, who works on it, how fast it goes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from face_pipeline.broker.names import QUEUES
from face_pipeline.store.models import Scope
from face_pipeline.web.contract.answers import Answer, Count, Time
from face_pipeline.web.contract.call import Call, Codes, Reply

Seconds = Annotated[float, Field(ge=0)]


class JobQueue(Answer):
    name: str = Field(json_schema_extra={"enum": list(QUEUES)})
    messages: Count = Field(description="Those that no worker has taken yet.")


class JobPhotos(Answer):
    waiting: Count
    processing: Count
    done_today: Count = Field(description="Since midnight where the service is.")
    failed: Count = Field(description="All that are there; they stay until they are retried or erased.")
    oldest_waiting_seconds: Seconds | None = Field(description="Null: no photo waits.")


class JobRate(Answer):
    """Photos of all workers that run, in the last `seconds`."""

    seconds: Annotated[int, Field(ge=1)]
    done: Count
    failed: Count
    done_per_second: Seconds
    failed_per_second: Seconds


class JobWorker(Answer):
    """A worker process, as it told of itself."""

    name: str
    host: str
    unit: str | None = Field(description="Of systemd on that host; null outside systemd.")
    alive: bool
    last_heard_seconds: Seconds = Field(
        description="A worker tells every 5 seconds; after 15 minutes of silence it is left out."
    )
    started_at: Time
    threads: Annotated[int, Field(ge=1)]
    busy: Count = Field(description="Threads that have a task.")
    tasks_done: Count = Field(description="Photos and searches since its start.")
    photos_last_minute: Count = Field(description="Done and failed.")
    provider: str = Field(
        description="What it computes by: CPUExecutionProvider, OpenVINO or CUDAExecutionProvider."
    )
    pack: str
    contract_id: str
    release: str


class JobScaling(Answer):
    wanted: Count | None = Field(description="Workers that the hosts are to run; null: nobody said.")
    running: Count
    by_hand: bool = Field(description="A person gave the number of some host: the autoscaler leaves it.")
    command: str = Field(description="What to type on the controller; N: workers in all.")
    words: str


class Jobs(Answer):
    queues: list[JobQueue]
    photos: JobPhotos
    rates: list[JobRate]
    workers: list[JobWorker]
    scaling: JobScaling


CALLS: tuple[Call, ...] = (
    Call(
        "get", "/api/v1/jobs", "read_jobs", "What waits, who works on it, how fast it goes",
        {200: Reply("Of the whole installation.", Jobs)},
        "From the queues, the ledger, and what workers tell of themselves; no Prometheus is asked.",
        scope=Scope.READ,
        errors=(503,),
    ),
)  # fmt: skip

CODES: Codes = {}
