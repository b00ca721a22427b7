"""What a process works with: made once at its door, from its settings, and handed down.

The doors are `web.create_app`, `web.gunicorn_conf`, `worker.celery` and `cli`. Nothing behind them reads
settings by itself or opens a connection of its own.
"""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import redis
import urllib3
from celery import Celery

from face_pipeline.broker import limits
from face_pipeline.broker.admission import Admission
from face_pipeline.broker.celery import make_app
from face_pipeline.broker.redis import SOCKET_TIMEOUT_SECONDS, connect
from face_pipeline.config import Settings
from face_pipeline.engine import Budget, Pack, PackError, read_pack
from face_pipeline.errors import Unavailable
from face_pipeline.kept import Kept
from face_pipeline.network import CONNECT_TIMEOUT_SECONDS, http_pool
from face_pipeline.observation.alertmanager import Alertmanager
from face_pipeline.observation.prometheus import Prometheus
from face_pipeline.proofs import Signer
from face_pipeline.store.copies import Copies, CopyHost
from face_pipeline.store.database import Address, Database
from face_pipeline.store.originals import Originals, RemoteOriginals, SeveralOriginals
from face_pipeline.store.originals.moving import MovingOriginals, MovingSource
from face_pipeline.store.spool import Spool

if TYPE_CHECKING:
    from face_pipeline.store.originals.s3 import S3Originals

    AnyOriginals: TypeAlias = Originals | S3Originals | MovingOriginals

# However many browsers look at it, the overview is made so often at most.
OVERVIEW_SECONDS = 4.0


