"""Prometheus and Alertmanager of Debian, and the tools that check what is written for them."""

import json
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.services.process import ROOT, Service, ServicesMissing

_ask = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


class _Monitor(Service):
    system_user = "prometheus"
    program = ""

    def __init__(self) -> None:
        super().__init__()
        self.directory.chmod(0o755)
        there = shutil.which(self.program) if self._native else (ROOT / "usr/bin" / self.program).exists()
        if not there:
            raise ServicesMissing(f"{self.program} is not here: install Debian's package of it")

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def ready(self) -> bool:
        try:
            return bool(self.get("/-/ready", text=True))
        except OSError:
            return False

    def get(self, path: str, *, text: bool = False) -> Any:
        with _ask(self.url + path, timeout=5) as answer:
            said = answer.read().decode()
        return said if text else json.loads(said)

    def post(self, path: str, body: object) -> Any:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        with _ask(request, timeout=5) as answer:
            return json.loads(answer.read() or "null")


class Prometheus(_Monitor):
    """Runs `directory`/prometheus.yml, which a test writes, with `options` beyond."""

    name = "prometheus"
    program = "prometheus"

    def __init__(self, *options: str) -> None:
        super().__init__()
        self._options = options

    @property
    def configuration(self) -> Path:
        return self.directory / "prometheus.yml"

    def command(self) -> Sequence[str]:
        return [
            self.program,
            f"--config.file={self.configuration}",
            f"--storage.tsdb.path={self.directory}/data",
            f"--web.listen-address={self.host}:{self.port}",
            *self._options,
        ]

    def promtool(self, *arguments: str) -> str:
        return self.run(["promtool", *arguments])

    def targets(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/api/v1/targets?state=active")["data"]["activeTargets"]
        return found

    def query(self, expression: str) -> list[dict[str, Any]]:
        asked = urllib.parse.urlencode({"query": expression})
        found: list[dict[str, Any]] = self.get(f"/api/v1/query?{asked}")["data"]["result"]
        return found


class Alertmanager(_Monitor):
    """Runs `directory`/alertmanager.yml, which a test writes, with `options` beyond."""

    name = "alertmanager"
    program = "prometheus-alertmanager"

    def __init__(self, *options: str) -> None:
        super().__init__()
        self._options = options or ("--cluster.listen-address=",)

    @property
    def configuration(self) -> Path:
        return self.directory / "alertmanager.yml"

    def command(self) -> Sequence[str]:
        return [
            self.program,
            f"--config.file={self.configuration}",
            f"--storage.path={self.directory}/data",
            f"--web.listen-address={self.host}:{self.port}",
            *self._options,
        ]

    def amtool(self, *arguments: str) -> str:
        return self.run(["amtool", *arguments])

    def fire(self, *alerts: dict[str, str], annotations: dict[str, str] | None = None, **more: str) -> None:
        """Post alerts, given by their labels; `endsAt` in the past resolves them."""
        texts = annotations or {}
        link = "http://prometheus.test/graph"
        self.post(
            "/api/v2/alerts",
            [{"labels": labels, "annotations": texts, "generatorURL": link, **more} for labels in alerts],
        )

    def states(self) -> dict[str, str]:
        """Alert's name -> active, suppressed or unprocessed."""
        return {each["labels"]["alertname"]: each["status"]["state"] for each in self.get("/api/v2/alerts")}
