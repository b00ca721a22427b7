"""One event to one receiver over HTTP, in a bounded time, to an address that was checked.

The connection is made here and not by a library of HTTP, which would look the name up a second time, follow
redirects, or go through a proxy of the environment.
"""

from __future__ import annotations

import io
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any

from face_pipeline.actions.receivers import Refused, Rules, Target
from face_pipeline.store.deliveries import Tried

# A whole try: connecting, sending, and the answer. To look the name up is not counted.
TIMEOUT_SECONDS = 10.0
ANSWER_MAX_BYTES = 64 * 1024
ANSWER_SHOWN = 200
# A connection is used for the next events too; then the name is looked up, and the address checked, again.
KEEP_SECONDS = 60.0
REDIRECTED = "redirects are not followed; give the hook the address it leads to"


class Wire:
    """A socket whose every wait ends at `deadline`, as `http.client` uses one."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self.connection = connection
        self.deadline = deadline

    def wait(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.connection.settimeout(left)

    def sendall(self, data: Any) -> None:
        self.wait()
        self.connection.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        del mode
        return io.BufferedReader(_Incoming(self))

    def close(self) -> None:
        """Nothing: `http.client` closes what it has still to read from, for its files count the uses."""

    def end(self) -> None:
        self.connection.close()


class _Incoming(io.RawIOBase):
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._wire.wait()
        return self._wire.connection.recv_into(buffer)


@dataclass
class _Line:
    """An open connection to a receiver. `place`: whose it is (`_place`)."""

    place: tuple[bool, str, int]
    wire: Wire
    http: HTTPConnection
    opened: float

    def is_old(self) -> bool:
        return time.monotonic() - self.opened > KEEP_SECONDS

    def close(self) -> None:
        self.http.close()
        self.wire.end()


class Post:
    """What sends to one hook, one event after the other; not for several threads at once."""

    def __init__(self, rules: Rules, timeout: float = TIMEOUT_SECONDS) -> None:
        self._rules = rules
        self._timeout = timeout
        self._tls: ssl.SSLContext | None = None
        self._line: _Line | None = None

    def send(self, target: Target, body: bytes, headers: Mapping[str, str]) -> Tried:
        """POST `body`; every way in which that can go wrong is told in the answer."""
        try:
            return self._send(target, body, headers)
        except Refused as error:
            return Tried(False, error=str(error))
        except TimeoutError:
            return Tried(False, error=f"no answer within {self._timeout:g} seconds")
        except ssl.SSLCertVerificationError as error:
            return Tried(False, error=f"its certificate is not trusted: {error.verify_message}")
        except ssl.SSLError as error:
            return Tried(False, error=f"no TLS with it: {error.reason or error}")
        except OSError as error:
            return Tried(False, error=f"no connection: {error.strerror or error}")
        except HTTPException as error:
            return Tried(False, error=f"what it answered is no HTTP: {type(error).__name__}")

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

    def _send(self, target: Target, body: bytes, headers: Mapping[str, str]) -> Tried:
        line, self._line = self._line, None
        if line is not None and (line.place != _place(target) or line.is_old()):
            line.close()
            line = None
        if line is not None:
            try:
                return self._ask(line, target, body, headers)
            except TimeoutError:
                raise
            except (OSError, HTTPException):
                # It was closed while there was nothing to send.
                line.close()
        return self._ask(self._open(target), target, body, headers)

    def _open(self, target: Target) -> _Line:
        addresses = self._rules.addresses(target)
        deadline = time.monotonic() + self._timeout
        wire = Wire(_connect([str(each) for each in addresses], target.port, deadline), deadline)
        if target.secure:
            try:
                self._tls = self._tls or ssl.create_default_context()
                wire.wait()
                wire.connection = self._tls.wrap_socket(wire.connection, server_hostname=target.host)
            except BaseException:
                wire.end()
                raise
        http = HTTPConnection(target.host, target.port)
        # Without this it would connect by itself, to whatever the name leads to by then.
        http.auto_open = 0
        http.sock = wire
        return _Line(_place(target), wire, http, time.monotonic())

    def _ask(self, line: _Line, target: Target, body: bytes, headers: Mapping[str, str]) -> Tried:
        """Send and read the answer; keeps the connection where it can be used again, and closes it else."""
        line.wire.deadline = time.monotonic() + self._timeout
        try:
            line.http.request("POST", target.path, body, {"Host": target.netloc, **headers})
            response = line.http.getresponse()
            data = response.read(ANSWER_MAX_BYTES)
            whole = response.isclosed() or response.read(1) == b""
            reusable = whole and not response.will_close
        except BaseException:
            line.close()
            raise
        if reusable:
            self._line = line
        else:
            line.close()
        return _tried(response.status, data)


def _place(target: Target) -> tuple[bool, str, int]:
    return target.secure, target.host, target.port


def _connect(addresses: Sequence[str], port: int, deadline: float) -> socket.socket:
    """A connection to the first of these addresses that takes one."""
    for number, address in enumerate(addresses, 1):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        try:
            # Each gets its part of the time that is left.
            return socket.create_connection((address, port), left / (len(addresses) - number + 1))
        except OSError:
            if number == len(addresses):
                raise
    raise AssertionError("unreachable")


def _tried(status: int, data: bytes) -> Tried:
    answer = data.decode("utf-8", "replace")[:ANSWER_SHOWN]
    answer = "".join(each if each.isprintable() else " " for each in answer)
    error = None
    if 300 <= status < 400:
        error = REDIRECTED
    elif not 200 <= status < 300:
        error = f"it answered {status}"
    return Tried(error is None, status, answer, error)
