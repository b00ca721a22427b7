"""The role `alertmanager`: what it refuses and writes, and what its receivers get from a real Alertmanager.

Slack and the mail server are stand-ins: an HTTP server, and the few words of SMTP that a client needs.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import re
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_string, policy
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from tests.monitoring.rendering import ONE_HOST, PLACE, ROOT, THREE_HOSTS, certified, play, told
from tests.services.process import free_port
from tests.services.prometheus import Alertmanager

MADE = TemporaryDirectory(prefix="alertmanager-role-")
PLACES = {
    "alertmanager_config_dir": f"{PLACE}/etc",
    "alertmanager_unit_dir": f"{PLACE}/unit",
    "alertmanager_arguments": f"{PLACE}/default",
    "alertmanager_data_dir": f"{PLACE}/data",
}
SMTP = {"smarthost": "mail.example:587", "from": "face@example.org"}
SECRETS = {"slack_url": "https://hooks.example/T0", "token": "bearer-of-the-tests", "mail": "mail-password"}
EMAIL = {"type": "email", "to": "ops@example.org"}
SLACK = {"type": "slack", "url_secret": "slack_url", "channel": "#faces", "severities": ["critical"]}
HOOK = {"type": "webhook", "url": "https://h.example/", "bearer_secret": "token", "severities": ["warning"]}
WATCHDOG = {"type": "watchdog", "url_secret": "slack_url", "interval": "1m"}
RECEIVERS: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "email": [EMAIL],
    "by severity": [SLACK, HOOK],
    "all": [EMAIL, SLACK, HOOK, WATCHDOG, {**EMAIL, "severities": ["critical", "warning"]}],
}
# Receivers, severity (None: an alert of the operator's own without one) -> who is told.
TOLD = {
    ("none", "critical"): "nobody",
    ("none", "warning"): "nobody",
    ("email", "critical"): "email-1",
    ("email", "warning"): "email-1",
    ("email", None): "email-1",
    ("email", "none"): "nobody",
    ("by severity", "critical"): "slack-1",
    ("by severity", "warning"): "webhook-2",
    ("by severity", None): "webhook-2",
    ("all", "critical"): "email-1,slack-2,email-5",
    ("all", "warning"): "email-1,webhook-3,email-5",
    ("all", "none"): "nobody",
}
# The third is beside no Prometheus.
THREE_THAT_TELL = {**THREE_HOSTS, "monitoring": ["data", "front"], "alertmanagers": ["compute"]}


@cache
def rendered(receivers: str, several: bool = False) -> Path:
    """Directory of a run, which amtool let pass."""
    directory = Path(MADE.name) / f"{receivers}-{several}".replace(" ", "-")
    groups, on = (THREE_THAT_TELL, "monitoring:alertmanagers") if several else (ONE_HOST, "monitoring")
    done = play("alertmanager", directory, groups, on=on, **PLACES, face_smtp=SMTP, face_own_secrets=SECRETS,
                face_alert_receivers=RECEIVERS[receivers])  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert not [secret for secret in SECRETS.values() if secret in done.stdout]
    return directory


def arguments(directory: Path, host: str) -> list[str]:
    (line,) = re.findall(r'^ARGS="(.*)"$', (directory / host / "default").read_text(), re.MULTILINE)
    return str(line).split()


@pytest.fixture
def alertmanager() -> Iterator[Alertmanager]:
    server = Alertmanager()
    yield server
    server.close()


@pytest.mark.parametrize("receivers", RECEIVERS)
def test_each_severity_reaches_those_who_asked_for_it(receivers: str, alertmanager: Alertmanager) -> None:
    text = (rendered(receivers) / "one/etc/alertmanager.yml").read_text()
    alertmanager.write("alertmanager.yml", text)
    for (those, severity), who in TOLD.items():
        if those == receivers:
            labels = ["alertname=Any", "host=one", *([f"severity={severity}"] if severity else [])]
            file = f"--config.file={alertmanager.configuration}"
            assert alertmanager.amtool("config", "routes", "test", file, *labels).strip() == who, severity
    watched = alertmanager.amtool("config", "routes", "test", file, "alertname=Watchdog", "severity=none")
    assert watched.strip() == ("watchdog-4,nobody" if receivers == "all" else "nobody")


def test_secrets_are_files_that_alertmanager_alone_reads_and_are_in_no_other() -> None:
    place = rendered("all") / "one"
    assert {path.name: path.read_text() for path in (place / "etc/secrets").iterdir()} == {
        "slack_url": SECRETS["slack_url"],
        "token": SECRETS["token"],
    }
    for path in (place / "etc/secrets").iterdir():
        assert path.stat().st_mode & 0o777 == 0o640
    assert (place / "etc/secrets").stat().st_mode & 0o777 == 0o750
    text = (place / "etc/alertmanager.yml").read_text()
    assert not [secret for secret in SECRETS.values() if secret in text]


def test_a_second_run_changes_nothing_and_a_receiver_that_went_takes_its_secrets_along(
    tmp_path: Path,
) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/slack_url").write_text("https://hooks.example/T0\n")
    changed = []
    for receivers in ([SLACK], [SLACK], []):
        done = play("alertmanager", tmp_path, ONE_HOST, **PLACES, face_alert_receivers=receivers)
        assert done.returncode == 0, done.stdout
        changed += re.findall(r"changed=(\d+)", done.stdout)
        there = [path.name for path in (tmp_path / "one/etc/secrets").iterdir()]
        assert there == (["slack_url"] if receivers else [])
    assert changed[1] == "0"


def test_one_alertmanager_has_no_cluster_and_several_have_one() -> None:
    alone = arguments(rendered("email"), "one")
    assert "--web.listen-address=127.0.0.1:9093" in alone
    assert "--web.external-url=https://10.0.0.1/alertmanager/" in alone
    assert [each for each in alone if "cluster" in each] == ["--cluster.listen-address="]
    addresses = {"data": "10.0.0.2", "front": "10.0.0.3", "compute": "10.0.0.1"}
    for host, own in addresses.items():
        given = arguments(rendered("email", several=True), host)
        assert f"--web.listen-address={own}:9093" in given
        cluster = [each for each in given if "cluster" in each]
        assert cluster == [
            f"--cluster.listen-address={own}:9094",
            *(f"--cluster.peer={other}:9094" for other in addresses.values() if other != own),
            f"--cluster.tls-config={rendered('email', several=True)}/{host}/etc/face-cluster-tls.yml",
        ]


def test_of_an_alertmanager_that_is_alone_again_no_cluster_stays(tmp_path: Path) -> None:
    for groups, there in ((THREE_THAT_TELL, True), (THREE_HOSTS, False)):
        done = play("alertmanager", tmp_path, groups, **PLACES)
        assert done.returncode == 0, done.stdout + done.stderr
        assert (tmp_path / "data/etc/face-cluster-tls.yml").exists() == there


def clustered(port: int, peer: int, *, proof: bool = True) -> Alertmanager:
    """One of two, with what the role wrote for their talk; without `proof` it has no certificate to show."""
    server = Alertmanager()
    written = (rendered("email", several=True) / "data/etc/face-cluster-tls.yml").read_text()
    for path in certified().values():
        copy = server.write(Path(path).name, Path(path).read_text())
        written = written.replace(path, str(copy))
    if not proof:
        client = {"ca_file": str(server.directory / "ca.crt")}
        written = json.dumps({**yaml.safe_load(written), "tls_client_config": client})
    server.write("alertmanager.yml", (rendered("none") / "one/etc/alertmanager.yml").read_text())
    server.options = (
        f"--cluster.listen-address=127.0.0.1:{port}",
        f"--cluster.peer=127.0.0.1:{peer}",
        f"--cluster.tls-config={server.write('cluster.yml', written)}",
    )
    return server


@pytest.mark.parametrize("proof", [True, False])
def test_alertmanagers_talk_to_each_other_by_tls_and_to_nobody_else(proof: bool) -> None:
    ports = free_port(), free_port()
    first, second = clustered(*ports), clustered(*reversed(ports), proof=proof)

    def peers() -> int:
        return len(second.get("/api/v2/status")["cluster"].get("peers", []))

    try:
        first.start()
        second.start()
        if proof:
            wait(lambda: peers() == 2, "one to know the other")
        else:
            wait(lambda: "tls: certificate required" in second.log.read_text(), "a refusal")
            assert peers() < 2
    finally:
        first.close()
        second.close()


FILTER = ROOT / "roles/alertmanager/filter_plugins/alertmanager_faults.py"


def faults(receivers: Any, smtp: dict[str, Any] | None = None, directory: str = "/none") -> list[str]:
    spec = importlib.util.spec_from_file_location("alertmanager_faults", FILTER)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: list[str] = module.alertmanager_faults(
        receivers, SMTP if smtp is None else smtp, SECRETS, directory
    )
    return found


@pytest.mark.parametrize("receivers", RECEIVERS.values(), ids=RECEIVERS)
def test_good_receivers_pass(receivers: list[dict[str, Any]]) -> None:
    assert faults(receivers) == []


@pytest.mark.parametrize(
    ("receivers", "words"),
    [
        ({"type": "email"}, "must be a list"),
        ([EMAIL, {"type": "pager"}], "entry 2: its type must be one of email, slack, webhook, watchdog"),
        (["ops@example.org"], "entry 1: its type must be one of"),
        ([{"type": "email"}], "email needs to"),
        ([{"type": "email", "to": "ops"}], "to must be an e-mail address"),
        ([{"type": "slack", "channel": "#faces"}], "slack needs url_secret"),
        ([{**SLACK, "chanel": "#faces"}], "slack has no chanel; it takes channel, severities, url_secret"),
        ([{"type": "webhook"}], "webhook needs url or url_secret"),
        ([{**HOOK, "url": "h.example"}], "url must be a URL, http:// or https://"),
        ([{**HOOK, "severities": ["fatal"]}], "severities must be a list of critical and warning"),
        ([{**HOOK, "severities": "critical"}], "severities must be a list"),
        ([{**WATCHDOG, "interval": "often"}], "interval must be a time such as 5m"),
        ([{**SLACK, "url_secret": "../other"}], "url_secret must be the name of a secret"),
        ([{**SLACK, "url_secret": "absent"}], "the secret absent is neither a file in /none nor in"),
    ],
)
def test_a_bad_receiver_is_one_line_that_names_entry_and_field(receivers: Any, words: str) -> None:
    (fault, *_) = faults(receivers)
    assert words in fault
    assert "\n" not in fault


@pytest.mark.parametrize(
    ("smtp", "words"),
    [
        (
            {"smarthost": "", "from": "", "user": "", "password_secret": ""},
            "e-mail needs smarthost, host:port",
        ),
        ({"smarthost": "mail.example", "from": "a@b"}, "e-mail needs smarthost, host:port"),
        ({**SMTP, "from": "face"}, "e-mail needs from"),
        ({**SMTP, "user": "face"}, "user and password_secret go together"),
        ({**SMTP, "user": "face", "password_secret": "absent"}, "face_smtp: the secret absent is neither"),
    ],
)
def test_e_mail_needs_a_server(smtp: dict[str, Any], words: str) -> None:
    assert words in faults([EMAIL], smtp)[0]
    assert faults([SLACK], smtp) == []


def test_the_preflight_ends_before_anything_changes(tmp_path: Path) -> None:
    bad = [{**SLACK, "url_secret": "absent"}]
    done = play("alertmanager", tmp_path, ONE_HOST, "check", face_alert_receivers=bad)
    assert done.returncode == 2
    assert f"the secret absent is neither a file in {tmp_path}/secrets" in told(done)
    (tmp_path / "secrets/absent").write_text("https://hooks.example/T0\n")
    assert play("alertmanager", tmp_path, ONE_HOST, "check", face_alert_receivers=bad).returncode == 0
    without: dict[str, Any] = {"face_alert_receivers": [{"type": "pager"}], "face_monitoring_enabled": False}
    assert play("alertmanager", tmp_path, ONE_HOST, "check", **without).returncode == 0


# What arrives


@dataclass
class Sink:
    """An HTTP server for web hooks and Slack, and in the place of a mail server one that takes any mail."""

    hooks: list[dict[str, Any]] = field(default_factory=list)
    mails: list[dict[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        sink = self

        class Hook(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                sink.hooks.append({"path": self.path, "bearer": self.headers["Authorization"], **body})
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, format: str, *_: object) -> None:
                pass

        class Mail(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.say("220 stand-in")
                signed_in = ""
                while line := self.rfile.readline().decode().strip():
                    verb = line.split()[0].upper()
                    if verb == "EHLO":
                        self.say("250-stand-in")
                        self.say("250 AUTH PLAIN")
                    elif verb == "AUTH":
                        signed_in = base64.b64decode(line.split()[2]).decode()
                        self.say("235 ok")
                    elif verb == "DATA":
                        self.say("354 go on")
                        text = ""
                        while (line := self.rfile.readline().decode()) != ".\r\n":
                            text += line.removeprefix(".")
                        mail = message_from_string(text, policy=policy.default)
                        body = mail.get_body(("plain", "html"))
                        assert body
                        sink.mails.append(
                            {
                                "who": signed_in,
                                "to": mail["To"],
                                "subject": mail["Subject"],
                                "type": body.get_content_type(),
                                "text": body.get_content(),
                            }
                        )
                        self.say("250 kept")
                    elif verb == "QUIT":
                        self.say("221 bye")
                        return
                    else:
                        self.say("250 ok")

            def say(self, line: str) -> None:
                self.wfile.write(f"{line}\r\n".encode())

        self.web = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        self.mail = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail)
        for server in (self.web, self.mail):
            threading.Thread(target=server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.web.server_address[1]}"

    def close(self) -> None:
        for server in (self.web, self.mail):
            server.shutdown()
            server.server_close()

    def told(self, path: str, status: str, alert: str) -> list[dict[str, Any]]:
        """Alerts a web hook was told of."""
        return [
            each
            for hook in self.hooks
            if hook["path"] == path
            for each in hook["alerts"]
            if each["status"] == status and each["labels"]["alertname"] == alert
        ]


@pytest.fixture(scope="module")
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.close()


@pytest.fixture(scope="module")
def live(sink: Sink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alertmanager]:
    """With what the role writes; the directories of its files are those of the server."""
    directory = tmp_path_factory.mktemp("live")
    server = Alertmanager("--cluster.listen-address=", "--web.route-prefix=/",
                          "--web.external-url=https://one/alertmanager/")  # fmt: skip
    receivers = [
        {"type": "webhook", "url": f"{sink.url}/all", "bearer_secret": "token"},
        {"type": "webhook", "url_secret": "hook_url", "severities": ["critical"]},
        {"type": "slack", "url_secret": "slack_url", "channel": "#faces"},
        {"type": "watchdog", "url": f"{sink.url}/alive", "interval": "1s"},
        EMAIL,
    ]
    own = {**SECRETS, "hook_url": f"{sink.url}/critical", "slack_url": f"{sink.url}/slack"}
    smtp = {"smarthost": f"127.0.0.1:{sink.mail.server_address[1]}", "from": "face@example.org",
            "user": "face", "password_secret": "mail", "require_tls": False}  # fmt: skip
    places = {**PLACES, "alertmanager_config_dir": str(server.directory / "etc")}
    # On a host /etc/default is there.
    (directory / "one").mkdir(parents=True)
    done = play("alertmanager", directory, ONE_HOST, **places, face_alert_receivers=receivers, face_smtp=smtp,
                face_own_secrets=own, face_alert_group_wait="1s", face_alert_group_interval="1s")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for path in (server.directory / "etc").rglob("*"):
        server._own(path)
    server._own(server.directory / "etc")
    text = (server.directory / "etc/alertmanager.yml").read_text()
    server.write("alertmanager.yml", text.replace("group_interval: 15s", "group_interval: 1s"))
    server.start()
    yield server
    server.close()


def wait(condition: Callable[[], Any], what: str, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def resolve(server: Alertmanager, *alerts: dict[str, str]) -> None:
    server.fire(*alerts, endsAt=(datetime.now(UTC) - timedelta(seconds=1)).isoformat())


TEXTS = {
    "summary": "Worker 2 on one is down",
    "description": "It has not answered for 2 minutes & <nobody> knows why.",
    "value": "0",
    "runbook_url": "https://one/runbooks/CeleryWorkerDown.md",
}


def test_a_web_hook_slack_and_a_mail_server_are_told_of_an_alert_and_of_its_end(
    live: Alertmanager, sink: Sink
) -> None:
    worker = {"alertname": "CeleryWorkerDown", "severity": "critical", "host": "one", "worker": "2"}
    live.fire(worker, annotations=TEXTS)
    wait(lambda: sink.told("/all", "firing", "CeleryWorkerDown"), "the web hook for all")
    wait(lambda: sink.told("/critical", "firing", "CeleryWorkerDown"), "the web hook for what is critical")
    assert {hook["bearer"] for hook in sink.hooks if hook["path"] == "/all"} == {f"Bearer {SECRETS['token']}"}
    wait(lambda: sink.mails, "a mail")
    mail = sink.mails[0]
    assert mail["subject"] == "[FIRING critical] CeleryWorkerDown on one"
    assert (mail["to"], mail["type"]) == ("ops@example.org", "text/plain")
    assert mail["who"].split("\0")[1:] == ["face", SECRETS["mail"]]
    lines = mail["text"].splitlines()
    assert lines[0].startswith("FIRING critical CeleryWorkerDown on one since 20")
    assert [line.strip() for line in lines[1:] if line.strip()] == [
        TEXTS["summary"],
        TEXTS["description"],
        "Value:   0",
        f"Runbook: {TEXTS['runbook_url']}",
        "Query:   http://prometheus.test/graph",
    ]
    wait(lambda: [hook for hook in sink.hooks if hook["path"] == "/slack"], "Slack")
    (slack,) = next(hook for hook in sink.hooks if hook["path"] == "/slack")["attachments"]
    assert slack["title"] == "[FIRING critical] CeleryWorkerDown on one"
    assert slack["title_link"] == TEXTS["runbook_url"]
    assert "&amp; &lt;nobody&gt; knows" in slack["text"]
    assert f"<{TEXTS['runbook_url']}|Runbook> <http://prometheus.test/graph|Query>" in slack["text"]
    resolve(live, worker)
    wait(lambda: sink.told("/all", "resolved", "CeleryWorkerDown"), "the web hook to hear of its end")
    wait(lambda: [each for each in sink.mails if "RESOLVED" in each["subject"]], "a mail of its end")


def test_several_alerts_of_a_kind_on_a_host_are_one_message(live: Alertmanager, sink: Sink) -> None:
    full = [
        {"alertname": "HighDiskUsage", "severity": "warning", "host": "one", "mountpoint": where}
        for where in ("/", "/srv", "/var")
    ]
    live.fire(*full)
    wait(lambda: [each for each in sink.mails if "HighDiskUsage" in each["subject"]], "a mail")
    (mail,) = [each for each in sink.mails if "HighDiskUsage" in each["subject"]]
    assert mail["subject"] == "[FIRING warning] HighDiskUsage on one (3 firing, 0 resolved)"
    assert sink.told("/critical", "firing", "HighDiskUsage") == []
    resolve(live, *full)


@pytest.mark.parametrize(
    ("cause", "silenced", "told_of"),
    [
        (
            {"alertname": "HostDown", "host": "a"},
            [{"alertname": "TargetDown", "host": "a"}, {"alertname": "CeleryWorkerDown", "host": "a"}],
            [{"alertname": "HighCPUUsage", "host": "b"}, {"alertname": "HighHttpErrorRate"}],
        ),
        (
            {"alertname": "RedisDown", "host": "a", "job": "redis", "instance": "a:9121"},
            [
                {"alertname": "HighCeleryQueueLength"},
                {"alertname": "CeleryNoWorkers"},
                {"alertname": "PublicUrlDown", "target": "/health/ready"},
                {"alertname": "TargetDown", "job": "redis", "instance": "a:9121"},
            ],
            [{"alertname": "PostgreSQLDown"}, {"alertname": "HighDiskUsage", "host": "a"}],
        ),
        (
            {"alertname": "PostgreSQLDown", "host": "a"},
            [{"alertname": "OldestPhotoWaitsTooLong"}],
            [{"alertname": "PublicUrlDown", "target": "/health/live"}],
        ),
        (
            {"alertname": "CeleryNoWorkers"},
            [{"alertname": "CeleryWorkerDown", "host": "a"}, {"alertname": "HighCeleryQueueLength"}],
            [{"alertname": "RedisMemoryHigh", "host": "a"}],
        ),
    ],
    ids=lambda value: value["alertname"] if isinstance(value, dict) else "",
)
def test_what_follows_from_a_known_cause_is_not_told(
    cause: dict[str, str],
    silenced: list[dict[str, str]],
    told_of: list[dict[str, str]],
    live: Alertmanager,
    sink: Sink,
) -> None:
    every = [{"severity": "critical", **each} for each in (cause, *silenced, *told_of)]
    live.fire(*every)
    heard = {each["alertname"] for each in (cause, *told_of)}
    wait(lambda: all(sink.told("/all", "firing", name) for name in heard), "those that are told")
    states = live.states()
    assert {name for name, state in states.items() if state == "suppressed"} == {
        each["alertname"] for each in silenced
    }
    assert heard <= {name for name, state in states.items() if state == "active"}
    resolve(live, *every)
    wait(lambda: live.states() == {}, "all of them to end")


def test_a_critical_alert_silences_the_warning_of_the_same_thing(live: Alertmanager, sink: Sink) -> None:
    disk = {"alertname": "DiskFullIn4Hours", "host": "one", "mountpoint": "/"}
    alerts = [{**disk, "severity": "critical"}, {**disk, "severity": "warning"}]
    other = {**disk, "severity": "warning", "mountpoint": "/srv"}
    live.fire(*alerts, other)
    wait(lambda: len(sink.told("/all", "firing", "DiskFullIn4Hours")) >= 2, "both disks")
    found = {
        (each["labels"]["mountpoint"], each["labels"]["severity"]): each["status"]["state"]
        for each in live.get("/api/v2/alerts")
    }
    assert found == {
        ("/", "critical"): "active",
        ("/", "warning"): "suppressed",
        ("/srv", "warning"): "active",
    }
    resolve(live, *alerts, other)


def test_the_watchdog_is_heard_again_and_again_by_its_receiver_alone(live: Alertmanager, sink: Sink) -> None:
    live.fire({"alertname": "Watchdog", "severity": "none"})
    wait(lambda: len(sink.told("/alive", "firing", "Watchdog")) >= 3, "three signs of life")
    assert sink.told("/all", "firing", "Watchdog") == []
    assert not [each for each in sink.mails if "Watchdog" in each["subject"]]


def test_debians_package_has_no_page_and_amtool_silences(live: Alertmanager) -> None:
    assert "does not include a web" in live.get("/", text=True)
    where = f"--alertmanager.url={live.url}"
    live.amtool("silence", "add", where, "--author=test", "--comment=test", "--duration=1h", "alertname=Own")
    live.fire({"alertname": "Own", "severity": "warning"})
    wait(lambda: live.states().get("Own") == "suppressed", "the silence to hold")
    assert "Own" in live.amtool("alert", "query", where, "--silenced")
