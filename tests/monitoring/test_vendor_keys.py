"""Keys and package repositories of vendors: what becomes of them on a host, and what its user is told.

Real keys and repositories, made here; apt of this machine, and that of Debian 13, which checks with sqv.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.monitoring.test_grafana_role import STANDIN, needs_apt, play
from tests.services.process import ROOT as CONTAINED
from tests.services.process import free_port

ROOT = Path(__file__).resolve().parents[2]
needs_debian_13 = pytest.mark.skipif(
    os.geteuid() != 0 or not (CONTAINED / ".complete").exists(),
    reason="needs root and tests/services/prepare's Debian 13",
)


def keyring(
    url: str, fingerprint: str, target: Path, *options: str, vendor: str = "grafana", **environment: str
) -> subprocess.CompletedProcess[str]:
    script = str(ROOT / "roles/vendor/files/keyring.py")
    command = [
        sys.executable,
        script,
        vendor,
        url,
        fingerprint,
        "--timeout=3",
        f"--install={target}",
        *options,
    ]
    given = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=given)


def build(directory: Path, *digest: str) -> tuple[Path, str]:
    command = [
        sys.executable,
        str(STANDIN / "build_repository.py"),
        str(directory),
        "12.2.1+standin1",
        *digest,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return directory, done.stdout.strip()


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, str]]:
    """Two repositories with the same stand-in, each signed with a key of its own."""
    base = tmp_path_factory.mktemp("repositories")
    return [build(base / "one"), build(base / "two")]


@pytest.fixture(scope="module")
def old_fashioned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """One whose key vouches for itself with SHA-1, as gpg made them for long."""
    return build(tmp_path_factory.mktemp("repositories") / "old", "SHA1")


@pytest.fixture
def debian_13(tmp_path: Path) -> Path:
    """A directory for PATH whose apt-get is that of Debian 13, in a copy that sees the test's directory."""
    made = tmp_path / "debian13"
    made.mkdir()
    enter = f"{ROOT}/tests/services/enter {CONTAINED} root {tmp_path}"
    unshare = "unshare --mount --pid --fork --kill-child=KILL --propagation private --"
    (made / "apt-get").write_text(f'#!/bin/sh\nexec {unshare} {enter} /usr/bin/apt-get "$@"\n')
    (made / "apt-get").chmod(0o755)
    return made


@needs_apt
def test_one_key_of_several_becomes_the_keyring(repositories: list[tuple[Path, str]], tmp_path: Path) -> None:
    (one, first), (two, second) = repositories
    both = tmp_path / "both.key"
    both.write_text((one / "gpg-full.key").read_text() + (two / "gpg-full.key").read_text())
    target = tmp_path / "keyrings" / "face-grafana.gpg"
    assert keyring(f"file://{both}", second.lower(), target).stdout == "changed\n"
    assert keyring(f"file://{both}", second, target).stdout == ""
    assert target.stat().st_mode & 0o777 == 0o644
    command = ["gpg", "--homedir", str(tmp_path), "--with-colons", "--show-keys", str(target)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split(":")[9] for line in shown if line.startswith("fpr:")] == [second]
    assert first != second


@needs_apt
def test_a_wrong_or_absent_key_is_one_line_that_says_what_to_do(
    repositories: list[tuple[Path, str]], tmp_path: Path
) -> None:
    (one, first), (_, second) = repositories
    text = tmp_path / "page.html"
    text.write_text("<html>Sign in to the network</html>")
    for url, words in (
        (f"file://{one}/gpg-full.key", f"holds the key {first}, not {second}"),
        (f"file://{one}/none.key", "cannot be fetched"),
        (f"http://user:secret@127.0.0.1:{free_port()}/key", "set face_elastic_key_url"),
        (f"file://{text}", "holds no OpenPGP key"),
    ):
        answer = keyring(url, second, tmp_path / "keyring.gpg", vendor="elastic")
        assert answer.returncode == 1
        assert words in answer.stderr
        assert answer.stderr.count("\n") == 1
        assert "secret" not in answer.stderr
    assert not (tmp_path / "keyring.gpg").exists()


