"""Secrets of an installation, as JSON: make_secrets.py DIRECTORY. What is not there yet is made."""

import json
import os
import secrets
import string
import sys
from pathlib import Path

ALPHABET = string.ascii_letters + string.digits
# Prefix and random characters of each; the prefix lets scanners for leaked keys know one.
SECRETS = {
    "database_password": ("", 40),
    "database_password_web": ("", 40),
    "database_password_worker": ("", 40),
    "database_password_upkeep": ("", 40),
    "database_password_hooks": ("", 40),
    "database_password_autoscaler": ("", 40),
    "redis_password_web": ("", 40),
    "redis_password_worker": ("", 40),
    "redis_password_upkeep": ("", 40),
    "redis_password_autoscaler": ("", 40),
    "redis_password_hooks": ("", 40),
    "redis_password_flower": ("", 40),
    "redis_password_exporter": ("", 40),
    "redis_password_operator": ("", 40),
    "session_secret": ("", 64),
    "admin_api_key": ("fp_", 40),
    "originals_token": ("", 40),
    "hooks_key": ("", 64),
    "receipts_key": ("", 64),
    "backup_database_key": ("", 64),
    "backup_files_key": ("", 64),
    "flower_password": ("", 40),
    "grafana_password": ("", 32),
    "grafana_secret_key": ("", 40),
    "monitoring_grafana_password": ("", 40),
    "monitoring_nginx_password": ("", 40),
    "monitoring_operator_password": ("", 40),
    "monitoring_prometheus_password": ("", 40),
    "monitoring_web_password": ("", 40),
    "elastic_password": ("", 40),
    "kibana_system_password": ("", 40),
    "logstash_writer_password": ("", 40),
    "elasticsearch_exporter_password": ("", 40),
    "grafana_elasticsearch_password": ("", 40),
    "logs_reader_password": ("", 32),
    "kibana_saved_objects_key": ("", 40),
    "kibana_security_key": ("", 40),
    "kibana_reporting_key": ("", 40),
}


def read_or_make(path: Path, prefix: str, length: int) -> str:
    if not path.exists():
        value = prefix + "".join(secrets.choice(ALPHABET) for _ in range(length))
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(value + "\n")
        try:
            # Not replace(): of two runs at once, the first one's secret stays.
            os.link(temporary, path)
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return path.read_text(encoding="utf-8").strip()


def main(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    print(json.dumps({name: read_or_make(directory / name, *shape) for name, shape in SECRETS.items()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
