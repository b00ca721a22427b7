"""The role `postgres` lets hosts in by TLS alone, and for a while those of the release before."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLE = ROOT / "roles" / "postgres"
DEBIANS = "local   all             postgres                                peer\n"
HOSTS = {"one": "10.0.0.1", "two": "10.0.0.2"}


def access_tasks() -> list[dict[str, object]]:
    """Those of configure.yml that write who is let in."""
    tasks = yaml.safe_load((ROLE / "tasks/configure.yml").read_text())
    (block,) = (task for task in tasks if "block" in task)
    found = [task for task in block["block"] if re.search("sign in|pipeline's hosts", task["name"])]
    assert len(found) == 2
    return found


class Host:
    def __init__(self, directory: Path, names: list[str]) -> None:
        self.directory = directory
        self.access = directory / "pg_hba.conf"
        self.access.write_text(DEBIANS)
        (directory / "group_vars").symlink_to(ROOT / "group_vars")
        hosts = {
            name: {
                "face_private_address": HOSTS[name],
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
            }
            for name in names
        }
        one = {"hosts": {"one": hosts["one"]}}
        groups = {**dict.fromkeys(("proxy", "web", "postgres", "redis"), one), "workers": {"hosts": hosts}}
        (directory / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": groups}}))

    def run(self, tasks: list[dict[str, object]]) -> str:
        """What Ansible said at its end."""
        for task in tasks:
            task.pop("notify", None)
        files = [str(ROLE / "vars/main.yml")]
        play = {"hosts": "postgres", "gather_facts": False, "vars_files": files, "tasks": tasks}
        (self.directory / "play.yml").write_text(yaml.safe_dump([play]))
        done = subprocess.run(
            [str(ROOT / ".venv/bin/ansible-playbook"), "-i", "hosts.yml", "play.yml",
             "-e", json.dumps({"postgres_config_dir": str(self.directory)})],
            cwd=self.directory, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()[-2]

    def configure(self) -> str:
        return self.run(access_tasks())

    def close(self) -> str:
        return self.run(yaml.safe_load((ROLE / "tasks/close.yml").read_text()))

    def kinds(self, address: str) -> set[str]:
        """How a host at this address may sign in with a password."""
        lines = re.findall(r"^(\w+) face \w+ (\S+)/32 scram-sha-256$", self.access.read_text(), re.MULTILINE)
        return {kind for kind, where in lines if where == address}


@pytest.fixture
def several(tmp_path: Path) -> Host:
    return Host(tmp_path, ["one", "two"])


def test_new_hosts_are_let_in_by_tls_alone(several: Host) -> None:
    several.configure()
    assert [several.kinds(address) for address in HOSTS.values()] == [{"hostssl"}, {"hostssl"}]
    assert several.access.read_text().endswith(DEBIANS), "it is ours that counts first"
    assert "changed=0 " in several.configure()
    assert "changed=0 " in several.close()


@pytest.mark.campaign("only an update from an older release goes that way")
def test_units_of_the_release_before_are_let_in_until_the_end(several: Host) -> None:
    old = "".join(f"host face {role} 10.0.0.2/32 scram-sha-256\n" for role in ("face", "face_worker"))
    several.access.write_text(f"# BEGIN face pipeline\n{old}# END face pipeline\n{DEBIANS}")
    several.configure()
    # A run that broke off begins again.
    assert "changed=0 " in several.configure()
    assert several.kinds("10.0.0.2") == {"hostssl", "hostnossl"}
    assert "changed=1 " in several.close()
    assert several.kinds("10.0.0.2") == {"hostssl"}
    assert "changed=0 " in several.configure()
    assert "changed=0 " in several.close()


def test_one_host_alone_speaks_to_itself_over_loopback(tmp_path: Path) -> None:
    alone = Host(tmp_path, ["one"])
    alone.configure()
    assert alone.kinds("127.0.0.1") == {"host"}
    assert "changed=0 " in alone.close()


def test_units_of_a_host_that_was_alone_are_let_in_until_the_end(tmp_path: Path, several: Host) -> None:
    (tmp_path / "alone").mkdir()
    alone = Host(tmp_path / "alone", ["one"])
    alone.configure()
    several.access.write_text(alone.access.read_text())
    several.configure()
    assert several.kinds("127.0.0.1") == {"hostnossl"}
    assert "changed=0 " in several.configure()
    assert "changed=1 " in several.close()
    assert several.kinds("127.0.0.1") == set()
    assert several.kinds("10.0.0.1") == several.kinds("10.0.0.2") == {"hostssl"}
    assert "changed=0 " in several.configure()
