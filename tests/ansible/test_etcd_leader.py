"""etcd is led elsewhere than the database: the role's program against three real members.

A stand-in answers for Patroni, as its REST API does: 200 from /leader where the host leads, and else 503.
The real one is asked on hosts, by tests/hosts/test_whole_site.py.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.ansible.programs import ROOT, load
from tests.installation import wait_until
from tests.services.etcd import Etcd, cluster

PROGRAM = ROOT / "roles/etcd/files/etcd_leader.py"
certificates = load("roles/certificates/files/make_certificate.py")
program = load(PROGRAM)


@dataclass
class Patroni:
    """The stand-in."""

    files: Path
    leads: bool = True
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                self.send_response(200 if outer.leads else 503)
                self.end_headers()
                self.wfile.write(b'{"role": "primary"}')

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.files / "server.crt", self.files / "server.key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server.server_address[1]}"


@dataclass
class Site:
    files: Path
    members: dict[str, Etcd]
    patroni: Patroni

    @property
    def context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.files / "ca.crt")
        context.load_cert_chain(self.files / "server.crt", self.files / "server.key")
        return context

    def leader(self) -> str:
        """The name of the member that leads, in the eyes of all that run; "" while they do not agree."""
        numbers, seen = {}, set()
        for name, member in self.members.items():
            if member.running:
                try:
                    own, leader = program.status(self.context, member.url)
                except OSError:
                    return ""
                numbers[own] = name
                seen.add(leader)
        return numbers.get(seen.pop(), "") if len(seen) == 1 else ""

    def run(self, name: str) -> subprocess.CompletedProcess[str]:
        """The program on the host of this member."""
        settings = self.files / f"{name}.json"
        asked = {
            "member": self.members[name].url,
            "patroni": self.patroni.url,
            "authority": str(self.files / "ca.crt"),
            "certificate": str(self.files / "server.crt"),
            "key": str(self.files / "server.key"),
        }
        settings.write_text(json.dumps(asked))
        return subprocess.run(
            [sys.executable, "-I", "-B", PROGRAM, settings], capture_output=True, text=True, check=False
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    files = tmp_path_factory.mktemp("etcd")
    leaf = certificates.Leaf(files, [certificates.general_name("127.0.0.1")], client=True)
    certificates.make(files, leaf, datetime.now(UTC))
    site = Site(files, cluster(("one", "two", "three"), files), Patroni(files))
    for member in site.members.values():
        member.start()
    wait_until(site.leader, 60, "a leader of etcd")
    yield site
    site.patroni.server.shutdown()
    for member in site.members.values():
        member.close()


def test_the_lead_goes_to_another_where_the_database_is_led_too(site: Site) -> None:
    site.patroni.leads = True
    before = site.leader()
    done = site.run(before)
    wait_until(site.leader, 60, "a leader of etcd")
    after = site.leader()
    assert after != before
    assert (done.returncode, done.stderr) == (0, f"{after} leads etcd now, for the database is led here\n")
    # Neither the one that handed it over nor one that follows does anything more.
    for name in site.members.keys() - {after}:
        assert site.run(name).stderr == ""
    assert site.leader() == after


def test_it_stays_where_the_database_is_led_elsewhere(site: Site) -> None:
    site.patroni.leads = False
    site.patroni.asked.clear()
    before = site.leader()
    done = site.run(before)
    assert (done.returncode, done.stderr) == (0, "")
    assert site.patroni.asked == ["/leader"]
    assert site.leader() == before


def test_a_member_that_is_away_is_not_chosen(site: Site) -> None:
    site.patroni.leads = True
    before = site.leader()
    own, _ = program.status(site.context, site.members[before].url)
    (_, away), (_, left) = program.heirs(site.context, site.members[before].url, own)
    site.members[away].kill()
    try:
        done = site.run(before)
        assert done.returncode == 0, done.stderr
        wait_until(site.leader, 60, "a leader of etcd")
        assert site.leader() == left
    finally:
        site.members[away].start()
        wait_until(site.leader, 60, "a leader of etcd")


def test_where_nobody_answers_nothing_is_done(site: Site) -> None:
    before = site.leader()
    address, site.patroni.server.server_address = site.patroni.server.server_address, ("127.0.0.1", 1)
    try:
        done = site.run(before)
    finally:
        site.patroni.server.server_address = address
    assert done.returncode == 0
    assert done.stderr.startswith("not now: ")
    assert site.leader() == before
