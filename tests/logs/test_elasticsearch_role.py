"""The role `elasticsearch` against its stand-in: what it writes, each key's source, passwords, repetition.

Elasticsearch itself is not here: a host that reaches its vendor shows that the real one takes these settings.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.logs.elastic import CLUSTER, ROOT, SECRETS, Host, made, ran

REFERENCE = "https://www.elastic.co/docs/reference/elasticsearch/"
SETTINGS = REFERENCE + "configuration-reference/"
DEPLOY = "https://www.elastic.co/docs/deploy-manage/"
# Every key of our elasticsearch.yml, and the page of the vendor's documentation that has it; of 8.19 and 9.x.
SOURCES = {
    "cluster.name": DEPLOY + "deploy/self-managed/important-settings-configuration",
    "node.name": DEPLOY + "deploy/self-managed/important-settings-configuration",
    "path.data": DEPLOY + "deploy/self-managed/important-settings-configuration",
    "path.logs": DEPLOY + "deploy/self-managed/important-settings-configuration",
    "network.host": SETTINGS + "networking-settings",
    "http.port": SETTINGS + "networking-settings",
    "transport.port": SETTINGS + "networking-settings",
    "transport.host": SETTINGS + "networking-settings",
    "discovery.type": SETTINGS + "discovery-cluster-formation-settings",
    "discovery.seed_hosts": SETTINGS + "discovery-cluster-formation-settings",
    "cluster.initial_master_nodes": SETTINGS + "discovery-cluster-formation-settings",
    "xpack.security.enabled": SETTINGS + "security-settings",
    "xpack.security.http.ssl.enabled": SETTINGS + "security-settings",
    "xpack.security.http.ssl.key": SETTINGS + "security-settings",
    "xpack.security.http.ssl.certificate": SETTINGS + "security-settings",
    "xpack.security.http.ssl.certificate_authorities": SETTINGS + "security-settings",
    "xpack.security.transport.ssl.enabled": SETTINGS + "security-settings",
    "xpack.security.transport.ssl.key": SETTINGS + "security-settings",
    "xpack.security.transport.ssl.certificate": SETTINGS + "security-settings",
    "xpack.security.transport.ssl.certificate_authorities": SETTINGS + "security-settings",
    "cluster.routing.allocation.disk.watermark.low": SETTINGS
    + "cluster-level-shard-allocation-routing-settings",
    "cluster.routing.allocation.disk.watermark.high": SETTINGS
    + "cluster-level-shard-allocation-routing-settings",
    "cluster.routing.allocation.disk.watermark.flood_stage": SETTINGS
    + "cluster-level-shard-allocation-routing-settings",
    "ingest.geoip.downloader.enabled": "https://www.elastic.co/docs/reference/enrich-processor/geoip-processor",
    "xpack.ml.enabled": SETTINGS + "machine-learning-settings",
}
LINE = {"@timestamp": "2026-01-01T00:00:00Z", "message": "hello", "service_name": "face-web"}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Installed once: the settings written, Elasticsearch started and set up."""
    one = made(Host(tmp_path_factory.mktemp("elasticsearch") / "host"))
    ran(one.play("elasticsearch", "configure"))
    one.start_elasticsearch()
    # As the role has it in one run, with the start in between.
    ran(one.play("elasticsearch", "configure", "setup"))
    yield one
    one.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Host:
    one = made(Host(tmp_path_factory.mktemp("cluster") / "host", CLUSTER))
    ran(one.play("elasticsearch", "configure"))
    return one


def settings(host: Host) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(
        (host.directory / "etc/elasticsearch/elasticsearch.yml").read_text()
    )
    return read


def test_every_key_has_a_source_and_no_source_is_left_over(host: Host, cluster: Host) -> None:
    assert set(settings(host)) | set(settings(cluster)) == set(SOURCES)


def test_one_node_listens_on_loopback_and_lets_nobody_join(host: Host) -> None:
    found = settings(host)
    assert found["discovery.type"] == "single-node"
    assert not {"discovery.seed_hosts", "cluster.initial_master_nodes"} & set(found)
    assert (found["network.host"], found["transport.host"]) == ("127.0.0.1", "127.0.0.1")
    heap = (host.directory / "etc/elasticsearch/jvm.options.d/face-heap.options").read_text().splitlines()
    assert heap[-2:] == ["-Xms2000m", "-Xmx2000m"]


