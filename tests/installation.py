"""A pipeline on loopback, made of the real parts: PostgreSQL, Redis, gunicorn and Celery workers.

What site.yml makes of a host, in one directory; tests and benchmarks share it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from face_pipeline.actions import chain
from face_pipeline.config import get_settings
from face_pipeline.parts import Parts
from face_pipeline.store import audit
from face_pipeline.store import chain as chain_store
from face_pipeline.store.rights import Role

from tests.patience import PATIENCE
from tests.photos import ROOT
from tests.services import Postgres, Redis
from tests.services.process import free_port
from tests.services.redis import TESTER, passwords, user_of

BIN = Path(sys.executable).parent
ADMIN_KEY = "fp_" + "a1B2" * 10
# By which the web service is known to Prometheus and Alertmanager.
MONITORING_PASSWORD = "a password of the tests"
START_SECONDS = 60.0
# `./check campaign` sets how many times as many rounds and examples there are as in `./check`.
CAMPAIGN = int(os.environ.get("FACE_CAMPAIGN", "1"))
# What the systemd units set.
UNIT_ENVIRONMENT = {"MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
WORKER_ENVIRONMENT = {
    **UNIT_ENVIRONMENT,
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "16777216",
}
# First lines of a program of a test, which then has `parts` as a door of the product has.
MAKE_PARTS = """
from face_pipeline.config import get_settings
from face_pipeline.parts import Parts
parts = Parts(get_settings())
"""
# Commands that systemd's units run, each as its role; all others are an operator's, who is the owner.
ROLES = {
    "reconcile": Role.UPKEEP, "cluster": Role.UPKEEP, "tell-hooks": Role.HOOKS, "autoscaler": Role.AUTOSCALER,
}  # fmt: skip
# Celery warns, in plain text, that it runs as root; on a host it does not.
TEST_ENVIRONMENT = {"PYTHONWARNINGS": "ignore"}


def resident_mib(pid: int, field: str = "VmRSS") -> float:
    """What a process has in memory; `VmHWM`: the most it ever had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    return 0.0


def wait_until(condition: Callable[[], Any], seconds: float, what: str, every: float = 0.1) -> Any:
    """Poll `condition` until it is truthy; raises naming `what` was waited for.

    `seconds` is what a quiet machine may need; a busy one gets PATIENCE times as long.
    """
    seconds *= PATIENCE
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(every)
    raise AssertionError(f"waited {seconds:g} s for {what}")


