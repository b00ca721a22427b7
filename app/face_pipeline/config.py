"""Settings of every process: environment variables, the host's env file, and systemd credentials."""

from __future__ import annotations

import os
from datetime import timedelta
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from face_pipeline.errors import ConfigurationError
from face_pipeline.telemetry.redact import conceal

ENV_FILE = Path("/etc/face-pipeline/face-pipeline.env")
# Addresses of hosts, separated by spaces, or none.
URLS = r"^(https?://\S+( https?://\S+)*)?$"

# More cores than these help one photo little.
SEARCH_THREADS_MOST = 4


class Settings(BaseSettings):
    """One typed settings object; each field is the environment variable `FACE_<NAME>`.

    Sizes are bytes, durations seconds, image sizes pixels. Secrets are not fields: they are read from
    credential files on first use, so that no dump of the settings shows them.
    """

    model_config = SettingsConfigDict(env_prefix="FACE_", extra="ignore")

    environment: str = "production"
    public_url: str = "https://localhost"
    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    credentials_dir: Path = Path("/etc/face-pipeline/credentials")

    # Certificate of the authority by which servers on other hosts prove who they are; empty: no TLS.
    tls_ca: str = Field("", pattern=r"^(/\S*)?$")

    # Several, separated by commas, where one of them leads and another may later.
    database_host: str = "127.0.0.1"
    database_port: int = Field(5432, ge=1, le=65535)
    database_name: str = "face"
    database_user: str = "face"
    # Who this process is to both Redises: units name theirs, a person is the operator.
    redis_user: str = Field("operator", pattern="^[a-z]+$")
    redis_host: str = "127.0.0.1"
    redis_port: int = Field(6379, ge=1, le=65535)
    # Where searches pass: photos, replies and cached answers, in memory alone.
    scratch_redis_host: str = "127.0.0.1"
    scratch_redis_port: int = Field(6380, ge=1, le=65535)

    # Programs of others that nginx serves beside the pages (web/ui/doors.py), separated by spaces.
    doors: str = Field("", pattern=r"^[a-z ]*$")

    originals_dir: Path = Path("/var/lib/face-pipeline/originals")
    # MB that uploads leave free on the disks of the originals and of further paths, separated by spaces.
    disk_reserve_mb: int = Field(1024, ge=0)
    storage_paths: str = ""
    # Where the hosts that keep the originals give them out, URLs separated by spaces; empty: they are on this
    # host, and what its disk lacks is read at `originals_elsewhere`, from further web hosts.
    originals_url: str = Field("", pattern=URLS)
    originals_elsewhere: str = Field("", pattern=URLS)
    # Where originals are kept: on the disk of the web host, or in a bucket of a store that speaks S3 over
    # HTTPS, which the next ones name; its authority is the file of a certificate, empty: any that is trusted.
    originals_store: Literal["disk", "s3"] = "disk"
    # Where they were before, while they are moved: read as well.
    originals_before: Literal["", "disk", "s3"] = ""
    originals_s3_endpoint: str = Field("", pattern=r"^[A-Za-z0-9.-]*$")
    originals_s3_port: int = Field(443, ge=1, le=65535)
    originals_s3_bucket: str = Field("", pattern=r"^[a-z0-9.-]*$")
    originals_s3_region: str = Field("", pattern=r"^[\w-]*$")
    originals_s3_path: str = Field("/", pattern=r"^/[\w./-]*$")
    originals_s3_path_style: bool = True
    originals_s3_authority: str = Field("", pattern=r"^(/\S*)?$")
    originals_s3_key_id: str = Field("", pattern=r"^[\w+/=.@:-]*$")
    # Hosts that keep copies of the originals: URLs, separated by spaces. How many hosts, this one included,
    # hold a photo before its upload is answered.
    copies_urls: str = ""
    # Those of them that are web hosts, too; and of a web host beside others its own URL, as these have it.
    copies_web_urls: str = ""
    copies_own_url: str = ""
    copies_required: int = Field(1, ge=1, le=100)
    # On such a host: where it is asked, and by which certificate; none: without TLS.
    copies_listen: str = Field("127.0.0.1:9803", pattern=r"^\S+:\d{1,5}$")
    copies_certificate: Path | None = None
    copies_key: Path | None = None
    # Slots of the hosts that follow the database, separated by spaces; whether changes wait for one of them.
    standbys: str = Field("", pattern=r"^[a-z0-9_ ]*$")
    standby_required: bool = False
    # In their place where hosts choose by themselves who leads: the slot of each, the leader's too.
    database_members: str = Field("", pattern=r"^[a-z0-9_ ]*$")
    models_dir: Path = Path("/var/lib/face-pipeline/models")
    model_pack: str = Field("dlib", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    # Where a share of searches is handed to face-reembed, while that listens (broker/shadows.py).
    shadow_dir: Path = Path("/run/face-reembed")
    accel_redirect: bool = False

    web_processes: int = Field(2, ge=1, le=64)
    # Of each process: threads for all else, searches that workers have at once, and that wait for their turn.
    web_threads: int = Field(8, ge=1, le=64)
    web_searches: int = Field(8, ge=1, le=256)
    web_searches_waiting: int = Field(24, ge=0, le=1024)
    worker_instance: int = Field(0, ge=0)
    worker_concurrency: int = Field(4, ge=1, le=64)
    # Cores that one search may take in a worker; 0: those there are, at most 4.
    search_threads: int = Field(0, ge=0, le=64)
    # A directory through which the workers of a host take turns to compute; empty: each for itself.
    turns_dir: Path | None = None
    # Where workers compute; on a card that CUDA_VISIBLE_DEVICES names, with so much of its memory (0: all).
    device: Literal["cpu", "cuda"] = "cpu"
    # What computes on the CPU; auto: what was measured as quicker when the pack was prepared on this host.
    runtime: Literal["auto", "onnxruntime", "openvino"] = "auto"
    # Which models of a prepared pack; fast: a detector in 8 bits, where it was measured as good and quicker.
    profile: Literal["exact", "fast"] = "exact"
    gpu_memory_limit_mb: int = Field(0, ge=0)

    upload_max_bytes: int = Field(20 * 1024**2, ge=1024)
    upload_max_pixels: int = Field(50_000_000, ge=10_000)
    upload_max_photos: int = Field(100, ge=1, le=1000)
    # What decoding may take in one worker at once, MB; a photo that needs more is refused.
    decode_memory_mb: int = Field(1024, ge=64)
    request_max_bytes: int = Field(256 * 1024**2, ge=1024)

    # Requests a minute of a key that has no limit of its own; 0: any number.
    limit_requests_per_minute: int = Field(0, ge=0)
    # Wrong keys a minute from one address; 0: any number.
    limit_failed_sign_ins_per_minute: int = Field(30, ge=0)

    # How long somebody stays signed in to the pages, and without doing anything there.
    session_hours: float = Field(12.0, gt=0, le=24 * 31)
    # Use is noted once a minute.
    session_idle_minutes: float = Field(60.0, ge=5, le=60 * 24 * 31)

    search_timeout_seconds: float = Field(20.0, gt=0, le=120)
    search_cache_seconds: int = Field(3600, ge=1)
    # Unknown faces of lower quality belong to no group.
    cluster_min_quality: float = Field(0.5, ge=0, le=1)
    # Every lease a worker holds is renewed three times before it lapses.
    lease_seconds: float = Field(15.0, ge=1)
    task_deadline_seconds: float = Field(300.0, ge=1)
    task_max_attempts: int = Field(3, ge=1)

    # A file of the operator's that gets a line for each anchor of the audit's chain; empty: there is none.
    audit_anchors: str = Field("", pattern=r"^(/.*)?$")
    # Where entries of looks wait on a web host while none of several hosts leads the database; none: who
    # looks then is refused.
    audit_spool_dir: Path | None = None

    # Whether the installation makes backups by itself.
    backup_enabled: bool = False

    # Events are kept for so long.
    events_days: int = Field(30, ge=4, le=3650)
    # Where web hooks may lead beside addresses of the internet: networks, separated by spaces; and over http.
    hooks_allowed_networks: str = ""
    hooks_allow_http: bool = False
    # Names and addresses of the installation's own hosts, separated by spaces.
    hooks_own_addresses: str = ""

    # Where Prometheus and Alertmanager are asked, and where browsers find Grafana; empty: there is none.
    prometheus_url: str = Field("", pattern=r"^(https?://\S+)?$")
    alertmanager_url: str = Field("", pattern=r"^(https?://\S+)?$")
    grafana_url: str = Field("", pattern=r"^(https?://\S+)?$")

    metrics_host: str = "127.0.0.1"
    metrics_port_base: int = Field(9810, ge=1, le=65000)
    # By which workers and autoscalers are asked for their metrics by TLS alone; none: without it.
    metrics_certificate: Path | None = None
    metrics_key: Path | None = None

    autoscale_target: float = Field(10.0, gt=0)
    autoscale_min: int = Field(2, ge=0)
    autoscale_max: int = Field(10, ge=1)
    autoscale_tolerance: float = Field(0.1, ge=0, lt=1)
    autoscale_up_window_seconds: float = Field(0.0, ge=0)
    autoscale_down_window_seconds: float = Field(300.0, ge=0)
    autoscale_up_cooldown_seconds: float = Field(15.0, ge=0)
    autoscale_down_cooldown_seconds: float = Field(60.0, ge=0)
    autoscale_interval_seconds: float = Field(10.0, gt=0)
    # This host: its name (empty: the system's), its part of the workers, the most it may run.
    autoscale_host: str = ""
    autoscale_weight: float = Field(1.0, ge=0)
    autoscale_host_max: int = Field(10, ge=0)
    # What a worker takes, MB; on the GPU 0: nothing.
    autoscale_worker_memory_mb: int = Field(500, ge=1)
    autoscale_worker_gpu_memory_mb: int = Field(0, ge=0)
    autoscale_wanted_file: Path = Path("/run/face-autoscaler/wanted")
    autoscale_state_file: Path = Path("/etc/face-pipeline/workers.json")

    # What `face-pipeline tune` chose for this host.
    tune_file: Path = Path("/etc/ansible/facts.d/face_tune.fact")

    def credential(self, name: str) -> str:
        """Text of the credential `name`, from systemd's directory or `credentials_dir`: the one in use."""
        return self.credentials(name)[0]

    def credentials(self, name: str) -> tuple[str, ...]:
        """All texts of the credential `name`: the one in use; while it is rotated, others beside it."""
        directory = Path(os.environ.get("CREDENTIALS_DIRECTORY") or self.credentials_dir)
        path = directory / name
        try:
            values = tuple(filter(None, map(str.strip, path.read_text(encoding="utf-8").splitlines())))
        except OSError as error:
            raise ConfigurationError(
                f"credential {name}: cannot read {path} ({error.strerror}); "
                "run ./face-ansible site.yml, which makes it, or set FACE_CREDENTIALS_DIR"
            ) from error
        if not values:
            raise ConfigurationError(
                f"credential {name}: {path} is empty; delete it and run ./face-ansible site.yml"
            )
        for value in values:
            conceal(value)
        return values

    def has_credential(self, name: str) -> bool:
        """Whether this process was given it at all."""
        directory = Path(os.environ.get("CREDENTIALS_DIRECTORY") or self.credentials_dir)
        return os.access(directory / name, os.R_OK)

    @cached_property
    def redis_url(self) -> str:
        """The queues: messages, log level, autoscaler."""
        return self._redis(self.redis_host, self.redis_port)

    @cached_property
    def scratch_redis_url(self) -> str:
        """What a search leaves for a while: no disk sees it."""
        return self._redis(self.scratch_redis_host, self.scratch_redis_port)

    def _redis(self, host: str, port: int) -> str:
        # Celery takes one URL; the password goes no further than this process's memory.
        password = quote(self.credential(f"redis_password_{self.redis_user}"), safe="")
        scheme = "rediss" if self.tls_ca else "redis"
        return f"{scheme}://{self.redis_user}:{password}@{host}:{port}/0"

    @property
    def web_threads_in_all(self) -> int:
        """Of one web process, those that searches hold included."""
        return self.web_threads + self.web_searches + self.web_searches_waiting

    @property
    def cores_of_a_search(self) -> int:
        """`search_threads`, counted where it is left open."""
        return self.search_threads or min(SEARCH_THREADS_MOST, len(os.sched_getaffinity(0)))

    @property
    def session_lasting(self) -> timedelta:
        return timedelta(hours=self.session_hours)

    @property
    def session_idle(self) -> timedelta:
        return timedelta(minutes=self.session_idle_minutes)

    @property
    def hooks_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """`hooks_allowed_networks`; raises ConfigurationError naming the first that is invalid."""
        try:
            return tuple(ip_network(each) for each in self.hooks_allowed_networks.split())
        except ValueError as error:
            raise ConfigurationError(f"configuration: FACE_HOOKS_ALLOWED_NETWORKS: {error}") from error

    @property
    def decode_memory_bytes(self) -> int:
        return self.decode_memory_mb * 1024**2

    @property
    def asks_a_store(self) -> bool:
        """Whether originals are, or were, in an object store."""
        return "s3" in (self.originals_store, self.originals_before)

    @property
    def pack_dir(self) -> Path:
        return self.models_dir / self.model_pack


def get_settings() -> Settings:
    """The settings as they are now, for the doors of a process alone (`parts.py`).

    Raises ConfigurationError naming each wrong variable.
    """
    env_file = Path(os.environ.get("FACE_ENV_FILE", ENV_FILE))
    readable = os.access(env_file, os.R_OK)
    if not readable and os.access(env_file, os.F_OK):
        raise ConfigurationError(f"configuration: {env_file} is not readable; run this as root")
    try:
        settings = Settings(_env_file=env_file if readable else None)
    except ValidationError as error:
        wrong = "; ".join(
            f"FACE_{'_'.join(str(part) for part in item['loc']).upper()}: {item['msg']}"
            for item in error.errors()
        )
        raise ConfigurationError(f"configuration: {wrong}") from error
    _check_store(settings)
    return settings


def _check_store(settings: Settings) -> None:
    if settings.originals_before == settings.originals_store:
        raise ConfigurationError(
            f"configuration: FACE_ORIGINALS_BEFORE and FACE_ORIGINALS_STORE are {settings.originals_store}:"
            " photos are moved from one to another"
        )
    if not settings.asks_a_store:
        return
    needed = ("endpoint", "bucket", "region", "key_id")
    missing = [
        f"FACE_ORIGINALS_S3_{each.upper()}"
        for each in needed
        if not getattr(settings, f"originals_s3_{each}")
    ]
    if missing:
        raise ConfigurationError(f"configuration: a store of originals needs {', '.join(missing)}")
    if settings.copies_urls:
        raise ConfigurationError(
            "configuration: FACE_COPIES_URLS beside a store of originals: a store keeps its own copies; empty"
            " the group copies of the inventory and run ./face-ansible site.yml"
        )