@needs_apt
@needs_debian_13
def test_a_key_that_debian_13_refuses_is_one_line_that_says_which_digest_and_what_to_do(
    old_fashioned: tuple[Path, str], debian_13: Path, tmp_path: Path
) -> None:
    repository, fingerprint = old_fashioned
    shutil.copytree(repository, tmp_path / "repository")
    here = f"file://{tmp_path}/repository"
    apt = {"PATH": f"{debian_13}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    target = tmp_path / "keyring.gpg"
    answer = keyring(
        f"{here}/gpg-full.key", fingerprint, target, f"--repository={here}", vendor="elastic", **apt
    )
    assert answer.returncode == 1
    assert answer.stderr.count("\n") == 1
    for words in (
        f"apt refuses the package repository of Elastic, {here}",
        f"its key {fingerprint} vouches for itself with SHA-1 alone",
        "SHA1 is not considered secure since 2026-02-01",
        "set face_elastic_key_url to the key as its owner signed it anew",
        "face_elastic_key_fingerprint to a mirror with its own key",
        "or face_logging_enabled to false",
    ):
        assert words in answer.stderr
    assert not target.exists()


@needs_apt
@needs_debian_13
def test_debian_13_takes_a_key_of_sha_512_and_says_why_it_does_not_take_another(
    repositories: list[tuple[Path, str]], debian_13: Path, tmp_path: Path
) -> None:
    (one, first), (two, _) = repositories
    shutil.copytree(one, tmp_path / "one")
    shutil.copytree(two, tmp_path / "two")
    apt = {"PATH": f"{debian_13}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    key, target = f"file://{tmp_path}/one/gpg-full.key", tmp_path / "keyring.gpg"
    refused = keyring(key, first, target, f"--repository=file://{tmp_path}/two", **apt)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "apt refuses the package repository of Grafana" in refused.stderr
    assert "(apt: Missing key" in refused.stderr
    assert "SHA-1" not in refused.stderr
    assert (
        "set face_grafana_repository to a mirror that apt trusts, or face_grafana_enabled to false"
        in refused.stderr
    )
    assert keyring(key, first, target, f"--repository=file://{tmp_path}/one", **apt).stdout == "changed\n"


@needs_apt
def test_an_apt_that_still_takes_sha_1_takes_the_key_and_its_user_is_warned(
    old_fashioned: tuple[Path, str], tmp_path: Path
) -> None:
    if shutil.which("sqv"):
        pytest.skip("this machine's apt checks with sqv")
    repository, fingerprint = old_fashioned
    answer = keyring(
        f"file://{repository}/gpg-full.key",
        fingerprint,
        tmp_path / "keyring.gpg",
        f"--repository=file://{repository}",
    )
    assert (answer.returncode, answer.stdout) == (0, "changed\nweak SHA-1\n"), answer.stderr


@needs_apt
def test_apt_takes_the_pinned_version_with_that_key_and_no_other(
    repositories: list[tuple[Path, str]], tmp_path: Path
) -> None:
    (one, first), (two, _) = repositories
    written = tmp_path / "face-grafana.sources"
    source = str(ROOT / "roles/vendor/templates/vendor.sources.j2")
    done = play(
        tmp_path / "play",
        [{"ansible.builtin.template": {"src": source, "dest": str(written)}}],
        vendor_suite="stable",
        vendor_repository="https://apt.grafana.com",
        vendor_keyring="/etc/apt/keyrings/face-grafana.gpg",
    )
    assert done.returncode == 0, done.stdout
    target = tmp_path / "one.gpg"
    assert keyring(f"file://{one}/gpg-full.key", first, target).returncode == 0
    parts = tmp_path / "sources"
    for directory in (parts, tmp_path / "state/lists/partial", tmp_path / "cache/archives/partial"):
        directory.mkdir(parents=True)
    template = written.read_text()
    assert "Signed-By: /etc/apt/keyrings/face-grafana.gpg\n" in template
    named = template.replace("/etc/apt/keyrings/face-grafana.gpg", str(target))
    options = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": parts,
        "Dir::State": tmp_path / "state",
        "Dir::State::status": "/var/lib/dpkg/status",
        "Dir::Cache": tmp_path / "cache",
        "APT::Sandbox::User": "root",
        "APT::Update::Error-Mode": "any",
    }

    def apt(*words: str) -> subprocess.CompletedProcess[str]:
        given = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        return subprocess.run(
            ["apt-get", *given, *words], capture_output=True, text=True, cwd=tmp_path, check=False
        )

    def use(repository: Path) -> subprocess.CompletedProcess[str]:
        text = "".join(
            f"URIs: file://{repository}\n" if line.startswith("URIs:") else f"{line}\n"
            for line in named.splitlines()
        )
        (parts / "face-grafana.sources").write_text(text)
        return apt("update")

    refused = use(two)
    assert refused.returncode != 0
    # gpgv says the one, sqv the other.
    assert any(words in refused.stderr for words in ("NO_PUBKEY", "Missing key"))
    assert use(one).returncode == 0
    assert apt("download", "grafana=12.2.2").returncode != 0
    fetched = apt("download", "grafana=12.2.1+standin1")
    assert fetched.returncode == 0, fetched.stderr
    deb = next(tmp_path.glob("grafana_*.deb"))
    told = subprocess.run(["dpkg-deb", "--info", deb], capture_output=True, text=True, check=True).stdout
    assert "Description: STAND-IN" in told


def check(tmp_path: Path, repository: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    tasks = [{"ansible.builtin.import_role": {"name": "grafana", "tasks_from": "check"}}]
    facts = {"python": {"executable": sys.executable}}
    given = {
        "face_grafana_repository": repository,
        "vendor_timeout": 2,
        "ansible_facts": facts,
        **variables,
    }
    return play(tmp_path, tasks, **given)


@pytest.mark.campaign("it waits for repositories that are away")
@needs_apt
def test_the_preflight_names_repository_and_variables_where_it_is_away_or_not_trusted(
    repositories: list[tuple[Path, str]], tmp_path: Path
) -> None:
    (one, first), (two, second) = repositories
    there = check(tmp_path, f"file://{one}", face_grafana_key_fingerprint=first)
    assert there.returncode == 0, there.stdout
    away = f"127.0.0.1:{free_port()}"
    assert check(tmp_path, f"http://{away}", face_grafana_enabled=False).returncode == 0
    for repository, variables, words in (
        (
            f"http://user:secret@{away}",
            {},
            f"clu1: the package repository of Grafana, http://{away}, does not answer (Could not connect to",
        ),
        (f"file://{one}", {"face_grafana_key_fingerprint": second}, f"holds the key {first}, not {second}"),
        (
            f"file://{one}",
            {
                "face_grafana_key_url": f"file://{two}/gpg-full.key",
                "face_grafana_key_fingerprint": second,
            },
            f"clu1: apt refuses the package repository of Grafana, file://{one}",
        ),
    ):
        refused = check(tmp_path, repository, **variables)
        assert refused.returncode == 2, refused.stdout
        told = " ".join(refused.stdout.split())
        assert words in told
        assert "set face_grafana_" in told
        assert "secret" not in told
        if "does not" in words or "refuses" in words:
            assert "or face_grafana_enabled to false" in told


@needs_apt
@needs_debian_13
def test_debian_13_takes_key_repository_and_package_and_purges_it_whole(
    repositories: list[tuple[Path, str]], tmp_path: Path
) -> None:
    """By its own apt, which checks signatures with sqv and has neither gpg nor gpgv."""
    repository, fingerprint = repositories[0]
    assert keyring(f"file://{repository}/gpg-full.key", fingerprint, tmp_path / "key.gpg").returncode == 0
    shutil.copytree(repository, tmp_path / "repository")
    lines = ("Types: deb", f"URIs: file:{tmp_path}/repository", "Suites: stable", "Components: main")
    named = "\n".join([*lines, f"Signed-By: {tmp_path}/key.gpg\n"])
    (tmp_path / "face-grafana.sources").write_text(named)
    # That root has no Python, and a chroot no systemd: the package is unpacked and configured, not started.
    script = """
        set -e
        apt-get update -qq -o APT::Update::Error-Mode=any -o APT::Sandbox::User=root \\
          -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=$1
        apt-get download -qq -o APT::Sandbox::User=root \\
          -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=$1 grafana=12.2.1+standin1
        dpkg --force-depends --install grafana_*.deb >/dev/null
        echo grafana hold | dpkg --set-selections
        stat -c '%n %U:%G %a' /etc/grafana/grafana.ini /etc/grafana/provisioning/datasources /var/lib/grafana
        dpkg-query --show --showformat '${db:Status-Want} ${db:Status-Status} ${Version}\\n' grafana
        dpkg --force-hold --purge grafana >/dev/null
        dpkg-query --show grafana || true
    """
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--propagation", "private", "--"]
    inside = ["sh", "-c", f"cd /tmp && {script.strip()}", "sh", str(tmp_path)]
    enter = [str(ROOT / "tests/services/enter"), str(CONTAINED), "root", str(tmp_path)]
    done = subprocess.run([*command, *enter, *inside], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "/etc/grafana/grafana.ini root:grafana 640",
        "/etc/grafana/provisioning/datasources root:grafana 755",
        "/var/lib/grafana grafana:grafana 755",
        "hold installed 12.2.1+standin1",
    ]
    assert "no packages found matching grafana" in done.stderr
