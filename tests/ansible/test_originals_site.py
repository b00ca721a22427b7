"""Workers on other hosts get photos by TLS alone, and for a while those of the release before without it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from face_pipeline.store.originals import OriginalUnavailable, RemoteOriginals, relative

from tests.ansible.programs import load
from tests.services.nginx import Nginx
from tests.services.process import free_port

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles/nginx"
WEB, WORKER = "127.0.0.2", "127.0.0.1"
TOKEN = "shown by workers"
PHOTO = b"a photo"
NAME = hashlib.sha256(PHOTO).hexdigest()
certificates = load("roles/certificates/files/make_certificate.py")


class Host:
    """The web host, which gives photos to a worker's, as the role sets it up in `directory`."""

    def __init__(self, directory: Path, **variables: object) -> None:
        self.directory = directory
        self.site = directory / "face-originals.conf"
        self.ports = {"originals": free_port(), "originals_tls": free_port()}
        (directory / "group_vars").symlink_to(ROOT / "group_vars")
        (directory / "templates").symlink_to(ROLE / "templates")
        # What those tasks import.
        (directory / "between_hosts.yml").symlink_to(ROLE / "tasks/between_hosts.yml")
        hosts = {
            name: {
                "face_private_address": address,
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
            }
            for name, address in (("front", WEB), ("compute", WORKER))
        }
        web, worker = ({"hosts": {name: hosts[name]}} for name in hosts)
        groups = {**dict.fromkeys(("proxy", "web", "postgres", "redis"), web), "workers": worker}
        (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": groups}}))
        known = yaml.safe_load((ROOT / "group_vars/all/endpoints.yml").read_text())["face_ports"]
        self.variables = {
            "face_ports": {**known, **self.ports},
            "face_tls_dir": str(directory),
            "face_secrets_dir": str(directory / "secrets"),
            "face_originals_dir": str(directory / "originals"),
            "face_secret_values": [TOKEN],
            "nginx_originals": str(self.site),
            # Debian's own configuration, around which it is tried, is not here.
            "nginx_validate": "test -s %s",
            **variables,
        }

    def run(self, *entries: str) -> str:
        """What Ansible said of the web host at its end."""
        tasks = [
            each for entry in entries for each in yaml.safe_load((ROLE / f"tasks/{entry}.yml").read_text())
        ]
        handler = {"name": "Reload nginx", "ansible.builtin.debug": {"msg": "nginx is reloaded"}}
        play = {
            "hosts": "proxy", "gather_facts": False, "vars_files": [str(ROLE / "vars/main.yml")],
            "tasks": tasks, "handlers": [handler],
        }  # fmt: skip
        (self.directory / "play.yml").write_text(yaml.safe_dump([play]))
        done = subprocess.run(
            [str(ROOT / ".venv/bin/ansible-playbook"), "-i", "hosts.yml", "play.yml",
             "-e", json.dumps(self.variables)],
            cwd=self.directory, env={**os.environ, "ANSIBLE_ROLES_PATH": str(ROOT / "roles")},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert ("nginx is reloaded" in done.stdout) == ("changed=0 " not in done.stdout)
        return next(line for line in done.stdout.splitlines() if line.startswith("front "))

    def listens(self) -> set[str]:
        """By what name of `face_ports`, from what the site says."""
        found = {int(port) for port in re.findall(rf"listen {WEB}:(\d+)", self.site.read_text())}
        return {name for name, port in self.ports.items() if port in found}

    @contextmanager
    def serves(self) -> Iterator[None]:
        """A real nginx with this site, and one photo to give."""
        site = self.site.read_text().replace(str(self.directory), "{directory}")
        nginx = Nginx(f"events {{}} http {{ server {{ listen 127.0.0.1:{{port}}; }} {site} }}")
        for name in ("originals.key", "originals.crt"):
            nginx.write(name, (self.directory / name).read_text())
        file = nginx.directory / "originals" / relative(NAME)
        file.parent.mkdir(parents=True)
        file.write_bytes(PHOTO)
        for path in (*file.parents[:3], file):
            path.chmod(0o755)
        with nginx:
            yield

    def read(self, way: str, *, authority: Path | None = None, token: str = TOKEN) -> bytes:
        """The photo, as a worker's host asks that trusts `authority`."""
        trusted = authority or self.directory / "secrets/ca.crt"
        url = f"{'https' if way == 'originals_tls' else 'http'}://{WEB}:{self.ports[way]}/originals"
        return RemoteOriginals(url, token, str(trusted)).read(NAME)


@pytest.mark.campaign("the scenario `cluster` installs so, on hosts")
def test_a_new_host_gives_photos_by_tls_alone_and_proves_who_it_is(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.run("originals")
    assert host.listens() == {"originals_tls"}
    assert (tmp_path / "originals.key").stat().st_mode & 0o777 == 0o640
    assert "changed=0 " in host.run("originals", "close")
    other = tmp_path / "other"
    certificates.make(other, certificates.Leaf(other, []), datetime.now(UTC))
    with host.serves():
        assert host.read("originals_tls") == PHOTO
        with pytest.raises(OriginalUnavailable, match=r"cannot prove who it is.*site\.yml"):
            host.read("originals_tls", authority=other / "ca.crt")
        with pytest.raises(OriginalUnavailable, match="answers 401"):
            host.read("originals_tls", token="another")
        with pytest.raises(OriginalUnavailable, match="does not answer"):
            host.read("originals")


@pytest.mark.campaign("only an update from an older release goes that way")
def test_workers_of_the_release_before_have_their_photos_until_the_end(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.site.write_text(f"server {{\n    listen {WEB}:{host.ports['originals']};\n}}\n")
    host.run("originals")
    # A run that broke off begins again.
    assert "changed=0 " in host.run("originals")
    with host.serves():
        assert host.read("originals") == host.read("originals_tls") == PHOTO
    assert "changed=1 " in host.run("close")
    assert host.listens() == {"originals_tls"}
    assert "changed=0 " in host.run("originals", "close")
    with host.serves():
        assert host.read("originals_tls") == PHOTO


@pytest.mark.campaign("test_redis_tls.py says it of Redis")
def test_where_the_network_encrypts_there_is_no_tls(tmp_path: Path) -> None:
    host = Host(tmp_path, face_tls_between_hosts=False)
    host.run("originals")
    assert host.listens() == {"originals"}
    assert not (tmp_path / "originals.key").exists()
    assert "changed=0 " in host.run("originals", "close")
