"""The access log of nginx holds addresses: nobody but its readers may read it, from its first line on."""

from __future__ import annotations

import re
from pathlib import Path

import requests
import yaml

from tests.installation import wait_until
from tests.monitoring.rendering import ONE_HOST, ROOT, play
from tests.services import Nginx

LOG = "/var/log/nginx/face-pipeline.log"
SITE = """
events {}
http {
    access_log {directory}/one/face-pipeline.log;
    server { listen 127.0.0.1:{port}; location / { return 200 "well"; } }
}
"""


def _mode(path: Path) -> str:
    return oct(path.stat().st_mode & 0o777)


def test_others_may_not_read_the_access_log_from_its_first_line_on() -> None:
    tasks = yaml.safe_load((ROOT / "roles/nginx/tasks/configure.yml").read_text())
    names = [task["name"] for task in tasks]
    # nginx makes the file when its configuration is tested.
    (made,) = [task for task in tasks if task.get("ansible.builtin.file", {}).get("path") == LOG]
    first = next(task["name"] for task in tasks if "nginx_validate" in str(task))
    assert names.index(made["name"]) < names.index(first)
    assert made["ansible.builtin.file"]["group"] == "adm"

    nginx = Nginx(SITE)
    try:
        log = nginx.directory / "one" / "face-pipeline.log"
        log.parent.mkdir()
        made["ansible.builtin.file"]["path"] = str(log)
        done = play("nginx", nginx.directory / "role", ONE_HOST, [made])
        assert done.returncode == 0, done.stdout
        nginx.start()
        assert requests.get(f"http://127.0.0.1:{nginx.port}/", timeout=5).text == "well"
        # nginx writes the line after the answer has gone out.
        wait_until(lambda: "GET / HTTP" in log.read_text(), 60, "the request's line in the log")
        assert _mode(log) == "0o640"

        before = log.read_text(), log.stat().st_mtime_ns
        log.chmod(0o644)
        done = play("nginx", nginx.directory / "role", ONE_HOST, [made])
        assert _mode(log) == "0o640"
        assert (log.read_text(), log.stat().st_mtime_ns) == before
        done = play("nginx", nginx.directory / "role", ONE_HOST, [made])
        assert re.findall(r"changed=(\d+)", done.stdout) == ["0"], done.stdout
    finally:
        nginx.close()
