"""Debian's exporters are asked by TLS alone between hosts, with the arguments and certificate of the role."""

from __future__ import annotations

import shutil
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.ansible.programs import load
from tests.monitoring.exporters import EXPORTERS, ROLE, ROLES, defaults, play
from tests.services.exporters import Program, settings
from tests.services.process import free_port

certificates = load("roles/certificates/files/make_certificate.py")


class Host:
    """One of several, whose exporters find nothing to observe."""

    def __init__(self, there: Path, directory: Path, group: str) -> None:
        """`there`: where the exporters may look; `group`: theirs."""
        self.there, self.directory, self.group = there, directory, group
        known = yaml.safe_load((ROLES.parent / "group_vars/all/endpoints.yml").read_text())["face_ports"]
        self.ports = known | {f"{name}_exporter": free_port() for name in EXPORTERS}
        self.variables: dict[str, Any] = {
            "face_ports": self.ports,
            "face_tls_between_hosts": True,
            "face_secrets_dir": str(directory / "secrets"),
            "face_authority": str(there / "ca.crt"),
            "face_observed_key": str(there / "observed.key"),
            "face_observed_certificate": str(there / "observed.crt"),
            "exporters_web_config": str(there / "observed.yml"),
            "exporters_redis_passwords": str(there / "passwords"),
            "exporters_node_textfiles": str(there),
            "exporters_blackbox_config": str(there / "blackbox.yml"),
        }
        (there / "passwords").write_text("{}")
        (there / "blackbox.yml").write_text("modules: {}\n")

    def write(self) -> None:
        certificate = yaml.safe_load((ROLE / "tasks/certificate.yml").read_text())
        install = certificate[0]["block"][0]
        install["ansible.builtin.import_role"]["name"] = str(ROLES / "certificates")
        install["vars"]["certificates_group"] = self.group
        (written,) = (
            each["ansible.builtin.template"]
            for each in certificate[0]["block"]
            if "ansible.builtin.template" in each
        )
        written["src"] = str(ROLE / "templates" / written["src"])
        tasks = [*certificate, *(defaults(name, self.directory / f"{name}.default") for name in EXPORTERS)]
        done = play(self.directory / "play", tasks, **self.variables)
        assert done.returncode == 0, done.stdout + done.stderr
        (self.there / "ca.crt").write_bytes((self.directory / "secrets/ca.crt").read_bytes())

    def exporter(self, name: str) -> Program:
        given = settings(self.directory / f"{name}.default")
        arguments = given.pop("ARGS").split()
        return Program(
            f"prometheus-{name}-exporter", self.ports[f"{name}_exporter"], arguments, given,
            authority=self.there / "ca.crt",
        )  # fmt: skip


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Its files lie where the exporters' user may look."""
    holder = Program("prometheus-node-exporter", 1, [])
    holder.directory.chmod(0o755)
    made = Host(holder.directory, tmp_path_factory.mktemp("exporters-tls"), str(holder._identity()[1]))
    made.write()
    yield made
    holder.close()


def shown(port: int, trusted: Path, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> int:
    """Serial number of the certificate that is shown to who asks by this version of TLS."""
    context = ssl.create_default_context(cafile=trusted)
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as bare,
        context.wrap_socket(bare, server_hostname="127.0.0.1") as encrypted,
    ):
        told = encrypted.getpeercert()
        assert told
        return int(str(told["serialNumber"]), 16)


@pytest.mark.parametrize("name", EXPORTERS)
def test_an_exporter_speaks_tls_alone_and_shows_a_renewed_certificate(name: str, host: Host) -> None:
    authority = host.directory / "secrets"
    port = host.ports[f"{name}_exporter"]
    exporter = host.exporter(name)
    try:
        exporter.start()
        assert "go_info" in exporter.text()
        plain = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10)
        assert (plain.status_code, "go_info" in plain.text) == (400, False)
        with pytest.raises(ssl.SSLError, match=r"protocol version|PROTOCOL_VERSION"):
            shown(port, authority / "ca.crt", ssl.TLSVersion.TLSv1_2)
        first = shown(port, authority / "ca.crt")
        kept = {file: (host.there / file).read_bytes() for file in ("observed.key", "observed.crt")}
        own = authority / "renewed"
        names = [certificates.general_name("127.0.0.1")]
        certificates.make(authority, certificates.Leaf(own, names), datetime.now(UTC))
        try:
            for made, file in (("server.key", "observed.key"), ("server.crt", "observed.crt")):
                (host.there / file).write_bytes((own / made).read_bytes())
            assert shown(port, authority / "ca.crt") != first
            assert "go_info" in exporter.text()
        finally:
            for file, data in kept.items():
                (host.there / file).write_bytes(data)
            shutil.rmtree(own)
    finally:
        exporter.close()
