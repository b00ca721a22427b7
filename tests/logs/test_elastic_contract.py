"""The roles' requests against Elastic's own published contract, other callers, the packages' repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.logs.elastic import ROOT, SECRETS, STANDIN, Host, made, ran
from tests.services.exporters import Program
from tests.services.process import ServicesMissing, free_port
from tests.services.rsyslog import Rsyslog

sys.path.insert(0, str(STANDIN))

from es_contract import Contract, NotKnown
from es_contract_data import WITHOUT, metamodel
from es_contract_privileges import CLUSTER, INDEX, NobodyKnows, Roles, action_of, of_cluster

METAMODEL = metamodel()
needs_contract = pytest.mark.skipif(METAMODEL is None, reason=WITHOUT)
FILES = sorted((ROOT / "files/elasticsearch").glob("*.json"))
PLACES = {
    "ilm": "/_ilm/policy/",
    "component": "/_component_template/",
    "template": "/_index_template/",
    "role": "/_security/role/",
}
VARIABLES = {"face_logs_retention": "30d", "face_logs_rollover_age": "1d", "face_logs_rollover_size": "10gb"}
LINE = {"@timestamp": "2026-01-01T00:00:00Z", "message": "hello"}


@pytest.fixture(scope="module")
def contract() -> Contract:
    assert METAMODEL is not None
    return Contract(METAMODEL)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The stand-in, which holds every request against the contract, set up by the role."""
    if METAMODEL is None:
        pytest.skip(WITHOUT)
    before = os.environ.get("FACE_ES_METAMODEL")
    os.environ["FACE_ES_METAMODEL"] = str(METAMODEL)
    one = made(Host(tmp_path_factory.mktemp("contract") / "host"))
    try:
        ran(one.play("elasticsearch", "configure"))
        one.start_elasticsearch()
        ran(one.play("elasticsearch", "configure", "setup"))
        assert f"requests are held against {METAMODEL}" in one.said("elasticsearch")
        yield one
    finally:
        one.close()
        os.environ.pop("FACE_ES_METAMODEL")
        if before is not None:
            os.environ["FACE_ES_METAMODEL"] = before


def read(file: Path) -> dict[str, Any]:
    text = re.sub(r"{{ (\w+) }}", lambda match: VARIABLES[match[1]], file.read_text())
    body: dict[str, Any] = json.loads(text)
    return body


def place(file: Path) -> str:
    kind, _, name = file.stem.partition("-")
    return PLACES[kind] + name


def test_the_files_are_those_the_roles_and_logstash_count_on() -> None:
    assert [file.stem for file in FILES] == [
        "component-face-logs",
        "ilm-face-recognition-logs",
        "ilm-filebeat",
        "role-face_exporter",
        "role-logs_reader",
        "role-logstash_writer",
        "template-face-recognition-logs",
        "template-filebeat",
    ]
    for name in ("face-recognition-logs", "filebeat"):
        template = read(ROOT / f"files/elasticsearch/template-{name}.json")
        assert template["index_patterns"] == [f"{name}-*"]
        assert template["data_stream"] == {}
        assert template["template"]["settings"]["lifecycle"]["name"] == name
        assert template["composed_of"] == ["face-logs"]


@needs_contract
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_body_is_one_that_elasticsearch_knows(contract: Contract, file: Path) -> None:
    assert contract.check("PUT", place(file), read(file))[1] == []


@needs_contract
@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("ilm-filebeat", "policyx", {}),
        ("ilm-filebeat", "policy.phases.hot.actions.rolloverr", {}),
        ("ilm-filebeat", "policy.phases.hot.actions.delete", {}),
        ("ilm-filebeat", "policy.phases.hot.actions.rollover.max_age", "1 day"),
        ("component-face-logs", "template.mappings.properties.path.type", "keywrd"),
        ("component-face-logs", "template.mappings.properties.path.ignore_abov", 3),
        ("component-face-logs", "template.settings.number_of_shardss", 1),
        ("template-filebeat", "priority", "high"),
        ("template-filebeat", "order", 1),
        ("role-logstash_writer", "cluster", ["monitr"]),
        ("role-logstash_writer", "indices.0.privileges", ["create_docs"]),
        ("role-logstash_writer", "indices.0.privilege", ["write"]),
    ],
)
def test_a_slip_in_one_is_found(contract: Contract, name: str, path: str, value: Any) -> None:
    file = ROOT / f"files/elasticsearch/{name}.json"
    body = deepcopy(read(file))
    inner: Any = body
    *parents, last = path.split(".")
    for key in parents:
        inner = inner[int(key) if key.isdigit() else key]
    inner[last] = value
    assert contract.check("PUT", place(file), body)[1] != []


