"""targets.py URL ACCESS SECONDS [JOB...]: waits until every target of a Prometheus is up; names the others.

A target that was added or restarted a moment ago is asked with the next scrape. Targets of each JOB are
left out. The file ACCESS says who asks, and whose certificate it has to show where it is asked by TLS:
{"basic_auth": {"username": NAME, "password": PASSWORD}, "tls_config": {"ca_file": FILE}}.
"""

from __future__ import annotations

import base64
import json
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Collection
from pathlib import Path
from typing import Any


def opener(access: dict[str, Any]) -> urllib.request.OpenerDirector:
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if "tls_config" in access:
        trusted = ssl.create_default_context(cafile=access["tls_config"]["ca_file"])
        handlers.append(urllib.request.HTTPSHandler(context=trusted))
    return urllib.request.build_opener(*handlers)


def troubles(url: str, access: Path, left_out: Collection[str]) -> list[str]:
    try:
        given = json.loads(access.read_text(encoding="utf-8"))
        who = given["basic_auth"]
        known = base64.b64encode(f"{who['username']}:{who['password']}".encode()).decode()
        request = urllib.request.Request(f"{url}/api/v1/targets?state=active")
        request.add_header("Authorization", f"Basic {known}")
        with opener(given).open(request, timeout=10) as answer:
            targets = json.load(answer)["data"]["activeTargets"]
    except (OSError, ValueError) as error:
        return [f"Prometheus at {url} does not answer: {error}"]
    return [
        f"Prometheus cannot ask {target['labels']['job']} at {target['scrapeUrl']}:"
        f" {target['lastError'] or 'not asked yet'}"
        for target in targets
        if target["health"] != "up" and target["labels"]["job"] not in left_out
    ]


def main(url: str, access: Path, seconds: float, *left_out: str) -> None:
    end = time.monotonic() + seconds
    while found := troubles(url, access, left_out):
        if time.monotonic() > end:
            print("\n".join(found), file=sys.stderr)
            raise SystemExit(1)
        time.sleep(1)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), *sys.argv[4:])