def test_a_cluster_names_its_first_masters_only_until_it_is_there(cluster: Host) -> None:
    found = settings(cluster)
    names = ["one", "two", "three"]
    assert found["cluster.initial_master_nodes"] == names
    assert sorted(address.split(":")[0] for address in found["discovery.seed_hosts"]) == [
        "10.0.0.1", "10.0.0.2", "10.0.0.3"
    ]  # fmt: skip
    assert "discovery.type" not in found
    assert found["xpack.security.transport.ssl.enabled"] is True
    # As its setup does at the end, and each run from then on.
    (cluster.directory / "etc/elasticsearch/face-formed").touch()
    ran(cluster.play("elasticsearch", "configure"))
    assert "cluster.initial_master_nodes" not in settings(cluster)


def test_the_certificate_is_one_of_both_ends_of_a_connection(host: Host) -> None:
    file = host.directory / "etc/elasticsearch/certs/face.crt"
    certificate = x509.load_pem_x509_certificate(file.read_bytes())
    uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(uses) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    authority = x509.load_pem_x509_certificate((host.directory / "secrets/ca.crt").read_bytes())
    certificate.verify_directly_issued_by(authority)
    assert (host.directory / "etc/elasticsearch/certs/face.key").stat().st_mode & 0o777 == 0o640


@pytest.mark.campaign("the scenarios run it twice on hosts")
def test_a_second_run_changes_nothing(host: Host) -> None:
    told = ran(host.play("elasticsearch", "configure", "setup"))
    assert "changed=0 " in told
    listed = host.tool("elasticsearch", "elasticsearch-keystore", "list").stdout.split()
    assert listed == ["keystore.seed"], "the first password stays in the keystore"


def test_each_user_may_do_its_own_and_nothing_else(host: Host) -> None:
    writer = ("logstash_writer", SECRETS["logstash_writer_password"])

    def bulk(action: str, index: str, line: dict[str, Any] | None = None) -> int:
        answer = host.ask(
            writer[0], "POST", "/_bulk", writer[1],
            data=f'{{"{action}": {{"_index": "{index}"}}}}\n{json.dumps(line or LINE)}\n',
            headers={"Content-Type": "application/x-ndjson"},
        )  # fmt: skip
        status: int = answer.json()["items"][0][action]["status"]
        return status

    assert bulk("create", "face-recognition-logs-app") == 201
    assert bulk("create", "filebeat-journal") == 201
    assert bulk("index", "face-recognition-logs-app") == 403
    assert bulk("create", "somebody-elses") == 403
    assert bulk("create", "face-recognition-logs-app", {"message": "without a time"}) == 400
    assert host.ask(writer[0], "GET", "/face-recognition-logs-app/_search", writer[1]).status_code == 403
    assert (
        host.ask(
            writer[0], "PUT", "/_security/user/x", writer[1], json={"password": "abcdef", "roles": []}
        ).status_code
        == 403
    )
    reader = ("operator", SECRETS["logs_reader_password"])
    found = host.ask(reader[0], "GET", "/face-recognition-logs-*/_search", reader[1]).json()
    assert [hit["_source"] for hit in found["hits"]["hits"]] == [LINE]
    assert host.ask(reader[0], "GET", "/_ilm/policy/filebeat", reader[1]).status_code == 403
    exporter = ("face_exporter", SECRETS["elasticsearch_exporter_password"])
    assert host.ask(exporter[0], "GET", "/_cluster/health", exporter[1]).status_code == 200
    assert host.ask(exporter[0], "GET", "/face-recognition-logs-app/_search", exporter[1]).status_code == 403
    assert (
        host.ask(
            "elastic", "POST", "/face-recognition-logs-app/_doc", SECRETS["elastic_password"], json=LINE
        ).status_code
        == 400
    )


def test_grafana_may_ask_how_the_cluster_is_and_read_its_logs(host: Host) -> None:
    """What Grafana's own source asks: its version, its health, the fields, and each panel's lines."""
    reader = ("grafana_reader", SECRETS["grafana_elasticsearch_password"])
    logs = "/face-recognition-logs-*"
    for path in ("/", "/_cluster/health?wait_for_status=yellow", f"{logs}/_mapping", f"{logs}/_search"):
        answer = host.ask(reader[0], "GET", path, reader[1])
        assert answer.status_code == 200, answer.text
    found = host.ask(
        reader[0], "POST", "/_msearch", reader[1], data=f'{{"index": "{logs[1:]}"}}\n{{"size": 1}}\n',
        headers={"Content-Type": "application/x-ndjson"},
    )  # fmt: skip
    assert [one["status"] for one in found.json()["responses"]] == [200]
    for method, path in (
        ("PUT", "/_ilm/policy/x"),
        ("GET", "/_security/user/elastic"),
        ("POST", "/face-recognition-logs-app/_doc"),
        ("GET", "/somebody-elses/_search"),
    ):
        assert host.ask(reader[0], method, path, reader[1]).status_code == 403


