"""Several web hosts: what each is told of the others, who may ask whom, and which inventories are refused."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from tests.ansible.test_copies_role import HOSTS, played
from tests.hardening import ROOT, drop_in
from tests.order import in_campaign

# `front` and `both` are web hosts, the latter has workers, too, as `keeper` does, which is nothing else.
WEB = ["both", "front"]
GROUPS = {
    **dict.fromkeys(("proxy", "web"), WEB),
    **{group: ["front"] for group in ("postgres", "redis", "monitoring")},
    "workers": ["both", "keeper"],
}
NAMES = "{{ nginx_own_names | sort | join(' ') }}"
TASKS: list[dict[str, Any]] = [
    {"ansible.builtin.template": {"src": f"{ROOT}/roles/{source}", "dest": f"{{{{ made }}}}-{name}"}}
    for name, source in (
        ("env", "app/templates/face-pipeline.env.j2"),
        ("worker", "worker/templates/celery@.service.j2"),
        ("originals", "nginx/templates/face-originals.conf.j2"),
    )
]
TASKS += [
    {"ansible.builtin.copy": {"content": NAMES, "dest": "{{ made }}-names"}},
    {
        "ansible.builtin.template": {
            "src": f"{ROOT}/roles/prometheus/templates/prometheus.yml.j2",
            "dest": "{{ made }}-prometheus",
        }
    },
]
SECRETS = {"nginx_tokens": ["token"], "nginx_without_tls": False}
# What the roles' own files need, which the test does not read.
ROLES = ("nginx", "worker", "prometheus")


@cache
def written(store: str = "disk") -> dict[str, str]:
    """HOST-FILE -> its text."""
    with TemporaryDirectory(prefix="several-web-") as name:
        directory = Path(name)
        made = f"{directory}/{{{{ inventory_hostname }}}}"
        files = {
            key: value
            for role in ROLES
            for part in ("defaults", "vars")
            if (path := ROOT / "roles" / role / part / "main.yml").exists()
            for key, value in yaml.safe_load(path.read_text()).items()
        }
        facts = {
            "memtotal_mb": 8000, "processor_nproc": 2, "fqdn": "{{ inventory_hostname }}.site",
            "hostname": "{{ inventory_hostname }}", "default_ipv4": {"address": "{{ face_private_address }}"},
            "distribution": "Debian", "distribution_major_version": "13",
        }  # fmt: skip
        given = {**files, **SECRETS, "ansible_facts": facts, "face_originals_store": store}
        if store == "s3":
            given["face_originals_s3"] = {
                "endpoint": "s3.site", "bucket": "b", "region": "r", "path": "/", "key_id": "k",
                "addresses": ["10.0.0.9"],
            }  # fmt: skip
        tasks = [*TASKS, drop_in("copies", f"{made}-filter")]
        status, said = played(directory, tasks, GROUPS, made=made, ansible_managed="made", **given)
        assert status == 0, said
        return {path.name: path.read_text() for path in directory.iterdir() if "-" in path.name}


def told(host: str, store: str = "disk") -> dict[str, str]:
    lines = written(store)[f"{host}-env"].splitlines()
    return dict(line.split("=", 1) for line in lines if line.startswith("FACE_"))


def test_each_web_host_sends_copies_to_the_other_and_takes_its_own() -> None:
    for host, other in (WEB, WEB[::-1]):
        asked = told(host)
        url = f"https://{HOSTS[other]}:9803"
        assert (asked["FACE_COPIES_URLS"], asked["FACE_COPIES_WEB_URLS"]) == (url, url)
        assert asked["FACE_COPIES_OWN_URL"] == f"https://{HOSTS[host]}:9803"
        assert asked["FACE_COPIES_REQUIRED"] == "2"
    assert not any(name.startswith("FACE_COPIES") for name in told("keeper"))


def test_workers_read_from_any_web_host_and_those_of_a_web_host_their_disk_first() -> None:
    urls = [f"https://{HOSTS[host]}:9802/originals" for host in WEB]
    assert told("keeper")["FACE_ORIGINALS_URL"] == " ".join(urls)
    assert told("both")["FACE_ORIGINALS_URL"] == ""
    assert told("both")["FACE_ORIGINALS_ELSEWHERE"] == urls[1]
    for host in ("both", "keeper"):
        assert "LoadCredential=originals_token:" in written()[f"{host}-worker"]
    allowed = [line.split()[1] for line in written()["front-originals"].splitlines() if " allow " in line]
    assert allowed == [f"{HOSTS[host]};" for host in ("both", "keeper")]


def test_copies_are_asked_by_web_hosts_alone() -> None:
    allowed = [line for line in written()["both-filter"].splitlines() if line.startswith("IPAddressAllow=")]
    assert allowed[2:] == [f"IPAddressAllow={HOSTS[host]}" for host in WEB]


def test_all_go_by_the_same_names_so_that_one_certificate_is_that_of_all() -> None:
    names = written()["front-names"].split()
    # The host's own facts are no one else's here.
    assert set(names) - {"front.site"} == set(written()["both-names"].split()) - {"both.site"}
    assert {"front", "both", *(HOSTS[host] for host in WEB)} <= set(names)
    assert "keeper" not in names


def test_prometheus_asks_each_for_the_public_name() -> None:
    (probe,) = [
        each
        for each in yaml.safe_load(written()["front-prometheus"])["scrape_configs"]
        if each["job_name"] == "probe"
    ]
    ready = [
        each["labels"] for each in probe["static_configs"] if each["labels"]["target"] == "/health/ready"
    ]
    assert {each["host"]: each["__param_target"] for each in ready} == {
        host: f"https://{HOSTS[host]}:443/health/ready" for host in WEB
    }
    assert {each["__param_hostname"] for each in ready} == {"front"}


def test_a_store_needs_none_of_it() -> None:
    for host in WEB:
        asked = told(host, "s3")
        assert asked["FACE_ORIGINALS_STORE"] == "s3"
        assert asked["FACE_ORIGINALS_URL"] == ""
        assert not any(name.startswith(("FACE_COPIES", "FACE_ORIGINALS_ELSEWHERE")) for name in asked)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"face_originals_before": "s3"}, "face_originals_before has to be empty"),
        *in_campaign(
            "other settings take the same way",
            ({}, ""),
            (
                {"face_upload_max_bytes": "{{ 5 if inventory_hostname == 'both' else 6 }}"},
                "these differ between them, and each has to be the same on all: face_upload_max_bytes",
            ),
        ),
    ],
)
def test_what_several_web_hosts_cannot_have_is_refused(
    tmp_path: Path, given: dict[str, Any], words: str
) -> None:
    tasks = yaml.safe_load((ROOT / "roles/preflight/tasks/inventory.yml").read_text())
    checks = [task for task in tasks if task["name"] == "Check what several web hosts cannot have yet"]
    status, said = played(tmp_path, checks, GROUPS, **given)
    assert (status == 0) == (not words), said
    assert words in said
