"""Nothing that a role brings to a host is forgotten when the installation goes, and nothing else goes."""

from __future__ import annotations

import fnmatch
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ansible.test_worker_playbooks import Workers
from tests.services.process import ROOT as SERVERS

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(
    path.name
    for path in (ROOT / "roles").iterdir()
    # The first makes hosts; the others read, or are removed here.
    if path.name not in {"machine", "status", "uninstall"}
)
PROGRAM = ROOT / "roles/uninstall/files/uninstall.py"
spec = importlib.util.spec_from_file_location("uninstall", PROGRAM)
assert spec
assert spec.loader
uninstall = importlib.util.module_from_spec(spec)
spec.loader.exec_module(uninstall)

KNOWN = {
    "face_home": "/opt/face-pipeline",
    "face_releases_dir": "/opt/face-pipeline/releases",
    "face_current": "/opt/face-pipeline/current",
    "face_config_dir": "/etc/face-pipeline",
    "face_credentials_dir": "/etc/face-pipeline/credentials",
    "face_tls_dir": "/etc/face-pipeline/tls",
    "face_data_dir": "/var/lib/face-pipeline",
    "face_originals_dir": "/var/lib/face-pipeline/originals",
    "face_models_dir": "/var/lib/face-pipeline/models",
    "face_before_note": "/var/lib/face-pipeline/before.json",
    "face_metrics_dir": "/var/lib/prometheus/metrics2",
    "face_elasticsearch_data_dir": "/var/lib/elasticsearch",
    "face_postgres_version": "17",
}
# What roles name and do not bring: it is the system's or a package's, or goes when it is empty.
OTHERS = [
    "/etc/ansible", "/etc/apt", "/etc/apt/apt.conf.d", "/etc/apt/keyrings", "/etc/apt/preferences.d",
    "/etc/apt/sources.list", "/etc/apt/sources.list.d", "/etc/debian_version", "/etc/default/*",
    "/etc/machine-id",
    "/etc/modprobe.d", "/etc/modules-load.d", "/etc/needrestart/conf.d", "/etc/nftables.conf", "/etc/nvidia*",
    "/etc/os-release", "/etc/pip.conf", "/etc/postgresql*", "/etc/resolv.conf", "/etc/ssh/*", "/etc/ssl/*",
    "/etc/sysctl.d", "/etc/systemd", "/etc/systemd/journald.conf.d", "/etc/systemd/system",
    "/etc/systemd/system/*.service.d", "/etc/tmpfiles.d", "/opt", "/usr/local/bin", "/usr/local/lib",
    "/usr/local/sbin", "/var/cache/*", "/var/lib", "/var/lib/apt*", "/var/lib/dkms*", "/var/lib/dpkg*",
    "/var/lib/postgresql", "/var/lib/systemd*", "/var/log", "/var/log/journal*", "/var/spool", "/var/tmp*",
]  # fmt: skip
PATH = re.compile(r"(?<![\w.}\])/-])/(?:etc|var|opt|usr/local)(?:/[^\s\"'`,;:|)(\]\[<>{}=]*)?")


def named() -> list[str]:
    """All patterns of vars/main.yml, with the paths of an installation that changed none."""
    text = (ROOT / "roles/uninstall/vars/main.yml").read_text(encoding="utf-8")
    values = yaml.safe_load(resolved(text))
    found = [
        *values["uninstall_data"], *values["uninstall_files"], *values["uninstall_directories"],
        *(path for each in values["uninstall_leftovers"] for path in each["paths"]),
        *(each["file"] for each in values["uninstall_edits"]),
        KNOWN["face_before_note"],
    ]  # fmt: skip
    return [path for path in found if path not in {"/etc/systemd/system/*.d", "/etc/systemd/system/*.wants"}]


def resolved(text: str) -> str:
    for name, value in KNOWN.items():
        text = re.sub(r"\{\{ *" + name + r" *\}\}", value, text)
    return text


