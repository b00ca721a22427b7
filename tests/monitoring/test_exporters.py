"""Debian's exporters with the arguments our roles write.

systemd's bus is not here: tests/hosts asks for the series that come over it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests

from tests.ansible.programs import load
from tests.monitoring.exporters import EXPORTERS, Observed, defaults, exporter_metric_names, play
from tests.services.exporters import samples, settings
from tests.services.redis import passwords


def scrape(observed: Observed, name: str) -> dict[str, float]:
    return samples(observed.exporters[name].text())


def test_redis_is_up_and_tells_of_memory_and_persistence(observed: Observed) -> None:
    found = scrape(observed, "redis")
    assert found["redis_up"] == 1
    assert found["redis_memory_max_bytes"] == 256 * 1024**2
    assert found["redis_memory_used_bytes"] > 0
    assert found["redis_aof_last_write_status"] == 1
    assert found['redis_exporter_last_scrape_error{err=""}'] == 0


def test_the_redis_of_the_searches_is_asked_through_the_same_exporter(observed: Observed) -> None:
    target = f"redis://127.0.0.1:{observed.scratch.port}"
    found = samples(observed.exporters["redis"].text("/scrape", target=target))
    assert found["redis_up"] == 1
    assert found["redis_aof_enabled"] == 0
    observed.scratch.stop()
    try:
        assert samples(observed.exporters["redis"].text("/scrape", target=target))["redis_up"] == 0
    finally:
        observed.scratch.start()


def test_postgresql_is_up_for_a_role_without_a_password(observed: Observed) -> None:
    found = scrape(observed, "postgres")
    assert found["pg_up"] == 1
    assert found["pg_exporter_last_scrape_error"] == 0
    refused = [
        key for key, value in found.items() if key.startswith("pg_scrape_collector_success") and not value
    ]
    assert refused == []
    assert any(key.startswith("pg_settings_max_connections") for key in found)
    assert any(key.startswith("pg_stat_activity_count{") and 'datname="face"' in key for key in found)
    assert any(key.startswith('pg_database_size_bytes{datname="face"') for key in found)
    assert "level=error" not in observed.exporters["postgres"].log.read_text()


def test_the_role_that_reads_postgresql_may_not_read_faces_nor_write(observed: Observed) -> None:
    asked = """
        SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolpassword IS NULL
          FROM pg_authid WHERE rolname = 'face_monitor';
        SELECT string_agg(roleid::regrole::text, ',') FROM pg_auth_members
          WHERE member = 'face_monitor'::regrole;
    """
    assert observed.psql(asked).split() == ["f|f|f|f|f|t", "pg_monitor"]


def test_nobody_else_becomes_that_role(observed: Observed) -> None:
    """A socket's other end is whom the kernel names; over the network there is no way in."""
    client = [
        "/usr/lib/postgresql/17/bin/psql",
        "-qAtw",
        "-U",
        "face_monitor",
        "-d",
        "face",
        "-c",
        "SELECT 1",
    ]
    port = ["-p", str(observed.postgres.port)]
    for where, words in (
        (str(observed.postgres.directory), 'Peer authentication failed for user "face_monitor"'),
        ("127.0.0.1", "no password supplied"),
    ):
        with pytest.raises(RuntimeError, match=words):
            observed.postgres.run([*client, *port, "-h", where])


@pytest.mark.campaign("the scenarios run it twice on hosts")
def test_a_second_run_changes_nothing(observed: Observed) -> None:
    assert "changed=0" in observed.configure()
    assert "CHANGED" not in observed.psql((observed.directory / "monitor.sql").read_text())


