"""A browser that trusts the installation's authority opens what it may sign for, and nothing else."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.ansible.programs import load
from tests.ui.driving import needs_chromium, started, text

tool = load("roles/certificates/files/make_certificate.py")
CERTUTIL = shutil.which("certutil")
pytestmark = [
    needs_chromium,
    pytest.mark.skipif(not CERTUTIL, reason="needs certutil (tests/services/prepare installs it)"),
]
PERMITTED = ("faces.example.org", "10.3.4.5")


def signed(authority: Path, name: str) -> Path:
    """A certificate for that name, whoever may have one, by somebody who has the authority's key."""
    leaf = tool.Leaf(authority / name, [tool.general_name(name)])
    leaf.directory.mkdir()
    certificate = x509.load_pem_x509_certificate((authority / "ca.crt").read_bytes())
    tool.sign(leaf, tool.Signer(certificate, tool.Authority(authority)), datetime.now(UTC))
    return leaf.directory


def trusted(authority: Path, home: Path) -> None:
    """What importing it into Chromium does for who has this home."""
    store = home / ".pki/nssdb"
    store.mkdir(parents=True)
    kept = ["-A", "-n", "authority", "-t", "C,,", "-i", str(authority / "ca.crt")]
    for command in (["-N", "--empty-password"], kept):
        subprocess.run([str(CERTUTIL), "-d", f"sql:{store}", *command], check=True, capture_output=True)


class Page(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"Faces")


@contextmanager
def site(certificate: Path) -> Iterator[int]:
    """Its port on this machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "server.crt", certificate / "server.key")
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def shows(browser: webdriver.Chrome, authority: Path, name: str) -> str:
    """The page under that name, or the error that the browser shows instead."""
    with site(signed(authority, name)) as port:
        browser.get(f"https://{name}:{port}/")
        error = browser.find_elements(By.ID, "error-code")
        return str(error[0].get_attribute("textContent")) if error else text(browser)


@pytest.mark.campaign("it starts a browser of its own")
def test_a_browser_that_trusts_it_takes_its_word_for_the_installation_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = tmp_path / "authority"
    tool.make(authority, tool.Leaf(authority, [tool.general_name(n) for n in PERMITTED]), datetime.now(UTC))
    trusted(authority, tmp_path / "home")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with started(tmp_path / "profile", "--host-resolver-rules=MAP * 127.0.0.1") as browser:
        for name in (*PERMITTED, "10.9.9.9"):
            assert shows(browser, authority, name) == "Faces", name
        for name in ("bank.example.com", "notfaces.example.org", "203.0.113.8"):
            assert shows(browser, authority, name) == "net::ERR_CERT_INVALID", name
