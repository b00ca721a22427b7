"""What documents, runbooks, alerts and messages name exists: requests, units, variables, metrics, files.

A name that nothing has is red with the file and line that says it. What is known is read from the product.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.monitoring.exporters import exporter_metric_names
from tests.monitoring.test_rules import SHOWN_ELSEWHERE, filters

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Also what people read elsewhere: alerts, dashboards, errors, what site.yml says.
SPOKEN = [
    *PAGES,
    *sorted((ROOT / "files/prometheus/rules").glob("*.yml")),
    *sorted((ROOT / "files/grafana/dashboards").glob("*.json")),
    *sorted((ROOT / "app/face_pipeline").rglob("*.py")),
    *sorted((ROOT / "app/face_pipeline/web/ui").rglob("*.js")),
    *sorted((ROOT / "app/face_pipeline/web/ui").rglob("*.html")),
    *sorted((ROOT / "group_vars").rglob("*.yml")),
    *sorted((ROOT / "roles").glob("*/tasks/*.yml")),
]
UNIT = r"\b([a-z][\w-]*(?:@[\w*%{}]*)?\.(?:service|timer|socket|target|slice))\b"
# What PostgreSQL has of its own, named like metrics.
OF_POSTGRES = {
    "pg_basebackup",
    "pg_current_wal_lsn",
    "pg_hba",
    "pg_is_in_recovery",
    "pg_prewarm",
    "pg_replication_slots",
    "pg_stat_activity",
    "pg_stat_replication",
    "pg_stat_statements",
    "pg_stat_statements_reset",
    "pg_statistic",
    "pg_wal",
}
LONGEST_LINE = 120
TOP = "app|bench|docs|files|group_vars|inventory|molecule|playbooks|requirements|roles|tests"


def mentions(pattern: str, files: list[Path]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(file:line, groups) of every place where `pattern` stands."""
    for file in files:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            for found in re.finditer(pattern, line):
                yield f"{file.relative_to(ROOT)}:{number}", found.groups()


def unknown(pattern: str, files: list[Path], exists: Callable[..., bool]) -> list[str]:
    return [f"{where}: {' '.join(found)}" for where, found in mentions(pattern, files) if not exists(*found)]


@cache
def product_text() -> str:
    """Everything that a host or a process gets, in which a name may be made."""
    directories = ("roles", "playbooks", "group_vars", "app", "files", "inventory")
    return "\n".join(
        path.read_text(encoding="utf-8", errors="ignore")
        for directory in directories
        for path in (ROOT / directory).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    )


@cache
def words() -> set[str]:
    return set(re.findall(r"\w+", product_text()))


@cache
def variables() -> set[str]:
    """Of the product and of each role, as group_vars and argument_specs have them."""
    names: set[str] = set()
    for path in (ROOT / "group_vars/all").glob("*.yml"):
        names |= set(yaml.safe_load(path.read_text()) or {})
    for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"):
        specs = yaml.safe_load(path.read_text())["argument_specs"]
        names |= {name for spec in specs.values() for name in spec.get("options") or {}}
    for path in (ROOT / "roles").glob("*/vars/*.yml"):
        names |= set(yaml.safe_load(path.read_text()) or {})
    return names


@cache
def routes() -> set[tuple[str, str]]:
    """(method, path with {} for each part that varies) of the application and its description."""
    code = (
        "import json; from face_pipeline.web import create_app\n"
        "print(json.dumps([[m, r.rule] for r in create_app().url_map.iter_rules() for m in r.methods]))"
    )
    credentials = Path(os.environ.get("TMPDIR", "/tmp")) / f"documents-{os.getpid()}"
    credentials.mkdir(exist_ok=True)
    for name in ("session_secret", "receipts_key"):
        (credentials / name).write_text("of a test")
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "app"),
            "FACE_ENV_FILE": "/nonexistent",
            "FACE_CREDENTIALS_DIR": str(credentials),
        },
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    for name in ("session_secret", "receipts_key"):
        (credentials / name).unlink()
    credentials.rmdir()
    assert done.returncode == 0, done.stderr
    found = {(method, re.sub("<[^>]+>", "{}", rule)) for method, rule in json.loads(done.stdout)}
    described = json.loads((ROOT / "app/face_pipeline/web/openapi.json").read_text())["paths"]
    return found | {
        (method.upper(), re.sub("{[^}]+}", "{}", path))
        for path, methods in described.items()
        for method in methods
    }