def written(role: str) -> Iterator[tuple[str, str]]:
    """Each path that a role's tasks, handlers, variables and templates name, and in which file."""
    for part in ("tasks", "handlers", "vars", "defaults", "templates", "files"):
        for path in sorted((ROOT / "roles" / role / part).glob("**/*")):
            if path.is_dir() or path.suffix in {".jpg", ".asc"}:
                continue
            text = resolved(path.read_text(encoding="utf-8"))
            lines = [line for line in text.splitlines() if not line.lstrip().startswith(("#", '"""'))]
            for found in PATH.findall("\n".join(lines)):
                yield found.rstrip("/.\\$*"), str(path.relative_to(ROOT))


def covered(path: str, patterns: list[str]) -> bool:
    """Is it, or a directory above it, named? What ends in a variable may be named more closely."""
    parts = Path(path).parts
    ups = ["/".join(parts[: count + 1]).replace("//", "/") for count in range(1, len(parts))]
    return any(fnmatch.fnmatch(up, pattern) for up in ups for pattern in patterns) or any(
        pattern.startswith(f"{path}/") and pattern.count("/") == path.count("/") + 1 for pattern in patterns
    )


@pytest.mark.parametrize("role", ROLES)
def test_each_file_of_a_role_goes_with_the_installation(role: str) -> None:
    patterns = named()
    lacking = sorted(
        {
            f"{path} ({where})"
            for path, where in written(role)
            if not covered(path, patterns) and not any(fnmatch.fnmatch(path, each) for each in OTHERS)
        }
    )
    assert not lacking, "\n".join(["name it in roles/uninstall/vars/main.yml:", *lacking])


def test_each_unit_of_a_role_goes_with_the_installation() -> None:
    kinds = "service|timer|socket|path|target|slice"
    units = [
        path.name.removesuffix(".j2")
        for path in (ROOT / "roles").glob("*/templates/*.j2")
        if re.search(rf"\.({kinds})\.j2$", path.name) and path.parent.parent.name != "machine"
    ]
    assert len(units) > 20
    patterns = named()
    lacking = [unit for unit in units if not covered(f"/etc/systemd/system/{unit}", patterns)]
    assert not lacking


def test_backups_and_what_restores_put_aside_are_no_files_of_a_role() -> None:
    patterns = named()
    for drill in ("/var/lib/postgresql/face-drill", "/var/lib/face-backup/drill-1",
                  "/etc/systemd/system/face-backup-drill.timer"):  # fmt: skip
        assert covered(drill, patterns), drill
    values = yaml.safe_load(resolved((ROOT / "roles/uninstall/vars/main.yml").read_text(encoding="utf-8")))
    for data in ("/var/lib/postgresql/17/main.before-2026", "/var/lib/face-pipeline/originals/.before-2026"):
        assert covered(data, values["uninstall_data"]), data
        assert not covered(data, values["uninstall_files"]), data


# The program on a tree of its own

