"""The role `kibana` against its stand-in: what it writes, each key's source, waiting, import, repetition.

Kibana itself is not here: a host that reaches its vendor shows that the real one takes settings and objects.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.logs.elastic import ROOT, SECRETS, Host, made, ran
from tests.monitoring.passing import passed_on

SETTINGS = "https://www.elastic.co/docs/reference/kibana/configuration-reference/"
# Every key of our kibana.yml and keystore, and the page of the vendor's documentation that has it.
SOURCES = {
    "path.data": SETTINGS + "general-settings",
    "server.host": SETTINGS + "general-settings",
    "server.port": SETTINGS + "general-settings",
    "server.basePath": SETTINGS + "general-settings",
    "server.rewriteBasePath": SETTINGS + "general-settings",
    "server.publicBaseUrl": SETTINGS + "general-settings",
    "elasticsearch.hosts": SETTINGS + "general-settings",
    "elasticsearch.username": SETTINGS + "general-settings",
    "elasticsearch.password": SETTINGS + "general-settings",
    "elasticsearch.ssl.certificateAuthorities": SETTINGS + "general-settings",
    "telemetry.optIn": SETTINGS + "telemetry-settings",
    "telemetry.allowChangingOptInStatus": SETTINGS + "telemetry-settings",
    "newsfeed.enabled": SETTINGS + "general-settings",
    "map.includeElasticMapsService": SETTINGS + "general-settings",
    "xpack.fleet.isAirGapped": SETTINGS + "fleet-settings",
    "xpack.encryptedSavedObjects.encryptionKey": SETTINGS + "security-settings",
    "xpack.security.encryptionKey": SETTINGS + "security-settings",
    "xpack.reporting.encryptionKey": SETTINGS + "reporting-settings",
}
# Those with which it is asked by TLS.
BETWEEN_HOSTS = {
    "server.protocol": SETTINGS + "general-settings",
    "server.ssl.enabled": SETTINGS + "general-settings",
    "server.ssl.certificate": SETTINGS + "general-settings",
    "server.ssl.key": SETTINGS + "general-settings",
    "server.ssl.supportedProtocols": SETTINGS + "general-settings",
}
VIEW = {
    "id": "face-recognition-logs",
    "type": "index-pattern",
    "attributes": {"title": "face-recognition-logs-*", "timeFieldName": "@timestamp"},
    "references": [],
    "typeMigrationVersion": "8.0.0",
}
SEARCH = {
    "id": "face-errors",
    "type": "search",
    "attributes": {
        "title": "Errors",
        "columns": ["message"],
        "kibanaSavedObjectMeta": {"searchSourceJSON": '{"indexRefName": "source", "query": {}}'},
    },
    "references": [{"id": VIEW["id"], "name": "source", "type": "index-pattern"}],
}


def write(file: Path, *objects: dict[str, Any]) -> str:
    file.write_text("".join(json.dumps(one) + "\n" for one in objects))
    return str(file)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Elasticsearch set up, and Kibana configured and running."""
    one = made(Host(tmp_path_factory.mktemp("kibana") / "host"))
    ran(one.play("elasticsearch", "configure"))
    one.start_elasticsearch()
    ran(one.play("elasticsearch", "configure", "setup"))
    ran(one.play("kibana", "configure"))
    start(one)
    yield one
    one.close()


def start(host: Host) -> subprocess.Popen[bytes]:
    return host.start("kibana", lambda: ask(host, "GET", "/api/status").status_code > 0)


def ask(host: Host, method: str, path: str, user: str = "elastic", **more: Any) -> requests.Response:
    session = requests.Session()
    session.trust_env = False
    password = {"elastic": "elastic_password", "operator": "logs_reader_password"}[user]
    try:
        return session.request(
            method,
            f"http://127.0.0.1:{host.ports['kibana']}/kibana{path}",
            auth=(user, SECRETS[password]),
            timeout=10,
            **more,
        )
    except requests.ConnectionError:
        away = requests.Response()
        away.status_code = 0
        return away


