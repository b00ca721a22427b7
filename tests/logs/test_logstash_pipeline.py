"""files/logstash: its grammar, the options it names, and what it makes of real lines of every program we run.

The lines come from the real application, nginx, PostgreSQL and Redis; the filters are run by a small
interpreter of ours (molecule/cluster/elastic/logstash_pipeline.py), not by Logstash.
"""

from __future__ import annotations

import copy
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import certifi
import psycopg2
import pytest
import requests
import yaml

from tests.hardening import drop_in
from tests.installation import App, wait_until
from tests.logs.test_filebeat_role import ROOT, STANDIN, render, run
from tests.photos import astronaut_jpeg
from tests.services import Nginx, Postgres, Redis

pytest.importorskip("lark")
sys.path.insert(0, str(STANDIN))
logstash = pytest.importorskip("logstash_pipeline")

FILES = sorted((ROOT / "files/logstash").glob("*.conf"))
DEAD_LETTERS = sorted((ROOT / "files/logstash/dead-letters").glob("*.conf"))
PLUGINS = "https://www.elastic.co/docs/reference/logstash/plugins/plugins-"
# Every plugin and option of files/logstash, with the page that has them.
USED: dict[str, set[str]] = {
    PLUGINS + "inputs-beats": {
        "id", "host", "port", "ssl_enabled", "ssl_certificate", "ssl_key", "ssl_supported_protocols", "enrich"
    },
    PLUGINS + "inputs-dead_letter_queue": {"id", "path", "pipeline_id", "commit_offsets", "clean_consumed"},
    PLUGINS + "filters-mutate": {
        "add_tag", "convert", "copy", "gsub", "remove_field", "rename", "replace", "uppercase"
    },
    PLUGINS + "filters-json": {"source", "target", "skip_on_invalid_json"},
    PLUGINS + "filters-grok": {"match", "pattern_definitions", "tag_on_failure"},
    PLUGINS + "filters-translate": {"source", "target", "dictionary", "fallback"},
    PLUGINS + "filters-date": {"match", "locale", "timezone", "tag_on_failure"},
    PLUGINS + "filters-prune": {"interpolate", "whitelist_names"},
    PLUGINS + "filters-uuid": {"target", "overwrite"},
    PLUGINS + "outputs-elasticsearch": {
        "id", "hosts", "user", "password", "ssl_enabled", "ssl_certificate_authorities", "index",
        "document_id", "action", "data_stream", "ilm_enabled", "manage_template", "silence_errors_in_log",
    },
}  # fmt: skip
SETTINGS_PAGE = "https://www.elastic.co/docs/reference/logstash/logstash-settings-file"
PIPELINES_PAGE = "https://www.elastic.co/docs/reference/logstash/multiple-pipelines"
SETTINGS = {
    "path.data": SETTINGS_PAGE,
    "path.logs": SETTINGS_PAGE,
    "api.http.host": SETTINGS_PAGE,
    "api.http.port": SETTINGS_PAGE,
    "pipeline.ecs_compatibility": SETTINGS_PAGE,
    "pipeline.id": PIPELINES_PAGE,
    "path.config": PIPELINES_PAGE,
    "pipeline.workers": PIPELINES_PAGE,
    "queue.type": PIPELINES_PAGE,
    "queue.max_bytes": PIPELINES_PAGE,
    "queue.page_capacity": SETTINGS_PAGE,
    "dead_letter_queue.enable": PIPELINES_PAGE,
    "dead_letter_queue.max_bytes": PIPELINES_PAGE,
}
ENVIRONMENT = {
    "FACE_LOGSTASH_ADDRESS": "127.0.0.1",
    "FACE_LOGSTASH_PORT": "5044",
    "FACE_ELASTICSEARCH_URL": "https://localhost:9200",
    "FACE_ELASTICSEARCH_PASSWORD": "of-the-tests",
}
LEVELS = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
# What the indices know: contracts with the index templates.
MAPPED = {
    "@timestamp", "@metadata", "message", "tags", "host", "environment", "unit", "service_name", "log_level",
    "logger", "exception", "request_id", "task_id", "photo_id", "batch_id", "operation", "duration_seconds",
    "status", "outcome", "count", "reason_code", "method", "path", "client_address", "upstream_seconds",
    "wait_seconds", "match_seconds", "read_seconds", "decode_seconds", "detect_seconds", "align_seconds",
    "embed_seconds", "store_seconds",
    "bytes_in", "bytes_out", "user_agent",
}  # fmt: skip
PIPELINE = logstash.Pipeline.read(FILES, ENVIRONMENT)


