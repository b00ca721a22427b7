"""What is installed, how it is set, and whether each part is well; for admins."""

from __future__ import annotations

from flask import Blueprint, Response

from face_pipeline.actions import doctor, system
from face_pipeline.config import Settings
from face_pipeline.engine import contract_id
from face_pipeline.errors import Unavailable
from face_pipeline.store import idempotency, merges
from face_pipeline.store.models import Scope
from face_pipeline.web.api import views
from face_pipeline.web.auth import requires
from face_pipeline.web.contract import system as contract
from face_pipeline.web.current import parts

bp = Blueprint("system", __name__)

examiner = doctor.Examiner()

# The worst last.
ORDER = (doctor.State.OK, doctor.State.SKIPPED, doctor.State.WARN, doctor.State.FAIL)
BACKUPS = "made by timers: the database each night, its log within a minute, originals and settings each hour"
NO_BACKUPS = "not configured: nothing makes backups here until face_backup_enabled is true (docs/backup.md)"
AUDIT_STAYS = "kept until somebody removes it: `face-pipeline audit prune --older-than 365d`"
LINKS = (("API", "/docs"), ("Runbooks", "/runbooks/"))


@bp.get("/system")
@requires(Scope.ADMIN)
def read() -> Response:
    found, settings = system.look(parts()), parts().settings
    return views.answer(
        contract.System.model_construct(
            release=contract.SystemRelease.model_construct(version=found.version, id=found.release),
            database=contract.SystemDatabase.model_construct(
                current=found.current,
                head=found.head,
                up_to_date=found.current == found.head,
                postgresql=found.postgresql,
                database_bytes=found.database_bytes,
            ),
            pack=_pack(),
            device=settings.device,
            providers=None
            if found.providers is None
            else [
                contract.SystemProvider.model_construct(name=name, workers=count)
                for name, count in sorted(found.providers.items())
            ],
            runtime=_runtime(found.runtime),
            host=_host(found.host),
            tls=_tls(found),
            backups=_backups(settings),
            retention=_retention(settings),
            limits=_limits(settings),
            doors=[_link(name.capitalize(), f"/{name}/") for name in _doors(settings)],
            links=[_link(name, path) for name, path in LINKS],
        )
    )


def _backups(settings: Settings) -> contract.SystemBackups:
    words = BACKUPS if settings.backup_enabled else NO_BACKUPS
    return contract.SystemBackups.model_construct(configured=settings.backup_enabled, words=words)


def _doors(settings: Settings) -> list[str]:
    """What nginx serves beside the pages, as the role wrote it."""
    return str(getattr(settings, "doors", "")).split()


def _link(name: str, path: str) -> contract.SystemLink:
    return contract.SystemLink.model_construct(name=name, path=path)


def _pack() -> contract.SystemPack | None:
    try:
        pack = parts().pack
    except Unavailable:
        return None
    return contract.SystemPack.model_construct(
        name=pack.name,
        engine=pack.engine,
        licence=pack.licence,
        contract_id=contract_id(pack),
        dimension=pack.dimension,
        files=[
            contract.SystemPackFile.model_construct(role=each.role, name=each.name, sha256=each.sha256)
            for each in pack.files
        ],
        thresholds=views.thresholds(pack),
    )


def _runtime(runtime: system.Runtime | None) -> contract.SystemRuntime | None:
    return contract.SystemRuntime.model_construct(**vars(runtime)) if runtime else None


def _host(host: system.Host) -> contract.SystemHost:
    return contract.SystemHost.model_construct(
        name=host.name,
        cores=host.cores,
        memory_bytes=host.memory,
        memory_available_bytes=host.memory_available,
        originals=_disk(host.originals),
        database=_disk(host.database),
    )


def _disk(disk: system.Disk | None) -> contract.SystemDisk | None:
    if disk is None:
        return None
    return contract.SystemDisk.model_construct(path=disk.path, total_bytes=disk.total, free_bytes=disk.free)


def _tls(found: system.System) -> contract.SystemTls:
    shown = found.certificate
    told = None
    if shown is not None:
        told = contract.SystemCertificate.model_construct(
            subject=shown.subject,
            issuer=shown.issuer,
            not_after=shown.not_after.isoformat(timespec="milliseconds"),
            days_left=shown.days_left,
        )
    return contract.SystemTls.model_construct(certificate=told, words=found.certificate_words)


def _retention(settings: Settings) -> contract.SystemRetention:
    return contract.SystemRetention.model_construct(
        events_days=settings.events_days,
        merges_undo_hours=merges.UNDO_HOURS,
        idempotent_answers_hours=int(idempotency.KEEP.total_seconds() // 3600),
        search_answers_seconds=settings.search_cache_seconds,
        audit=AUDIT_STAYS,
    )


def _limits(settings: Settings) -> contract.SystemLimits:
    return contract.SystemLimits.model_construct(
        upload_max_bytes=settings.upload_max_bytes,
        upload_max_pixels=settings.upload_max_pixels,
        upload_max_photos=settings.upload_max_photos,
        request_max_bytes=settings.request_max_bytes,
        requests_per_minute=settings.limit_requests_per_minute,
        failed_sign_ins_per_minute=settings.limit_failed_sign_ins_per_minute,
        search_timeout_seconds=settings.search_timeout_seconds,
        task_deadline_seconds=settings.task_deadline_seconds,
        task_max_attempts=settings.task_max_attempts,
    )


@bp.get("/system/doctor")
@requires(Scope.ADMIN)
def examine() -> Response:
    findings = examiner.examine(parts())
    return views.answer(
        contract.Doctor.model_construct(
            state=max((each.state for each in findings), key=ORDER.index),
            findings=[
                contract.DoctorFinding.model_construct(
                    check=each.check, state=each.state, found=each.found, mend=each.mend
                )
                for each in findings
            ],
            command=doctor.COMMAND,
        )
    )