def test_every_request_that_is_named_is_answered() -> None:
    def exists(method: str, path: str) -> bool:
        # A part in capitals, in braces or angles, or an id, stands for any.
        shape = re.sub(r"(?<=/)(\{[^}/]*\}|<[^>/]*>|\$?[A-Z][A-Z_]*|[0-9a-f-]{36})(?=/|$)", "{}", path)
        return (method, shape.split("?")[0].rstrip(".,")) in routes()

    pattern = r"\b(GET|POST|PUT|PATCH|DELETE|HEAD) (/(?:api|health|session|metrics|openapi)[\w/{}<>.?=$-]*)"
    assert unknown(pattern, SPOKEN, exists) == []
    bare = r"()(/api/v1/[\w/{}<>$-]+)"
    paths = {path for _, path in routes()}

    def begins(_: str, path: str) -> bool:
        shape = re.sub(r"(?<=/)(\{[^}/]*\}|<[^>/]*>|\$?[A-Z][A-Z_]*|[0-9a-f-]{36})(?=/|$)", "{}", path)
        return any(each == shape.rstrip("/") or each.startswith(shape) for each in paths)

    assert unknown(bare, PAGES, begins) == []


def test_every_playbook_that_is_named_is_there() -> None:
    assert (
        unknown(r"\b((?:playbooks/[\w/-]+|site)\.yml)\b", SPOKEN, lambda name: (ROOT / name).is_file()) == []
    )


def test_every_unit_that_is_named_is_installed() -> None:
    files = {path.name.removesuffix(".j2") for path in (ROOT / "roles").glob("*/templates/*.j2")}

    def exists(unit: str) -> bool:
        template = re.sub("@[^.]*", "@", unit)
        return template in files or template in product_text() or unit in product_text()

    assert unknown(UNIT, PAGES, exists) == []
    # As systemctl and journalctl take them, without an ending.
    short = (
        {name.rpartition(".")[0] for name in files} | words() | set(re.findall(r"[\w@-]+", product_text()))
    )
    verbs = "start|stop|restart|reload|status|edit|enable|disable"
    typed = rf"(?:journalctl(?: -\w+)*? -u|systemctl (?:{verbs})) '?([a-z][\w@-]*)"
    assert unknown(typed, PAGES, lambda unit: re.sub("@.*", "@", unit) in short or unit in short) == []


@cache
def metrics() -> set[str]:
    shown = {name for each in exporter_metric_names().values() for name in each}
    recorded = set(re.findall(r"record: (\S+)", product_text()))
    told = set(re.findall(r"\b(?:face|celery)_[a-z0-9_]+\b", product_text()))
    return shown | recorded | told | set(SHOWN_ELSEWHERE)


@cache
def services() -> dict[str, Any]:
    text = (ROOT / "group_vars/all/services.yml").read_text()
    table: dict[str, Any] = yaml.safe_load(text)["face_services"]
    return table


def jobs() -> set[str]:
    """What Prometheus asks, by name."""
    return {job["name"] for service in services().values() for job in service.get("jobs", [])}


def test_every_metric_that_is_named_is_shown() -> None:
    ours = "face_(?:recognition|unit|autoscaler|filebeat|logstash)|celery"
    file_or_unit = r"(?![\w.]*\.(?:yml|py|md|json)|[@-])"
    pattern = rf"(?<![\w/.-])((?:{ours}|pg|redis|node|nginx|probe)_[a-z0-9_]+[a-z0-9])\b{file_or_unit}"
    known = metrics()

    def exists(name: str) -> bool:
        whole = re.sub("_(bucket|sum|count|total)$", "", name)
        if name.endswith("_exporter"):
            return name in services()
        return name in known | variables() | OF_POSTGRES | jobs() or whole in known

    in_backticks = [path for path in PAGES if path.name not in {"development.md"}]
    assert unknown(pattern, in_backticks, exists) == []