def test_who_may_not_is_told_as_elasticsearch_tells_it(host: Host) -> None:
    secret = SECRETS["logs_reader_password"]
    refused = host.ask("operator", "GET", "/", secret)
    assert refused.status_code == 403
    assert refused.json()["error"]["type"] == "security_exception"
    assert refused.json()["error"]["reason"] == (
        "action [cluster:monitor/main] is unauthorized for user [operator] with effective roles [viewer],"
        " this action is granted by the cluster privileges [all,manage,monitor]"
    )
    # It is Kibana that asks for somebody who looks: the fields of a data view, and lines.
    for path in ("_field_caps?fields=*", "_search"):
        assert host.ask("operator", "GET", f"/face-recognition-logs-*/{path}", secret).status_code == 200
    assert host.ask("operator", "GET", "/.kibana/_search", secret).status_code == 403


def test_each_program_may_ask_what_it_asks_when_it_starts(host: Host) -> None:
    for user, secret, paths in (
        ("logstash_writer", "logstash_writer_password", ("/", "/_license")),
        (
            "face_exporter",
            "elasticsearch_exporter_password",
            ("/", "/_cluster/health", "/_nodes/_local/stats"),
        ),
        ("kibana_system", "kibana_system_password", ("/_nodes", "/_license", "/_xpack")),
    ):
        for path in paths:
            assert host.ask(user, "GET", path, SECRETS[secret]).status_code == 200, (user, path)
        assert host.ask(user, "GET", "/_security/role/viewer", SECRETS[secret]).status_code == 403


def test_nobody_asked_what_the_standin_does_not_know(host: Host) -> None:
    assert host.unknown() == ""
    asked = host.ask("elastic", "GET", "/_cat/shards", SECRETS["elastic_password"])
    assert asked.status_code == 501
    assert "GET /_cat/shards" in host.unknown()
    (host.directory / "data/standin-unknown").unlink()


@pytest.mark.campaign("the scenario `cluster` installs so, on hosts")
def test_what_is_kept_how_long_is_what_the_variables_say(host: Host) -> None:
    told = ran(host.play("elasticsearch", "setup", face_logs_retention="7d"))
    assert "changed=1 " in told
    answer = host.ask("elastic", "GET", "/_ilm/policy/face-recognition-logs", SECRETS["elastic_password"])
    phases = answer.json()["face-recognition-logs"]["policy"]["phases"]
    assert phases["delete"]["min_age"] == "7d"
    assert phases["hot"]["actions"]["rollover"] == {"max_age": "1d", "max_primary_shard_size": "10gb"}
    ran(host.play("elasticsearch", "setup"))
    assert "changed=0 " in ran(host.play("elasticsearch", "setup"))


@pytest.mark.campaign("the scenario `cluster` installs so, on hosts")
def test_other_secrets_beside_the_inventory_become_the_passwords(host: Host) -> None:
    host.secrets |= {
        "elastic_password": "another-password-of-the-administrator",
        "kibana_system_password": "another-password-of-kibana",
        "logstash_writer_password": "another-password-of-logstash",
    }
    try:
        told = ran(host.play("elasticsearch", "setup"))
        assert "Set up Elasticsearch with its new password" in told
        for name in ("elastic", "kibana_system", "logstash_writer"):
            password = host.secrets[f"{name}_password"]
            assert host.ask(name, "GET", "/_security/_authenticate", password).status_code == 200
            assert (
                host.ask(name, "GET", "/_security/_authenticate", SECRETS[f"{name}_password"]).status_code
                == 401
            )
        assert "changed=0 " in ran(host.play("elasticsearch", "setup"))
    finally:
        host.secrets = dict(SECRETS)
        ran(host.play("elasticsearch", "setup"))


def test_a_password_that_cannot_be_taken_back_says_why(host: Host) -> None:
    """The tool signs in as a user of the realm of files, which its package brings."""
    host.secrets = {**SECRETS, "elastic_password": "another-password-of-the-administrator"}
    file = host.directory / "etc/elasticsearch/users"
    file.rename(file.with_name("users.aside"))
    try:
        done = host.play("elasticsearch", "setup")
    finally:
        file.with_name("users.aside").rename(file)
        host.secrets = dict(SECRETS)
    assert done.returncode == 2
    told = " ".join(done.stdout.split())
    assert (
        "one: elasticsearch-reset-password could not give elastic a new password: ERROR: File realm" in told
    )
    assert "users] is missing" in told


