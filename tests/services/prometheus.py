"""Prometheus and Alertmanager of Debian, and the tools that check what is written for them."""

import base64
import importlib.util
import json
import shutil
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.services.process import ROOT, Service, ServicesMissing

HASHES = Path(__file__).resolve().parents[2] / "roles/monitoring_access/filter_plugins/bcrypt_hash.py"


def bcrypt_hash(password: str, user: str) -> str:
    """As the role `monitoring_access` makes it."""
    spec = importlib.util.spec_from_file_location("bcrypt_hash", HASHES)
    if spec is None or spec.loader is None:
        raise ImportError(str(HASHES))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: str = module.bcrypt_hash(password, user)
    return made


class _Monitor(Service):
    """With `users`, name -> password, it asks everybody for one; the first of them is who asks here.

    With `authority`, the file of one's certificate, it is asked by TLS.
    """

    system_user = "prometheus"
    program = ""

    def __init__(self, users: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._users = users or {}
        self.authority: Path | None = None
        # Name and password of who asks here.
        self.known = next(iter(self._users.items()), None)
        self.directory.chmod(0o755)
        there = shutil.which(self.program) if self._native else (ROOT / "usr/bin" / self.program).exists()
        if not there:
            raise ServicesMissing(f"{self.program} is not here: install Debian's package of it")

    @property
    def url(self) -> str:
        return f"{'https' if self.authority else 'http'}://{self.host}:{self.port}"

    def _asks(self) -> Sequence[str]:
        if not self._users:
            return []
        hashes = {user: bcrypt_hash(password, user) for user, password in self._users.items()}
        return [f"--web.config.file={self.write('web.yml', json.dumps({'basic_auth_users': hashes}))}"]

    def _signed_in(self) -> dict[str, str]:
        if self.known is None:
            return {}
        return {"Authorization": f"Basic {base64.b64encode(':'.join(self.known).encode()).decode()}"}

    def ready(self) -> bool:
        try:
            return bool(self.get("/-/ready", text=True))
        except OSError:
            return False

    def _ask(self, request: urllib.request.Request) -> Any:
        trusted = ssl.create_default_context(cafile=self.authority) if self.authority else None
        handlers = [urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusted)]
        return urllib.request.build_opener(*handlers).open(request, timeout=5)

    def get(self, path: str, *, text: bool = False) -> Any:
        with self._ask(urllib.request.Request(self.url + path, headers=self._signed_in())) as answer:
            said = answer.read().decode()
        return said if text else json.loads(said)

    def post(self, path: str, body: object) -> Any:
        headers = {"Content-Type": "application/json", **self._signed_in()}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        with self._ask(request) as answer:
            return json.loads(answer.read() or "null")


class Prometheus(_Monitor):
    """Runs `directory`/prometheus.yml, which a test writes, with `options` beyond."""

    name = "prometheus"
    program = "prometheus"

    def __init__(self, *options: str, users: Mapping[str, str] | None = None) -> None:
        super().__init__(users)
        self.options = options

    @property
    def configuration(self) -> Path:
        return self.directory / "prometheus.yml"

    def command(self) -> Sequence[str]:
        return [
            self.program,
            f"--config.file={self.configuration}",
            f"--storage.tsdb.path={self.directory}/data",
            f"--web.listen-address={self.host}:{self.port}",
            *self._asks(),
            *self.options,
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

    def __init__(self, *options: str, users: Mapping[str, str] | None = None) -> None:
        super().__init__(users)
        self.options = options or ("--cluster.listen-address=",)

    @property
    def configuration(self) -> Path:
        return self.directory / "alertmanager.yml"

    def command(self) -> Sequence[str]:
        return [
            self.program,
            f"--config.file={self.configuration}",
            f"--storage.path={self.directory}/data",
            f"--web.listen-address={self.host}:{self.port}",
            *self._asks(),
            *self.options,
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