@needs_contract
def test_paths_methods_and_parameters_that_are_not_there_are_found(contract: Contract) -> None:
    assert contract.check("GET", "/_cluster/health?wait_for_status=yellow&timeout=10s")[1] == []
    assert contract.check("GET", "/_cluster/health?wait_for_state=yellow")[1] != []
    password = {"password": "abcdefgh"}
    assert contract.check("POST", "/_security/user/kibana_system/_password", password)[1] == []
    assert contract.check("GET", "/_security/_authenticate")[1] == []
    for method, path in (("PUT", "/_nope/x"), ("DELETE", "/_bulk")):
        with pytest.raises(NotKnown):
            contract.check(method, path)


@needs_contract
def test_what_the_vendor_says_is_enough_is_enough_for_the_standin(contract: Contract) -> None:
    """Of each call that the stand-in knows, the privilege that the published contract names."""
    compared = 0
    for template, _, methods, endpoint in contract.routes:
        path = re.sub(r"{\w+}", "face-recognition-logs-x", template).rstrip("/")
        for method in methods:
            try:
                action = action_of(method, path)
            except NobodyKnows:
                continue
            table, kind = (CLUSTER, "cluster") if of_cluster(action) else (INDEX, "index")
            for privilege in endpoint.get("privileges", {}).get(kind, []):
                if privilege not in table:
                    continue
                role = {"cluster": [privilege], "indices": [{"names": ["*"], "privileges": [privilege]}]}
                role = {**role, "indices": []} if kind == "cluster" else {**role, "cluster": []}
                roles = Roles("somebody", ["one"], {"one": role})
                wanted = f"{action}:op_type/create" if action == "indices:data/write/index" else action
                assert roles.may(wanted, None if kind == "cluster" else "face-recognition-logs-x"), (
                    f"{method} {template}: {privilege}"
                )
                compared += 1
    assert compared > 20


@pytest.mark.parametrize(
    ("privilege", "action", "granted"),
    [
        ("create_doc", "indices:data/write/index:op_type/create", True),
        ("create_doc", "indices:data/write/index:op_type/index", False),
        ("create_doc", "indices:admin/auto_create", False),
        ("auto_configure", "indices:admin/auto_create", True),
        ("read", "indices:admin/mappings/get", False),
        ("view_index_metadata", "indices:data/read/search", False),
    ],
)
def test_a_privilege_of_an_index_grants_its_own_and_no_more(
    privilege: str, action: str, granted: bool
) -> None:
    role = {"indices": [{"names": ["filebeat-*"], "privileges": [privilege]}]}
    roles = Roles("somebody", ["one"], {"one": role})
    assert roles.may(action, "filebeat-journal") is granted
    assert not roles.may(action, "other")
    assert not roles.may("cluster:monitor/main")


def test_every_field_that_logstash_keeps_is_mapped() -> None:
    kept = ROOT / "files/logstash/80-fields.conf"
    names = set()
    for many, name in re.findall(r'"\^(?:\(([\w|]+)\))?([@\w]+)\$"', kept.read_text()):
        names |= {f"{each}{name}" for each in many.split("|")}
    mapped = read(ROOT / "files/elasticsearch/component-face-logs.json")["template"]["mappings"]["properties"]
    assert names == set(mapped)


@pytest.mark.campaign("the scenario `cluster` installs so, on hosts")
def test_the_roles_requests_pass_and_a_wrong_one_does_not(host: Host) -> None:
    assert "changed=0 " in ran(host.play("elasticsearch", "configure", "setup"))
    assert "WARN" not in host.said("elasticsearch")
    secret = SECRETS["elastic_password"]
    refused = host.ask("elastic", "PUT", "/_ilm/policy/x", secret, json={"policyx": {}})
    assert refused.status_code == 400
    assert "unknown property" in refused.json()["error"]["reason"]


