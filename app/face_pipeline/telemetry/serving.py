"""Metrics for Prometheus over HTTP, by TLS where this host is asked by others.

prometheus_client's own server greets one client after the other, and each has to wait for one that says
nothing; and it reads its certificate once.
"""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass, field
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from face_pipeline.errors import ConfigurationError

# Of one who asks, for each part of what is asked.
PATIENCE_SECONDS = 10


@dataclass
class Certificate:
    """Files of a certificate and its key, read anew when they change."""

    certificate: Path
    key: Path
    _read: tuple[int, int] = (0, 0)
    _context: ssl.SSLContext | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def context(self) -> ssl.SSLContext:
        """Raises OSError where there are none, or none that go together, and never were."""
        with self._lock:
            try:
                found = (self.certificate.stat().st_mtime_ns, self.key.stat().st_mtime_ns)
                if self._context is None or found != self._read:
                    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
                    context.minimum_version = ssl.TLSVersion.TLSv1_3
                    context.load_cert_chain(self.certificate, self.key)
                    self._context, self._read = context, found
            except OSError:
                # Between two writes they do not go together: then the former ones are good.
                if self._context is None:
                    raise
            return self._context


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    certificate: Certificate | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        request.settimeout(PATIENCE_SECONDS)
        if self.certificate is None:
            super().finish_request(request, client_address)
            return
        with self.certificate.context().wrap_socket(request, server_side=True) as encrypted:
            super().finish_request(encrypted, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who asks without TLS, or goes away, is nothing to tell of."""


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Prometheus asks four times a minute."""


def serve_metrics(
    host: str,
    port: int,
    registry: CollectorRegistry,
    certificate: Path | None = None,
    key: Path | None = None,
) -> WSGIServer:
    """Answer for `registry` at /metrics from now on, in threads of its own; with `certificate` by TLS alone.

    Raises ConfigurationError where the port or the certificate is not to be had.
    """
    shown = Certificate(certificate, key) if certificate and key else None
    try:
        if shown:
            shown.context()
    except OSError as error:
        raise ConfigurationError(
            f"metrics: the certificate {certificate} and its key {key} cannot be used ({error}); "
            "run ./face-ansible site.yml, which installs both"
        ) from error
    try:
        server = make_server(host, port, make_wsgi_app(registry), _Server, _Handler)
    except OSError as error:
        raise ConfigurationError(
            f"metrics: cannot listen on {host}:{port} ({error.strerror}); "
            "end what holds the port or set FACE_METRICS_PORT_BASE"
        ) from error
    server.certificate = shown
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server
