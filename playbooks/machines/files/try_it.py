#!/usr/bin/env python3
"""try_it.py GUEST ADDRESS CA STATE [--proof-only | --summary-only] [--unwell] [PART=REASON ...]

Puts a photo into a new installation, finds the person with another one (--proof-only ends there), and writes
STATE/summary.json; a PART was left out for its REASON. The exit status is 1 where a part of ours is down,
or where Ansible failed (--unwell) and no part of a vendor's that failed explains it. Standard library only:
it runs on the machine that holds the guest.
"""

import json
import os
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

API_KEY = "/etc/face-pipeline/credentials/admin_api_key"
# Why a part of a vendor's failed, as site.yml left it there.
FAILURES = "/etc/face-pipeline/failed-*.json"
PYTHON = "/opt/face-pipeline/current/venv/bin/python"
# Where it is, Patroni runs PostgreSQL.
PATRONI = "/etc/patroni/17-main.yml"
COLLECTION = "quickstart"
PERSON = "Eileen Collins"
PROCESSING_SECONDS = 120

UNITS = {
    "nginx": "nginx.service",
    "web": "face-web.service",
    "workers": "celery@*.service",
    "reconciler": "face-reconciler.timer",
    "flower": "face-flower.service",
    "postgres": "postgresql@17-main.service",
    "redis": "redis-server.service",
    "redis-scratch": "redis-server@scratch.service",
    "prometheus": "prometheus.service",
    "alertmanager": "prometheus-alertmanager.service",
    "grafana": "grafana-server.service",
    "elasticsearch": "elasticsearch.service",
    "logstash": "logstash.service",
    "kibana": "kibana.service",
    "filebeat": "filebeat.service",
}
# Parts of vendors: one that failed costs the pipeline nothing.
VENDORS = {"grafana", "elasticsearch", "logstash", "kibana", "filebeat"}
PAGES = {
    "nginx": "/",
    "web": "/",
    "flower": "/flower/",
    "prometheus": "/prometheus/",
    "alertmanager": "/alertmanager/",
    "grafana": "/grafana/",
    "kibana": "/kibana/",
}
# What the switch of a part leaves out, where it is not named alike.
SWITCHED = {"logging": ("elasticsearch", "logstash", "kibana", "filebeat")}


class Guest:
    """The guest over SSH, with its own key and known host."""

    def __init__(self, name: str, address: str) -> None:
        state = f"/run/face-machines/{name}"
        options = [f"UserKnownHostsFile={state}/known_hosts", "StrictHostKeyChecking=yes", "BatchMode=yes"]
        self.ssh = [
            "ssh",
            "-i",
            f"{state}/id",
            *(part for o in options for part in ("-o", o)),
            f"root@{address}",
        ]

    def run(self, command: str) -> bytes:
        line = [*self.ssh, command]
        done = subprocess.run(line, input=b"", capture_output=True, check=False)  # noqa: S603 (our own words)
        if done.returncode != 0:
            raise SystemExit(
                f"'{command}' failed in the guest: {done.stderr.decode(errors='replace').strip()}"
            )
        return done.stdout

    def photo(self, which: str) -> bytes:
        return self.run(f"{PYTHON} -B -m face_pipeline.ops.sample {which}")

    def states(self, pattern: str) -> list[str]:
        """ActiveState of each loaded unit that fits."""
        shown = self.run(f"systemctl show --property=ActiveState --value '{pattern}'").decode().split()
        return shown or ["missing"]

    def unit(self, name: str) -> str:
        """That of a part of UNITS on this host."""
        if name == "postgres" and self.run(f"[ ! -e {PATRONI} ] || echo yes"):
            return "patroni@17-main.service"
        return UNITS[name]

    def failures(self) -> dict[str, str]:
        """Why each part that failed did."""
        text = self.run(
            f'for f in {FAILURES}; do [ ! -e "$f" ] || echo "$f $(tr -d \'\\n\' <"$f")"; done'
        ).decode()
        pairs = (line.split(" ", 1) for line in text.splitlines())
        return {
            Path(name).stem.removeprefix("failed-"): json.loads(content)["reason"] for name, content in pairs
        }


