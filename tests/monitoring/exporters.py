"""The real exporters, with the roles' own arguments, over the tests' real PostgreSQL, Redis and nginx."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import requests
import yaml

from tests.installation import App, Installation, start_web, wait_until
from tests.packs import dlib_pack
from tests.services import Nginx, Postgres, Redis
from tests.services.exporters import Program, names, settings
from tests.services.postgres import BINARIES
from tests.services.process import free_port
from tests.services.redis import passwords as redis_passwords
from tests.sharing import once_a_run

REPOSITORY = Path(__file__).resolve().parents[2]
ROLES = REPOSITORY / "roles"
ROLE = ROLES / "exporters"
EXPORTERS = ("node", "redis", "postgres", "nginx", "blackbox")
GROUPS = ("proxy", "web", "workers", "postgres", "redis", "monitoring")
NGINX = """
events {}
http {
    access_log off;
    include {directory}/metrics.conf;
    server {
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {directory}/tls/server.crt;
        ssl_certificate_key {directory}/tls/server.key;
        location / { return 404; }
        location /health/ready { return 200 "ready"; }
    }
}
"""


def play(
    directory: Path, tasks: list[dict[str, Any]], *options: str, **variables: Any
) -> subprocess.CompletedProcess[str]:
    """Run tasks on this machine as the one host of an installation, with the variables of the roles."""
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / "group_vars").exists():
        (directory / "group_vars").symlink_to(REPOSITORY / "group_vars")
    files = [str(ROLES / "exporters/vars/main.yml")]
    hosts = {"here": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}}
    inventory = {"all": {"hosts": hosts, "children": {group: {"hosts": {"here": None}} for group in GROUPS}}}
    (directory / "hosts.yml").write_text(yaml.safe_dump(inventory))
    # The module apt starts again with an interpreter that has python3-apt, which Mitogen does not know.
    play = {"hosts": "here", "gather_facts": False, "strategy": "linear", "vars_files": files, "tasks": tasks}
    (directory / "play.yml").write_text(yaml.safe_dump([play]))
    command = [str(REPOSITORY / ".venv/bin/ansible-playbook"), "-i", str(directory / "hosts.yml")]
    return subprocess.run(
        [*command, *options, str(directory / "play.yml"), "-e", json.dumps(variables)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )


def template(source: Path, target: Path, **variables: str) -> dict[str, Any]:
    return {"ansible.builtin.template": {"src": str(source), "dest": str(target)}, "vars": variables}


def defaults(name: str, target: Path) -> dict[str, Any]:
    """The task that writes the exporter's /etc/default file."""
    return template(ROLE / "templates/default.j2", target, exporters_name=name)


def database_lines() -> dict[str, Any]:
    """The task of the role that writes pg_ident.conf and pg_hba.conf."""
    tasks = yaml.safe_load((ROLE / "tasks/postgres.yml").read_text())
    task = next(task for task in tasks[1]["block"] if "ansible.builtin.blockinfile" in task)
    return {**task, "vars": {"exporters_name": "postgres"}}