def test_the_python_client_is_a_caller_of_its_own(host: Host) -> None:
    module = pytest.importorskip("elasticsearch")
    client = module.Elasticsearch(
        f"https://localhost:{host.ports['elasticsearch']}",
        ca_certs=str(host.directory / "secrets/ca.crt"),
        basic_auth=("elastic", SECRETS["elastic_password"]),
    )
    assert client.info()["version"]["number"].split(".")[0] in ("8", "9")
    assert client.cluster.health(wait_for_status="yellow")["status"] == "green"
    policy = client.ilm.get_lifecycle(name="filebeat")["filebeat"]["policy"]
    assert policy["phases"]["delete"]["min_age"] == "30d"
    stream = "face-recognition-logs-client"
    client.create(index=stream, id="one", document={**LINE, "service_name": "face-web"})
    with pytest.raises(module.ConflictError):
        client.create(index=stream, id="one", document=LINE)
    with pytest.raises(module.BadRequestError):
        client.index(index=stream, document=LINE)
    with pytest.raises(module.NotFoundError):
        client.create(index="nobodys", id="one", document=LINE)
    assert client.count(index=stream, query={"term": {"service_name": "face-web"}})["count"] == 1
    assert client.count(index=stream, query={"term": {"service_name": "celery"}})["count"] == 0
    with pytest.raises(module.AuthenticationException):
        client.options(basic_auth=("elastic", "wrong")).info()


def test_debians_exporter_reads_it_with_a_user_that_may_do_nothing_else(host: Host) -> None:
    binary = "prometheus-elasticsearch-exporter"
    port = free_port()
    arguments = [
        f"--web.listen-address=127.0.0.1:{port}",
        f"--es.uri=https://localhost:{host.ports['elasticsearch']}",
        f"--es.ca={host.directory}/secrets/ca.crt",
    ]
    password = SECRETS["elasticsearch_exporter_password"]
    given = os.environ.get("FACE_ELASTICSEARCH_EXPORTER") or shutil.which(binary)
    try:
        exporter = Program(binary, port, arguments)
        given = given or next((str(file) for file in [exporter_path(exporter)] if file.exists()), None)
    except ServicesMissing:
        pass
    if given is None:
        pytest.skip(f"{binary} is not here")
    process = subprocess.Popen(
        [given, *arguments],
        env={**os.environ, "ES_USERNAME": "face_exporter", "ES_PASSWORD": password},
        stderr=subprocess.DEVNULL,
    )
    try:
        told = scrape(f"http://127.0.0.1:{port}/metrics")
    finally:
        process.kill()
        process.wait()
    assert 'elasticsearch_cluster_health_status{cluster="face-pipeline",color="green"} 1' in told
    for name in (
        "elasticsearch_cluster_health_number_of_nodes",
        "elasticsearch_filesystem_data_available_bytes",
        "elasticsearch_filesystem_data_size_bytes",
    ):
        assert f"\n{name}{{" in told


@pytest.mark.parametrize(
    ("user", "secret", "index", "taken"),
    [
        ("logstash_writer", "logstash_writer_password", "face-recognition-logs-rsyslog", 3),
        # It may add lines to our data streams, and nothing elsewhere.
        ("logstash_writer", "logstash_writer_password", "nobodys", 0),
        ("grafana_reader", "grafana_elasticsearch_password", "face-recognition-logs-reader", 0),
    ],
)
def test_debians_rsyslog_adds_lines_with_the_writers_rights_alone(
    host: Host, user: str, secret: str, index: str, taken: int
) -> None:
    lines = ["first", "second", "third"]
    settings = {"port": str(host.ports["elasticsearch"]), "user": user, "password": SECRETS[secret]}
    try:
        rsyslog = Rsyslog(host.directory / "secrets/ca.crt", lines, index=index, **settings)
    except ServicesMissing as missing:
        pytest.skip(str(missing))
    path = f"/{index}/_search"
    with rsyslog:
        end = time.monotonic() + 20
        while time.monotonic() < end:
            answer = host.ask("elastic", "GET", path, SECRETS["elastic_password"])
            found = [hit["_source"]["message"] for hit in answer.json().get("hits", {}).get("hits", [])]
            if len(found) == len(lines) or rsyslog.refused:
                break
            time.sleep(0.2)
        refused = rsyslog.refused
    assert len(found) == taken, refused
    assert bool(refused) == (taken == 0)


def exporter_path(program: Program) -> Path:
    return Path(next(word for word in program.command() if word.endswith(program.binary)))


def scrape(url: str) -> str:
    session = requests.Session()
    session.trust_env = False
    end = time.monotonic() + 20
    told = ""
    # Its label `cluster` comes with the second answer.
    while time.monotonic() < end and 'cluster="face-pipeline"' not in told:
        try:
            told = session.get(url, timeout=10).text
        except requests.ConnectionError:
            told = ""
        time.sleep(0.2)
    return told


needs_packaging = pytest.mark.skipif(
    not all(map(shutil.which, ("gpg", "dpkg-deb", "apt-get"))), reason="needs gpg, dpkg-deb and apt-get"
)


