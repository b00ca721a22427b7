"""Where events may be sent: an address outside this site, or one that the operator named.

Who may set up a hook could otherwise make this host ask its own databases, its neighbours, or the metadata
service of a cloud. A name is no proof, for it may lead to another address a moment later: the addresses it
leads to are checked at every connection, and the connection is made to one that was checked.
Source: OWASP Server-Side Request Forgery Prevention Cheat Sheet, case 2.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from urllib.parse import SplitResult, urlsplit

from face_pipeline.config import Settings
from face_pipeline.errors import BadRequest

URL_MAX = 2000
URL = re.compile(r"https?://[!-~]+")
DEFAULT_PORTS = {"https": 443, "http": 80}
# An IPv4 address inside an IPv6 one, for hosts that have no other. Source: RFC 6052, section 2.1.
NAT64 = IPv6Network("64:ff9b::/96")

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Refused(Exception):
    """No event may go to this address; the text says why, and what to do."""


@dataclass(frozen=True)
class Target:
    """A receiver. `path` has the query with it, `host` no brackets."""

    secure: bool
    host: str
    port: int
    path: str
    # As it stands in the URL.
    netloc: str


@dataclass(frozen=True)
class Rules:
    """Which receivers there may be. `own`: names and addresses of the installation's hosts."""

    http: bool
    networks: tuple[Network, ...]
    own: frozenset[str]

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        public = urlsplit(settings.public_url).hostname or ""
        return cls(
            settings.hooks_allow_http,
            settings.hooks_networks,
            frozenset({public.lower(), *settings.hooks_own_addresses.split()} - {""}),
        )

    def check_url(self, url: str) -> Target:
        """The receiver of this URL; BadRequest (hook_url) where it can be none. Asks no name server."""
        parts = _split(url)
        if parts.scheme == "http" and not self.http:
            raise _bad("the URL must begin with https://, or the operator sets face_hooks_allow_http")
        host = (parts.hostname or "").rstrip(".")
        target = Target(
            parts.scheme == "https",
            host,
            parts.port or DEFAULT_PORTS[parts.scheme],
            (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            parts.netloc,
        )
        try:
            self._check_host(target.host)
        except Refused as error:
            raise _bad(str(error)) from None
        return target

    def _check_host(self, host: str) -> None:
        """What is wrong with a host whatever its name leads to."""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            if host in self.own:
                raise Refused(f"{host} is this installation itself") from None
        else:
            self.check_address(address)

    def check_address(self, address: Address) -> None:
        """Raises Refused where no event may go there."""
        meant = _meant(address)
        if any(meant in network or address in network for network in self.networks):
            return
        if str(meant) in self.own or str(address) in self.own or _is_of_this_host(meant):
            raise Refused(f"{address} is a host of this installation")
        if not _is_outside(meant):
            raise Refused(
                f"{address} is no address of the internet; "
                "the operator can name its network in face_hooks_allowed_networks"
            )

    def addresses(self, target: Target) -> Sequence[Address]:
        """The addresses to which events for it may go, looked up now; Refused where there are none."""
        self._check_host(target.host)
        try:
            found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise Refused(f"the name {target.host} leads to no address: {_why(error)}") from None
        good: list[Address] = []
        refused = Refused(f"the name {target.host} leads to no address")
        for *_, place in found:
            # A zone is of one host; nobody outside has one.
            address = ipaddress.ip_address(str(place[0]).partition("%")[0])
            try:
                self.check_address(address)
            except Refused as error:
                refused = error
            else:
                good.append(address)
        if not good:
            raise refused
        return list(dict.fromkeys(good))


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _bad(message: str) -> BadRequest:
    return BadRequest(message, code="hook_url")


def _split(url: str) -> SplitResult:
    if len(url) > URL_MAX:
        raise _bad(f"the URL has {len(url)} characters, at most {URL_MAX} are taken")
    if not URL.fullmatch(url):
        raise _bad(
            "send a URL like https://example.org/events; other letters than ASCII are written as %C3%A9 in a "
            "path, and as xn-- in a name"
        )
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _bad("the URL's host or port cannot be read") from None
    if not host or port == 0:
        raise _bad("the URL names no host, or the port 0")
    if parts.username is not None or parts.password is not None:
        raise _bad("the URL must hold no user and no password; receivers check the signature")
    if parts.fragment:
        raise _bad("the URL must hold no '#'; nothing behind it would be sent")
    return parts


def _meant(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, or the address itself."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_outside(address: Address) -> bool:
    # Ways of writing IPv4 addresses that nobody needs any more, and that routers of a site may still know.
    if isinstance(address, IPv6Address) and (address.sixtofour or address.teredo or address.is_site_local):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _is_of_this_host(address: Address) -> bool:
    """Whether this host has the address: only then can something listen there."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
