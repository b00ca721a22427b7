"""Data sources and dashboard folders of an operator's own: the role writes them, the stand-in takes them."""

from __future__ import annotations

import importlib.util
import json
import threading
from base64 import b64decode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from tests.monitoring.rendering import ONE_HOST, PLACE, play, told
from tests.monitoring.test_grafana_role import MONITORING_PASSWORD, PASSWORD, ROLE, ROOT, Grafana
from tests.services.process import free_port

# Each sign that Grafana, YAML, a shell or Ansible might take for its own.
SECRET = """p$HOME $$ ${PATH} "q' #:%\\ä"""
TASKS = [
    task for part in ("configure", "own") for task in yaml.safe_load((ROLE / f"tasks/{part}.yml").read_text())
]
PLUGIN = ROLE / "filter_plugins/grafana_own.py"


class Asker(BaseHTTPRequestHandler):
    """A Prometheus of somebody else, which writes down who asked."""

    asked_by: ClassVar[list[str]] = []

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        given = self.headers.get("Authorization", "Basic ").removeprefix("Basic ")
        self.asked_by.append(b64decode(given).decode())
        body = json.dumps(
            {"status": "success", "data": {"resultType": "scalar", "result": [4, "2"]}}
        ).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST


@pytest.fixture
def elsewhere() -> Iterator[str]:
    Asker.asked_by.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Asker)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


class Monitoring:
    """The role's tasks that write files, again and again into one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port = directory / "made", free_port()
        self.etc = self.directory / "one/etc"
        for made in ("provisioning/datasources", "provisioning/dashboards"):
            (self.etc / made).mkdir(parents=True)
        self.dashboards = directory / "dashboards"
        self.dashboards.mkdir()

    def dashboard(self, uid: str, **changed: Any) -> Path:
        model = {"uid": uid, "title": uid.title(), "id": None, "panels": [], "tags": []}
        path = self.dashboards / f"{uid}.json"
        path.write_text(json.dumps({**model, **changed}))
        return path

    def write(self, **variables: Any) -> str:
        known = yaml.safe_load((ROOT / "group_vars/all/endpoints.yml").read_text())["face_ports"]
        done = play(
            "grafana", self.directory, ONE_HOST, tasks=TASKS,
            grafana_config_dir=f"{PLACE}/etc", grafana_data_dir=f"{PLACE}/data",
            grafana_unit_dir=f"{PLACE}/unit", face_ports={**known, "grafana": self.port},
            face_single_host=True,
            face_secrets={
                "grafana_password": PASSWORD, "grafana_secret_key": "k" * 40,
                "monitoring_grafana_password": MONITORING_PASSWORD,
            },
            **variables,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self) -> tuple[Grafana, Any]:
        """The stand-in with the environment that the unit's drop-in gives it."""
        dropin = (self.directory / "one/unit/face-hardening.conf").read_text().splitlines()
        given = [line.removeprefix("Environment=") for line in dropin if line.startswith("Environment=")]
        grafana = Grafana(self.directory / "one", self.port)
        return grafana, grafana.start(**dict(line.split("=", 1) for line in given))


@pytest.fixture
def monitoring(tmp_path: Path) -> Monitoring:
    return Monitoring(tmp_path)


