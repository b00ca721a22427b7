"""Workers and autoscalers answer Prometheus on another host by TLS alone."""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from wsgiref.simple_server import WSGIServer

import pytest
import requests
from face_pipeline.errors import ConfigurationError
from face_pipeline.telemetry.serving import serve_metrics
from prometheus_client import CollectorRegistry, Gauge

from tests.ansible.programs import load
from tests.services.process import free_port

certificates = load("roles/certificates/files/make_certificate.py")


def certify(directory: Path) -> None:
    """A new certificate in the place of the one that is there, as the role installs it."""
    leaf = certificates.Leaf(directory / "new", [certificates.general_name("127.0.0.1")])
    for old in leaf.directory.glob("*"):
        old.unlink()
    certificates.make(directory, leaf, datetime.now(UTC))
    for name in ("server.key", "server.crt"):
        (leaf.directory / name).rename(directory / name)


@pytest.fixture
def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    Gauge("photos", "Photos.", registry=made).set(7)
    return made


@pytest.fixture
def server(tmp_path: Path, registry: CollectorRegistry) -> Iterator[WSGIServer]:
    certify(tmp_path)
    made = serve_metrics("127.0.0.1", free_port(), registry, tmp_path / "server.crt", tmp_path / "server.key")
    yield made
    made.shutdown()
    made.server_close()


def ask(server: WSGIServer, authority: Path, scheme: str = "https") -> str:
    url = f"{scheme}://127.0.0.1:{server.server_port}/metrics"
    return requests.get(url, verify=str(authority / "ca.crt"), timeout=10).text


def test_it_answers_by_tls_alone_and_proves_who_it_is(
    server: WSGIServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "photos 7.0" in ask(server, tmp_path)
    with pytest.raises(requests.ConnectionError):
        ask(server, tmp_path, "http")
    other = tmp_path / "other"
    certificates.make(other, certificates.Leaf(other, []), datetime.now(UTC))
    with pytest.raises(requests.exceptions.SSLError):
        ask(server, other)
    assert capfd.readouterr().err == ""


def test_the_table_of_a_hosts_workers_reads_it(
    server: WSGIServer, registry: CollectorRegistry, tmp_path: Path
) -> None:
    Gauge("celery_tasks_active", "Tasks.", registry=registry).set(3)
    told = load("roles/worker/files/worker_status.py").told
    asked = "127.0.0.1", server.server_port
    assert told(*asked, str(tmp_path / "ca.crt")) == {"concurrency": 0, "active": 3, "processed": 0}
    # Workers of the release before, until they are restarted; and those of a host that is new.
    for authority in ("", str(tmp_path / "absent.crt")):
        assert set(told(*asked, authority).values()) == {None}


def test_who_says_nothing_keeps_nobody_waiting(server: WSGIServer, tmp_path: Path) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port)):
        began = time.monotonic()
        assert "photos" in ask(server, tmp_path)
        assert time.monotonic() - began < 5


def test_a_renewed_certificate_is_shown_without_a_restart(server: WSGIServer, tmp_path: Path) -> None:
    def shown() -> str:
        return ssl.get_server_certificate(("127.0.0.1", server.server_port))

    first = shown()
    assert shown() == first
    # Half of what is renewed goes with nothing: the former pair is good until the other half is there.
    before = (tmp_path / "server.crt").read_text()
    certify(tmp_path)
    after = (tmp_path / "server.crt").read_text()
    (tmp_path / "server.crt").write_text(before)
    assert shown() == first
    (tmp_path / "server.crt").write_text(after)
    os.utime(tmp_path / "server.crt", (1, 1))
    assert shown().strip() == after.strip()


def test_what_it_cannot_have_is_told_with_what_to_do(tmp_path: Path, registry: CollectorRegistry) -> None:
    absent = (tmp_path / "absent.crt", tmp_path / "absent.key")
    with pytest.raises(ConfigurationError, match=r"absent\.crt.*run \./face-ansible site\.yml"):
        serve_metrics("127.0.0.1", free_port(), registry, *absent)
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(
            ConfigurationError, match=f"cannot listen on 127.0.0.1:{port}.*FACE_METRICS_PORT_BASE"
        ):
            serve_metrics("127.0.0.1", port, registry)


def test_on_a_host_alone_it_answers_without_tls(registry: CollectorRegistry) -> None:
    server = serve_metrics("127.0.0.1", free_port(), registry)
    assert "photos 7.0" in requests.get(f"http://127.0.0.1:{server.server_port}/metrics", timeout=10).text
    server.shutdown()
    server.server_close()
