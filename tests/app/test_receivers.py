"""Where an event may go: nowhere inside the site, whatever an address is called or leads to."""

from __future__ import annotations

import ipaddress
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from face_pipeline.actions.receivers import Refused, Rules
from face_pipeline.config import Settings
from face_pipeline.errors import BadRequest, ConfigurationError
from face_pipeline.ops.post import Post

from tests.app.receivers import Receivers, receivers

INSIDE = [
    "127.0.0.1", "127.8.9.1", "10.1.2.3", "172.16.0.1", "172.31.255.254", "192.168.0.1", "169.254.169.254",
    "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1",
    "::1", "::", "::ffff:127.0.0.1", "::ffff:a9fe:a9fe", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1",
    "ff02::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2001:0:1::1",
    "::127.0.0.1", "2001:db8::1",
]  # fmt: skip
OUTSIDE = ["8.8.8.8", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


def rules(**settings: Any) -> Rules:
    return Rules.of(Settings(**{"public_url": "https://faces.example.org", **settings}))


def in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


@pytest.fixture
def receiver() -> Iterator[Receivers]:
    with receivers() as made:
        yield made


@pytest.mark.parametrize("address", INSIDE)
def test_no_address_of_the_site_is_taken_or_connected_to(address: str) -> None:
    with pytest.raises(BadRequest) as refused:
        rules().check_url(f"https://{in_url(address)}/in")
    assert refused.value.code == "hook_url"
    assert "face_hooks_allowed_networks" in refused.value.message or "installation" in refused.value.message
    with pytest.raises(Refused):
        rules().check_address(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", OUTSIDE)
def test_an_address_of_the_internet_is_taken(address: str) -> None:
    target = rules().check_url(f"https://{in_url(address)}:8443/in?a=b")
    assert (target.secure, target.port, target.path) == (True, 8443, "/in?a=b")
    rules().check_address(ipaddress.ip_address(address))


def test_what_the_operator_named_is_taken() -> None:
    own = rules(hooks_allowed_networks="10.1.0.0/16 fd00::/8")
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd00::1"):
        own.check_address(ipaddress.ip_address(address))
    for address in ("10.2.0.1", "127.0.0.1", "169.254.169.254"):
        with pytest.raises(Refused):
            own.check_address(ipaddress.ip_address(address))


def test_a_network_that_is_none_is_named_when_the_process_starts() -> None:
    with pytest.raises(ConfigurationError, match=r"FACE_HOOKS_ALLOWED_NETWORKS.*10\.1\.2\.3/8"):
        rules(hooks_allowed_networks="10.1.2.3/8")


def test_the_installation_itself_is_no_receiver() -> None:
    own = rules(hooks_own_addresses="8.8.4.4")
    for url in ("https://8.8.4.4/", "https://faces.example.org/", "https://FACES.example.org./api"):
        with pytest.raises(BadRequest, match="this installation"):
            own.check_url(url)


@pytest.mark.parametrize("name", ["localhost", "2130706433", "0x7f.1", "127.1", "0177.0.0.1"])
def test_a_name_that_leads_inside_is_not_connected_to(name: str, receiver: Receivers) -> None:
    near = receiver()
    own = rules(hooks_allow_http=True)
    target = own.check_url(f"http://{name}:{near.port}/in")
    tried = Post(own).send(target, b"{}", {})
    assert not tried.delivered
    assert tried.error is not None
    assert "127.0.0.1" in tried.error or "::1" in tried.error or "no address" in tried.error
    assert near.connections == 0


def test_a_name_is_asked_for_once_and_the_address_that_was_checked_is_connected_to(
    receiver: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server whose every second answer leads inside (DNS rebinding)."""
    outside = receiver("127.0.0.2")
    inside = receiver("127.0.0.1", port=outside.port)
    own = rules(hooks_allow_http=True, hooks_allowed_networks="127.0.0.2/32")
    real, asked = socket.getaddrinfo, []

    def leads(host: Any, *arguments: Any, **options: Any) -> Any:
        if host == "rebind.example.org":
            asked.append(host)
            host = "127.0.0.2" if len(asked) % 2 else "127.0.0.1"
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", leads)
    target = own.check_url(f"http://rebind.example.org:{outside.port}/in")
    first, second = (Post(own).send(target, b"{}", {}) for _ in range(2))
    assert first.delivered
    assert outside.got[0].headers["host"] == f"rebind.example.org:{outside.port}"
    assert not second.delivered
    assert (len(outside.got), inside.connections) == (1, 0)


def test_a_proxy_of_the_environment_is_not_asked(
    receiver: Receivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, near = receiver(), receiver()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    own = rules(hooks_allow_http=True, hooks_allowed_networks="127.0.0.0/8")
    assert Post(own).send(own.check_url(near.url), b"{}", {}).delivered
    assert (len(near.got), proxy.connections) == (1, 0)


@pytest.mark.parametrize(
    "url",
    [
        "http://events.example.org/", "ftp://events.example.org/", "https://", "https:///in", "https://:443/",
        "https://a:b@events.example.org/", "https://events.example.org:0/", "https://e.example.org:65536/",
        "https://events.example.org/#a", "https://events.example.org/ a",
        "https://events.example.org/\r\nHost: a",
        "https://müller.example.org/", "https://[::1/", "https://e.example.org/" + "a" * 2000, "", "events",
        "https://events.example.org/\0", "https://e.example.org:port/", "https://\ud800.example.org/",
    ],
)  # fmt: skip
def test_a_url_that_cannot_be_one_is_refused_with_what_to_do(url: str) -> None:
    with pytest.raises(BadRequest) as refused:
        rules().check_url(url)
    assert refused.value.code == "hook_url"


def certificate(directory: Path, name: str) -> tuple[Path, Path]:
    key, made = directory / "key.pem", directory / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", key, "-out", made, "-days", "1", "-subj", f"/CN={name}",
         "-addext", f"subjectAltName=DNS:{name}"],
        check=True, capture_output=True,
    )  # fmt: skip
    return made, key


def test_the_certificate_of_a_receiver_is_checked(
    receiver: Receivers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made, key = certificate(tmp_path, "localhost")
    near = receiver()
    near.secure(made, key)
    own = rules(hooks_allowed_networks="127.0.0.0/8 ::1")
    target = own.check_url(f"https://localhost:{near.port}/in")
    tried = Post(own).send(target, b"{}", {})
    assert tried.error is not None
    assert tried.error.startswith("its certificate is not trusted")
    monkeypatch.setenv("SSL_CERT_FILE", str(made))
    assert Post(own).send(target, b"{}", {}).delivered
    other = own.check_url(f"https://127.0.0.1:{near.port}/in")
    tried = Post(own).send(other, b"{}", {})
    assert tried.error is not None
    assert tried.error.startswith("its certificate is not trusted"), "it is another name's"
    assert len(near.got) == 1