def test_an_own_data_source_is_there_with_its_secret_and_goes_again(
    monitoring: Monitoring, elsewhere: str
) -> None:
    source = {
        "name": "Their Prometheus", "uid": "theirs", "type": "prometheus", "url": elsewhere,
        "basicAuth": True, "basicAuthUser": "face", "jsonData": {"httpMethod": "POST"},
        "secrets": {"basicAuthPassword": "their_password"},
    }  # fmt: skip
    loki = {"name": "Loki: all", "uid": "loki", "type": "loki", "url": "http://127.0.0.1:9"}
    given = {"face_grafana_extra_datasources": [source, loki], "face_own_secrets": {"their_password": SECRET}}
    said = monitoring.write(**given)
    assert "Their Prometheus" in said
    assert SECRET not in said
    assert "FACE_DOLLAR}" not in said
    assert "changed=0" in monitoring.write(**given)
    grafana, process = monitoring.start()
    try:
        there = {entry["uid"]: entry for entry in grafana.get("/api/datasources").json()}
        assert set(there) == {"prometheus", "alertmanager", "theirs", "loki"}
        assert there["theirs"]["readOnly"]
        assert there["prometheus"]["isDefault"]
        assert grafana.get("/api/datasources/uid/theirs/health").status_code == 200
        assert set(Asker.asked_by) == {f"face:{SECRET}"}
    finally:
        process.terminate()
        process.wait(timeout=10)
    # The secret is read from the file that lies beside the others, too.
    (monitoring.directory / "secrets/their_password").write_text("another\n")
    given["face_own_secrets"] = {}
    assert "another" not in monitoring.write(**given)
    assert (monitoring.etc / "face-source-secrets/their_password").read_text() == "another"

    monitoring.write()
    assert list((monitoring.etc / "face-source-secrets").iterdir()) == []
    written = yaml.safe_load((monitoring.etc / "provisioning/datasources/face-pipeline.yaml").read_text())
    # What is no longer named Grafana removes itself.
    assert written["prune"]
    assert {entry["uid"] for entry in written["datasources"]} == {"prometheus", "alertmanager"}


@pytest.mark.campaign("the scenario `cluster` installs so, on hosts")
def test_an_own_folder_shows_its_dashboards_and_goes_again(monitoring: Monitoring) -> None:
    monitoring.dashboard("gate-cameras")
    monitoring.dashboard("yard")
    given = {
        "face_grafana_dashboard_folders": [{"name": 'Câmeras: "Nord"', "path": str(monitoring.dashboards)}]
    }
    monitoring.write(**given)
    assert "changed=0" in monitoring.write(**given)

    def shown() -> set[tuple[str, str]]:
        grafana, process = monitoring.start()
        try:
            found = grafana.get("/api/search?type=dash-db").json()
            return {(entry["uid"], entry["folderTitle"]) for entry in found}
        finally:
            process.terminate()
            process.wait(timeout=10)

    ours = {("face-overview", "Face Pipeline")}
    theirs = {("gate-cameras", 'Câmeras: "Nord"'), ("yard", 'Câmeras: "Nord"')}
    assert shown() >= ours | theirs
    (monitoring.dashboards / "yard.json").unlink()
    monitoring.write(**given)
    assert ("yard", 'Câmeras: "Nord"') not in shown()
    monitoring.write()
    assert list((monitoring.etc / "dashboards/own").iterdir()) == []
    assert shown() >= ours
    assert not shown() & theirs


OVERVIEW = ROOT / "files/grafana/dashboards/overview.json"
GOOD = {"name": "Loki", "uid": "loki", "type": "loki", "url": "https://loki.example.org"}