def repository(directory: Path) -> tuple[Path, str]:
    """With stand-ins, and the fingerprint of its key."""
    builder = STANDIN / "build_elastic_standins.py"
    command = [sys.executable, str(builder), str(directory), "9.5.1+standin1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return directory, done.stdout.strip()


@needs_packaging
def test_the_repository_holds_the_four_packages(tmp_path: Path) -> None:
    directory, fingerprint = repository(tmp_path / "repository")
    assert re.fullmatch(r"[0-9A-F]{40}", fingerprint)
    listed = (directory / "dists/stable/main/binary-amd64/Packages").read_text()
    assert dict(re.findall(r"^Package: (.*)\nVersion: (.*)$", listed, re.MULTILINE)) == {
        "elasticsearch": "9.5.1+standin1",
        "kibana": "9.5.1+standin1",
        "logstash": "1:9.5.1+standin1-1",
        "filebeat": "9.5.1+standin1",
    }
    assert listed.count("Description: STAND-IN") == 4


@pytest.mark.campaign("the scenario `cluster` installs so, on hosts")
@needs_packaging
def test_the_repository_is_named_with_the_one_key_that_is_wanted(tmp_path: Path) -> None:
    directory, fingerprint = repository(tmp_path / "repository")
    host = Host(tmp_path / "host")
    there = {
        "face_elastic_repository": f"file://{directory}",
        "face_elastic_key_url": f"file://{directory}/GPG-KEY-elasticsearch",
        "face_elastic_key_fingerprint": fingerprint,
        "face_elastic_version": "9.5.1+standin1",
        "vendor_source": str(tmp_path / "face-elastic.sources"),
        "vendor_keyring": str(tmp_path / "face-elastic.gpg"),
    }
    assert host.play("elastic", "check", **there).returncode == 0
    assert "changed=2 " in ran(host.play("elastic", "main", **there))
    assert "changed=0 " in ran(host.play("elastic", "main", **there))
    assert f"URIs: file://{directory}\n" in (tmp_path / "face-elastic.sources").read_text()
    refused = host.play("elastic", "main", **{**there, "face_elastic_key_fingerprint": "A" * 40})
    assert refused.returncode == 2
    told = " ".join(refused.stdout.split())
    assert f"holds the key {fingerprint}, not {'A' * 40}" in told
    assert "set face_elastic_key_fingerprint to it" in told
    assert "changed=1 " in ran(host.play("elastic", "main", **{**there, "face_logging_enabled": False}))
    assert not list(tmp_path.glob("face-elastic.*"))


@pytest.mark.campaign("the scenarios run it on fresh hosts, with the log path and without")
@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("role", ["elastic", "elasticsearch", "kibana"])
def test_check_mode_on_a_new_host_neither_fails_nor_asks_anybody(
    role: str, enabled: bool, tmp_path: Path
) -> None:
    host = Host(tmp_path / "host")
    shutil.rmtree(host.directory / "etc")
    done = ran(host.play(role, "main", check=True, face_logging_enabled=enabled))
    assert enabled or "changed=0 " in done
    assert not (host.directory / "etc").exists()


def check(tmp_path: Path, **variables: Any) -> subprocess.CompletedProcess[str]:
    return Host(tmp_path / "host").play("elastic", "check", vendor_timeout=2, **variables)


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="needs apt")
def test_the_preflight_names_repository_and_variables_where_it_is_away(tmp_path: Path) -> None:
    away = f"127.0.0.1:{free_port()}"
    refused = check(tmp_path, face_elastic_repository=f"http://user:secret@{away}")
    assert refused.returncode == 2
    told = " ".join(refused.stdout.split())
    assert (
        f"one: the package repository of Elastic, http://{away}, does not answer (Could not connect" in told
    )
    assert (
        "set face_elastic_repository to a mirror, or face_logging_enabled to false to leave the logs in"
        in told
    )
    assert "secret" not in told


@pytest.mark.parametrize("version", ["8.17.1", "10.0.0", "9.x"])
def test_a_version_of_another_line_is_refused_in_one_line(version: str, tmp_path: Path) -> None:
    refused = check(tmp_path, face_elastic_version=version)
    assert refused.returncode == 2
    assert f"face_elastic_version is {version}: 9.x.y or 8.19.x is needed" in " ".join(refused.stdout.split())


def test_off_asks_nobody(tmp_path: Path) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    done = check(tmp_path, face_elastic_repository=away, face_logging_enabled=False)
    assert done.returncode == 0, done.stdout