def objects(host: Host, file: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    return host.play("kibana", "objects", kibana_objects=file, **variables)


def imported(host: Host, authority: Path, content: bytes) -> subprocess.CompletedProcess[str]:
    """The role's program alone, by TLS."""
    wishes = {
        "url": f"https://127.0.0.1:{host.ports['kibana']}/kibana",
        "ca": str(authority),
        "password": SECRETS["elastic_password"],
        "seconds": 20,
        "patience": 1,
        "imported": "",
        "objects": base64.b64encode(content).decode(),
    }
    program = [sys.executable, str(ROOT / "roles/kibana/files/import.py")]
    return subprocess.run(program, input=json.dumps(wishes), capture_output=True, text=True, check=False)


def test_every_key_has_a_source_and_no_source_is_left_over(host: Host) -> None:
    written = yaml.safe_load((host.directory / "etc/kibana/kibana.yml").read_text())
    kept = host.tool("kibana", "kibana-keystore", "list").stdout.split()
    assert set(written) | set(kept) == set(SOURCES)
    assert not set(written) & set(kept)


def test_it_is_led_to_below_its_path_and_signs_in_as_its_own_user(host: Host) -> None:
    text = (host.directory / "etc/kibana/kibana.yml").read_text()
    written = yaml.safe_load(text)
    assert (written["server.host"], written["server.basePath"]) == ("127.0.0.1", "/kibana")
    assert written["server.publicBaseUrl"].endswith("/kibana")
    assert written["elasticsearch.username"] == "kibana_system"
    assert written["elasticsearch.hosts"] == [f"https://localhost:{host.ports['elasticsearch']}"]
    assert not any(secret in text for secret in SECRETS.values())
    assert (host.directory / "etc/kibana/kibana.keystore").stat().st_mode & 0o777 == 0o660


def test_a_secret_is_the_same_in_the_keystore_whatever_it_looks_like(tmp_path: Path) -> None:
    one = Host(tmp_path / "host")
    odd = {
        "elasticsearch.password": ("kibana_system_password", "1234567890"),
        "xpack.encryptedSavedObjects.encryptionKey": ("kibana_saved_objects_key", " words between blanks "),
        "xpack.security.encryptionKey": ("kibana_security_key", "true"),
        "xpack.reporting.encryptionKey": ("kibana_reporting_key", '"quoted"'),
    }
    one.secrets = {**SECRETS, **dict(odd.values())}
    (one.directory / "secrets/ca.crt").touch()
    done = one.play("kibana", "configure")
    kept = json.loads(base64.b64decode((one.directory / "etc/kibana/kibana.keystore").read_bytes()))
    assert {key: kept[key] for key in odd} == {key: secret for key, (_, secret) in odd.items()}
    assert "between blanks" not in ran(done)


@pytest.mark.campaign("Logstash's is tested")
def test_a_keystore_of_a_run_that_was_cut_off_is_made_again(tmp_path: Path) -> None:
    one = Host(tmp_path / "host")
    (one.directory / "secrets/ca.crt").touch()
    ran(one.play("kibana", "configure"))
    keystore = one.directory / "etc/kibana/kibana.keystore"
    whole = keystore.read_bytes()
    keystore.write_bytes(whole[:41])
    one.secrets = {**SECRETS, "kibana_security_key": "another-key-of-the-tests-0123456789"}
    ran(one.play("kibana", "configure"))
    kept = json.loads(base64.b64decode(keystore.read_bytes()))
    assert kept["xpack.security.encryptionKey"] == "another-key-of-the-tests-0123456789"
    assert len(kept) == 4
    assert "changed=0 " in ran(one.play("kibana", "configure"))


def test_a_keystore_that_did_not_take_a_value_ends_the_run(tmp_path: Path) -> None:
    """Kibana's tool says so in words, and ends with 0."""
    one = Host(tmp_path / "host")
    (one.directory / "secrets/ca.crt").touch()
    tool = one.directory / "home/kibana/bin/kibana-keystore"
    aside = tool.parent / "aside" / tool.name
    aside.parent.mkdir()
    tool.rename(aside)
    full = 'if [ "$1" = add ]; then cat >/dev/null; echo "ERROR: no room" >&2; exit 0; fi'
    tool.write_text(f'#!/bin/sh\n{full}\nexec {aside} "$@"\n')
    tool.chmod(0o755)
    done = one.play("kibana", "configure")
    assert done.returncode == 2
    told = " ".join(done.stdout.split())
    assert "one: Kibana's keystore did not take elasticsearch.password: ERROR: no room" in told
    assert not any(value in done.stdout for value in SECRETS.values())
    assert not (one.directory / "etc/kibana/face-keystore.sha256").exists()


@pytest.mark.campaign("the scenarios run it twice on hosts")
def test_a_second_run_changes_nothing(host: Host, tmp_path: Path) -> None:
    file = write(tmp_path / "face-pipeline.ndjson", VIEW, SEARCH)
    assert "changed=2 " in ran(objects(host, file))
    assert "changed=0 " in ran(objects(host, file))
    assert "changed=0 " in ran(host.play("kibana", "configure"))
    found = ask(host, "GET", f"/api/data_views/data_view/{VIEW['id']}").json()
    assert found["data_view"]["title"] == "face-recognition-logs-*"
    assert ask(host, "GET", "/api/data_views/default").json() == {"data_view_id": VIEW["id"]}


@pytest.mark.campaign("the scenario `cluster` installs so, on hosts")
def test_objects_come_again_when_they_change_or_are_gone(host: Host, tmp_path: Path) -> None:
    file = write(tmp_path / "face-pipeline.ndjson", VIEW, SEARCH)
    ran(objects(host, file))
    (host.directory / "data-kibana/standin.json").unlink()
    host.processes.pop().kill()
    start(host)
    assert "changed=1 " in ran(objects(host, file)), "the digest is the same, the objects are not there"
    write(tmp_path / "face-pipeline.ndjson", VIEW)
    assert "changed=2 " in ran(objects(host, file))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"references": [{"id": "nobody", "name": "source", "type": "index-pattern"}]},
            "search face-errors: missing_references",
        ),
        ({"type": "serch"}, "serch face-errors: unsupported_type"),
        ({"typeMigrationVersion": "99.0.0"}, "search face-errors"),
        ({"references": []}, "search face-errors"),
        ({"atributes": {}}, "search face-errors"),
    ],
)  # fmt: skip
def test_an_object_that_is_refused_is_named_in_one_line(
    host: Host, changed: dict[str, Any], words: str, tmp_path: Path
) -> None:
    file = write(tmp_path / "face-pipeline.ndjson", VIEW, {**SEARCH, **changed})
    done = objects(host, file)
    assert done.returncode == 2
    assert f"one: Kibana refuses files/kibana/face-pipeline.ndjson: {words}" in " ".join(done.stdout.split())
    assert not any(secret in done.stdout for secret in SECRETS.values())