@pytest.mark.parametrize(
    ("sources", "words"),
    [
        ("loki", "face_grafana_extra_datasources must be a list"),
        (["loki"], "entry 1: a mapping with name, uid, type and url is needed"),
        ([{"name": "Loki"}], "entry 1: it lacks uid, type"),
        ([GOOD, GOOD], "entry 2: there is another data source with the name Loki"),
        ([{**GOOD, "name": "Prometheus"}], "another data source with the name Prometheus"),
        ([{**GOOD, "uid": "elasticsearch"}], "another data source with the uid elasticsearch"),
        ([{**GOOD, "uid": "a b"}], "uid must be 1 to 40 letters, digits, - or _"),
        ([{**GOOD, "uid": "loki\n"}], "uid must be 1 to 40 letters, digits, - or _"),
        ([{**GOOD, "isDefault": True}], "isDefault stays with Prometheus"),
        ([{**GOOD, "secureJsonData": {"basicAuthPassword": "hush"}}], "give `secrets` instead"),
        ([{**GOOD, "url": "https://me:hush@loki.example.org"}], "its url holds a password"),
        ([{**GOOD, "basicAuth": "yes"}], "basicAuth must be true or false"),
        ([{**GOOD, "jsondata": {}}], "it knows no jsondata; it takes name, uid, type"),
        ([{**GOOD, "secrets": ["a"]}], "secrets must be a mapping"),
        ([{**GOOD, "secrets": {"basicAuthPassword": "none"}}], "the secret none is neither a file in"),
        ([{**GOOD, "secrets": {"basicAuthPassword": "../secret"}}], "must be the name of a secret"),
    ],
)
def test_a_data_source_that_grafana_would_refuse_or_show_is_named_first(sources: Any, words: str) -> None:
    said = faults(sources, [])
    assert words in said
    assert "hush" not in said


@pytest.mark.parametrize(
    ("folder", "file", "words"),
    [
        ({"name": "Cameras"}, None, "name and path are needed, and nothing else"),
        ({"name": "face pipeline"}, {"uid": "a"}, "another folder of the name 'face pipeline'"),
        ({"name": " "}, {"uid": "a"}, "its name is empty"),
        ({"name": "Cameras", "path": "dashboards"}, {"uid": "a"}, "give the whole path, from / on"),
        ({"name": "Cameras"}, None, "holds no dashboard (*.json)"),
        ({"name": "Cameras"}, {"uid": "face-overview"}, "overview.json has its uid face-overview"),
        ({"name": "Cameras"}, {"uid": ""}, "give it a uid of its own"),
        ({"name": "Cameras"}, {"uid": "a", "id": 7}, "its id must be null"),
        (
            {"name": "Cameras"},
            {"uid": "a", "panels": None},
            "it is no dashboard: a title and panels are needed",
        ),
    ],
)
def test_a_folder_that_grafana_could_not_show_is_named_first(
    folder: dict[str, str], file: dict[str, Any] | None, words: str, tmp_path: Path
) -> None:
    directory = tmp_path / "dashboards"
    directory.mkdir()
    if file is not None:
        (directory / "one.json").write_text(json.dumps({"title": "One", "panels": [], "id": None, **file}))
    if words != "name and path are needed, and nothing else":
        folder = {"path": str(directory), **folder}
    assert words in faults([], [folder])


def faults(sources: Any, folders: Any) -> str:
    made = importlib.util.spec_from_file_location("grafana_own", PLUGIN)
    assert made is not None
    assert made.loader is not None
    module = importlib.util.module_from_spec(made)
    made.loader.exec_module(module)
    found: list[str] = module.grafana_faults(sources, folders, {}, "/nowhere", [str(OVERVIEW)])
    return "; ".join(found)


def test_what_is_wrong_is_told_before_anything_changes(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    tasks = [yaml.safe_load((ROLE / "tasks/check.yml").read_text())[0]]
    done = play(
        "grafana", tmp_path / "made", ONE_HOST, tasks=tasks, face_single_host=True,
        face_grafana_extra_datasources=[{**GOOD, "secureJsonData": {"basicAuthPassword": "hush"}}],
        face_grafana_dashboard_folders=[{"name": "Cameras", "path": str(tmp_path)}],
    )  # fmt: skip
    said = told(done)
    assert done.returncode == 2, said
    assert f"{tmp_path}/broken.json: it cannot be read as JSON" in said
    assert "face_grafana_extra_datasources, entry 1: secureJsonData would show its values" in said
    assert "nothing was changed" in said
    assert "hush" not in said


def test_good_ones_pass(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text(json.dumps({"title": "One", "uid": "one", "panels": [], "id": None}))
    assert faults([GOOD], [{"name": "Cameras", "path": str(tmp_path)}]) == ""
