"""What is installed, how it is set, and whether each part is well; for admins."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from face_pipeline.actions.doctor import State
from face_pipeline.store.models import Scope
from face_pipeline.web.contract.answers import Answer, Count, Sha256, Thresholds, Time
from face_pipeline.web.contract.call import Call, Codes, Reply

Seconds = Annotated[float, Field(ge=0)]


class SystemRelease(Answer):
    version: str
    id: str = Field(description="Of the installed release; `development` elsewhere.")


class SystemDatabase(Answer):
    current: str | None = Field(description="Revision of the database.")
    head: str | None = Field(description="Revision that this release needs.")
    up_to_date: bool
    postgresql: str
    database_bytes: Count


class SystemPackFile(Answer):
    role: str
    name: str
    sha256: Sha256


class SystemPack(Answer):
    """The model pack of this host."""

    name: str
    engine: str
    licence: str
    contract_id: str
    dimension: Annotated[int, Field(ge=1)]
    files: list[SystemPackFile]
    thresholds: Thresholds


class SystemProvider(Answer):
    name: str
    workers: Count


class SystemDisk(Answer):
    path: str
    total_bytes: Count
    free_bytes: Count


class SystemHost(Answer):
    """The web host that answers."""

    name: str
    cores: Annotated[int, Field(ge=1)]
    memory_bytes: Count
    memory_available_bytes: Count
    originals: SystemDisk | None
    database: SystemDisk | None = Field(
        description="Null: on another host, or not to be seen from the web service."
    )


class SystemCertificate(Answer):
    subject: str
    issuer: str
    not_after: Time
    days_left: int


class SystemTls(Answer):
    certificate: SystemCertificate | None = Field(description="Null: it cannot be seen; `words` says why.")
    words: str


class SystemBackups(Answer):
    configured: bool
    words: str


class SystemRetention(Answer):
    events_days: Count
    merges_undo_hours: Count
    idempotent_answers_hours: Count
    search_answers_seconds: Count
    audit: str


class SystemRuntime(Answer):
    """What computes on this host, and how quickly it was measured to when the pack was prepared."""

    wanted: str = Field(description="As it is set: auto, onnxruntime or openvino.")
    used: str | None = Field(description="Null: what is wanted is not installed.")
    prepared: bool = Field(description="Whether the pack's prepared models are used; else its originals.")
    profile_wanted: str = Field(description="As it is set: exact or fast.")
    profile: str = Field(description="The profile that is used.")
    profile_refusal: str | None = Field(
        description="Why exact is used although fast is set; null: what is set is used, or no worker "
        "computes on this host."
    )
    milliseconds_original: float | None = Field(
        description="Processor time of a photo by the pack's originals; null: not measured."
    )
    milliseconds: float | None = Field(description="The same as it is used now; null: not measured.")


class SystemLimits(Answer):
    upload_max_bytes: Count
    upload_max_pixels: Count
    upload_max_photos: Count
    request_max_bytes: Count
    requests_per_minute: Annotated[int, Field(ge=0, description="Of a key without its own; 0: any number.")]
    failed_sign_ins_per_minute: Annotated[int, Field(ge=0, description="0: any number.")]
    search_timeout_seconds: Seconds
    task_deadline_seconds: Seconds
    task_max_attempts: Count


class SystemLink(Answer):
    name: str
    path: str


class System(Answer):
    release: SystemRelease
    database: SystemDatabase
    pack: SystemPack | None = Field(
        description="Null: it is missing or damaged; GET /system/doctor says more."
    )
    device: str = Field(description="Where this host's workers compute: cpu or cuda.")
    providers: list[SystemProvider] | None = Field(
        description="What the running workers compute by; null: the queues cannot be asked."
    )
    runtime: SystemRuntime | None = Field(description="Null: the pack is missing or damaged.")
    host: SystemHost
    tls: SystemTls
    backups: SystemBackups
    retention: SystemRetention
    limits: SystemLimits
    doors: list[SystemLink] = Field(description="Programs beside this one that are installed.")
    links: list[SystemLink]


class DoctorFinding(Answer):
    """What a check found."""

    check: str
    state: State
    found: str
    mend: str = Field(description="What to do about it; empty where there is nothing to do.")


class Doctor(Answer):
    state: State = Field(description="The worst of all.")
    findings: list[DoctorFinding]
    command: str = Field(description="Sees what the web service may not see.")


CALLS: tuple[Call, ...] = (
    Call(
        "get", "/api/v1/system", "read_system", "What is installed, and how it is set",
        {200: Reply("All of it.", System)},
        scope=Scope.ADMIN,
        errors=(503,),
    ),
    Call(
        "get", "/api/v1/system/doctor", "examine_system", "Whether each part is well, and what mends it",
        {200: Reply("What each check found.", Doctor)},
        "The checks of `face-pipeline doctor`, as far as the web service may see; within seconds.",
        scope=Scope.ADMIN,
        errors=(503,),
    ),
)  # fmt: skip

CODES: Codes = {}