@dataclass
class Installation:
    """What site.yml makes of a host, in a directory: settings, credentials, a migrated database."""

    directory: Path
    postgres: Postgres
    redis: Redis
    # The searches' own, without a file.
    scratch: Redis
    environment: dict[str, str]
    # What this process, the test's, works with.
    parts: Parts
    api_key: str = ADMIN_KEY
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    lasting: Lasting | None = None

    @classmethod
    def make(
        cls,
        directory: Path,
        postgres: Postgres,
        redis: Redis,
        pack: Path,
        scratch: Redis | None = None,
        **settings: str,
    ) -> Installation:
        """Credentials, directories, a migrated database and the admin key; settings also go to os.environ."""
        scratch = scratch or Redis(scratch=True)
        scratch.start()
        credentials = directory / "credentials"
        for name in ("originals", "models", "credentials", "turns"):
            (directory / name).mkdir()
        for name, value in (
            ("database_password", postgres.password),
            *((f"redis_password_{user}", password) for user, password in passwords().items()),
            ("session_secret", "a secret of the tests"),
            ("admin_api_key", ADMIN_KEY),
            ("hooks_key", "a key of the tests"),
            ("receipts_key", "another key of the tests"),
            ("monitoring_web_password", MONITORING_PASSWORD),
        ):
            (credentials / name).write_text(value)
        for role, password in postgres.passwords.items():
            _credentials_of(role, credentials, directory / str(role), password)
        (directory / "models" / pack.name).symlink_to(pack)
        os.environ.update(
            {
                "FACE_ENV_FILE": "/nonexistent",
                "FACE_CREDENTIALS_DIR": str(credentials),
                "FACE_DATABASE_HOST": postgres.host,
                "FACE_DATABASE_PORT": str(postgres.port),
                "FACE_DATABASE_NAME": postgres.database,
                "FACE_DATABASE_USER": postgres.user,
                "FACE_REDIS_USER": TESTER,
                "FACE_REDIS_HOST": redis.host,
                "FACE_REDIS_PORT": str(redis.port),
                "FACE_SCRATCH_REDIS_HOST": scratch.host,
                "FACE_SCRATCH_REDIS_PORT": str(scratch.port),
                "FACE_ORIGINALS_DIR": str(directory / "originals"),
                "FACE_MODELS_DIR": str(directory / "models"),
                "FACE_MODEL_PACK": pack.name,
                "FACE_TURNS_DIR": str(directory / "turns"),
                "FACE_SHADOW_DIR": str(directory / "shadows"),
                "FACE_PUBLIC_URL": "http://127.0.0.1",
                **settings,
            }
        )
        environment = {**os.environ, **UNIT_ENVIRONMENT, **TEST_ENVIRONMENT, "PYTHONPATH": str(ROOT / "app")}
        # What a test starts is to Redis who it is on a host.
        del environment["FACE_REDIS_USER"]
        made = cls(directory, postgres, redis, scratch, environment, Parts(get_settings()))
        made.run("migrate")
        made.run("keys", "ensure", "--name", "admin", "--scopes", "admin", "--credential", "admin_api_key")
        return made

    def signed_in_as(self, role: Role) -> dict[str, str]:
        """What the unit of a role has in its environment, as its systemd unit sets it."""
        return {"FACE_DATABASE_USER": role, "FACE_CREDENTIALS_DIR": str(self.directory / role)}

    @property
    def servers(self) -> tuple[Postgres | Redis, ...]:
        return self.postgres, self.redis, self.scratch

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "face_pipeline.cli", *arguments]
        role = ROLES.get(arguments[0])
        environment = {
            "FACE_REDIS_USER": user_of(command),
            **self.environment,
            **(self.signed_in_as(role) if role else {}),
        }
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if check and result.returncode:
            raise AssertionError(f"face-pipeline {' '.join(arguments)}: {result.stdout}{result.stderr}")
        return result

    def spawn(self, log: str, *command: str, **extra: str) -> subprocess.Popen[bytes]:
        with (self.directory / log).open("ab") as output:
            environment = {"FACE_REDIS_USER": user_of(command), **self.environment, **extra}
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        self.processes.append(process)
        return process

    def log(self, name: str) -> str:
        path = self.directory / name
        return path.read_text() if path.exists() else ""

    def end(self, process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> int:
        if process.poll() is None:
            process.send_signal(number)
        code = process.wait(timeout=START_SECONDS)
        if process in self.processes:
            self.processes.remove(process)
        return code


@contextmanager
def as_role(parts: Parts, role: Role) -> Iterator[Parts]:
    """The parts of an installation as a process of that role's unit has them."""
    directory = parts.settings.credentials_dir.parent / role
    own = {"database_user": role.value, "credentials_dir": directory}
    made = Parts(parts.settings.model_copy(update=own))
    try:
        yield made
    finally:
        made.database.close()


def _credentials_of(role: Role, credentials: Path, own: Path, password: str) -> None:
    """The directory of credentials of a role's units: those of the installation, but for its own password."""
    own.mkdir()
    for credential in credentials.iterdir():
        (own / credential.name).symlink_to(credential)
    (own / "database_password").unlink()
    (own / "database_password").write_text(password)


@dataclass(frozen=True)
class Lasting:
    """A worker that serves the tests of one file."""

    file: Path
    worker: subprocess.Popen[bytes]

    def end(self, installation: Installation) -> None:
        installation.end(self.worker, signal.SIGKILL)
        if installation.lasting is self:
            installation.lasting = None


@dataclass
class App:
    """A running pipeline: gunicorn and its workers."""

    installation: Installation
    url: str
    web: subprocess.Popen[bytes]
    workers: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    # One connection for many requests, where a benchmark wants it.
    session: requests.Session | None = None

    @property
    def api_key(self) -> str:
        return self.installation.api_key

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.api_key}", **options.pop("headers", {})}
        return (self.session or requests).request(
            method, self.url + path, headers=headers, timeout=60, **options
        )

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.request("GET", path, **options)

    def upload(self, *photos: tuple[str, bytes], **form: str) -> requests.Response:
        files = [("photos", photo) for photo in photos]
        return self.request("POST", "/api/v1/photos", files=files, data=form)

    def search(self, photo: bytes, **form: Any) -> requests.Response:
        return self.request("POST", "/api/v1/search", files={"photo": ("query.jpg", photo)}, data=form)

    def prepare_search(self, photo: bytes, **form: Any) -> requests.PreparedRequest:
        """A search with its body made already, for a `requests.Session` to send."""
        return requests.Request(
            "POST", f"{self.url}/api/v1/search", headers={"Authorization": f"Bearer {self.api_key}"},
            files={"photo": ("query.jpg", photo)}, data=form,
        ).prepare()  # fmt: skip

    def wait_finished(self, batch_id: str, seconds: float = 60, every: float = 0.1) -> dict[str, Any]:
        def finished() -> Any:
            batch = self.get(f"/api/v1/batches/{batch_id}").json()
            return batch if batch.get("finished") else None

        batch: dict[str, Any] = wait_until(finished, seconds, f"batch {batch_id} to finish", every)
        return batch

    def start_worker(
        self, instance: int = 1, wait: bool = True, concurrency: int = 2, **extra: str
    ) -> subprocess.Popen[bytes]:
        port = free_port()
        worker = self.installation.spawn(
            f"worker{instance}.log", sys.executable, "-m", "face_pipeline.worker",
            "--hostname", f"worker{instance}@tests",
            FACE_WORKER_INSTANCE=str(instance), FACE_WORKER_CONCURRENCY=str(concurrency),
            FACE_METRICS_PORT_BASE=str(port - instance),
            **{**WORKER_ENVIRONMENT, **self.installation.signed_in_as(Role.WORKER), **extra},
        )  # fmt: skip
        worker.metrics_url = f"http://127.0.0.1:{port}/metrics"  # type: ignore[attr-defined]
        self.workers[instance] = worker
        if wait:
            marker = "ready."
            before = self.installation.log(f"worker{instance}.log").count(marker)
            wait_until(
                lambda: self.installation.log(f"worker{instance}.log").count(marker) > before
                or worker.poll() is not None,
                START_SECONDS, f"worker {instance} to be ready",
            )  # fmt: skip
            assert worker.poll() is None, self.installation.log(f"worker{instance}.log")[-3000:]
        return worker