@pytest.mark.campaign("an operator does it once")
def test_switched_off_the_role_and_its_way_in_go(observed: Observed) -> None:
    data = observed.postgres.directory / "data"
    assert "face_monitor" in (data / "pg_hba.conf").read_text()
    off = observed.variables | {"face_monitoring_enabled": False}
    done = play(observed.directory / "play", observed.tasks()[-2:], **off)
    assert done.returncode == 0, done.stdout
    try:
        for file in ("pg_hba.conf", "pg_ident.conf"):
            assert "face_monitor" not in (data / file).read_text()
        sql = (observed.directory / "monitor.sql").read_text()
        assert "CHANGED role" in observed.psql(sql)
        assert "CHANGED" not in observed.psql(sql)
    finally:
        observed.configure()
        assert "CHANGED role" in observed.psql((observed.directory / "monitor.sql").read_text())


def test_nginx_is_up(observed: Observed) -> None:
    found = scrape(observed, "nginx")
    assert found["nginx_up"] == 1
    assert found["nginx_connections_accepted"] >= 1


def test_node_tells_of_the_host_and_of_text_files(observed: Observed) -> None:
    (observed.directory / "textfiles" / "one.prom").write_text(
        "face_backup_last_success_timestamp_seconds 1\n"
    )
    found = scrape(observed, "node")
    assert found["face_backup_last_success_timestamp_seconds"] == 1
    assert found["node_textfile_scrape_error"] == 0
    assert found["node_memory_MemTotal_bytes"] > 0
    assert any(key.startswith('node_cpu_seconds_total{cpu="0",mode="idle"') for key in found)
    assert any(key.startswith("node_filesystem_avail_bytes{") and 'mountpoint="/"' in key for key in found)
    failed = {
        key for key, value in found.items() if key.startswith("node_scrape_collector_success") and not value
    }
    # No bus of systemd's, no RAID and no pressure numbers on some machines; everything else must be there.
    excused = {
        f'node_scrape_collector_success{{collector="{name}"}}' for name in ("systemd", "mdadm", "pressure")
    }
    assert failed <= excused


@pytest.mark.parametrize(("path", "success"), [("/health/ready", 1), ("/none", 0)])
def test_a_probe_asks_over_https_with_our_ca(observed: Observed, path: str, success: int) -> None:
    target = f"https://127.0.0.1:{observed.nginx.port}{path}"
    found = samples(observed.exporters["blackbox"].text(module="face_http_2xx", target=target))
    assert found["probe_success"] == success
    assert found["probe_ssl_earliest_cert_expiry"] > 0
    assert found["probe_http_status_code"] == (200 if success else 404)


def test_a_probe_takes_no_certificate_but_ours_and_no_plain_http(observed: Observed) -> None:
    plain = f"http://127.0.0.1:{observed.variables['face_ports']['web_metrics']}/nginx_status"
    # The certificate names 127.0.0.1 alone.
    for target in (plain, f"https://localhost:{observed.nginx.port}/health/ready"):
        found = samples(observed.exporters["blackbox"].text(module="face_http_2xx", target=target))
        assert found["probe_success"] == 0, target


def test_a_probe_takes_no_certificate_of_our_ca_for_names_that_it_may_not_sign_for(
    observed: Observed,
) -> None:
    maker = load("roles/certificates/files/make_certificate.py")
    tls, target = observed.directory / "tls", f"https://127.0.0.1:{observed.nginx.port}/health/ready"
    own = {path: path.read_bytes() for path in (tls / "server.key", tls / "server.crt")}
    names = [maker.general_name(name) for name in ("127.0.0.1", "bank.example")]
    signer = maker.Signer(maker.read_certificate(tls / "ca.crt"), maker.Authority(tls))
    try:
        maker.sign(maker.Leaf(tls, names), signer, datetime.now(UTC))
        observed.nginx.restart()
        said = observed.exporters["blackbox"].text(module="face_http_2xx", target=target, debug="true")
        assert 'DNS name \\"bank.example\\" is not permitted' in said
        assert "\nprobe_success 0\n" in said
    finally:
        for path, content in own.items():
            path.write_bytes(content)
        observed.nginx.restart()
    found = samples(observed.exporters["blackbox"].text(module="face_http_2xx", target=target))
    assert found["probe_success"] == 1