class Parts:
    """The parts of one process. Each is made when it is first used, so that a door pays for no other.

    Made after a fork, never before: a child must not share its parent's connections. `goes_on`: what only
    looks does, while none of several hosts leads the database.
    """

    def __init__(self, settings: Settings, *, goes_on: bool = False) -> None:
        self.settings = settings
        self._goes_on = goes_on
        # Made at once, for threads that come together must not get two of them.
        self.memory = Budget(settings.decode_memory_bytes)
        self.searches = Admission(settings.web_searches, settings.web_searches_waiting)
        self.overviews: Kept[Any] = Kept(OVERVIEW_SECONDS)

    @cached_property
    def database(self) -> Database:
        settings = self.settings
        return Database(
            Address(
                host=settings.database_host,
                port=settings.database_port,
                name=settings.database_name,
                user=settings.database_user,
                passwords=settings.credentials("database_password"),
                authority=settings.tls_ca,
            ),
            threads=max(settings.web_threads, settings.worker_concurrency),
            # A worker waits for a database that went away, and tries again anyway; a request would fail.
            ping_after_idling=settings.worker_instance == 0,
            spool=self.spool if self.goes_on else None,
        )

    @property
    def goes_on(self) -> bool:
        """Whether what only looks goes on while no host of the database leads."""
        settings = self.settings
        return self._goes_on and settings.audit_spool_dir is not None and "," in settings.database_host

    @cached_property
    def spool(self) -> Spool | None:
        """Where entries of the audit wait on this host; None: nowhere."""
        directory = self.settings.audit_spool_dir
        return Spool(directory, partial(self.settings.credentials, "session_secret")) if directory else None

    @cached_property
    def queue(self) -> redis.Redis:
        """The Redis of the queues, for what Celery does not do."""
        settings = self.settings
        return connect(settings.redis_url, timeout=SOCKET_TIMEOUT_SECONDS, authority=settings.tls_ca)

    @cached_property
    def scratch(self) -> redis.Redis:
        """The Redis of the searches, which keeps nothing on a disk."""
        # A blocking read lasts as long as the search timeout.
        return self._to_scratch(self.settings.search_timeout_seconds + CONNECT_TIMEOUT_SECONDS)

    @cached_property
    def limits(self) -> limits.Limits:
        """What is let through a minute, counted in the Redis of the searches."""
        return limits.Limits(self._to_scratch(limits.TIMEOUT_SECONDS))

    def _to_scratch(self, timeout: float) -> redis.Redis:
        settings = self.settings
        return connect(settings.scratch_redis_url, timeout=timeout, authority=settings.tls_ca)

    @cached_property
    def celery(self) -> Celery:
        return make_app(self.settings.redis_url, self.settings.tls_ca)

    @cached_property
    def originals(self) -> AnyOriginals:
        """The originals in their store, or while they are moved in both places; or on this host's disk:
        those of the web host, with their copies on further hosts.

        A unit that was not given the credential of those, as workers, reads from the disk alone.
        """
        if self.settings.originals_before:
            # In one place of each kind, and no copies: a store is one of the two.
            disk, store = self.disk, self._in_store
            in_store = self.settings.originals_store == "s3"
            return MovingOriginals(store, disk) if in_store else MovingOriginals(disk, store)
        if self.settings.originals_store == "s3":
            return self._in_store
        return self._on_disk(self.copies if self.settings.has_credential("copies_token") else None)

    @cached_property
    def own_originals(self) -> AnyOriginals:
        """Those in their store, or on this host's disk, without copies."""
        return self.originals if self.settings.asks_a_store else self.disk

    @cached_property
    def disk(self) -> Originals:
        """Those on this host's disk, without copies."""
        return self._on_disk(None)

    def _on_disk(self, copies: Copies | None) -> Originals:
        directory = self.settings.originals_dir
        return Originals(directory, reserve_bytes=self._reserve_bytes, beside=self._beside, copies=copies)

    @property
    def _reserve_bytes(self) -> int:
        return self.settings.disk_reserve_mb * 1024**2

    @property
    def _beside(self) -> list[Path]:
        return [Path(each) for each in self.settings.storage_paths.split()]

    @cached_property
    def _in_store(self) -> S3Originals:
        # Here, so that who asks no store shows no metrics of one.
        from face_pipeline.store.buckets import Bucket, Place
        from face_pipeline.store.originals.s3 import S3Originals

        settings = self.settings
        place = Place(
            endpoint=settings.originals_s3_endpoint,
            port=settings.originals_s3_port,
            bucket=settings.originals_s3_bucket,
            region=settings.originals_s3_region,
            path=settings.originals_s3_path,
            path_style=settings.originals_s3_path_style,
            authority=settings.originals_s3_authority,
            key_id=settings.originals_s3_key_id,
        )
        bucket = Bucket(place, settings.credential("originals_s3_secret"))
        directory = settings.originals_dir
        return S3Originals(bucket, directory, reserve_bytes=self._reserve_bytes, beside=self._beside)

    @cached_property
    def copies(self) -> Copies | None:
        """None: no further host keeps originals."""
        settings = self.settings
        if not settings.copies_urls:
            return None
        token = settings.credential("copies_token")
        web = settings.copies_web_urls.split()
        hosts = [CopyHost(url, token, self._http, is_web=url in web) for url in settings.copies_urls.split()]
        return Copies(hosts, settings.copies_required)

    @cached_property
    def originals_source(self) -> AnyOriginals | RemoteOriginals | SeveralOriginals | MovingSource:
        """Where this host's workers read originals: the store, its own disk, or web hosts."""
        settings = self.settings
        if not settings.originals_url:
            if not settings.originals_elsewhere:
                return self.own_originals
            return SeveralOriginals(self._given_out(settings.originals_elsewhere), self.disk)
        hosts = self._given_out(settings.originals_url)
        if not settings.originals_before:
            return hosts[0] if len(hosts) == 1 else SeveralOriginals(hosts)
        # They are moved where there is one web host.
        remote = hosts[0]
        if settings.originals_store == "s3":
            return MovingSource(self._in_store, remote)
        return MovingSource(remote, self._in_store)

    def _given_out(self, urls: str) -> list[RemoteOriginals]:
        token, authority = self.settings.credential("originals_token"), self.settings.tls_ca
        return [RemoteOriginals(url, token, authority) for url in urls.split()]

    @cached_property
    def signer(self) -> Signer:
        """Signs receipts."""
        return Signer(self.settings.credential("receipts_key"))

    @cached_property
    def prometheus(self) -> Prometheus | None:
        """None: this installation has none."""
        url = self.settings.prometheus_url
        return Prometheus(url, self._http, self._monitoring_password) if url else None

    @cached_property
    def alertmanager(self) -> Alertmanager | None:
        """None: this installation has none."""
        url = self.settings.alertmanager_url
        return Alertmanager(url, self._http, self._monitoring_password) if url else None

    @cached_property
    def _monitoring_password(self) -> str:
        return self.settings.credential("monitoring_web_password")

    @cached_property
    def _http(self) -> urllib3.PoolManager:
        return http_pool(self.settings.tls_ca)

    @cached_property
    def pack(self) -> Pack:
        """The manifest of the installed model pack, not its models; Unavailable where it is damaged."""
        try:
            return read_pack(self.settings.pack_dir)
        except PackError as error:
            raise Unavailable(str(error), code="pack_unavailable") from error
