"""Secrets of an installation, as JSON: make_secrets.py DIRECTORY. What is not there yet is made.

A secret NAME is rotated in steps, each of which may be done again where it broke off:

    make_secrets.py DIRECTORY next NAME ...    a new value of each beside the one in use: NAME.next
    make_secrets.py DIRECTORY promote          each NAME.next is in use; what was is NAME.before
    make_secrets.py DIRECTORY forget           each NAME.before goes

The JSON holds them under these names too.
"""

import argparse
import json
import os
import secrets
import string
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
    "database_password_reembed": ("", 40),
    "database_password_replicator": ("", 40),
    "patroni_rewinder_password": ("", 40),
    "patroni_password": ("", 40),
    "redis_password_web": ("", 40),
    "redis_password_worker": ("", 40),
    "redis_password_upkeep": ("", 40),
    "redis_password_autoscaler": ("", 40),
    "redis_password_hooks": ("", 40),
    "redis_password_flower": ("", 40),
    "redis_password_exporter": ("", 40),
    "redis_password_keepalived": ("", 40),
    "redis_password_operator": ("", 40),
    "session_secret": ("", 64),
    "admin_api_key": ("fp_", 40),
    "originals_token": ("", 40),
    "copies_token": ("", 40),
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


NEXT, BEFORE = ".next", ".before"


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


def values(directory: Path) -> dict[str, str]:
    """All secrets by name, made where they are not there, and those of a rotation that goes on."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = {name: read_or_make(directory / name, *shape) for name, shape in SECRETS.items()}
    for suffix in (NEXT, BEFORE):
        for path in _marked(directory, suffix):
            made[path.name] = path.read_text(encoding="utf-8").strip()
    return made


def prepare(directory: Path, names: list[str]) -> None:
    """Make a new value of each of `names` beside the one in use."""
    for name in names:
        read_or_make(directory / (name + NEXT), *SECRETS[name])


def promote(directory: Path) -> None:
    """Let each new value be the one in use; what was in use stays beside it."""
    for path in _marked(directory, NEXT):
        used = path.with_suffix("")
        before = used.with_name(used.name + BEFORE)
        # There already where the last run broke off between the two.
        if not before.exists():
            os.link(used, before)
        path.replace(used)


def forget(directory: Path) -> None:
    """Remove the values that were in use before the last rotation."""
    for path in _marked(directory, BEFORE):
        path.unlink()


def _marked(directory: Path, suffix: str) -> list[Path]:
    return [path for name in SECRETS if (path := directory / (name + suffix)).exists()]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    steps = parser.add_subparsers(dest="step")
    steps.add_parser("next").add_argument("names", nargs="+", choices=SECRETS, metavar="NAME")
    steps.add_parser("promote")
    steps.add_parser("forget")
    options = parser.parse_args()
    if options.step == "next":
        prepare(options.directory, options.names)
    elif options.step == "promote":
        promote(options.directory)
    elif options.step == "forget":
        forget(options.directory)
    else:
        print(json.dumps(values(options.directory)))


if __name__ == "__main__":
    main()