class Api:
    """The public address, trusted through the installation's own certificate authority."""

    def __init__(self, url: str, ca: Path, key: str) -> None:
        self._url = url
        self._key = key
        self._tls = ssl.create_default_context(cafile=str(ca))

    def call(
        self, path: str, form: dict[str, str] | None = None, file: tuple[str, str, bytes] | None = None
    ) -> Any:
        headers = {"Authorization": f"Bearer {self._key}"}
        # The address is https://<guest>, never a caller's.
        request = urllib.request.Request(f"{self._url}/api/v1{path}", headers=headers)  # noqa: S310
        if form is not None and file is not None:
            boundary = uuid.uuid4().hex
            request.data = _multipart(boundary, form, *file)
            request.add_header("Content-Type", f"multipart/form-data; boundary={boundary}")
        # The guest is on this machine: a proxy for the outside world has no business here.
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._tls)
        )
        try:
            with opener.open(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise SystemExit(
                f"{path} answered {error.code}: {error.read().decode(errors='replace')}"
            ) from error
        except urllib.error.URLError as error:
            raise SystemExit(f"{self._url} cannot be reached: {error.reason}") from error


def _multipart(boundary: str, form: dict[str, str], field: str, filename: str, content: bytes) -> bytes:
    head = f"--{boundary}\r\nContent-Disposition: form-data; name="
    parts = [f'{head}"{name}"\r\n\r\n{value}\r\n'.encode() for name, value in form.items()]
    parts.append(f'{head}"{field}"; filename="{filename}"\r\nContent-Type: image/jpeg\r\n\r\n'.encode())
    return b"".join([*parts, content, f"\r\n--{boundary}--\r\n".encode()])


def enrol(api: Api, photo: bytes) -> None:
    answer = api.call(
        "/photos", {"collection": COLLECTION, "person": PERSON}, ("photos", "eileen-collins.jpg", photo)
    )
    identity = answer["photos"][0]["id"]
    started = time.monotonic()
    while (state := api.call(f"/photos/{identity}"))["state"] not in ("done", "failed"):
        if time.monotonic() - started > PROCESSING_SECONDS:
            raise SystemExit(f"the photo is still '{state['state']}' after {PROCESSING_SECONDS} s")
        time.sleep(0.3)
    if state["state"] == "failed":
        raise SystemExit(f"the photo was not processed: {state['reason']}")
    again = " (known from an earlier run)" if answer["photos"][0].get("duplicate") else ""
    seconds = time.monotonic() - started
    print(f"    uploaded a photo of {PERSON}: {len(state['faces'])} face{again}, {seconds:.1f} s")


def search(api: Api, photo: bytes) -> None:
    answer = api.call("/search", {"collection": COLLECTION}, ("photo", "unknown.jpg", photo))
    matches = [match for face in answer["faces"] for match in face["matches"]]
    if not matches or matches[0]["person_name"] != PERSON:
        raise SystemExit(f"the search did not find {PERSON}: {json.dumps(answer)}")
    print(
        f"    searched with a mirrored, cropped, brighter copy: {matches[0]['person_name']},"
        f" similarity {matches[0]['similarity']:.3f} (threshold {answer['threshold']}),"
        f" {answer['duration_seconds']:.2f} s{' (from the cache)' if answer['cache'] == 'hit' else ''}"
    )


def components(guest: Guest, url: str, left_out: dict[str, str]) -> dict[str, dict[str, str | None]]:
    found: dict[str, dict[str, str | None]] = {}
    failures = guest.failures()
    for name in UNITS:
        if name in left_out:
            found[name] = {"state": "skipped", "reason": left_out[name], "url": None}
            continue
        if name in failures:
            found[name] = {"state": "failed", "reason": failures[name], "url": None}
            continue
        unit = guest.unit(name)
        states = guest.states(unit)
        bad = sorted({state for state in states if state != "active"})
        found[name] = {
            "state": "failed" if bad else "running",
            "reason": f"{unit} is {', '.join(bad)}" if bad else None,
            "url": url + PAGES[name] if name in PAGES else None,
        }
    return found


def write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def main() -> None:
    name, address, ca, state = (
        sys.argv[1],
        sys.argv[2],
        Path(sys.argv[3]).resolve(),
        Path(sys.argv[4]).resolve(),
    )
    guest, url = Guest(name, address), f"https://{address}"
    key = guest.run(f"head -n 1 {API_KEY}").decode().strip()
    write_private(state / "api_key", key + "\n")
    if "--summary-only" not in sys.argv:
        api = Api(url, ca, key)
        enrol(api, guest.photo("first"))
        search(api, guest.photo("second"))
    if "--proof-only" in sys.argv:
        return
    named = (part.split("=", 1) for part in sys.argv[5:] if "=" in part)
    left_out = {name: reason for part, reason in named for name in SWITCHED.get(part, (part,))}
    parts = components(guest, url, left_out)
    summary = {
        "url": url,
        "api_key": key,
        "api_key_file": str(state / "api_key"),
        "ca_file": str(ca),
        "ssh": guest.ssh,
        **{part: parts[part]["url"] for part in PAGES if part not in ("nginx", "web")},
        "components": parts,
    }
    write_private(state / "summary.json", json.dumps(summary, indent=2) + "\n")
    for part, facts in parts.items():
        print(f"    {part:<13} {facts['state']:<8} {facts['url'] or facts['reason'] or ''}")
    failed = {part for part, facts in parts.items() if facts["state"] == "failed"}
    if reason := unwell(failed, "--unwell" in sys.argv):
        raise SystemExit(reason)


def unwell(failed: set[str], ansible_failed: bool) -> str | None:
    """Why this installation does not work; the failure of a vendor's part does not count."""
    if ours := failed - VENDORS:
        return f"not running: {', '.join(sorted(ours))}"
    if ansible_failed and not failed:
        return "every part runs, and yet Ansible failed: its words are in the log"
    return None


if __name__ == "__main__":
    main()