def test_exporters_listen_on_the_observed_address_alone(observed: Observed) -> None:
    for name, exporter in observed.exporters.items():
        listening = exporter.arguments[0].removeprefix("-").removeprefix("-")
        assert listening == f"web.listen-address=127.0.0.1:{exporter.port}", name
        with pytest.raises(requests.ConnectionError):
            requests.get(f"http://127.0.0.2:{exporter.port}/metrics", timeout=2)


def test_no_secret_is_in_an_argument_or_in_the_environment(observed: Observed) -> None:
    for exporter in observed.exporters.values():
        for file in ("cmdline", "environ"):
            text = Path(f"/proc/{exporter.pid}/{file}").read_text()
            assert passwords()["exporter"] not in text
            assert observed.postgres.password not in text


def test_systemd_reads_the_settings_as_one_line_each(observed: Observed) -> None:
    for name in EXPORTERS:
        lines = (observed.directory / f"{name}.default").read_text().splitlines()
        assert len([line for line in lines if line and not line.startswith("#")]) == len(
            settings(observed.directory / f"{name}.default")
        )


def test_on_several_hosts_they_listen_on_the_private_address(tmp_path: Path) -> None:
    tasks = [defaults(name, tmp_path / f"{name}.default") for name in EXPORTERS]
    done = play(tmp_path / "play", tasks, face_observed_address="10.0.0.7")
    assert done.returncode == 0, done.stdout
    for name in EXPORTERS:
        assert "web.listen-address=10.0.0.7:" in settings(tmp_path / f"{name}.default")["ARGS"]
    assert "--nginx.scrape-uri=http://10.0.0.7:9801/nginx_status" in (tmp_path / "nginx.default").read_text()


@pytest.mark.campaign("the scenarios do it on hosts")
@pytest.mark.skipif(Path("/etc/prometheus").exists(), reason="this machine has Debian's Prometheus")
@pytest.mark.parametrize("enabled", [True, False])
def test_check_mode_on_a_new_host_does_not_fail(enabled: bool, tmp_path: Path) -> None:
    tasks = [{"ansible.builtin.import_role": {"name": role}} for role in ("exporters", "unit_metrics")]
    done = play(tmp_path / "play", tasks, "--check", face_monitoring_enabled=enabled)
    assert done.returncode == 0, done.stdout
    assert ("changed=0 " in done.stdout) != enabled
    assert "WARNING" not in done.stderr


def test_the_metrics_that_rules_and_dashboards_may_name() -> None:
    found = exporter_metric_names()
    wanted = {
        "node": {"node_cpu_seconds_total", "node_filesystem_avail_bytes", "face_unit_oom_kills_total"},
        "redis": {"redis_up", "redis_rdb_last_bgsave_status"},
        "postgres": {"pg_up", "pg_replication_lag_seconds", "pg_stat_database_xact_commit"},
        "nginx": {"nginx_up", "nginx_http_requests_total"},
        "blackbox": {"blackbox_exporter_config_last_reload_successful"},
        "probe": {"probe_success", "probe_duration_seconds", "probe_ssl_earliest_cert_expiry"},
        "prometheus": {
            "prometheus_rule_evaluation_failures_total",
            "prometheus_notifications_errors_total",
            "prometheus_notifications_dropped_total",
            "prometheus_config_last_reload_successful",
        },
        "alertmanager": {
            "alertmanager_notifications_failed_total",
            "alertmanager_config_last_reload_successful",
        },
        "web": {
            "face_recognition_files_uploaded_total",
            "celery_tasks_pending",
            "face_recognition_ledger_photos",
        },
        "celery": {
            "celery_tasks_active",
            "celery_task_duration_seconds_bucket",
            "process_resident_memory_bytes",
        },
        "autoscaler": {"face_autoscaler_desired_workers", "face_autoscaler_decisions_total"},
    }
    missing = {job: metrics - found.get(job, set()) for job, metrics in wanted.items()}
    assert not any(missing.values()), missing