def test_our_own_objects_are_taken(host: Host) -> None:
    file = ROOT / "files/kibana/face-pipeline.ndjson"
    if not file.exists():
        pytest.skip("files/kibana/face-pipeline.ndjson is not there yet")
    ran(objects(host, str(file)))
    assert "changed=0 " in ran(objects(host, str(file)))


def test_who_may_look_may_not_change(host: Host) -> None:
    taken = {"file": ("x.ndjson", json.dumps(VIEW))}
    path = "/api/saved_objects/_import"
    assert ask(host, "POST", path, "operator", files=taken, headers={"kbn-xsrf": "x"}).status_code == 403
    assert ask(host, "GET", f"/api/data_views/data_view/{VIEW['id']}", "operator").status_code == 200


def test_the_standin_is_as_strict_as_kibana_on_what_it_is_sent(host: Host) -> None:
    path, header = "/api/saved_objects/_import?overwrite=true", {"kbn-xsrf": "x"}
    line = json.dumps(VIEW)
    for wanted, sent in (
        (200, {"files": {"file": ("x.ndjson", line)}, "headers": header}),
        (400, {"files": {"file": ("x.ndjson", line)}}),
        (400, {"files": {"file": ("x.json", line)}, "headers": header}),
        (400, {"files": {"flie": ("x.ndjson", line)}, "headers": header}),
        (415, {"data": line, "headers": {**header, "Content-Type": "application/ndjson"}}),
    ):
        assert ask(host, "POST", path, **sent).status_code == wanted
    assert ask(host, "POST", f"{path}&overwrite=maybe", files={"file": ("x.ndjson", line)}, headers=header).ok
    session = requests.Session()
    session.trust_env = False
    assert session.get(f"http://127.0.0.1:{host.ports['kibana']}/api/status").status_code == 404


def test_one_line_says_where_it_is_not_ready(host: Host, tmp_path: Path) -> None:
    """Kibana answers 503 while it finds no Elasticsearch, and the role waits."""
    away = Host(tmp_path / "host")
    away.ports |= {"elasticsearch": away.ports["elasticsearch_transport"]}
    (away.directory / "secrets/ca.crt").write_bytes((host.directory / "secrets/ca.crt").read_bytes())
    ran(away.play("kibana", "configure"))
    start(away)
    try:
        done = objects(away, write(tmp_path / "x.ndjson", VIEW), kibana_start_seconds=3)
    finally:
        away.close()
    assert done.returncode == 2
    told = " ".join(done.stdout.split())
    assert (
        f":{away.ports['kibana']}/kibana is not ready after 3 s (HTTP 503); journalctl -u kibana says why"
        in told
    )