@pytest.mark.campaign("the scenario `cluster` installs so, on hosts")
def test_what_it_knows_outlives_a_restart(host: Host) -> None:
    host.processes.pop().kill()
    host.start_elasticsearch()
    assert "changed=0 " in ran(host.play("elasticsearch", "configure", "setup"))
    told = ran(host.play("elasticsearch", "setup", face_show_secrets=True))
    assert "changed=0 " in told


def test_no_secret_is_in_a_command_or_in_what_is_printed(host: Host) -> None:
    tasks = "".join(file.read_text() for file in (ROOT / "roles/elasticsearch/tasks").glob("*.yml"))
    for command in re.findall(r"argv:(?:.|\n)*?(?=\n {4}\S|\n {8}\S)", tasks):
        assert "face_secrets." not in command
    host.secrets["elastic_password"] = "shown-password-of-the-tests"
    try:
        # With secrets not hidden by the tests' own way of running the tasks, and everything told.
        done = host.play("elasticsearch", "setup", elasticsearch_start_seconds=5)
        assert "shown-password-of-the-tests" not in done.stdout
    finally:
        host.secrets = dict(SECRETS)
        ran(host.play("elasticsearch", "setup"))


def test_one_line_says_where_it_does_not_answer(tmp_path: Path) -> None:
    away = made(Host(tmp_path / "host"))
    ran(away.play("elasticsearch", "configure"))
    done = away.play("elasticsearch", "setup", elasticsearch_start_seconds=2)
    assert done.returncode == 2
    told = " ".join(done.stdout.split())
    assert (
        f"one: Elasticsearch at https://localhost:{away.ports['elasticsearch']} is not ready after 2 s"
        in told
    )
    assert "Connection refused" in told
    assert "journalctl -u elasticsearch" in told
    assert "elastic-password" not in told


def start(host: Host, old: str, new: str) -> subprocess.CompletedProcess[str]:
    file = host.directory / "etc/elasticsearch/elasticsearch.yml"
    before = file.read_text()
    file.write_text(before.replace(old, new) if old else before + new)
    try:
        return host.tool("elasticsearch", "elasticsearch")
    finally:
        file.write_text(before)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("node.name", "node.nam", "unknown setting [node.nam]"),
        (
            "",
            "cluster.initial_master_nodes: [one]\n",
            "is not allowed when [discovery.type] is set to [single-node]",
        ),
        (
            "",
            "xpack.security.transport.ssl.key: certs/face.key\n",
            "[xpack.security.transport.ssl.enabled] is not set",
        ),
        ("face.key", "none.key", "cannot read configured file"),
        ("discovery.type: single-node\n", "transport.ssl: 1\n", "unknown setting"),
    ],
)
def test_the_standin_refuses_what_the_real_one_refuses(host: Host, old: str, new: str, words: str) -> None:
    refused = start(host, old, new)
    assert refused.returncode != 0
    assert words in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_the_keystore_tool_takes_a_value_by_standard_input_alone(tmp_path: Path) -> None:
    one = made(Host(tmp_path / "host"))
    tool = "elasticsearch-keystore"
    assert one.tool("elasticsearch", tool, "add", "-x", "bootstrap.password", given="secret").returncode == 0
    assert one.tool("elasticsearch", tool, "show", "bootstrap.password").stdout == "secret"
    # A value that is there is asked about, and the answer is no password.
    asked = one.tool("elasticsearch", tool, "add", "-x", "bootstrap.password", given="other\n")
    assert asked.returncode != 0
    assert "Did not understand answer 'other'" in asked.stderr
    kept = one.tool("elasticsearch", tool, "add", "-x", "bootstrap.password", given="\n")
    assert (kept.returncode, kept.stdout) == (0, "Exiting without modifying keystore.\n")
    assert one.tool("elasticsearch", tool, "show", "bootstrap.password").stdout == "secret"
    assert one.tool("elasticsearch", tool, "add", "-x", "-f", "bootstrap.password", given="n").returncode == 0
    assert one.tool("elasticsearch", tool, "show", "bootstrap.password").stdout == "n"
    assert one.tool("elasticsearch", tool, "add", "--overwrite", "x", given="n").returncode == 64
    assert one.tool("elasticsearch", tool, "remove", "bootstrap.password").returncode == 0
    assert one.tool("elasticsearch", tool, "remove", "bootstrap.password").returncode == 78
    assert one.tool("elasticsearch", tool, "list").stdout == "keystore.seed\n"