BLOCK = r"^# BEGIN face[^\n]*\n(?:.*\n)*?# END face[^\n]*\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("data/originals/a.jpg", "data/state/x", "etc/face/key", "etc/other", "repository/copy"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    (tmp_path / "etc/theirs.conf").write_text("one\n# BEGIN face pipeline\nours\n# END face pipeline\ntwo\n")
    return tmp_path


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A disk that is mounted, and holds nothing."""
    directory = tmp_path / "disk"
    directory.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root mounts")
    subprocess.run(["mount", "-t", "tmpfs", "face-test", directory], check=True)
    yield directory
    subprocess.run(["umount", directory], check=True)


def asked(tree: Path, **changed: Any) -> dict[str, Any]:
    wanted = {
        "data": "keep", "anyway": False, "note": f"{tree}/data/before.json", "databases": ["face"],
        "data_paths": [f"{tree}/data/originals"], "data_users": [],
        "files": [f"{tree}/etc/face", f"{tree}/data/state", f"{tree}/data", f"{tree}/repository"],
        "leftovers": [], "directories": [f"{tree}/data"],
        "edits": [{"file": f"{tree}/etc/theirs.conf", "lines": BLOCK}],
        "packages": "face-no-such-package", "users": [], "units": "face-no-such-unit",
        "backups": [f"{tree}/repository"],
    }  # fmt: skip
    return wanted | changed


def look(wanted: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "look"],
        input=json.dumps(wanted), capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_what_is_shown_first_leaves_data_and_backups_out(tree: Path) -> None:
    found = look(asked(tree))
    removed = [line for line in found["done"] if line.startswith("remove ")]
    assert removed == [f"remove {tree}/data/state", f"remove {tree}/etc/face"]
    assert f"data: {tree}/data/originals" in found["stays"]
    assert f"backups: {tree}/repository" in found["stays"]
    assert (tree / "etc/face/key").exists(), "a look changes nothing"


def test_data_goes_where_somebody_asks_for_it_and_backups_never(tree: Path) -> None:
    found = look(asked(tree, data="remove"))
    assert f"remove {tree}/data/originals" in found["done"]
    assert f"remove {tree}/repository" not in found["done"]


def test_only_our_lines_go_from_a_file_of_others(tree: Path) -> None:
    (edit,) = asked(tree)["edits"]
    assert uninstall.Host.edited(edit) == "one\ntwo\n"
    (tree / "etc/theirs.conf").write_text("one\ntwo\n")
    assert uninstall.Host.edited(edit) is None


def test_packages_stay_where_nobody_noted_which_were_there_before(tree: Path) -> None:
    host = uninstall.Host(asked(tree, packages="bash"))
    assert host.packages() == []
    assert any("perhaps there before" in line and "bash" in line for line in host.stays())
    (tree / "data/before.json").write_text(json.dumps({"known": True, "packages": ["bash"], "manual": []}))
    host = uninstall.Host(asked(tree, packages="bash|dash"))
    assert host.packages() == ["dash"]


def test_nothing_happens_before_somebody_says_yes(tmp_path: Path) -> None:
    site = Workers(tmp_path, {"w1": {"ansible_connection": "local"}})
    done = site.play("uninstall")
    assert done.returncode == 2
    assert "add -e yes=true where there is no terminal; nothing was changed" in done.stdout
    done = site.play("uninstall", "-e", "yes=true", "-e", "data=all")
    assert done.returncode == 2
    assert "data is 'all': take -e data=keep or remove; nothing was changed" in done.stdout


def noted(tmp_path: Path, *traces: Path) -> dict[str, Any]:
    program = ROOT / "roles/base/files/note_before.py"
    file = tmp_path / "data/before.json"
    subprocess.run([sys.executable, str(program), str(file), *map(str, traces)], check=True)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_the_first_run_notes_what_was_there_before(tmp_path: Path) -> None:
    found = noted(tmp_path, tmp_path / "no-such-trace")
    assert found["known"]
    assert "dpkg" in found["packages"]
    assert "root" in found["users"]
    assert "root" in found["groups"]


def test_nothing_is_known_of_a_host_that_was_installed_before_there_was_a_note(tmp_path: Path) -> None:
    assert noted(tmp_path, tmp_path) == {"known": False}


def test_a_postgresql_that_was_there_before_keeps_its_settings(tmp_path: Path) -> None:
    settings, ours = tmp_path / "etc/postgresql/17", tmp_path / "etc/postgresql/17/face.conf"
    settings.mkdir(parents=True)
    ours.write_text("ours")
    wanted = asked(tmp_path, data_paths=[str(settings)], files=[str(ours)])
    note = tmp_path / "data/before.json"
    note.parent.mkdir()
    note.write_text(json.dumps({"known": True, "packages": [], "manual": []}))
    assert uninstall.Host(wanted).files() == [], "kept with the data"
    assert str(settings) in uninstall.Host(wanted | {"data": "remove"}).files()
    note.write_text(json.dumps({"known": True, "packages": ["postgresql-17"], "manual": []}))
    assert str(settings) not in uninstall.Host(wanted | {"data": "remove"}).files()


@pytest.mark.parametrize("again", [True, False])
def test_a_package_that_cannot_remove_a_disk_of_its_own_goes_all_the_same(
    tree: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """As redis-tools, whose postrm removes /var/lib/redis: there it is a mount point."""
    (tree / "redis-tools.postrm").touch()
    monkeypatch.setattr(uninstall, "DPKG_INFO", tree)
    left = {"redis-tools": "config-files", "nginx": "config-files"} if again else {}
    monkeypatch.setattr(uninstall.Host, "installed", lambda _: left)
    ran: list[tuple[str, ...]] = []

    def run(*command: str) -> None:
        ran.append(command)
        if len(ran) == 1:
            raise SystemExit("apt-get failed")

    monkeypatch.setattr(uninstall, "run", run)
    host = uninstall.Host(asked(tree))
    if not again:
        with pytest.raises(SystemExit):
            host.purge(["redis-tools", "redis-server"])
        return
    host.purge(["redis-tools", "redis-server"])
    assert ran[1][-1] == "redis-tools"
    assert "redis-server" not in ran[1]
    assert not (tree / "redis-tools.postrm").exists()


def test_an_empty_disk_of_its_own_stays_where_it_is_mounted(tree: Path, mounted: Path) -> None:
    wanted = asked(tree, data="remove", directories=[str(mounted), f"{tree}/etc/face"])
    (tree / "etc/face/key").unlink()
    assert uninstall.Host(wanted).emptied() == [f"{tree}/etc/face"]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """dpkg and apt are Debian 13's own, in the root of the tests' servers, which stays as it is."""
    if os.geteuid() != 0 or not (SERVERS / ".complete").exists():
        pytest.skip("needs root, and the root of tests/services/prepare")

    def said(*command: str) -> str:
        asked = ["chroot", SERVERS, *command]
        return subprocess.run(asked, capture_output=True, text=True, env=uninstall.APT, check=False).stdout

    monkeypatch.setattr(uninstall, "said", said)


def note(tree: Path, **told: Any) -> None:
    (tree / "data/before.json").write_text(json.dumps({"known": True, "packages": [], "manual": []} | told))


@pytest.mark.usefixtures("installed")
def test_a_package_stays_without_which_others_would_go(tree: Path) -> None:
    note(tree)
    wanted = asked(tree, packages="postgresql-common|redis-server")
    host = uninstall.Host(wanted)
    assert host.packages() == ["redis-server"]
    (told,) = [line for line in host.stays() if line.startswith("package ")]
    assert told.startswith("package postgresql-common, without which there would be no ")
    assert "postgresql-17" in told
    # Where these are ours, too, all go.
    wanted = asked(tree, packages="postgresql-.*|redis-server")
    assert "postgresql-common" in uninstall.Host(wanted).packages()


@pytest.mark.usefixtures("installed")
def test_without_a_note_nothing_goes_that_any_debian_may_have(tree: Path) -> None:
    """As openssh-client, which takes the server with it: nobody could come back to the host."""
    wanted = asked(tree, packages="apt|iproute2|mount|redis-server", anyway=True)
    assert uninstall.Host(wanted).packages() == ["redis-server"]


def test_what_was_there_before_is_known_until_the_end(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that breaks off is repeated, with the same knowledge."""
    note(tree)
    wanted = asked(tree, data="remove", users=["root"])
    removed: list[str] = []
    monkeypatch.setattr(uninstall, "remove", removed.append)
    monkeypatch.setattr(uninstall, "said", lambda *asked: "root:x:0" if asked[0] == "getent" else "")

    def breaks_off(*_: str) -> None:
        raise SystemExit("userdel failed")

    monkeypatch.setattr(uninstall, "run", breaks_off)
    with pytest.raises(SystemExit):
        uninstall.Host(wanted).work()
    assert f"{tree}/data/originals" in removed
    assert wanted["note"] not in removed
