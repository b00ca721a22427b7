"""The certificate that nginx of this host shows to users."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from face_pipeline.network import CONNECT_TIMEOUT_SECONDS

LOOPBACK = "127.0.0.1"
# X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL.
HAS_EXPIRED = 10


class Expired(Exception):
    """Nobody can read its end from Python's ssl any more: it is over."""


@dataclass(frozen=True)
class Certificate:
    """`subject` and `issuer`: their common names."""

    subject: str
    issuer: str
    not_after: datetime

    @property
    def days_left(self) -> int:
        return (self.not_after - datetime.now(UTC)).days


def served(name: str, port: int) -> Certificate:
    """What this host shows to whoever asks for `name`. Raises OSError where nobody answers, Expired."""
    shown = _handshake(name, port, ssl.CERT_NONE, None)
    # ssl tells what is in a certificate only once it is trusted: this one, for a second look at it.
    pem = ssl.DER_cert_to_PEM_cert(shown.getpeercert(binary_form=True) or b"")
    shown.close()
    try:
        again = _handshake(name, port, ssl.CERT_REQUIRED, pem)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code == HAS_EXPIRED:
            raise Expired from error
        raise
    told: dict[str, Any] = dict(again.getpeercert() or {})
    again.close()
    return Certificate(
        _common_name(told.get("subject", ())),
        _common_name(told.get("issuer", ())),
        datetime.fromtimestamp(ssl.cert_time_to_seconds(told["notAfter"]), UTC),
    )


def _handshake(name: str, port: int, mode: ssl.VerifyMode, trusted: str | None) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = mode
    if trusted is not None:
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=trusted)
    connection = socket.create_connection((LOOPBACK, port), timeout=CONNECT_TIMEOUT_SECONDS)
    try:
        return context.wrap_socket(connection, server_hostname=name)
    except BaseException:
        connection.close()
        raise


def _common_name(names: Any) -> str:
    return next((value for each in names for key, value in each if key == "commonName"), "")
