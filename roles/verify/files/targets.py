"""targets.py URL SECONDS [JOB...]: waits until every target of the Prometheus at URL is up; names the others.

A target that was added or restarted a moment ago is asked with the next scrape. Targets of each JOB are
left out.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Collection

ask = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def troubles(url: str, left_out: Collection[str]) -> list[str]:
    try:
        with ask(f"{url}/api/v1/targets?state=active", timeout=10) as answer:
            targets = json.load(answer)["data"]["activeTargets"]
    except (OSError, ValueError) as error:
        return [f"Prometheus at {url} does not answer: {error}"]
    return [
        f"Prometheus cannot ask {target['labels']['job']} at {target['scrapeUrl']}:"
        f" {target['lastError'] or 'not asked yet'}"
        for target in targets
        if target["health"] != "up" and target["labels"]["job"] not in left_out
    ]


def main(url: str, seconds: float, *left_out: str) -> None:
    end = time.monotonic() + seconds
    while found := troubles(url, left_out):
        if time.monotonic() > end:
            print("\n".join(found), file=sys.stderr)
            raise SystemExit(1)
        time.sleep(1)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), *sys.argv[3:])
