"""Debian's Prometheus programs: exporters, Prometheus and Alertmanager, as the system user `prometheus`.

Exporters are Go programs that need no files of their own. They run outside the servers' namespaces and see
this host's /proc and the sockets of the tests' servers.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import requests

from tests.services.process import ROOT, Service


class Program(Service):
    """`binary` with the arguments of its /etc/default file; `contained` where it needs a package's files.

    With `authority`, the file of one's certificate, it is asked by TLS.
    """

    name = "exporter"
    system_user = "prometheus"

    def __init__(
        self,
        binary: str,
        port: int,
        arguments: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        contained: bool = False,
        authority: Path | None = None,
    ) -> None:
        super().__init__()
        self.binary, self.port, self.arguments, self._contained = binary, port, list(arguments), contained
        self.environment = dict(environment or {})
        self.authority = authority

    @property
    def url(self) -> str:
        return f"{'https' if self.authority else 'http'}://{self.host}:{self.port}/metrics"

    @property
    def pid(self) -> int:
        if self._contained or self._process is None:
            return super().pid
        return self._process.pid

    def command(self) -> Sequence[str]:
        program = Path("/usr/bin") / self.binary
        if not (self._native or self._contained):
            program = ROOT / program.relative_to("/")
        variables = [f"{key}={value}" for key, value in self.environment.items()]
        return ["env", *variables, str(program), *self.arguments]

    def ready(self) -> bool:
        try:
            return self._get(self.url).ok
        except requests.ConnectionError:
            return False

    def text(self, path: str = "", **parameters: str) -> str:
        path = path or ("/probe" if parameters else "/metrics")
        answer = self._get(self.url.removesuffix("/metrics") + path, **parameters)
        answer.raise_for_status()
        return answer.text

    def _get(self, url: str, **parameters: str) -> requests.Response:
        trusted = str(self.authority) if self.authority else True
        return requests.get(url, params=parameters, timeout=20, verify=trusted)

    def _wrap(self, arguments: Sequence[str]) -> list[str]:
        if self._contained or os.geteuid() != 0:
            return super()._wrap(arguments)
        user, group = self._identity()
        who = [f"--reuid={user}", f"--regid={group}", "--clear-groups", "--pdeathsig", "KILL"]
        return ["setpriv", *who, "--", *arguments]


def settings(file: Path) -> dict[str, str]:
    """An /etc/default file as systemd reads it: the variables by name."""
    words = shlex.split(file.read_text(), comments=True)
    return {name: value for name, _, value in (word.partition("=") for word in words)}


def samples(text: str) -> dict[str, float]:
    """Each series of a scrape, as it is written there, with its value."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            series, _, value = line.rpartition(" ")
            found[series] = float(value)
    return found


def names(text: str) -> set[str]:
    """Names of the series of a scrape, and of the counters and gauges that have none yet."""
    typed = [line.split() for line in text.splitlines() if line.startswith("# TYPE ")]
    empty = {name for _, _, name, kind in typed if kind in ("counter", "gauge")}
    return empty | {series.partition("{")[0] for series in samples(text)}