def carried(message: str, kind: str, **more: Any) -> dict[str, Any]:
    """An event as Filebeat sends it."""
    event: dict[str, Any] = {
        "@timestamp": "2026-11-23T16:00:00.000Z",
        "@metadata": {"beat": "filebeat", "version": "9.5.1", "_id": "one"},
        "message": message,
        "host": {"name": "one", "id": "abc", "os": {"family": "debian"}},
        "agent": {"name": "one"},
        "ecs": {"version": "8.0.0"},
        "event": {"timezone": "+01:00"},
        "fields": {"kind": kind, "environment": "production"},
        **copy.deepcopy(more),
    }
    return event


def made(message: str, kind: str, **more: Any) -> dict[str, Any]:
    event: dict[str, Any] = PIPELINE.filter(carried(message, kind, **more))
    assert set(event) <= MAPPED, event
    assert event["host"] == {"name": "one"}
    assert event["environment"] == "production"
    assert event["log_level"] in LEVELS
    assert event["service_name"]
    assert isinstance(event["message"], str)
    return event


def unit(name: str, priority: int = 6) -> dict[str, Any]:
    return {"systemd": {"unit": name}, "log": {"syslog": {"priority": priority}}}


@pytest.mark.parametrize("file", FILES + DEAD_LETTERS, ids=lambda file: file.name)
def test_a_file_is_of_the_language_and_broken_ones_are_not(file: Path) -> None:
    text = file.read_text()
    logstash.check(logstash.parse(text))
    assert all(len(line) <= 160 for line in text.splitlines())
    for broken in (text.replace("{", "", 1), text.replace("=>", "=", 1), text + "}\n", text.rstrip()[:-1]):
        with pytest.raises(logstash.PipelineError, match=r"^line "):
            logstash.parse(broken)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('filter { mutate { rename => { "a" => "b" # why\n "c" => "d" } } }', "only spaces may stand"),
        ('filter { mutate { rename => { "a" => "b", "c" => "d" } } }', "line 1, column"),
        ('filter { mutate { remove_field => ["a",] } }', "line 1, column"),
        ("filter { if [a] = 1 { } }", "line 1, column"),
        ("filter { mutate { gsubb => [] } }", "unknown setting gsubb"),
        ("filter { mutat { } }", "no such plugin"),
        ("input { beats { port => 1 ssl => true } }", "ssl is gone since 9.0, use ssl_enabled"),
        ('output { elasticsearch { cacert => "x" } }', "use ssl_certificate_authorities"),
        ("input { beats { } }", "needs port"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(text: str, words: str) -> None:
    with pytest.raises(logstash.PipelineError) as error:
        logstash.check(logstash.parse(text))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def says(condition: str, **event: Any) -> bool:
    yes, no = ("mutate { add_tag => [" + word + "] }" for word in ('"yes"', '"no"'))
    text = f"filter {{ if {condition} {{ {yes} }} else {{ {no} }} }}"
    ((_, statements),) = logstash.parse(text)
    logstash.run(statements, event)
    return bool(event["tags"] == ["yes"])


@pytest.mark.parametrize(
    ("condition", "event", "true"),
    [
        # What an `if` takes for no value.
        ("[a]", {}, False),
        ("[a]", {"a": None}, False),
        ("[a]", {"a": ""}, False),
        ("[a]", {"a": False}, False),
        ("[a]", {"a": "false"}, False),
        ("[a]", {"a": 0}, True),
        ("[a]", {"a": []}, True),
        ("[a]", {"a": {}}, True),
        ("![a]", {"a": ""}, True),
        ("![a]", {}, True),
        # Only a text fits a pattern.
        ("[a] =~ /[0-9]/", {"a": "1"}, True),
        ("[a] =~ /[0-9]/", {"a": 1}, False),
        ("[a] !~ /[0-9]/", {"a": 1}, True),
        ("[a] !~ /^[0-9]+$/", {"a": 502}, True),
        ("[a] !~ /x/", {}, True),
        ("[a] =~ /^/", {"a": ""}, True),
        ("[a] =~ /^/", {"a": ["x"]}, False),
        # Equal is of one type.
        ("[a] == 200", {"a": 200}, True),
        ("[a] == 200", {"a": "200"}, False),
        ('[a] == "200"', {"a": 200}, False),
        ("[a] == 200", {"a": 200.0}, False),
        ("[a] != 200", {}, True),
        ('[a] == ""', {"a": ""}, True),
        ('[a] == ""', {}, False),
        ("[a][b] >= 500", {"a": {"b": 500}}, True),
        ("[a] > 1", {"a": 1.5}, True),
        # A list that is written down is searched by text, one in a field by value, a text for its parts.
        ('[a] in ["x", "y"]', {"a": "y"}, True),
        ('[a] in ["5"]', {"a": 5}, True),
        ('[a] in ["x"]', {}, False),
        ('[a] not in ["x"]', {"a": "y"}, True),
        ('"x" in [b]', {"b": ["x"]}, True),
        ('"x" in [b]', {"b": "oxo"}, True),
        ('"x" in [b]', {}, False),
        ("5 in [b]", {"b": ["5"]}, False),
        ('[a] in "oxo"', {"a": "x"}, True),
        ("[a] in [b]", {"a": 5, "b": [5]}, True),
        ("[a] in [b]", {"a": ["x"], "b": "x"}, False),
        # `and` binds closer than `or`.
        ("[a] == 1 and [b] == 2 or [c] == 3", {"c": 3}, True),
        ("[a] =~ /^x/ and !([b] or [c])", {"a": "xy"}, True),
        ("[a][b]", {"a": "text"}, False),
        ("[a][0]", {"a": ["x"]}, True),
    ],
)
def test_the_reader_judges_as_logstash_does(condition: str, event: dict[str, Any], true: bool) -> None:
    assert says(condition, **event) is true


@pytest.mark.parametrize("value", [None, "500", True, [500], {"x": 500}], ids=str)
def test_a_comparison_that_makes_no_sense_costs_the_event(value: Any) -> None:
    with pytest.raises(logstash.ConditionError):
        says("[a] >= 500", a=value)


@pytest.mark.parametrize(
    ("filters", "event", "made"),
    [
        # There already, "" too: a list comes of it. A tag is given as often as it is asked for.
        ('mutate { add_field => { "a" => "x" } }', {"a": ""}, {"a": ["", "x"]}),
        ('mutate { replace => { "a" => "x" } }', {"a": ""}, {"a": "x"}),
        ('mutate { add_tag => ["t"] }', {"tags": ["t"]}, {"tags": ["t", "t"]}),
        ('mutate { rename => { "a" => "b" } }', {"a": None}, {"b": None}),
        ('mutate { copy => { "a" => "b" } }', {"a": None}, {"a": None}),
        # The order is the plugin's, not the file's.
        ('mutate { copy => { "a" => "b" } rename => { "a" => "c" } }', {"a": 1}, {"c": 1}),
        (
            'mutate { uppercase => ["a"] convert => { "a" => "string" } }',
            {"a": ["x", 1, None]},
            {"a": ["X", "1", None]},
        ),
        ('mutate { convert => { "a" => "string" } }', {"a": {"b": 1}}, {"a": {"b": 1}}),
        ('mutate { convert => { "a" => "integer" } }', {"a": "12"}, {"a": 12}),
        (
            'mutate { convert => { "a" => "float" } add_field => { "b" => "x" } }',
            {"a": "slow"},
            {"a": "slow", "tags": ["_mutate_error"]},
        ),
        (
            'mutate { replace => { "[a][b]" => "x" } }',
            {"a": "text"},
            {"a": "text", "tags": ["_mutate_error"]},
        ),
        ('mutate { gsub => ["a", "1", "2"] }', {"a": 1}, {"a": 1}),
        ('mutate { replace => { "a" => "%{b} %{c}" } }', {"b": ["x", 1]}, {"b": ["x", 1], "a": "x,1 %{c}"}),
        # Whatever JSON says goes to the target; without the source nothing is done at all.
        ('json { source => "a" target => "b" }', {"a": "12"}, {"a": "12", "b": 12}),
        ('json { source => "a" target => "b" add_tag => ["t"] }', {}, {}),
        ('json { source => "a" target => "b" }', {"a": "x"}, {"a": "x", "tags": ["_jsonparsefailure"]}),
        ('json { source => "a" target => "b" skip_on_invalid_json => true }', {"a": "x"}, {"a": "x"}),
        ('grok { match => { "a" => "%{POSINT:b}" } }', {"a": 12}, {"a": 12, "b": "12"}),
        ('grok { match => { "a" => "%{POSINT:b}" } }', {"a": "12", "b": "1"}, {"a": "12", "b": ["1", "12"]}),
        (
            'translate { source => "a" target => "b" dictionary => { "1" => "one" } }',
            {"a": [1, 2]},
            {"a": [1, 2], "b": "one"},
        ),
        ('date { match => ["a", "ISO8601"] }', {"a": 5}, {"a": 5, "tags": ["_dateparsefailure"]}),
    ],
)
def test_the_reader_filters_as_logstash_does(
    filters: str, event: dict[str, Any], made: dict[str, Any]
) -> None:
    ((_, statements),) = logstash.parse(f"filter {{ {filters} }}")
    logstash.run(statements, event)
    assert event == made


def test_every_option_has_its_page_and_none_is_left_over() -> None:
    found: dict[str, set[str]] = {}
    for file in FILES + DEAD_LETTERS:
        for kind, plugin in logstash.plugins(logstash.parse(file.read_text())):
            found.setdefault(f"{PLUGINS}{kind}s-{plugin.name}", set()).update(plugin.options)
    assert found == USED


def test_the_output_writes_into_data_streams_and_makes_nothing_of_its_own() -> None:
    for files in (FILES, DEAD_LETTERS):
        (output,) = logstash.Pipeline.read(files, ENVIRONMENT).outputs
        assert output.options["action"] == "create"
        assert output.options["data_stream"] == "false"
        assert output.options["ilm_enabled"] == "false"
        assert output.options["manage_template"] is False
        assert output.options["hosts"][0].startswith("https://")
        assert output.options["password"] == "of-the-tests"
    assert not any("of-the-tests" in file.read_text() for file in FILES)
    without = {name: value for name, value in ENVIRONMENT.items() if not name.endswith("PASSWORD")}
    with pytest.raises(logstash.PipelineError, match="FACE_ELASTICSEARCH_PASSWORD"):
        logstash.Pipeline.read(FILES, without)


def test_every_setting_has_its_page(tmp_path: Path) -> None:
    names = ("logstash.yml", "pipelines.yml", "face.env")
    render("logstash", {name: tmp_path / name for name in names}, tmp_path / "play", logstash_queue_mb=77)
    done = run([drop_in("logstash", tmp_path / "face-hardening.conf")], "logstash", tmp_path / "play")
    assert done.returncode == 0, done.stdout
    settings = yaml.safe_load((tmp_path / "logstash.yml").read_text())
    pipelines = yaml.safe_load((tmp_path / "pipelines.yml").read_text())
    assert set(settings).union(*pipelines) == set(SETTINGS)
    assert settings["api.http.host"] == "127.0.0.1"
    assert [one["pipeline.id"] for one in pipelines] == ["main", "dead-letters"]
    assert {one["queue.type"] for one in pipelines} == {"persisted"}
    assert (pipelines[0]["queue.max_bytes"], pipelines[0]["queue.page_capacity"]) == ("77mb", "64mb")
    environment = (tmp_path / "face.env").read_text()
    assert 'LS_JAVA_OPTS="-Xms512m -Xmx512m"' in environment
    assert "PASSWORD" not in environment
    assert "TimeoutStopSec=60\n" in (tmp_path / "face-hardening.conf").read_text()


def test_lines_of_the_running_app_become_documents(live_app: App) -> None:
    headers = {"X-Request-ID": "follow-me-54321"}
    files = {"photos": ("a.jpg", astronaut_jpeg())}
    body = live_app.request("POST", "/api/v1/photos", files=files, headers=headers).json()
    live_app.wait_finished(body["batch_id"])
    live_app.get("/api/v1/photos/none")
    wait_until(lambda: "photo processed" in live_app.installation.log("worker1.log"), 60, "the worker's line")
    documents = []
    for log, name in (("web.log", "face-web.service"), ("worker1.log", "celery@1.service")):
        for line in live_app.installation.log(log).splitlines():
            if line:
                documents.append(made(line, "journal", **unit(name)))
    assert {document["@metadata"]["index"] for document in documents} == {"face-recognition-logs-app"}
    # libpng and Celery write a few words past every logger: they stay, as they are.
    for document in documents:
        assert ("_unparsed" in document.get("tags", [])) == (
            not document["@metadata"]["line"].startswith("{")
        )
    mine = [document for document in documents if document.get("request_id") == "follow-me-54321"]
    assert {document["service_name"] for document in mine} >= {"face-web"}
    web = next(document for document in mine if document["operation"] == "api.photos.upload")
    assert web["status"] == 202
    assert web["@timestamp"].endswith("Z")
    task = next(document for document in mine if document["operation"] == "ingest" and "count" in document)
    assert task["photo_id"] == body["photos"][0]["id"]
    assert task["unit"] == "celery@1.service"
    assert isinstance(task["duration_seconds"], float)
    assert all(isinstance(document.get("status", 0), int) for document in documents)


def nginx_format() -> str:
    """The maps and the log format of the role's own template."""
    template = (ROOT / "roles/nginx/templates/face-pipeline.conf.j2").read_text()
    begin, end = template.index("# A caller's request id"), template.index('\'"user_agent"')
    return template[begin : template.index(";", end) + 1]


def test_lines_of_a_running_nginx_become_documents() -> None:
    configuration = f"""
        events {{}}
        http {{
            {nginx_format().replace("{", "{{").replace("}", "}}")}
            access_log {{directory}}/access.log face_json;
            error_log {{directory}}/error.log info;
            server {{
                listen 127.0.0.1:{{port}};
                location /away {{ proxy_pass http://127.0.0.1:9; }}
                location / {{ return 200 "well"; }}
            }}
        }}
    """.replace("{{", "{").replace("}}", "}")
    with Nginx(configuration) as server:
        url = f"http://127.0.0.1:{server.port}"
        requests.get(
            f"{url}/a?person=Eileen",
            headers={"X-Request-ID": "follow-me-9", "User-Agent": 'x"\\\t'},
            timeout=5,
        )
        requests.get(f"{url}/away", timeout=5)
        with socket.create_connection(("127.0.0.1", server.port)) as raw:
            raw.sendall(
                b"GET /\xff\xfe\x80 HTTP/1.1\r\nHost: x\r\nUser-Agent: \xc3\x28\r\nConnection: close\r\n\r\n"
            )
            raw.recv(4096)
        # A line is written once its request has been answered.
        wait_until(lambda: (server.directory / "access.log").read_bytes().count(b"\n") == 3, 10, "the lines")
        access = (server.directory / "access.log").read_bytes()
        errors = (server.directory / "error.log").read_bytes()
    # Filebeat's own: bytes that are no UTF-8 become the sign for that.
    lines = access.decode(errors="replace").splitlines()
    first, away, strange = (made(line, "nginx") for line in lines)
    assert (first["request_id"], first["status"], first["log_level"]) == ("follow-me-9", 200, "INFO")
    assert first["path"] == "/a"
    assert first["client_address"] == "127.0.0.1"
    assert "upstream_seconds" not in first
    assert first["@metadata"]["index"] == "face-recognition-logs-nginx"
    assert (away["status"], away["log_level"]) == (502, "ERROR")
    assert isinstance(away["upstream_seconds"], float)
    assert strange["status"] == 200
    assert min(len(line) for line in access.splitlines()) >= 64, "a file is known by its first 64 bytes"
    written = [made(line, "nginx_error") for line in errors.decode().splitlines()]
    failed = next(event for event in written if "connect() failed" in event["message"])
    assert (failed["log_level"], failed["service_name"]) == ("ERROR", "nginx")
    assert not any("_unparsed" in event.get("tags", []) for event in written)


def test_lines_of_a_running_postgresql_become_documents() -> None:
    """As the role lets it log, and with statements, for an operator who wants to see them for a while."""
    server = Postgres()
    server.start()
    try:
        connection = psycopg2.connect(
            host=server.host,
            port=server.port,
            dbname="postgres",
            user=server.admin_user,
            password=server.admin_password,
        )
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("ALTER SYSTEM SET log_min_error_statement = error")
            cursor.execute("SELECT pg_reload_conf()")
        connection.close()
        changed = 'parameter "log_min_error_statement" changed'
        wait_until(lambda: changed in server.log.read_text(), 60, "the setting")
        with pytest.raises(psycopg2.OperationalError):
            psycopg2.connect(host=server.host, port=server.port, dbname="face", user="face", password="wrong")
        with psycopg2.connect(server.dsn) as one, one.cursor() as cursor, pytest.raises(psycopg2.Error):
            cursor.execute("SELECT 1 /\n0\n+ 'line'")
        text = server.log.read_text()
    finally:
        server.close()
    text = text[text.index(changed) :].split("\n", 1)[1]
    # As Filebeat's multiline puts them together.
    lines = re.split(r"\n(?=[0-9]{4}-[0-9]{2}-[0-9]{2} )", text.strip())
    documents = [made(line, "postgresql") for line in lines]
    assert not any("_unparsed" in document.get("tags", []) for document in documents)
    assert {document["@metadata"]["index"] for document in documents} == {"filebeat-postgresql"}
    refused = next(
        document for document in documents if "password authentication failed" in document["message"]
    )
    assert refused["log_level"] == "ERROR"
    statement = next(document for document in documents if "STATEMENT" in document["message"])
    assert statement["message"].endswith("+ 'line'")
    assert statement["log_level"] == "INFO"
    assert all(document["@timestamp"] != "2026-11-23T16:00:00.000Z" for document in documents)


def test_lines_of_a_running_redis_become_documents() -> None:
    server = Redis()
    server.start()
    server.stop()
    lines = server.log.read_text().splitlines()
    server.close()
    documents = [made(line, "redis") for line in lines if line.strip()]
    assert len(documents) > 5
    assert not [document["message"] for document in documents if "_unparsed" in document.get("tags", [])]
    assert {document["log_level"] for document in documents} >= {"INFO", "WARNING"}
    assert {document["@metadata"]["index"] for document in documents} == {"filebeat-redis"}
    assert len(lines[0]) >= 64, "a file is known by its first 64 bytes"


@pytest.mark.parametrize(
    "line",
    [
        "libpng warning: iCCP: known incorrect sRGB profile",
        '{"timestamp": "2026-11-23T16:10:00+00:00", "message": "cut of',
        "Traceback (most recent call last):",
        '  File "/opt/face-pipeline/current/app/x.py", line 1, in <module>',
        "12",
        '"a string"',
        "[1, 2]",
        "null",
        '{"no": "message"}',
        "{" * 5000,
        "",
        "\ufffd\ufffd\x00",
        "x" * 1_000_000,
    ],
    ids=lambda line: line[:20] or "empty",
)
def test_a_line_that_is_none_of_ours_is_kept_whole_and_tagged(line: str) -> None:
    for kind, more in (
        ("journal", unit("celery@2.service")),
        ("nginx", {}),
        ("postgresql", {}),
        ("redis", {}),
        ("nginx_error", {}),
    ):
        event = made(line, kind, **more)
        assert event["message"] == line
        assert event["tags"] == ["_unparsed"]
        assert event["@metadata"]["index"].startswith(("face-recognition-logs-", "filebeat-"))


def test_a_huge_exception_of_many_lines_is_one_field() -> None:
    trace = (
        "Traceback (most recent call last):\n" + '  File "x.py", line 1, in run\n' * 3000 + "ValueError: no"
    )
    given = {
        "timestamp": "2026-11-23T16:10:00.123+00:00", "log_level": "ERROR", "message": "engine failed",
        "exception": trace, "service_name": "celery@1", "host": "not an object", "error": "nor this",
    }  # fmt: skip
    event = made(json.dumps(given), "journal", **unit("celery@1.service"))
    assert event["exception"] == trace
    assert event["@timestamp"] == "2026-11-23T16:10:00.123Z"
    assert "tags" not in event


@pytest.mark.parametrize(
    ("priority", "level"),
    [(0, "CRITICAL"), (2, "CRITICAL"), (3, "ERROR"), (4, "WARNING"), (5, "INFO"), (6, "INFO"), (7, "DEBUG")],
)
def test_priorities_of_the_journal_become_levels(priority: int, level: str) -> None:
    event = made("Failed password for root", "journal", **unit("ssh.service", priority))
    assert (event["log_level"], event["service_name"], event["unit"]) == (level, "ssh", "ssh.service")
    assert event["@metadata"]["index"] == "filebeat-system"
    assert event["@timestamp"] == "2026-11-23T16:00:00.000Z"


def test_what_systemd_says_of_a_unit_is_found_with_that_unit_and_is_no_broken_line_of_it() -> None:
    event = made(
        "celery@1.service: Failed", "journal", journald={"unit": "celery@1.service"}, **unit("init.scope", 4)
    )
    assert (event["unit"], event["log_level"]) == ("celery@1.service", "WARNING")
    assert event["@metadata"]["index"] == "filebeat-system"
    assert "tags" not in event
    kernel = made("Out of memory", "journal", syslog={"identifier": "kernel", "priority": 2})
    assert (kernel["service_name"], kernel["log_level"]) == ("kernel", "CRITICAL")


def test_times_without_a_zone_are_of_the_hosts_zone() -> None:
    event = made("1:M 23 Nov 2026 16:10:00.123 * Ready to accept connections", "redis")
    assert event["@timestamp"] == "2026-11-23T15:10:00.123Z"
    utc = made("2026-11-23 16:10:00.123 UTC [7] LOG:  checkpoint complete", "postgresql")
    assert utc["@timestamp"] == "2026-11-23T16:10:00.123Z"
    odd = made(json.dumps({"message": "x", "timestamp": "yesterday"}), "journal", **unit("face-web.service"))
    assert odd["tags"] == ["_untimed"]


def test_how_a_task_ended_is_no_http_status() -> None:
    line = {"message": "photo processed", "status": "success", "operation": "ingest"}
    event = made(json.dumps(line), "journal", **unit("celery@1.service"))
    assert event["outcome"] == "success"
    assert "status" not in event


@pytest.mark.parametrize(
    ("status", "level"), [(200, "INFO"), (404, "WARNING"), (502, "ERROR"), ("502", "ERROR")]
)
def test_a_status_of_http_stays_a_number_and_gives_the_level(status: Any, level: str) -> None:
    line = {"message": "GET /a", "status": status, "log_level": "INFO", "service_name": "nginx"}
    event = made(json.dumps(line), "nginx")
    assert (event["status"], event["log_level"]) == (int(status), level)
    assert "outcome" not in event
    app = made(json.dumps(line), "journal", **unit("face-web.service"))
    assert (app["status"], app["log_level"]) == (int(status), "INFO")


@pytest.mark.parametrize("text", ["", "false", "0"])
def test_a_line_of_ours_with_a_message_that_counts_for_nothing_is_still_read(text: str) -> None:
    line = {"message": text, "log_level": "ERROR", "exception": "Traceback", "request_id": "r1"}
    event = made(json.dumps(line), "journal", **unit("celery@1.service"))
    assert (event["message"], event["log_level"], event["request_id"]) == (text, "ERROR", "r1")
    assert "tags" not in event


@pytest.mark.parametrize("message", [1, True, None, ["x"], {"x": 1}], ids=str)
def test_a_message_that_is_no_text_leaves_the_line_as_it_was(message: Any) -> None:
    line = json.dumps({"message": message, "request_id": "r1"})
    event = made(line, "journal", **unit("celery@1.service"))
    assert (event["message"], event["tags"]) == (line, ["_unparsed"])


@pytest.mark.parametrize("value", ["", "false", None, False])
def test_a_field_that_counts_for_nothing_is_filled_and_does_not_become_a_list(value: Any) -> None:
    line = {"message": "x", "service_name": value, "log_level": value}
    event = made(json.dumps(line), "nginx")
    assert (event["service_name"], event["log_level"]) == ("nginx", "INFO")
    event = made(json.dumps(line), "journal", **unit("celery@1.service"))
    assert (event["service_name"], event["log_level"]) == ("celery@1", "INFO")
    lost = made(
        "x", "journal", fields={"kind": value, "environment": "production"}, syslog={"identifier": "x"}
    )
    assert lost["@metadata"]["index"] == "filebeat-system"


@pytest.mark.parametrize(
    ("text", "seconds"), [("0.001", 0.001), ("0.1, 0.25", 0.25), ("5.", None), ("-", None), ("", None)]
)
def test_seconds_of_the_upstream_are_a_number_or_nothing(text: str, seconds: float | None) -> None:
    event = made(json.dumps({"message": "x", "upstream_seconds": text}), "nginx")
    assert event.get("upstream_seconds") == seconds
    assert "tags" not in event


def test_a_line_that_is_no_json_is_not_said_again_in_logstashs_own_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made("libpng warning: no JSON", "journal", **unit("celery@2.service"))
    assert "libpng" not in caplog.text


def test_an_event_without_filebeats_id_gets_one() -> None:
    given = carried("x", "journal")
    del given["@metadata"]["_id"]
    one, other = (PIPELINE.filter(given)["@metadata"]["_id"] for _ in range(2))
    assert one != other


def test_the_standin_refuses_root_and_reads_our_files_as_another(tmp_path: Path) -> None:
    for name, files in (("conf.d", FILES), ("dead-letters.d", DEAD_LETTERS)):
        (tmp_path / "etc/logstash" / name).mkdir(parents=True)
        for file in files:
            (tmp_path / "etc/logstash" / name / file.name).write_text(file.read_text())
    settings = tmp_path / "etc/logstash"
    render(
        "logstash", {name: settings / name for name in ("logstash.yml", "pipelines.yml")}, tmp_path / "play"
    )
    for name in ("face-beats.crt", "face-beats.key"):
        (settings / name).write_text("")
    (settings / "face-ca.crt").write_bytes(Path(certifi.where()).read_bytes())
    (tmp_path / "var/lib/logstash/dead_letter_queue/main").mkdir(parents=True)
    environment = {**os.environ, **ENVIRONMENT, "STANDIN_ROOT": str(tmp_path)}

    def check(**more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(STANDIN / "logstash"), "--path.settings", str(settings), "-t"]
        return subprocess.run(
            command, env={**environment, **more}, capture_output=True, text=True, check=False
        )

    if os.geteuid() == 0:
        refused = check()
        assert refused.returncode == 1
        assert "cannot be run as superuser" in refused.stdout
    assert "Configuration OK" in check(STANDIN_ALLOW_SUPERUSER="1").stdout
    (settings / "face-beats.key").unlink()
    assert "cannot be opened /etc/logstash/face-beats.key" in check(STANDIN_ALLOW_SUPERUSER="1").stdout
    (settings / "face-beats.key").write_text("")
    file = settings / "conf.d/31-nginx.conf"
    file.write_text(file.read_text().replace("gsub =>", "gsbu =>"))
    wrong = check(STANDIN_ALLOW_SUPERUSER="1")
    assert wrong.returncode == 1
    assert "31-nginx.conf: line" in wrong.stdout
    assert "unknown setting gsbu" in wrong.stdout