@dataclass
class Observed:
    """What is observed, and the exporters by name."""

    directory: Path
    postgres: Postgres
    redis: Redis
    scratch: Redis
    nginx: Nginx
    exporters: dict[str, Program]
    variables: dict[str, Any]

    def tasks(self) -> list[dict[str, Any]]:
        sql = self.directory / "monitor.sql"
        return [
            *(defaults(name, self.directory / f"{name}.default") for name in EXPORTERS),
            template(ROLES / "nginx/templates/face-metrics.conf.j2", self.nginx.directory / "metrics.conf"),
            template(ROLE / "templates/face-blackbox.yml.j2", self.directory / "face-blackbox.yml"),
            template(ROLE / "templates/monitor.sql.j2", sql, exporters_name="postgres"),
            database_lines(),
        ]

    def configure(self) -> str:
        """Run the roles' tasks; what Ansible said."""
        done = play(self.directory / "play", self.tasks(), **self.variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def psql(self, statements: str) -> str:
        """Run SQL as the administrator; what the server warned of."""
        admin = f"PGPASSWORD={self.postgres.admin_password}"
        client = [f"{BINARIES}/psql", "-v", "ON_ERROR_STOP=1", "-qAt", "-h", self.postgres.host]
        whom = ["-p", str(self.postgres.port), "-U", self.postgres.admin_user, "-d", "postgres"]
        return self.postgres.run(
            ["env", admin, "sh", "-c", '"$@" 2>&1', "sh", *client, *whom], stdin=statements
        )


@contextmanager
def observe(postgres: Postgres, redis: Redis) -> Iterator[Observed]:
    """Make and start the five exporters of the roles, and the Redis of the searches."""
    ports = yaml.safe_load((REPOSITORY / "group_vars/all/endpoints.yml").read_text())["face_ports"]
    ports |= {f"{name}_exporter": free_port() for name in EXPORTERS}
    ports |= {"web_metrics": free_port(), "postgres": postgres.port, "redis": redis.port}
    with ExitStack() as stack:
        nginx, scratch = Nginx(NGINX), Redis(scratch=True)
        stack.callback(nginx.close)
        stack.enter_context(scratch)
        ports["scratch_redis"] = scratch.port
        # What the exporters read lies there too: they are users who may not look into a test's own directory.
        directory = nginx.directory
        tls, textfiles = directory / "tls", directory / "textfiles"
        textfiles.mkdir()
        maker = [sys.executable, str(ROLES / "certificates/files/make_certificate.py"), str(tls), "127.0.0.1"]
        subprocess.run(maker, check=True, capture_output=True)
        tls.chmod(0o755)
        passwords = directory / "passwords"
        servers = [f"redis://exporter@127.0.0.1:{one.port}" for one in (redis, scratch)]
        passwords.write_text(json.dumps(dict.fromkeys(servers, redis_passwords()["exporter"])))
        data = postgres.directory / "data"
        # As Debian's cluster has it: the role writes before this line.
        hba = data / "pg_hba.conf"
        if not hba.read_text().startswith("local all postgres"):
            hba.write_text(f"local all postgres scram-sha-256\n{hba.read_text()}")
        postgres.directory.chmod(0o755)
        observed = Observed(
            directory,
            postgres,
            redis,
            scratch,
            nginx,
            {},
            {
                "face_ports": ports,
                "exporters_node_textfiles": str(textfiles),
                "exporters_redis_passwords": str(passwords),
                "exporters_postgres_config": str(data),
                "exporters_postgres_socket_dir": str(postgres.directory),
                "exporters_blackbox_config": str(directory / "face-blackbox.yml"),
                "exporters_blackbox_ca": str(tls / "ca.crt"),
            },
        )
        observed.configure()
        observed.psql((directory / "monitor.sql").read_text())
        nginx.start()
        for name in EXPORTERS:
            given = settings(directory / f"{name}.default")
            arguments = given.pop("ARGS").split()
            exporter = Program(f"prometheus-{name}-exporter", ports[f"{name}_exporter"], arguments, given)
            stack.callback(exporter.close)
            exporter.start()
            observed.exporters[name] = exporter
        yield observed


def _scrapes(directory: Path) -> dict[str, set[str]]:
    """Start all there is, and ask it once."""
    from face_pipeline.telemetry.metrics import AutoscalerMetrics
    from prometheus_client import generate_latest

    with ExitStack() as stack:
        postgres, redis = stack.enter_context(Postgres()), stack.enter_context(Redis())
        assert isinstance(postgres, Postgres)
        assert isinstance(redis, Redis)
        (directory / "app").mkdir()
        app = Installation.make(directory / "app", postgres, redis, dlib_pack(), FACE_WORKER_CONCURRENCY="1")
        observed = stack.enter_context(observe(postgres, redis))
        found = {name: names(exporter.text()) for name, exporter in observed.exporters.items()}
        target = f"https://127.0.0.1:{observed.nginx.port}/health/ready"
        found["probe"] = names(observed.exporters["blackbox"].text(module="face_http_2xx", target=target))
        scratch = f"redis://127.0.0.1:{observed.scratch.port}"
        found["redis_scratch"] = names(observed.exporters["redis"].text("/scrape", target=scratch))
        found["node"] |= _unit_metrics(observed)
        found |= _prometheus(stack)
        found |= _application(stack, app)
        autoscaler = AutoscalerMetrics()
        autoscaler.desired = autoscaler.current = autoscaler.waiting = 0
        found["autoscaler"] = names(generate_latest(autoscaler.registry).decode())
    return found


def _unit_metrics(observed: Observed) -> set[str]:
    source = (ROLES / "unit_metrics/files/unit_metrics.py").read_text()
    module: dict[str, Any] = {"__name__": "unit_metrics"}
    exec(compile(source, "unit_metrics.py", "exec"), module)
    return set(module["METRICS"])


def _prometheus(stack: ExitStack) -> dict[str, set[str]]:
    found = {}
    # Some series are there for a group of rules and for an Alertmanager that is told.
    nobody = [{"static_configs": [{"targets": ["127.0.0.1:1"]}]}]
    rule = {"groups": [{"name": "one", "rules": [{"alert": "Always", "expr": "vector(1)"}]}]}
    configurations: dict[str, Any] = {
        "prometheus": {
            "global": {"evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "alerting": {"alertmanagers": nobody},
        },
        "alertmanager": {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]},
    }
    for name, configuration in configurations.items():
        port = free_port()
        binary = "prometheus" if name == "prometheus" else "prometheus-alertmanager"
        program = Program(binary, port, [], contained=True)
        stack.callback(program.close)
        file = program.write("configuration.yml", yaml.safe_dump(configuration))
        program.write("rules.yml", yaml.safe_dump(rule))
        storage = "--storage.tsdb.path" if name == "prometheus" else "--storage.path"
        program.arguments = [f"--config.file={file}", f"--web.listen-address=127.0.0.1:{port}"]
        program.arguments += [f"{storage}={program.directory}/data"]
        program.arguments += ["--cluster.listen-address="] if name == "alertmanager" else []
        program.start()
        if name == "prometheus":
            wait_until(partial(_told_nobody, program), 30, "an alert that nobody takes")
        found[name] = names(program.text())
    return found


def _told_nobody(prometheus: Program) -> bool:
    return "prometheus_notifications_errors_total" in names(prometheus.text())


def _application(stack: ExitStack, app: Installation) -> dict[str, set[str]]:
    from tests.photos import astronaut_again, astronaut_jpeg

    url, web = start_web(app)
    stack.callback(app.end, web)
    running = App(app, url, web)
    worker = running.start_worker(concurrency=1)
    stack.callback(app.end, worker)
    batch = running.upload(("a.jpg", astronaut_jpeg())).json()["batch_id"]
    running.wait_finished(batch)
    running.search(astronaut_again())
    asked = requests.get(worker.metrics_url, timeout=10)  # type: ignore[attr-defined]
    return {"web": names(running.get("/metrics").text), "celery": names(asked.text)}


@cache
def exporter_metric_names() -> dict[str, set[str]]:
    """Metrics there are, by job; not those of systemd's bus, of a card and of a host with TLS of its own."""
    return {job: set(found) for job, found in once_a_run("exporter-metrics", _asked_elsewhere).items()}


def _asked_elsewhere() -> dict[str, list[str]]:
    """In a process of its own: the application it starts is not that of the tests."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.monitoring.exporters"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'app'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the exporters did not start:\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="face-exporters-") as directory:
        found = _scrapes(Path(directory))
    print(json.dumps({job: sorted(metrics) for job, metrics in found.items()}))


if __name__ == "__main__":
    main()