def test_every_variable_that_is_named_is_read() -> None:
    roles = "|".join(sorted(path.name for path in (ROOT / "roles").iterdir()))
    known = variables()

    def exists(name: str) -> bool:
        return name in known or name.endswith("_") or name in _others()

    assert unknown(r"(?<![\w/.-])(face_[a-z0-9_]+)\b(?![\w.]*\.py)", PAGES, exists) == []
    # A role's own, or what a service calls so: a reason, a user, a setting.
    named = rf"`((?:{roles})_[a-z0-9_]+)`"
    assert unknown(named, PAGES, lambda name: name in known | words() | metrics()) == []


@cache
def _others() -> set[str]:
    """`face_…` that are no variables: metrics and what the application itself calls so."""
    code = "\n".join(path.read_text() for path in (ROOT / "app").rglob("*.py"))
    scripts = "\n".join(path.read_text() for path in (ROOT / "roles").glob("*/files/*.py"))
    named = set(re.findall(r"\bface_[a-z0-9_]+\b", code + scripts))
    series = {
        f"{name}{end}"
        for name in named
        if name.startswith("face_")
        for end in ("", "_bucket", "_sum", "_count")
    }
    autoscaler = set(re.findall(r'"(\w+)", "[A-Z1]', code))
    return (
        series | {f"face_autoscaler_{name}" for name in autoscaler} | metrics() | {"face_monitor", "face_id"}
    )


def test_every_file_of_the_repository_that_is_named_is_there() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    places = set(listed) | {str(parent) for name in listed for parent in Path(name).parents}

    def exists(name: str) -> bool:
        name = name.rstrip("/.")
        # Made by site.yml beside the inventory.
        if re.search(r"(^|/)secrets(/|$)", name):
            return Path(name).name in product_text()
        # An operator's own, made after the example.
        if name.replace(".yml", ".example.yml") in places:
            return True
        if re.search(r"[*{<]|YOUR|my-", name):
            return bool(list(ROOT.glob(re.sub(r"[{<][^}>]*[}>]", "*", name)))) or "my-" in name
        return name in places or (ROOT / "app" / name).exists()

    assert unknown(rf"(?<![\w/.-])((?:{TOP})/[\w./*{{}}<>-]*[\w*}}>])", PAGES, exists) == []


def test_no_line_of_a_page_is_longer_than_a_screen() -> None:
    """Tables, commands and examples included: there is no exception."""
    assert list(mentions(rf"^(.{{{LONGEST_LINE + 1},}})$", PAGES)) == []


def headings(page: Path) -> set[str]:
    """The anchors that a forge makes of a page's headings."""
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", each.lower()).strip().replace(" ", "-") for each in found}


def test_every_link_leads_somewhere() -> None:
    broken = []
    for page in PAGES:
        for where, (link,) in mentions(r"\]\(([^)\s]+)\)", [page]):
            if re.match(r"https?://|mailto:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and target.suffix == ".md" and anchor not in headings(target)):
                broken.append(f"{where}: {link}")
    assert broken == []


def test_every_command_of_ours_that_is_named_exists() -> None:
    from face_pipeline.cli.front import every_command

    known = set(every_command())
    pattern = r"(?:^ {4}|`|runuser[^\n]*-- )face-pipeline ([a-z][a-z-]+)"
    assert unknown(pattern, SPOKEN, lambda name: name in known) == []


def test_every_alert_that_a_page_names_exists() -> None:
    known = filters.alert_defaults(
        [f.read_text() for f in sorted((ROOT / "files/prometheus/rules").glob("*.yml"))]
    )
    pages = r"runbooks/([A-Z]\w+)\.md"
    assert unknown(pages, SPOKEN, lambda name: name in known or name in {"README", "Own"}) == []