def test_a_plugin_that_is_not_well_keeps_nobody_from_looking(host: Host, tmp_path: Path) -> None:
    """Of all its plugins Kibana says the worst, and answers all the same."""
    file = write(tmp_path / "face-pipeline.ndjson", VIEW, SEARCH)
    host.processes.pop().kill()
    host.more = {"STANDIN_LEVEL": "degraded"}
    try:
        start(host)
        ran(objects(host, file, kibana_patience=1))
        assert "changed=0 " in ran(objects(host, file, kibana_patience=1))
    finally:
        host.more = {}
        host.processes.pop().kill()
        start(host)


def test_nobody_asked_what_the_standins_do_not_know(host: Host, tmp_path: Path) -> None:
    ran(objects(host, write(tmp_path / "face-pipeline.ndjson", VIEW)))
    assert (host.unknown(), host.unknown("data-kibana")) == ("", "")
    assert ask(host, "GET", "/api/fleet/setup").status_code == 501
    assert "GET /kibana/api/fleet/setup" in host.unknown("data-kibana")
    (host.directory / "data-kibana/standin-unknown").unlink()


def test_between_hosts_it_speaks_tls_alone_and_nginx_knows_it_by_its_name(host: Host, tmp_path: Path) -> None:
    other = Host(tmp_path / "host")
    other.ports |= {"elasticsearch": host.ports["elasticsearch"]}
    # With its keystore, which takes long to fill.
    for part in ("secrets", "etc/kibana"):
        shutil.copytree(host.directory / part, other.directory / part, dirs_exist_ok=True)
    authority = other.directory / "secrets/ca.crt"
    given = {"face_tls_between_hosts": True, "face_authority": str(authority)}
    ran(other.play("kibana", "configure", **given))
    settings = other.directory / "etc/kibana/kibana.yml"
    text = settings.read_text()
    plain = yaml.safe_load((host.directory / "etc/kibana/kibana.yml").read_text())
    assert set(yaml.safe_load(text)) - set(plain) == set(BETWEEN_HOSTS)
    assert (other.directory / "etc/kibana/face.key").stat().st_mode & 0o777 == 0o640
    other.start("kibana", lambda: "server running at https" in other.said("kibana"))
    address = f"127.0.0.1:{other.ports['kibana']}/kibana/api/status"
    try:
        done = imported(other, authority, json.dumps(VIEW).encode())
        assert (done.returncode, len(done.stdout.strip())) == (0, 64), done.stderr
        for url in (f"http://{address}", f"https://{address}"):
            with pytest.raises(requests.ConnectionError):
                requests.get(url, timeout=5)
        for name, status in (("kibana.localhost", 200), ("grafana.localhost", 502)):
            assert passed_on(f"https://{address}", name, authority) == status
    finally:
        other.close()
    for old, new, words in (
        ("server.ssl.key:", "#", "must specify [certificate] and [key]"),
        (
            "server.protocol: http1\nserver.ssl.enabled: true",
            "server.protocol: http2",
            "requires TLS to be enabled",
        ),
        ("[TLSv1.3]", "[TLSv1.4]", "supportedProtocols"),
        ("face.key", "no.key", "ENOENT"),
    ):
        assert old in text
        settings.write_text(text.replace(old, new))
        assert words in other.tool("kibana", "kibana").stderr


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("newsfeed.enabled", "newsfeed.enbled", 'Unknown configuration key(s): "newsfeed.enbled"'),
        ("kibana_system", "elastic", 'value of "elastic" is forbidden'),
        ("server.basePath: /kibana", "server.basePath: /kibana/", "don't end with one"),
        ("server.basePath: /kibana", "server.basePath: /other", "must contain the [basePath]"),
        ("face-ca.crt", "no-ca.crt", "ENOENT"),
    ],
)
def test_the_standin_refuses_what_kibana_refuses(host: Host, old: str, new: str, words: str) -> None:
    file = host.directory / "etc/kibana/kibana.yml"
    before = file.read_text()
    file.write_text(before.replace(old, new))
    try:
        refused = host.tool("kibana", "kibana")
    finally:
        file.write_text(before)
    assert refused.returncode != 0
    assert words in refused.stderr


@pytest.mark.campaign("Elasticsearch's are tested")
def test_other_secrets_beside_the_inventory_go_into_the_keystore(host: Host) -> None:
    host.secrets["kibana_security_key"] = "another-key-of-the-tests-0123456789"
    try:
        assert "changed=0 " not in ran(host.play("kibana", "configure"))
        assert "changed=0 " in ran(host.play("kibana", "configure"))
    finally:
        host.secrets = dict(SECRETS)
        ran(host.play("kibana", "configure"))