def seal_all(parts: Parts) -> None:
    """What face-reconciler does each minute, which the doctor looks at. One of another test may be at it.

    The weekly check is done anew: another test's may have found entries that waited too long for their seal.
    """

    def none_waits() -> bool:
        chain.seal(parts)
        with parts.database.reading() as session:
            return chain_store.waiting(session).count == 0

    for again in (True, False):
        wait_until(none_waits, START_SECONDS, "all entries of the audit to be sealed")
        if again:
            chain.verify(parts, by=audit.SERVICE)


def start_web(
    installation: Installation, log: str = "web.log", **extra: str
) -> tuple[str, subprocess.Popen[bytes]]:
    port = free_port()
    multiproc = installation.directory / f"metrics-{port}"
    multiproc.mkdir()
    web = installation.spawn(
        log, str(BIN / "gunicorn"), "--config", "python:face_pipeline.web.gunicorn_conf",
        "--bind", f"127.0.0.1:{port}", "face_pipeline.web:create_app()",
        PROMETHEUS_MULTIPROC_DIR=str(multiproc), **{**installation.signed_in_as(Role.WEB), **extra},
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    def live() -> bool:
        try:
            return requests.get(f"{url}/health/live", timeout=2).ok
        except (requests.ConnectionError, requests.Timeout):
            return False

    wait_until(lambda: live() or web.poll() is not None, START_SECONDS, "gunicorn to answer")
    assert web.poll() is None, installation.log(log)[-3000:]
    return url, web
